//! What a machine would be asked and answered by DHCPv6: real messages through the decisions of
//! the wire, with nothing kept. Pure.

mod readable;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use ipnet::Ipv6Net;

use self::readable::{Opened, find, readable};
use super::{
    reply::{Decision, Interface},
    wire::{RELAY_FORWARD, Request, Writer, code, vendor_class},
};
use crate::{
    blade::Mac,
    boot::{self, Exchange, Player},
    config::Subnet6,
    inventory::{Duid, Snapshot},
};

const SOLICIT: u8 = 1;
const REQUEST: u8 = 3;
const SUCCESS: [u8; 2] = [0, 0];

/// What ROMs want (option 6), as captured from EDK2.
const ROM_WANTS: &[u16] =
    &[code::BOOT_FILE_URL, code::BOOT_FILE_PARAMETERS, code::DNS, code::VENDOR_CLASS];
/// As captured from iPXE.
const IPXE_WANTS: &[u16] =
    &[code::DNS, code::DOMAINS, code::BOOT_FILE_URL, code::BOOT_FILE_PARAMETERS];
const OS_WANTS: &[u16] = &[code::DNS, code::DOMAINS];

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    player: Player,
    mac: Mac,
    duid: Duid,
    /// How its relay says where it is; `None` on a link of ours.
    relay: Option<Ipv6Addr>,
}

impl Caller {
    /// A machine with the identifier of the inventory. Of any other only its card is known.
    pub fn new(snapshot: &Snapshot, player: Player, mac: Mac, relay: Option<Ipv6Addr>) -> Caller {
        let known = snapshot.by_mac(mac).and_then(|blade| blade.duid.clone());
        Caller { player, mac, duid: known.unwrap_or_else(|| Duid::of_mac(mac)), relay }
    }

    /// The address that our socket would see.
    pub fn sends_from(&self) -> Ipv6Addr {
        self.relay.unwrap_or_else(|| link_local(self.mac))
    }

    /// A message, in its relay's if there is one.
    fn message(&self, kind: u8, offer: Option<&Offer>) -> Vec<u8> {
        let mut message = Writer::new(&[kind, b'R', b'H', b'S']);
        message.put(code::CLIENT_ID, self.duid.octets());
        if let Some(offer) = offer {
            message.put(code::SERVER_ID, &offer.server);
        }
        // RFC 8415 §21.9: how long it has been asking, which is not at all.
        message.put(code::ELAPSED, &[0, 0]);
        let fresh = [&self.mac.0[2..], &[0; 8]].concat();
        message.put(code::IA_NA, offer.map_or(&fresh, |offer| &offer.association));
        let client = self.player.client();
        let (wants, class) = match self.player {
            Player::Rom(_) => (ROM_WANTS, true),
            Player::Ipxe(_) => (IPXE_WANTS, true),
            Player::Os => (OS_WANTS, false),
        };
        message.put(code::WANTED, &octets(wants));
        if class {
            message.put(code::CLIENT_ARCH, &octets(&client.archs));
            let class = String::from_utf8_lossy(&client.vendor_class);
            message.put(code::VENDOR_CLASS, &vendor_class(&class));
        }
        if let Ok(length) = u16::try_from(client.user_class.len())
            && length > 0
        {
            // RFC 8415 §21.15: each class with its length.
            let class = [&length.to_be_bytes()[..], &client.user_class].concat();
            message.put(code::USER_CLASS, &class);
        }
        self.relayed(message.into_octets())
    }

    /// RFC 8415 §19.1.1: what a relay makes of a client's message.
    fn relayed(&self, message: Vec<u8>) -> Vec<u8> {
        let Some(link) = self.relay else { return message };
        let head = [&[RELAY_FORWARD, 0][..], &link.octets(), &link_local(self.mac).octets()];
        let mut outer = Writer::new(&head.concat());
        outer.put(code::RELAY_MESSAGE, &message);
        outer.into_octets()
    }
}

