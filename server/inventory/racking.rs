//! From a machine that waits to a blade of the inventory: what is odd about it, and what its
//! entry will say.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{BladeDoc, DiskSelector, Document, Machine, Place, Snapshot};
use crate::blade::{Hostname, Mac, Millis};

/// A machine's report as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// The card it booted from, and reported over.
    pub mac: Mac,
    pub ip: Option<Ipv4Addr>,
    pub first_seen: Millis,
    /// When its report came.
    pub reported: Millis,
    /// When it last asked whether it may go on.
    pub last_seen: Millis,
    pub machine: Machine,
}

/// Why a machine may not be what it seems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Oddity {
    /// Another machine reports the same SMBIOS UUID: a cloned board, or the same machine.
    SameUuid,
    SameSerial,
    /// One of its cards belongs to a blade of the inventory.
    KnownMac,
    /// One of its cards has the address of another waiting machine's card.
    SameMac,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    pub oddity: Oddity,
    /// A blade's name, or the MAC of another machine.
    pub with: String,
    /// What both have.
    pub what: String,
}

impl Mark {
    /// For journal, API and command line.
    pub fn words(&self) -> String {
        let Mark { with, what, .. } = self;
        match self.oddity {
            Oddity::SameUuid => format!("its SMBIOS UUID {what} is also that of {with}"),
            Oddity::SameSerial => format!("its serial {what} is also that of {with}"),
            Oddity::KnownMac => format!("its card {what} belongs to blade {with}"),
            Oddity::SameMac => format!("its card {what} is also in {with}"),
        }
    }
}

/// What is odd about `one` beside all the others that ever reported.
pub fn marks(one: &Reported, all: &[Reported], snapshot: &Snapshot) -> Vec<Mark> {
    let own = snapshot.by_mac(one.mac).map(|blade| &blade.name);
    let mut marks = Vec::new();
    let mut mark = |oddity, with: String, what: String| marks.push(Mark { oddity, with, what });
    for mac in one.machine.own_macs(one.mac) {
        match snapshot.by_mac(mac) {
            Some(blade) if Some(&blade.name) != own => {
                mark(Oddity::KnownMac, blade.name.to_string(), mac.to_string());
            }
            _ => {}
        }
    }
    for other in all.iter().filter(|other| other.mac != one.mac) {
        let blade = snapshot.by_mac(other.mac).map(|blade| &blade.name);
        if blade.is_some() && blade == own {
            continue;
        }
        let with = blade.map_or_else(|| other.mac.to_string(), ToString::to_string);
        let uuid =
            one.machine.told_uuid().filter(|uuid| other.machine.told_uuid().as_ref() == Some(uuid));
        let serial =
            one.machine.serial.told().filter(|told| other.machine.serial.told() == Some(told));
        if let Some(uuid) = uuid {
            mark(Oddity::SameUuid, with.clone(), uuid);
        } else if let Some(serial) = serial {
            mark(Oddity::SameSerial, with.clone(), serial.to_owned());
        }
        let theirs = other.machine.own_macs(other.mac);
        let shared = one.machine.own_macs(one.mac).into_iter().find(|mac| theirs.contains(mac));
        if let (Some(mac), None) = (shared, blade) {
            mark(Oddity::SameMac, with, mac.to_string());
        }
    }
    marks.truncate(16);
    marks
}

/// Where a machine is to be, as an operator says it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Rack, chassis and slot; none for a blade that stands by itself.
    #[serde(default)]
    pub slot: Option<Place>,
    /// Default: made of the slot, `r1-c1-b03`.
    #[serde(default)]
    pub name: Option<Hostname>,
    /// Default: by the rule of the chassis.
    #[serde(default)]
    pub ip: Option<Ipv4Addr>,
    /// Serial or WWN of the disk to install on. Default: the only fixed one.
    #[serde(default)]
    pub disk: Option<String>,
    /// A blade that has this slot or name already is replaced by this machine.
    #[serde(default)]
    pub take_over: bool,
    /// With `take_over`: install the blade's role on this machine at once, which erases its disk.
    #[serde(default)]
    pub install: bool,
}

/// The entry that a machine gets.
#[derive(Debug, Clone, PartialEq)]
pub struct Racked {
    pub blade: BladeDoc,
    /// The blade whose place it takes, as it was.
    pub replaced: Option<BladeDoc>,
    /// What of the old entry does not fit the new machine, for people.
    pub dropped: Vec<String>,
}

/// The name of a blade in a slot where nobody gives one.
pub fn name_of(place: &Place) -> String {
    format!("{}-{}-b{:02}", place.rack, place.chassis, place.slot)
}

