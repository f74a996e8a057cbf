//! Machines that wait to be put into the inventory: cards on the home page, a page for each.

use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use super::{
    lang::{Words, bytes},
    layout::Page,
    texts::fill,
    visitor::Visitor,
};
use crate::{
    blade::Mac,
    http::{
        App, Shared,
        api::{self, ApiError},
        machines::{self, Waiting},
        view::Overview,
    },
    inventory::{BmcSeen, FirmwareKind, Machine, Mark, Nic, Oddity, Racked, SeenDisk, Wish},
};

/// A machine on the home page.
pub struct Card {
    pub mac: Mac,
    pub title: String,
    pub serial: String,
    pub facts: Vec<String>,
    pub marks: Vec<String>,
    /// It asks, and goes on by itself.
    pub waits: bool,
    pub state: String,
    pub slots: Vec<Slot>,
}

/// A slot to choose.
#[derive(Clone)]
pub struct Slot {
    pub value: String,
    pub label: String,
    pub taken: bool,
    pub chosen: bool,
}

pub struct Choice {
    pub value: String,
    pub label: String,
}

#[derive(Template)]
#[template(path = "machine.html")]
pub struct MachinePage {
    pub page: Page,
    pub card: Card,
    pub rows: Vec<(&'static str, String)>,
    pub disks: Vec<Choice>,
    /// What happens if it takes the place of a blade, where that is asked.
    pub over: Option<Over>,
}

/// A take-over that is asked about.
pub struct Over {
    pub title: String,
    pub lines: Vec<String>,
    pub slot: String,
    pub name: String,
    pub disk: String,
    /// The role that would be installed, and what is erased.
    pub install: Option<String>,
}

/// Every slot of the site, empty ones first; the first of them, or `wanted`, is chosen.
pub fn slots(overview: &Overview, wanted: Option<&str>, words: &Words<'_>) -> Vec<Slot> {
    let mut slots = Vec::new();
    for rack in &overview.racks {
        for chassis in &rack.chassis {
            for (index, blade) in chassis.slots.iter().enumerate() {
                let value = format!("{}/{}/{}", rack.name, chassis.name, index + 1);
                let label = match blade {
                    Some(blade) => {
                        fill(words.t.slot_of, &[("slot", &value), ("name", blade.name.as_str())])
                    }
                    None => value.clone(),
                };
                let chosen = wanted == Some(value.as_str());
                slots.push(Slot { value, label, taken: blade.is_some(), chosen });
            }
        }
    }
    slots.sort_by_key(|slot| slot.taken);
    if wanted.is_none()
        && let Some(first) = slots.first_mut().filter(|slot| !slot.taken)
    {
        first.chosen = true;
    }
    slots
}

pub fn card(one: &Waiting, slots: Vec<Slot>, now: i64, words: &Words<'_>) -> Card {
    let (t, machine) = (words.t, &one.machine);
    let maker = machine.manufacturer.told().unwrap_or_default();
    let title = format!("{maker} {}", machine.model.told().unwrap_or_default());
    let serial = machine.serial.told().map(|serial| fill(t.serial_n, &[("n", serial)]));
    let size: u64 = machine.disks.iter().map(|disk| disk.size).fold(0, u64::saturating_add);
    let disks = format!("{} × {}", machine.disks.len(), t.disk);
    let mut facts = vec![
        fill(t.cores, &[("n", &machine.cpus.to_string()), ("arch", arch(machine))]),
        memory(machine.ram_mb),
        if size > 0 { format!("{disks}, {}", size_of(size)) } else { disks },
        firmware(machine, words),
    ];
    facts.extend(machine.lldp.as_ref().map(|lldp| format!("{}: {}", t.switch_port, lldp.words())));
    let ago = words.about(now - one.last_seen);
    Card {
        mac: one.mac,
        title: if title.trim().is_empty() {
            t.model_unknown.to_owned()
        } else {
            title.trim().to_owned()
        },
        serial: serial.unwrap_or_default(),
        facts,
        marks: one.marks.iter().map(|mark| told(mark, words)).collect(),
        waits: one.waits,
        state: if one.waits {
            t.machine_waits.to_owned()
        } else {
            fill(t.machine_silent, &[("time", &ago)])
        },
        slots,
    }
}

fn told(mark: &Mark, words: &Words<'_>) -> String {
    let text = match mark.oddity {
        Oddity::SameUuid => words.t.same_uuid,
        Oddity::SameSerial => words.t.same_serial,
        Oddity::KnownMac => words.t.known_mac,
        Oddity::SameMac => words.t.same_mac,
    };
    fill(text, &[("what", &mark.what), ("with", &mark.with)])
}

fn arch(machine: &Machine) -> &'static str {
    machine.arch.map_or("?", |arch| arch.as_str())
}

