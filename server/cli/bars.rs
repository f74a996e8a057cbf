//! The picture of installations under way: one line a blade. Pure.

use std::collections::HashMap;

use super::{
    say::plain,
    table::{cut, pad, size, span},
};
use crate::{
    blade::{AttemptId, Class, Hostname, Millis, Outcome, Phase},
    http::view::BladeView,
    reconcile,
};

const BAR: usize = 20;
/// Bytes per second are of the last so many milliseconds.
const WINDOW: i64 = 10_000;

/// Measures how fast each blade is, from one look to the next.
#[derive(Debug, Default)]
pub struct Rates(HashMap<Hostname, Samples>);

#[derive(Debug)]
struct Samples {
    of: (Option<AttemptId>, Phase),
    /// Moment and bytes done, oldest first.
    seen: Vec<(Millis, i64)>,
}

impl Rates {
    pub fn look(&mut self, at: Millis, blades: &[BladeView]) {
        for view in blades {
            let of = (view.attempt, view.phase);
            let samples =
                self.0.entry(view.name.clone()).or_insert(Samples { of, seen: Vec::new() });
            if samples.of != of {
                *samples = Samples { of, seen: Vec::new() };
            }
            // The blade tells its bytes every 2 s or so: only what is new says something.
            if samples.seen.last().is_none_or(|(_, bytes)| *bytes != view.bytes_done) {
                samples.seen.push((view.last_seen.unwrap_or(at), view.bytes_done));
            }
            while samples.seen.len() > 2 && samples.seen[0].0 < at - WINDOW {
                samples.seen.remove(0);
            }
        }
    }

    /// Bytes per second; `None` until two different counts were seen.
    fn of(&self, name: &Hostname) -> Option<u64> {
        let samples = self.0.get(name)?;
        let (first, last) = (samples.seen.first()?, samples.seen.last()?);
        let millis = last.0.saturating_sub(first.0);
        (millis > 0).then(|| {
            u64::try_from(last.1.saturating_sub(first.1).max(0)).unwrap_or(0).saturating_mul(1000)
                / millis.unsigned_abs()
        })
    }
}

/// What is drawn beside the blades themselves.
pub struct Scene<'a> {
    /// `cluster prod-a`.
    pub title: &'a str,
    pub now: Millis,
    /// When the watching began.
    pub since: Millis,
    /// Why what is shown may be old.
    pub trouble: Option<&'a str>,
    pub columns: usize,
    pub rows: usize,
}

/// The picture, at most `rows` lines of `columns`; blades that need attention come first when
/// there is not room for all.
pub fn draw(scene: &Scene, blades: &[BladeView], rates: &Rates) -> Vec<String> {
    let mut lines = vec![headline(scene, blades)];
    lines.extend(scene.trouble.map(|trouble| format!("  ! {}", plain(trouble))));
    let mut order: Vec<&BladeView> = blades.iter().collect();
    let each: Vec<Vec<String>> = {
        if blades.len() + 2 > scene.rows {
            order.sort_by_key(|view| urgency(view));
        }
        order.iter().map(|view| blade_lines(view, blades, rates, scene.now)).collect()
    };
    let room = scene.rows.saturating_sub(2);
    let mut shown = 0;
    for one in each {
        if lines.len() + one.len() > room && shown > 0 {
            break;
        }
        shown += 1;
        lines.extend(one);
    }
    if shown < blades.len() {
        lines.push(format!("  … and {} more", blades.len() - shown));
    }
    lines.iter().map(|line| cut(line, scene.columns)).collect()
}

fn urgency(view: &BladeView) -> u8 {
    match view.class {
        Class::Failed => 0,
        Class::Stalled => 1,
        Class::Held => 2,
        Class::Installing | Class::Netbooting => 3,
        Class::Off | Class::Unknown => 4,
        Class::Ready => 5,
    }
}

