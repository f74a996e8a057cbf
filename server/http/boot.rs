//! The boot listener: what blades reach. Nothing of the UI or the API is here.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Path, RawQuery, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};

use super::{
    App, Shared, blob, discovery,
    install::{self, Plan},
    internal,
    listen::in_time,
    orders::{self, Asked},
    refusal::{Refusal, admit, token_of},
    reports,
    throttle::{self, Throttle},
};
use crate::{
    blade::{Kind, Mac, Phase},
    boot::{self, Reader},
    images::Kind as ArtifactKind,
    inventory::Blade,
    journal::Sighting,
    topology::Os,
};

/// A report with its log tail of 16 KiB fits; more is refused with 413.
const LARGEST_REPORT: usize = 32 * 1024;

/// Every address a blade knows; CONTRACT.md names them.
pub fn router(app: Shared) -> Router {
    Router::new()
        .route("/boot/{script}", get(script))
        .route("/grub/{*path}", get(grub))
        .route("/config/inventory/pxe.yml", get(discovery::document))
        .route("/config/{menu}/{document}", get(config))
        .route("/api/v1/discovery", get(discovery::may_go_on).post(discovery::report))
        .route("/api/v1/attempts/{id}/events", post(reports::events))
        .route("/api/v1/attempts/{id}/cloud-init", post(reports::cloud_init))
        .route("/api/v1/attempts/{id}/phone-home", post(reports::cloud_init))
        .route("/notify/finish", post(reports::finish))
        .route_layer(middleware::from_fn_with_state(app.clone(), settled))
        // Each of these may become a line of the journal; downloads do not.
        .route_layer(middleware::from_fn_with_state(Throttle::shared(), throttle::guard))
        .route("/images/sha256/{sha256}", get(image))
        .route("/loaders/{name}", get(loader))
        // shim over HTTP asks for what lies beside it with two slashes.
        .route("/loaders//{name}", get(loader))
        .layer(DefaultBodyLimit::max(LARGEST_REPORT))
        .layer(middleware::from_fn(in_time))
        .with_state(app)
}

/// No blade is a stranger because its packets are still being written.
async fn settled(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: middleware::Next,
) -> Response {
    match orders::learned(&app, peer).await {
        Ok(()) => next.run(request).await,
        Err(error) => internal(&error).into_response(),
    }
}

/// The base of every address told to this blade: as configured, else as it asked.
pub(super) fn base_url(app: &App, peer: SocketAddr, headers: &HeaderMap) -> String {
    if let Some(url) = boot::url_for(app.boot_url.as_deref(), peer.ip()) {
        return url.to_owned();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    // Only what an authority can hold: this text is put into scripts.
    let sound = !host.is_empty()
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    format!("http://{}", if sound { host } else { "firstlight.invalid" })
}

async fn script(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(mac) = name.strip_suffix(".ipxe").and_then(|mac| mac.parse::<Mac>().ok()) else {
        return Refusal::Unknown.into_response();
    };
    let base = base_url(&app, peer, &headers);
    let snapshot = app.snapshot.load_full();
    if !orders::asks_for_itself(&app, &snapshot, peer, mac).await {
        return Refusal::Unknown.into_response();
    }
    let reader = Reader::Ipxe(boot::script_url(&base, mac));
    let asked = Asked { mac, base: &base, reader };
    // HEAD tells of the answer and changes nothing (RFC 9110 §9.2.1).
    if method == Method::HEAD {
        return text(orders::decide(&app, &snapshot, &asked).0);
    }
    let choice = query
        .as_deref()
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("choice=")));
    match choice {
        Some(discovery::ENTRY) => {
            let entry = discovery::entry_for(query.as_deref().unwrap_or_default());
            text(orders::chosen(&app, peer, &asked, entry).await)
        }
        Some(choice) => text(orders::chosen(&app, peer, &asked, choice).await),
        None => match orders::ask(&app, &asked).await {
            Ok(script) => text(script),
            Err(error) => internal(&error).into_response(),
        },
    }
}

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

/// Configurations of GRUB that came by HTTP (UEFI HTTP boot with Secure Boot on).
async fn grub(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let (name, base) = (format!("grub/{path}"), base_url(&app, peer, &headers));
    // HEAD tells of the answer and changes nothing (RFC 9110 §9.2.1).
    let only_look = method == Method::HEAD;
    match orders::document(&app, peer, &name, &base, only_look).await {
        Some(body) => text(body),
        None => Refusal::Unknown.into_response(),
    }
}

