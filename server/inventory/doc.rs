//! The inventory as people write it: racks, blades, clusters in TOML (CONTRACT.md).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::Duid;
use crate::blade::{Arch, Hostname, Mac};

/// One inventory file, or the whole inventory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    #[serde(default, rename = "rack", skip_serializing_if = "Vec::is_empty")]
    pub racks: Vec<Rack>,
    #[serde(default, rename = "blade", skip_serializing_if = "Vec::is_empty")]
    pub blades: Vec<BladeDoc>,
    #[serde(default, rename = "boot_rule", skip_serializing_if = "Vec::is_empty")]
    pub boot_rules: Vec<BootRule>,
    #[serde(default, rename = "cluster", skip_serializing_if = "Vec::is_empty")]
    pub clusters: Vec<ClusterDoc>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rack {
    pub name: Hostname,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chassis: Vec<Chassis>,
}

/// A chassis with numbered slots; its address rule gives slot n the address first + n - 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chassis {
    pub name: Hostname,
    pub slots: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc_first: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_first: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip6_first: Option<Ipv6Addr>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BladeDoc {
    pub name: Hostname,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Place>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<Mac>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// What the maker calls it (SMBIOS "Product Name"); boot rules may name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Secure Boot is known to be on (or off): only signed programs are offered where it is on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_boot: Option<bool>,
    /// The boot program this blade's firmware loads, instead of the one of the firmware table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loader: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip6: Option<Ipv6Addr>,
    /// How it names itself by DHCPv6, where its MACs do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duid: Option<Duid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bmc: Option<Bmc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskSelector>,
}

/// Which boot program the blades it fits load, instead of the one of the firmware table. Every
/// key given must hold; the first rule that fits wins, a blade's own `loader` before all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootRule {
    pub name: String,
    /// Model of the blade; a `*` at its end stands for anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How the asking MAC begins: `"52:54:00"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_prefix: Option<String>,
    /// A row of the firmware table: `"UEFI x64 HTTP"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<String>,
    pub loader: String,
}

/// Where a blade sits. Slots count from 1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    pub rack: Hostname,
    pub chassis: Hostname,
    pub slot: u16,
}

/// How a blade's power is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bmc {
    /// Address of the BMC; default: the chassis' rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A file with the password: never the password itself, so that an export holds no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The power socket of a virtual rack (`firstlight lab up`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab: Option<PathBuf>,
}

/// Which disk is installed on: every key given must hold, exactly one fixed disk must be left.
/// Sizes are bytes or text such as `"100G"` (powers of 1024).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSelector {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wwn: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_size: Option<Size>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Size>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
    #[serde(default, skip_serializing_if = "is_false")]
    pub smallest: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub largest: bool,
    /// Refuse a disk that holds data (default: an operator's deploy confirms the wipe).
    #[serde(default, skip_serializing_if = "is_false")]
    pub keep_data: bool,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if passes a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}

impl DiskSelector {
    /// `key=value` words for the installer, one rule each; values have no blanks (checked by
    /// `inventory::check`).
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        let texts = [
            ("by_id", &self.by_id),
            ("wwn", &self.wwn),
            ("serial", &self.serial),
            ("model", &self.model),
            ("path", &self.path),
        ];
        for (key, value) in texts {
            words.extend(value.as_ref().map(|value| format!("{key}={value}")));
        }
        words.extend(self.min_size.map(|size| format!("min_size={}", size.0)));
        words.extend(self.max_size.map(|size| format!("max_size={}", size.0)));
        words.extend(self.rotational.map(|is| format!("rotational={}", u8::from(is))));
        words.extend(self.smallest.then(|| "smallest=true".to_owned()));
        words.extend(self.largest.then(|| "largest=true".to_owned()));
        words.join(" ")
    }

    /// The values a shell script will compare: where something illegal could hide.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        [&self.by_id, &self.wwn, &self.serial, &self.model, &self.path]
            .into_iter()
            .filter_map(|text| text.as_deref())
    }
}

/// A number of bytes; written `5368709120` or `"5G"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Bytes(u64),
            Text(String),
        }
        match Form::deserialize(from)? {
            Form::Bytes(bytes) => Ok(Size(bytes)),
            Form::Text(text) => parse_size(&text).map_err(serde::de::Error::custom),
        }
    }
}

fn parse_size(text: &str) -> Result<Size, String> {
    let bad = || format!("{text:?} is not a size; write bytes or \"512M\", \"100G\", \"2T\"");
    let upper = text.trim().to_ascii_uppercase();
    let plain = upper.trim_end_matches("IB").trim_end_matches('B');
    let (digits, shift) = match plain.as_bytes().last() {
        Some(b'K') => (&plain[..plain.len() - 1], 10),
        Some(b'M') => (&plain[..plain.len() - 1], 20),
        Some(b'G') => (&plain[..plain.len() - 1], 30),
        Some(b'T') => (&plain[..plain.len() - 1], 40),
        _ => (plain, 0),
    };
    let number: u64 = digits.trim().parse().map_err(|_| bad())?;
    // TOML's integers are signed: a larger one could be read, but not exported.
    number.checked_mul(1 << shift).filter(|n| i64::try_from(*n).is_ok()).map(Size).ok_or_else(bad)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterDoc {
    pub name: Hostname,
    pub topology: String,
    /// Name of a boot image; default: the only one imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub parameters: serde_json::Map<String, serde_json::Value>,
    /// Menu entry → blades; ranges such as `r1-c1-b[04-14]` are expanded when read.
    #[serde(default)]
    pub roles: BTreeMap<String, Vec<String>>,
}

/// Expands `r1-c1-b[01-14]` and `b[1,3,5-7]`; a name without brackets is itself. The width of
/// the first number is kept. At most 4,096 names.
pub fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let Some((head, rest)) = pattern.split_once('[') else {
        return Ok(vec![pattern.to_owned()]);
    };
    let Some((inner, tail)) = rest.split_once(']') else {
        return Err(format!("{pattern:?}: a bracket is not closed; write b[01-14]"));
    };
    let tails = expand(tail)?;
    let mut names = Vec::new();
    for part in inner.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            text.trim().parse::<u32>().map_err(|_| format!("{pattern:?}: {text:?} is not a number"))
        };
        let (from, to, width) = (number(first)?, number(last)?, first.trim().len());
        if to < from || (to - from) as usize >= 4096 {
            return Err(format!("{pattern:?}: {part:?} is empty or longer than 4,096"));
        }
        for n in from..=to {
            names.extend(tails.iter().map(|tail| format!("{head}{n:0width$}{tail}")));
            if names.len() > 4096 {
                return Err(format!("{pattern:?}: more than 4,096 names"));
            }
        }
    }
    Ok(names)
}

