//! What the packets told: notes for the journal, each kept from flooding it.

use std::net::Ipv6Addr;

use crate::{
    blade::{Gate, Hostname, Mac, Millis},
    inventory::Duid,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    Advertised,
    Replied,
    Released,
    Declined,
    Informed,
    /// Answered with a status that says no; `detail` says why.
    Refused,
    /// Understood, and left without an answer on purpose; `detail` says why.
    Ignored,
    /// A person should look at it; `detail` says at what.
    Alert,
    /// What an alert told is over.
    Cleared,
}

/// A note about one exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub at: Millis,
    pub blade: Option<Hostname>,
    pub mac: Option<Mac>,
    pub duid: Option<Duid>,
    pub from: Ipv6Addr,
    pub what: What,
    pub ip: Option<Ipv6Addr>,
    /// Which program asked: "UEFI x64", "iPXE", "OS" …
    pub firmware: &'static str,
    /// What it was told to boot.
    pub boot_file: Option<String>,
    /// The rule that chose it; empty where nothing chose.
    pub rule: String,
    /// Where the relay nearest to the client says it is.
    pub relay: Option<Ipv6Addr>,
    /// Its interface-id (option 18) as hexadecimal digits.
    pub relay_port: Option<String>,
    /// One line for people.
    pub detail: String,
}

/// Which notes are worth the journal.
#[derive(Debug)]
pub struct Newsworthy {
    exchanges: Gate<(Option<Hostname>, What, &'static str)>,
    complaints: Gate<(Option<Hostname>, What)>,
}

impl Newsworthy {
    pub fn new() -> Self {
        Newsworthy { exchanges: Gate::new(1_000, 16_384), complaints: Gate::new(60_000, 1_024) }
    }

    /// What went well is told once a second for each program of each blade, what went wrong once
    /// a minute; strangers share one place, so a thousand made-up clients are one note.
    pub fn pass(&mut self, seen: &Seen) -> bool {
        let blade = seen.blade.clone();
        match seen.what {
            what @ (What::Ignored | What::Alert | What::Refused) => {
                self.complaints.pass((blade, what), seen.at).is_some()
            }
            what => self.exchanges.pass((blade, what, seen.firmware), seen.at).is_some(),
        }
    }
}
