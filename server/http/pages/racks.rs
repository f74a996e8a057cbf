//! The home page: every rack as it stands, and one blade beside it. Pure.

use askama::Template;

use super::{
    facts::{Facts, Line, class_name, rate, state},
    lang::{Words, bytes},
    layout::Page,
    texts::fill,
    tray::Card,
};
use crate::{
    blade::{Class, Hostname, Outcome},
    http::view::{BladeView, ChassisView, Overview},
};

#[derive(Template)]
#[template(path = "racks.html")]
pub struct RacksPage {
    pub page: Page,
    pub alerts: Vec<Alert>,
    /// Machines that wait for an operator.
    pub tray: Vec<Card>,
    pub heading: String,
    pub summary: String,
    pub stack: Vec<Piece>,
    /// Clusters that wait to be deployed.
    pub deploy: Vec<Hostname>,
    pub racks: Vec<Rack>,
    pub loose: Vec<Slot>,
    pub chosen: Option<Facts>,
    pub attention: Vec<Attention>,
    pub log: Vec<Line>,
}

pub struct Alert {
    pub level: &'static str,
    pub label: &'static str,
    pub what: String,
    pub text: String,
}

/// A part of the bar that shows how many blades stand how; in percent of the bar.
pub struct Piece {
    pub class: &'static str,
    pub label: &'static str,
    pub count: usize,
    pub x: String,
    pub width: String,
}

pub struct Rack {
    pub name: Hostname,
    pub holds: String,
    pub chassis: Vec<Chassis>,
}

pub struct Chassis {
    pub title: String,
    pub bmc: Option<String>,
    /// More slots than fit beside each other.
    pub many: bool,
    pub slots: Vec<Place>,
}

pub enum Place {
    Empty { number: usize, label: String },
    Taken(Slot),
}

pub struct Slot {
    pub number: String,
    pub name: Hostname,
    pub class: &'static str,
    /// Height of the fill and its distance from the top, percent.
    pub fill: u8,
    pub top: u8,
    /// `hi`: filled to the top, number and all. `lo`: the glyph stands above the fill, not on it.
    pub tone: &'static str,
    pub glyph: String,
    pub word: &'static str,
    pub label: String,
    pub chosen: bool,
}

pub struct Attention {
    pub name: Hostname,
    pub class: &'static str,
    pub state: String,
    pub reason: String,
}

/// What stands around the racks: machines that wait; a chosen blade, or the last lines of the
/// journal.
pub struct Beside {
    pub tray: Vec<Card>,
    pub chosen: Option<Facts>,
    pub log: Vec<Line>,
}

pub fn model(page: Page, overview: &Overview, beside: Beside, words: &Words<'_>) -> RacksPage {
    let chosen = beside.chosen.as_ref().map(|facts| facts.name.clone());
    let slot = |view: &BladeView| slot(view, chosen.as_ref(), words);
    let racks = overview
        .racks
        .iter()
        .map(|rack| {
            let count = rack.chassis.iter().flat_map(|chassis| &chassis.slots).flatten().count();
            let n = rack.chassis.len().to_string();
            Rack {
                name: rack.name.clone(),
                holds: format!(
                    "{} · {}",
                    words.blades(count),
                    fill(words.t.n_chassis, &[("n", &n)])
                ),
                chassis: rack
                    .chassis
                    .iter()
                    .map(|chassis| chassis_model(chassis, &slot, words))
                    .collect(),
            }
        })
        .collect();
    RacksPage {
        page,
        tray: beside.tray,
        alerts: overview.findings.iter().map(|finding| alert(finding, words)).collect(),
        heading: words.blades(overview.blades),
        summary: summary(overview, words),
        stack: stack(overview, words),
        deploy: never_begun(overview),
        racks,
        loose: overview.loose.iter().map(slot).collect(),
        attention: attention(overview, words),
        chosen: beside.chosen,
        log: beside.log,
    }
}

/// Every blade of the site, in slot order, then those without a slot.
pub fn every_blade(overview: &Overview) -> impl Iterator<Item = &BladeView> {
    let slots =
        overview.racks.iter().flat_map(|rack| &rack.chassis).flat_map(|chassis| &chassis.slots);
    slots.flatten().chain(&overview.loose)
}

fn alert(finding: &crate::http::view::Finding, words: &Words<'_>) -> Alert {
    let (level, label) = match finding.level.as_str() {
        "error" => ("error", words.t.error),
        _ => ("warning", words.t.warning),
    };
    Alert { level, label, what: finding.what.clone(), text: finding.text.clone() }
}

