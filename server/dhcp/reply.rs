//! What a request is answered. Pure: a snapshot of the inventory, the leases, a packet and the
//! time go in; an answer and what must be durable before it is sent come out.

mod answer;
mod proxy;
mod states;

use std::net::{Ipv4Addr, SocketAddrV4};

pub use states::POOL_QUARANTINE_MS;

use ipnet::Ipv4Net;

use super::{
    leases::LeaseBook,
    seen::{Seen, What},
    wire::{Message, Relay, Request, code},
};
use crate::{
    blade::{Mac, Millis},
    boot::{self, Asking, Choice, Client, Firmware, uuid_text},
    config::Subnet,
    inventory::{Blade, Lease, Snapshot},
};

/// An interface the server listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    pub mac: Mac,
    /// Its addresses with their prefixes.
    pub addresses: Vec<Ipv4Net>,
    /// Every address of this host: any of them may be named as server identifier (RFC 2131
    /// §4.1), none is given away.
    pub own: Vec<Ipv4Addr>,
    /// Base of script URLs without a slash at its end; default: `http://` and the address that
    /// answers.
    pub url: Option<String>,
    /// Port of the boot listener where `url` is absent.
    pub http_port: u16,
}

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// 255.255.255.255 and ff:ff:ff:ff:ff:ff.
    Broadcast,
    /// To a client that may not answer ARP yet: address and Ethernet address.
    Client(Ipv4Addr, Mac),
    /// To a client behind a router.
    Routed(Ipv4Addr),
    Relay(Ipv4Addr),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// DHCP message, without UDP and IP headers.
    pub packet: Vec<u8>,
    /// Our address and the port that was asked.
    pub from: SocketAddrV4,
    pub to: To,
    pub to_port: u16,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub answer: Option<Answer>,
    /// Must be durable before `answer` is sent.
    pub durable: Option<Lease>,
    /// A pool address that `answer` offers for the first time: worth asking the wire whether
    /// somebody uses it (RFC 2131 §2.2).
    pub probe: Option<Ipv4Addr>,
    pub seen: Vec<Seen>,
}

/// Decides about one packet. Offers are held in `book` at once, so that the next packet sees
/// them.
pub fn decide(
    snapshot: &Snapshot,
    book: &mut LeaseBook,
    request: &Request<'_>,
    via: &Interface,
    now: Millis,
) -> Decision {
    let exchange = Exchange::new(snapshot, request, via, now);
    let subnets = match exchange.link() {
        Ok(subnets) => subnets,
        Err(why) => return exchange.ignore(None, why),
    };
    let party = match exchange.party(&subnets) {
        Ok(party) => party,
        Err(decision) => return *decision,
    };
    match request.message {
        Message::Discover => exchange.discover(book, party),
        Message::Request => exchange.request(book, party, &subnets),
        Message::Decline => exchange.decline(book, party),
        Message::Release => exchange.release(book, party),
        Message::Inform => exchange.inform(party, &subnets),
    }
}

/// Decides about one packet in proxy mode: boot items beside the addresses of another server.
pub fn decide_as_proxy(
    snapshot: &Snapshot,
    request: &Request<'_>,
    via: &Interface,
    now: Millis,
) -> Decision {
    Exchange::new(snapshot, request, via, now).proxy()
}

/// One packet with all that is known about it.
struct Exchange<'a> {
    snapshot: &'a Snapshot,
    request: &'a Request<'a>,
    relay: Relay,
    via: &'a Interface,
    now: Millis,
    client: Client,
    firmware: Firmware,
    blade: Option<&'a Blade>,
}

