//! One attempt as bars on a common axis, with the median of its run as marks. Pure.

use std::collections::HashMap;

use super::lang::Words;
use crate::{
    blade::{Millis, Outcome, Phase},
    db::AttemptRow,
};

/// When each phase of an attempt was first seen, in any order.
pub type Marks = Vec<(Phase, Millis)>;

/// The time an attempt spent in one phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub phase: Phase,
    pub start: Millis,
    pub end: Millis,
    /// The attempt is in it still, or ended in it.
    pub last: bool,
}

impl Span {
    pub fn took(&self) -> i64 {
        self.end - self.start
    }
}

/// The phases an attempt went through.
pub fn spans(row: &AttemptRow, marks: &Marks, now: Millis) -> Vec<Span> {
    let marks = marks.iter().filter(|(phase, _)| *phase <= row.standing.phase);
    between(row.started, row.ended.unwrap_or(now), marks.copied().collect())
}

/// The same for another attempt of the run, of which only the marks are at hand.
pub fn spans_of_run(marks: Marks) -> Vec<Span> {
    let times = || marks.iter().map(|(_, at)| *at);
    let (Some(started), Some(over)) = (times().min(), times().max()) else { return Vec::new() };
    between(started, over, marks)
}

/// Marks out of order (a late packet, a clock that was set back) are left out: no bar has a
/// negative width.
fn between(started: Millis, over: Millis, mut marks: Marks) -> Vec<Span> {
    let over = over.max(started);
    marks.sort_by_key(|(phase, at)| (*at, *phase));
    let mut spans: Vec<Span> = Vec::new();
    for (phase, at) in marks {
        let at = at.clamp(started, over);
        match spans.last_mut() {
            Some(last) if last.phase >= phase => continue,
            Some(last) => last.end = at,
            None => {}
        }
        let start = if spans.is_empty() { started } else { at };
        spans.push(Span { phase, start, end: over, last: false });
    }
    if let Some(last) = spans.last_mut() {
        last.last = true;
    }
    spans
}

/// What the attempts of one cluster have in common.
#[derive(Debug, Default)]
pub struct Run {
    /// Median time from an attempt's begin to the end of a phase, milliseconds.
    done_after: HashMap<Phase, i64>,
    /// Median time in a phase, and how many attempts it is the median of.
    took: HashMap<Phase, (i64, usize)>,
}

/// Fewer attempts than this have no meaningful median.
const ENOUGH: usize = 2;

impl Run {
    /// From the finished phases of each attempt.
    pub fn of(attempts: &[Vec<Span>]) -> Run {
        let mut done: HashMap<Phase, Vec<i64>> = HashMap::new();
        let mut took: HashMap<Phase, Vec<i64>> = HashMap::new();
        for spans in attempts {
            for span in spans.iter().filter(|span| !span.last) {
                done.entry(span.phase).or_default().push(span.end - spans[0].start);
                took.entry(span.phase).or_default().push(span.took());
            }
        }
        let enough = |(_, times): &(Phase, Vec<i64>)| times.len() >= ENOUGH;
        Run {
            done_after: done
                .into_iter()
                .filter(enough)
                .map(|(phase, times)| (phase, median(&times)))
                .collect(),
            took: took
                .into_iter()
                .filter(enough)
                .map(|(phase, times)| (phase, (median(&times), times.len())))
                .collect(),
        }
    }

    /// Median time in a phase, milliseconds, and how many attempts are past it.
    pub fn took(&self, phase: Phase) -> Option<(i64, usize)> {
        self.took.get(&phase).copied()
    }

    /// How many times the median a phase takes, where that is worth saying.
    pub fn slower(&self, span: &Span) -> Option<i64> {
        let (median, _) = self.took(span.phase)?;
        let times = span.took() / median.max(1);
        (times >= 2 && span.took() > 5_000).then_some(times)
    }
}

fn median(times: &[i64]) -> i64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

/// One row of the picture; `x`, `width` and `mark` in percent of the axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    pub label: &'static str,
    /// `done`, `now`, `bad` or `todo`.
    pub kind: &'static str,
    pub x: String,
    pub width: String,
    pub mark: Option<String>,
    pub text: String,
    pub slower: Option<i64>,
}

