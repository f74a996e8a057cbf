//! What the packets told: notes for the journal, and what a person should look at.

use std::{collections::HashMap, net::Ipv4Addr};

use crate::{
    blade::{Gate, Mac, Millis},
    boot::{is_placeholder_uuid, same_uuid, swapped_uuid, uuid_text},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    Offered,
    Acked,
    Naked,
    Declined,
    Released,
    Informed,
    /// Proxy mode: another server gave the address `ip`.
    Addressed,
    /// Understood, and left without an answer on purpose; `detail` says why.
    Ignored,
    /// A person should look at it; `detail` says at what.
    Alert,
    /// What an alert was about is over.
    Cleared,
}

impl What {
    /// For counters.
    pub fn word(self) -> &'static str {
        match self {
            What::Offered => "offered",
            What::Acked => "acked",
            What::Naked => "naked",
            What::Declined => "declined",
            What::Released => "released",
            What::Informed => "informed",
            What::Addressed => "addressed",
            What::Ignored => "ignored",
            What::Alert => "alert",
            What::Cleared => "cleared",
        }
    }
}

/// A note about one exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub at: Millis,
    pub mac: Mac,
    pub what: What,
    pub ip: Option<Ipv4Addr>,
    /// Which program asked: "BIOS", "UEFI x64", "iPXE", "OS" …
    pub firmware: Option<&'static str>,
    /// What it was told to boot: a file name or a script URL.
    pub boot_file: Option<String>,
    pub relay: Option<Ipv4Addr>,
    /// Option 82 as hexadecimal digits: which switch port, as the relay calls it.
    pub relay_agent: Option<String>,
    /// What the relay calls itself (RFC 6925).
    pub relay_name: Option<String>,
    /// The same for people, where the relay names the port: `sw1 · Eth1/7`.
    pub switch_port: Option<String>,
    /// SMBIOS UUID as sent.
    pub uuid: Option<String>,
    /// What the client calls itself: printable ASCII, hostile.
    pub hostname: Option<String>,
    /// One line for people.
    pub detail: String,
    /// The rule that chose the boot file; empty where nothing was chosen.
    pub rule: String,
}

impl Seen {
    /// A note that is about no packet of a client.
    pub fn about(mac: Mac, what: What, at: Millis, detail: String) -> Seen {
        Seen {
            at,
            mac,
            what,
            ip: None,
            firmware: None,
            boot_file: None,
            relay: None,
            relay_agent: None,
            relay_name: None,
            switch_port: None,
            uuid: None,
            hostname: None,
            rule: String::new(),
            detail,
        }
    }
}

/// Notices what should be there once and is there twice: a MAC, a machine's UUID.
#[derive(Debug, Default)]
pub struct Witness {
    last: HashMap<Mac, ([u8; 16], Millis)>,
    /// Which MAC told a UUID, and which other one was told of.
    owners: HashMap<[u8; 16], (Mac, Option<Mac>)>,
    /// Where a MAC was last, for each relay.
    ports: HashMap<(Mac, Ipv4Addr), (String, Millis)>,
}

/// A board that is swapped takes longer than this; two blades booting side by side do not.
const SHORT: Millis = 10 * 60 * 1000;
/// UUIDs and switch ports remembered; what comes when that is full is not compared.
const MOST: usize = 16_384;

impl Witness {
    /// Tells if a UUID is told by two machines: by two blades of the inventory, or by one and by
    /// a stranger. Two strangers may be two cards of one machine that nobody described yet.
    /// `name` knows the blade of a MAC.
    pub fn clone_of(
        &mut self,
        mac: Mac,
        uuid: &[u8; 16],
        name: impl Fn(Mac) -> Option<String>,
    ) -> Option<String> {
        if is_placeholder_uuid(uuid) {
            return None;
        }
        let key = if uuid < &swapped_uuid(uuid) { *uuid } else { swapped_uuid(uuid) };
        if self.owners.len() >= MOST && !self.owners.contains_key(&key) {
            return None;
        }
        let (owner, told) = self.owners.entry(key).or_insert((mac, None));
        let (ours, theirs) = (name(mac), name(*owner));
        if *owner == mac || ours == theirs || *told == Some(mac) {
            return None;
        }
        let first = *owner;
        *told = Some(mac);
        let text = uuid_text(uuid);
        Some(match (theirs, ours) {
            (Some(one), Some(other)) => format!(
                "cloned SMBIOS UUID: {text} is told by {one} ({first}) and by {other} ({mac}); tools \
                 that know machines by it mix them up: set one anew with the maker's tool"
            ),
            (one, other) => {
                let (blade, stranger) = match one {
                    Some(_) => (one, mac),
                    None => (other, first),
                };
                format!(
                    "SMBIOS UUID {text} of {} is told by {stranger} too, which is no blade of the \
                     inventory; if it is a card of the same machine, add it to its macs, else the \
                     UUID is cloned",
                    blade.unwrap_or_default()
                )
            }
        })
    }

    /// Tells if a MAC was at another port of the same relay a short time ago. Two relays that
    /// forward the same packet each have their own words for the place: that is no move. Call it
    /// only for MACs of the inventory.
    pub fn moved(&mut self, mac: Mac, relay: Ipv4Addr, port: &str, now: Millis) -> Option<String> {
        if self.ports.len() >= MOST && !self.ports.contains_key(&(mac, relay)) {
            return None;
        }
        let (before, at) = self.ports.insert((mac, relay), (port.to_owned(), now))?;
        (before != port && now - at < SHORT).then(|| {
            format!(
                "one MAC at two switch ports: {mac} is at {port} now and was at {before} {} s ago \
                 (relay {relay}); if nobody moved its cable, two machines have this MAC, or the \
                 network has a loop",
                (now - at) / 1000
            )
        })
    }

