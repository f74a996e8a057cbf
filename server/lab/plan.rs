//! What a virtual rack will be, decided before anything is made: names, MACs,
//! addresses, identities. Pure.
use std::net::{Ipv4Addr, SocketAddrV4};
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use super::firmware::{Board, Firmware, Network, NicRom};
use super::ipv6;
use super::words::MacPrefix;

/// The rack and chassis that every lab's blades sit in.
pub const RACK: &str = "r1";
pub const CHASSIS: &str = "c1";
/// A chassis has at least so many slots, as the real ones do.
const SLOTS: u8 = 14;
/// More emulated blades than this are a mistyped number, not a rack.
const MOST_BLADES: u8 = 64;
/// The widest prefix that still holds hosts (.1.x) and pool (.9.x).
const NARROWEST: u8 = 20;

/// A lab's name: part of a namespace's and a directory's name, so it is
/// `[a-z0-9-]`, 1 to 32 characters, not beginning with `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

/// What the operator asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    pub name: LabName,
    pub blades: u8,
    /// How many of the blades, counted from the last, have UEFI firmware.
    pub uefi: u8,
    /// What single blades have instead; the last word on a blade counts.
    pub firmware: Vec<(String, Firmware)>,
    pub memory_mb: u32,
    pub disk_bytes: u64,
    pub subnet: Ipv4Net,
    pub mac_prefix: MacPrefix,
    /// The blades' clock at each power-up; the host's time where none.
    pub rtc: Option<jiff::civil::DateTime>,
    pub second_disk: Vec<String>,
    pub bmc: Vec<(String, SocketAddrV4)>,
    pub nic_rom: Vec<(String, NicRom)>,
    pub router_advertisement: bool,
    pub ipv6: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub name: LabName,
    pub namespace: String,
    pub subnet: Ipv4Net,
    /// The bridge's address, where the daemon answers.
    pub server: Ipv4Addr,
    pub slots: u8,
    /// `2015-01-01T00:00:00`, UTC.
    pub rtc: Option<String>,
    /// Whether the lab answers router solicitations, see [`super::router`].
    pub router_advertisement: bool,
    /// The blades' IPv6 network, where there is one; the daemon's address is its first.
    pub subnet6: Option<Ipv6Net>,
    pub blades: Vec<Blade>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blade {
    pub name: String,
    pub slot: u8,
    pub firmware: Firmware,
    pub mac: String,
    pub ip: Ipv4Addr,
    pub tap: String,
    /// SMBIOS identity: what DHCP option 97 and `dmidecode` show.
    pub uuid: uuid::Uuid,
    pub serial: String,
    pub memory_mb: u32,
    pub disk_bytes: u64,
    pub second_disk: bool,
    #[serde(default)]
    pub bmc: Option<SocketAddrV4>,
    pub nic_rom: NicRom,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    #[error("`{0}` is no lab name: 1 to 32 of a-z, 0-9 and -, beginning with a letter or digit")]
    Name(String),
    #[error("--blades {0}: between 1 and {MOST_BLADES}")]
    Blades(u8),
    #[error("--uefi {uefi}: there are only {blades} blades")]
    Uefi { uefi: u8, blades: u8 },
    #[error("--memory {0}: a blade needs at least 80 MB to reach its boot script")]
    Memory(u32),
    #[error("--disk-size: a disk has at least 1 MiB, whole sectors of 512 bytes; not {0} bytes")]
    Disk(u64),
    #[error("--subnet {0}: at most /{NARROWEST}, to hold hosts at .1.x and the pool at .9.x")]
    Subnet(Ipv4Net),
    #[error("--{option} {blade}: the blades are {first} to {last}")]
    UnknownBlade { option: &'static str, blade: String, first: String, last: String },
    #[error("`{0}` is no MAC prefix: five octets of a unicast address, such as 52:54:00:00:01")]
    MacPrefix(String),
    #[error("`{0}` is no size: a number of bytes, or one with K, M, G or T, such as 4G")]
    Size(String),
    #[error("--nic-rom {0}=foreign: only a BIOS blade has such a ROM; this one is {1}")]
    ForeignRom(String, Firmware),
    #[error("--bmc {0}: only an x64 board has the interface for it; this one is {1}")]
    NoBmc(String, Firmware),
    #[error("--bmc {0}: not BLADE=IP:PORT, such as r1-c1-b01=127.0.0.1:9002")]
    Bmc(String),
    #[error("--firmware {0}={1}: nobody answers DHCPv6 in this lab; give it --ipv6")]
    NoIpv6(String, Firmware),
}

impl Plan {
    pub fn new(wish: &Wish) -> Result<Self, WishError> {
        check(wish)?;
        let network = wish.subnet.trunc();
        let blades: Vec<_> = (1..=wish.blades).map(|slot| blade(wish, &network, slot)).collect();
        blades.iter().try_for_each(|blade| misfit(blade, wish))?;
        Ok(Self {
            name: wish.name.clone(),
            namespace: format!("fl-{}", wish.name),
            subnet: network,
            server: offset(&network, 1),
            slots: SLOTS.max(wish.blades),
            rtc: wish.rtc.map(|rtc| rtc.strftime("%Y-%m-%dT%H:%M:%S").to_string()),
            router_advertisement: wish.router_advertisement,
            subnet6: wish.ipv6.then_some(ipv6::SUBNET),
            blades,
        })
    }

    /// The first and last address of the pool for blades nobody knows.
    pub fn pool(&self) -> (Ipv4Addr, Ipv4Addr) {
        (offset(&self.subnet, 9 * 256 + 1), offset(&self.subnet, 9 * 256 + 250))
    }

    /// The host address of slot 1; the address rule counts on from it.
    pub fn ip_first(&self) -> Ipv4Addr {
        host(&self.subnet, 1)
    }
}

fn check(wish: &Wish) -> Result<(), WishError> {
    if !(1..=MOST_BLADES).contains(&wish.blades) {
        return Err(WishError::Blades(wish.blades));
    }
    if wish.uefi > wish.blades {
        return Err(WishError::Uefi { uefi: wish.uefi, blades: wish.blades });
    }
    if wish.memory_mb < 80 {
        return Err(WishError::Memory(wish.memory_mb));
    }
    if wish.disk_bytes < 1 << 20 || !wish.disk_bytes.is_multiple_of(512) {
        return Err(WishError::Disk(wish.disk_bytes));
    }
    if wish.subnet.prefix_len() > NARROWEST {
        return Err(WishError::Subnet(wish.subnet));
    }
    let second = wish.second_disk.iter().map(|blade| ("second-disk", blade));
    let rom = wish.nic_rom.iter().map(|(blade, _)| ("nic-rom", blade));
    let bmc = wish.bmc.iter().map(|(blade, _)| ("bmc", blade));
    let firmware = wish.firmware.iter().map(|(blade, _)| ("firmware", blade));
    for (option, blade) in second.chain(rom).chain(bmc).chain(firmware) {
        if !(1..=wish.blades).any(|slot| blade_name(slot) == *blade) {
            let (first, last) = (blade_name(1), blade_name(wish.blades));
            return Err(WishError::UnknownBlade { option, blade: blade.clone(), first, last });
        }
    }
    Ok(())
}

/// What a board cannot have, or not in this lab.
fn misfit(blade: &Blade, wish: &Wish) -> Result<(), WishError> {
    let (name, kind) = (blade.name.clone(), blade.firmware);
    if blade.nic_rom == NicRom::Foreign && kind.board != Board::Bios {
        return Err(WishError::ForeignRom(name, kind));
    }
    if kind.network == Network::Pxe6 && !wish.ipv6 {
        return Err(WishError::NoIpv6(name, kind));
    }
    match blade.bmc {
        Some(_) if kind.board.arch() != "amd64" => Err(WishError::NoBmc(name, kind)),
        _ => Ok(()),
    }
}

fn blade(wish: &Wish, network: &Ipv4Net, slot: u8) -> Blade {
    let name = blade_name(slot);
    let counted = if slot > wish.blades - wish.uefi { Firmware::UEFI } else { Firmware::BIOS };
    // The last of several options for one blade wins, as everywhere on a command line.
    let named = wish.firmware.iter().rev().find(|(blade, _)| *blade == name);
    let firmware = named.map_or(counted, |(_, firmware)| *firmware);
    let asked = wish.nic_rom.iter().rev().find(|(blade, _)| *blade == name);
    let [a, b, c, d, e] = wish.mac_prefix.0;
    // The MAC inside makes it unique in the rack, and readable in a packet dump.
    let node = [0x46, 0x4c, 0, 0, 0, 0, 0x40, 0, 0x80, 0, a, b, c, d, e, slot];
    Blade {
        firmware,
        mac: format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{slot:02x}"),
        ip: host(network, slot),
        tap: format!("tap-b{slot:02}"),
        uuid: uuid::Uuid::from_bytes(node),
        serial: format!("FL-{}", name.to_uppercase()),
        memory_mb: wish.memory_mb,
        disk_bytes: wish.disk_bytes,
        second_disk: wish.second_disk.contains(&name),
        bmc: wish.bmc.iter().rev().find(|(blade, _)| *blade == name).map(|(_, bmc)| *bmc),
        nic_rom: asked.map_or_else(|| firmware.usual_rom(), |(_, rom)| rom.clone()),
        slot,
        name,
    }
}

fn blade_name(slot: u8) -> String {
    format!("{RACK}-{CHASSIS}-b{slot:02}")
}

fn host(network: &Ipv4Net, slot: u8) -> Ipv4Addr {
    offset(network, 256 + u32::from(slot))
}

/// Within the subnet by [`NARROWEST`].
fn offset(network: &Ipv4Net, by: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(network.network().to_bits() | by)
}

impl FromStr for LabName {
    type Err = WishError;

    fn from_str(text: &str) -> Result<Self, WishError> {
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let fits = (1..=32).contains(&text.len()) && !text.starts_with('-');
        if fits && text.bytes().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(WishError::Name(text.to_owned()))
        }
    }
}

