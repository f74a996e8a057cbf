//! What blades say: reports, cloud-init's own events, the install-completed callback.

use std::net::SocketAddr;

use axum::{
    Json,
    body::Bytes,
    extract::{ConnectInfo, Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Shared, internal,
    refusal::{Refusal, admit, redact, token_of},
};
use crate::{
    blade::{AttemptId, Kind, Report},
    journal::{ReportAnswer, Sighting},
};

/// A report of the installer; durable when it is answered.
pub async fn events(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let snapshot = app.snapshot.load_full();
    let token = token_of(&headers, None);
    let (_, attempt) = match admit(&app, &snapshot, peer, token, true) {
        // A stale attempt is told so (CASES.md C34), so that its installer stops.
        Err(Refusal::Over) => return stale(),
        Err(refusal) => return refusal.into_response(),
        Ok(admitted) => admitted,
    };
    if id.parse() != Ok(attempt) {
        return Refusal::Foreign.into_response();
    }
    let mut report: Report = match serde_json::from_slice(&body) {
        Ok(report) => report,
        Err(error) => {
            return (StatusCode::BAD_REQUEST, format!("this is no report: {error}\n"))
                .into_response();
        }
    };
    if report.attempt != attempt || report.seq < 1 || !report.phase.reported_by_blade() {
        return (
            StatusCode::BAD_REQUEST,
            "attempt, seq or phase is not one that a blade may report\n",
        )
            .into_response();
    }
    let token = token.unwrap_or_default();
    report.msg = redact(&report.msg, token, 512);
    report.code = report.code.map(|code| redact(&code, token, 64));
    report.log_tail = report.log_tail.map(|tail| redact(&tail, token, 16 * 1024));
    // A kernel command line among the hardware's facts would hold the token.
    report.hello = report
        .hello
        .and_then(|hello| serde_json::from_str(&hello.to_string().replace(token, "[token]")).ok());
    report.host_keys = report
        .host_keys
        .map(|keys| keys.iter().take(16).map(|key| redact(key, token, 1024)).collect());
    reply(app.journal.report(report).await)
}

fn stale() -> Response {
    (StatusCode::CONFLICT, "this attempt is over; stop\n").into_response()
}

fn reply(answer: Result<ReportAnswer, crate::db::DbError>) -> Response {
    match answer {
        Ok(ReportAnswer::Accepted | ReportAnswer::Replayed) => {
            Json(json!({ "ok": true })).into_response()
        }
        Ok(ReportAnswer::Stale) => stale(),
        Ok(ReportAnswer::Unknown) => Refusal::Unknown.into_response(),
        Err(error) => internal(&error).into_response(),
    }
}

/// cloud-init's own reporting (webhook) and phone_home: lines for the journal.
pub async fn cloud_init(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let snapshot = app.snapshot.load_full();
    let token = token_of(&headers, query.as_deref());
    let (blade, attempt) = match admit(&app, &snapshot, peer, token, true) {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal.into_response(),
    };
    if id.parse() != Ok(attempt) {
        return Refusal::Foreign.into_response();
    }
    let said = match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(event) => {
            let part = |key: &str| {
                event.get(key).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
            };
            format!(
                "{} {} {} {}",
                part("event_type"),
                part("name"),
                part("result"),
                part("description")
            )
        }
        Err(_) => "phoned home".to_owned(),
    };
    app.journal.saw(Sighting {
        kind: Kind::Http,
        blade: Some(blade.name.clone()),
        mac: None,
        // `up` is what the installed system says with its host keys; this is how it gets there.
        phase: None,
        text: format!("cloud-init: {}", redact(said.trim(), token.unwrap_or_default(), 200)),
        detail: serde_json::Value::Null,
    });
    Json(json!({ "ok": true })).into_response()
}

#[derive(Deserialize)]
struct Finished {
    attempt: AttemptId,
}

/// The install-completed callback: 200 only once `installed` is on disk.
pub async fn finish(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let snapshot = app.snapshot.load_full();
    let attempt = match admit(&app, &snapshot, peer, token_of(&headers, None), true) {
        Err(Refusal::Over) => return stale(),
        Err(refusal) => return refusal.into_response(),
        Ok((_, attempt)) => attempt,
    };
    match serde_json::from_slice::<Finished>(&body) {
        Ok(finished) if finished.attempt == attempt => reply(app.journal.finish(attempt).await),
        Ok(_) => Refusal::Foreign.into_response(),
        Err(error) => {
            (StatusCode::BAD_REQUEST, format!("this is no callback: {error}\n")).into_response()
        }
    }
}
