//! The kinds of blade that a rack can have: board, firmware, and how it asks
//! the network for its boot program. Pure.
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A board and its way to boot from the network, written `uefi`, `uefi-http`,
/// `arm64-secure-http` and so on; PXE over IPv4 is the way without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Firmware {
    pub board: Board,
    pub network: Network,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    Bios,
    Uefi,
    /// With Secure Boot on, Microsoft's and Debian's keys enrolled.
    UefiSecure,
    Arm64,
    Arm64Secure,
}

/// What the firmware tries first at each network boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Pxe,
    /// UEFI HTTP boot (UEFI 2.10 §24.7) and nothing else: a URL, no TFTP.
    Http,
    /// PXE over IPv6 and nothing else (DHCPv6, TFTP).
    Pxe6,
}

/// The option ROM of the blade's NIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NicRom {
    /// The emulator's own, which is iPXE for BIOS and UEFI x64 alike.
    Shipped,
    /// None: UEFI then uses its own PXE client, a different DHCP client; a
    /// BIOS blade without ROM cannot boot from the network.
    None,
    /// BIOS: one that is not iPXE and must be given it, as on most real boards.
    Foreign,
    File(PathBuf),
}

/// A file of the firmware, or the emulator, and the Debian package it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packaged {
    pub name: &'static str,
    pub package: &'static str,
}

/// Firmware in flash: its code, and the variables that each blade has its own of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flash {
    pub code: Packaged,
    pub vars: Packaged,
}

const fn packaged(name: &'static str, package: &'static str) -> Packaged {
    Packaged { name, package }
}

const fn flash(package: &'static str, code: &'static str, vars: &'static str) -> Option<Flash> {
    Some(Flash { code: packaged(code, package), vars: packaged(vars, package) })
}

const BOARDS: [(Board, &str); 5] = [
    (Board::Bios, "bios"),
    (Board::UefiSecure, "uefi-secure"),
    (Board::Uefi, "uefi"),
    (Board::Arm64Secure, "arm64-secure"),
    (Board::Arm64, "arm64"),
];
const NETWORKS: [(Network, &str); 3] =
    [(Network::Pxe, ""), (Network::Http, "-http"), (Network::Pxe6, "-pxe6")];

impl Firmware {
    pub const BIOS: Self = Self { board: Board::Bios, network: Network::Pxe };
    pub const UEFI: Self = Self { board: Board::Uefi, network: Network::Pxe };

    /// Every kind there is; a BIOS knows PXE only.
    pub fn all() -> impl Iterator<Item = Self> {
        let each = |(board, _)| NETWORKS.map(|(network, _)| Self { board, network });
        let sensible = |kind: &Self| kind.board != Board::Bios || kind.network == Network::Pxe;
        BOARDS.into_iter().flat_map(each).filter(sensible)
    }

    /// The NIC's ROM unless the operator says otherwise.
    pub fn usual_rom(self) -> NicRom {
        if self.board == Board::Bios { NicRom::Shipped } else { NicRom::None }
    }

    /// Switches of the firmware (OVMF and AAVMF read them by fw_cfg) that
    /// leave it `network` alone.
    pub fn switches(self) -> &'static [&'static str] {
        match self.network {
            // Nobody answers DHCPv6 here; the firmware would wait a minute for it.
            Network::Pxe => &["name=opt/org.tianocore/IPv6PXESupport,string=n"],
            Network::Pxe6 => &["name=opt/org.tianocore/IPv4PXESupport,string=n"],
            Network::Http => &[
                "name=opt/org.tianocore/IPv4PXESupport,string=n",
                "name=opt/org.tianocore/IPv6PXESupport,string=n",
            ],
        }
    }
}