fn chassis_model(
    chassis: &ChassisView,
    slot: &dyn Fn(&BladeView) -> Slot,
    words: &Words<'_>,
) -> Chassis {
    let place = |(index, view): (usize, &Option<BladeView>)| match view {
        Some(view) => Place::Taken(slot(view)),
        None => {
            let number = index + 1;
            Place::Empty { number, label: fill(words.t.empty_slot, &[("n", &number.to_string())]) }
        }
    };
    Chassis {
        title: fill(words.t.chassis_named, &[("n", chassis.name.as_str())]),
        bmc: chassis.bmc_first.map(|ip| fill(words.t.bmc_from, &[("ip", &ip.to_string())])),
        many: chassis.slots.len() > 16,
        slots: chassis.slots.iter().enumerate().map(place).collect(),
    }
}

fn slot(view: &BladeView, chosen: Option<&Hostname>, words: &Words<'_>) -> Slot {
    let fill_percent = match view.class {
        Class::Ready => 100,
        Class::Off | Class::Unknown => 0,
        Class::Installing => view.percent.min(100),
        _ => view.percent.clamp(6, 100),
    };
    let glyph = match view.class {
        Class::Ready => "✓".to_owned(),
        Class::Installing => view.percent.to_string(),
        Class::Netbooting => "↓".to_owned(),
        Class::Stalled => "…".to_owned(),
        Class::Failed => "!".to_owned(),
        Class::Held => "‖".to_owned(),
        Class::Unknown => "?".to_owned(),
        Class::Off => "○".to_owned(),
    };
    let number = view.slot.map_or_else(|| "·".to_owned(), |slot| slot.to_string());
    let told = match view.class {
        Class::Installing | Class::Netbooting => {
            format!("{} {} %", state(view, words), view.percent)
        }
        _ => state(view, words),
    };
    let label =
        fill(words.t.slot_label, &[("n", &number), ("name", view.name.as_str()), ("state", &told)]);
    Slot {
        number,
        name: view.name.clone(),
        class: class_name(view.class),
        fill: fill_percent,
        top: 100 - fill_percent,
        tone: match fill_percent {
            100.. => "hi",
            0..30 => "lo",
            _ => "",
        },
        glyph,
        word: match view.class {
            Class::Ready | Class::Off | Class::Unknown => words.t.class(view.class),
            _ => words.t.phase(view.phase),
        },
        label,
        chosen: chosen == Some(&view.name),
    }
}

fn summary(overview: &Overview, words: &Words<'_>) -> String {
    let t = words.t;
    let moving = every_blade(overview).filter(|view| view.outcome == Some(Outcome::Going)).count();
    let mut parts = Vec::new();
    if moving > 0 {
        parts.push(fill(t.n_moving, &[("n", &moving.to_string())]));
        parts.extend(overview.eta_ms.map(|ms| fill(t.ready_in, &[("time", &words.about(ms))])));
    } else if overview.blades > 0 && every_blade(overview).all(|view| view.class == Class::Ready) {
        parts.push(t.all_ready.to_owned());
    }
    let written: i64 = every_blade(overview).filter_map(rate).fold(0, i64::saturating_add);
    if written > 0 {
        parts.push(fill(t.writing_at, &[("rate", &format!("{}/s", bytes(written)))]));
    }
    parts.join(" · ")
}

fn stack(overview: &Overview, words: &Words<'_>) -> Vec<Piece> {
    let all = overview.blades.max(1);
    let percent = |n: usize| format!("{:.2}", n as f64 * 100.0 / all as f64);
    let mut before = 0;
    let mut pieces = Vec::new();
    for count in overview.summary.iter().filter(|count| count.count > 0) {
        pieces.push(Piece {
            class: class_name(count.class),
            label: words.t.class(count.class),
            count: count.count,
            x: percent(before),
            width: percent(count.count),
        });
        before += count.count;
    }
    pieces
}

/// Clusters with blades on which nothing was ever begun.
fn never_begun(overview: &Overview) -> Vec<Hostname> {
    let waits = |name: &Hostname| {
        every_blade(overview)
            .any(|view| view.attempt.is_none() && view.cluster.as_ref() == Some(name))
    };
    let names = overview.clusters.iter().map(|cluster| &cluster.name);
    names.filter(|name| waits(name)).take(3).cloned().collect()
}

fn attention(overview: &Overview, words: &Words<'_>) -> Vec<Attention> {
    let bad = |class| matches!(class, Class::Failed | Class::Stalled | Class::Held);
    let one = |view: &BladeView| Attention {
        name: view.name.clone(),
        class: class_name(view.class),
        state: state(view, words),
        reason: view.reason.clone().unwrap_or_default(),
    };
    every_blade(overview).filter(|view| bad(view.class)).take(12).map(one).collect()
}
