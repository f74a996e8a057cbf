//! The daemon's configuration (CONTRACT.md): TOML, unknown keys are errors, every error names
//! line and key. Pure: the caller reads the file.

mod subnet;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::Deserialize;

pub use subnet::{Subnet, Subnet6};
use subnet::{Written, split};

use crate::blade::Phase;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub site: String,
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
    /// `sqlite` (a file in `data_dir`) or `postgres://user@host/db`.
    #[serde(default = "default_database")]
    pub database: String,
    pub boot: Boot,
    #[serde(default)]
    pub dhcp: Dhcp,
    #[serde(default, rename = "subnet")]
    written: Vec<Written>,
    /// `[[subnet]]` tables with an IPv4 `cidr`.
    #[serde(skip)]
    pub subnets: Vec<Subnet>,
    /// `[[subnet]]` tables with an IPv6 `cidr`.
    #[serde(skip)]
    pub subnets6: Vec<Subnet6>,
    #[serde(default)]
    pub ui: Ui,
    #[serde(default)]
    pub menu: Menu,
    /// Seconds a blade may be silent in a phase before it is stalled, where the built-in
    /// deadline does not fit the hardware: `write = 120`.
    #[serde(default)]
    pub deadlines: BTreeMap<Phase, u32>,
    /// How long a stalled blade is waited for before its attempt is failed.
    #[serde(default = "default_give_up")]
    pub give_up: Span,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// DHCP and TFTP answer only on these.
    pub interfaces: Vec<String>,
    #[serde(default = "default_boot_http")]
    pub http: SocketAddr,
    /// Base of every address a blade is told; default: the address of the interface asked on.
    pub url: Option<String>,
    /// UDP ports TFTP transfers may use, e.g. for a firewall: `"50000-50999"`.
    pub tftp_ports: Option<PortRange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum DhcpMode {
    #[default]
    Server,
    Proxy,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Unknown {
    /// A pool address and a boot document: the console menu.
    #[default]
    Discover,
    /// No answer at all.
    Ignore,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dhcp {
    pub mode: DhcpMode,
    pub lease: Span,
    pub unknown: Unknown,
}

impl Default for Dhcp {
    fn default() -> Self {
        Dhcp { mode: DhcpMode::Server, lease: Span(3600), unknown: Unknown::Discover }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ui {
    pub listen: SocketAddr,
    pub tls: String,
}

impl Default for Ui {
    fn default() -> Self {
        Ui { listen: SocketAddr::from(([127, 0, 0, 1], 8443)), tls: "off".to_owned() }
    }
}

/// The menu on the console of a blade without a role.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Menu {
    /// The entry taken when nobody chooses: a topology entry's id, or `local-boot`.
    pub default: String,
    /// How long the menu waits; 0 waits for ever.
    pub timeout: Span,
    /// pxelinux's menu: `menu.c32` (text, also on a serial line) or `vesamenu.c32`.
    pub pxelinux: String,
    /// Boot image for what is chosen at a console; default: the only one imported.
    pub image: Option<String>,
    /// Parameters of clusters made at a console (`ssh_keys` …).
    pub parameters: toml::Table,
}

impl Default for Menu {
    fn default() -> Self {
        Menu {
            default: "local-boot".to_owned(),
            timeout: Span(60),
            pxelinux: "menu.c32".to_owned(),
            image: None,
            parameters: toml::Table::new(),
        }
    }
}

/// A duration in whole seconds; written `90`, `"30s"`, `"5m"`, `"1h"` or `"2d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub u32);

/// An inclusive range of addresses: `"10.12.9.1-10.12.9.250"` or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange {
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
}

impl IpRange {
    pub fn contains(&self, ip: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&ip)
    }

    /// Number of addresses.
    pub fn len(&self) -> u64 {
        u64::from(u32::from(self.last)) - u64::from(u32::from(self.first)) + 1
    }

    pub fn is_empty(&self) -> bool {
        false
    }

    pub fn iter(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        (u32::from(self.first)..=u32::from(self.last)).map(Ipv4Addr::from)
    }
}

/// An inclusive range of UDP ports: `"50000-50999"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

macro_rules! deserialize_from_str {
    ($name:ty, $parse:expr) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                $parse(text.trim()).map_err(serde::de::Error::custom)
            }
        }
    };
}
deserialize_from_str!(IpRange, parse_ip_range);
deserialize_from_str!(PortRange, parse_port_range);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Seconds(u32),
            Text(String),
        }
        match Form::deserialize(from)? {
            Form::Seconds(seconds) => Ok(Span(seconds)),
            Form::Text(text) => parse_span(&text).map_err(serde::de::Error::custom),
        }
    }
}

fn parse_span(text: &str) -> Result<Span, String> {
    let bad = || format!("{text:?} is not a duration; write 90, \"30s\", \"5m\", \"1h\" or \"2d\"");
    let unit = text.chars().last().filter(char::is_ascii_alphabetic);
    let digits = &text[..text.len() - unit.map_or(0, char::len_utf8)];
    let factor = match unit {
        None | Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        Some(_) => return Err(bad()),
    };
    let number: u32 = digits.trim().parse().map_err(|_| bad())?;
    number.checked_mul(factor).map(Span).ok_or_else(bad)
}