fn headline(scene: &Scene, blades: &[BladeView]) -> String {
    let count = |class: Class| blades.iter().filter(|view| view.class == class).count();
    let percent =
        blades.iter().map(|view| usize::from(view.percent)).sum::<usize>() / blades.len().max(1);
    let mut words =
        vec![format!("{} of {} ready", count(Class::Ready), blades.len()), format!("{percent}%")];
    for (class, name) in
        [(Class::Failed, "failed"), (Class::Stalled, "stalled"), (Class::Held, "held")]
    {
        if count(class) > 0 {
            words.push(format!("{} {name}", count(class)));
        }
    }
    words.extend(
        blades
            .iter()
            .filter_map(|view| view.eta_ms)
            .max()
            .map(|left| format!("about {} left", span(left))),
    );
    let began = blades.iter().filter(|view| is_running(view)).filter_map(|view| view.started).min();
    words.push(format!("{} so far", span(scene.now.saturating_sub(began.unwrap_or(scene.since)))));
    format!("{}: {}", plain(scene.title), words.join(" · "))
}

fn is_running(view: &BladeView) -> bool {
    view.outcome.is_some_and(|outcome| !outcome.is_over())
}

fn blade_lines(view: &BladeView, all: &[BladeView], rates: &Rates, now: Millis) -> Vec<String> {
    let longest = all.iter().map(|view| view.name.as_str().len()).max().unwrap_or(0);
    let filled = usize::from(view.percent.min(100)) * BAR / 100;
    let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled));
    let mut words = Vec::new();
    if view.bytes_total > 0 && view.phase != Phase::Ready {
        let bytes = |count: i64| size(u64::try_from(count).unwrap_or(0));
        words.push(format!("{} of {}", bytes(view.bytes_done), bytes(view.bytes_total)));
        words.extend(
            rates.of(&view.name).filter(|rate| *rate > 0).map(|rate| format!("{}/s", size(rate))),
        );
    }
    words.extend(view.eta_ms.map(|left| format!("{} left", span(left))));
    words.push(time_of(view, now));
    words.retain(|word| !word.is_empty());
    let name = pad(view.name.as_str(), longest);
    let mut lines = vec![format!(
        "  {name}  {bar} {:>3}%  {}  {}",
        view.percent,
        pad(&state(view), 12),
        words.join(" · ")
    )];
    lines.extend(remark(view).map(|text| format!("  {}    {text}", " ".repeat(longest))));
    lines
}

fn time_of(view: &BladeView, now: Millis) -> String {
    match (view.started, view.ended) {
        (Some(began), Some(ended)) => format!("took {}", span(ended.saturating_sub(began))),
        (Some(began), None) => format!("{} so far", span(now.saturating_sub(began))),
        _ => String::new(),
    }
}

/// The phase, or how the attempt stands where that says more.
pub fn state(view: &BladeView) -> String {
    match view.outcome {
        None => "not begun".to_owned(),
        Some(Outcome::Failed) => "FAILED".to_owned(),
        Some(Outcome::Stalled) => "stalled".to_owned(),
        Some(Outcome::Held) => "held".to_owned(),
        Some(_) => view.phase.to_string(),
    }
}

