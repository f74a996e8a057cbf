//! OFFER, ACK and NAK put together (RFC 2131 table 3).

use std::{
    borrow::Cow,
    net::{Ipv4Addr, SocketAddrV4},
};

use super::{Answer, Decision, Exchange, To};
use crate::{
    boot::{BootAnswer, Choice, Firmware, local_boot_menu},
    config::Subnet,
    dhcp::{
        seen::What,
        wire::{BOOT_SERVER_PORT, CLIENT_PORT, Reply, ReplyOption, SERVER_PORT, code},
    },
    inventory::Lease,
};

pub(super) const OFFER: u8 = 2;
pub(super) const ACK: u8 = 5;
const NAK: u8 = 6;

/// Sent to clients that do not say what they want.
const WANTED_BY_DEFAULT: [u8; 5] = [code::MASK, code::ROUTER, code::DNS, code::DOMAIN, code::NTP];
const SHORTEST_LEASE: u32 = 60;

impl<'a> Exchange<'a> {
    pub(super) fn offer(&self, ip: Ipv4Addr, subnet: &'a Subnet) -> Decision {
        self.give(OFFER, Some(ip), subnet, None)
    }

    pub(super) fn ack(&self, ip: Ipv4Addr, subnet: &'a Subnet, durable: Option<Lease>) -> Decision {
        self.give(ACK, Some(ip), subnet, durable)
    }

    /// RFC 2131 §4.3.5: parameters only, no lease, to the address the client has.
    pub(super) fn inform_ack(&self, ip: Ipv4Addr, subnet: &'a Subnet) -> Decision {
        let mut decision = self.give(ACK, None, subnet, None);
        for seen in &mut decision.seen {
            (seen.what, seen.ip) = (What::Informed, Some(ip));
        }
        decision
    }

    pub(super) fn nak(&self, subnets: &[&'a Subnet], asked: Ipv4Addr, why: &str) -> Decision {
        let Some(subnet) = subnets.first() else { return Decision::default() };
        let server = self.server_address(subnet);
        let mut options = vec![
            required(code::MESSAGE_TYPE, [NAK]),
            required(code::SERVER_ID, self.server_id(server).octets()),
            required(code::MESSAGE, why.as_bytes()),
        ];
        options.extend(self.request.get(code::CLIENT_ID).map(|id| required(code::CLIENT_ID, id)));
        let mut flags = self.request.flags;
        let to = match self.request.giaddr {
            // RFC 2131 §4.3.2: the relay must broadcast it, the client has no address to hear
            // it on.
            giaddr if !giaddr.is_unspecified() => {
                flags[0] |= 0x80;
                To::Relay(giaddr)
            }
            _ => To::Broadcast,
        };
        let packet = Reply { flags, options, ..Reply::default() }.encode(self.request);
        Decision {
            answer: packet.map(|packet| self.answer(packet, server, to)),
            durable: None,
            probe: None,
            seen: vec![self.note(What::Naked, Some(asked), format!("refused {asked}: {why}"))],
        }
    }

    fn give(
        &self,
        kind: u8,
        yiaddr: Option<Ipv4Addr>,
        subnet: &'a Subnet,
        durable: Option<Lease>,
    ) -> Decision {
        let server = self.server_address(subnet);
        let Choice { answer: boot, rule } = self.boot(server);
        let (file, detail) = (boot.file().to_owned(), boot.line());
        let reply = Reply {
            flags: self.request.flags,
            ciaddr: (kind == ACK).then_some(self.request.ciaddr),
            yiaddr,
            // ROMs read siaddr, not option 66; a client that boots nothing is told nothing.
            siaddr: (!file.is_empty()).then_some(server),
            // UEFI 2.10 §24.7.3.2 has the URI in option 67, beside the class in option 60.
            file: if boot.http_url().is_some() { String::new() } else { file.clone() },
            options: self.in_order(self.options(kind, server, &boot, yiaddr.is_some(), subnet)),
        };
        let what = if kind == OFFER { What::Offered } else { What::Acked };
        let mut seen = self.note(what, yiaddr, detail);
        seen.boot_file = (!file.is_empty()).then_some(file);
        seen.rule = rule;
        match reply.encode(self.request) {
            Some(packet) => Decision {
                answer: Some(self.answer(packet, server, self.destination(yiaddr))),
                durable,
                probe: None,
                seen: vec![seen],
            },
            None => self.ignore(yiaddr, "what it wants echoed fits no packet".to_owned()),
        }
    }

    /// From the port that was asked, to the one that waits for it.
    pub(super) fn answer(&self, packet: Vec<u8>, server: Ipv4Addr, to: To) -> Answer {
        let asked = self.request.arrival;
        let to_port = match to {
            // RFC 8357 §4: a relay that says so is answered where it sent from.
            To::Relay(_) if self.relay.source_port => asked.from.port(),
            To::Relay(_) => SERVER_PORT,
            _ if asked.port == BOOT_SERVER_PORT && asked.from.port() != 0 => asked.from.port(),
            _ => CLIENT_PORT,
        };
        Answer { packet, from: SocketAddrV4::new(server, asked.port), to, to_port }
    }

    /// RFC 2131 §4.1.
    fn destination(&self, yiaddr: Option<Ipv4Addr>) -> To {
        let (giaddr, ciaddr) = (self.request.giaddr, self.request.ciaddr);
        match yiaddr {
            _ if !giaddr.is_unspecified() => To::Relay(giaddr),
            _ if !ciaddr.is_unspecified() && self.on_link(ciaddr) => {
                To::Client(ciaddr, self.request.mac)
            }
            _ if !ciaddr.is_unspecified() => To::Routed(ciaddr),
            Some(ip) if !self.request.broadcast => To::Client(ip, self.request.mac),
            _ => To::Broadcast,
        }
    }

    pub(super) fn on_link(&self, ip: Ipv4Addr) -> bool {
        self.via.addresses.iter().any(|address| address.contains(&ip))
    }

    fn options(
        &self,
        kind: u8,
        server: Ipv4Addr,
        boot: &BootAnswer,
        with_lease: bool,
        subnet: &Subnet,
    ) -> Vec<ReplyOption> {
        let mut have = vec![required(code::MESSAGE_TYPE, [kind])];
        have.push(required(code::SERVER_ID, self.server_id(server).octets()));
        if with_lease {
            let lease = self.lease_seconds();
            have.push(required(code::LEASE_TIME, lease.to_be_bytes()));
            have.push(optional(code::T1, (lease / 2).to_be_bytes()));
            have.push(optional(code::T2, (lease / 8 * 7).to_be_bytes()));
        }
        have.push(required(code::MASK, subnet.cidr.netmask().octets()));
        let wanted = self.wanted();
        have.extend(self.parameters(subnet).filter(|option| wanted.contains(&option.code)));
        // RFC 6842 §3 and RFC 4578 §2.3.
        for code in [code::CLIENT_ID, code::CLIENT_UUID] {
            if code == code::CLIENT_ID || self.client.is_pxe() {
                have.extend(self.request.get(code).map(|value| required(code, value)));
            }
        }
        if *boot == BootAnswer::Disk {
            have.push(required(code::VENDOR_CLASS, b"PXEClient"));
            have.push(required(code::VENDOR, local_boot_menu()));
        }
        if let Some(url) = boot.http_url() {
            have.push(required(code::VENDOR_CLASS, b"HTTPClient"));
            have.push(required(code::BOOT_FILE, url));
        }
        if self.firmware == Firmware::Ipxe {
            // no-pxedhcp (sub-option 176): iPXE waits seconds for a ProxyDHCP server else.
            have.push(required(code::IPXE, [176, 1, 1]));
        }
        have
    }

    fn wanted(&self) -> Cow<'_, [u8]> {
        self.request.wanted().unwrap_or(Cow::Borrowed(&WANTED_BY_DEFAULT))
    }

