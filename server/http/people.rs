//! The UI listener: what people and their scripts reach. Blades' addresses are not here.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
    middleware::{self, Next},
    response::IntoResponse,
};

use super::{Shared, api, pages};

/// Pages, API and live events.
pub fn router(app: Shared) -> Router {
    Router::new()
        .merge(pages::router())
        .nest("/api/v1", api::router())
        .route_layer(middleware::from_fn_with_state(app.clone(), up_to_date))
        .route("/healthz", axum::routing::get(|| async { "ok\n" }))
        .route("/readyz", axum::routing::get(api::readyz))
        .route("/metrics", axum::routing::get(metrics))
        .layer(middleware::from_fn(guard))
        .with_state(app)
}

/// What was seen before a person asks is in the answer.
async fn up_to_date(State(app): State<Shared>, request: Request, next: Next) -> Response<Body> {
    app.journal.catch_up().await;
    next.run(request).await
}

async fn metrics(State(app): State<Shared>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], (app.metrics)())
}

/// Keeps other sites' pages out: a foreign name that resolves to our address (DNS rebinding),
/// and forms or scripts of another origin (CSRF).
async fn guard(request: Request, next: Next) -> Response<Body> {
    let refused = |why: &'static str| (StatusCode::FORBIDDEN, why).into_response();
    if !host_is_ours(request.headers()) {
        return refused("ask by address or as localhost: this name is not ours\n");
    }
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !safe && !same_origin(request.headers()) {
        return refused("a page of another site may not do this\n");
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Host without its port.
fn host_of(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    Some(match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    })
}

fn host_is_ours(headers: &HeaderMap) -> bool {
    // HTTP/1.0 without Host cannot come from a browser.
    host_of(headers).is_none_or(|host| {
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || plain.parse::<std::net::IpAddr>().is_ok()
    })
}

/// True unless a browser says that another origin asks.
fn same_origin(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    match (headers.get(header::ORIGIN), headers.get(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => {
            let origin = origin.to_str().unwrap_or_default();
            origin
                .split_once("://")
                .is_some_and(|(_, authority)| authority.as_bytes() == host.as_bytes())
        }
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn only_our_own_pages_may_act() {
        assert!(same_origin(&headers(&[("host", "127.0.0.1:8443")])), "a script has no origin");
        assert!(same_origin(&headers(&[
            ("host", "127.0.0.1:8443"),
            ("origin", "http://127.0.0.1:8443")
        ])));
        assert!(!same_origin(&headers(&[
            ("host", "127.0.0.1:8443"),
            ("origin", "http://evil.example")
        ])));
        assert!(!same_origin(&headers(&[("host", "127.0.0.1:8443"), ("origin", "null")])));
        assert!(!same_origin(&headers(&[("sec-fetch-site", "cross-site")])));
    }

    #[test]
    fn a_foreign_name_for_our_address_is_refused() {
        assert!(host_is_ours(&headers(&[("host", "localhost:8443")])));
        assert!(host_is_ours(&headers(&[("host", "[::1]:8443")])));
        assert!(!host_is_ours(&headers(&[("host", "evil.example:8443")])));
    }
}
