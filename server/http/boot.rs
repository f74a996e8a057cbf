//! The boot listener: what blades reach. Nothing of the UI or the API is here.

use std::net::SocketAddr;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, Path, RawQuery, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    App, Shared, blob,
    install::{self, Plan},
    internal,
    refusal::{Refusal, admit, ipv4, redact, token_of},
};
use crate::{
    blade::{AttemptId, Kind, Mac, Phase, Report},
    boot,
    images::Kind as ArtifactKind,
    inventory::{Blade, Intent, Snapshot},
    journal::{ReportAnswer, Sighting},
    topology::Os,
};

/// A report with its log tail of 16 KiB fits; more is refused with 413.
const LARGEST_REPORT: usize = 32 * 1024;

/// Every address a blade knows; CONTRACT.md names them.
pub fn router(app: Shared) -> Router {
    Router::new()
        .route("/boot/{script}", get(script))
        .route("/images/sha256/{sha256}", get(image))
        .route("/config/{menu}/{document}", get(config))
        .route("/api/v1/attempts/{id}/events", post(events))
        .route("/api/v1/attempts/{id}/cloud-init", post(cloud_init))
        .route("/api/v1/attempts/{id}/phone-home", post(cloud_init))
        .route("/notify/finish", post(finish))
        .layer(DefaultBodyLimit::max(LARGEST_REPORT))
        .with_state(app)
}

/// The base of every address told to this blade: as configured, else as it asked.
fn base_url(app: &App, headers: &HeaderMap) -> String {
    if let Some(url) = &app.boot_url {
        return url.clone();
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
    headers: HeaderMap,
) -> Response {
    let Some(mac) = name.strip_suffix(".ipxe").and_then(|mac| mac.parse::<Mac>().ok()) else {
        return Refusal::Unknown.into_response();
    };
    let base = base_url(&app, &headers);
    if let Some(choice) = query
        .as_deref()
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("choice=")))
    {
        return text(chosen(&app, peer, mac, choice, &base).await);
    }
    let mut snapshot = app.snapshot.load_full();
    let known = snapshot.by_mac(mac).is_some_and(|blade| blade.ip == ipv4(peer));
    if !known && snapshot.by_mac(mac).is_some() {
        return Refusal::Unknown.into_response();
    }
    // Asked for again after the live system reported: the blade was restarted.
    let running = snapshot.by_mac(mac).and_then(|blade| match &blade.intent {
        Intent::Install(attempt) if attempt.standing.phase >= Phase::Live => Some(attempt.id),
        _ => None,
    });
    if let Some(attempt) = running {
        if let Err(error) = app.journal.restarted(attempt).await {
            return internal(&error).into_response();
        }
        snapshot = app.snapshot.load_full();
    }
    text(answer(&app, &snapshot, mac, &base))
}

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

/// The script for a blade as it stands now, with a line for the journal.
fn answer(app: &App, snapshot: &Snapshot, mac: Mac, base: &str) -> String {
    let blade = snapshot.by_mac(mac);
    let again = boot::script_url(base, mac);
    let (script, told) = decide(app, snapshot, blade, &again, base);
    app.journal.saw(Sighting {
        kind: Kind::Http,
        blade: blade.map(|blade| blade.name.clone()),
        mac: Some(mac),
        phase: Some(Phase::Script),
        text: format!("boot script: {told}"),
        detail: serde_json::Value::Null,
    });
    script
}

fn decide(
    app: &App,
    snapshot: &Snapshot,
    blade: Option<&Blade>,
    again: &str,
    base: &str,
) -> (String, String) {
    let hold = |why: &str| {
        let script = boot::hold(why, again)
            .unwrap_or_else(|_| boot::local("the server has no script for this blade"));
        (script, format!("wait: {why}"))
    };
    match blade.map(|blade| (blade, &blade.intent)) {
        Some((_, Intent::Local)) => {
            (boot::local("installed; booting from disk"), "boot from disk".to_owned())
        }
        Some((_, Intent::Wait(why))) => hold(why),
        Some((blade, Intent::Install(attempt))) => {
            let plan = install::plan(app, snapshot, blade, attempt.id, attempt.number, base);
            match plan.and_then(|plan| plan.script(blade)) {
                Ok(script) => (script, format!("install, attempt {}", attempt.number)),
                Err(why) => hold(&why),
            }
        }
        None | Some((_, Intent::Menu)) => (menu(app, again), "console menu".to_owned()),
    }
}

fn menu(app: &App, again: &str) -> String {
    let config = &app.journal.config().menu;
    let mut entries: Vec<(&str, &str)> = app
        .catalogue
        .entries()
        .iter()
        .map(|entry| (entry.id.as_str(), entry.title_en.as_str()))
        .collect();
    entries.push(("local-boot", "Boot from the disk"));
    boot::menu(
        &app.journal.config().site,
        &entries,
        &config.default,
        std::time::Duration::from_secs(config.timeout.0.into()),
        again,
    )
    .unwrap_or_else(|error| {
        tracing::error!("the console menu cannot be made: {error}");
        boot::local("no menu")
    })
}

/// Records a choice made at the console, and goes on where that is enough to install.
async fn chosen(app: &Shared, peer: SocketAddr, mac: Mac, choice: &str, base: &str) -> String {
    let snapshot = app.snapshot.load_full();
    let again = boot::script_url(base, mac);
    let entry = app.catalogue.entries().iter().find(|entry| entry.id == choice);
    let blade = snapshot.by_mac(mac).filter(|blade| blade.ip == ipv4(peer));
    let name = blade.map(|blade| blade.name.clone());
    if entry.is_none() && choice != "local-boot" {
        return boot::hold("there is no such menu entry", &again).unwrap_or_default();
    }
    if let Err(error) = app.journal.choose(mac, name.clone(), choice.to_owned()).await {
        tracing::error!("{error}");
        return boot::hold("the server cannot record the choice now", &again).unwrap_or_default();
    }
    match (choice, entry, blade) {
        ("local-boot", ..) => boot::local("booting from disk"),
        (_, Some(entry), Some(blade)) if entry.available => {
            match super::console::adopt(app, blade, entry).await {
                Ok(()) => answer(app, &app.snapshot.load_full(), mac, base),
                Err(why) => boot::hold(&why, &again).unwrap_or_default(),
            }
        }
        _ => boot::hold("choice recorded; waiting for an operator", &again).unwrap_or_default(),
    }
}

async fn image(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(sha256): Path<String>,
    request: Request,
) -> Response {
    let Ok(content) = app.images.open_blob(&sha256) else {
        return Refusal::Unknown.into_response();
    };
    let snapshot = app.snapshot.load();
    let asking = ipv4(peer).and_then(|ip| snapshot.by_ip(ip));
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
    let made = install::plan(&app, &snapshot, blade, id, number, &base_url(&app, &headers))
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

async fn events(
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
async fn cloud_init(
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
        phase: Some(Phase::Up),
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
async fn finish(
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