/// The interface that hears this MAC and, where its network is on none of our links, the address
/// by which a relay tells which one it is.
pub fn place<'a>(
    snapshot: &Snapshot,
    mac: Mac,
    interfaces: &'a [Arc<Interface>],
) -> Option<(&'a Interface, Option<Ipv6Addr>)> {
    let on = |net: Ipv6Net| {
        let has =
            move |one: &&Arc<Interface>| one.addresses.iter().any(|a| net.contains(&a.addr()));
        interfaces.iter().find(has)
    };
    let ip = snapshot.by_mac(mac).and_then(|blade| blade.ip6);
    let (via, relay) = match ip.and_then(|ip| snapshot.subnet6_of(ip)) {
        Some(subnet) => match on(subnet.cidr) {
            Some(via) => (Some(via), None),
            // The Subnet-Router anycast address (RFC 4291 §2.6.1): every relay there has it.
            None => (None, Some(subnet.cidr.network())),
        },
        None => (snapshot.subnets6.iter().find_map(|subnet: &Subnet6| on(subnet.cidr)), None),
    };
    let reachable = || interfaces.iter().find(|one| !one.addresses.is_empty());
    let via = via.or_else(reachable).or(interfaces.first())?;
    Some((via, relay))
}

/// Plays SOLICIT and, if what is advertised can be used, REQUEST.
pub fn exchanges(
    caller: &Caller,
    decide: &mut dyn FnMut(&Request<'_>) -> Decision,
) -> Vec<Exchange> {
    let solicit = one("SOLICIT", caller.message(SOLICIT, None), decide);
    let offer = solicit.answer.as_deref().and_then(Offer::of);
    let mut all = vec![solicit];
    if let Some(offer) = offer {
        all.push(one("REQUEST", caller.message(REQUEST, Some(&offer)), decide));
    }
    all
}

fn one(
    asked: &'static str,
    sent: Vec<u8>,
    decide: &mut dyn FnMut(&Request<'_>) -> Decision,
) -> Exchange {
    let decision = match Request::parse(&sent) {
        Ok(request) => decide(&request),
        Err(cause) => {
            let said = format!("dropped: {cause}");
            return Exchange { asked, sent, said, ..Exchange::default() };
        }
    };
    let (rule, said) = decision.seen.map(|seen| (seen.rule, seen.detail)).unwrap_or_default();
    let opened = decision.answer.as_deref().and_then(Opened::of);
    let url = opened.as_ref().and_then(|opened| find(opened.options, code::BOOT_FILE_URL));
    let boot_file = url.map(|url| String::from_utf8_lossy(url).into_owned());
    Exchange {
        asked,
        fields: opened.as_ref().map(readable).unwrap_or_default(),
        address: opened.as_ref().and_then(|opened| address(opened.options)).map(IpAddr::from),
        server: boot_file.as_deref().and_then(boot::literal),
        boot_file: boot_file.filter(|file| !file.ends_with(boot::NO_PROGRAM)),
        rule,
        said,
        answer: decision.answer,
        sent,
    }
}

/// What a client takes from an ADVERTISE into its REQUEST (RFC 8415 §18.2.2).
struct Offer {
    server: Vec<u8>,
    association: Vec<u8>,
}

impl Offer {
    /// RFC 8415 §18.2.9: an ADVERTISE without an address is passed over.
    fn of(answer: &[u8]) -> Option<Offer> {
        let opened = Opened::of(answer).filter(|opened| opened.kind == readable::ADVERTISE)?;
        address(opened.options)?;
        let server = find(opened.options, code::SERVER_ID)?.to_vec();
        let association = find(opened.options, code::IA_NA)?.to_vec();
        Some(Offer { server, association })
    }
}

/// The address of the first association, unless its status says that it has none.
fn address(options: &[u8]) -> Option<Ipv6Addr> {
    let inner = find(options, code::IA_NA)?.get(12..)?;
    let refused = find(inner, code::STATUS).is_some_and(|status| !status.starts_with(&SUCCESS));
    let octets: [u8; 16] = find(inner, code::IA_ADDRESS)?.get(..16)?.try_into().ok()?;
    (!refused).then(|| Ipv6Addr::from(octets))
}

/// The link-local address of a card (RFC 4291 appendix A), which all firmware uses.
fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

fn octets(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests;
