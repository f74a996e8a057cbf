//! What `watch` says in lines, for logs and for its end. Pure.

use jiff::tz::TimeZone;

use super::{
    bars,
    say::plain,
    table::{clock, pad},
};
use crate::{
    blade::{Event, Hostname, Kind, Millis, Outcome, Phase},
    http::view::BladeView,
    reconcile,
};

/// Why a blade is not ready and what to do, for the end of the story.
pub fn failure(view: &BladeView) -> String {
    let reason =
        view.reason.as_deref().map(|reason| format!(": {}", plain(reason))).unwrap_or_default();
    let advice = match view.outcome {
        Some(Outcome::Failed) => format!("then: firstlight reinstall {}", view.name),
        None => "it was never deployed".to_owned(),
        Some(Outcome::Held) => format!("firstlight release {}", view.name),
        Some(_) => reconcile::advice(view.phase).to_owned(),
    };
    format!(
        "  {} {} in {}{reason}\n      {advice} (firstlight describe blade {})\n",
        view.name,
        bars::state(view),
        view.phase,
        view.name
    )
}

/// Where a blade stands when the watching begins.
pub fn standing(view: &BladeView, at: Millis, zone: &TimeZone) -> String {
    let remark = bars::remark(view).map(|remark| format!(": {remark}")).unwrap_or_default();
    format!(
        "{}  {}  {:>3}%  {}{remark}\n",
        clock(at, zone),
        view.name,
        view.percent,
        bars::state(view)
    )
}

/// What was told of each blade: a line is worth printing when it says something new.
pub struct Told {
    blades: Vec<Known>,
    /// Columns of the longest name.
    longest: usize,
    zone: TimeZone,
}

/// What the last line of a blade said.
struct Known {
    name: Hostname,
    phase: Phase,
    /// Fourths of the bytes.
    quarters: i64,
    percent: u8,
}

impl Told {
    pub fn new(blades: &[BladeView], zone: TimeZone) -> Told {
        let known = |view: &BladeView| Known {
            name: view.name.clone(),
            phase: view.phase,
            quarters: 0,
            percent: view.percent,
        };
        Told {
            blades: blades.iter().map(known).collect(),
            longest: blades.iter().map(|view| view.name.as_str().len()).max().unwrap_or(0),
            zone,
        }
    }

    /// A line for a log: a new phase, a quarter more of the bytes, or what an operator should see.
    pub fn line(&mut self, event: &Event) -> Option<String> {
        let at = clock(event.at, &self.zone);
        if event.kind == Kind::Alert {
            return Some(format!("{at}  ! {}\n", plain(&event.text)));
        }
        let blade = event.blade.as_ref()?;
        let known = self.blades.iter_mut().find(|known| known.name == *blade)?;
        let worth = known.hear(event)
            || matches!(event.kind, Kind::Attempt | Kind::Operator | Kind::Power | Kind::Finish);
        let (name, percent) = (pad(blade.as_str(), self.longest), known.percent);
        let phase = pad(known.phase.as_str(), 10);
        worth.then(|| format!("{at}  {name}  {percent:>3}%  {phase}  {}\n", plain(&event.text)))
    }
}

impl Known {
    /// True if the blade got on.
    fn hear(&mut self, event: &Event) -> bool {
        let phase = event.phase.unwrap_or(self.phase);
        let bytes = |key: &str| event.detail[key].as_i64().unwrap_or(0).max(0);
        let (done, total) = (bytes("bytes_done"), bytes("bytes_total"));
        let percent = phase.percent(done.unsigned_abs(), total.unsigned_abs());
        let moved = phase != self.phase;
        if moved {
            // Back to an earlier phase goes but a new attempt.
            let before = if phase < self.phase { 0 } else { self.percent };
            (self.phase, self.quarters, self.percent) = (phase, 0, before);
        }
        self.percent = self.percent.max(percent);
        let quarters = done.saturating_mul(4) / total.max(1);
        let more = quarters > self.quarters && quarters < 4;
        self.quarters = self.quarters.max(quarters);
        moved || more
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: Kind, phase: Phase, text: &str, bytes: Option<(i64, i64)>) -> Event {
        let detail = bytes.map(|(done, total)| json!({ "bytes_done": done, "bytes_total": total }));
        Event {
            id: 1,
            at: 1_790_000_000_000,
            kind,
            blade: Some("b1".parse().unwrap()),
            mac: None,
            attempt: None,
            phase: Some(phase),
            text: text.to_owned(),
            detail: detail.unwrap_or_default(),
        }
    }

    #[test]
    fn a_log_has_a_line_for_each_step_and_not_for_each_report() {
        let b1 = Known { name: "b1".parse().unwrap(), phase: Phase::Off, quarters: 0, percent: 0 };
        let mut told = Told { blades: vec![b1], longest: 4, zone: TimeZone::UTC };
        let mut events = vec![
            event(Kind::Attempt, Phase::Off, "attempt 1 begins", None),
            event(Kind::Dhcp, Phase::Dhcp, "offered 10.12.1.1", None),
            event(Kind::Dhcp, Phase::Dhcp, "acknowledged 10.12.1.1", None),
            event(Kind::Report, Phase::Write, "write begins", None),
        ];
        events.extend(
            (1..=100).map(|n| event(Kind::Report, Phase::Write, "write goes on", Some((n, 100)))),
        );
        events.push(event(Kind::Report, Phase::Write, "odd", Some((i64::MAX, i64::MIN))));
        events.push(event(Kind::Attempt, Phase::Write, "failed in write: E_IO", None));
        events.push(Event {
            blade: None,
            ..event(Kind::Alert, Phase::Off, "two blades\nwith one MAC", None)
        });
        events.push(Event {
            blade: Some("b2".parse().unwrap()),
            ..event(Kind::Dhcp, Phase::Dhcp, "not watched", None)
        });
        let lines: String = events.iter().filter_map(|event| told.line(event)).collect();
        insta::assert_snapshot!(lines, @"
        14:13:20  b1      0%  off         attempt 1 begins
        14:13:20  b1      5%  dhcp        offered 10.12.1.1
        14:13:20  b1     20%  write       write begins
        14:13:20  b1     28%  write       write goes on
        14:13:20  b1     37%  write       write goes on
        14:13:20  b1     46%  write       write goes on
        14:13:20  b1     55%  write       failed in write: E_IO
        14:13:20  ! two blades with one MAC
        ");
    }
}
