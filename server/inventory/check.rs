//! What TOML cannot say: names that exist, addresses that are free, slots that are not taken.

use std::{collections::HashMap, net::Ipv4Addr};

use super::{BladeDoc, Document, snapshot};
use crate::config::{Config, Subnet};

/// The files an inventory came from, to name the place of a problem.
#[derive(Debug, Default)]
pub struct SourceMap {
    /// File name and text.
    pub files: Vec<(String, String)>,
}

impl SourceMap {
    /// `file:line:column: ` of the first place where `needle` stands as a TOML string, after
    /// the object called `object` where that is found; empty if it is not in these files.
    pub fn locate(&self, object: &str, needle: &str) -> String {
        for (file, text) in &self.files {
            let from = text.find(&format!("name = \"{object}\"")).unwrap_or(0);
            let found = text[from..].find(&format!("\"{needle}\"")).map(|at| from + at);
            if let Some(at) = found.or_else(|| text.find(&format!("\"{needle}\""))) {
                let line = text[..at].matches('\n').count() + 1;
                let column = text[..at].rfind('\n').map_or(at, |newline| at - newline - 1) + 1;
                return format!("{file}:{line}:{column}: ");
            }
        }
        String::new()
    }
}

/// All problems of a whole inventory, one line each, with file, line and column where the
/// sources name what is wrong. Empty if it is sound.
pub fn check(document: &Document, config: &Config, sources: &SourceMap) -> Vec<String> {
    let mut problems = Vec::new();
    unique(document, sources, &mut problems);
    for blade in &document.blades {
        place(document, blade, sources, &mut problems);
        address(document, blade, config, sources, &mut problems);
        address6(document, blade, config, sources, &mut problems);
        for mac in blade.macs.iter().filter(|mac| mac.is_unusable()) {
            let at = sources.locate(blade.name.as_str(), &mac.to_string());
            problems.push(format!("{at}blade {}: {mac} is no card's own address", blade.name));
        }
        for text in blade.disk.iter().flat_map(|disk| disk.texts()) {
            if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
                let at = sources.locate(blade.name.as_str(), text);
                problems.push(format!(
                    "{at}blade {}: disk rule {text:?} must be one word without blanks",
                    blade.name
                ));
            }
        }
    }
    roles(document, sources, &mut problems);
    problems
}

fn unique(document: &Document, sources: &SourceMap, problems: &mut Vec<String>) {
    let mut seen: HashMap<String, String> = HashMap::new();
    let mut claim = |what: String, owner: &str, needle: &str| {
        if let Some(other) = seen.insert(what.clone(), owner.to_owned()) {
            let at = sources.locate(owner, needle);
            problems.push(format!("{at}{owner}: {what} belongs to {other} already"));
        }
    };
    for rack in &document.racks {
        claim(format!("rack name {}", rack.name), rack.name.as_str(), rack.name.as_str());
        for chassis in &rack.chassis {
            claim(
                format!("chassis {}/{}", rack.name, chassis.name),
                rack.name.as_str(),
                chassis.name.as_str(),
            );
        }
    }
    for blade in &document.blades {
        let name = blade.name.as_str();
        claim(format!("blade name {name}"), name, name);
        for mac in &blade.macs {
            claim(format!("MAC {mac}"), name, &mac.to_string());
        }
        if let Some(place) = &blade.slot {
            claim(format!("slot {} of {}/{}", place.slot, place.rack, place.chassis), name, name);
        }
        if let Some(ip) = snapshot::addresses(document, blade).0 {
            claim(format!("address {ip}"), name, &ip.to_string());
        }
        if let Some(ip) = snapshot::address6(document, blade) {
            claim(format!("address {ip}"), name, &ip.to_string());
        }
        if let Some(duid) = &blade.duid {
            claim(format!("DUID {duid}"), name, &duid.to_string());
        }
    }
    for rule in &document.boot_rules {
        claim(format!("boot rule name {}", rule.name), &rule.name, &rule.name);
    }
    for cluster in &document.clusters {
        claim(
            format!("cluster name {}", cluster.name),
            cluster.name.as_str(),
            cluster.name.as_str(),
        );
    }
}