    /// Message type, then what was asked for in the order it was asked (RFC 2132 §9.8), then
    /// the rest; the mask before the router (RFC 2132 §3.3).
    fn in_order(&self, mut options: Vec<ReplyOption>) -> Vec<ReplyOption> {
        let wanted = self.wanted();
        // Two steps a place, so that the router can stand behind the mask in one place.
        let step = |code: u8| {
            let place = wanted.iter().position(|w| *w == code);
            place.map_or(usize::MAX - 1, |place| place * 2)
        };
        options.sort_by_key(|option| match option.code {
            code::MESSAGE_TYPE => (0, 0),
            code::MASK => (1, step(code::MASK).min(step(code::ROUTER))),
            code::ROUTER => (1, step(code::ROUTER) + 1),
            code => (1, step(code)),
        });
        options
    }

    fn parameters(&self, subnet: &Subnet) -> impl Iterator<Item = ReplyOption> + use<> {
        let list = |ips: &[Ipv4Addr]| ips.iter().flat_map(Ipv4Addr::octets).collect::<Vec<u8>>();
        let text = |text: Option<&str>| text.unwrap_or_default().as_bytes().to_vec();
        [
            (code::ROUTER, list(subnet.gateway.as_slice())),
            (code::DNS, list(&subnet.dns)),
            (code::DOMAIN, text(subnet.domain.as_deref())),
            (code::NTP, list(&subnet.ntp)),
            (code::HOSTNAME, text(self.blade.map(|blade| blade.name.as_str()))),
            (code::BROADCAST, subnet.cidr.broadcast().octets().to_vec()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(code, value)| optional(code, value))
    }

    /// What the client asks for, within a minute and the configured length.
    pub(super) fn lease_seconds(&self) -> u32 {
        let longest = self.snapshot.lease_seconds.max(SHORTEST_LEASE);
        self.request.lease_seconds.unwrap_or(longest).clamp(SHORTEST_LEASE, longest)
    }
}

pub(super) fn required(code: u8, value: impl AsRef<[u8]>) -> ReplyOption {
    ReplyOption { code, value: value.as_ref().to_vec(), required: true }
}

fn optional(code: u8, value: impl AsRef<[u8]>) -> ReplyOption {
    ReplyOption { code, value: value.as_ref().to_vec(), required: false }
}
