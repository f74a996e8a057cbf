//! Pages that are lists: events, clusters and their plans, images, topologies, found blades. Pure.

use askama::Template;
use serde::Deserialize;

use super::{
    facts::{Line, class_name, place, state},
    lang::{Words, bytes},
    layout::Page,
    texts::fill,
};
use crate::{
    blade::{Arch, Hostname},
    http::view::{BladeView, ClusterView},
    images::ImageSet,
    topology::MenuEntry,
};

#[derive(Template)]
#[template(path = "events.html")]
pub struct EventsPage {
    pub page: Page,
    pub log: Vec<Line>,
    /// Id before which older lines are.
    pub older: Option<i64>,
}

#[derive(Template)]
#[template(path = "clusters.html")]
pub struct ClustersPage {
    pub page: Page,
    pub clusters: Vec<Cluster>,
}

pub struct Cluster {
    pub name: Hostname,
    pub topology: String,
    pub image: String,
    pub ready: String,
    pub failed: Option<String>,
}

/// What `GET /api/v1/clusters/{name}/plan` says.
#[derive(Deserialize)]
pub struct Plan {
    pub cluster: Hostname,
    pub topology: String,
    pub image: Option<String>,
    pub blades: Vec<PlanStep>,
    pub problems: Vec<String>,
}

#[derive(Deserialize)]
pub struct PlanStep {
    pub blade: Hostname,
    pub role: String,
    pub arch: Arch,
    pub power: String,
}

#[derive(Template)]
#[template(path = "cluster.html")]
pub struct ClusterPage {
    pub page: Page,
    pub plan: Plan,
    pub ready: String,
    pub steps: Vec<Step>,
}

pub struct Step {
    pub name: Hostname,
    pub place: String,
    pub role: String,
    pub ip: String,
    pub arch: Arch,
    pub disk: String,
    pub power: String,
    pub class: &'static str,
    pub state: String,
}

#[derive(Template)]
#[template(path = "table.html")]
pub struct TablePage {
    pub page: Page,
    pub heads: Vec<&'static str>,
    pub rows: Vec<Vec<Cell>>,
    /// Said where there are no rows, and the command that helps.
    pub empty: &'static str,
    pub command: &'static str,
}

pub struct Cell {
    pub text: String,
    pub href: Option<String>,
}

fn cell(text: impl Into<String>) -> Cell {
    Cell { text: text.into(), href: None }
}

pub fn cluster(view: &ClusterView, words: &Words<'_>) -> Cluster {
    Cluster {
        name: view.name.clone(),
        topology: view.topology.clone(),
        image: view.image.clone().unwrap_or_default(),
        ready: ready(view, words),
        failed: (view.failed > 0)
            .then(|| fill(words.t.failed_n, &[("n", &view.failed.to_string())])),
    }
}

pub fn ready(view: &ClusterView, words: &Words<'_>) -> String {
    fill(
        words.t.ready_of,
        &[("ready", &view.ready.to_string()), ("all", &view.blades.len().to_string())],
    )
}

/// One row of a cluster's plan; `disk` is what will be erased.
pub fn step(step: &PlanStep, view: &BladeView, disk: String, words: &Words<'_>) -> Step {
    Step {
        name: step.blade.clone(),
        place: place(view, words).unwrap_or_default(),
        role: step.role.clone(),
        ip: view.ip.map(|ip| ip.to_string()).unwrap_or_default(),
        arch: step.arch,
        disk,
        power: step.power.clone(),
        class: class_name(view.class),
        state: state(view, words),
    }
}

pub fn images(page: Page, sets: &[std::sync::Arc<ImageSet>], words: &Words<'_>) -> TablePage {
    let t = words.t;
    let row = |set: &ImageSet| {
        let parts = set
            .artifacts
            .iter()
            .map(|part| format!("{} {}", part.kind, part.arch))
            .collect::<Vec<_>>()
            .join(", ");
        let size = bytes(i64::try_from(set.size()).unwrap_or(i64::MAX));
        vec![
            cell(&set.name),
            cell(format!("{} {}", set.os, set.os_version)),
            cell(&set.version),
            cell(parts),
            cell(size),
        ]
    };
    TablePage {
        page,
        heads: vec![t.image, t.system, t.version, t.parts, t.size],
        rows: sets.iter().map(|set| row(set)).collect(),
        empty: t.no_images,
        command: "make images && firstlight image import DIR",
    }
}

pub fn topologies(page: Page, entries: &[MenuEntry], words: &Words<'_>) -> TablePage {
    let t = words.t;
    let row = |entry: &MenuEntry| {
        let title = t.lang.pick(&entry.title_en, &entry.title_zh);
        let summary = t.lang.pick(&entry.summary_en, &entry.summary_zh);
        let state = if entry.available { t.available } else { t.later };
        vec![
            cell(&entry.id),
            cell(title),
            cell(summary),
            cell(words.blades(entry.min_blades.into())),
            cell(state),
        ]
    };
    TablePage {
        page,
        heads: vec![t.role, t.topology, t.summary, t.at_least, t.state],
        rows: entries.iter().map(row).collect(),
        empty: t.no_events,
        command: "",
    }
}

/// Blades that a search found.
pub fn found(page: Page, blades: &[&BladeView], words: &Words<'_>) -> TablePage {
    let t = words.t;
    let row = |view: &&BladeView| {
        let name =
            Cell { text: view.name.to_string(), href: Some(format!("/blades/{}", view.name)) };
        let macs = view.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let ips = [view.ip.map(|ip| ip.to_string()), view.ip6.map(|ip| ip.to_string())];
        let ip = ips.into_iter().flatten().collect::<Vec<_>>().join(" ");
        vec![
            name,
            cell(place(view, words).unwrap_or_default()),
            cell(ip),
            cell(macs),
            cell(state(view, words)),
        ]
    };
    TablePage {
        page,
        heads: vec![t.blade, t.place, t.address, t.macs, t.state],
        rows: blades.iter().map(row).collect(),
        empty: t.find_hint,
        command: "",
    }
}

/// True if a blade is what a person looks for: every word is part of its name, place, address,
/// MAC (in any common form), cluster, role or state.
pub fn matches(view: &BladeView, query: &str, words: &Words<'_>) -> bool {
    let mut hay: Vec<String> = view
        .macs
        .iter()
        .flat_map(|mac| [mac.to_string(), mac.hyphenated(), mac.to_string().replace(':', "")])
        .collect();
    hay.extend(
        [&view.rack, &view.chassis, &view.cluster].into_iter().flatten().map(ToString::to_string),
    );
    hay.extend(view.ip.map(|ip| ip.to_string()));
    hay.extend(view.ip6.map(|ip| ip.to_string()));
    hay.extend(view.role.clone());
    hay.extend([view.name.to_string(), state(view, words).to_lowercase()]);
    query.to_lowercase().split_whitespace().all(|word| hay.iter().any(|text| text.contains(word)))
}
