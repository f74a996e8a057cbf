//! One blade as the panel and its own page show it. Pure.

use std::collections::HashSet;

use super::{
    lang::{Words, bytes},
    texts::fill,
    timeline::{Bar, Run, Span, bars},
};
use crate::{
    blade::{Class, Event, Hostname, Millis, Outcome, Phase},
    db::AttemptRow,
    http::view::BladeView,
};

/// What is known of a blade's newest attempt: asked from the database in one go.
pub struct Known<'a> {
    pub view: &'a BladeView,
    pub row: Option<&'a AttemptRow>,
    pub spans: &'a [Span],
    pub run: &'a Run,
    /// Newest first.
    pub events: &'a [Event],
    /// Other blades of its cluster.
    pub others: usize,
    pub now: Millis,
}

pub struct Facts {
    pub name: Hostname,
    pub role: String,
    pub class: &'static str,
    /// `Installing · Write image`.
    pub state: String,
    pub percent: u8,
    /// Place, address, MACs, BMC: one line each.
    pub lines: Vec<String>,
    /// `212 MB/s · 41 s left · 1.4 GB of 2.1 GB`.
    pub pace: String,
    pub slower: Option<String>,
    pub why: Option<Why>,
    pub bars: Vec<Bar>,
    pub has_marks: bool,
    pub log: Vec<Line>,
    pub actions: Actions,
}

/// Why a blade does not go on, and what usually helps.
pub struct Why {
    pub title: &'static str,
    pub reason: String,
    pub advice: &'static str,
    pub neighbours: Option<String>,
    pub log_tail: Option<String>,
}

/// One line of the journal.
pub struct Line {
    pub id: i64,
    pub at: String,
    pub kind: &'static str,
    pub tone: &'static str,
    pub blade: Option<Hostname>,
    pub text: String,
}

/// What an operator may do with a blade now.
pub struct Actions {
    pub name: Hostname,
    pub held: bool,
    pub can_install: bool,
    pub failed: bool,
}

pub fn class_name(class: Class) -> &'static str {
    match class {
        Class::Ready => "ready",
        Class::Installing => "installing",
        Class::Netbooting => "netbooting",
        Class::Stalled => "stalled",
        Class::Failed => "failed",
        Class::Held => "held",
        Class::Unknown => "unknown",
        Class::Off => "off",
    }
}

/// `Installing · Write image`; a blade that is ready or off has no phase worth a word.
pub fn state(view: &BladeView, words: &Words<'_>) -> String {
    let class = words.t.class(view.class);
    match view.class {
        Class::Ready | Class::Off | Class::Unknown => class.to_owned(),
        _ if view.attempt.is_none() => class.to_owned(),
        _ => fill(words.t.state_in, &[("state", class), ("phase", words.t.phase(view.phase))]),
    }
}

pub fn place(view: &BladeView, words: &Words<'_>) -> Option<String> {
    let (rack, chassis, slot) = (view.rack.as_ref()?, view.chassis.as_ref()?, view.slot?);
    Some(format!("{rack} · {} {chassis} · {} {slot}", words.t.chassis, words.t.slot))
}

pub fn facts(known: &Known<'_>, words: &Words<'_>, all_phases: bool) -> Facts {
    let Known { view, row, spans, run, .. } = known;
    let join =
        |parts: Vec<Option<String>>| parts.into_iter().flatten().collect::<Vec<_>>().join(" · ");
    let macs = view.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" · ");
    let lines = [
        join(vec![place(view, words)]),
        join(vec![view.ip.map(|ip| ip.to_string()), view.ip6.map(|ip| ip.to_string()), Some(macs)]),
        // A relay's own words, in which nothing says what they are: `leaf`, `0007`.
        join(vec![
            view.switch_port.as_ref().map(|port| format!("{}: {port}", words.t.switch_port)),
        ]),
        join(vec![view.cluster.as_ref().map(ToString::to_string), view.arch.clone()]),
    ];
    let bars = row.map(|row| bars(row, spans, run, words, all_phases)).unwrap_or_default();
    let slower = spans
        .last()
        .filter(|_| view.outcome == Some(Outcome::Going))
        .and_then(|span| run.slower(span));
    Facts {
        name: view.name.clone(),
        role: view.role.clone().unwrap_or_else(|| words.t.role_none.to_owned()),
        class: class_name(view.class),
        state: state(view, words),
        percent: view.percent,
        lines: lines.into_iter().filter(|line| !line.is_empty()).collect(),
        pace: pace(known, words),
        slower: slower.map(|n| fill(words.t.slower, &[("n", &n.to_string())])),
        why: why(known, words),
        has_marks: bars.iter().any(|bar| bar.mark.is_some()),
        bars,
        log: log(known.events, if all_phases { 200 } else { 14 }, words),
        actions: Actions {
            name: view.name.clone(),
            held: view.class == Class::Held,
            can_install: view.role.is_some(),
            failed: matches!(view.class, Class::Failed | Class::Stalled),
        },
    }
}

