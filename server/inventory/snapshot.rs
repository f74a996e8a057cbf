//! The whole inventory at one moment, indexed for the packet path. Never changed: a new one is
//! built and swapped in whole, so a packet sees all of a change or nothing of it.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::Ipv6Net;

use super::{BladeDoc, Bmc, BootRule, Chassis, ClusterDoc, DiskSelector, Document, Duid, Place};
use crate::{
    blade::{Arch, AttemptId, Hostname, Mac, Millis, Standing},
    config::{Config, Subnet, Subnet6, Unknown},
};

/// What a blade that boots from the network is to be given.
#[derive(Debug, Clone, PartialEq)]
pub enum Intent {
    /// No role: the console menu.
    Menu,
    /// Nothing to do now; the text says what is waited for. The blade asks again.
    Wait(String),
    /// Install, under this attempt.
    Install(Attempt),
    /// Installed: boot from the disk until an operator says otherwise.
    Local,
}

/// The newest attempt of a blade, as far as packets must know it.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub id: AttemptId,
    /// Counts from 1 for each blade.
    pub number: i64,
    pub standing: Standing,
}

/// What a blade is in a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub cluster: Hostname,
    /// The role: a menu entry's id.
    pub role: String,
}

#[derive(Debug, Clone)]
pub struct Blade {
    pub name: Hostname,
    pub place: Option<Place>,
    pub macs: Vec<Mac>,
    /// Reserved address: written explicitly, or given by the chassis' rule.
    pub ip: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub ip6: Option<Ipv6Addr>,
    pub duid: Option<Duid>,
    pub arch: Option<Arch>,
    pub model: Option<String>,
    pub secure_boot: Option<bool>,
    pub loader: Option<String>,
    pub bmc: Option<Bmc>,
    pub disk: Option<DiskSelector>,
    pub member: Option<Member>,
    pub intent: Intent,
    pub attempt: Option<Attempt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// Bound to `Lease::mac` until `Lease::until`.
    Bound,
    /// Reported in use by somebody else (DECLINE, ARP); not offered until `Lease::until`.
    Quarantined,
}

/// A dynamic address given to a blade we do not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub ip: Ipv4Addr,
    pub mac: Mac,
    pub state: LeaseState,
    pub until: Millis,
    /// What the client calls itself; hostile text, for people only.
    pub hostname: Option<String>,
}

/// Where a MAC of the inventory was last seen on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whereabouts {
    /// The address it uses, where that is not the reserved one: another server's, or the pool's.
    pub ip: Option<Ipv4Addr>,
    pub relay: Option<Ipv4Addr>,
    /// The switch port as its relay calls it (option 82).
    pub port: Option<String>,
}

/// What was learned of where a MAC is.
#[derive(Debug, Clone)]
pub enum Move {
    /// It is here, and nobody else has its address.
    Here(Mac, Whereabouts),
    /// This MAC, which is no blade's, has the address now.
    Lost(Ipv4Addr, Mac),
}

/// Tells what a blade is to be given, and its newest attempt.
pub type StateOf<'a> = dyn Fn(&Hostname, Option<&Member>) -> (Intent, Option<Attempt>) + 'a;

#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub subnets: Vec<Subnet>,
    pub subnets6: Vec<Subnet6>,
    pub lease_seconds: u32,
    pub serve_unknown: bool,
    pub blades: Arc<Vec<Blade>>,
    pub clusters: Arc<BTreeMap<Hostname, ClusterDoc>>,
    pub boot_rules: Arc<Vec<BootRule>>,
    /// Blades that have no address reserved.
    pub without_address: usize,
    /// Some blades' addresses are known only from what is seen on the network.
    pub learns: bool,
    // Shared by the snapshots that differ only in where blades are.
    by_mac: Arc<HashMap<Mac, usize>>,
    by_ip: Arc<HashMap<Ipv4Addr, usize>>,
    by_ip6: Arc<HashMap<Ipv6Addr, usize>>,
    by_name: Arc<HashMap<Hostname, usize>>,
    /// Other servers give addresses (proxy mode).
    proxy: bool,
    whereabouts: HashMap<Mac, Whereabouts>,
    /// Addresses that blades use without having them reserved.
    in_use: HashMap<Ipv4Addr, usize>,
}

impl Blade {
    /// A blade of a *checked* document as written there: without a role or an attempt.
    pub fn new(document: &Document, doc: &BladeDoc, intent: Intent) -> Blade {
        let (ip, bmc) = addresses(document, doc);
        Blade {
            name: doc.name.clone(),
            place: doc.slot.clone(),
            macs: doc.macs.clone(),
            ip,
            ip6: address6(document, doc),
            duid: doc.duid.clone(),
            arch: doc.arch,
            model: doc.model.clone(),
            secure_boot: doc.secure_boot,
            loader: doc.loader.clone(),
            bmc,
            disk: doc.disk.clone(),
            member: None,
            intent,
            attempt: None,
        }
    }
}

