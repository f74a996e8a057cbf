//! What a machine would be asked and answered: real packets through the decisions of the wire,
//! with nothing kept. Pure.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    reply::Decision,
    wire::{Request, code},
};
use crate::{
    blade::Mac,
    boot::{Exchange, NO_PROGRAM, Player},
};

/// What EDK2's PXE client wants (option 55), as captured.
const WANTED: [u8; 10] = [1, 3, 6, 12, 15, 28, 43, 60, 66, 67];

/// Plays DISCOVER and, if there is an offer, REQUEST; through a relay where `giaddr` is one's.
pub fn exchanges(
    player: Player,
    mac: Mac,
    giaddr: Ipv4Addr,
    decide: &mut dyn FnMut(&Request<'_>) -> Decision,
) -> Vec<Exchange> {
    let packet = |message: &[(u8, &[u8])]| {
        let mut packet = packet(player, mac, message);
        packet[24..28].copy_from_slice(&giaddr.octets());
        packet
    };
    let discover = one("DISCOVER", packet(&[(code::MESSAGE_TYPE, &[1])]), decide);
    let offer = discover.answer.as_deref().unwrap_or_default();
    let offered = address(offer, 16).zip(server(offer));
    let mut all = vec![discover];
    if let Some((ip, server)) = offered {
        let (ip, server) = (ip.octets(), server.octets());
        let asked: [(u8, &[u8]); 3] =
            [(code::MESSAGE_TYPE, &[3]), (code::REQUESTED_IP, &ip), (code::SERVER_ID, &server)];
        all.push(one("REQUEST", packet(&asked), decide));
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
    let (rule, said) = match decision.seen.into_iter().next() {
        Some(seen) => (seen.rule, seen.detail),
        None => Default::default(),
    };
    let answer = decision.answer.map(|answer| answer.packet);
    let packet = answer.as_deref().unwrap_or_default();
    Exchange {
        asked,
        fields: readable(packet),
        address: address(packet, 16).map(IpAddr::from),
        server: server(packet).map(IpAddr::from),
        boot_file: boot_file(packet).filter(|file| !file.ends_with(NO_PROGRAM)),
        rule,
        said,
        answer,
        sent,
    }
}

/// A client's message.
fn packet(player: Player, mac: Mac, message: &[(u8, &[u8])]) -> Vec<u8> {
    let client = player.client();
    let mut packet = vec![0; 240];
    packet[..3].copy_from_slice(&[1, 1, 6]);
    packet[4..8].copy_from_slice(b"RHSL");
    packet[10] = 0x80;
    packet[28..34].copy_from_slice(&mac.0);
    packet[236..240].copy_from_slice(&[99, 130, 83, 99]);
    let archs: Vec<u8> = client.archs.iter().flat_map(|arch| arch.to_be_bytes()).collect();
    let ipxe: &[u8] = if client.option_175 { &[0xeb, 3, 1, 0, 0] } else { &[] };
    let mut put = |code: u8, value: &[u8]| {
        if let Ok(length) = u8::try_from(value.len())
            && length > 0
        {
            packet.extend([code, length]);
            packet.extend(value);
        }
    };
    for (code, value) in message {
        put(*code, value);
    }
    put(code::MAX_SIZE, &1472_u16.to_be_bytes());
    put(code::PARAMETERS, &WANTED);
    put(code::CLIENT_ARCH, &archs);
    put(code::VENDOR_CLASS, &client.vendor_class);
    put(code::USER_CLASS, &client.user_class);
    put(code::IPXE, ipxe);
    packet.push(255);
    packet
}

/// The value of an option of one of our own answers.
fn option(answer: &[u8], wanted: u8) -> Option<Vec<u8>> {
    options(answer).into_iter().find(|(code, _)| *code == wanted).map(|(_, value)| value)
}

/// All options of an answer, parts joined (RFC 3396 §7).
fn options(answer: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all: Vec<(u8, Vec<u8>)> = Vec::new();
    let mut rest = answer.get(240..).unwrap_or_default();
    while let [code, tail @ ..] = rest {
        let (value, next) = match (code, tail) {
            (0, _) => (None, tail),
            (255, _) => break,
            (_, [length, tail @ ..]) => match tail.split_at_checked(usize::from(*length)) {
                Some((value, next)) => (Some(value), next),
                None => break,
            },
            _ => break,
        };
        rest = next;
        let Some(value) = value else { continue };
        match all.iter_mut().find(|(known, _)| known == code) {
            Some((_, joined)) => joined.extend(value),
            None => all.push((*code, value.to_vec())),
        }
    }
    all
}

/// An answer for people: a line for each field that is not zero and each option.
fn readable(answer: &[u8]) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    for (name, at) in [("yiaddr", 16), ("siaddr", 20), ("giaddr", 24)] {
        let address = address(answer, at);
        lines.extend(address.map(|ip| (name.to_owned(), ip.to_string())));
    }
    lines.extend(file_field(answer).map(|file| ("file".to_owned(), file)));
    let all = options(answer);
    lines.extend(all.iter().map(|(code, value)| (title(*code), shown(*code, value))));
    lines
}

/// What a client would load: the `file` field, else option 67.
fn boot_file(answer: &[u8]) -> Option<String> {
    file_field(answer).or_else(|| option(answer, code::BOOT_FILE).map(|value| text(&value)))
}

fn file_field(answer: &[u8]) -> Option<String> {
    let field = answer.get(108..236)?;
    let end = field.iter().position(|octet| *octet == 0).unwrap_or(field.len());
    (end > 0).then(|| text(&field[..end]))
}

fn address(octets: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = octets.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets)).filter(|ip| !ip.is_unspecified())
}

fn server(answer: &[u8]) -> Option<Ipv4Addr> {
    address(&option(answer, code::SERVER_ID)?, 0)
}

fn title(code: u8) -> String {
    let name = match code {
        code::MASK => "subnet mask",
        code::ROUTER => "router",
        code::DNS => "DNS",
        code::HOSTNAME => "host name",
        code::DOMAIN => "domain",
        code::BROADCAST => "broadcast address",
        code::NTP => "NTP",
        code::VENDOR => "vendor options",
        code::LEASE_TIME => "lease seconds",
        code::MESSAGE_TYPE => "message type",
        code::SERVER_ID => "server identifier",
        code::MESSAGE => "message",
        code::T1 => "renew after",
        code::T2 => "rebind after",
        code::VENDOR_CLASS => "vendor class",
        code::TFTP_SERVER => "TFTP server",
        code::BOOT_FILE => "boot file",
        code::IPXE => "iPXE options",
        _ => "option",
    };
    format!("{name} ({code})")
}

fn shown(code: u8, value: &[u8]) -> String {
    match code {
        code::MASK | code::ROUTER | code::DNS | code::BROADCAST | code::NTP | code::SERVER_ID => {
            let addresses = value.chunks_exact(4);
            addresses
                .map(|ip| Ipv4Addr::new(ip[0], ip[1], ip[2], ip[3]).to_string())
                .collect::<Vec<_>>()
                .join(", ")
        }
        code::LEASE_TIME | code::T1 | code::T2 => match value.try_into() {
            Ok(octets) => u32::from_be_bytes(octets).to_string(),
            Err(_) => hex::encode(value),
        },
        code::MESSAGE_TYPE => match value {
            [2] => "OFFER".to_owned(),
            [5] => "ACK".to_owned(),
            [6] => "NAK".to_owned(),
            other => hex::encode(other),
        },
        _ if value.iter().all(|b| b.is_ascii_graphic() || *b == b' ') => text(value),
        _ => hex::encode(value),
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}