/// Makes the entry. `others` are the machines that reported beside this one: addresses of cards
/// that they have too are left out. The error is for people.
pub fn rack(
    one: &Reported,
    others: &[Reported],
    document: &Document,
    wish: &Wish,
) -> Result<Racked, String> {
    let in_slot = wish
        .slot
        .as_ref()
        .and_then(|place| document.blades.iter().find(|blade| blade.slot.as_ref() == Some(place)));
    let named = |name: &Hostname| document.blades.iter().find(|blade| blade.name == *name);
    let old = in_slot.or_else(|| wish.name.as_ref().and_then(named));
    if let (Some(old), false) = (old, wish.take_over) {
        return Err(format!(
            "blade {} is there already ({}); to put this machine in its place, which gives it the \
             old one's address and role, take the slot over",
            old.name,
            old.macs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        ));
    }
    let name = match (old, &wish.name, &wish.slot) {
        (Some(old), None, _) => old.name.clone(),
        (Some(old), Some(name), _) if *name == old.name => name.clone(),
        (Some(old), Some(name), _) => {
            return Err(format!(
                "the blade in this slot is called {}: a take-over keeps its name, so leave {name} out",
                old.name
            ));
        }
        (None, Some(name), _) => name.clone(),
        (None, None, Some(place)) => {
            name_of(place).parse().map_err(|error| format!("{error}; give a name"))?
        }
        (None, None, None) => return Err("say a slot or a name".to_owned()),
    };
    let replaced_macs = old.map(|old| old.macs.as_slice()).unwrap_or_default();
    let foreign = |mac: &Mac| {
        let blades = document.blades.iter().filter(|blade| blade.name != name);
        let of_blade = blades.flat_map(|blade| &blade.macs).any(|other| other == mac);
        let of_machine = others
            .iter()
            .filter(|other| other.mac != one.mac && !replaced_macs.contains(&other.mac))
            .any(|other| other.machine.own_macs(other.mac).contains(mac));
        of_blade || of_machine
    };
    let macs = one.machine.own_macs(one.mac);
    let macs = macs.into_iter().filter(|mac| *mac == one.mac || !foreign(mac)).take(8).collect();
    let (disk, dropped) = disk_of(one, old, wish)?;
    let learned = BladeDoc {
        name,
        slot: wish.slot.clone().or_else(|| old.and_then(|old| old.slot.clone())),
        macs,
        arch: one.machine.arch,
        model: one.machine.model.told().map(str::to_owned),
        secure_boot: one.machine.secure_boot,
        ip: wish.ip.or_else(|| old.and_then(|old| old.ip)),
        disk,
        // The old machine's own identifier.
        duid: None,
        ..old.cloned().unwrap_or_else(|| empty(one.mac))
    };
    Ok(Racked { blade: learned, replaced: old.cloned(), dropped })
}

/// All that is not said; the name is always replaced.
fn empty(mac: Mac) -> BladeDoc {
    // A name that is legal by itself: hexadecimal digits and hyphens.
    let name = format!("m{}", mac.hyphenated()).parse();
    BladeDoc {
        name: name.unwrap_or_else(|_| unreachable!("hexadecimal digits and hyphens")),
        slot: None,
        macs: Vec::new(),
        arch: None,
        model: None,
        secure_boot: None,
        loader: None,
        ip: None,
        ip6: None,
        duid: None,
        bmc: None,
        disk: None,
    }
}

/// The disk rule: the wished disk, else the old blade's rule as far as it is not about one disk
/// that is no longer there.
fn disk_of(
    one: &Reported,
    old: Option<&BladeDoc>,
    wish: &Wish,
) -> Result<(Option<DiskSelector>, Vec<String>), String> {
    if let Some(wished) = &wish.disk {
        let fits = |disk: &&super::SeenDisk| {
            [disk.serial.as_str(), disk.wwn.as_str()].contains(&wished.as_str())
        };
        let disk = one
            .machine
            .disks
            .iter()
            .find(fits)
            .ok_or_else(|| format!("this machine has no disk with serial or WWN {wished:?}"))?;
        let words = [(&disk.serial, true), (&disk.wwn, false)];
        // A rule's value is one word.
        let usable = words
            .into_iter()
            .find(|(word, _)| word.told().is_some_and(|text| !text.contains(char::is_whitespace)));
        let (word, is_serial) = usable.ok_or_else(|| {
            format!(
                "disk {} has no serial or WWN to tell it by; choose by size in the file",
                disk.name
            )
        })?;
        let text = Some(word.as_str().to_owned());
        let rule = if is_serial {
            DiskSelector { serial: text, ..DiskSelector::default() }
        } else {
            DiskSelector { wwn: text, ..DiskSelector::default() }
        };
        return Ok((Some(rule), Vec::new()));
    }
    let Some(rule) = old.and_then(|old| old.disk.clone()) else { return Ok((None, Vec::new())) };
    let kept = DiskSelector { by_id: None, wwn: None, serial: None, ..rule.clone() };
    let dropped = (kept != rule)
        .then(|| format!("disk rule {} named a disk of the old machine", rule.words()));
    Ok(((kept != DiskSelector::default()).then_some(kept), dropped.into_iter().collect()))
}

#[cfg(test)]
mod tests;
