//! A machine as its own live system describes it. Hostile text from the network, read once into
//! bounded values that are harmless wherever they are shown.

use std::{fmt, marker::PhantomData, net::Ipv4Addr};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess, Visitor},
};
use serde_json::Value;

use super::Neighbour;
use crate::blade::{Arch, Mac};

/// Characters of one text.
const LONGEST: usize = 80;
/// Cards and disks of one machine.
const MOST: usize = 128;

/// One line of at most 80 characters without control characters, whatever it was made from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Word(String);

impl Word {
    pub fn new(text: &str) -> Word {
        // Direction marks could make a line of a page read backwards (Unicode TR 36 §3.2).
        let hidden = |c: &char| {
            c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
        };
        let seen: String = text.chars().filter(|c| !hidden(c)).collect();
        let cut: String = seen.trim().chars().take(LONGEST).collect();
        Word(cut.trim_end().to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text, if the board's maker wrote one: serials and names that stand for nothing are
    /// the same on thousands of machines.
    pub fn told(&self) -> Option<&str> {
        const NOTHING: [&str; 16] = [
            "to be filled by o.e.m.",
            "to be filled by oem",
            "default string",
            "default",
            "none",
            "n/a",
            "na",
            "unknown",
            "empty",
            "invalid",
            "not specified",
            "not applicable",
            "not available",
            "system serial number",
            "system product name",
            "system manufacturer",
        ];
        let lower = self.0.to_ascii_lowercase();
        let one = |c: char| self.0.chars().all(|other| other == c);
        let counted =
            ["0123456789", "123456789", "1234567890", "1234567"].contains(&lower.as_str());
        let nothing = lower.is_empty()
            || NOTHING.contains(&lower.as_str())
            || counted
            || self.0.chars().next().is_some_and(one);
        (!nothing).then_some(&self.0)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Word::new(&String::deserialize(from)?))
    }
}

/// How a machine's firmware boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirmwareKind {
    Bios,
    Uefi,
}

/// What SMBIOS says of a BMC (type 38, DMTF DSP0134 §7.39). Its address in the network is not
/// among it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BmcSeen {
    #[default]
    Unknown,
    None,
    Present,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    #[serde(default)]
    pub name: Word,
    pub mac: Mac,
    #[serde(default)]
    pub driver: Word,
    /// A cable with something alive at its other end.
    #[serde(default)]
    pub link: Option<bool>,
    /// Mbit/s
    #[serde(default)]
    pub speed: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SeenDisk {
    pub name: Word,
    #[serde(deserialize_with = "count")]
    pub size: u64,
    pub model: Word,
    pub serial: Word,
    pub wwn: Word,
    pub rotational: bool,
    pub removable: bool,
    pub has_data: bool,
    /// Partition table and file systems: `gpt: vfat ext4`.
    pub holds: Word,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    pub arch: Option<Arch>,
    pub firmware: Option<FirmwareKind>,
    /// `None`: the firmware does not say, or has none.
    pub secure_boot: Option<bool>,
    pub manufacturer: Word,
    pub model: Word,
    pub serial: Word,
    /// SMBIOS UUID as the kernel prints it.
    pub uuid: Word,
    pub cpu: Word,
    /// Threads.
    #[serde(deserialize_with = "count")]
    pub cpus: u64,
    #[serde(deserialize_with = "count")]
    pub ram_mb: u64,
    pub bmc: BmcSeen,
    /// As the BMC tells it (IPMI 2.0 §23.2).
    #[serde(deserialize_with = "address", skip_serializing_if = "Option::is_none")]
    pub bmc_ip: Option<Ipv4Addr>,
    #[serde(deserialize_with = "list")]
    pub nics: Vec<Nic>,
    #[serde(deserialize_with = "list")]
    pub disks: Vec<SeenDisk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lldp: Option<Neighbour>,
}

/// A number that a signed column, JavaScript and TOML can hold.
fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    Ok(u64::deserialize(from)?.min(1 << 53))
}

/// What is no address says nothing.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Ipv4Addr>, D::Error> {
    let text = Word::deserialize(from)?;
    Ok(text.as_str().parse().ok().filter(|ip: &Ipv4Addr| !ip.is_unspecified()))
}

/// A list of at most `MOST`.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    struct Bounded<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MOST}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element()? {
                if items.len() == MOST {
                    return Err(de::Error::custom(format!("a list has more than {MOST} items")));
                }
                items.push(item);
            }
            Ok(items)
        }
    }
    from.deserialize_seq(Bounded(PhantomData))
}

impl Machine {
    /// Reads a report: JSON, the frame that the blade heard from its switch as hex in
    /// `lldp_frame`. Unknown keys are passed over, so that an older server takes a newer script.
    pub fn read(body: &[u8]) -> Result<Machine, String> {
        let no_report = |error: serde_json::Error| format!("this is no report: {error}");
        let value: Value = serde_json::from_slice(body).map_err(no_report)?;
        // Serde would take a list for the fields in their order.
        if !value.is_object() {
            return Err("this is no report: no JSON object".to_owned());
        }
        let frame = value.get("lldp_frame").and_then(Value::as_str).map(hex::decode);
        let mut machine: Machine = serde_json::from_value(value).map_err(no_report)?;
        if let Some(Ok(frame)) = frame {
            machine.lldp = Neighbour::read(&frame);
        }
        Ok(machine)
    }

    /// `Dell Inc. PowerEdge M630, serial 7QX, 2 disks (2.0 TB), 256 GiB`: for the journal.
    pub fn words(&self) -> String {
        let maker = [&self.manufacturer, &self.model].map(|word| word.told().unwrap_or_default());
        let mut words = vec![maker.join(" ").trim().to_owned()];
        words.extend(self.serial.told().map(|serial| format!("serial {serial}")));
        let size: u64 = self.disks.iter().map(|disk| disk.size).fold(0, u64::saturating_add);
        words.push(match self.disks.len() {
            0 => "no disk".to_owned(),
            1 => format!("1 disk of {} GB", size / 1_000_000_000),
            n => format!("{n} disks, {} GB together", size / 1_000_000_000),
        });
        words.push(format!("{} MB of memory", self.ram_mb));
        words.retain(|word| !word.is_empty());
        words.join(", ")
    }

    /// The UUID, unless it is one that boards without one report.
    pub fn told_uuid(&self) -> Option<String> {
        let uuid = uuid::Uuid::try_parse(self.uuid.as_str()).ok()?;
        let octets = uuid.as_bytes();
        let same = octets.iter().all(|octet| *octet == octets[0]);
        // On AMI boards whose maker set none.
        let counted = uuid.as_u128() == 0x0300_0200_0400_0500_0006_0007_0008_0009;
        (!same && !counted).then(|| uuid.to_string())
    }

    /// Cards whose address may identify this machine, the one it booted from first. What a BMC
    /// plugs in by USB has one address on every machine of a model.
    pub fn own_macs(&self, booted: Mac) -> Vec<Mac> {
        let usb = ["cdc_ether", "cdc_ncm", "cdc_subset", "rndis_host", "usb"];
        let mut macs = vec![booted];
        for nic in &self.nics {
            let fit = !nic.mac.is_unusable() && !usb.iter().any(|d| nic.driver.as_str() == *d);
            if fit && !macs.contains(&nic.mac) {
                macs.push(nic.mac);
            }
        }
        macs
    }
}

#[cfg(test)]
mod tests;
