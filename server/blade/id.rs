//! Identities of blades and attempts: parsed once at the edge, legal ever after.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a text is no MAC, host name, architecture or attempt id; names the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    #[error("{0:?} is not a MAC address; write six octets like 52:54:00:12:34:56")]
    Mac(String),
    #[error(
        "E_HOSTNAME: {0:?} is not a host name: 1-63 of a-z, 0-9 and inner hyphens (RFC 1123 §2.1)"
    )]
    Hostname(String),
    #[error("{0:?} is not an architecture; use amd64 or arm64")]
    Arch(String),
    #[error("{0:?} is not an attempt id (a UUID)")]
    Attempt(String),
}

/// An Ethernet address. Reads `:`, `-`, `.` separated or bare hex in any case, and `%3A`,
/// which iPXE of 2019 sends in URLs; prints lower case with colons.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// True for addresses that cannot belong to one card: multicast bit set, or all zero.
    pub fn is_unusable(self) -> bool {
        self.0[0] & 1 == 1 || self.0 == [0; 6]
    }

    /// `52-54-00-12-34-56`, the form of pxelinux and `BOOTIF`.
    pub fn hyphenated(self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseIdError::Mac(text.chars().take(40).collect());
        let plain = text.replace("%3A", ":").replace("%3a", ":");
        let digits: String = match plain.len() {
            12 => plain,
            14 if plain.matches('.').count() == 2 => plain.replace('.', ""),
            17 => {
                let groups: Vec<&str> = plain.split([':', '-']).collect();
                if groups.len() != 6 || groups.iter().any(|group| group.len() != 2) {
                    return Err(bad());
                }
                groups.concat()
            }
            _ => return Err(bad()),
        };
        let mut octets = [0; 6];
        hex::decode_to_slice(digits, &mut octets).map_err(|_| bad())?;
        Ok(Mac(octets))
    }
}

/// A legal host name of one label, lower case (RFC 1123 §2.1). No dot: coreos-cloudinit cuts
/// the name at the first one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hostname(String);

impl Hostname {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Hostname {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let legal = (1..=63).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if legal {
            Ok(Hostname(text.to_owned()))
        } else {
            Err(ParseIdError::Hostname(text.chars().take(80).collect()))
        }
    }
}

/// Processor architecture, by Debian's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Arch {
    #[default]
    Amd64,
    Arm64,
}

impl Arch {
    pub fn as_str(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Arch {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "amd64" | "x86_64" => Ok(Arch::Amd64),
            "arm64" | "aarch64" => Ok(Arch::Arm64),
            other => Err(ParseIdError::Arch(other.chars().take(40).collect())),
        }
    }
}

/// One try at installing one blade. A UUID of version 7: sorts by time of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub uuid::Uuid);

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for AttemptId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        uuid::Uuid::try_parse(text)
            .map(AttemptId)
            .map_err(|_| ParseIdError::Attempt(text.chars().take(80).collect()))
    }
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}
serde_as_text!(Mac, Hostname, Arch, AttemptId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_is_read_in_every_common_form_and_printed_in_one() {
        for text in [
            "52:54:00:AB:cd:01",
            "52-54-00-ab-cd-01",
            "5254.00ab.cd01",
            "525400abcd01",
            "52%3A54%3a00%3Aab%3Acd%3A01",
        ] {
            assert_eq!(text.parse::<Mac>().unwrap().to_string(), "52:54:00:ab:cd:01", "{text}");
        }
    }

    #[test]
    fn what_is_no_mac_is_refused() {
        for text in [
            "",
            "0G:00:00:00:00:00",
            "52:54:00:ab:cd",
            "5:254:00:ab:cd:01",
            "52:54:00:ab:cd:01:02",
            "é2:54:00:ab:cd:0",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_name_that_exists_is_legal_c21() {
        for bad in ["Node_1", "a.b", "", "a\nruncmd: [x]", "-a", "a-", &"a".repeat(64)] {
            assert!(
                bad.parse::<Hostname>().unwrap_err().to_string().contains("E_HOSTNAME"),
                "{bad:?}"
            );
        }
        assert!("member-10-12-1-21".parse::<Hostname>().is_ok());
    }
}
