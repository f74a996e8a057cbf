//! The networks that blades are on: `[[subnet]]`, of either family by its `cidr`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;

use super::IpRange;

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    pub cidr: Ipv4Net,
    pub gateway: Option<Ipv4Addr>,
    #[serde(default)]
    pub dns: Vec<Ipv4Addr>,
    #[serde(default)]
    pub ntp: Vec<Ipv4Addr>,
    pub domain: Option<String>,
    #[serde(default)]
    pub pool: Vec<IpRange>,
}

/// An IPv6 network. It has no pool, and no gateway: routers announce themselves (RFC 4861).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet6 {
    pub cidr: Ipv6Net,
    pub dns: Vec<Ipv6Addr>,
    pub ntp: Vec<Ipv6Addr>,
    pub domain: Option<String>,
}

/// A `[[subnet]]` as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    cidr: IpNet,
    gateway: Option<IpAddr>,
    #[serde(default)]
    dns: Vec<IpAddr>,
    #[serde(default)]
    ntp: Vec<IpAddr>,
    domain: Option<String>,
    #[serde(default)]
    pool: Vec<IpRange>,
}

/// The subnets of each family; what cannot be is told in `problems`.
pub(super) fn split(
    written: Vec<Written>,
    problems: &mut Vec<String>,
) -> (Vec<Subnet>, Vec<Subnet6>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for subnet in written {
        let cidr = subnet.cidr;
        if cidr.trunc() != cidr {
            problems.push(format!("subnet {cidr}: has host bits; write {}", cidr.trunc()));
        }
        let other = |ip: &&IpAddr| ip.is_ipv4() != cidr.addr().is_ipv4();
        let named = subnet.dns.iter().chain(&subnet.ntp).chain(&subnet.gateway);
        for foreign in named.filter(other) {
            problems.push(format!(
                "subnet {cidr}: {foreign} is of the other IP version; give it to a [[subnet]] of \
                 its own"
            ));
        }
        match cidr {
            IpNet::V4(cidr) => {
                let subnet = subnet.v4(cidr);
                subnet_problems(&subnet, &v4, problems);
                v4.push(subnet);
            }
            IpNet::V6(cidr) => {
                subnet6_problems(&subnet, cidr, &v6, problems);
                v6.push(subnet.v6(cidr));
            }
        }
    }
    (v4, v6)
}

impl Written {
    fn v4(self, cidr: Ipv4Net) -> Subnet {
        let list = |ips: Vec<IpAddr>| ips.into_iter().filter_map(v4).collect();
        Subnet {
            cidr,
            gateway: self.gateway.and_then(v4),
            dns: list(self.dns),
            ntp: list(self.ntp),
            domain: self.domain,
            pool: self.pool,
        }
    }

    fn v6(self, cidr: Ipv6Net) -> Subnet6 {
        let list = |ips: Vec<IpAddr>| ips.into_iter().filter_map(v6).collect();
        Subnet6 { cidr, dns: list(self.dns), ntp: list(self.ntp), domain: self.domain }
    }
}

fn v4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

fn v6(ip: IpAddr) -> Option<Ipv6Addr> {
    match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => Some(ip),
    }
}

fn subnet_problems(subnet: &Subnet, before: &[Subnet], problems: &mut Vec<String>) {
    let cidr = subnet.cidr;
    if let Some(other) = before.iter().find(|o| o.cidr.contains(&cidr) || cidr.contains(&o.cidr)) {
        problems.push(format!("subnet {cidr}: overlaps subnet {}", other.cidr));
    }
    if let Some(gateway) = subnet.gateway.filter(|gateway| !cidr.contains(gateway)) {
        problems.push(format!("subnet {cidr}: gateway {gateway} is outside of it"));
    }
    for (index, range) in subnet.pool.iter().enumerate() {
        let inside = cidr.contains(&range.first) && cidr.contains(&range.last);
        if !inside || range.contains(cidr.network()) || range.contains(cidr.broadcast()) {
            problems.push(format!(
                "subnet {cidr}: pool {}-{} is not inside its host addresses",
                range.first, range.last
            ));
        }
        if subnet.gateway.is_some_and(|gateway| range.contains(gateway)) {
            problems.push(format!(
                "subnet {cidr}: pool {}-{} holds the gateway",
                range.first, range.last
            ));
        }
        if subnet.pool[..index].iter().any(|o| o.contains(range.first) || range.contains(o.first)) {
            problems.push(format!(
                "subnet {cidr}: pool {}-{} overlaps another",
                range.first, range.last
            ));
        }
    }
}

fn subnet6_problems(
    subnet: &Written,
    cidr: Ipv6Net,
    before: &[Subnet6],
    problems: &mut Vec<String>,
) {
    if let Some(other) = before.iter().find(|o| o.cidr.contains(&cidr) || cidr.contains(&o.cidr)) {
        problems.push(format!("subnet {cidr}: overlaps subnet {}", other.cidr));
    }
    if subnet.gateway.is_some() {
        problems.push(format!(
            "subnet {cidr}: gateway: DHCPv6 has none; a router of this network announces itself \
             (RFC 4861), so leave the line out"
        ));
    }
    if !subnet.pool.is_empty() {
        problems.push(format!(
            "subnet {cidr}: pool: DHCPv6 gives blades of the inventory their own addresses, and \
             has no pool; leave the line out"
        ));
    }
    if cidr.prefix_len() == 128 {
        problems.push(format!("subnet {cidr}: a prefix of 128 bits is one address, no network"));
    }
    let first = cidr.network();
    let mapped = first.to_ipv4_mapped().is_some();
    if first.is_multicast() || first.is_unicast_link_local() || first.is_unspecified() || mapped {
        problems.push(format!(
            "subnet {cidr}: is no network with addresses to give; write one such as fd00:12::/64"
        ));
    }
}