impl Snapshot {
    /// Builds a snapshot from a *checked* document; `state` tells of each blade what it is to be
    /// given, and its newest attempt.
    pub fn build(config: &Config, document: &Document, state: &StateOf<'_>) -> Snapshot {
        let members = members(document);
        let clusters = document.clusters.iter().map(|c| (c.name.clone(), c.clone()));
        let mut snapshot = Snapshot {
            subnets: config.subnets.clone(),
            subnets6: config.subnets6.clone(),
            lease_seconds: config.dhcp.lease.0,
            serve_unknown: config.dhcp.unknown == Unknown::Discover,
            clusters: Arc::new(clusters.collect()),
            boot_rules: Arc::new(document.boot_rules.clone()),
            ..Snapshot::default()
        };
        for doc in &document.blades {
            let member = members.get(doc.name.as_str()).cloned();
            let (intent, attempt) = state(&doc.name, member.as_ref());
            let blade = Blade { member, attempt, ..Blade::new(document, doc, intent) };
            snapshot.push(blade);
        }
        snapshot
    }

    fn push(&mut self, blade: Blade) {
        let index = self.blades.len();
        self.without_address += usize::from(blade.ip.is_none());
        Arc::make_mut(&mut self.by_mac).extend(blade.macs.iter().map(|mac| (*mac, index)));
        Arc::make_mut(&mut self.by_ip).extend(blade.ip.map(|ip| (ip, index)));
        Arc::make_mut(&mut self.by_ip6).extend(blade.ip6.map(|ip| (ip, index)));
        Arc::make_mut(&mut self.by_name).insert(blade.name.clone(), index);
        Arc::make_mut(&mut self.blades).push(blade);
    }

    pub fn by_mac(&self, mac: Mac) -> Option<&Blade> {
        self.by_mac.get(&mac).map(|index| &self.blades[*index])
    }

    /// The blade that has `ip`: reserved, else seen in use.
    pub fn by_ip(&self, ip: Ipv4Addr) -> Option<&Blade> {
        self.by_ip.get(&ip).or_else(|| self.in_use.get(&ip)).map(|index| &self.blades[*index])
    }

    /// The blade that `ip` is reserved for.
    pub fn reserved_for(&self, ip: Ipv4Addr) -> Option<&Blade> {
        self.by_ip.get(&ip).map(|index| &self.blades[*index])
    }

