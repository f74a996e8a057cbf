//! What is said of packets and sockets: counted by cause, logged once a minute for each source,
//! so that a flood fills no log.
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::blade::{Gate, millis};

#[derive(Debug)]
pub struct Notices {
    state: Mutex<State>,
    started: Instant,
}

#[derive(Debug)]
struct State {
    said: Gate<(Option<IpAddr>, &'static str)>,
    dropped: BTreeMap<&'static str, u64>,
}

impl Default for Notices {
    fn default() -> Self {
        let state = State { said: Gate::new(60_000, 1_024), dropped: BTreeMap::new() };
        Self { state: Mutex::new(state), started: Instant::now() }
    }
}

impl Notices {
    /// A packet that could not be read, or asked for what there is not.
    pub fn dropped(&self, client: IpAddr, cause: &'static str) {
        *self.state().dropped.entry(cause).or_default() += 1;
        self.warn(Some(client), cause, format_args!("packet of {client} dropped: {cause}"));
    }

    /// `what` is the kind of trouble, `line` all of it.
    pub fn warn(&self, source: Option<IpAddr>, what: &'static str, line: fmt::Arguments<'_>) {
        let now = millis(self.started.elapsed());
        match self.state().said.pass((source, what), now) {
            Some(0) => tracing::warn!("TFTP: {line}"),
            Some(kept_back) => tracing::warn!(kept_back, "TFTP: {line}"),
            None => {}
        }
    }

    /// Packets dropped and requests refused so far, by cause.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.state().dropped.clone()
    }

    /// A panic while the lock was held leaves whole counts: each change is one insertion.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
