//! Which dynamic addresses are given to whom. Pure, in memory; the durable copy is the
//! caller's, who loads it at the start and writes each change before it is acknowledged.

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;

use crate::{
    blade::{Mac, Millis},
    config::{IpRange, Subnet},
    inventory::{Lease, LeaseState},
};

/// How long an offered address is kept for the one it was offered to.
pub const OFFER_MS: Millis = 60_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Offered, not yet asked for; not durable.
    Offered,
    Bound,
    /// In use by somebody we do not know (DECLINE).
    Quarantined,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    pub mac: Mac,
    pub hold: Hold,
    pub until: Millis,
}

/// The pools of all subnets.
#[derive(Debug, Clone, Default)]
pub struct LeaseBook {
    by_ip: HashMap<Ipv4Addr, Entry>,
    /// A client has one address in each subnet it was seen on.
    by_mac: HashMap<Mac, Vec<Ipv4Addr>>,
    pools: Vec<Pool>,
}

/// The next free address costs O(log n): first those never given, by a cursor that only goes
/// forward, then the one that lapsed longest ago.
#[derive(Debug, Clone)]
struct Pool {
    cidr: Ipv4Net,
    ranges: Vec<IpRange>,
    /// Range and offset of the next address never given.
    cursor: (usize, u32),
    by_end: BTreeSet<(Millis, Ipv4Addr)>,
}

/// No address is left; how many are held at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    pub held: usize,
}

impl LeaseBook {
    pub fn new(subnets: &[Subnet], leases: impl IntoIterator<Item = Lease>) -> LeaseBook {
        let pool = |subnet: &Subnet| Pool {
            cidr: subnet.cidr,
            ranges: subnet.pool.clone(),
            cursor: (0, 0),
            by_end: BTreeSet::new(),
        };
        let mut book =
            LeaseBook { pools: subnets.iter().map(pool).collect(), ..LeaseBook::default() };
        for lease in leases {
            let hold = match lease.state {
                LeaseState::Bound => Hold::Bound,
                LeaseState::Quarantined => Hold::Quarantined,
            };
            book.put(lease.ip, Entry { mac: lease.mac, hold, until: lease.until });
        }
        book
    }

    pub fn get(&self, ip: Ipv4Addr) -> Option<&Entry> {
        self.by_ip.get(&ip)
    }

    /// The address `mac` has or last had within `cidr`, unless it is quarantined.
    pub fn of(&self, mac: Mac, cidr: Ipv4Net) -> Option<(Ipv4Addr, Entry)> {
        let ips = self.by_mac.get(&mac)?;
        ips.iter().filter(|ip| cidr.contains(*ip)).find_map(|ip| {
            let entry = self.by_ip.get(ip)?;
            (entry.hold != Hold::Quarantined).then_some((*ip, *entry))
        })
    }

    /// True if `mac` may be given `ip`: nobody else holds it now.
    pub fn is_free_for(&self, ip: Ipv4Addr, mac: Mac, now: Millis) -> bool {
        match self.by_ip.get(&ip) {
            None => true,
            Some(entry) if entry.until <= now => true,
            Some(entry) => entry.hold != Hold::Quarantined && entry.mac == mac,
        }
    }

    /// Records what an address is now.
    pub fn put(&mut self, ip: Ipv4Addr, entry: Entry) {
        if let Some(old) = self.by_ip.insert(ip, entry) {
            if let Some(pool) = self.pool_mut(ip) {
                pool.by_end.remove(&(old.until, ip));
            }
            if old.mac != entry.mac
                && let Some(ips) = self.by_mac.get_mut(&old.mac)
            {
                ips.retain(|other| *other != ip);
                if ips.is_empty() {
                    self.by_mac.remove(&old.mac);
                }
            }
        }
        let ips = self.by_mac.entry(entry.mac).or_default();
        if !ips.contains(&ip) {
            ips.push(ip);
        }
        if let Some(pool) = self.pool_mut(ip) {
            pool.by_end.insert((entry.until, ip));
        }
    }

