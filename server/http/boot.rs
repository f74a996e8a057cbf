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
    App, Shared, blob,
    install::{self, Plan},
    internal,
    listen::in_time,
    refusal::{Refusal, admit, ipv4, token_of},
    reports,
    throttle::{self, Throttle},
};
use crate::{
    blade::{Kind, Mac, Phase},
    boot,
    config::DhcpMode,
    db,
    images::Kind as ArtifactKind,
    inventory::{Blade, Intent, Snapshot},
    journal::Sighting,
    topology::Os,
};

/// A report with its log tail of 16 KiB fits; more is refused with 413.
const LARGEST_REPORT: usize = 32 * 1024;

/// Every address a blade knows; CONTRACT.md names them.
pub fn router(app: Shared) -> Router {
    Router::new()
        .route("/boot/{script}", get(script))
        .route("/config/{menu}/{document}", get(config))
        .route("/api/v1/attempts/{id}/events", post(reports::events))
        .route("/api/v1/attempts/{id}/cloud-init", post(reports::cloud_init))
        .route("/api/v1/attempts/{id}/phone-home", post(reports::cloud_init))
        .route("/notify/finish", post(reports::finish))
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
    method: Method,
    headers: HeaderMap,
) -> Response {
    let Some(mac) = name.strip_suffix(".ipxe").and_then(|mac| mac.parse::<Mac>().ok()) else {
        return Refusal::Unknown.into_response();
    };
    let base = base_url(&app, &headers);
    let mut snapshot = app.snapshot.load_full();
    // Nobody asks, or chooses, for a blade but the blade itself.
    if snapshot.by_mac(mac).is_some_and(|blade| blade.ip != ipv4(peer)) {
        return Refusal::Unknown.into_response();
    }
    // HEAD tells of the answer and changes nothing (RFC 9110 §9.2.1).
    if method == Method::HEAD {
        return text(decide(&app, &snapshot, mac, &base).0);
    }
    if let Some(choice) = query
        .as_deref()
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("choice=")))
    {
        return text(chosen(&app, peer, mac, choice, &base).await);
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
    let (script, told) = decide(app, snapshot, mac, base);
    // An installing blade's question is a sign of life each time.
    let installs = blade.is_some_and(|blade| matches!(blade.intent, Intent::Install(_)));
    if !app.told.is_news(mac, &told, std::time::Instant::now()) && !installs {
        return script;
    }
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

/// The script, and what it is in a line for people.
fn decide(app: &App, snapshot: &Snapshot, mac: Mac, base: &str) -> (String, String) {
    let again = &boot::script_url(base, mac);
    let hold = |why: &str| {
        let script = boot::hold(why, again)
            .unwrap_or_else(|_| boot::local("the server has no script for this blade"));
        (script, format!("wait: {why}"))
    };
    match snapshot.by_mac(mac).map(|blade| (blade, &blade.intent)) {
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
    if blade.is_none() && !leased(app, peer, mac).await {
        return boot::hold("this blade has no address from here", &again).unwrap_or_default();
    }
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

/// True if an unknown blade holds the lease of the address it asks from, so that made-up MACs
/// leave no choices behind. Where another server gives the addresses, nobody can tell.
async fn leased(app: &App, peer: SocketAddr, mac: Mac) -> bool {
    if app.journal.config().dhcp.mode != DhcpMode::Server {
        return true;
    }
    let read = async {
        let mut tx = app.journal.db().read().await?;
        db::leases(&mut tx).await
    };
    let leases = read.await.unwrap_or_default();
    leases.iter().any(|lease| lease.mac == mac && Some(lease.ip) == ipv4(peer))
}

async fn image(
    State(app): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(sha256): Path<String>,
    request: Request,
) -> Response {
    let snapshot = app.snapshot.load();
    let asking = ipv4(peer).and_then(|ip| snapshot.by_ip(ip));
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
    if let Some(blade) = ipv4(peer).and_then(|ip| snapshot.by_ip(ip))
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
