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

/// No address is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted;

/// Who holds a pool: numbers, and some of those that hold it longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    pub cidr: Ipv4Net,
    pub size: u64,
    pub bound: usize,
    pub offered: usize,
    pub quarantined: usize,
    pub holders: Vec<Mac>,
}

/// Holders that a census names.
const NAMED: usize = 3;
/// A pool larger than this is counted in part: a flood must not pay for a walk with each packet.
const COUNTED: usize = 4_096;

/// A clock that was wrong when the lease was written must not hold an address for ever; but a
/// lease may be longer than those that are given since the configuration was changed.
const LONGEST_MS: Millis = 30 * 86_400_000;

/// A lease as it is believed after a start; `given` is how long leases are given now.
pub fn sane(lease: Lease, now: Millis, given: Millis) -> Lease {
    Lease { until: lease.until.min(now + given.max(LONGEST_MS)), ..lease }
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
        let pool = pools.iter_mut().find(|pool| pool.cidr == cidr).ok_or(Exhausted)?;
        if let Some(ip) = pool.advance(by_ip, &taken) {
            // Not passed over yet: an offer that is not recorded must not lose the address.
            return Ok(ip);
        }
        pool.lapsed(now).find(|ip| !taken(*ip)).ok_or(Exhausted)
    }

    /// Under pressure: the address that was offered longest ago and that nobody came for. Made-up
    /// MACs never come, so they cannot keep a pool from others by asking fast; who of two comes
    /// first has it.
    pub fn next_offered(
        &self,
        cidr: Ipv4Net,
        now: Millis,
        taken: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Ipv4Addr> {
        let pool = self.pools.iter().find(|pool| pool.cidr == cidr)?;
        let offered =
            |ip: &Ipv4Addr| self.by_ip.get(ip).is_some_and(|entry| entry.hold == Hold::Offered);
        // Offers end within a minute, most leases later.
        let soon =
            pool.by_end.range((now, Ipv4Addr::UNSPECIFIED)..=(now + OFFER_MS, Ipv4Addr::BROADCAST));
        soon.map(|(_, ip)| *ip)
            .take(COUNTED)
            .find(|ip| offered(ip) && pool.holds(*ip) && !taken(*ip))
    }

    /// True if more than `spare` addresses of a pool are free.
    pub fn has_more_than(
        &mut self,
        spare: usize,
        cidr: Ipv4Net,
        now: Millis,
        taken: impl Fn(Ipv4Addr) -> bool,
    ) -> bool {
        let LeaseBook { by_ip, pools, .. } = self;
        let Some(pool) = pools.iter_mut().find(|pool| pool.cidr == cidr) else { return false };
        pool.advance(by_ip, &taken);
        let lapsed = pool.lapsed(now).filter(|ip| !taken(*ip)).take(spare + 1).count();
        let fresh = pool.rest().filter(|ip| !by_ip.contains_key(ip) && !taken(*ip));
        lapsed + fresh.take(spare + 1).count() > spare
    }

    /// Who holds each pool now.
    pub fn census(&self, now: Millis) -> Vec<Census> {
        self.pools
            .iter()
            .filter(|pool| !pool.ranges.is_empty())
            .map(|pool| self.count(pool, now))
            .collect()
    }

    fn count(&self, pool: &Pool, now: Millis) -> Census {
        let size = pool.ranges.iter().map(IpRange::len).sum();
        let cidr = pool.cidr;
        let mut census =
            Census { cidr, size, bound: 0, offered: 0, quarantined: 0, holders: Vec::new() };
        // From the one that ends last.
        let running = pool.by_end.range((now + 1, Ipv4Addr::UNSPECIFIED)..).rev();
        for entry in running
            .filter(|(_, ip)| pool.holds(*ip))
            .take(COUNTED)
            .filter_map(|(_, ip)| self.by_ip.get(ip))
        {
            match entry.hold {
                Hold::Bound => census.bound += 1,
                Hold::Offered => census.offered += 1,
                Hold::Quarantined => census.quarantined += 1,
            }
            if census.holders.len() < NAMED && entry.hold != Hold::Offered {
                census.holders.push(entry.mac);
            }
        }
        census
    }

    /// The clock was set: every end moves with it.
    pub fn shift(&mut self, jump: Millis) {
        for entry in self.by_ip.values_mut() {
            entry.until += jump;
        }
        for pool in &mut self.pools {
            let moved = std::mem::take(&mut pool.by_end).into_iter();
            pool.by_end = moved.map(|(until, ip)| (until + jump, ip)).collect();
        }
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
    fn holds(&self, ip: Ipv4Addr) -> bool {
        self.ranges.iter().any(|range| range.contains(ip))
    }

    /// The first address never given, with the cursor on it.
    fn advance(
        &mut self,
        by_ip: &HashMap<Ipv4Addr, Entry>,
        taken: impl Fn(Ipv4Addr) -> bool,
    ) -> Option<Ipv4Addr> {
        while let Some(ip) = self.fresh() {
            if !by_ip.contains_key(&ip) && !taken(ip) {
                return Some(ip);
            }
            self.cursor.1 += 1;
        }
        None
    }

    /// All addresses from the cursor on.
    fn rest(&self) -> impl Iterator<Item = Ipv4Addr> {
        let (range, offset) = self.cursor;
        let here = self.ranges.get(range).into_iter().flat_map(IpRange::iter);
        let behind = self.ranges.iter().skip(range + 1).flat_map(IpRange::iter);
        here.skip(offset as usize).chain(behind)
    }

    /// Addresses whose time is over, the longest first.
    fn lapsed(&self, now: Millis) -> impl Iterator<Item = Ipv4Addr> {
        let lapsed = self.by_end.range(..=(now, Ipv4Addr::BROADCAST)).map(|(_, ip)| *ip);
        lapsed.filter(|ip| self.holds(*ip))
    }

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
        assert_eq!(book.next_free(cidr, 0, |ip| ip == reserved), Err(Exhausted));
        let lapsed = book.next_free(cidr, 1000, |ip| ip == reserved).unwrap();
        assert_eq!(lapsed, Ipv4Addr::new(10, 0, 0, 13));
        book.rewind();
        assert_eq!(book.next_free(cidr, 0, |_| false), Ok(reserved));
    }

    #[test]
    fn a_clock_set_by_hours_neither_frees_an_address_nor_holds_it_for_ever() {
        const HOUR: Millis = 3_600_000;
        let (ip, cidr) = (Ipv4Addr::new(10, 0, 0, 10), CIDR.parse().unwrap());
        for jump in [5 * HOUR, -5 * HOUR] {
            let mut book = LeaseBook::new(&[subnet("10.0.0.10-10.0.0.10")], []);
            book.put(ip, Entry { mac: mac(1), hold: Hold::Bound, until: 10 * HOUR });
            let now = 9 * HOUR + jump;
            book.shift(jump);
            assert!(!book.is_free_for(ip, mac(2), now), "an hour is left of the lease");
            assert_eq!(book.next_free(cidr, now, |_| false), Err(Exhausted));
            assert_eq!(book.next_free(cidr, now + HOUR, |_| false), Ok(ip));
        }
        // Written with a clock of 2070, read with one of 1970.
        let wrong = Lease {
            ip,
            mac: mac(1),
            state: LeaseState::Bound,
            until: 100 * 365 * 24 * HOUR,
            hostname: None,
        };
        assert_eq!(sane(wrong.clone(), 0, HOUR).until, LONGEST_MS);
        assert_eq!(sane(wrong, 0, 3 * LONGEST_MS).until, 3 * LONGEST_MS, "a lease of 90 days");
    }

    #[test]
    fn a_census_counts_and_names_who_holds_a_pool() {
        let mut book = LeaseBook::new(&[subnet("10.0.0.10-10.0.0.19")], []);
        for (n, hold) in [(10, Hold::Bound), (11, Hold::Offered), (12, Hold::Quarantined)] {
            let entry = Entry { mac: mac(n), hold, until: 100 + Millis::from(n) };
            book.put(Ipv4Addr::new(10, 0, 0, n), entry);
        }
        let lapsed = Entry { mac: mac(9), hold: Hold::Bound, until: 5 };
        book.put(Ipv4Addr::new(10, 0, 0, 13), lapsed);
        let census = book.census(5).remove(0);
        assert_eq!((census.size, census.bound, census.offered, census.quarantined), (10, 1, 1, 1));
        assert_eq!(census.holders, [mac(12), mac(10)]);
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
