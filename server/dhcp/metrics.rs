//! What the DHCP service counts, in the text format of Prometheus. Pure.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{leases::Census, seen::What, watch::Watch, wire::Dropped};

pub fn text(
    dropped: &BTreeMap<Dropped, u64>,
    noted: &BTreeMap<What, u64>,
    watch: &Watch,
    pools: &[Census],
) -> String {
    let mut text = String::new();
    family(
        &mut text,
        "firstlight_dhcp_dropped_total",
        "counter",
        "Packets that were not understood, by cause.",
    );
    for (cause, count) in dropped {
        line(&mut text, "firstlight_dhcp_dropped_total", &[("cause", &cause.to_string())], *count);
    }
    family(
        &mut text,
        "firstlight_dhcp_exchanges_total",
        "counter",
        "What became of packets that were understood.",
    );
    for (what, count) in noted {
        line(&mut text, "firstlight_dhcp_exchanges_total", &[("outcome", what.word())], *count);
    }
    family(
        &mut text,
        "firstlight_dhcp_foreign_server",
        "gauge",
        "Other DHCP servers that are in the way.",
    );
    for found in watch.trouble() {
        let server = found.server.to_string();
        let labels = [("interface", found.interface.as_str()), ("server", &server)];
        line(&mut text, "firstlight_dhcp_foreign_server", &labels, 1);
    }
    family(
        &mut text,
        "firstlight_dhcp_pool_addresses",
        "gauge",
        "Pool addresses by what holds them.",
    );
    for pool in pools {
        let subnet = pool.cidr.to_string();
        let held = [
            ("bound", pool.bound as u64),
            ("offered", pool.offered as u64),
            ("quarantined", pool.quarantined as u64),
            ("all", pool.size),
        ];
        for (state, count) in held {
            let labels = [("subnet", subnet.as_str()), ("state", state)];
            line(&mut text, "firstlight_dhcp_pool_addresses", &labels, count);
        }
    }
    text
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let labels: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
    let _ = writeln!(text, "{name}{{{}}} {value}", labels.join(","));
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_told_in_the_text_format() {
        let dropped = BTreeMap::from([(Dropped::Magic, 3), (Dropped::BadOption(54), 1)]);
        let noted = BTreeMap::from([(What::Offered, 2)]);
        let pool = Census {
            cidr: "10.12.0.0/16".parse().unwrap(),
            size: 20,
            bound: 2,
            offered: 1,
            quarantined: 0,
            holders: Vec::new(),
        };
        let text = text(&dropped, &noted, &Watch::new(false, 1), &[pool]);
        for line in [
            "firstlight_dhcp_dropped_total{cause=\"no DHCP magic cookie\"} 3",
            "firstlight_dhcp_dropped_total{cause=\"option 54 has a wrong length\"} 1",
            "firstlight_dhcp_exchanges_total{outcome=\"offered\"} 2",
            "firstlight_dhcp_pool_addresses{subnet=\"10.12.0.0/16\",state=\"bound\"} 2",
            "# TYPE firstlight_dhcp_foreign_server gauge",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
