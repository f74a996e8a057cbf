//! ADVERTISE and REPLY put together (RFC 8415 §18.3).

use std::net::Ipv6Addr;

use super::{Decision, Exchange};
use crate::{
    boot::BootAnswer,
    config::Subnet6,
    dhcp6::{
        seen::{Seen, What},
        wire::{Ia, IaKind, Message, Writer, code, vendor_class, wrapped},
    },
};

const ADVERTISE: u8 = 2;
const REPLY: u8 = 7;
const SHORTEST_LEASE: u32 = 60;
/// The client need not wait for other servers (RFC 8415 §18.2.1): only we have its address.
const BEST: u8 = 255;

/// RFC 8415 §21.13.
#[derive(Debug, Clone, Copy)]
enum Status {
    Success = 0,
    NoAddrsAvail = 2,
    NoBinding = 3,
    NotOnLink = 4,
    UseMulticast = 5,
    NoPrefixAvail = 6,
}

impl<'a> Exchange<'a> {
    /// The reserved address, and all that goes with it.
    pub(super) fn give(
        &self,
        what: What,
        ip: Ipv6Addr,
        subnet: &'a Subnet6,
        rapid: bool,
    ) -> Decision {
        let advertise = what == What::Advertised;
        let mut message = self.message(if advertise { ADVERTISE } else { REPLY });
        if advertise {
            message.put(code::PREFERENCE, &[BEST]);
        }
        if rapid {
            message.put(code::RAPID_COMMIT, &[]);
        }
        let mut given = false;
        for ia in &self.request.ias {
            let first = ia.kind == IaKind::Lasting && !given;
            given |= first;
            message.put(ia_code(ia), &self.association(ia, first.then_some(ip)));
        }
        let mut seen = self.note(what, given.then_some(ip), String::new());
        self.parameters(&mut message, subnet, &mut seen);
        self.send(message, seen)
    }

    /// One identity association with `ip`, or with the reason why it has none.
    fn association(&self, ia: &Ia, ip: Option<Ipv6Addr>) -> Vec<u8> {
        let lease = self.snapshot.lease_seconds.max(SHORTEST_LEASE);
        let Some(ip) = ip else {
            return match ia.kind {
                IaKind::Prefix => refusal(ia, Status::NoPrefixAvail, "no prefixes are given here"),
                _ => refusal(ia, Status::NoAddrsAvail, "a blade has one address here"),
            };
        };
        let mut body = head(ia, lease);
        put_address(&mut body, ip, lease);
        // RFC 8415 §§18.3.4, 18.3.5: what it may not use any longer has no lifetime.
        if matches!(self.request.message, Message::Renew | Message::Rebind) {
            for other in ia.addresses.iter().filter(|other| **other != ip) {
                put_address(&mut body, *other, 0);
            }
        }
        body.into_octets()
    }

    /// RFC 8415 §18.3.9: addresses for nobody, told in each association.
    pub(super) fn no_address(&self, why: &str) -> Decision {
        let kind = if self.request.message == Message::Solicit { ADVERTISE } else { REPLY };
        let mut message = self.message(kind);
        for ia in &self.request.ias {
            let status = match ia.kind {
                IaKind::Prefix => Status::NoPrefixAvail,
                _ => Status::NoAddrsAvail,
            };
            message.put(ia_code(ia), &refusal(ia, status, why));
        }
        self.send(message, self.note(What::Refused, None, format!("no address: {why}")))
    }

    /// RFC 8415 §§18.3.4, 18.3.7, 18.3.8.
    pub(super) fn no_binding(&self, why: &str) -> Decision {
        let mut message = self.message(REPLY);
        for ia in &self.request.ias {
            message.put(ia_code(ia), &refusal(ia, Status::NoBinding, why));
        }
        self.send(message, self.note(What::Refused, None, format!("no binding: {why}")))
    }

    pub(super) fn not_on_link(&self) -> Decision {
        let why = "this address belongs to another network";
        let mut message = self.message(REPLY);
        for ia in &self.request.ias {
            message.put(ia_code(ia), &refusal(ia, Status::NotOnLink, why));
        }
        self.send(message, self.note(What::Refused, None, format!("not on link: {why}")))
    }

    pub(super) fn confirmed(&self, on_link: bool) -> Decision {
        let (status, what, text) = if on_link {
            (Status::Success, What::Replied, "its addresses belong here")
        } else {
            (Status::NotOnLink, What::Refused, "its addresses belong to another network")
        };
        let mut message = self.message(REPLY);
        put_status(&mut message, status, text);
        self.send(message, self.note(what, None, text.to_owned()))
    }

    /// RFC 8415 §18.4.
    pub(super) fn use_multicast(&self) -> Decision {
        let mut message = self.message(REPLY);
        let text = "write to ff02::1:2";
        put_status(&mut message, Status::UseMulticast, text);
        self.send(message, self.note(What::Refused, None, format!("use multicast: {text}")))
    }

