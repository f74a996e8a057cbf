//! What a lab with `--ipv6` has beside a lab without: an address of the daemon, a rule for the
//! blades, a subnet for DHCPv6. Pure.
use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::plan::Plan;

/// Every lab has a network namespace of its own, so one prefix does for all.
pub const SUBNET: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x12, 0, 0, 0, 0, 0, 0), 64);

/// A line for `ip -batch`, or none.
pub fn address(plan: &Plan, bridge: &str) -> String {
    let line = |net| format!("addr add {}/64 dev {bridge} nodad\n", at(net, 1));
    plan.subnet6.map(line).unwrap_or_default()
}

/// A line of the chassis in the inventory, or none.
pub fn rule(plan: &Plan) -> String {
    let line = |net| format!("ip6_first = \"{}\"\n", at(net, 0x1_0001));
    plan.subnet6.map(line).unwrap_or_default()
}

/// A table of the daemon's configuration, or none.
pub fn subnet(plan: &Plan) -> String {
    let table = |net| format!("[[subnet]]\ncidr = \"{net}\"\n\n");
    plan.subnet6.map(table).unwrap_or_default()
}

fn at(net: Ipv6Net, number: u128) -> Ipv6Addr {
    Ipv6Addr::from_bits(net.network().to_bits() | number)
}

#[cfg(test)]
mod tests {
    use super::super::emit;
    use super::super::plan::{Wish, tests::wish};
    use super::*;
    use crate::config::Config;
    use crate::inventory::{self, Document, SourceMap};
    use std::path::Path;

    #[test]
    fn a_lab_with_ipv6_gives_each_blade_an_address_of_both_versions() {
        let plan = Plan::new(&Wish { ipv6: true, ..wish() }).unwrap();
        assert!(emit::network(&plan).contains("addr add fd00:12::1/64 dev br0 nodad\n"));
        let config = Config::parse(&emit::configuration(&plan, Path::new("/lab/data"))).unwrap();
        let document = Document::parse(&emit::inventory(&plan, Path::new("/lab/power"))).unwrap();
        let complaints = inventory::check(&document, &config, &SourceMap::default());
        assert_eq!(complaints, Vec::<String>::new());
        let second = inventory::address6(&document, &document.blades[1]);
        assert_eq!(second, Some("fd00:12::1:2".parse().unwrap()));
        assert!(inventory::addresses(&document, &document.blades[1]).0.is_some());
    }
}
