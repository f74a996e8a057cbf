//! The words everything else is written in (layer 0): identities, phases, events.
//!
//! No clock, no file, no socket: time is an argument, in milliseconds since the Unix epoch.

mod clock;
mod event;
mod exposition;
mod gate;
mod id;
mod phase;

pub use clock::{Clock, JUMP_MS};
pub use event::{Event, Kind, NewEvent, Report, ReportState};
pub use exposition::Exposition;
pub use gate::Gate;
pub use id::{Arch, AttemptId, Hostname, Mac, ParseIdError};
pub use phase::{Class, MAX_TRIES, Outcome, Phase, Standing, Step, after};

/// Milliseconds since the Unix epoch, UTC.
pub type Millis = i64;

/// A span in milliseconds; the longest there is for one that is longer.
pub fn millis(span: core::time::Duration) -> Millis {
    Millis::try_from(span.as_millis()).unwrap_or(Millis::MAX)
}
