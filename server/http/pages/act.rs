//! What an operator does from a page: asked first where something is lost, then a redirect, so
//! that a reload does nothing twice.

use axum::{
    Form,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use super::{
    ask::{AskPage, Loss},
    blade::{disk_lost, hello},
    planned,
    texts::fill,
    visitor::Visitor,
};
use crate::{
    blade::{Hostname, Outcome, Phase},
    db::{self, AttemptRow},
    http::{Shared, api::ApiError, operate},
    inventory::Blade,
};

#[derive(Deserialize, Default)]
pub struct Fields {
    #[serde(default)]
    op: String,
    #[serde(default)]
    why: String,
    #[serde(default)]
    confirm: String,
}

/// Asks before a blade is reinstalled, switched off or cycled.
pub async fn ask_blade(
    State(app): State<Shared>,
    visitor: Visitor,
    Path((name, action)): Path<(String, String)>,
    Query(asked): Query<Fields>,
) -> Response {
    let made = async {
        let snapshot = app.snapshot.load_full();
        let blade = snapshot.by_name(&name).ok_or_else(|| ApiError::missing("blade", &name))?;
        let mut tx = app.journal.db().read().await?;
        let attempts = db::attempts_of(&mut tx, &blade.name, 20).await?;
        let page = match (action.as_str(), asked.op.as_str()) {
            ("reinstall", _) => reinstall(&app, &visitor, blade, &attempts),
            ("power", "off") => power(&app, &visitor, blade, &attempts, "off"),
            ("power", "cycle") => power(&app, &visitor, blade, &attempts, "cycle"),
            _ => return Err(ApiError(StatusCode::NOT_FOUND, String::new())),
        };
        Ok(visitor.ok(&page))
    };
    made.await.unwrap_or_else(|error| visitor.problem(&app, error, "/"))
}

/// True while an attempt of this blade would be lost.
fn under_way(attempts: &[AttemptRow]) -> bool {
    attempts.first().is_some_and(|row| {
        row.standing.outcome == Outcome::Going
            && (Phase::Powering..Phase::Up).contains(&row.standing.phase)
    })
}

fn reinstall(app: &Shared, visitor: &Visitor, blade: &Blade, attempts: &[AttemptRow]) -> AskPage {
    let words = visitor.words();
    let t = words.t;
    let name = blade.name.to_string();
    let ready = attempts.first().is_some_and(|row| row.standing.outcome == Outcome::Ready);
    let warnings = [ready.then_some(t.ready_now), under_way(attempts).then_some(t.going_now)];
    AskPage {
        page: visitor.page(app, "racks", &fill(t.reinstall_ask, &[("name", &name)])),
        wrong: None,
        loses: t.reinstall_loses.to_owned(),
        lines: vec![Loss {
            blade: name.clone(),
            text: disk_lost(hello(attempts).as_ref(), blade, &words),
        }],
        warnings: warnings.into_iter().flatten().collect(),
        action: format!("/blades/{name}/reinstall"),
        op: None,
        type_name: None,
        type_label: String::new(),
        button: t.reinstall_do,
        back: format!("/blades/{name}"),
    }
}

fn power(
    app: &Shared,
    visitor: &Visitor,
    blade: &Blade,
    attempts: &[AttemptRow],
    op: &'static str,
) -> AskPage {
    let t = visitor.words().t;
    let name = blade.name.to_string();
    let word = if op == "off" { t.op_off } else { t.op_cycle };
    AskPage {
        page: visitor.page(app, "racks", &fill(t.power_ask, &[("op", word), ("name", &name)])),
        wrong: None,
        loses: t.power_loses.to_owned(),
        lines: Vec::new(),
        warnings: under_way(attempts).then_some(t.power_mid_install).into_iter().collect(),
        action: format!("/blades/{name}/power"),
        op: Some(op),
        type_name: None,
        type_label: String::new(),
        button: word,
        back: format!("/blades/{name}"),
    }
}

/// `reinstall`, `hold`, `release` or `power` of one blade.
pub async fn act_blade(
    State(app): State<Shared>,
    visitor: Visitor,
    Path((name, action)): Path<(String, String)>,
    Form(fields): Form<Fields>,
) -> Response {
    // Only the name of a blade that exists is sent back in a header.
    let back =
        name.parse::<Hostname>().map_or_else(|_| "/".to_owned(), |name| format!("/blades/{name}"));
    match operate::perform(&app, &name, &action, &fields.op, &fields.why).await {
        Ok(_) => Redirect::to(&back).into_response(),
        Err(error) => visitor.problem(&app, error, &back),
    }
}

/// Asks before a cluster is deployed: which disks of which blades are lost.
pub async fn ask_deploy(
    State(app): State<Shared>,
    visitor: Visitor,
    Path(name): Path<String>,
) -> Response {
    match deploy_page(&app, &visitor, &name, None).await {
        Ok(page) => visitor.ok(&page),
        Err(error) => visitor.problem(&app, error, "/clusters"),
    }
}

async fn deploy_page(
    app: &Shared,
    visitor: &Visitor,
    name: &str,
    wrong: Option<&'static str>,
) -> Result<AskPage, ApiError> {
    let (plan, steps, _) = planned(app, visitor, name).await?;
    if !plan.problems.is_empty() {
        return Err(ApiError::refused(plan.problems.join("\n")));
    }
    let t = visitor.words().t;
    let any = |class: &str| steps.iter().any(|step| step.class == class);
    let moving = any("installing") || any("netbooting");
    let warnings = [any("ready").then_some(t.ready_now), moving.then_some(t.going_now)];
    Ok(AskPage {
        page: visitor.page(app, "clusters", &fill(t.deploy_ask, &[("name", name)])),
        wrong,
        loses: fill(t.deploy_loses, &[("n", &steps.len().to_string())]),
        lines: steps
            .iter()
            .map(|step| Loss {
                blade: step.name.to_string(),
                text: format!("{} · {}", step.role, step.disk),
            })
            .collect(),
        warnings: warnings.into_iter().flatten().collect(),
        action: format!("/clusters/{name}/deploy"),
        op: None,
        type_name: Some(name.to_owned()),
        type_label: fill(t.type_name, &[("name", name)]),
        button: t.deploy_do,
        back: format!("/clusters/{name}"),
    })
}

/// Deploys a cluster whose name was typed.
pub async fn deploy(
    State(app): State<Shared>,
    visitor: Visitor,
    Path(name): Path<String>,
    Form(fields): Form<Fields>,
) -> Response {
    if fields.confirm.trim() != name {
        return match deploy_page(&app, &visitor, &name, Some(visitor.words().t.typed_wrong)).await {
            Ok(page) => visitor.html(StatusCode::UNPROCESSABLE_ENTITY, &page),
            Err(error) => visitor.problem(&app, error, "/clusters"),
        };
    }
    match operate::deploy(State(app.clone()), Path(name.clone())).await {
        Ok(_) => Redirect::to("/").into_response(),
        Err(error) => visitor.problem(&app, error, &format!("/clusters/{name}")),
    }
}