/// Rows for all phases; without `all` only for those gone through that took a moment.
pub fn bars(row: &AttemptRow, spans: &[Span], run: &Run, words: &Words<'_>, all: bool) -> Vec<Bar> {
    let elapsed = spans.last().map_or(0, |span| span.end - row.started);
    let axis = run.done_after.values().copied().max().unwrap_or(0).max(elapsed).max(1);
    let bar = |phase: Phase| -> Option<Bar> {
        let span = spans.iter().find(|span| span.phase == phase);
        let worth_a_row = |span: &Span| span.last || span.took() >= 1000;
        if !all && !span.is_some_and(worth_a_row) {
            return None;
        }
        let mark = run.done_after.get(&phase).map(|at| percent(*at, axis));
        let label = words.t.phase(phase);
        let Some(span) = span else {
            return Some(Bar {
                label,
                kind: "todo",
                x: "0".into(),
                width: "0".into(),
                mark,
                text: "–".into(),
                slower: None,
            });
        };
        let kind = match row.standing.outcome {
            _ if !span.last => "done",
            Outcome::Failed | Outcome::Stalled => "bad",
            Outcome::Ready => "done",
            _ => "now",
        };
        let going = match kind {
            "now" => "…",
            "bad" => " ✕",
            _ => "",
        };
        Some(Bar {
            label,
            kind,
            x: percent(span.start - row.started, axis),
            width: percent(span.took(), axis),
            mark,
            text: format!("{}{going}", words.duration(span.took())),
            slower: run.slower(span),
        })
    };
    let road = Phase::ALL.into_iter().filter(|phase| *phase != Phase::Ready);
    road.filter(|phase| {
        *phase != Phase::Off
            || spans
                .iter()
                .any(|span| span.phase == Phase::Off && (span.last || span.took() >= 1000))
    })
    .filter_map(bar)
    .collect()
}

/// With one decimal; kept so that the thinnest bar can be seen.
fn percent(part: i64, whole: i64) -> String {
    let tenths = (part.clamp(0, whole) * 1000 + whole / 2) / whole;
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::{
        super::{example, lang::Lang, texts::Texts},
        *,
    };

    #[test]
    fn phases_follow_each_other_whatever_order_their_marks_come_in() {
        let mut row = example::row("r1-c1-b01", Phase::Write, Outcome::Going);
        row.started = 1_000;
        let marks = vec![
            (Phase::Live, 9_000),
            (Phase::Off, 1_000),
            (Phase::Dhcp, 5_000),
            (Phase::Clock, 8_000),
            (Phase::Write, 12_000),
            (Phase::Ready, 13_000),
        ];
        let spans = spans(&row, &marks, 20_000);
        let told: Vec<_> =
            spans.iter().map(|span| (span.phase.as_str(), span.start, span.end)).collect();
        assert_eq!(
            told,
            [
                ("off", 1_000, 5_000),
                ("dhcp", 5_000, 8_000),
                ("clock", 8_000, 12_000),
                ("write", 12_000, 20_000)
            ]
        );
        assert!(spans.iter().all(|span| span.took() >= 0));
    }

    #[test]
    fn a_blade_four_times_slower_than_its_run_is_marked() {
        let mut row = example::row("r1-c1-b01", Phase::Write, Outcome::Going);
        row.started = 0;
        let others: Vec<Vec<Span>> = [20_000, 22_000, 25_000]
            .iter()
            .map(|took| {
                vec![
                    Span { phase: Phase::Write, start: 0, end: *took, last: false },
                    Span { phase: Phase::Verify, start: *took, end: took + 1, last: true },
                ]
            })
            .collect();
        let run = Run::of(&others);
        let mine = spans(&row, &vec![(Phase::Write, 0)], 88_000);
        assert_eq!(run.slower(&mine[0]), Some(4));
        let words = Words { t: Texts::of(Lang::En), zone: &TimeZone::UTC };
        let bars = bars(&row, &mine, &run, &words, false);
        assert_eq!(
            (bars[0].text.as_str(), bars[0].width.as_str(), bars[0].mark.as_deref()),
            ("88 s…", "100.0", Some("25.0"))
        );
    }
}
