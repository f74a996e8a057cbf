//! Programs that a rehearsal plays: what they say of themselves in DHCP.

use std::{net::IpAddr, str::FromStr, sync::Arc};

use super::{
    Client,
    table::{PXE, Platform, ROMS, Row},
};
use crate::blade::Mac;

/// Tells what a program on this MAC would be answered now; nothing is kept. Empty where this
/// version of DHCP is not served.
pub type Rehearse = Arc<dyn Fn(Player, Mac) -> Vec<Exchange> + Send + Sync>;

/// A program that asks by DHCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Player {
    Rom(&'static Row),
    /// iPXE on firmware of this row.
    Ipxe(&'static Row),
    /// The live or the installed system.
    Os,
}

impl Player {
    /// The names that `from_str` takes.
    pub fn names() -> Vec<String> {
        let mut names: Vec<String> = ROMS.iter().map(|row| Player::Rom(row).to_string()).collect();
        names.extend(
            ROMS.iter().filter(|row| row.class == PXE).map(|row| Player::Ipxe(row).to_string()),
        );
        names.push(Player::Os.to_string());
        names.dedup();
        names
    }

    /// The program that follows when this one has loaded iPXE.
    pub fn with_ipxe(self) -> Player {
        match self {
            Player::Rom(row) | Player::Ipxe(row) => {
                let same = |other: &&Row| other.class == PXE && other.platform == row.platform;
                Player::Ipxe(ROMS.iter().find(same).unwrap_or(row))
            }
            Player::Os => Player::Os,
        }
    }

    pub fn platform(self) -> Option<Platform> {
        match self {
            Player::Rom(row) | Player::Ipxe(row) => Some(row.platform),
            Player::Os => None,
        }
    }

    /// What it says, as EDK2, SeaBIOS with iPXE, and udhcpc do (captured in `tests/fixtures`).
    pub fn client(self) -> Client {
        let class = |row: &Row| {
            let undi = if row.platform == Platform::Bios { "002001" } else { "003000" };
            format!("{}:Arch:{:05}:UNDI:{undi}", row.class, row.arch).into_bytes()
        };
        match self {
            Player::Rom(row) => {
                Client { archs: vec![row.arch], vendor_class: class(row), ..Client::default() }
            }
            Player::Ipxe(row) => Client {
                archs: vec![row.arch],
                vendor_class: class(row),
                user_class: b"iPXE".to_vec(),
                option_175: true,
                uuid: None,
            },
            Player::Os => Client { vendor_class: b"udhcp 1.35.0".to_vec(), ..Client::default() },
        }
    }
}

impl std::fmt::Display for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slug = |row: &Row| row.name.to_ascii_lowercase().replace(' ', "-");
        match self {
            Player::Rom(row) => f.write_str(&slug(row)),
            Player::Ipxe(row) => write!(f, "ipxe-{}", slug(row)),
            Player::Os => f.write_str("os"),
        }
    }
}

impl FromStr for Player {
    type Err = String;

    /// `uefi-x64-http`, and also as the journal writes it: `UEFI x64 HTTP`.
    fn from_str(text: &str) -> Result<Player, String> {
        let asked = text.to_ascii_lowercase().replace(' ', "-");
        if asked == "ipxe" {
            return Ok(Player::Ipxe(&ROMS[0]));
        }
        let roms = ROMS.iter().map(Player::Rom);
        let all = roms.chain(ROMS.iter().map(Player::Ipxe)).chain([Player::Os]);
        all.into_iter().find(|player| player.to_string() == asked).ok_or_else(|| {
            format!("there is no firmware {text:?}; there are {}", Player::names().join(", "))
        })
    }
}

/// One exchange of a rehearsal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exchange {
    /// `DISCOVER` or `SOLICIT`, then `REQUEST`.
    pub asked: &'static str,
    /// The DHCP message that was decided about, without UDP and IP headers, within its relay's.
    pub sent: Vec<u8>,
    /// The answer, the same way; `None` where there is none.
    pub answer: Option<Vec<u8>>,
    /// The answer for people: name and value of each field and option.
    pub fields: Vec<(String, String)>,
    /// The address given, the address that answers, and what is to be loaded. DHCPv6 names the
    /// second in the URL of the third alone.
    pub address: Option<IpAddr>,
    pub server: Option<IpAddr>,
    pub boot_file: Option<String>,
    /// The rule that chose the boot file; empty where nothing chose.
    pub rule: String,
    /// What the journal would say.
    pub said: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back_and_asks_as_what_it_says() {
        for name in Player::names() {
            let player: Player = name.parse().unwrap();
            assert_eq!(player.to_string(), name);
            let firmware = player.client().firmware().name().to_ascii_lowercase().replace(' ', "-");
            let expected = if name.starts_with("ipxe-") { "ipxe" } else { &name };
            assert_eq!(firmware, expected);
        }
        assert!("toaster".parse::<Player>().unwrap_err().contains("uefi-arm64-http"));
    }
}
