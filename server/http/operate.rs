//! What operators do: plan, deploy, reinstall, hold, release, power.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    App, Shared,
    api::{Answer, ApiError, PATIENCE},
    install, view,
};
use crate::{
    blade::{AttemptId, Hostname, Kind, NewEvent, Outcome, Phase},
    db::{self, AttemptRow},
    images::Kind as ArtifactKind,
    inventory::{Blade, ClusterDoc, Snapshot},
    journal,
    topology::ProbePlan,
};

fn find_cluster<'a>(snapshot: &'a Snapshot, name: &str) -> Result<&'a ClusterDoc, ApiError> {
    let parsed: Option<Hostname> = name.parse().ok();
    parsed
        .and_then(|name| snapshot.clusters.get(&name))
        .ok_or_else(|| ApiError::missing("cluster", name))
}

/// A cluster with the newest attempt of each of its blades.
pub async fn cluster(State(app): State<Shared>, Path(name): Path<String>) -> Answer {
    let snapshot = app.snapshot.load_full();
    let cluster = find_cluster(&snapshot, &name)?;
    let mut tx = app.journal.db().read().await?;
    let rows = db::latest_attempts(&mut tx).await?;
    let blades: Vec<_> = snapshot
        .members_of(cluster)
        .map(|(_, blade)| {
            view::blade_view(
                &snapshot,
                blade,
                rows.iter().find(|row| row.blade == blade.name),
                journal::now(),
            )
        })
        .collect();
    Ok(Json(json!({ "cluster": cluster, "blades": blades })))
}

/// What will happen to each blade of a cluster, and what stands in the way.
pub async fn plan(State(app): State<Shared>, Path(name): Path<String>) -> Answer {
    let snapshot = app.snapshot.load_full();
    let cluster = find_cluster(&snapshot, &name)?;
    let problems = problems_of(&app, &snapshot, cluster);
    let steps: Vec<Value> = snapshot
        .members_of(cluster)
        .map(|(role, blade)| {
            json!({
                "blade": blade.name, "role": role, "slot": blade.place, "macs": blade.macs, "ip": blade.ip,
                "arch": blade.arch.unwrap_or_default(),
                "disk": blade.disk.as_ref().map_or("the only fixed disk".to_owned(), crate::inventory::DiskSelector::words),
                "now": blade.attempt.as_ref().map(|attempt| attempt.standing.phase),
                "power": match &blade.bmc {
                    Some(bmc) if bmc.lab.is_some() => "virtual rack",
                    Some(_) => "by hand: the BMC is known, but IPMI is not spoken yet",
                    None => "by hand: no BMC is known",
                },
            })
        })
        .collect();
    let image = app.image_of(cluster).ok().map(|image| image.name.clone());
    Ok(Json(
        json!({ "cluster": cluster.name, "topology": cluster.topology, "image": image, "blades": steps, "problems": problems }),
    ))
}

/// Everything that would make an installation of this cluster fail, before anything is powered.
fn problems_of(app: &App, snapshot: &Snapshot, cluster: &ClusterDoc) -> Vec<String> {
    let spec = match app.spec_of(snapshot, cluster) {
        Ok(spec) => spec,
        Err(problems) => return problems,
    };
    let mut problems: Vec<String> =
        app.catalogue.check(&spec).iter().map(ToString::to_string).collect();
    if !problems.is_empty() {
        return problems;
    }
    let nobody = AttemptId(uuid::Uuid::nil());
    for (_, blade) in snapshot.members_of(cluster) {
        match install::plan(app, snapshot, blade, nobody, 0, "http://SERVER") {
            Err(why) => problems.push(format!("blade {}: {why}", blade.name)),
            Ok(plan) => {
                for kind in [ArtifactKind::Kernel, ArtifactKind::Initrd, ArtifactKind::Image] {
                    if plan.image.artifact(kind, plan.arch).is_none() {
                        problems.push(format!(
                            "E_BUNDLE_MISSING: blade {}: boot image {} has no {kind} for {}",
                            blade.name, plan.image.name, plan.arch
                        ));
                    }
                }
            }
        }
    }
    problems
}

/// Installs every blade of a cluster. Refused, with nothing begun, if anything stands in the way.
pub async fn deploy(State(app): State<Shared>, Path(name): Path<String>) -> Answer {
    let snapshot = app.snapshot.load_full();
    let cluster = find_cluster(&snapshot, &name)?;
    let problems = problems_of(&app, &snapshot, cluster);
    if !problems.is_empty() {
        return Err(ApiError::refused(problems.join("\n")));
    }
    let orders = snapshot
        .members_of(cluster)
        .map(|(role, blade)| (blade.name.clone(), cluster.name.clone(), role.to_owned()))
        .collect();
    let begun = app.journal.begin(orders, Phase::Off, "deployed by an operator").await?;
    let begun: Vec<Value> = begun
        .iter()
        .map(|begun| json!({ "blade": begun.blade, "attempt": begun.id, "number": begun.number }))
        .collect();
    Ok(Json(json!({ "cluster": cluster.name, "begun": begun })))
}

#[derive(Deserialize, Default)]
pub struct Request {
    #[serde(default)]
    op: String,
    #[serde(default)]
    why: String,
}

/// `reinstall`, `hold`, `release` or `power` of one blade.
pub async fn act(
    State(app): State<Shared>,
    Path((name, action)): Path<(String, String)>,
    body: Option<Json<Request>>,
) -> Answer {
    let Json(request) = body.unwrap_or_default();
    perform(&app, &name, &action, &request.op, &request.why).await.map(Json)
}