impl TryFrom<String> for LabName {
    type Error = WishError;

    fn try_from(text: String) -> Result<Self, WishError> {
        text.parse()
    }
}

impl From<LabName> for String {
    fn from(name: LabName) -> Self {
        name.0
    }
}

impl std::fmt::Display for LabName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Three blades, the last one UEFI: what most snapshots show.
    pub fn wish() -> Wish {
        Wish {
            name: "demo".parse().unwrap(),
            blades: 3,
            uefi: 1,
            firmware: vec![],
            memory_mb: 640,
            disk_bytes: 4 << 30,
            subnet: "10.12.0.0/16".parse().unwrap(),
            mac_prefix: "52:54:00:00:01".parse().unwrap(),
            rtc: Some("2015-01-01T00:00:00".parse().unwrap()),
            second_disk: vec!["r1-c1-b02".into()],
            bmc: vec![],
            nic_rom: vec![],
            router_advertisement: true,
            ipv6: false,
        }
    }

    #[test]
    fn the_last_blades_are_the_uefi_ones_and_use_their_own_pxe_client() {
        let plan = Plan::new(&wish()).unwrap();
        let kinds: Vec<_> = plan.blades.iter().map(|b| (b.firmware, b.nic_rom.clone())).collect();
        let bios = (Firmware::BIOS, NicRom::Shipped);
        assert_eq!(kinds, [bios.clone(), bios, (Firmware::UEFI, NicRom::None)]);
    }

    #[test]
    fn identities_differ_between_blades() {
        let plan = Plan::new(&Wish { blades: 64, ..wish() }).unwrap();
        let mut seen = std::collections::HashSet::new();
        for blade in &plan.blades {
            for identity in [
                &blade.mac,
                &blade.serial,
                &blade.tap,
                &blade.uuid.to_string(),
                &blade.ip.to_string(),
            ] {
                assert!(seen.insert(identity.clone()), "{identity} twice");
            }
        }
        assert_eq!(plan.slots, 64);
        assert_eq!(plan.blades[63].ip, Ipv4Addr::new(10, 12, 1, 64));
    }

    #[test]
    fn a_wish_that_cannot_be_is_refused_by_option_name() {
        let refused = |wish: Wish| Plan::new(&wish).unwrap_err().to_string();
        assert!(refused(Wish { blades: 0, ..wish() }).contains("--blades 0"));
        assert!(refused(Wish { blades: 65, ..wish() }).contains("--blades 65"));
        assert!(refused(Wish { uefi: 4, ..wish() }).contains("only 3 blades"));
        assert!(refused(Wish { memory_mb: 16, ..wish() }).contains("--memory 16"));
        assert!(refused(Wish { disk_bytes: 0, ..wish() }).contains("--disk-size"));
        let small = "10.0.0.0/24".parse().unwrap();
        assert!(refused(Wish { subnet: small, ..wish() }).contains("--subnet 10.0.0.0/24"));
        let six = vec![("r1-c1-b01".to_owned(), "uefi-pxe6".parse().unwrap())];
        assert!(refused(Wish { firmware: six, ..wish() }).contains("give it --ipv6"));
        let bmc = vec![("r1-c1-b01".to_owned(), "127.0.0.1:9002".parse().unwrap())];
        let firmware = vec![("r1-c1-b01".to_owned(), "arm64".parse().unwrap())];
        assert!(refused(Wish { bmc, firmware, ..wish() }).contains("only an x64 board"));
        let far = vec!["r1-c1-b09".to_owned()];
        assert_eq!(
            refused(Wish { second_disk: far, ..wish() }),
            "--second-disk r1-c1-b09: the blades are r1-c1-b01 to r1-c1-b03"
        );
    }

    #[test]
    fn names_are_parsed_or_refused() {
        for bad in ["", "-a", "A", "a/b", "..", "a b", &"x".repeat(33)] {
            assert!(bad.parse::<LabName>().is_err(), "{bad}");
        }
    }
}
