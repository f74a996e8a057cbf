//! What a message is answered. Pure: a snapshot of the inventory, a message and the time go in;
//! an answer and a note come out. Addresses are reserved in the inventory, so nothing has to be
//! durable before an answer.

mod answer;

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;

use super::{
    seen::{Seen, What},
    wire::{Ia, IaKind, Message, Request},
};
use crate::{
    blade::{Mac, Millis},
    boot::{self, Asking, Choice},
    config::Subnet6,
    inventory::{Blade, Duid, Snapshot},
};

/// An interface the server listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    /// Its addresses with their prefixes, without link-local ones.
    pub addresses: Vec<Ipv6Net>,
    /// Base of URLs as configured; default: `http://` and the address that answers.
    pub url: Option<String>,
    /// Port of the boot listener where `url` is absent.
    pub http_port: u16,
}

/// How a packet came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    pub via: &'a Interface,
    pub from: Ipv6Addr,
    /// To all servers, not to one of our own addresses.
    pub multicast: bool,
    pub now: Millis,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// A message, with its relays' wrapping.
    pub answer: Option<Vec<u8>>,
    pub seen: Option<Seen>,
}

/// Decides about one packet. `server` is our own identifier.
pub fn decide(
    snapshot: &Snapshot,
    server: &Duid,
    request: &Request<'_>,
    arrival: &Arrival<'_>,
) -> Decision {
    // RFC 8415 §16: for another server.
    if request.server_id.is_some_and(|id| id != server.octets()) {
        return Decision::default();
    }
    let (blade, mac) = identify(snapshot, request, arrival.from);
    let mut exchange = Exchange { snapshot, server, request, arrival, blade, mac, subnets: vec![] };
    match exchange.link() {
        Ok(subnets) => exchange.subnets = subnets,
        Err(why) => return exchange.ignore(why),
    }
    // RFC 8415 §18.4: we have told nobody to write to us alone.
    if !arrival.multicast && request.relays.is_empty() {
        return exchange.use_multicast();
    }
    exchange.decide()
}

/// One packet with all that is known about it.
struct Exchange<'a> {
    snapshot: &'a Snapshot,
    server: &'a Duid,
    request: &'a Request<'a>,
    arrival: &'a Arrival<'a>,
    blade: Option<&'a Blade>,
    mac: Option<Mac>,
    /// The served subnets on the client's link.
    subnets: Vec<&'a Subnet6>,
}

/// Which blade asks, and the MAC that told so.
///
/// The identifier an operator wrote wins. Then what the wire says of the card: a cloned disk
/// carries another machine's DUID, never its card.
pub fn identify<'a>(
    snapshot: &'a Snapshot,
    request: &Request<'_>,
    from: Ipv6Addr,
) -> (Option<&'a Blade>, Option<Mac>) {
    let nearest = request.relays.last();
    let duid = request.client_id.as_ref();
    let macs = [
        // RFC 6939: as the first relay saw it.
        nearest.and_then(|relay| relay.link_layer),
        // RFC 4291 appendix A: firmware makes its link-local address of its MAC.
        eui64(nearest.map_or(from, |relay| relay.peer)),
        duid.and_then(Duid::mac),
    ];
    let found = macs.iter().flatten().find_map(|mac| Some((snapshot.by_mac(*mac)?, *mac)));
    if let Some(blade) = duid.and_then(|duid| snapshot.by_duid(duid)) {
        let own = found.filter(|(found, _)| found.name == blade.name).map(|(_, mac)| mac);
        return (Some(blade), own.or(blade.macs.first().copied()));
    }
    match found {
        Some((blade, mac)) => (Some(blade), Some(mac)),
        None => (None, macs.into_iter().flatten().next()),
    }
}

/// The MAC that a link-local address was made of.
pub fn eui64(ip: Ipv6Addr) -> Option<Mac> {
    let [.., a, b, c, 0xff, 0xfe, d, e, f] = ip.octets() else { return None };
    let mac = Mac([a ^ 2, b, c, d, e, f]);
    (ip.is_unicast_link_local() && !mac.is_unusable()).then_some(mac)
}

