//! What the DHCP service counts, in the text format of Prometheus. Pure.

use std::collections::BTreeMap;

use super::{leases::Census, seen::What, wire::Dropped};
use crate::{blade::Exposition, boot::watch::Watch};

pub fn text(
    dropped: &BTreeMap<Dropped, u64>,
    noted: &BTreeMap<What, u64>,
    watch: &Watch,
    pools: &[Census],
) -> String {
    let causes = dropped.iter().map(|(cause, count)| (cause.to_string(), *count));
    let outcomes = noted.iter().map(|(what, count)| (what.word().to_owned(), *count));
    let mut told = Exposition::default()
        .family("firstlight_dhcp_dropped_total", "counter", "Packets not understood, by cause.")
        .each("cause", causes)
        .family("firstlight_dhcp_exchanges_total", "counter", "What became of understood packets.")
        .each("outcome", outcomes)
        .family("firstlight_dhcp_foreign_server", "gauge", "DHCP servers that are in the way.");
    for found in watch.trouble() {
        let server = found.server.to_string();
        told.add(&[("interface", &found.interface), ("server", &server)], 1);
    }
    let help = "Pool addresses by what holds them.";
    told = told.family("firstlight_dhcp_pool_addresses", "gauge", help);
    for pool in pools {
        let subnet = pool.cidr.to_string();
        let held = [
            ("bound", pool.bound as u64),
            ("offered", pool.offered as u64),
            ("quarantined", pool.quarantined as u64),
            ("all", pool.size),
        ];
        for (state, count) in held {
            told.add(&[("subnet", &subnet), ("state", state)], count);
        }
    }
    told.finish()
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
        let text = text(&dropped, &noted, &Watch::v4(false, 1), &[pool]);
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