    /// Notes which machine used `mac`; tells if another one did a short time ago. Call it only
    /// for MACs of the inventory: that bounds the memory.
    pub fn look(&mut self, mac: Mac, uuid: &[u8; 16], now: Millis) -> Option<String> {
        if is_placeholder_uuid(uuid) {
            return None;
        }
        let (before, at) = self.last.insert(mac, (*uuid, now))?;
        (now - at < SHORT && !same_uuid(&before, uuid)).then(|| {
            format!(
                "two blades with one MAC: {mac} is used by the machines {} and {}; disconnect \
                 one, or give one of them another MAC",
                uuid_text(&before),
                uuid_text(uuid)
            )
        })
    }
}

/// Which notes are worth the journal.
#[derive(Debug)]
pub struct Newsworthy {
    exchanges: Gate<(Mac, What, Option<&'static str>, Option<Ipv4Addr>)>,
    complaints: Gate<(Option<Mac>, What)>,
}

const MINUTE: Millis = 60_000;

impl Newsworthy {
    pub fn new() -> Self {
        Newsworthy { exchanges: Gate::new(1_000, 16_384), complaints: Gate::new(MINUTE, 1_024) }
    }

    /// `known`: the MAC is in the inventory. What went well is told once a second for each
    /// program of each client, what went wrong once a minute; alerts caused by strangers share
    /// one place, so that a thousand made-up MACs are one alert.
    pub fn pass(&mut self, seen: &Seen, known: bool) -> bool {
        match seen.what {
            What::Alert if !known => self.complaints.pass((None, seen.what), seen.at).is_some(),
            What::Ignored | What::Alert => {
                self.complaints.pass((Some(seen.mac), seen.what), seen.at).is_some()
            }
            what => {
                self.exchanges.pass((seen.mac, what, seen.firmware, seen.ip), seen.at).is_some()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn two_machines_with_one_mac_are_told_by_their_uuids() {
        let mut witness = Witness::default();
        assert_eq!(witness.look(MAC, &[1; 16], 0), None, "a placeholder says nothing");
        let one: [u8; 16] = std::array::from_fn(|n| u8::try_from(n).unwrap());
        let mut swapped = one;
        swapped[..4].reverse();
        swapped[4..6].reverse();
        swapped[6..8].reverse();
        assert_eq!(witness.look(MAC, &one, 0), None);
        assert_eq!(witness.look(MAC, &swapped, 1), None, "the same UUID in the other order");
        let mut other = one;
        other[15] = 99;
        let text = witness.look(MAC, &other, 2).unwrap();
        assert!(text.contains("02:00:00:00:00:01") && text.contains("00010203-"), "{text}");
        assert_eq!(witness.look(MAC, &one, 2 + SHORT), None, "a swapped board is no twin");
    }

    #[test]
    fn a_cloned_uuid_is_told_once_and_two_cards_of_one_machine_are_none() {
        let uuid: [u8; 16] = std::array::from_fn(|n| u8::try_from(n).unwrap());
        let mac = |n| Mac([2, 0, 0, 0, 0, n]);
        // 1 and 2 are cards of b01, 3 is b02, the others are strangers.
        let name = |mac: Mac| match mac.0[5] {
            1 | 2 => Some("b01".to_owned()),
            3 => Some("b02".to_owned()),
            _ => None,
        };
        let mut witness = Witness::default();
        assert_eq!(witness.clone_of(mac(1), &uuid, name), None);
        assert_eq!(witness.clone_of(mac(2), &uuid, name), None, "its other card");
        let text = witness.clone_of(mac(3), &swapped_uuid(&uuid), name).unwrap();
        assert!(text.contains("b01") && text.contains("b02 (02:00:00:00:00:03)"), "{text}");
        assert_eq!(witness.clone_of(mac(3), &uuid, name), None, "told");
        let text = witness.clone_of(mac(9), &uuid, name).unwrap();
        assert!(text.contains("add it to its macs"), "{text}");
        let mut other = uuid;
        other[0] = 77;
        assert_eq!(witness.clone_of(mac(8), &other, name), None);
        assert_eq!(witness.clone_of(mac(7), &other, name), None, "two strangers");
        for n in 0..100_000u32 {
            let mut made_up = uuid;
            made_up[12..].copy_from_slice(&n.to_be_bytes());
            witness.clone_of(mac(9), &made_up, name);
        }
        assert!(witness.owners.len() <= MOST);
    }

    #[test]
    fn a_mac_at_two_ports_of_one_relay_is_told() {
        let (one, two) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let mut witness = Witness::default();
        assert_eq!(witness.moved(MAC, one, "sw1 · 7", 0), None);
        assert_eq!(witness.moved(MAC, two, "sw9 · 1", 1), None, "another relay's words");
        let text = witness.moved(MAC, one, "sw1 · 8", 5_000).unwrap();
        for word in ["sw1 · 7", "sw1 · 8", "5 s ago", "02:00:00:00:00:01"] {
            assert!(text.contains(word), "{text}");
        }
        assert_eq!(witness.moved(MAC, one, "sw1 · 9", 5_000 + SHORT), None, "its cable was moved");
    }

    #[test]
    fn a_note_is_let_through_once_a_minute_and_a_flood_is_bounded() {
        let mut gate = Gate::new(MINUTE, 1_024);
        assert_eq!(gate.pass(1, 0), Some(0));
        assert_eq!(gate.pass(1, 59_999), None);
        assert_eq!(gate.pass(1, 60_000), Some(1));
        let passed = (0..100_000).filter(|key| gate.pass(*key, 60_001).is_some()).count();
        assert!(passed <= 1_024);
    }
}
