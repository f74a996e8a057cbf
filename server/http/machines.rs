//! Machines that wait for an operator: the list, and "rack it here", for pages and API.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    App, Shared,
    api::{self, Answer, ApiError},
    operate,
};
use crate::{
    blade::{Hostname, Mac, Millis},
    db,
    inventory::{self, BladeDoc, Document, Intent, Machine, Mark, Place, Racked, Reported, Wish},
    journal::{self, ApplyError, ApplyRequest, Held},
};

/// A machine that asked within this time still waits.
const WAITS: Millis = 180_000;

/// A machine as people see it.
#[derive(Debug, Clone, Serialize)]
pub struct Waiting {
    pub mac: Mac,
    pub ip: Option<std::net::Ipv4Addr>,
    pub first_seen: Millis,
    pub reported: Millis,
    pub last_seen: Millis,
    /// It asked a moment ago; racked, it goes on by itself.
    pub waits: bool,
    /// In a line.
    pub summary: String,
    #[serde(serialize_with = "marks_as_told")]
    pub marks: Vec<Mark>,
    pub machine: Machine,
}

fn marks_as_told<S: serde::Serializer>(marks: &[Mark], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(marks.iter().map(|mark| {
        json!({ "oddity": mark.oddity, "with": mark.with, "what": mark.what, "text": mark.words() })
    }))
}

/// Machines that are in no blade's entry, the first that came first.
pub async fn waiting(app: &App) -> Result<Vec<Waiting>, db::DbError> {
    let mut tx = app.journal.db().read().await?;
    let all = db::machines(&mut tx).await?;
    let snapshot = app.snapshot.load();
    let now = journal::now();
    let strangers = all.iter().filter(|one| snapshot.by_mac(one.mac).is_none());
    Ok(strangers
        .map(|one| Waiting {
            mac: one.mac,
            ip: one.ip,
            first_seen: one.first_seen,
            reported: one.reported,
            last_seen: one.last_seen,
            waits: now - one.last_seen < WAITS,
            summary: one.machine.words(),
            marks: inventory::marks(one, &all, &snapshot),
            machine: one.machine.clone(),
        })
        .collect())
}

/// What the machine in a blade's place reported last, if it ever did.
pub async fn learned(app: &App, macs: &[Mac]) -> Result<Option<Reported>, db::DbError> {
    let mut tx = app.journal.db().read().await?;
    for mac in macs {
        if let Some(one) = db::machine(&mut tx, *mac).await? {
            return Ok(Some(one));
        }
    }
    Ok(None)
}

pub async fn list(State(app): State<Shared>) -> Answer {
    let waiting = waiting(&app).await?;
    let items: Result<Vec<Value>, _> = waiting.iter().map(serde_json::to_value).collect();
    items.map(|items| Json(items.into())).map_err(|error| ApiError::refused(error.to_string()))
}

/// A machine that waits. The error names what was asked for.
pub async fn find(app: &App, mac: &str) -> Result<Waiting, ApiError> {
    let missing = || ApiError::missing("waiting machine", mac);
    let parsed: Mac = mac.parse().map_err(|_| missing())?;
    waiting(app).await?.into_iter().find(|one| one.mac == parsed).ok_or_else(missing)
}

pub async fn one(State(app): State<Shared>, Path(mac): Path<String>) -> Answer {
    let found = serde_json::to_value(find(&app, &mac).await?);
    found.map(Json).map_err(|error| ApiError::refused(error.to_string()))
}

/// As scripts and forms write it: `r1/c1/3` for a slot is enough.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    #[serde(default)]
    pub slot: Option<String>,
    #[serde(default)]
    pub name: Option<Hostname>,
    #[serde(default)]
    pub ip: Option<std::net::Ipv4Addr>,
    #[serde(default)]
    pub disk: Option<String>,
    #[serde(default)]
    pub take_over: bool,
    #[serde(default)]
    pub install: bool,
}

impl Request {
    pub fn wish(self) -> Result<Wish, ApiError> {
        let Request { slot, name, ip, disk, take_over, install } = self;
        let slot = slot.as_deref().map(place).transpose().map_err(ApiError::refused)?;
        Ok(Wish { slot, name, ip, disk, take_over, install })
    }
}

/// Reads `rack/chassis/slot`.
pub fn place(text: &str) -> Result<Place, String> {
    let bad = || format!("{text:?} is no slot; write RACK/CHASSIS/SLOT, such as r1/c1/3");
    let mut parts = text.split('/');
    let (Some(rack), Some(chassis), Some(slot), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(bad());
    };
    Ok(Place {
        rack: rack.parse().map_err(|_| bad())?,
        chassis: chassis.parse().map_err(|_| bad())?,
        slot: slot.parse().map_err(|_| bad())?,
    })
}

