//! One blade: this attempt, what happened, hardware, what it will get, history. Pure.

use askama::Template;

use super::{
    facts::{Facts, Known, facts},
    hardware::{self, Hardware},
    lang::Words,
    layout::Page,
    texts::fill,
    tray,
};
use crate::{
    blade::{Hostname, Outcome},
    db::AttemptRow,
    inventory::{Blade, DiskSelector, Machine},
};

#[derive(Template)]
#[template(path = "blade.html")]
pub struct BladePage {
    pub page: Page,
    pub facts: Facts,
    /// `attempt 2 · started 14:02:10`.
    pub attempt: String,
    pub hardware: Vec<(&'static str, String)>,
    pub cluster: Option<Hostname>,
    pub disk_rule: String,
    pub history: Vec<Past>,
}

/// An attempt that was.
pub struct Past {
    pub at: String,
    pub number: String,
    pub tone: &'static str,
    pub text: String,
}

#[derive(Template)]
#[template(path = "documents.html")]
pub struct DocumentsPage {
    pub page: Page,
    pub name: Hostname,
    pub files: Vec<(String, String)>,
}

/// `attempts`: newest first.
pub fn model(
    page: Page,
    known: &Known<'_>,
    disk: Option<&DiskSelector>,
    attempts: &[AttemptRow],
    words: &Words<'_>,
) -> BladePage {
    let attempt = known.row.map(|row| {
        let n = fill(words.t.attempt_n, &[("n", &row.number.to_string())]);
        format!("{n} · {}", fill(words.t.started_at, &[("time", &words.clock(row.started))]))
    });
    BladePage {
        page,
        facts: facts(known, words, true),
        attempt: attempt.unwrap_or_default(),
        hardware: hello(attempts).map(|hardware| table(&hardware, words)).unwrap_or_default(),
        cluster: known.view.cluster.clone(),
        disk_rule: disk_rule(disk, words),
        history: attempts.iter().map(|row| past(row, words)).collect(),
    }
}

/// Adds what the machine reported before it was racked; where an installation told of the
/// hardware since, only what that does not say.
pub fn add_learned(page: &mut BladePage, machine: &Machine, words: &Words<'_>) {
    match page.hardware.is_empty() {
        true => page.hardware = tray::rows(machine, words),
        false => page.hardware.extend(tray::learned(machine, words)),
    }
}

/// What the blade last told about itself.
pub fn hello(attempts: &[AttemptRow]) -> Option<Hardware> {
    attempts.iter().find_map(|row| hardware::read(row.hello.as_deref()?))
}

pub fn disk_rule(disk: Option<&DiskSelector>, words: &Words<'_>) -> String {
    match disk.map(DiskSelector::words) {
        Some(rule) if !rule.is_empty() => rule,
        _ => words.t.only_disk.to_owned(),
    }
}

/// The disk that an installation of this blade will erase, as far as it is known.
pub fn disk_lost(hardware: Option<&Hardware>, blade: &Blade, words: &Words<'_>) -> String {
    let rule = disk_rule(blade.disk.as_ref(), words);
    match hardware.map(|hardware| hardware.disks.as_slice()) {
        Some([one]) => one.words(),
        Some(many @ [_, ..]) => {
            let all = many.iter().map(hardware::Disk::words).collect::<Vec<_>>().join(" · ");
            format!("{rule}: {all}")
        }
        _ => fill(words.t.disk_unknown, &[("rule", &rule)]),
    }
}

fn table(hardware: &Hardware, words: &Words<'_>) -> Vec<(&'static str, String)> {
    let t = words.t;
    let arch = hardware.arch.clone().unwrap_or_default();
    let cpu = hardware.cpus.map(|n| fill(t.cores, &[("n", &n.to_string()), ("arch", &arch)]));
    let mut rows: Vec<(&'static str, Option<String>)> =
        vec![(t.cpu, cpu), (t.memory, hardware.memory.clone())];
    for disk in &hardware.disks {
        let data = if disk.has_data { format!(" · {}", t.disk_data) } else { String::new() };
        rows.push((t.disk, Some(format!("{}{data}", disk.words()))));
    }
    rows.push((t.firmware, hardware.firmware.clone()));
    rows.push((t.serial, hardware.serial.clone()));
    rows.push((t.uuid, hardware.uuid.clone()));
    rows.into_iter().filter_map(|(label, value)| Some((label, value?))).collect()
}

fn past(row: &AttemptRow, words: &Words<'_>) -> Past {
    let t = words.t;
    let phase = [("phase", t.phase(row.standing.phase))];
    let (tone, text) = match row.standing.outcome {
        Outcome::Ready => {
            let took = words.duration(row.ended.unwrap_or(row.last_seen) - row.started);
            ("ok", fill(t.took, &[("state", t.outcome(Outcome::Ready)), ("time", &took)]))
        }
        Outcome::Failed => ("bad", fill(t.failed_in, &phase)),
        Outcome::Superseded => ("muted", fill(t.superseded_in, &phase)),
        Outcome::Stalled => ("warn", format!("{} · {}", t.outcome(Outcome::Stalled), phase[0].1)),
        other => ("", format!("{} · {}", t.outcome(other), phase[0].1)),
    };
    Past { at: words.date(row.started), number: format!("#{}", row.number), tone, text }
}
