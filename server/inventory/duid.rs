//! How a DHCPv6 client names itself for all its life (RFC 8415 §11).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::blade::Mac;

/// A DHCP unique identifier, written in hexadecimal: `00:04:` and sixteen octets of a UUID.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Duid(Vec<u8>);

/// RFC 8415 §11.1: a type of two octets and at most 128 more.
const LONGEST: usize = 130;
const SHORTEST: usize = 3;
const ETHERNET: [u8; 2] = [0, 1];

impl Duid {
    pub fn new(octets: &[u8]) -> Option<Duid> {
        (SHORTEST..=LONGEST).contains(&octets.len()).then(|| Duid(octets.to_vec()))
    }

    /// DUID-UUID (RFC 6355 §4).
    pub fn of_uuid(uuid: &[u8; 16]) -> Duid {
        Duid([&[0, 4], &uuid[..]].concat())
    }

    /// DUID-LL of an Ethernet card (RFC 8415 §11.4).
    pub fn of_mac(mac: Mac) -> Duid {
        Duid([&[0, 3], &ETHERNET[..], &mac.0].concat())
    }

    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// The MAC in a DUID-LLT or DUID-LL of an Ethernet card (RFC 8415 §§11.2, 11.4).
    pub fn mac(&self) -> Option<Mac> {
        let link = match self.0.as_slice() {
            [0, 1, link @ ..] => [link.get(..2)?, link.get(6..)?].concat(),
            [0, 3, link @ ..] => link.to_vec(),
            _ => return None,
        };
        let (kind, address) = link.split_at_checked(2)?;
        let mac = Mac(address.try_into().ok()?);
        (kind == ETHERNET && !mac.is_unusable()).then_some(mac)
    }

    /// The UUID in a DUID-UUID: of the SMBIOS, if firmware sent it.
    pub fn uuid(&self) -> Option<[u8; 16]> {
        self.0.strip_prefix(&[0, 4])?.try_into().ok()
    }

    /// The same client. Firmware and operating system disagree on the order of a UUID's octets.
    pub fn is(&self, other: &Duid) -> bool {
        let swapped = other.uuid().map(|mut uuid| {
            uuid[..4].reverse();
            uuid[4..6].reverse();
            uuid[6..8].reverse();
            uuid
        });
        self == other || (swapped.is_some() && self.uuid() == swapped)
    }
}

impl FromStr for Duid {
    type Err = String;

    fn from_str(text: &str) -> Result<Duid, String> {
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-')).collect();
        hex::decode(digits).ok().and_then(|octets| Duid::new(&octets)).ok_or_else(|| {
            format!(
                "{text:?} is no DUID; write its octets in hexadecimal, such as \
                 \"00:04:4c:4c:45:44:00:35:10:38:80:39:b4:c0:4f:36:33:32\""
            )
        })
    }
}

impl TryFrom<String> for Duid {
    type Error = String;

    fn try_from(text: String) -> Result<Duid, String> {
        text.parse()
    }
}

impl From<Duid> for String {
    fn from(duid: Duid) -> String {
        duid.to_string()
    }
}

impl fmt::Display for Duid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, octet) in self.0.iter().enumerate() {
            write!(f, "{}{octet:02x}", if index == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc8415_s11_the_mac_of_an_ethernet_duid_is_found_and_of_no_other() {
        let mac = |text: &str| text.parse::<Duid>().unwrap().mac().map(|mac| mac.to_string());
        let ours = Some("52:54:00:00:01:01".to_owned());
        assert_eq!(mac("00:01:00:01:2c:3d:4e:5f:52:54:00:00:01:01"), ours, "§11.2 DUID-LLT");
        assert_eq!(mac("00:03:00:01:52:54:00:00:01:01"), ours, "§11.4 DUID-LL");
        assert_eq!(mac("00:03:00:20:52:54:00:00:01:01"), None, "InfiniBand");
        assert_eq!(mac("00:03:00:01:ff:ff:ff:ff:ff:ff"), None, "no card has it");
        assert_eq!(mac("00:03:00:01:52:54:00:00:01"), None);
        assert_eq!(mac("00:02:00:00:ab:11:52:54:00:00:01:01"), None, "§11.3 DUID-EN");
    }

    #[test]
    fn rfc6355_s4_a_duid_uuid_is_the_same_in_either_order_of_octets() {
        let one: Duid = "00:04:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff".parse().unwrap();
        let swapped = "00:04:33:22:11:00:55:44:77:66:88:99:aa:bb:cc:dd:ee:ff".parse().unwrap();
        let other = "00:04:33:22:11:00:55:44:77:66:88:99:aa:bb:cc:dd:ee:00".parse().unwrap();
        assert!(one.is(&one) && one.is(&swapped) && !one.is(&other));
    }

    #[test]
    fn what_is_no_duid_is_refused() {
        for bad in ["", "00:04", "zz:04:00", "0:1", &"00".repeat(131)] {
            assert!(bad.parse::<Duid>().unwrap_err().contains("is no DUID"), "{bad}");
        }
        let text = "00:04:4c:4c";
        assert_eq!(text.parse::<Duid>().unwrap().to_string(), text);
    }
}