impl<'a> Exchange<'a> {
    /// The served subnets on the client's link (RFC 8415 §13.1): that of the relay nearest to
    /// the client which says where it is, else of our own interface.
    fn link(&self) -> Result<Vec<&'a Subnet6>, String> {
        let mut placed = self.request.relays.iter().rev().map(|relay| relay.link);
        let placed = placed.find(|link| !link.is_unspecified());
        if let Some(link) = placed {
            let subnet = self.snapshot.subnet6_of(link);
            return subnet.map(|subnet| vec![subnet]).ok_or_else(|| {
                format!("relay {}: {link} is in no subnet we serve", self.arrival.from)
            });
        }
        let via = self.arrival.via;
        let here =
            |subnet: &&Subnet6| via.addresses.iter().any(|a| subnet.cidr.contains(&a.addr()));
        let subnets: Vec<&Subnet6> = self.snapshot.subnets6.iter().filter(here).collect();
        if subnets.is_empty() {
            return Err(format!(
                "no [[subnet]] of the configuration holds an IPv6 address of {}",
                via.name
            ));
        }
        Ok(subnets)
    }

    fn decide(self) -> Decision {
        let message = self.request.message;
        if message == Message::Confirm {
            return self.confirm();
        }
        let ip = self.blade.and_then(|blade| blade.ip6);
        match ip.map(|ip| (ip, self.subnets.iter().find(|subnet| subnet.cidr.contains(&ip)))) {
            Some((ip, Some(subnet))) => self.reserved(ip, subnet),
            Some((ip, None)) => {
                let nets: String = self.subnets.iter().map(|s| format!(", {}", s.cidr)).collect();
                let text = format!(
                    "{}: its address {ip} does not belong to the network it asks from ({}{nets}); \
                     check its cabling, or its ip6 in the inventory",
                    self.name(),
                    self.arrival.via.name,
                );
                self.silent(What::Alert, Some(ip), text)
            }
            None if self.blade.is_none() && !self.snapshot.serve_unknown => {
                self.ignore("not in the inventory".to_owned())
            }
            None => self.stranger(),
        }
    }

    /// A blade with an address on this link.
    fn reserved(&self, ip: Ipv6Addr, subnet: &'a Subnet6) -> Decision {
        match self.request.message {
            Message::Solicit if self.request.rapid_commit => {
                self.give(What::Replied, ip, subnet, true)
            }
            Message::Solicit => self.give(What::Advertised, ip, subnet, false),
            // RFC 8415 §18.3.2: an address of elsewhere is told to be so, and nothing is given.
            Message::Request if !self.all_on_link() => self.not_on_link(),
            Message::Request | Message::Renew | Message::Rebind => {
                self.give(What::Replied, ip, subnet, false)
            }
            Message::Release => self.gone(What::Released, ip),
            Message::Decline => self.gone(What::Declined, ip),
            Message::InformationRequest => self.inform(subnet),
            Message::Confirm => Decision::default(),
        }
    }

    /// A client that has no address here, and is told so where strangers are answered.
    fn stranger(&self) -> Decision {
        let why = if self.blade.is_some() {
            "it has no ip6 in the inventory"
        } else {
            "not in the inventory"
        };
        match self.request.message {
            Message::Solicit | Message::Request => self.no_address(why),
            Message::Renew | Message::Release | Message::Decline => self.no_binding(why),
            // RFC 8415 §18.3.5: what another server gave is not ours to take away.
            Message::Rebind | Message::Confirm => self.ignore(why.to_owned()),
            Message::InformationRequest => match self.subnets.first() {
                Some(subnet) => self.inform(subnet),
                None => Decision::default(),
            },
        }
    }

    /// RFC 8415 §18.3.3: are the client's addresses right for this link?
    fn confirm(&self) -> Decision {
        // RFC 8415 §18.3.3: without an address there is nothing to say.
        if self.addresses().next().is_none() {
            return self.ignore("a CONFIRM without an address".to_owned());
        }
        self.confirmed(self.all_on_link())
    }

    fn addresses(&self) -> impl Iterator<Item = Ipv6Addr> {
        let lasting = self.request.ias.iter().filter(|ia| ia.kind != IaKind::Prefix);
        lasting.flat_map(|ia: &Ia| ia.addresses.iter().copied())
    }

    fn all_on_link(&self) -> bool {
        let here = |ip: Ipv6Addr| self.subnets.iter().any(|subnet| subnet.cidr.contains(&ip));
        self.addresses().all(here)
    }

    /// Our address on the client's subnet, else any of the interface.
    fn server_address(&self, subnet: &Subnet6) -> Option<Ipv6Addr> {
        let mut addresses = self.arrival.via.addresses.iter().map(Ipv6Net::addr);
        let on_subnet = addresses.clone().find(|address| subnet.cidr.contains(address));
        on_subnet.or_else(|| addresses.next())
    }

    /// What it boots; `None` where the interface has no address a blade could be told.
    fn boot(&self, subnet: &Subnet6) -> Option<(Ipv6Addr, Choice)> {
        let (server, mac) = (self.server_address(subnet)?, self.mac?);
        let via = self.arrival.via;
        let base = boot::base_url(via.url.as_deref(), server.into(), via.http_port);
        let rules = &self.snapshot.boot_rules;
        let asking = Asking { mac, blade: self.blade, rules, base: &base };
        Some((server, boot::choose(&self.request.client, &asking)))
    }

    /// Blade's name, or what a stranger calls itself.
    fn name(&self) -> String {
        match (self.blade, self.mac, &self.request.client_id) {
            (Some(blade), ..) => blade.name.to_string(),
            (None, Some(mac), _) => mac.to_string(),
            (None, None, Some(duid)) => duid.to_string(),
            (None, None, None) => self.arrival.from.to_string(),
        }
    }

    fn ignore(&self, why: String) -> Decision {
        self.silent(What::Ignored, None, why)
    }

    fn silent(&self, what: What, ip: Option<Ipv6Addr>, text: String) -> Decision {
        Decision { answer: None, seen: Some(self.note(what, ip, text)) }
    }

    fn note(&self, what: What, ip: Option<Ipv6Addr>, detail: String) -> Seen {
        let relay = self.request.relays.last();
        Seen {
            at: self.arrival.now,
            blade: self.blade.map(|blade| blade.name.clone()),
            mac: self.mac,
            duid: self.request.client_id.clone(),
            from: self.arrival.from,
            what,
            ip,
            firmware: self.request.client.firmware().name(),
            boot_file: None,
            rule: String::new(),
            relay: relay.map(|relay| relay.link),
            relay_port: relay.and_then(|relay| relay.interface_id).map(hex::encode),
            detail,
        }
    }
}

#[cfg(test)]
mod tests;
