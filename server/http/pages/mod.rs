//! The pages people see: pure models filled into templates (`web-ui/`), live by one small
//! script, whole without it.

use axum::{
    Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use serde::Deserialize;

use self::{
    facts::{Known, facts, line, log},
    timeline::{Marks, Run, Span},
    visitor::Visitor,
};
use super::{
    App, Shared,
    api::{self, ApiError},
    machines, operate, view,
};
use crate::{
    blade::{AttemptId, Event, Phase},
    db::{self, AttemptRow, DbError},
    inventory::Snapshot,
    journal,
};

mod act;
mod ask;
mod assets;
mod blade;
#[cfg(test)]
mod example;
mod facts;
mod hardware;
mod lang;
mod layout;
mod racks;
mod tables;
#[cfg(test)]
mod tests;
mod texts;
mod timeline;
mod tray;
mod visitor;

/// Attempts of a run that its medians are taken from.
const RUN: i64 = 40;
/// Lines of the journal on one page.
const LINES: i64 = 200;
/// Lines of a blade's journal that are looked through: an installation's reports and more.
const LINES_OF_BLADE: i64 = 1000;

pub fn router() -> Router<Shared> {
    Router::new()
        .route("/", get(home))
        .route("/blades/{name}", get(blade))
        .route("/blades/{name}/documents", get(documents))
        .route("/blades/{name}/{action}", get(act::ask_blade).post(act::act_blade))
        .route("/discovered/{mac}", get(tray::machine))
        .route("/discovered/{mac}/rack", axum::routing::post(tray::rack))
        .route("/discovered/{mac}/forget", axum::routing::post(tray::forget))
        .route("/clusters", get(clusters))
        .route("/clusters/{name}", get(cluster))
        .route("/clusters/{name}/deploy", get(act::ask_deploy).post(act::deploy))
        .route("/topologies", get(topologies))
        .route("/images", get(images))
        .route("/events", get(events))
        .route("/static/{name}", get(assets::serve))
        .fallback(missing)
}

async fn missing(State(app): State<Shared>, visitor: Visitor, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if !accept.is_some_and(|accept| accept.contains("text/html")) {
        return (StatusCode::NOT_FOUND, "not found\n").into_response();
    }
    visitor.problem(&app, ApiError(StatusCode::NOT_FOUND, String::new()), "/")
}

/// What the database knows of one blade.
struct Looked {
    attempts: Vec<AttemptRow>,
    events: Vec<Event>,
    spans: Vec<Span>,
    run: Run,
    last_event: i64,
}

async fn look(app: &App, blade: &crate::inventory::Blade) -> Result<Looked, DbError> {
    let mut tx = app.journal.db().read().await?;
    let last_event = db::last_event(&mut tx).await?;
    let attempts = db::attempts_of(&mut tx, &blade.name, 20).await?;
    let events = db::events_of_blade(&mut tx, &blade.name, LINES_OF_BLADE).await?;
    let mut found = Looked { attempts, events, spans: Vec::new(), run: Run::default(), last_event };
    let Some(row) = found.attempts.first() else { return Ok(found) };
    let marks = db::first_in_phases(&mut tx, row.id, &row.cluster, RUN).await?;
    let (mine, others) = by_attempt(marks, row.id);
    found.spans = timeline::spans(row, &mine, journal::now());
    found.run = Run::of(&others);
    Ok(found)
}

/// The marks of one attempt, and the phases of the others.
fn by_attempt(marks: Vec<(AttemptId, Phase, i64)>, mine: AttemptId) -> (Marks, Vec<Vec<Span>>) {
    let mut all: std::collections::BTreeMap<AttemptId, Marks> = std::collections::BTreeMap::new();
    for (attempt, phase, at) in marks {
        all.entry(attempt).or_default().push((phase, at));
    }
    let mine = all.remove(&mine).unwrap_or_default();
    (mine, all.into_values().map(timeline::spans_of_run).collect())
}

impl Looked {
    fn known<'a>(&'a self, view: &'a view::BladeView, snapshot: &Snapshot) -> Known<'a> {
        let cluster = view.cluster.as_ref().and_then(|name| snapshot.clusters.get(name));
        let members = cluster.map_or(0, |cluster| snapshot.members_of(cluster).count());
        Known {
            view,
            row: self.attempts.first(),
            spans: &self.spans,
            run: &self.run,
            events: &self.events,
            others: members.saturating_sub(1),
            now: journal::now(),
        }
    }
}

#[derive(Deserialize)]
struct Home {
    blade: Option<String>,
    q: Option<String>,
}

async fn home(State(app): State<Shared>, visitor: Visitor, Query(asked): Query<Home>) -> Response {
    let made = async {
        let overview = api::site(&app).await?;
        if let Some(q) = asked.q.as_deref().map(str::trim).filter(|q| !q.is_empty()) {
            return Ok(search(&app, &visitor, &overview, q));
        }
        let words = visitor.words();
        let snapshot = app.snapshot.load_full();
        let chosen = asked.blade.as_deref().and_then(|name| snapshot.by_name(name));
        let tray = tray::cards(&app, &overview, &words).await?;
        let mut beside = racks::Beside { tray, chosen: None, log: Vec::new() };
        if let Some(blade) = chosen {
            let looked = look(&app, blade).await?;
            let view = view::blade_view(&snapshot, blade, looked.attempts.first(), journal::now());
            beside.chosen = Some(facts(&looked.known(&view, &snapshot), &words, false));
        } else {
            let mut tx = app.journal.db().read().await?;
            let events = db::latest_events(&mut tx, LINES).await?;
            beside.log = log(&events, 20, &words);
        }
        let page = visitor.page(&app, "racks", words.t.racks).following(overview.last_event);
        Ok(visitor.ok(&racks::model(page, &overview, beside, &words)))
    };
    made.await.unwrap_or_else(|error| visitor.problem(&app, error, "/"))
}

/// Blades that a person looks for; the only one at once.
fn search(app: &App, visitor: &Visitor, overview: &view::Overview, q: &str) -> Response {
    let words = visitor.words();
    let q: String = q.chars().take(100).collect();
    let found: Vec<_> =
        racks::every_blade(overview).filter(|view| tables::matches(view, &q, &words)).collect();
    if let [one] = found.as_slice() {
        return Redirect::to(&format!("/blades/{}", one.name)).into_response();
    }
    let text = if found.is_empty() { words.t.found_none } else { words.t.found_n };
    let title = texts::fill(text, &[("n", &found.len().to_string()), ("q", &q)]);
    let mut page = visitor.page(app, "racks", &title);
    page.query = q;
    visitor.ok(&tables::found(page, &found, &words))
}

async fn blade(State(app): State<Shared>, visitor: Visitor, Path(name): Path<String>) -> Response {
    let made = async {
        let snapshot = app.snapshot.load_full();
        let blade = snapshot.by_name(&name).ok_or_else(|| ApiError::missing("blade", &name))?;
        let looked = look(&app, blade).await?;
        let view = view::blade_view(&snapshot, blade, looked.attempts.first(), journal::now());
        let page = visitor.page(&app, "racks", &name).following(looked.last_event);
        let known = looked.known(&view, &snapshot);
        let words = visitor.words();
        let mut model = blade::model(page, &known, blade.disk.as_ref(), &looked.attempts, &words);
        if let Some(one) = machines::learned(&app, &blade.macs).await? {
            blade::add_learned(&mut model, &one.machine, &words);
        }
        Ok(visitor.ok(&model))
    };
    made.await.unwrap_or_else(|error| visitor.problem(&app, error, "/"))
}

async fn documents(
    State(app): State<Shared>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Response {
    let made = || {
        let found = api::documents(&app, &name, None, None)?;
        let files = found.0.as_object().into_iter().flatten();
        let text = |value: &serde_json::Value| {
            value.as_str().map_or_else(|| value.to_string(), str::to_owned)
        };
        let title = texts::fill(visitor.words().t.documents_of, &[("name", &name)]);
        let name = name.parse().map_err(|_| ApiError::missing("blade", &name))?;
        let files = files.map(|(file, value)| (file.clone(), text(value))).collect();
        Ok(visitor.ok(&blade::DocumentsPage {
            page: visitor.page(&app, "racks", &title),
            name,
            files,
        }))
    };
    made().unwrap_or_else(|error| visitor.problem(&app, error, "/"))
}

async fn clusters(State(app): State<Shared>, visitor: Visitor) -> Response {
    let made = async {
        let overview = api::site(&app).await?;
        let words = visitor.words();
        let page = visitor.page(&app, "clusters", words.t.clusters).following(overview.last_event);
        let clusters = overview.clusters.iter().map(|view| tables::cluster(view, &words)).collect();
        Ok(visitor.ok(&tables::ClustersPage { page, clusters }))
    };
    made.await.unwrap_or_else(|error| visitor.problem(&app, error, "/"))
}

/// A cluster's plan and its blades, with what each one's disk is known to be.
async fn planned(
    app: &Shared,
    visitor: &Visitor,
    name: &str,
) -> Result<(tables::Plan, Vec<tables::Step>, i64), ApiError> {
    let plan = operate::plan(State(app.clone()), Path(name.to_owned())).await?;
    let plan: tables::Plan = serde_json::from_value(plan.0)
        .map_err(|error| ApiError(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let mut tx = app.journal.db().read().await?;
    let rows = db::latest_attempts(&mut tx).await?;
    let last_event = db::last_event(&mut tx).await?;
    let snapshot = app.snapshot.load_full();
    let words = visitor.words();
    let step = |step: &tables::PlanStep| {
        let blade = snapshot.by_name(step.blade.as_str())?;
        let row = rows.iter().find(|row| row.blade == blade.name);
        let hardware = row.and_then(|row| hardware::read(row.hello.as_deref()?));
        let view = view::blade_view(&snapshot, blade, row, journal::now());
        Some(tables::step(step, &view, blade::disk_lost(hardware.as_ref(), blade, &words), &words))
    };
    let steps = plan.blades.iter().filter_map(step).collect();
    Ok((plan, steps, last_event))
}

async fn cluster(
    State(app): State<Shared>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Response {
    let made = async {
        let (plan, steps, last_event) = planned(&app, &visitor, &name).await?;
        let words = visitor.words();
        let count = steps.iter().filter(|step| step.class == "ready").count();
        let ready = texts::fill(
            words.t.ready_of,
            &[("ready", &count.to_string()), ("all", &steps.len().to_string())],
        );
        let page = visitor.page(&app, "clusters", &name).following(last_event);
        Ok(visitor.ok(&tables::ClusterPage { page, plan, ready, steps }))
    };
    made.await.unwrap_or_else(|error| visitor.problem(&app, error, "/clusters"))
}

async fn topologies(State(app): State<Shared>, visitor: Visitor) -> Response {
    let words = visitor.words();
    let page = visitor.page(&app, "topologies", words.t.topologies);
    visitor.ok(&tables::topologies(page, app.catalogue.entries(), &words))
}

async fn images(State(app): State<Shared>, visitor: Visitor) -> Response {
    let words = visitor.words();
    let page = visitor.page(&app, "images", words.t.images);
    visitor.ok(&tables::images(page, &app.images.list(), &words))
}

#[derive(Deserialize)]
struct Before {
    before: Option<i64>,
}

async fn events(
    State(app): State<Shared>,
    visitor: Visitor,
    Query(asked): Query<Before>,
) -> Response {
    let made = async {
        let mut tx = app.journal.db().read().await?;
        let words = visitor.words();
        let page = visitor.page(&app, "events", words.t.journal);
        let (page, events) = match asked.before {
            Some(before) => (page, db::events_before(&mut tx, before, LINES).await?),
            None => (
                page.following(db::last_event(&mut tx).await?),
                db::latest_events(&mut tx, LINES).await?,
            ),
        };
        let older = events.last().map(|event| event.id).filter(|id| *id > 1);
        let log = events.iter().map(|event| line(event, &words)).collect();
        Ok(visitor.ok(&tables::EventsPage { page, log, older }))
    };
    made.await.unwrap_or_else(|error: ApiError| visitor.problem(&app, error, "/"))
}
