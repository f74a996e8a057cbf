//! A log that a flood of packets cannot fill.
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(1);

/// Lets one line through per second and counts the others.
#[derive(Debug, Default)]
pub struct Throttle {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    withheld: u64,
}

impl Throttle {
    pub fn warn(&self, line: fmt::Arguments<'_>) {
        match self.pass(Instant::now()) {
            Some(0) => tracing::warn!("{line}"),
            Some(withheld) => tracing::warn!(withheld, "{line}"),
            None => {}
        }
    }

    /// How many lines were withheld since the last one, if one may pass.
    fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| now.saturating_duration_since(last) < EVERY) {
            state.withheld += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_passes_and_tells_how_many_did_not() {
        let throttle = Throttle::default();
        let now = Instant::now();
        assert_eq!(throttle.pass(now), Some(0));
        assert_eq!(throttle.pass(now + EVERY / 2), None);
        assert_eq!(throttle.pass(now + EVERY), Some(1));
        assert_eq!(throttle.pass(now + EVERY * 2), Some(0));
    }
}