/// The same for pages and API.
pub async fn perform(
    app: &Shared,
    name: &str,
    action: &str,
    op: &str,
    why: &str,
) -> Result<Value, ApiError> {
    let snapshot = app.snapshot.load_full();
    let blade = snapshot.by_name(name).ok_or_else(|| ApiError::missing("blade", name))?;
    match action {
        "reinstall" => reinstall(app, &snapshot, blade).await,
        "hold" => {
            let why = if why.is_empty() { "no reason given" } else { why };
            app.journal.hold(blade.name.clone(), why.chars().take(200).collect()).await?;
            Ok(json!({ "blade": blade.name, "held": true }))
        }
        "release" => {
            app.journal.release(blade.name.clone()).await?;
            Ok(json!({ "blade": blade.name, "held": false }))
        }
        "power" => power(app, blade, op).await,
        _ => Err(ApiError(StatusCode::NOT_FOUND, format!("there is no action {action:?}"))),
    }
}

async fn reinstall(app: &Shared, snapshot: &Snapshot, blade: &Blade) -> Result<Value, ApiError> {
    let member = blade.member.as_ref().ok_or_else(|| {
        ApiError::refused(format!("blade {} has no role in a cluster", blade.name))
    })?;
    let cluster = find_cluster(snapshot, member.cluster.as_str())?;
    let problems = problems_of(app, snapshot, cluster);
    if !problems.is_empty() {
        return Err(ApiError::refused(problems.join("\n")));
    }
    let mut tx = app.journal.db().read().await?;
    let rows = db::latest_attempts(&mut tx).await?;
    drop(tx);
    let spec =
        app.spec_of(snapshot, cluster).map_err(|lines| ApiError::refused(lines.join("\n")))?;
    if let Some(why) = live_voter(&app.catalogue.probe(&spec), &rows, blade) {
        return Err(ApiError::refused(why));
    }
    let order = (blade.name.clone(), member.cluster.clone(), member.role.clone());
    let begun =
        app.journal.begin(vec![order], Phase::Off, "reinstall asked by an operator").await?;
    Ok(json!({ "blade": blade.name, "attempt": begun.first().map(|begun| begun.id) }))
}

/// Why a voter of a live etcd must not be installed anew by itself (CASES.md C38).
fn live_voter(plan: &ProbePlan, rows: &[AttemptRow], blade: &Blade) -> Option<String> {
    let standing =
        |name: &Hostname| rows.iter().find(|row| row.blade == *name).map(|row| row.standing);
    let voter = plan.etcd.iter().any(|voter| voter.blade == blade.name);
    let started = standing(&blade.name).is_some_and(|standing| standing.phase >= Phase::Up);
    let others = plan.etcd.iter().filter(|other| other.blade != blade.name);
    let ready: Vec<&str> = others
        .filter(|other| standing(&other.blade).is_some_and(|s| s.outcome == Outcome::Ready))
        .map(|other| other.blade.as_str())
        .collect();
    (voter && started && !ready.is_empty()).then(|| {
        let cluster = blade.member.as_ref().map_or("CLUSTER", |member| member.cluster.as_str());
        format!(
            "E_ETCD_MEMBER_LIVE: {} is a member of an etcd that lives ({} ready): a started member \
             cannot come back with an empty disk, because etcd knows it by its old identity. To \
             install all members anew, which loses etcd's data: firstlight deploy {cluster}. \
             Replacing one member comes in a later version",
            blade.name,
            ready.join(", ")
        )
    })
}

async fn power(app: &Shared, blade: &Blade, op: &str) -> Result<Value, ApiError> {
    if !matches!(op, "on" | "off" | "cycle" | "status") {
        return Err(ApiError::refused(format!(
            "power {op:?} is not known; use on, off, cycle or status"
        )));
    }
    let (name, op_text) = (blade.name.clone(), op.to_owned());
    let mut changes = app.journal.changes();
    let id = app
        .journal
        .write(move |write| {
            Box::pin(async move {
                let now = write.now;
                if op_text != "status" {
                    let event = NewEvent {
                        blade: Some(name.clone()),
                        ..NewEvent::new(
                            now,
                            Kind::Operator,
                            format!("power {op_text} asked by an operator"),
                        )
                    };
                    db::append(&mut write.tx, &event, None).await?;
                }
                db::ask_power(&mut write.tx, &name, &op_text, now).await
            })
        })
        .await?;
    let done = async {
        loop {
            changes.borrow_and_update();
            let mut tx = app.journal.db().read().await?;
            if let Some(result) =
                db::power_request(&mut tx, id).await?.and_then(|request| request.result)
            {
                return Ok::<String, ApiError>(result);
            }
            drop(tx);
            if changes.changed().await.is_err() {
                return Err(ApiError::refused("the daemon is stopping"));
            }
        }
    };
    let result = tokio::time::timeout(PATIENCE, done).await.map_err(|_| {
        ApiError(
            StatusCode::GATEWAY_TIMEOUT,
            format!("blade {}: the BMC has not answered yet; the request stays", blade.name),
        )
    })??;
    match result.strip_prefix("error: ") {
        Some(error) => Err(ApiError(StatusCode::BAD_GATEWAY, error.to_owned())),
        None => Ok(json!({ "blade": blade.name, "power": result })),
    }
}
