//! What is written on the command line of `lab up`, read.
use std::net::SocketAddrV4;
use std::str::FromStr;

use super::plan::WishError;

/// The first five octets of the blades' MACs; the sixth is the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacPrefix(pub [u8; 5]);

impl FromStr for MacPrefix {
    type Err = WishError;

    fn from_str(text: &str) -> Result<Self, WishError> {
        let wrong = || WishError::MacPrefix(text.to_owned());
        let octets: Vec<u8> = text
            .split(':')
            .map(|octet| match octet.len() {
                2 => u8::from_str_radix(octet, 16).map_err(|_| wrong()),
                _ => Err(wrong()),
            })
            .collect::<Result<_, _>>()?;
        let prefix: [u8; 5] = octets.try_into().map_err(|_| wrong())?;
        // IEEE 802: the lowest bit of the first octet marks a group address.
        if prefix[0] & 1 == 1 { Err(wrong()) } else { Ok(Self(prefix)) }
    }
}

/// `BLADE=IP:PORT`.
pub fn bmc(text: &str) -> Result<(String, SocketAddrV4), WishError> {
    let parts = text.split_once('=');
    let parts = parts.and_then(|(blade, at)| Some((blade.to_owned(), at.parse().ok()?)));
    parts.ok_or_else(|| WishError::Bmc(text.to_owned()))
}

/// `4G` and the like, in bytes (powers of 1024).
pub fn size(text: &str) -> Result<u64, WishError> {
    let wrong = || WishError::Size(text.to_owned());
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "K" | "k" => 1 << 10,
        "M" | "m" => 1 << 20,
        "G" | "g" => 1 << 30,
        "T" | "t" => 1 << 40,
        _ => return Err(wrong()),
    };
    // `+4G` would be a number to Rust.
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_addresses_and_prefixes_are_parsed_or_refused() {
        assert_eq!(size("4G"), Ok(4 << 30));
        assert_eq!(size("512"), Ok(512));
        assert!(bmc("r1-c1-b01").is_err() && bmc("r1-c1-b01=localhost").is_err());
        for bad in ["", "G", "4X", "-1", "+4G", "4GG", "99999999999T", "4é"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        for bad in [
            "",
            "52:54:00:00",
            "52:54:00:00:01:02",
            "53:54:00:00:01",
            "5:54:00:00:01",
            "zz:54:00:00:01",
        ] {
            assert!(bad.parse::<MacPrefix>().is_err(), "{bad}");
        }
    }
}