/// True if there is a `nan` or `inf` in it: JSON has none, and reads them as null.
fn no_number(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::Array(values) => values.iter().any(no_number),
        serde_json::Value::Object(values) => values.values().any(no_number),
        _ => false,
    }
}

fn located(text: &str, error: &toml::de::Error) -> String {
    let what = error.message().replace('\n', ", ");
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return what };
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("{line}:{column}: {what}")
}

impl Document {
    /// Reads one file; ranges in clusters are expanded. The error begins with `line:column: `
    /// where TOML itself is wrong.
    pub fn parse(text: &str) -> Result<Document, String> {
        let mut document: Document = toml::from_str(text).map_err(|error| located(text, &error))?;
        for cluster in &mut document.clusters {
            for blades in cluster.roles.values_mut() {
                let mut expanded = Vec::new();
                for pattern in blades.iter() {
                    expanded.extend(expand(pattern)?);
                }
                *blades = expanded;
            }
            // A role without blades says nothing, and could not be told from one not written.
            cluster.roles.retain(|_, blades| !blades.is_empty());
            if let Some(key) =
                cluster.parameters.iter().find_map(|(k, v)| no_number(v).then_some(k))
            {
                return Err(format!(
                    "cluster {}: parameters.{key}: nan and inf are no values",
                    cluster.name
                ));
            }
        }
        Ok(document)
    }

    /// The file that `parse` reads back as this document.
    pub fn to_toml(&self) -> Result<String, String> {
        toml::to_string_pretty(self)
            .map_err(|error| format!("the inventory cannot be written as TOML: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: &str = r#"
[[rack]]
name = "r1"
[[rack.chassis]]
name = "c1"
slots = 14
bmc_first = "10.202.0.1"
ip_first = "10.12.1.1"
[[blade]]
name = "r1-c1-b01"
slot = { rack = "r1", chassis = "c1", slot = 1 }
macs = ["52:54:00:00:01:01"]
arch = "amd64"
ip = "10.12.1.1"
bmc = { address = "10.202.0.1", user = "admin", password_file = "/etc/firstlight/bmc.pass" }
disk = { smallest = true, min_size = "10G" }
[[cluster]]
name = "prod-a"
topology = "production"
image = "debian-12"
[cluster.parameters]
ssh_keys = ["ssh-ed25519 AAAA ops"]
[cluster.roles]
production-central = ["r1-c1-b01"]
production-worker = ["r1-c1-b[04-06]"]
"#;

    #[test]
    fn what_is_exported_is_read_back_the_same() {
        let document = Document::parse(CONTRACT).unwrap();
        let text = document.to_toml().unwrap();
        assert_eq!(Document::parse(&text).unwrap(), document, "{text}");
        assert_eq!(
            document.clusters[0].roles["production-worker"],
            ["r1-c1-b04", "r1-c1-b05", "r1-c1-b06"]
        );
        assert_eq!(
            document.blades[0].disk.as_ref().unwrap().words(),
            "min_size=10737418240 smallest=true"
        );
    }

    #[test]
    fn ranges_expand_and_bad_ones_are_named() {
        assert_eq!(expand("b[08-10]").unwrap(), ["b08", "b09", "b10"]);
        assert_eq!(expand("r[1-2]-b[1,3]").unwrap(), ["r1-b1", "r1-b3", "r2-b1", "r2-b3"]);
        for bad in ["b[1-", "b[3-1]", "b[x]", "b[0-99999]", "b[0-4000][0-4000]", "b[]"] {
            assert!(expand(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_could_not_be_exported_is_not_read() {
        for (from, to, told) in [
            ("[\"ssh-ed25519 AAAA ops\"]", "[1.0, nan]", "parameters.ssh_keys: nan and inf"),
            ("[\"ssh-ed25519 AAAA ops\"]", "{ a = -inf }", "parameters.ssh_keys: nan and inf"),
            ("\"10G\"", "\"16777215T\"", "is not a size"),
        ] {
            let error = Document::parse(&CONTRACT.replace(from, to)).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
        let none = Document::parse(&CONTRACT.replace("[\"r1-c1-b01\"]", "[]")).unwrap();
        assert!(!none.clusters[0].roles.contains_key("production-central"));
    }

    #[test]
    fn an_error_shows_line_and_column() {
        let error =
            Document::parse(&CONTRACT.replace("52:54:00:00:01:01", "52:54:00:00:01")).unwrap_err();
        assert!(error.starts_with("12:") && error.contains("MAC"), "{error}");
    }
}