fn place(document: &Document, blade: &BladeDoc, sources: &SourceMap, problems: &mut Vec<String>) {
    let Some(place) = &blade.slot else { return };
    let at = sources.locate(blade.name.as_str(), blade.name.as_str());
    let Some(rack) = document.racks.iter().find(|rack| rack.name == place.rack) else {
        problems.push(format!("{at}blade {}: there is no rack {}", blade.name, place.rack));
        return;
    };
    match rack.chassis.iter().find(|chassis| chassis.name == place.chassis) {
        None => problems.push(format!(
            "{at}blade {}: rack {} has no chassis {}",
            blade.name, rack.name, place.chassis
        )),
        Some(chassis) if !(1..=chassis.slots).contains(&place.slot) => problems.push(format!(
            "{at}blade {}: chassis {}/{} has slots 1-{}, not {}",
            blade.name, rack.name, chassis.name, chassis.slots, place.slot
        )),
        Some(_) => {}
    }
}

fn address(
    document: &Document,
    blade: &BladeDoc,
    config: &Config,
    sources: &SourceMap,
    problems: &mut Vec<String>,
) {
    let Some(ip) = snapshot::addresses(document, blade).0 else { return };
    let at = sources.locate(blade.name.as_str(), &ip.to_string());
    let mut say = |what: String| problems.push(format!("{at}blade {}: {what}", blade.name));
    let Some(subnet) = config.subnets.iter().find(|subnet| subnet.cidr.contains(&ip)) else {
        say(format!("address {ip} is in none of the configured subnets"));
        return;
    };
    if let Some(why) = taken(subnet, ip) {
        say(format!("address {ip} {why}"));
    }
}

fn address6(
    document: &Document,
    blade: &BladeDoc,
    config: &Config,
    sources: &SourceMap,
    problems: &mut Vec<String>,
) {
    let Some(ip) = snapshot::address6(document, blade) else { return };
    let at = sources.locate(blade.name.as_str(), &ip.to_string());
    let why = match config.subnets6.iter().find(|subnet| subnet.cidr.contains(&ip)) {
        None => "is in none of the configured subnets",
        // RFC 4291 §2.6.1: the subnet-router anycast address.
        Some(subnet) if subnet.cidr.network() == ip => "is the anycast address of its routers",
        Some(subnet) if subnet.dns.contains(&ip) || subnet.ntp.contains(&ip) => {
            "belongs to a DNS or NTP server of its subnet"
        }
        Some(_) => return,
    };
    problems.push(format!("{at}blade {}: address {ip} {why}", blade.name));
}

fn taken(subnet: &Subnet, ip: Ipv4Addr) -> Option<String> {
    if ip == subnet.cidr.network() || ip == subnet.cidr.broadcast() {
        Some(format!("is the network or broadcast address of {}", subnet.cidr))
    } else if subnet.gateway == Some(ip) {
        Some("is the gateway".to_owned())
    } else {
        let pool = subnet.pool.iter().find(|range| range.contains(ip))?;
        Some(format!("is inside the pool {}-{}", pool.first, pool.last))
    }
}