pub async fn rack(
    State(app): State<Shared>,
    Path(mac): Path<String>,
    Json(request): Json<Request>,
) -> Answer {
    let wish = request.wish()?;
    perform(&app, &mac, &wish).await.map(Json)
}

pub async fn forget(State(app): State<Shared>, Path(mac): Path<String>) -> Answer {
    let found = find(&app, &mac).await?;
    app.journal.forget_machine(found.mac).await?;
    Ok(Json(json!({ "mac": found.mac, "forgotten": true })))
}

/// What racking would do, before it does it.
pub async fn planned(app: &App, mac: &str, wish: &Wish) -> Result<(Mac, Racked), ApiError> {
    let found = find(app, mac).await?;
    let mut tx = app.journal.db().read().await?;
    let all = db::machines(&mut tx).await?;
    let document = db::load_inventory(&mut tx).await?;
    let one = all.iter().find(|one| one.mac == found.mac);
    let one = one.ok_or_else(|| ApiError::missing("waiting machine", mac))?;
    let racked = inventory::rack(one, &all, &document, wish).map_err(ApiError::refused)?;
    Ok((found.mac, racked))
}

/// Makes a waiting machine a blade, the way `apply` does.
pub async fn perform(app: &Shared, mac: &str, wish: &Wish) -> Result<Value, ApiError> {
    let (mac, racked) = planned(app, mac, wish).await?;
    let name = racked.blade.name.clone();
    let replaced = racked.replaced.as_ref().map(|old| old.macs.clone()).unwrap_or_default();
    let took_over = racked.replaced.is_some();
    let anew = if took_over { held(app, &name).await? } else { None };
    let next = match (anew, wish.install) {
        (Some(anew), true) => {
            apply(app, racked.blade.clone(), None).await?;
            Some(install_anew(app, anew).await?)
        }
        (anew, _) => {
            let next = anew.as_ref().map(told);
            apply(app, racked.blade.clone(), anew).await?;
            next
        }
    };
    app.journal.racked(mac, name.clone(), replaced).await?;
    let snapshot = app.snapshot.load_full();
    let blade = snapshot.by_name(name.as_str());
    let next = next.unwrap_or_else(|| match blade.map(|blade| &blade.intent) {
        Some(Intent::Menu) | None => "it gets the console menu".to_owned(),
        Some(Intent::Wait(why)) => format!("it waits: {why}"),
        Some(Intent::Install(attempt)) => format!("it installs, attempt {}", attempt.number),
        Some(Intent::Local) => "it boots from its disk".to_owned(),
    });
    Ok(json!({
        "mac": mac, "blade": name, "ip": blade.and_then(|blade| blade.ip), "macs": racked.blade.macs,
        "took_over": took_over, "dropped": racked.dropped, "next": next,
    }))
}

async fn apply(app: &Shared, blade: BladeDoc, anew: Option<Held>) -> Result<(), ApiError> {
    let document = Document { blades: vec![blade], ..Document::default() };
    let files = vec![("rack".to_owned(), document.to_toml().map_err(ApiError::refused)?)];
    let request = ApplyRequest { files, dry_run: false, prune: false };
    match app.journal.apply_and_hold(request, api::judge(app), anew).await {
        Ok(_) => Ok(()),
        Err(ApplyError::Refused(problems)) => Err(ApiError::refused(problems.join("\n"))),
        Err(ApplyError::Db(error)) => Err(error.into()),
    }
}

/// The role of a blade that had one, to begin anew on another machine: the old machine's
/// installation says nothing about the disk of the new one, and a blade that was installed would
/// be told to boot from it. Held until an operator says so.
async fn held(app: &Shared, name: &Hostname) -> Result<Option<Held>, ApiError> {
    let mut tx = app.journal.db().read().await?;
    let Some(last) = db::latest_attempt(&mut tx, name).await? else { return Ok(None) };
    let snapshot = app.snapshot.load_full();
    let member = snapshot.by_name(name.as_str()).and_then(|blade| blade.member.clone());
    let (cluster, role) =
        member.map_or((last.cluster, last.role), |member| (member.cluster, member.role));
    let why = "another machine has its place; released, its role is installed, and the disk erased";
    Ok(Some(Held { blade: name.clone(), cluster, role, why: why.to_owned() }))
}

fn told(anew: &Held) -> String {
    format!("it is held: {}", anew.why)
}

/// Installs at once where that was asked and can be. What happens, for people.
async fn install_anew(app: &Shared, mut anew: Held) -> Result<String, ApiError> {
    let asked = operate::perform(app, anew.blade.as_str(), "reinstall", "", "").await;
    let Err(ApiError(_, why)) = asked else { return Ok("it installs its role".to_owned()) };
    anew.why = format!("another machine has its place, and {why}");
    let told = told(&anew);
    app.journal.begin_held(anew).await?;
    Ok(told)
}