fn size_of(size: u64) -> String {
    bytes(i64::try_from(size).unwrap_or(i64::MAX))
}

fn memory(mb: u64) -> String {
    if mb >= 4096 { format!("{} GiB", (mb + 512) / 1024) } else { format!("{mb} MiB") }
}

fn firmware(machine: &Machine, words: &Words<'_>) -> String {
    let kind = match machine.firmware {
        Some(FirmwareKind::Uefi) => "UEFI",
        Some(FirmwareKind::Bios) => "BIOS",
        None => "?",
    };
    match machine.secure_boot {
        Some(true) => format!("{kind}, {}", words.t.secure_boot_on),
        Some(false) => format!("{kind}, {}", words.t.secure_boot_off),
        None => kind.to_owned(),
    }
}

fn disk(disk: &SeenDisk, words: &Words<'_>) -> String {
    let mut parts = vec![disk.name.to_string(), size_of(disk.size)];
    parts.extend([&disk.model, &disk.serial, &disk.wwn].map(ToString::to_string));
    if disk.has_data {
        parts.push(match disk.holds.is_empty() {
            true => words.t.disk_data.to_owned(),
            false => format!("{} ({})", words.t.disk_data, disk.holds),
        });
    }
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

fn nic(nic: &Nic, words: &Words<'_>) -> String {
    let link = match (nic.link, nic.speed) {
        (Some(true), Some(speed)) => format!("{speed} Mbit/s"),
        (Some(true), None) => words.t.link_up.to_owned(),
        (Some(false), _) => words.t.link_down.to_owned(),
        (None, _) => String::new(),
    };
    let mut parts = vec![nic.name.to_string(), nic.mac.to_string(), nic.driver.to_string(), link];
    parts.retain(|part| !part.is_empty());
    parts.join(" · ")
}

/// What installations do not tell by themselves.
pub fn learned(machine: &Machine, words: &Words<'_>) -> Vec<(&'static str, String)> {
    let t = words.t;
    let model = [&machine.manufacturer, &machine.model].map(|word| word.told().unwrap_or_default());
    let mut rows =
        vec![(t.model, model.join(" ").trim().to_owned()), (t.cpu, machine.cpu.to_string())];
    rows.extend(machine.nics.iter().map(|card| (t.card, nic(card, words))));
    rows.extend(machine.lldp.as_ref().map(|lldp| (t.switch_port, lldp.words())));
    let bmc = match (machine.bmc_ip, machine.bmc) {
        (Some(ip), _) => ip.to_string(),
        (None, BmcSeen::Present) => t.bmc_present.to_owned(),
        (None, BmcSeen::None) => t.bmc_none.to_owned(),
        (None, BmcSeen::Unknown) => String::new(),
    };
    rows.push((t.bmc, bmc));
    rows.retain(|(_, value)| !value.is_empty());
    rows
}

/// All that a machine said.
pub fn rows(machine: &Machine, words: &Words<'_>) -> Vec<(&'static str, String)> {
    let t = words.t;
    let cores = fill(t.cores, &[("n", &machine.cpus.to_string()), ("arch", arch(machine))]);
    let mut rows = learned(machine, words);
    rows.extend([(t.cores_label, cores), (t.memory, memory(machine.ram_mb))]);
    rows.extend(machine.disks.iter().map(|one| (t.disk, disk(one, words))));
    rows.extend([
        (t.firmware, firmware(machine, words)),
        (t.serial, machine.serial.to_string()),
        (t.uuid, machine.uuid.to_string()),
    ]);
    rows.retain(|(_, value)| !value.is_empty());
    rows
}

/// The cards of the home page.
pub async fn cards(
    app: &App,
    overview: &Overview,
    words: &Words<'_>,
) -> Result<Vec<Card>, ApiError> {
    let waiting = machines::waiting(app).await?;
    let slots = if waiting.is_empty() { Vec::new() } else { slots(overview, None, words) };
    Ok(waiting.iter().map(|one| card(one, slots.clone(), overview.at, words)).collect())
}

#[derive(Deserialize, Default)]
pub struct Fields {
    #[serde(default)]
    slot: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    ip: String,
    #[serde(default)]
    disk: String,
    #[serde(default)]
    take_over: bool,
    #[serde(default)]
    install: bool,
}

impl Fields {
    /// An empty field says nothing.
    fn wish(&self) -> Result<Wish, ApiError> {
        let field =
            |text: &str| Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
        let refused = |what: &str, text: &str| ApiError::refused(format!("{what} {text:?}"));
        let name = field(&self.name)
            .map(|name| name.parse().map_err(|_| refused("not a host name:", &name)))
            .transpose()?;
        let ip = field(&self.ip)
            .map(|ip| ip.parse().map_err(|_| refused("not an IPv4 address:", &ip)))
            .transpose()?;
        let slot = field(&self.slot)
            .map(|slot| machines::place(&slot).map_err(ApiError::refused))
            .transpose()?;
        let (take_over, install) = (self.take_over, self.install);
        Ok(Wish { slot, name, ip, disk: field(&self.disk), take_over, install })
    }
}

async fn page(
    app: &Shared,
    visitor: &Visitor,
    mac: &str,
    fields: &Fields,
    over: Option<Over>,
) -> Result<Response, ApiError> {
    let one = machines::find(app, mac).await?;
    let (words, overview) = (visitor.words(), api::site(app).await?);
    let wanted = Some(fields.slot.as_str()).filter(|slot| !slot.is_empty());
    let card = card(&one, slots(&overview, wanted, &words), overview.at, &words);
    let choice = |one: &SeenDisk| {
        let word = one.serial.told().or_else(|| one.wwn.told())?;
        Some(Choice { value: word.to_owned(), label: disk(one, &words) })
    };
    let fixed = one.machine.disks.iter().filter(|disk| !disk.removable);
    let title = card.title.clone();
    Ok(visitor.ok(&MachinePage {
        page: visitor.page(app, "racks", &title),
        rows: rows(&one.machine, &words),
        disks: fixed.filter_map(choice).collect(),
        card,
        over,
    }))
}

pub async fn machine(
    State(app): State<Shared>,
    visitor: Visitor,
    Path(mac): Path<String>,
    Query(fields): Query<Fields>,
) -> Response {
    let made = page(&app, &visitor, &mac, &fields, None).await;
    made.unwrap_or_else(|error| visitor.problem(&app, error, "/"))
}

/// Racks a machine; asks first where it would take the place of a blade.
pub async fn rack(
    State(app): State<Shared>,
    visitor: Visitor,
    Path(mac): Path<String>,
    Form(fields): Form<Fields>,
) -> Response {
    let made = async {
        let wish = fields.wish()?;
        let over = Wish { take_over: true, ..wish.clone() };
        let (_, planned) = machines::planned(&app, &mac, &over).await?;
        if planned.replaced.is_some() && !wish.take_over {
            let over = over_of(&app, &visitor, &fields, &planned);
            return page(&app, &visitor, &mac, &fields, Some(over)).await;
        }
        machines::perform(&app, &mac, &wish).await?;
        Ok(Redirect::to(&format!("/?blade={}#blade", planned.blade.name)).into_response())
    };
    // Only what is a MAC is sent back in an address.
    let back =
        mac.parse::<Mac>().map_or_else(|_| "/".to_owned(), |mac| format!("/discovered/{mac}"));
    made.await.unwrap_or_else(|error: ApiError| visitor.problem(&app, error, &back))
}

fn over_of(app: &App, visitor: &Visitor, fields: &Fields, planned: &Racked) -> Over {
    let t = visitor.words().t;
    let name = planned.blade.name.to_string();
    let snapshot = app.snapshot.load();
    let blade = snapshot.by_name(&name);
    let old = planned.replaced.iter().flat_map(|old| &old.macs).map(ToString::to_string);
    let old = old.collect::<Vec<_>>().join(" ");
    let ip = blade.and_then(|blade| blade.ip).map_or("–".to_owned(), |ip| ip.to_string());
    let member = blade.and_then(|blade| blade.member.as_ref());
    let role = member
        .map_or(t.role_none.to_owned(), |member| format!("{} ({})", member.role, member.cluster));
    let mut lines = vec![
        fill(t.over_gets, &[("ip", &ip), ("role", &role)]),
        fill(t.over_old, &[("macs", &old)]),
    ];
    lines.extend(planned.dropped.iter().cloned());
    let began = blade.is_some_and(|blade| blade.attempt.is_some());
    if began {
        lines.push(fill(t.over_held, &[("name", &name)]));
    }
    Over {
        title: fill(t.over_ask, &[("name", &name)]),
        lines,
        slot: fields.slot.clone(),
        name: fields.name.clone(),
        disk: fields.disk.clone(),
        install: (began && member.is_some()).then(|| fill(t.over_install, &[("role", &role)])),
    }
}

pub async fn forget(
    State(app): State<Shared>,
    visitor: Visitor,
    Path(mac): Path<String>,
) -> Response {
    match machines::forget(State(app.clone()), Path(mac)).await {
        Ok(_) => Redirect::to("/").into_response(),
        Err(error) => visitor.problem(&app, error, "/"),
    }
}
