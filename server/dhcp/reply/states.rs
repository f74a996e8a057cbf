//! The states of RFC 2131: what DISCOVER, REQUEST (in its four forms), DECLINE, RELEASE and
//! INFORM do.

use std::net::Ipv4Addr;

use super::{Decision, Exchange, Party};
use crate::{
    blade::Millis,
    config::{IpRange, Subnet},
    dhcp::{
        leases::{Census, Entry, Hold, LeaseBook, OFFER_MS},
        seen::What,
    },
    inventory::{Lease, LeaseState},
};

/// How long a reserved address is left alone after its blade declined it. RFC 2131 §3.1(5): a
/// client waits ten seconds itself; longer would let one forged packet hold a blade up.
const RESERVED_QUARANTINE_MS: Millis = 20_000;
/// How long a declined pool address is left alone.
pub const POOL_QUARANTINE_MS: Millis = 3_600_000;

impl<'a> Exchange<'a> {
    pub(super) fn discover(&self, book: &mut LeaseBook, party: Party<'a>) -> Decision {
        match party {
            Party::Reserved(ip, subnet) => match self.declined(book, ip) {
                true => self.ignore(Some(ip), format!("{ip} was declined a moment ago")),
                false => self.offer(ip, subnet),
            },
            Party::Dynamic(subnets) => match self.choose(book, &subnets) {
                Some((ip, subnet)) => {
                    let new = !self.hold(book, ip);
                    // Behind a relay nobody would answer us.
                    let probe = (new && self.request.giaddr.is_unspecified()).then_some(ip);
                    Decision { probe, ..self.offer(ip, subnet) }
                }
                None => self.exhausted(book, &subnets),
            },
        }
    }