    /// A pool address of `cidr` for a new client. `taken` are addresses nobody may be given:
    /// reserved ones, the server's own, the gateway.
    pub fn next_free(
        &mut self,
        cidr: Ipv4Net,
        now: Millis,
        taken: impl Fn(Ipv4Addr) -> bool,
    ) -> Result<Ipv4Addr, Exhausted> {
        let LeaseBook { by_ip, pools, .. } = self;
        let Some(pool) = pools.iter_mut().find(|pool| pool.cidr == cidr) else {
            return Err(Exhausted { held: 0 });
        };
        while let Some(ip) = pool.fresh() {
            if !by_ip.contains_key(&ip) && !taken(ip) {
                // Not passed over yet: an offer that is not recorded must not lose the address.
                return Ok(ip);
            }
            pool.cursor.1 += 1;
        }
        let lapsed = pool.by_end.range(..=(now, Ipv4Addr::BROADCAST));
        let in_pool = |ip: &Ipv4Addr| pool.ranges.iter().any(|range| range.contains(*ip));
        lapsed
            .map(|(_, ip)| *ip)
            .find(|ip| in_pool(ip) && !taken(*ip))
            .ok_or(Exhausted { held: pool.by_end.len() })
    }

    /// Looks at every address again: after the inventory changed, passed-over ones may be free.
    pub fn rewind(&mut self) {
        for pool in &mut self.pools {
            pool.cursor = (0, 0);
        }
    }

    fn pool_mut(&mut self, ip: Ipv4Addr) -> Option<&mut Pool> {
        self.pools.iter_mut().find(|pool| pool.cidr.contains(&ip))
    }
}

impl Pool {
    fn fresh(&mut self) -> Option<Ipv4Addr> {
        loop {
            let range = self.ranges.get(self.cursor.0)?;
            let ip = u32::from(range.first).checked_add(self.cursor.1).map(Ipv4Addr::from);
            match ip.filter(|ip| *ip <= range.last) {
                Some(ip) => return Some(ip),
                None => self.cursor = (self.cursor.0 + 1, 0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(pool: &str) -> Subnet {
        let text = format!("cidr = \"10.0.0.0/24\"\npool = [\"{pool}\"]");
        toml::from_str(&text).unwrap()
    }

    fn mac(n: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, n])
    }

    const CIDR: &str = "10.0.0.0/24";

    #[test]
    fn addresses_come_once_each_then_the_longest_lapsed_then_none() {
        let mut book = LeaseBook::new(&[subnet("10.0.0.10-10.0.0.13")], []);
        let cidr = CIDR.parse().unwrap();
        let reserved: Ipv4Addr = "10.0.0.11".parse().unwrap();
        for (n, want) in [(1, 10), (2, 12), (3, 13)] {
            let ip = book.next_free(cidr, 0, |ip| ip == reserved).unwrap();
            assert_eq!(ip, Ipv4Addr::new(10, 0, 0, want));
            let until = 1000 - Millis::from(n);
            book.put(ip, Entry { mac: mac(n), hold: Hold::Bound, until });
        }
        assert_eq!(book.next_free(cidr, 0, |ip| ip == reserved), Err(Exhausted { held: 3 }));
        let lapsed = book.next_free(cidr, 1000, |ip| ip == reserved).unwrap();
        assert_eq!(lapsed, Ipv4Addr::new(10, 0, 0, 13));
        book.rewind();
        assert_eq!(book.next_free(cidr, 0, |_| false), Ok(reserved));
    }

    #[test]
    fn an_address_that_changes_hands_leaves_no_trace_with_the_first() {
        let mut book = LeaseBook::new(&[subnet("10.0.0.10-10.0.0.10")], []);
        let (ip, cidr) = (Ipv4Addr::new(10, 0, 0, 10), CIDR.parse().unwrap());
        book.put(ip, Entry { mac: mac(1), hold: Hold::Bound, until: 10 });
        assert!(!book.is_free_for(ip, mac(2), 5) && book.is_free_for(ip, mac(2), 10));
        book.put(ip, Entry { mac: mac(2), hold: Hold::Bound, until: 20 });
        assert_eq!(book.of(mac(1), cidr), None);
        assert_eq!(book.of(mac(2), cidr).unwrap().0, ip);
        assert_eq!(book.pools[0].by_end.len(), 1);
        assert_eq!(book.by_mac.len(), 1);
    }
}
