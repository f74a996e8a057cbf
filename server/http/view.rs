//! What people see of the racks: one model for page, API and command line. Pure.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use crate::{
    blade::{AttemptId, Class, Hostname, Mac, Millis, Outcome, Phase},
    db::AttemptRow,
    inventory::{Blade, Document, Intent, Rack, Snapshot},
};

/// The whole site at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Overview {
    pub site: String,
    pub at: Millis,
    /// Journal line that this is as new as: `?after=` for the events that follow.
    pub last_event: i64,
    pub summary: Vec<Count>,
    pub blades: usize,
    /// Milliseconds until the last running blade is expected to be ready.
    pub eta_ms: Option<i64>,
    pub racks: Vec<RackView>,
    /// Blades that sit in no slot.
    pub loose: Vec<BladeView>,
    pub clusters: Vec<ClusterView>,
    /// What a person should know now: trouble first.
    pub findings: Vec<Finding>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Count {
    pub class: Class,
    pub count: usize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RackView {
    pub name: Hostname,
    pub chassis: Vec<ChassisView>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChassisView {
    pub name: Hostname,
    pub bmc_first: Option<Ipv4Addr>,
    /// One for each slot, from slot 1; `None` is an empty slot.
    pub slots: Vec<Option<BladeView>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BladeView {
    pub name: Hostname,
    pub slot: Option<u16>,
    pub rack: Option<Hostname>,
    pub chassis: Option<Hostname>,
    pub macs: Vec<Mac>,
    pub ip: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip6: Option<Ipv6Addr>,
    /// By the words of a relay (option 82).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch_port: Option<String>,
    pub arch: Option<String>,
    pub cluster: Option<Hostname>,
    pub role: Option<String>,
    pub class: Class,
    pub phase: Phase,
    pub outcome: Option<Outcome>,
    pub percent: u8,
    pub reason: Option<String>,
    pub attempt: Option<AttemptId>,
    pub number: Option<i64>,
    pub started: Option<Millis>,
    pub phase_since: Option<Millis>,
    pub last_seen: Option<Millis>,
    pub ended: Option<Millis>,
    pub bytes_done: i64,
    pub bytes_total: i64,
    /// Milliseconds until ready, from this blade's own pace; `None` if nothing is known.
    pub eta_ms: Option<i64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClusterView {
    pub name: Hostname,
    pub topology: String,
    pub image: Option<String>,
    pub blades: Vec<Hostname>,
    pub ready: usize,
    pub failed: usize,
}

/// Something to know about the daemon's surroundings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// `ok`, `warning` or `error`.
    pub level: String,
    /// What was looked at.
    pub what: String,
    /// What was found, and what to do.
    pub text: String,
}

impl Finding {
    pub fn new(level: &str, what: &str, text: impl Into<String>) -> Finding {
        Finding { level: level.to_owned(), what: what.to_owned(), text: text.into() }
    }
}

/// Builds the view. `rows` holds the newest attempt of each blade.
pub fn overview(
    site: &str,
    snapshot: &Snapshot,
    document: &Document,
    rows: &[AttemptRow],
    now: Millis,
) -> Overview {
    let rows: HashMap<&Hostname, &AttemptRow> = rows.iter().map(|row| (&row.blade, row)).collect();
    let views: Vec<BladeView> = snapshot
        .blades
        .iter()
        .map(|blade| blade_view(snapshot, blade, rows.get(&blade.name).copied(), now))
        .collect();
    let clusters = snapshot.clusters.values();
    Overview {
        site: site.to_owned(),
        at: now,
        last_event: 0,
        summary: summary(&views),
        blades: views.len(),
        eta_ms: views.iter().filter_map(|view| view.eta_ms).max(),
        racks: document.racks.iter().map(|rack| rack_view(rack, &views)).collect(),
        clusters: clusters.map(|cluster| cluster_view(snapshot, cluster, &views)).collect(),
        loose: views.into_iter().filter(|view| view.slot.is_none()).collect(),
        findings: Vec::new(),
    }
}

/// Blades of each class, in the order the page shows them.
fn summary(views: &[BladeView]) -> Vec<Count> {
    let order = [
        Class::Ready,
        Class::Installing,
        Class::Netbooting,
        Class::Stalled,
        Class::Failed,
        Class::Held,
        Class::Unknown,
        Class::Off,
    ];
    let count = |class| views.iter().filter(|view| view.class == class).count();
    order.into_iter().map(|class| Count { class, count: count(class) }).collect()
}

fn rack_view(rack: &Rack, views: &[BladeView]) -> RackView {
    let at = |chassis: &Hostname, slot: u16| {
        let here = |view: &&BladeView| {
            view.slot == Some(slot)
                && view.rack.as_ref() == Some(&rack.name)
                && view.chassis.as_ref() == Some(chassis)
        };
        views.iter().find(here).cloned()
    };
    let chassis = rack.chassis.iter().map(|chassis| ChassisView {
        name: chassis.name.clone(),
        bmc_first: chassis.bmc_first,
        slots: (1..=chassis.slots).map(|slot| at(&chassis.name, slot)).collect(),
    });
    RackView { name: rack.name.clone(), chassis: chassis.collect() }
}

fn cluster_view(
    snapshot: &Snapshot,
    cluster: &crate::inventory::ClusterDoc,
    views: &[BladeView],
) -> ClusterView {
    let blades: Vec<Hostname> =
        snapshot.members_of(cluster).map(|(_, blade)| blade.name.clone()).collect();
    let count = |class: Class| {
        views.iter().filter(|view| view.class == class && blades.contains(&view.name)).count()
    };
    ClusterView {
        name: cluster.name.clone(),
        topology: cluster.topology.clone(),
        image: cluster.image.clone(),
        ready: count(Class::Ready),
        failed: count(Class::Failed),
        blades,
    }
}

/// One blade, with its newest attempt.
pub fn blade_view(
    snapshot: &Snapshot,
    blade: &Blade,
    row: Option<&AttemptRow>,
    now: Millis,
) -> BladeView {
    let class = match (row, &blade.intent) {
        (Some(row), _) => row.standing.class(),
        (None, Intent::Wait(why)) if why.starts_with("held") => Class::Held,
        (None, _) => Class::Off,
    };
    let phase = row.map_or(Phase::Off, |row| row.standing.phase);
    let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    BladeView {
        name: blade.name.clone(),
        slot: blade.place.as_ref().map(|place| place.slot),
        rack: blade.place.as_ref().map(|place| place.rack.clone()),
        chassis: blade.place.as_ref().map(|place| place.chassis.clone()),
        macs: blade.macs.clone(),
        ip: blade.ip,
        ip6: blade.ip6,
        switch_port: snapshot.switch_port(blade).map(str::to_owned),
        arch: blade.arch.map(|arch| arch.to_string()),
        cluster: blade.member.as_ref().map(|member| member.cluster.clone()),
        role: blade.member.as_ref().map(|member| member.role.clone()),
        class,
        phase,
        outcome: row.map(|row| row.standing.outcome),
        percent: row.map_or(0, |row| phase.percent(bytes(row.bytes_done), bytes(row.bytes_total))),
        reason: row.and_then(|row| row.reason.clone()),
        attempt: row.map(|row| row.id),
        number: row.map(|row| row.number),
        started: row.map(|row| row.started),
        phase_since: row.map(|row| row.phase_since),
        last_seen: row.map(|row| row.last_seen),
        ended: row.and_then(|row| row.ended),
        bytes_done: row.map_or(0, |row| row.bytes_done),
        bytes_total: row.map_or(0, |row| row.bytes_total),
        eta_ms: row.and_then(|row| eta_ms(row, now)),
    }
}

/// Time left by this attempt's own pace: the share of the road behind it took so long.
fn eta_ms(row: &AttemptRow, now: Millis) -> Option<i64> {
    if row.standing.outcome != Outcome::Going || row.standing.phase <= Phase::Powering {
        return None;
    }
    let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    let percent =
        i64::from(row.standing.phase.percent(bytes(row.bytes_done), bytes(row.bytes_total)));
    (percent >= 5).then(|| (now - row.started).max(0) * (100 - percent) / percent)
}