/// What a person should know of this blade beside the bar: why it does not move, and what to do.
pub fn remark(view: &BladeView) -> Option<String> {
    let reason = view.reason.as_deref().unwrap_or("no reason given");
    match view.outcome? {
        Outcome::Failed => Some(format!("in {}: {}", view.phase, plain(reason))),
        // The reason of a stall holds the advice already.
        Outcome::Stalled => Some(plain(reason)),
        Outcome::Held => {
            Some(format!("in {}; let it go on with: firstlight release {}", view.phase, view.name))
        }
        Outcome::Going if view.phase == Phase::Off => {
            Some(reconcile::advice(Phase::Off).to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(name: &str, phase: Phase, outcome: Option<Outcome>) -> BladeView {
        let standing = crate::blade::Standing { phase, outcome: outcome.unwrap_or(Outcome::Going) };
        BladeView {
            name: name.parse().unwrap(),
            slot: None,
            rack: None,
            chassis: None,
            macs: Vec::new(),
            ip: None,
            ip6: None,
            switch_port: None,
            arch: None,
            cluster: None,
            role: None,
            class: outcome.map_or(Class::Off, |_| standing.class()),
            phase,
            outcome,
            percent: phase.percent(0, 0),
            reason: None,
            attempt: None,
            number: None,
            started: outcome.map(|_| 0),
            phase_since: None,
            last_seen: None,
            ended: None,
            bytes_done: 0,
            bytes_total: 0,
            eta_ms: None,
        }
    }

    fn blades() -> Vec<BladeView> {
        let mut writing = view("r1-c1-b01", Phase::Write, Some(Outcome::Going));
        (writing.bytes_done, writing.bytes_total) = (300 << 20, 500 << 20);
        writing.percent = Phase::Write.percent(300, 500);
        writing.eta_ms = Some(95_000);
        let mut failed = view("r1-c1-b02", Phase::Preflight, Some(Outcome::Failed));
        failed.reason = Some("E_DISK_NONE: no disk \x1b[31mfits".to_owned());
        failed.ended = Some(40_000);
        let mut ready = view("r1-c1-b10", Phase::Ready, Some(Outcome::Ready));
        ready.ended = Some(150_000);
        vec![writing, failed, ready, view("r1-c1-b11", Phase::Off, None)]
    }

    fn scene(rows: usize) -> Scene<'static> {
        Scene { title: "cluster prod-a", now: 155_000, since: 0, trouble: None, columns: 90, rows }
    }

    #[test]
    fn each_blade_has_its_bar_and_trouble_its_reason() {
        let mut rates = Rates::default();
        let mut seen = blades();
        for (at, done) in [(140_000, 100 << 20), (145_000, 200 << 20), (150_000, 300 << 20)] {
            (seen[0].bytes_done, seen[0].last_seen) = (done, Some(at));
            rates.look(at, &seen);
        }
        let trouble = "the daemon does not answer; waiting for it";
        let scene = Scene { trouble: Some(trouble), columns: 140, ..scene(24) };
        insta::assert_snapshot!(draw(&scene, &seen, &rates).join("\n"), @"
        cluster prod-a: 1 of 4 ready · 39% · 1 failed · about 1 min 35 s left · 2 min 35 s so far
          ! the daemon does not answer; waiting for it
          r1-c1-b01  ████████░░░░░░░░░░░░  41%  write         300 MiB of 500 MiB · 20.0 MiB/s · 1 min 35 s left · 2 min 35 s so far
          r1-c1-b02  ███░░░░░░░░░░░░░░░░░  18%  FAILED        took 40 s
                       in preflight: E_DISK_NONE: no disk �[31mfits
          r1-c1-b10  ████████████████████ 100%  ready         took 2 min 30 s
          r1-c1-b11  ░░░░░░░░░░░░░░░░░░░░   0%  not begun
        ");
    }

    #[test]
    fn a_picture_fits_the_terminal_and_shows_trouble_first() {
        let lines = draw(&scene(5), &blades(), &Rates::default());
        insta::assert_snapshot!(lines.join("\n"), @"
        cluster prod-a: 1 of 4 ready · 39% · 1 failed · about 1 min 35 s left · 2 min 35 s so far
          r1-c1-b02  ███░░░░░░░░░░░░░░░░░  18%  FAILED        took 40 s
                       in preflight: E_DISK_NONE: no disk �[31mfits
          … and 3 more
        ");
        let narrow = Scene { columns: 30, ..scene(24) };
        for line in draw(&narrow, &blades(), &Rates::default()) {
            assert!(super::super::table::width(&line) <= 30, "{line}");
        }
        assert!(draw(&scene(0), &[], &Rates::default()).len() == 1);
    }
}