/// Who a client is to us.
#[derive(Debug, Clone)]
enum Party<'a> {
    /// A blade with a reserved address.
    Reserved(Ipv4Addr, &'a Subnet),
    /// A client for the pools of these subnets.
    Dynamic(Vec<&'a Subnet>),
}

impl<'a> Exchange<'a> {
    fn new(
        snapshot: &'a Snapshot,
        request: &'a Request<'a>,
        via: &'a Interface,
        now: Millis,
    ) -> Exchange<'a> {
        let client = request.client();
        Exchange {
            snapshot,
            request,
            relay: request.relay(),
            via,
            now,
            firmware: client.firmware(),
            client,
            blade: snapshot.by_mac(request.mac),
        }
    }

    /// The served subnets on the client's link.
    fn link(&self) -> Result<Vec<&'a Subnet>, String> {
        let giaddr = self.request.giaddr;
        if !giaddr.is_unspecified() {
            return self.relayed_link(giaddr).map(|subnet| vec![subnet]);
        }
        let here = |subnet: &&Subnet| {
            self.via.addresses.iter().any(|address| subnet.cidr.contains(&address.addr()))
        };
        let mut subnets: Vec<&Subnet> = self.snapshot.subnets.iter().filter(here).collect();
        // A renewal comes straight from the client, perhaps through a router (RFC 2131 §4.3.2).
        if let Some(subnet) = self.snapshot.subnet_of(self.request.ciaddr)
            && !subnets.contains(&subnet)
        {
            subnets.push(subnet);
        }
        if subnets.is_empty() {
            return Err(format!(
                "no [[subnet]] of the configuration holds an address of {}",
                self.via.name
            ));
        }
        Ok(subnets)
    }

    fn relayed_link(&self, giaddr: Ipv4Addr) -> Result<&'a Subnet, String> {
        let place = self.relayed_place(giaddr)?;
        self.snapshot
            .subnet_of(place)
            .ok_or_else(|| format!("relay {giaddr}: {place} is in no subnet we serve"))
    }

    /// An address of the network that a relayed client is on.
    fn relayed_place(&self, giaddr: Ipv4Addr) -> Result<Ipv4Addr, String> {
        let special = giaddr.is_broadcast() || giaddr.is_multicast() || giaddr.is_loopback();
        if special || self.via.own.contains(&giaddr) {
            return Err(format!("relay address {giaddr} cannot be a relay's"));
        }
        // RFC 3527 §3: link selection says where the client is, giaddr only where to answer.
        Ok(self.relay.link_selection.unwrap_or(giaddr))
    }

    fn party(&self, subnets: &[&'a Subnet]) -> Result<Party<'a>, Box<Decision>> {
        let Some(ip) = self.blade.and_then(|blade| blade.ip) else {
            if self.blade.is_none() && !self.snapshot.serve_unknown {
                return Err(Box::new(self.ignore(None, "not in the inventory".to_owned())));
            }
            return Ok(Party::Dynamic(subnets.to_vec()));
        };
        match subnets.iter().find(|subnet| subnet.cidr.contains(&ip)) {
            Some(subnet) => Ok(Party::Reserved(ip, subnet)),
            None => {
                let text = format!(
                    "{}: its address {ip} does not belong to the network it asks from ({}{}); \
                     check its cabling, or its ip in the inventory",
                    self.name(),
                    self.via.name,
                    subnets.iter().map(|s| format!(", {}", s.cidr)).collect::<String>(),
                );
                Err(Box::new(self.alert(Some(ip), text)))
            }
        }
    }

    /// Our address on the client's subnet, else any of the interface.
    fn server_address(&self, subnet: &Subnet) -> Ipv4Addr {
        let mut addresses = self.via.addresses.iter().map(Ipv4Net::addr);
        let on_subnet = addresses.clone().find(|address| subnet.cidr.contains(address));
        on_subnet.or_else(|| addresses.next()).unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// What a client is to know the server by: our address, or the one a relay puts in its
    /// place so that renewals pass by it too (RFC 5107 §4).
    fn server_id(&self, server: Ipv4Addr) -> Ipv4Addr {
        self.relay.server_id.unwrap_or(server)
    }

    /// True for every identifier we may have given ourselves towards this client (RFC 2131
    /// §4.1, RFC 5107 §4).
    fn is_us(&self, id: Ipv4Addr) -> bool {
        self.via.own.contains(&id) || self.relay.server_id == Some(id)
    }

    /// Addresses nobody is given from a pool.
    fn is_taken(&self, ip: Ipv4Addr, subnet: &Subnet) -> bool {
        self.snapshot.is_reserved(ip)
            || self.via.own.contains(&ip)
            || subnet.gateway == Some(ip)
            || ip == subnet.cidr.network()
            || ip == subnet.cidr.broadcast()
    }

    fn boot(&self, server: Ipv4Addr) -> Choice {
        let base = match (&self.via.url, self.via.http_port) {
            (Some(url), _) => url.clone(),
            (None, 80) => format!("http://{server}"),
            (None, port) => format!("http://{server}:{port}"),
        };
        let rules = &self.snapshot.boot_rules;
        let asking = Asking { mac: self.request.mac, blade: self.blade, rules, base: &base };
        boot::choose(&self.client, &asking)
    }

    /// Blade's name, or the MAC of one we do not know.
    fn name(&self) -> String {
        self.blade.map_or_else(|| self.request.mac.to_string(), |blade| blade.name.to_string())
    }

    fn ignore(&self, ip: Option<Ipv4Addr>, why: String) -> Decision {
        Decision { seen: vec![self.note(What::Ignored, ip, why)], ..Decision::default() }
    }

    fn alert(&self, ip: Option<Ipv4Addr>, text: String) -> Decision {
        Decision { seen: vec![self.note(What::Alert, ip, text)], ..Decision::default() }
    }

    fn note(&self, what: What, ip: Option<Ipv4Addr>, detail: String) -> Seen {
        let giaddr = self.request.giaddr;
        Seen {
            at: self.now,
            mac: self.request.mac,
            what,
            ip,
            firmware: Some(self.firmware.name()),
            boot_file: None,
            relay: (!giaddr.is_unspecified()).then_some(giaddr),
            relay_agent: self.request.get(code::RELAY_AGENT).map(hex::encode),
            relay_name: self.relay.relay_name(),
            switch_port: self.relay.place(),
            uuid: self.client.uuid.as_ref().map(uuid_text),
            hostname: self.request.hostname(),
            detail,
            rule: String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