fn roles(document: &Document, sources: &SourceMap, problems: &mut Vec<String>) {
    let mut taken: HashMap<&str, &str> = HashMap::new();
    for cluster in &document.clusters {
        let words = [&cluster.topology].into_iter().chain(&cluster.image);
        for word in words.chain(cluster.roles.keys()) {
            if word.is_empty() || word.contains(char::is_control) {
                let at = sources.locate(cluster.name.as_str(), cluster.name.as_str());
                problems.push(format!(
                    "{at}cluster {}: {word:?} is no name of a topology, image or role",
                    cluster.name
                ));
            }
        }
        for (role, names) in &cluster.roles {
            for name in names {
                let at = sources.locate(cluster.name.as_str(), name);
                if !document.blades.iter().any(|blade| blade.name.as_str() == name) {
                    problems.push(format!(
                        "{at}cluster {}: role {role} names {name:?}, which is no blade",
                        cluster.name
                    ));
                }
                if let Some(other) = taken.insert(name, cluster.name.as_str()) {
                    problems.push(format!(
                        "{at}cluster {}: blade {name} has a role in {other} already",
                        cluster.name
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"
site = "s"
[boot]
interfaces = ["br0"]
[[subnet]]
cidr = "10.12.0.0/16"
gateway = "10.12.0.254"
pool = ["10.12.9.1-10.12.9.9"]
[[subnet]]
cidr = "fd00:12::/64"
dns = ["fd00:12::53"]
"#;
    const GOOD: &str = r#"
[[rack]]
name = "r1"
chassis = [{ name = "c1", slots = 2, ip_first = "10.12.1.1", ip6_first = "fd00:12::1:1" }]
[[blade]]
name = "b1"
slot = { rack = "r1", chassis = "c1", slot = 1 }
macs = ["52:54:00:00:00:01"]
[[blade]]
name = "b2"
slot = { rack = "r1", chassis = "c1", slot = 2 }
macs = ["52:54:00:00:00:02"]
ip = "10.12.3.4"
ip6 = "fd00:12::3:4"
duid = "00:03:00:01:52:54:00:00:00:02"
[[cluster]]
name = "dev"
topology = "simple"
roles = { simple = ["b1"] }
"#;

    fn problems(text: &str) -> String {
        let document = Document::parse(text).unwrap();
        let sources = SourceMap { files: vec![("racks.toml".to_owned(), text.to_owned())] };
        check(&document, &Config::parse(CONFIG).unwrap(), &sources).join("\n")
    }

    #[test]
    fn a_sound_inventory_has_no_problem() {
        assert_eq!(problems(GOOD), "");
    }

    #[test]
    fn each_mistake_is_named_with_file_and_line() {
        for (from, to, told) in [
            (
                "52:54:00:00:00:02",
                "52:54:00:00:00:01",
                "racks.toml:12:9: b2: MAC 52:54:00:00:00:01 belongs to b1 already",
            ),
            ("slot = 2 }", "slot = 1 }", "slot 1 of r1/c1 belongs to b1"),
            ("slot = 2 }", "slot = 3 }", "has slots 1-2, not 3"),
            ("10.12.3.4", "10.12.1.1", "address 10.12.1.1 belongs to b1"),
            (
                "10.12.3.4",
                "10.12.9.4",
                "racks.toml:13:6: blade b2: address 10.12.9.4 is inside the pool",
            ),
            ("10.12.3.4", "10.12.0.254", "is the gateway"),
            ("10.12.3.4", "10.13.0.1", "none of the configured subnets"),
            ("fd00:12::3:4", "fd00:12::1:1", "address fd00:12::1:1 belongs to b1"),
            (
                "fd00:12::3:4",
                "fd00:13::1",
                "racks.toml:14:7: blade b2: address fd00:13::1 is in none",
            ),
            ("fd00:12::3:4", "fd00:12::", "anycast address"),
            ("fd00:12::3:4", "fd00:12::53", "DNS or NTP server"),
            (
                "[\"b1\"]",
                "[\"b9\"]",
                "racks.toml:19:21: cluster dev: role simple names \"b9\", which is no blade",
            ),
            (
                "rack = \"r1\", chassis = \"c1\", slot = 1",
                "rack = \"r7\", chassis = \"c1\", slot = 1",
                "no rack r7",
            ),
            (
                "\"simple\"",
                "\"sim\\u0000ple\"",
                "racks.toml:17:8: cluster dev: \"sim\\0ple\" is no name",
            ),
            ("52:54:00:00:00:02", "ff:ff:ff:ff:ff:ff", "no card's own address"),
        ] {
            let told_us = problems(&GOOD.replace(from, to));
            assert!(told_us.contains(told), "{to}: {told_us}");
        }
    }
}