    /// The blade whose reserved address this is, also where an IPv4 address came in on an IPv6
    /// socket.
    pub fn by_address(&self, ip: IpAddr) -> Option<&Blade> {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.by_ip(ip),
            IpAddr::V6(ip) => self.by_ip6.get(&ip).map(|index| &self.blades[*index]),
        }
    }

    /// The blade whose DHCPv6 identifier is written in the inventory.
    pub fn by_duid(&self, duid: &Duid) -> Option<&Blade> {
        self.blades.iter().find(|blade| blade.duid.as_ref().is_some_and(|own| own.is(duid)))
    }

    /// Adds where blades were seen; no address may be there twice.
    pub fn with_whereabouts(
        mut self,
        proxy: bool,
        seen: impl IntoIterator<Item = (Mac, Whereabouts)>,
    ) -> Snapshot {
        self.proxy = proxy;
        self.learns = proxy || self.without_address > 0;
        let ours = seen.into_iter().filter(|(mac, _)| self.by_mac.contains_key(mac)).collect();
        self.whereabouts = ours;
        self.in_use = self.used();
        self
    }

    /// The same inventory after blades moved.
    pub fn moved(&self, moves: impl IntoIterator<Item = Move>) -> Snapshot {
        let mut next = self.clone();
        for one in moves {
            let (ip, mac) = match &one {
                Move::Here(mac, here) => (here.ip, *mac),
                Move::Lost(ip, mac) => (Some(*ip), *mac),
            };
            if ip.is_some() {
                let others = next.whereabouts.iter_mut().filter(|(other, _)| **other != mac);
                let left = others.filter(|(_, here)| here.ip == ip);
                left.for_each(|(_, here)| here.ip = None);
            }
            if let Move::Here(mac, here) = one
                && next.by_mac.contains_key(&mac)
            {
                next.whereabouts.insert(mac, here);
            }
        }
        next.in_use = next.used();
        next
    }

    /// An address counts where it is not given by us, or given from a pool to a blade without a
    /// reservation.
    fn used(&self) -> HashMap<Ipv4Addr, usize> {
        let at = |(mac, here): (&Mac, &Whereabouts)| {
            let index = *self.by_mac.get(mac)?;
            let ip = here.ip.filter(|_| self.proxy || self.blades[index].ip.is_none())?;
            Some((ip, index))
        };
        self.whereabouts.iter().filter_map(at).collect()
    }

    /// Where a network card of this blade was last seen plugged in, by the words of a relay.
    pub fn switch_port(&self, blade: &Blade) -> Option<&str> {
        blade.macs.iter().find_map(|mac| self.whereabouts(*mac)?.port.as_deref())
    }

    /// Where this MAC of a blade was last seen.
    pub fn whereabouts(&self, mac: Mac) -> Option<&Whereabouts> {
        self.whereabouts.get(&mac)
    }

    pub fn by_name(&self, name: &str) -> Option<&Blade> {
        let name: Hostname = name.parse().ok()?;
        self.by_name.get(&name).map(|index| &self.blades[*index])
    }

    /// The served subnet that holds `ip`.
    pub fn subnet_of(&self, ip: Ipv4Addr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.cidr.contains(&ip))
    }

    /// The served IPv6 subnet that holds `ip`.
    pub fn subnet6_of(&self, ip: Ipv6Addr) -> Option<&Subnet6> {
        self.subnets6.iter().find(|subnet| subnet.cidr.contains(&ip))
    }

    /// A blade's IPv6 address with the prefix of its subnet.
    pub fn net6_of(&self, blade: &Blade) -> Option<Ipv6Net> {
        let ip = blade.ip6?;
        Ipv6Net::new(ip, self.subnet6_of(ip)?.cidr.prefix_len()).ok()
    }

    /// True for addresses that belong to a known blade: never given from a pool.
    pub fn is_reserved(&self, ip: Ipv4Addr) -> bool {
        self.by_ip.contains_key(&ip)
    }

    /// Blades of a cluster in the order the roles list them.
    pub fn members_of<'a>(
        &'a self,
        cluster: &'a ClusterDoc,
    ) -> impl Iterator<Item = (&'a str, &'a Blade)> {
        cluster
            .roles
            .iter()
            .flat_map(|(role, names)| names.iter().map(move |name| (role.as_str(), name)))
            .filter_map(|(role, name)| Some((role, self.by_name(name)?)))
    }
}

fn members(document: &Document) -> HashMap<&str, Member> {
    let mut members = HashMap::new();
    for cluster in &document.clusters {
        for (role, names) in &cluster.roles {
            for name in names {
                members.insert(
                    name.as_str(),
                    Member { cluster: cluster.name.clone(), role: role.clone() },
                );
            }
        }
    }
    members
}

/// A blade's reserved address and BMC: as written, else by the rule of its chassis.
pub fn addresses(document: &Document, blade: &BladeDoc) -> (Option<Ipv4Addr>, Option<Bmc>) {
    let chassis = chassis(document, blade);
    let by_rule = |first: Option<Ipv4Addr>| {
        let offset = u32::from(blade.slot.as_ref()?.slot.checked_sub(1)?);
        u32::from(first?).checked_add(offset).map(Ipv4Addr::from)
    };
    let ip = blade.ip.or_else(|| by_rule(chassis?.ip_first));
    let bmc_ip = by_rule(chassis.and_then(|chassis| chassis.bmc_first));
    let bmc = match (&blade.bmc, bmc_ip) {
        (Some(bmc), _) if bmc.lab.is_some() || bmc.address.is_some() => Some(bmc.clone()),
        (Some(bmc), address) => Some(Bmc { address, ..bmc.clone() }),
        (None, Some(address)) => Some(Bmc { address: Some(address), ..Bmc::default() }),
        (None, None) => None,
    };
    (ip, bmc)
}

/// A blade's reserved IPv6 address: as written, else by the rule of its chassis.
pub fn address6(document: &Document, blade: &BladeDoc) -> Option<Ipv6Addr> {
    let by_rule = || {
        let offset = u128::from(blade.slot.as_ref()?.slot.checked_sub(1)?);
        let first = chassis(document, blade)?.ip6_first?;
        u128::from(first).checked_add(offset).map(Ipv6Addr::from)
    };
    blade.ip6.or_else(by_rule)
}

fn chassis<'a>(document: &'a Document, blade: &BladeDoc) -> Option<&'a Chassis> {
    let place = blade.slot.as_ref()?;
    let rack = document.racks.iter().find(|rack| rack.name == place.rack)?;
    rack.chassis.iter().find(|chassis| chassis.name == place.chassis)
}
