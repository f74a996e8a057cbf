//! Which firmware asks, and what it is given to boot: one table, the rules that override it, and
//! the texts that boot programs read. Pure.

mod grub;
mod ipxe;
mod names;
mod order;
mod program;
mod pxelinux;
mod rehearsal;
mod rules;
mod table;
mod url;
pub mod watch;

use std::fmt::Write as _;

pub use names::{Name, Whose, name};
pub use order::{Files, Order, Reader, ScriptError};
pub use program::fits_name;
pub use pxelinux::Reader as Pxelinux;
pub use rehearsal::{Exchange, Player, Rehearse};
pub use rules::{check, override_for};
pub use table::{HTTP, Loader, PXE, Platform, Program, ROMS, Row, loader};
pub use url::{base_url, literal, url_for};

use crate::{
    blade::Mac,
    inventory::{Blade, BootRule, Intent},
};

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
    /// The same for UEFI HTTP boot: the URL of nothing. EDK2 hears 404 and goes on; without a URL
    /// it asks for one for a minute.
    DiskByUrl(String),
    /// A file to fetch by TFTP from the answering address.
    File(String),
    /// A URL for UEFI HTTP boot, told with the vendor class "HTTPClient".
    Url(String),
    /// A script URL for iPXE.
    Script(String),
}

impl BootAnswer {
    /// What is to be loaded; empty where nothing is.
    pub fn file(&self) -> &str {
        match self {
            BootAnswer::None(_) | BootAnswer::Disk | BootAnswer::DiskByUrl(_) => "",
            BootAnswer::File(name) | BootAnswer::Url(name) | BootAnswer::Script(name) => name,
        }
    }

    /// What UEFI HTTP boot is told.
    pub fn http_url(&self) -> Option<&str> {
        match self {
            BootAnswer::Url(url) | BootAnswer::DiskByUrl(url) => Some(url),
            _ => None,
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        match self {
            BootAnswer::None(why) => (*why).to_owned(),
            BootAnswer::Disk | BootAnswer::DiskByUrl(_) => INSTALLED.to_owned(),
            _ => format!("boots {}", self.file()),
        }
    }
}

/// An answer, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    pub answer: BootAnswer,
    /// The rule that led to it, for people.
    pub rule: String,
}

/// Whom a choice is for.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    pub mac: Mac,
    /// `None` for one that is not in the inventory.
    pub blade: Option<&'a Blade>,
    pub rules: &'a [BootRule],
    /// The server's URL without a slash at its end.
    pub base: &'a str,
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

impl Client {
    pub fn firmware(&self) -> Firmware {
        if self.is_ipxe() {
            return Firmware::Ipxe;
        }
        if !self.vendor_class.starts_with(PXE.as_bytes())
            && !self.vendor_class.starts_with(HTTP.as_bytes())
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

    /// What boot programs must be made for, as far as it is known.
    fn platform(self, client: &Client) -> Option<Platform> {
        match self {
            Firmware::Rom(row) => Some(row.platform),
            // iPXE reports the architecture it runs on.
            _ => {
                let archs = client.architectures();
                ROMS.iter().find(|row| archs.contains(&row.arch)).map(|row| row.platform)
            }
        }
    }
}

/// What a client boots, and which rule says so.
pub fn choose(client: &Client, asking: &Asking<'_>) -> Choice {
    let firmware = client.firmware();
    let say = |answer, rule: String| Choice { answer, rule };
    // No boot file: an installed blade boots from its disk until an operator says otherwise.
    let installed = asking.blade.is_some_and(|blade| blade.intent == Intent::Local);
    match firmware {
        Firmware::Os => {
            let why = "an operating system wants no boot file";
            say(BootAnswer::None(why), why.to_owned())
        }
        Firmware::Rom(Row { class: PXE, .. }) if installed => {
            say(BootAnswer::Disk, INSTALLED.to_owned())
        }
        Firmware::Rom(_) if installed => {
            let url = format!("{}/loaders/{NO_PROGRAM}", asking.base);
            say(BootAnswer::DiskByUrl(url), INSTALLED.to_owned())
        }
        Firmware::Ipxe if installed => say(BootAnswer::None(INSTALLED), INSTALLED.to_owned()),
        Firmware::Ipxe => match overridden(client, asking) {
            // A blade that is given another program by a rule gets it from an iPXE in its ROM too.
            Some((name, rule))
                if matches!(loader(name).program, Program::Grub | Program::Pxelinux { .. }) =>
            {
                say(BootAnswer::File(name.to_owned()), rule)
            }
            _ => {
                let rule = "iPXE gets the blade's script".to_owned();
                say(BootAnswer::Script(script_url(asking.base, asking.mac)), rule)
            }
        },
        Firmware::Rom(row) => {
            let (name, rule) = overridden(client, asking).unwrap_or_else(|| by_table(row, asking));
            say(transport(row, name, asking), rule)
        }
        Firmware::Unknown(arch) => {
            let arch = arch.map_or("none".to_owned(), |arch| arch.to_string());
            say(
                BootAnswer::None("no boot file for this firmware"),
                format!(
                    "no row of the firmware table has architecture {arch} and this vendor class"
                ),
            )
        }
    }
}

/// The boot program that a BIOS ROM of this blade is told to load.
pub fn bios_loader<'a>(asking: &Asking<'a>) -> &'a str {
    let row = &ROMS[0];
    let by_rule = override_for(asking, Platform::Bios, Firmware::Rom(row));
    by_rule.map_or(row.loader, |(name, _)| name)
}

fn by_table(row: &'static Row, asking: &Asking<'_>) -> (&'static str, String) {
    let secure = asking.blade.and_then(|blade| blade.secure_boot) == Some(true);
    match row.secure.filter(|_| secure) {
        Some(shim) => (shim, format!("{}, Secure Boot is on: shim", row.name)),
        None => (row.loader, format!("firmware table: {} (architecture {})", row.name, row.arch)),
    }
}

fn overridden<'a>(client: &Client, asking: &Asking<'a>) -> Option<(&'a str, String)> {
    let firmware = client.firmware();
    override_for(asking, firmware.platform(client)?, firmware)
}

/// The same program by the way this firmware fetches it.
fn transport(row: &Row, name: &str, asking: &Asking<'_>) -> BootAnswer {
    match row.class {
        HTTP => BootAnswer::Url(format!("{}/loaders/{name}", asking.base)),
        _ => BootAnswer::File(name.to_owned()),
    }
}

/// Why an installed blade gets no boot file.
pub const INSTALLED: &str = "installed: boots from its disk";

/// No boot program has this name: asked for it, we answer 404.
pub const NO_PROGRAM: &str = "local-boot";

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
    a == b || *a == swapped_uuid(b)
}

/// The other form of a UUID.
pub fn swapped_uuid(uuid: &[u8; 16]) -> [u8; 16] {
    let mut swapped = *uuid;
    swapped[..4].reverse();
    swapped[4..6].reverse();
    swapped[6..8].reverse();
    swapped
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