    /// RELEASE and DECLINE: the address stays reserved, whatever the client does with it.
    pub(super) fn gone(&self, what: What, ip: Ipv6Addr) -> Decision {
        let mut message = self.message(REPLY);
        put_status(&mut message, Status::Success, "noted");
        let strange = |ia: &&Ia| ia.addresses.iter().any(|other| *other != ip);
        for ia in self.request.ias.iter().filter(strange) {
            message.put(ia_code(ia), &refusal(ia, Status::NoBinding, "not given by this server"));
        }
        let (what, text) = match what {
            What::Declined => {
                let text = format!(
                    "address in use: {} declined its address {ip}, because another machine on its \
                     network uses it; take that address from the other machine",
                    self.name()
                );
                (What::Alert, text)
            }
            what => (what, String::new()),
        };
        self.send(message, self.note(what, Some(ip), text))
    }

    /// RFC 8415 §18.3.6: parameters only.
    pub(super) fn inform(&self, subnet: &'a Subnet6) -> Decision {
        let mut message = self.message(REPLY);
        let mut seen = self.note(What::Informed, None, String::new());
        self.parameters(&mut message, subnet, &mut seen);
        self.send(message, seen)
    }

    fn message(&self, kind: u8) -> Writer {
        let [a, b, c] = self.request.xid;
        let mut message = Writer::new(&[kind, a, b, c]);
        message.put(code::SERVER_ID, self.server.octets());
        if let Some(client) = &self.request.client_id {
            message.put(code::CLIENT_ID, client.octets());
        }
        message
    }

    fn send(&self, message: Writer, seen: Seen) -> Decision {
        let answer = wrapped(message.into_octets(), &self.request.relays);
        Decision { answer: Some(answer), seen: Some(seen) }
    }

    /// What was asked for and we have; notes what is booted, by which rule, and a line for people.
    fn parameters(&self, message: &mut Writer, subnet: &Subnet6, seen: &mut Seen) {
        let list = |ips: &[Ipv6Addr]| ips.iter().flat_map(Ipv6Addr::octets).collect::<Vec<u8>>();
        let have = [
            (code::DNS, list(&subnet.dns)),
            (code::DOMAINS, subnet.domain.as_deref().map(domain).unwrap_or_default()),
            (code::SNTP, list(&subnet.ntp)),
            (code::NTP, subnet.ntp.iter().flat_map(ntp_server).collect()),
        ];
        let wanted = |(code, value): &&(u16, Vec<u8>)| {
            !value.is_empty() && self.request.wanted.contains(code)
        };
        for (code, value) in have.iter().filter(wanted) {
            message.put(*code, value);
        }
        let Some((server, choice)) = self.boot(subnet) else {
            seen.detail = "the interface has no address to boot from".to_owned();
            return;
        };
        seen.rule = choice.rule;
        // RFC 5970 §3.1: over IPv6 every file is a URL. Told to boot programs whether they ask or not.
        let boot = match choice.answer {
            BootAnswer::File(name) => BootAnswer::Script(format!("tftp://[{server}]/{name}")),
            other => other,
        };
        if boot.http_url().is_some() {
            message.put(code::VENDOR_CLASS, &vendor_class("HTTPClient"));
        }
        let url = boot.http_url().unwrap_or(boot.file());
        if !url.is_empty() {
            message.put(code::BOOT_FILE_URL, url.as_bytes());
        }
        seen.detail = boot.line();
        let file = boot.file();
        seen.boot_file = (!file.is_empty()).then(|| file.to_owned());
    }
}

fn ia_code(ia: &Ia) -> u16 {
    match ia.kind {
        IaKind::Lasting => code::IA_NA,
        IaKind::Temporary => code::IA_TA,
        IaKind::Prefix => code::IA_PD,
    }
}

/// An association's head: T1 at half, T2 at four fifths of `lease` (RFC 8415 §21.4).
fn head(ia: &Ia, lease: u32) -> Writer {
    let times = [(lease / 2).to_be_bytes(), (lease / 5 * 4).to_be_bytes()].concat();
    match ia.kind {
        IaKind::Temporary => Writer::new(&ia.iaid),
        _ => Writer::new(&[&ia.iaid[..], &times].concat()),
    }
}

fn put_address(body: &mut Writer, ip: Ipv6Addr, lease: u32) {
    let lease = lease.to_be_bytes();
    body.put(code::IA_ADDRESS, &[&ip.octets()[..], &lease, &lease].concat());
}

fn refusal(ia: &Ia, status: Status, text: &str) -> Vec<u8> {
    let mut body = head(ia, 0);
    put_status(&mut body, status, text);
    body.into_octets()
}

fn put_status(body: &mut Writer, status: Status, text: &str) {
    body.put(code::STATUS, &[&(status as u16).to_be_bytes()[..], text.as_bytes()].concat());
}

/// RFC 8415 §10: a name as DNS writes it.
fn domain(name: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let Ok(length @ 1..=63) = u8::try_from(label.len()) else { return Vec::new() };
        octets.push(length);
        octets.extend(label.as_bytes());
    }
    octets.push(0);
    octets
}

/// RFC 5908 §4.1: sub-option 1, a server's address.
fn ntp_server(ip: &Ipv6Addr) -> Vec<u8> {
    [&[0, 1, 0, 16][..], &ip.octets()].concat()
}