async fn image(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(sha256): Path<String>,
    request: Request,
) -> Response {
    let snapshot = app.snapshot.load_full();
    let asking = orders::blade_at(&app, &snapshot, peer).await;
    let content = match app.images.open_blob(&sha256) {
        Ok(content) => content,
        // Of an image that is listed: not the client's fault, and a person must know.
        Err(error) if app.images.kind_of(&sha256).is_some() => {
            return damaged(&app, asking, &error);
        }
        Err(_) => return Refusal::Unknown.into_response(),
    };
    if let Some(blade) = asking.filter(|_| {
        request.method() == Method::GET && app.images.kind_of(&sha256) == Some(ArtifactKind::Kernel)
    }) {
        app.journal.saw(Sighting {
            kind: Kind::Http,
            blade: Some(blade.name.clone()),
            mac: None,
            phase: Some(Phase::Kernel),
            text: format!("kernel fetched, {} bytes", content.len()),
            detail: serde_json::Value::Null,
        });
    }
    blob::serve(request.method(), request.headers(), &content, &sha256)
}

/// A boot program for UEFI HTTP boot, which asks for its size by HEAD first.
async fn loader(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let Some(program) = app.loaders.find(&name) else { return Refusal::Unknown.into_response() };
    let snapshot = app.snapshot.load();
    if let Some(blade) = snapshot.by_address(peer.ip())
        && request.method() == Method::GET
    {
        app.journal.saw(Sighting {
            kind: Kind::Http,
            blade: Some(blade.name.clone()),
            mac: None,
            phase: Some(Phase::Bootfile),
            text: format!("{name} fetched, {} bytes", program.bytes.len()),
            detail: serde_json::Value::Null,
        });
    }
    blob::serve(request.method(), request.headers(), &program.bytes, &program.sha256)
}

fn damaged(app: &App, asking: Option<&Blade>, error: &std::io::Error) -> Response {
    let text = format!("boot image damaged: {error}; import it again");
    tracing::error!("{text}");
    let mac = asking.and_then(|blade| blade.macs.first().copied());
    if mac.is_some_and(|mac| app.told.is_news(mac, &text, std::time::Instant::now())) {
        app.journal.saw(Sighting {
            kind: Kind::Alert,
            blade: asking.map(|blade| blade.name.clone()),
            mac,
            phase: None,
            text,
            detail: serde_json::Value::Null,
        });
    }
    (StatusCode::SERVICE_UNAVAILABLE, "not available now\n").into_response()
}

async fn config(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((menu, document)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let snapshot = app.snapshot.load_full();
    let (blade, id) =
        match admit(&app, &snapshot, peer, token_of(&headers, query.as_deref()), false) {
            Ok(admitted) => admitted,
            Err(refusal) => return refusal.into_response(),
        };
    let number = blade.attempt.as_ref().map_or(1, |attempt| attempt.number);
    // A role in the address that is not the blade's own is answered like one that does not exist.
    if blade.member.as_ref().is_none_or(|member| member.role != menu) {
        return Refusal::Unknown.into_response();
    }
    let made = install::plan(&app, &snapshot, blade, id, number, &base_url(&app, peer, &headers))
        .and_then(|plan| document_of(&app, &plan, blade, &document));
    match made {
        Ok(Some(body)) => text(body),
        Ok(None) => Refusal::Unknown.into_response(),
        Err(why) => {
            tracing::error!("{document} of {}: {why}", blade.name);
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "this document cannot be made now; the server's log says why\n",
            )
                .into_response()
        }
    }
}

fn document_of(
    app: &App,
    plan: &Plan,
    blade: &Blade,
    name: &str,
) -> Result<Option<String>, String> {
    let cloud_init = || plan.document.cloud_init(Some(&plan.boot));
    Ok(Some(match name {
        "pxe.yml" => plan.pxe_yml(app),
        "pxe.sh" => plan.pxe_sh(app, blade)?,
        "config.yml" if plan.os()? == Os::Debian => cloud_init().user_data,
        "config.yml" => plan.document.coreos(Some(&plan.boot)),
        "config.ign" => plan.document.ignition(Some(&plan.boot)),
        "meta-data" => cloud_init().meta_data,
        "network-config" => cloud_init().network_config,
        _ => return Ok(None),
    }))
}