impl Board {
    /// As the inventory has it.
    pub fn arch(self) -> &'static str {
        match self {
            Board::Bios | Board::Uefi | Board::UefiSecure => "amd64",
            Board::Arm64 | Board::Arm64Secure => "arm64",
        }
    }

    pub fn secure_boot(self) -> bool {
        matches!(self, Board::UefiSecure | Board::Arm64Secure)
    }

    pub fn emulator(self) -> Packaged {
        match self {
            Board::Bios | Board::Uefi | Board::UefiSecure => {
                packaged("qemu-system-x86_64", "qemu-system-x86")
            }
            Board::Arm64 | Board::Arm64Secure => packaged("qemu-system-aarch64", "qemu-system-arm"),
        }
    }

    /// `None` for BIOS, which the emulator brings.
    pub fn flash(self) -> Option<Flash> {
        match self {
            Board::Bios => None,
            Board::Uefi => {
                flash("ovmf", "/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd")
            }
            Board::UefiSecure => flash(
                "ovmf",
                "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
                "/usr/share/OVMF/OVMF_VARS_4M.ms.fd",
            ),
            Board::Arm64 => flash(
                "qemu-efi-aarch64",
                "/usr/share/AAVMF/AAVMF_CODE.fd",
                "/usr/share/AAVMF/AAVMF_VARS.fd",
            ),
            Board::Arm64Secure => flash(
                "qemu-efi-aarch64",
                "/usr/share/AAVMF/AAVMF_CODE.fd",
                "/usr/share/AAVMF/AAVMF_VARS.ms.fd",
            ),
        }
    }

    /// The emulator's options for it, before its flash.
    pub fn machine(self) -> &'static [&'static str] {
        match self {
            Board::Bios => &["-machine", "pc,graphics=off"],
            Board::Uefi => &["-machine", "q35"],
            // The variables are writable only from system management mode, or
            // Secure Boot could be switched off by whoever runs.
            Board::UefiSecure => &[
                "-machine",
                "q35,smm=on",
                "-global",
                "driver=cfi.pflash01,property=secure,value=on",
            ],
            Board::Arm64 | Board::Arm64Secure => &["-machine", "virt", "-cpu", "cortex-a72"],
        }
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KindError {
    #[error("`{0}` is no firmware: one of {kinds}", kinds = kinds())]
    Kind(String),
    #[error("`{0}` is not BLADE=FIRMWARE, where FIRMWARE is one of {kinds}", kinds = kinds())]
    Pair(String),
    #[error("`{0}` is not BLADE=ROM, where ROM is shipped, none, foreign or an absolute path")]
    NicRom(String),
}

fn kinds() -> String {
    let names: Vec<String> = Firmware::all().map(|kind| kind.to_string()).collect();
    names.join(", ")
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let board = BOARDS.iter().find(|(board, _)| *board == self.board);
        let network = NETWORKS.iter().find(|(network, _)| *network == self.network);
        let (board, network) = (board.map_or("", |b| b.1), network.map_or("", |n| n.1));
        // `pad`, so that a table's column keeps its width.
        f.pad(&format!("{board}{network}"))
    }
}

impl FromStr for Firmware {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let known = Self::all().find(|kind| kind.to_string() == text);
        known.ok_or_else(|| KindError::Kind(text.to_owned()))
    }
}

impl TryFrom<String> for Firmware {
    type Error = KindError;

    fn try_from(text: String) -> Result<Self, KindError> {
        text.parse()
    }
}

impl From<Firmware> for String {
    fn from(kind: Firmware) -> Self {
        kind.to_string()
    }
}

/// `BLADE=FIRMWARE`.
pub fn firmware(text: &str) -> Result<(String, Firmware), KindError> {
    let (blade, kind) = text.split_once('=').ok_or_else(|| KindError::Pair(text.to_owned()))?;
    Ok((blade.to_owned(), kind.parse()?))
}

/// `BLADE=shipped|none|foreign|/path/to.rom`.
pub fn nic_rom(text: &str) -> Result<(String, NicRom), KindError> {
    let (blade, rom) = text.split_once('=').ok_or_else(|| KindError::NicRom(text.to_owned()))?;
    let rom = match rom {
        "shipped" => NicRom::Shipped,
        "none" => NicRom::None,
        "foreign" => NicRom::Foreign,
        // The emulator runs in the lab's directory: a relative path would mean another file.
        path if path.starts_with('/') => NicRom::File(path.into()),
        _ => return Err(KindError::NicRom(text.to_owned())),
    };
    Ok((blade.to_owned(), rom))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_that_is_read_back() {
        insta::assert_snapshot!(kinds());
        for kind in Firmware::all() {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<Firmware>(&json).unwrap(), kind);
        }
    }

    #[test]
    fn what_is_no_kind_is_refused_with_those_there_are() {
        let refused = |text: &str| firmware(text).unwrap_err().to_string();
        assert!(refused("r1-c1-b01=bios-http").contains("uefi-secure-http"));
        assert!(refused("r1-c1-b01").contains("BLADE=FIRMWARE"));
        let uefi = firmware("r1-c1-b01=uefi").unwrap();
        assert_eq!(uefi, ("r1-c1-b01".to_owned(), Firmware::UEFI));
    }

    #[test]
    fn a_nics_rom_is_a_word_or_a_path() {
        assert_eq!(nic_rom("b=none"), Ok(("b".into(), NicRom::None)));
        assert_eq!(nic_rom("b=foreign"), Ok(("b".into(), NicRom::Foreign)));
        assert!(nic_rom("b=relative.rom").is_err());
        assert!(nic_rom("b").is_err());
    }
}
