//! A cluster as it is asked for: a topology, its parameters, the blades and their roles.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde_json::{Map, Value};

use crate::blade::{Arch, Hostname, Mac};

/// Everything a topology's documents are made from. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterSpec {
    pub name: Hostname,
    /// A topology's id: `simple`, `small-cluster` …
    pub topology: String,
    /// As written by people; checked by [`super::Catalogue::check`].
    pub parameters: Map<String, Value>,
    pub os: Os,
    pub members: Vec<Member>,
}

/// A blade with a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub blade: Hostname,
    /// The id of a menu entry, which is also the role's name in its topology.
    pub role: String,
    /// The card the system uses; also the one it boots from.
    pub mac: Mac,
    pub arch: Arch,
    pub net: Net,
}

/// The static network of an installed blade: no DHCP there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Net {
    pub ip: Ipv4Addr,
    /// Bits, 1–32.
    pub prefix: u8,
    /// Its IPv6 address beside; the router announces itself.
    pub ip6: Option<Ipv6Net>,
    pub gateway: Option<Ipv4Addr>,
    /// At most three: resolvers take no more (resolv.conf(5) MAXNS).
    pub dns: Vec<Ipv4Addr>,
    pub ntp: Vec<Ipv4Addr>,
    /// Search domain and the tail of the full name.
    pub domain: Option<String>,
}

impl Net {
    /// `10.12.1.21/24`; `None` when the prefix is no prefix.
    pub fn cidr(&self) -> Option<Ipv4Net> {
        Ipv4Net::new(self.ip, self.prefix).ok()
    }
}

/// The family of the installed system, which decides paths and unit names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Os {
    #[default]
    Debian,
    Flatcar,
}

impl Os {
    pub fn as_str(self) -> &'static str {
        match self {
            Os::Debian => "debian",
            Os::Flatcar => "flatcar",
        }
    }
}

impl fmt::Display for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Os {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "debian" => Ok(Os::Debian),
            "flatcar" => Ok(Os::Flatcar),
            other => Err(format!("{other:?} is no system; use debian or flatcar")),
        }
    }
}
