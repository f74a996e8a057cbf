//! Which firmware asks, and what it is given to boot. One table, and the texts of the iPXE
//! scripts. Pure.

mod script;

use std::fmt::Write as _;

pub use script::{ScriptError, hold, install, local, menu};

use crate::{blade::Mac, inventory::Intent};

/// What a DHCP client says about the program that is asking.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Option 93, all values (RFC 4578 §2.1 allows several), in the client's order.
    pub archs: Vec<u16>,
    /// Option 60.
    pub vendor_class: Vec<u8>,
    /// Option 77, whole.
    pub user_class: Vec<u8>,
    /// Option 175 is there: only iPXE and gPXE send it.
    pub option_175: bool,
    /// Option 97 of type 0: the SMBIOS UUID as sent.
    pub uuid: Option<[u8; 16]>,
}

/// What a client is given to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootAnswer {
    /// No boot file; the text says why.
    None(&'static str),
    /// No boot file, and a ROM is told at once to go on to the next boot device.
    Disk,
    /// A file to fetch by TFTP from the answering address.
    File(&'static str),
    /// A script URL for iPXE.
    Script(String),
}

/// Which program asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// An operating system or a live system: an address is all it wants.
    Os,
    /// iPXE, whatever it was loaded by.
    Ipxe,
    /// A network boot ROM of the table.
    Rom(&'static Row),
    /// A network boot ROM that the table does not have; its first architecture number.
    Unknown(Option<u16>),
}

/// A network boot ROM: how it names itself, what it loads.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    pub name: &'static str,
    /// How its vendor class (option 60) begins.
    class: &'static str,
    /// Option 93.
    arch: u16,
    file: &'static str,
}

const fn row(name: &'static str, class: &'static str, arch: u16, file: &'static str) -> Row {
    Row { name, class, arch, file }
}

/// The vendor class of PXE ROMs (PXE 2.1 §2.2.1).
const PXE: &str = "PXEClient";

/// Architecture numbers: IANA "Processor Architecture Types" (RFC 4578 §2.1, RFC 5970 §3.3).
static ROMS: [Row; 3] = [
    row("BIOS", PXE, 0, "undionly.kpxe"),
    row("UEFI x64", PXE, 7, "snponly.efi"),
    // RFC 4578 calls 9 x64 and 7 EBC; erratum 4625 swaps them. Firmware of both schools exists.
    row("UEFI x64", PXE, 9, "snponly.efi"),
];

impl Client {
    pub fn firmware(&self) -> Firmware {
        if self.is_ipxe() {
            return Firmware::Ipxe;
        }
        if !self.vendor_class.starts_with(PXE.as_bytes())
            && !self.vendor_class.starts_with(b"HTTPClient")
        {
            return Firmware::Os;
        }
        let archs = self.architectures();
        let known = archs.iter().find_map(|arch| {
            ROMS.iter().find(|row| {
                row.arch == *arch && self.vendor_class.starts_with(row.class.as_bytes())
            })
        });
        match known {
            Some(row) => Firmware::Rom(row),
            None => Firmware::Unknown(archs.first().copied()),
        }
    }

    /// A client that speaks PXE: a ROM or iPXE.
    pub fn is_pxe(&self) -> bool {
        self.firmware() != Firmware::Os
    }

    fn is_ipxe(&self) -> bool {
        // iPXE sends the raw text; RFC 3004 §4 wants each class with a length before it.
        let raw = self.user_class == b"iPXE" || self.user_class == b"gPXE";
        let mut rest = &self.user_class[..];
        let mut listed = false;
        while let Some((length, tail)) = rest.split_first() {
            let Some((class, tail)) = tail.split_at_checked(usize::from(*length)) else { break };
            listed |= class == b"iPXE" || class == b"gPXE";
            rest = tail;
        }
        raw || listed || self.option_175
    }

    /// Option 93, or where it is absent the `Arch:` field of the vendor class (PXE 2.1 §2.2.1).
    fn architectures(&self) -> Vec<u16> {
        if !self.archs.is_empty() {
            return self.archs.clone();
        }
        let text = String::from_utf8_lossy(&self.vendor_class);
        let field = text.split(':').skip_while(|word| *word != "Arch").nth(1);
        field.and_then(|number| number.parse().ok()).into_iter().collect()
    }
}

impl Firmware {
    /// For people and the journal.
    pub fn name(self) -> &'static str {
        match self {
            Firmware::Os => "OS",
            Firmware::Ipxe => "iPXE",
            Firmware::Rom(row) => row.name,
            Firmware::Unknown(_) => "unknown firmware",
        }
    }

    /// What this program boots. `intent` is `None` for a blade that is not in the inventory:
    /// it gets the console menu. `base` is the server's URL without a slash at its end.
    pub fn answer(self, intent: Option<&Intent>, base: &str, mac: Mac) -> BootAnswer {
        if self == Firmware::Os {
            return BootAnswer::None("an operating system wants no boot file");
        }
        // No boot file: an installed blade boots from its disk until an operator says otherwise.
        let installed = intent == Some(&Intent::Local);
        match self {
            Firmware::Rom(Row { class: PXE, .. }) if installed => BootAnswer::Disk,
            _ if installed => BootAnswer::None(INSTALLED),
            Firmware::Ipxe => BootAnswer::Script(script_url(base, mac)),
            Firmware::Rom(row) => BootAnswer::File(row.file),
            Firmware::Os | Firmware::Unknown(_) => {
                BootAnswer::None("no boot file for this firmware")
            }
        }
    }
}

/// Why an installed blade gets no boot file.
pub const INSTALLED: &str = "installed: boots from its disk";

/// Option 43 for `BootAnswer::Disk`, with option 60 "PXEClient" beside it: a boot menu of one
/// entry, "local boot" (type 0, PXE 2.1 §2.2.3 and table 2-1), taken without a prompt. EDK2
/// gives up at once; without it, it asks for a boot file for a minute.
pub fn local_boot_menu() -> Vec<u8> {
    const TITLE: &[u8] = b"Local boot";
    let mut menu = vec![6, 1, 3]; // No broadcast, no multicast discovery.
    let length = TITLE.len() as u8;
    menu.extend([9, 3 + length, 0, 0, length]);
    menu.extend(TITLE);
    menu.extend([10, 1 + length, 0]);
    menu.extend(TITLE);
    menu.push(255);
    menu
}

/// Where a blade's script is. The MAC stands in it literally: iPXE does not expand settings in
/// a file name that DHCP gives.
pub fn script_url(base: &str, mac: Mac) -> String {
    format!("{base}/boot/{}.ipxe", mac.hyphenated())
}

/// Two forms of one SMBIOS UUID are equal: SMBIOS 2.6 §7.2.1 stores the first three fields
/// little-endian, and programs disagree on whether to swap them for option 97.
pub fn same_uuid(a: &[u8; 16], b: &[u8; 16]) -> bool {
    let mut swapped = *b;
    swapped[..4].reverse();
    swapped[4..6].reverse();
    swapped[6..8].reverse();
    a == b || *a == swapped
}

/// A UUID that boards without one report: says nothing about the machine.
pub fn is_placeholder_uuid(uuid: &[u8; 16]) -> bool {
    uuid.iter().all(|octet| *octet == uuid[0])
}

/// `52540012-…` as sent, for people.
pub fn uuid_text(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, octet) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
