//! `/api/v1`: what the command line and scripts speak. JSON in and out; errors are
//! `{"error": "…"}` with one problem a line.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{App, Shared, install, live, machines, operate, rehearse, view};
use crate::{
    blade::{AttemptId, Hostname},
    db::{self, DbError, Tx},
    inventory::{Document, Snapshot, SourceMap},
    journal::{self, ApplyError, ApplyRequest, Judge},
    topology::Os,
};

pub fn router() -> Router<Shared> {
    Router::new()
        .route("/overview", get(overview))
        .route("/blades", get(blades))
        .route("/blades/{name}", get(blade))
        .route("/blades/{name}/render", get(render))
        .route("/blades/{name}/{action}", post(operate::act))
        .route("/rehearse/{mac}", get(rehearse::rehearse))
        .route("/racks", get(racks))
        .route("/discovered", get(machines::list))
        .route("/discovered/{mac}", get(machines::one).delete(machines::forget))
        .route("/discovered/{mac}/rack", post(machines::rack))
        .route("/clusters", get(clusters))
        .route("/clusters/{name}", get(operate::cluster))
        .route("/clusters/{name}/plan", get(operate::plan))
        .route("/clusters/{name}/deploy", post(operate::deploy))
        .route("/topologies", get(topologies))
        .route("/images", get(images))
        .route("/leases", get(leases))
        .route("/attempts", get(attempts))
        .route("/events", get(events))
        .route("/apply", post(apply))
        .route("/export", get(export))
        .route("/check", get(check))
        .route("/backup", get(backup))
}

/// An answer that is no success, as a client sees it.
pub struct ApiError(pub StatusCode, pub String);

impl ApiError {
    pub fn missing(what: &str, name: &str) -> ApiError {
        ApiError(StatusCode::NOT_FOUND, format!("there is no {what} {name:?}"))
    }

