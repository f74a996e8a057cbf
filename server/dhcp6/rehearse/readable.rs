//! Our own answers for people.

use std::net::Ipv6Addr;

use crate::{
    dhcp6::wire::{Options, RELAY_REPLY, code},
    inventory::Duid,
};

pub const ADVERTISE: u8 = 2;
const REPLY: u8 = 7;

/// An answer without what it was put in for a relay.
pub struct Opened<'a> {
    /// Link address and peer address of the relay.
    relay: Option<(Ipv6Addr, Ipv6Addr)>,
    pub kind: u8,
    pub options: &'a [u8],
}

impl<'a> Opened<'a> {
    pub fn of(answer: &'a [u8]) -> Option<Opened<'a>> {
        let (mut message, mut relay) = (answer, None);
        if message.first() == Some(&RELAY_REPLY) {
            // Type, hop count and two addresses (RFC 8415 §9).
            let (head, inner) = message.split_at_checked(34)?;
            relay = ip(head.get(2..)?).zip(ip(head.get(18..)?));
            message = find(inner, code::RELAY_MESSAGE)?;
        }
        let (head, options) = message.split_at_checked(4)?;
        Some(Opened { relay, kind: head[0], options })
    }
}

/// The value of the first option of this code.
pub fn find(options: &[u8], wanted: u16) -> Option<&[u8]> {
    each(options).find(|(code, _)| *code == wanted).map(|(_, value)| value)
}

fn each(options: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    Options(options).map_while(Result::ok)
}

/// A line for each field and each option; what is inside an association follows it.
pub fn readable(opened: &Opened<'_>) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    if let Some((link, peer)) = opened.relay {
        lines.push(("relay's link address".to_owned(), link.to_string()));
        lines.push(("relay's peer address".to_owned(), peer.to_string()));
    }
    let kind = match opened.kind {
        ADVERTISE => "ADVERTISE".to_owned(),
        REPLY => "REPLY".to_owned(),
        other => other.to_string(),
    };
    lines.push(("message type".to_owned(), kind));
    for (code, value) in each(opened.options) {
        lines.push((title(code), shown(code, value)));
        if code == code::IA_NA {
            let inner = each(value.get(12..).unwrap_or_default());
            lines.extend(inner.map(|(code, value)| (title(code), shown(code, value))));
        }
    }
    lines
}

fn title(code: u16) -> String {
    let name = match code {
        code::CLIENT_ID => "client identifier",
        code::SERVER_ID => "server identifier",
        code::IA_NA => "association",
        code::IA_ADDRESS => "address",
        code::PREFERENCE => "preference",
        code::STATUS => "status",
        code::VENDOR_CLASS => "vendor class",
        code::DNS => "DNS",
        code::DOMAINS => "domains",
        code::SNTP => "SNTP",
        code::NTP => "NTP",
        code::BOOT_FILE_URL => "boot file",
        _ => "option",
    };
    format!("{name} ({code})")
}

fn shown(code: u16, value: &[u8]) -> String {
    let meant = match code {
        code::CLIENT_ID | code::SERVER_ID => Duid::new(value).map(|duid| duid.to_string()),
        code::IA_NA => association(value),
        code::IA_ADDRESS => lent(value),
        code::PREFERENCE => value.first().map(u8::to_string),
        code::STATUS => status(value),
        code::DNS | code::SNTP => Some(list(value.chunks(16).filter_map(ip))),
        // RFC 5908 §4.1: sub-option 1 is an address.
        code::NTP => Some(list(each(value).filter(|(code, _)| *code == 1).filter_map(|s| ip(s.1)))),
        code::DOMAINS => domain(value),
        code::BOOT_FILE_URL => Some(text(value)),
        // After enterprise number and length (RFC 8415 §21.16).
        code::VENDOR_CLASS => value.get(6..).map(text),
        _ => None,
    };
    meant.unwrap_or_else(|| hex::encode(value))
}

fn association(value: &[u8]) -> Option<String> {
    let iaid = hex::encode(value.get(..4)?);
    let (t1, t2) = (number(value.get(4..)?)?, number(value.get(8..)?)?);
    // Without an address there is nothing to renew.
    Some(match (t1, t2) {
        (0, 0) => iaid,
        _ => format!("{iaid}, renewed after {t1} s, by anyone after {t2} s"),
    })
}

fn lent(value: &[u8]) -> Option<String> {
    let (preferred, valid) = (number(value.get(16..)?)?, number(value.get(20..)?)?);
    Some(format!("{}, preferred for {preferred} s, valid for {valid} s", ip(value)?))
}

/// RFC 8415 §21.13.
fn status(value: &[u8]) -> Option<String> {
    let (number, why) = value.split_first_chunk::<2>()?;
    let name = match u16::from_be_bytes(*number) {
        0 => "Success",
        2 => "NoAddrsAvail",
        3 => "NoBinding",
        4 => "NotOnLink",
        5 => "UseMulticast",
        6 => "NoPrefixAvail",
        other => return Some(format!("{other}: {}", text(why))),
    };
    Some(format!("{name}: {}", text(why)))
}

/// RFC 8415 §10: labels, each after its length.
fn domain(mut rest: &[u8]) -> Option<String> {
    let mut labels = Vec::new();
    while let Some((length, tail)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, tail) = tail.split_at_checked(usize::from(*length))?;
        labels.push(text(label));
        rest = tail;
    }
    Some(labels.join("."))
}

fn list(ips: impl Iterator<Item = Ipv6Addr>) -> String {
    ips.map(|ip| ip.to_string()).collect::<Vec<_>>().join(", ")
}

/// The address that these octets begin with.
fn ip(octets: &[u8]) -> Option<Ipv6Addr> {
    octets.first_chunk::<16>().copied().map(Ipv6Addr::from)
}

fn number(octets: &[u8]) -> Option<u32> {
    octets.first_chunk::<4>().copied().map(u32::from_be_bytes)
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}