/// Bytes a second in the phase it is in, from this blade's own reports.
pub fn rate(view: &BladeView) -> Option<i64> {
    let took = view.last_seen? - view.phase_since?;
    let moving =
        view.outcome == Some(Outcome::Going) && matches!(view.phase, Phase::Write | Phase::Bundle);
    (moving && took >= 1000 && view.bytes_done > 0)
        .then(|| view.bytes_done.saturating_mul(1000) / took)
}

fn pace(known: &Known<'_>, words: &Words<'_>) -> String {
    let view = known.view;
    let t = words.t;
    let mut parts = Vec::new();
    if view.outcome == Some(Outcome::Going) {
        parts.extend(rate(view).map(|rate| format!("{}/s", bytes(rate))));
        if view.bytes_total > 0 && matches!(view.phase, Phase::Write | Phase::Bundle) {
            parts.push(fill(
                t.bytes_of,
                &[("done", &bytes(view.bytes_done)), ("total", &bytes(view.bytes_total))],
            ));
        }
        parts.extend(view.eta_ms.map(|ms| fill(t.time_left, &[("time", &words.about(ms))])));
    }
    let over = view.outcome.is_none_or(Outcome::is_over);
    if let Some(seen) = view.last_seen.filter(|_| !over) {
        parts.push(fill(t.last_seen, &[("time", &words.duration(known.now - seen))]));
    }
    if let (Some(Outcome::Ready), Some(started), Some(ended)) =
        (view.outcome, view.started, view.ended)
    {
        let took = words.duration(ended - started);
        parts.push(fill(t.took, &[("state", t.outcome(Outcome::Ready)), ("time", &took)]));
    }
    parts.join(" · ")
}

fn why(known: &Known<'_>, words: &Words<'_>) -> Option<Why> {
    let (view, t) = (known.view, words.t);
    let title = match view.class {
        Class::Stalled => t.why_stuck,
        Class::Failed => t.why_failed,
        Class::Held => t.why_held,
        _ => return None,
    };
    let neighbours =
        known.run.took(view.phase).filter(|_| view.class != Class::Held).map(|(median, done)| {
            let all = known.others.max(done);
            fill(
                t.neighbours,
                &[
                    ("done", &done.to_string()),
                    ("all", &all.to_string()),
                    ("time", &words.duration(median)),
                ],
            )
        });
    let tail = |event: &Event| {
        Some(event.detail.get("log_tail")?.as_str()?.chars().take(16_384).collect::<String>())
    };
    Some(Why {
        title,
        reason: view.reason.clone().unwrap_or_default(),
        advice: match view.class {
            Class::Held => "",
            Class::Failed => t.advice_after_failure(),
            _ => t.advice(view.phase),
        },
        neighbours,
        log_tail: known
            .events
            .iter()
            .filter(|event| event.attempt == view.attempt)
            .find_map(tail)
            .filter(|tail| !tail.is_empty()),
    })
}

/// At most `limit` lines, newest first. Of what a blade reports every two seconds only the newest
/// is shown for each phase: the others say nothing more.
pub fn log(events: &[Event], limit: usize, words: &Words<'_>) -> Vec<Line> {
    let mut told = HashSet::new();
    let worth_a_line = |event: &&Event| {
        let progress = event.detail.get("state").is_some_and(|state| state == "progress");
        !progress || told.insert((event.attempt, event.phase))
    };
    events.iter().filter(worth_a_line).take(limit).map(|event| line(event, words)).collect()
}

/// `write goes on · 1.4 GB of 2.1 GB`.
fn with_bytes(event: &Event, words: &Words<'_>) -> String {
    let number =
        |key: &str| event.detail.get(key).and_then(serde_json::Value::as_i64).filter(|n| *n > 0);
    match (number("bytes_done"), number("bytes_total")) {
        (Some(done), Some(total)) => {
            let of = fill(words.t.bytes_of, &[("done", &bytes(done)), ("total", &bytes(total))]);
            format!("{} · {of}", event.text)
        }
        _ => event.text.clone(),
    }
}

pub fn line(event: &Event, words: &Words<'_>) -> Line {
    let text = event.text.as_str();
    let tone = match event.kind {
        crate::blade::Kind::Alert => "warn",
        _ if text.contains("failed") || text.contains("E_") => "bad",
        _ if text.starts_with("stalled") => "warn",
        crate::blade::Kind::Finish => "ok",
        _ if event.phase == Some(Phase::Ready) => "ok",
        _ => "",
    };
    Line {
        id: event.id,
        at: words.clock_ms(event.at),
        kind: event.kind.as_str(),
        tone,
        blade: event.blade.clone(),
        text: with_bytes(event, words),
    }
}