    /// RFC 2131 §4.3.2. Selecting names the server; init-reboot only an address; renewing and
    /// rebinding have an address in ciaddr.
    pub(super) fn request(
        &self,
        book: &mut LeaseBook,
        party: Party<'a>,
        subnets: &[&'a Subnet],
    ) -> Decision {
        let request = self.request;
        if request.server_id.is_some_and(|id| !self.is_us(id)) {
            return self.ignore(None, "it took another server's offer".to_owned());
        }
        let in_use = !request.ciaddr.is_unspecified();
        let asked = match request.requested {
            Some(ip) if !in_use || request.server_id.is_some() => ip,
            _ if in_use => request.ciaddr,
            _ => return self.ignore(None, "a REQUEST without an address".to_owned()),
        };
        let Some(on) = subnets.iter().copied().find(|subnet| subnet.cidr.contains(&asked)) else {
            return self.nak(subnets, asked, "wrong network");
        };
        match party {
            Party::Reserved(ip, _) if ip != asked => {
                self.nak(subnets, asked, &format!("its address is {ip}"))
            }
            Party::Reserved(ip, _) if self.declined(book, ip) => {
                self.nak(subnets, ip, "it was declined a moment ago")
            }
            Party::Reserved(ip, subnet) => self.ack(ip, subnet, None),
            Party::Dynamic(_) => self.request_dynamic(book, asked, on, subnets),
        }
    }

    fn request_dynamic(
        &self,
        book: &mut LeaseBook,
        asked: Ipv4Addr,
        on: &'a Subnet,
        subnets: &[&'a Subnet],
    ) -> Decision {
        let mac = self.request.mac;
        let mine = book.of(mac, on.cidr).map(|(ip, _)| ip);
        let selecting = self.request.server_id.is_some();
        let in_pool = on.pool.iter().any(|range| range.contains(asked));
        // An offer that nobody came for binds nobody: the first who comes has the address.
        let on_offer = selecting && book.get(asked).is_some_and(|e| e.hold == Hold::Offered);
        let free = in_pool
            && !self.is_taken(asked, on)
            && (on_offer || book.is_free_for(asked, mac, self.now));
        match mine {
            Some(ip) if ip == asked && free => self.bind(book, asked, on),
            // Offers are not durable: a client may take one that was made before a restart.
            None if selecting && free => self.bind(book, asked, on),
            Some(ip) if ip != asked => self.nak(subnets, asked, &format!("its address is {ip}")),
            _ if selecting || mine.is_some() => {
                self.nak(subnets, asked, "the address is not available")
            }
            // RFC 2131 §4.3.2: a server without a record of the client stays silent; another
            // server may have one.
            _ => self.ignore(Some(asked), "no record of this client".to_owned()),
        }
    }

    pub(super) fn decline(&self, book: &mut LeaseBook, party: Party<'a>) -> Decision {
        let (Some(ip), true) = (self.request.requested, self.names_us()) else {
            return self.ignore(None, "a DECLINE that does not name us and an address".to_owned());
        };
        let entry = |until| Entry { mac: self.request.mac, hold: Hold::Quarantined, until };
        match party {
            Party::Reserved(own, _) if own == ip => {
                book.put(ip, entry(self.now + RESERVED_QUARANTINE_MS));
                let text = format!(
                    "address in use: {} ({}) was given its address {ip} and found another \
                     machine on it; find that machine, or change one of the two addresses",
                    self.name(),
                    self.request.mac
                );
                let declined = self.note(What::Declined, Some(ip), text.clone());
                Decision {
                    seen: vec![declined, self.note(What::Alert, Some(ip), text)],
                    ..Decision::default()
                }
            }
            // Only what it was given can be declined: nobody empties a pool by shouting.
            Party::Dynamic(_) if book.get(ip).is_some_and(|e| e.mac == self.request.mac) => {
                let until = self.now + POOL_QUARANTINE_MS;
                book.put(ip, entry(until));
                let text = format!("pool address {ip} is used by another machine; put aside");
                Decision {
                    durable: Some(self.lease(ip, LeaseState::Quarantined, until)),
                    seen: vec![self.note(What::Declined, Some(ip), text)],
                    ..Decision::default()
                }
            }
            _ => self.ignore(Some(ip), format!("declined {ip}, which it was not given")),
        }
    }

    pub(super) fn release(&self, book: &mut LeaseBook, party: Party<'a>) -> Decision {
        let ip = self.request.ciaddr;
        let seen = vec![self.note(What::Released, Some(ip), "released its address".to_owned())];
        match party {
            // The reservation stays: a blade has its address by being in the inventory.
            Party::Reserved(own, _) if own == ip => Decision { seen, ..Decision::default() },
            Party::Dynamic(_) if self.names_us() && self.has(book, ip) => {
                // Kept as lapsed, so that the client gets the same address again.
                let until = self.now;
                book.put(ip, Entry { mac: self.request.mac, hold: Hold::Bound, until });
                let durable = Some(self.lease(ip, LeaseState::Bound, until));
                Decision { durable, seen, ..Decision::default() }
            }
            _ => self.ignore(Some(ip), format!("released {ip}, which it was not given")),
        }
    }

    pub(super) fn inform(&self, party: Party<'a>, subnets: &[&'a Subnet]) -> Decision {
        let ip = self.request.ciaddr;
        if ip.is_unspecified() {
            return self.ignore(None, "an INFORM without an address".to_owned());
        }
        let subnet = match party {
            Party::Reserved(_, subnet) => Some(subnet),
            Party::Dynamic(_) => subnets.iter().copied().find(|s| s.cidr.contains(&ip)),
        };
        match subnet {
            Some(subnet) => self.inform_ack(ip, subnet),
            None => self.ignore(Some(ip), format!("{ip} is in no subnet here")),
        }
    }

    /// The pool address for a client: what it has, what it had, what it asks for, the next one.
    fn choose(
        &self,
        book: &mut LeaseBook,
        subnets: &[&'a Subnet],
    ) -> Option<(Ipv4Addr, &'a Subnet)> {
        let mac = self.request.mac;
        for subnet in subnets.iter().copied() {
            let usable = |book: &LeaseBook, ip: &Ipv4Addr| {
                subnet.pool.iter().any(|range| range.contains(*ip))
                    && !self.is_taken(*ip, subnet)
                    && book.is_free_for(*ip, mac, self.now)
            };
            let had = book.of(mac, subnet.cidr).map(|(ip, _)| ip).filter(|ip| usable(book, ip));
            let asked = self.request.requested.filter(|ip| usable(book, ip));
            let chosen = had.or(asked).or_else(|| self.another(book, subnet));
            if let Some(ip) = chosen {
                return Some((ip, subnet));
            }
        }
        None
    }

    /// A pool address for a client that is new there. Strangers leave some to blades of the
    /// inventory that have none reserved: a quarter of the pool at most.
    fn another(&self, book: &mut LeaseBook, subnet: &Subnet) -> Option<Ipv4Addr> {
        let taken = |ip| self.is_taken(ip, subnet);
        let size: u64 = subnet.pool.iter().map(IpRange::len).sum();
        let spare = match self.blade {
            Some(_) => 0,
            None => self.snapshot.without_address.min(usize::try_from(size / 4).unwrap_or(0)),
        };
        let cidr = subnet.cidr;
        let free = match spare == 0 || book.has_more_than(spare, cidr, self.now, taken) {
            true => book.next_free(cidr, self.now, taken).ok(),
            false => None,
        };
        free.or_else(|| book.next_offered(cidr, self.now, taken))
    }

    fn exhausted(&self, book: &mut LeaseBook, subnets: &[&'a Subnet]) -> Decision {
        let pools: Vec<String> = subnets
            .iter()
            .filter(|subnet| !subnet.pool.is_empty())
            .filter_map(|subnet| {
                let census = book.census(self.now).into_iter().find(|c| c.cidr == subnet.cidr)?;
                Some(held(&census))
            })
            .collect();
        if pools.is_empty() {
            let names: Vec<String> = subnets.iter().map(|s| s.cidr.to_string()).collect();
            return self.ignore(None, format!("{} has no pool", names.join(", ")));
        }
        let text = format!(
            "{}; {} got none. `firstlight get leases` tells who holds all of them. Make the pool \
             larger, or reserve addresses for these machines",
            pools.join("; "),
            self.name()
        );
        self.alert(None, text)
    }

    /// Keeps an offered address for its client; a lease that runs is not shortened. True if
    /// the client had it already.
    fn hold(&self, book: &mut LeaseBook, ip: Ipv4Addr) -> bool {
        let had = book.get(ip).is_some_and(|e| e.mac == self.request.mac && e.until > self.now);
        let runs = |entry: &Entry| entry.hold == Hold::Bound && entry.until > self.now + OFFER_MS;
        if !book.get(ip).is_some_and(runs) {
            let until = self.now + OFFER_MS;
            book.put(ip, Entry { mac: self.request.mac, hold: Hold::Offered, until });
        }
        had
    }

    fn bind(&self, book: &mut LeaseBook, ip: Ipv4Addr, subnet: &'a Subnet) -> Decision {
        let until = self.now + Millis::from(self.lease_seconds()) * 1000;
        book.put(ip, Entry { mac: self.request.mac, hold: Hold::Bound, until });
        self.ack(ip, subnet, Some(self.lease(ip, LeaseState::Bound, until)))
    }

    fn has(&self, book: &LeaseBook, ip: Ipv4Addr) -> bool {
        let mine = |e: &Entry| e.mac == self.request.mac && e.hold == Hold::Bound;
        book.get(ip).is_some_and(mine)
    }

    fn lease(&self, ip: Ipv4Addr, state: LeaseState, until: Millis) -> Lease {
        Lease { ip, mac: self.request.mac, state, until, hostname: self.request.hostname() }
    }

    fn names_us(&self) -> bool {
        self.request.server_id.is_some_and(|id| self.is_us(id))
    }

    fn declined(&self, book: &LeaseBook, ip: Ipv4Addr) -> bool {
        book.get(ip).is_some_and(|e| e.hold == Hold::Quarantined && e.until > self.now)
    }
}

/// `pool of 10.12.0.0/16 is full: 18 of 20 bound, 0 on offer, 2 put aside (02:…, 02:… …)`.
fn held(census: &Census) -> String {
    let Census { cidr, size, bound, offered, quarantined, holders } = census;
    let names: Vec<String> = holders.iter().map(ToString::to_string).collect();
    let names = match names.is_empty() {
        true => String::new(),
        false => format!(" (by {} …)", names.join(", ")),
    };
    format!(
        "pool of {cidr} is full: of {size} addresses {bound} are bound, {offered} on offer, \
         {quarantined} put aside{names}"
    )
}