    pub fn refused(why: impl Into<String>) -> ApiError {
        ApiError(StatusCode::CONFLICT, why.into())
    }
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        let (status, text) = super::internal(&error);
        ApiError(status, text.trim_end().to_owned())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

pub type Answer = Result<Json<Value>, ApiError>;

fn json_of<T: serde::Serialize>(value: &T) -> Answer {
    serde_json::to_value(value)
        .map(Json)
        .map_err(|error| ApiError(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// What an inventory must satisfy beyond its own rules: topologies and parameters.
pub fn judge(app: &Arc<App>) -> Judge {
    let app = app.clone();
    Arc::new(move |document: &Document, sources: &SourceMap| {
        let config = app.journal.config();
        let snapshot =
            Snapshot::build(config, document, &|_, _| (crate::inventory::Intent::Menu, None));
        let here = |name: &str| app.loaders.find(name).is_some();
        let mut problems = crate::boot::check(document, sources, &here);
        for cluster in &document.clusters {
            let at = sources.locate(cluster.name.as_str(), cluster.name.as_str());
            // Without its image the family is not known; the image is asked for at `plan`.
            let os = app
                .image_of(cluster)
                .ok()
                .and_then(|image| image.os.to_string().parse().ok())
                .unwrap_or_default();
            match crate::reconcile::spec(&snapshot, cluster, os) {
                Ok(spec) => {
                    let found = app.catalogue.check(&spec);
                    problems.extend(
                        found
                            .iter()
                            .map(|problem| format!("{at}cluster {}: {problem}", cluster.name)),
                    );
                }
                Err(lines) => problems.extend(lines.into_iter().map(|line| format!("{at}{line}"))),
            }
        }
        problems
    })
}

/// The whole site as people see it.
pub async fn site(app: &App) -> Result<view::Overview, DbError> {
    let mut tx: Tx = app.journal.db().read().await?;
    let document = db::load_inventory(&mut tx).await?;
    let rows = db::latest_attempts(&mut tx).await?;
    let last = db::last_event(&mut tx).await?;
    let alerts = recent_alerts(&mut tx).await?;
    let snapshot = app.snapshot.load();
    let mut overview =
        view::overview(&app.journal.config().site, &snapshot, &document, &rows, journal::now());
    overview.last_event = last;
    overview.findings = (app.check)().into_iter().filter(|finding| finding.level != "ok").collect();
    if let Some(trouble) = app.journal.trouble() {
        overview.findings.insert(0, view::Finding::new("error", "journal", trouble));
    }
    overview.findings.extend(alerts);
    Ok(overview)
}

/// What was alarming in the last ten minutes, newest first, each once.
async fn recent_alerts(tx: &mut Tx) -> Result<Vec<view::Finding>, DbError> {
    let since = journal::now() - 600_000;
    let mut alerts: Vec<view::Finding> = Vec::new();
    for event in db::events_of_kind(tx, crate::blade::Kind::Alert, since, 20).await? {
        let alert = view::Finding::new("warning", "alert", event.text);
        if alerts.len() < 5 && !alerts.contains(&alert) {
            alerts.push(alert);
        }
    }
    Ok(alerts)
}

async fn overview(State(app): State<Shared>) -> Answer {
    json_of(&site(&app).await?)
}

async fn blades(State(app): State<Shared>) -> Answer {
    let site = site(&app).await?;
    let slots = site
        .racks
        .into_iter()
        .flat_map(|rack| rack.chassis)
        .flat_map(|chassis| chassis.slots)
        .flatten();
    json_of(&slots.chain(site.loose).collect::<Vec<_>>())
}

async fn racks(State(app): State<Shared>) -> Answer {
    json_of(&site(&app).await?.racks)
}

async fn clusters(State(app): State<Shared>) -> Answer {
    json_of(&site(&app).await?.clusters)
}

/// A blade with its attempts and the last lines of its journal.
pub async fn described(app: &App, name: &str) -> Result<Value, ApiError> {
    let snapshot = app.snapshot.load_full();
    let blade = snapshot.by_name(name).ok_or_else(|| ApiError::missing("blade", name))?;
    let mut tx = app.journal.db().read().await?;
    let attempts = db::attempts_of(&mut tx, &blade.name, 20).await?;
    let events = db::events_of_blade(&mut tx, &blade.name, 200).await?;
    let view = view::blade_view(&snapshot, blade, attempts.first(), journal::now());
    drop(tx);
    let learned = machines::learned(app, &blade.macs).await?;
    let learned = learned.map(|one| json!({ "reported": one.reported, "machine": one.machine }));
    Ok(json!({ "blade": view, "attempts": attempts, "events": events, "learned": learned }))
}

async fn blade(State(app): State<Shared>, Path(name): Path<String>) -> Answer {
    described(&app, &name).await.map(Json)
}

#[derive(Deserialize)]
struct Format {
    format: Option<String>,
}

/// The documents a blade would be sent, without secrets: file name → text. Default format: the
/// boot image's own. `base` is where the blade asks, if that is known.
pub fn documents(app: &Arc<App>, name: &str, format: Option<&str>, base: Option<&str>) -> Answer {
    let snapshot = app.snapshot.load_full();
    let blade = snapshot.by_name(name).ok_or_else(|| ApiError::missing("blade", name))?;
    let nobody = AttemptId(uuid::Uuid::nil());
    let base = base.or(app.boot_url.as_deref()).unwrap_or("http://SERVER");
    let plan = install::plan(app, &snapshot, blade, nobody, 0, base).map_err(ApiError::refused)?;
    let native = if plan.os() == Ok(Os::Flatcar) { "coreos" } else { "cloud-init" };
    let files = match format.unwrap_or(native) {
        "coreos" => json!({ "config.yml": plan.document.coreos(None) }),
        "cloud-init" => {
            let made = plan.document.cloud_init(None);
            json!({ "user-data": made.user_data, "meta-data": made.meta_data, "network-config": made.network_config })
        }
        "ignition" => json!({ "config.ign": plan.document.ignition(None) }),
        other => {
            return Err(ApiError::refused(format!(
                "format {other:?} is not supported; use cloud-init, coreos or ignition"
            )));
        }
    };
    Ok(Json(files))
}

async fn render(
    State(app): State<Shared>,
    Path(name): Path<String>,
    Query(query): Query<Format>,
) -> Answer {
    documents(&app, &name, query.format.as_deref(), None)
}

async fn topologies(State(app): State<Shared>) -> Answer {
    let entries = app.catalogue.entries();
    Ok(Json(Value::Array(
        entries
            .iter()
            .map(|entry| {
                json!({
                    "id": entry.id, "topology": entry.topology, "title": entry.title_en, "title_zh": entry.title_zh,
                    "summary": entry.summary_en, "min_blades": entry.min_blades, "available": entry.available,
                })
            })
            .collect(),
    )))
}

async fn images(State(app): State<Shared>) -> Answer {
    let images = app.images.list();
    Ok(Json(images.iter().map(|set| set.to_json()).collect()))
}

async fn leases(State(app): State<Shared>) -> Answer {
    let mut tx = app.journal.db().read().await?;
    let leases = db::leases(&mut tx).await?;
    Ok(Json(Value::Array(
        leases
            .iter()
            .map(|lease| {
                json!({
                    "ip": lease.ip, "mac": lease.mac, "until": lease.until, "hostname": lease.hostname,
                    "state": match lease.state {
                        crate::inventory::LeaseState::Bound => "bound",
                        crate::inventory::LeaseState::Quarantined => "quarantined",
                    },
                })
            })
            .collect(),
    )))
}

#[derive(Deserialize)]
struct OfBlade {
    blade: Option<Hostname>,
}

async fn attempts(State(app): State<Shared>, Query(query): Query<OfBlade>) -> Answer {
    let mut tx = app.journal.db().read().await?;
    match query.blade {
        Some(blade) => json_of(&db::attempts_of(&mut tx, &blade, 100).await?),
        None => json_of(&db::latest_attempts(&mut tx).await?),
    }
}

#[derive(Deserialize)]
struct Window {
    after: Option<i64>,
    blade: Option<Hostname>,
    limit: Option<i64>,
}

/// The journal: live as server-sent events where the client accepts them, else as JSON.
async fn events(
    State(app): State<Shared>,
    Query(window): Query<Window>,
    headers: HeaderMap,
) -> Response {
    let streams = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/event-stream"));
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let after = resumed.or(window.after);
    if streams {
        let after = after.unwrap_or(0);
        return live::follow(
            app.journal.db().clone(),
            app.journal.changes(),
            after,
            app.shutdown.clone(),
        )
        .into_response();
    }
    let limit = window.limit.unwrap_or(200).clamp(1, 5000);
    let read = async {
        let mut tx = app.journal.db().read().await?;
        match (&window.blade, after) {
            (Some(blade), _) => db::events_of_blade(&mut tx, blade, limit).await,
            (None, Some(after)) => db::events_after(&mut tx, after, limit).await,
            (None, None) => db::latest_events(&mut tx, limit).await,
        }
    };
    match read.await {
        Ok(events) => Json(events).into_response(),
        Err(error) => ApiError::from(error).into_response(),
    }
}

async fn apply(State(app): State<Shared>, Json(request): Json<ApplyRequest>) -> Answer {
    match app.journal.apply(request, judge(&app)).await {
        Ok(applied) => json_of(&applied),
        Err(ApplyError::Refused(problems)) => {
            Err(ApiError(StatusCode::UNPROCESSABLE_ENTITY, problems.join("\n")))
        }
        Err(ApplyError::Db(error)) => Err(error.into()),
    }
}

async fn export(State(app): State<Shared>) -> Result<String, ApiError> {
    let mut tx = app.journal.db().read().await?;
    db::load_inventory(&mut tx)
        .await?
        .to_toml()
        .map_err(|error| ApiError(StatusCode::INTERNAL_SERVER_ERROR, error))
}

async fn check(State(app): State<Shared>) -> Answer {
    let mut findings = (app.check)();
    match app.journal.trouble() {
        Some(trouble) => findings.push(view::Finding::new("error", "journal", trouble)),
        None => findings.push(view::Finding::new("ok", "journal", "can be written")),
    }
    let mut tx = app.journal.db().read().await?;
    findings.extend(recent_alerts(&mut tx).await?);
    json_of(&findings)
}

async fn backup(State(app): State<Shared>) -> Result<String, ApiError> {
    Ok(db::dump(app.journal.db()).await?)
}

/// 200 while the journal can be written.
pub async fn readyz(State(app): State<Shared>) -> Response {
    match app.journal.trouble() {
        None => "ready\n".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, format!("{trouble}\n")).into_response(),
    }
}

/// How long a person waits for a BMC before the answer is "still trying".
pub const PATIENCE: Duration = Duration::from_secs(20);