fn parse_ip_range(text: &str) -> Result<IpRange, String> {
    if text.contains(':') {
        return Err(format!(
            "{text:?}: an IPv6 subnet has no pool; DHCPv6 gives blades of the inventory their \
             own addresses"
        ));
    }
    let bad = || format!("{text:?} is not an address range; write \"10.12.9.1-10.12.9.250\"");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first: Ipv4Addr = first.trim().parse().map_err(|_| bad())?;
    let last: Ipv4Addr = last.trim().parse().map_err(|_| bad())?;
    if last < first {
        return Err(format!("{text:?} ends before it begins"));
    }
    let range = IpRange { first, last };
    if range.len() > 1 << 20 {
        return Err(format!("{text:?} holds more than 1,048,576 addresses"));
    }
    Ok(range)
}

fn parse_port_range(text: &str) -> Result<PortRange, String> {
    let bad = || format!("{text:?} is not a port range; write \"50000-50999\"");
    let (first, last) = text.split_once('-').ok_or_else(bad)?;
    let first: u16 = first.trim().parse().map_err(|_| bad())?;
    let last: u16 = last.trim().parse().map_err(|_| bad())?;
    if first < 1024 || last < first { Err(bad()) } else { Ok(PortRange { first, last }) }
}

fn default_data_dir() -> PathBuf {
    PathBuf::from("/var/lib/firstlight")
}

fn default_database() -> String {
    "sqlite".to_owned()
}

fn default_boot_http() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 80))
}

fn default_give_up() -> Span {
    Span(600)
}

impl Config {
    /// Reads and checks a configuration. The error has line, column and key where TOML knows
    /// them, one problem per line otherwise; the caller puts the file's name before it.
    pub fn parse(text: &str) -> Result<Config, String> {
        let mut config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut problems = Vec::new();
        (config.subnets, config.subnets6) =
            split(std::mem::take(&mut config.written), &mut problems);
        problems.extend(config.problems());
        if problems.is_empty() { Ok(config) } else { Err(problems.join("\n")) }
    }

    /// The deadline of `phase` in milliseconds, `None` where waiting is no fault.
    pub fn deadline_ms(&self, phase: Phase) -> Option<i64> {
        match self.deadlines.get(&phase) {
            Some(seconds) => Some(i64::from(*seconds) * 1000),
            None => phase.deadline_ms(),
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.site.trim().is_empty() {
            problems.push("site: is empty; give the installation a name".to_owned());
        }
        if self.database != "sqlite" && !is_postgres(&self.database) {
            problems.push(format!(
                "database: {:?} is neither \"sqlite\" nor a postgres:// address",
                self.database
            ));
        }
        if self.boot.interfaces.is_empty() {
            problems.push(
                "boot.interfaces: is empty; name the interface that blades are on".to_owned(),
            );
        }
        for name in &self.boot.interfaces {
            // IFNAMSIZ is 16 with the terminator (linux/if.h).
            if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) {
                problems.push(format!("boot.interfaces: {name:?} cannot be an interface's name"));
            }
        }
        if let Some(url) = &self.boot.url
            && !(url.starts_with("http://") && url.len() > 7 && !url.ends_with('/'))
        {
            problems.push(format!(
                "boot.url: {url:?} must look like http://10.12.0.1 (no slash at the end)"
            ));
        }
        if self.dhcp.lease.0 < 60 {
            problems.push(
                "dhcp.lease: shorter than 60 s; blades would do nothing but renew".to_owned(),
            );
        }
        if !matches!(self.menu.pxelinux.as_str(), "menu.c32" | "vesamenu.c32") {
            problems.push(format!(
                "menu.pxelinux: {:?} is neither \"menu.c32\" nor \"vesamenu.c32\"",
                self.menu.pxelinux
            ));
        }
        if self.ui.tls != "off" {
            problems.push(format!(
                "ui.tls: {:?} is not supported yet; use \"off\" with a loopback address",
                self.ui.tls
            ));
        } else if !self.ui.listen.ip().is_loopback() {
            problems.push(format!(
                "ui.listen: {} is not a loopback address, and tls is off; listen on 127.0.0.1 and reach it through an SSH tunnel",
                self.ui.listen
            ));
        }
        if !self.subnets6.is_empty()
            && matches!(self.boot.http.ip(), IpAddr::V4(ip) if !ip.is_unspecified())
        {
            problems.push(format!(
                "boot.http: blades of an IPv6 subnet cannot reach {}; write \"[::]:{}\"",
                self.boot.http,
                self.boot.http.port()
            ));
        }
        problems
    }
}

fn is_postgres(address: &str) -> bool {
    address.starts_with("postgres://") || address.starts_with("postgresql://")
}

#[cfg(test)]
mod tests;
