//! The guard between the wire and the decisions: every length is checked before it is used.
//!
//! An own walk, because dhcproto 0.15 reads a relay-forward that carries a SOLICIT as garbage and
//! option 37 as another; tests read our replies back with it.

mod server;
mod write;

use std::{fmt, net::Ipv6Addr};

use crate::{blade::Mac, boot::Client, inventory::Duid};

pub mod code {
    //! DHCPv6 option codes (RFC 8415 §21 unless said otherwise).
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const IA_TA: u16 = 4;
    pub const IA_ADDRESS: u16 = 5;
    pub const WANTED: u16 = 6;
    pub const PREFERENCE: u16 = 7;
    pub const ELAPSED: u16 = 8;
    pub const RELAY_MESSAGE: u16 = 9;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    pub const USER_CLASS: u16 = 15;
    pub const VENDOR_CLASS: u16 = 16;
    pub const INTERFACE_ID: u16 = 18;
    /// RFC 3646 §§3, 4.
    pub const DNS: u16 = 23;
    pub const DOMAINS: u16 = 24;
    pub const IA_PD: u16 = 25;
    /// RFC 4075 §4.
    pub const SNTP: u16 = 31;
    /// RFC 5908 §4.
    pub const NTP: u16 = 56;
    /// RFC 5970 §3.
    pub const BOOT_FILE_URL: u16 = 59;
    pub const BOOT_FILE_PARAMETERS: u16 = 60;
    pub const CLIENT_ARCH: u16 = 61;
    /// RFC 6939 §4.
    pub const CLIENT_LINK_LAYER: u16 = 79;
    /// RFC 8357 §4.
    pub const RELAY_PORT: u16 = 135;
}
use code as option;
pub use server::{ServerMessage, question};
pub use write::{Writer, vendor_class, wrapped};

pub const RELAY_FORWARD: u8 = 12;
pub const RELAY_REPLY: u8 = 13;
/// RFC 8415 §7.6, HOP_COUNT_LIMIT.
const MOST_RELAYS: usize = 8;
/// Identity associations in a message, and addresses in one: a blade has a card or four.
const MOST_IAS: usize = 16;
const MOST_ADDRESSES: usize = 16;

/// Why a packet was not understood. It is dropped; the service goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dropped {
    /// Less than a header.
    Short,
    /// An option's length points past the end of its field.
    OptionPastEnd,
    /// A message only servers send.
    FromServer,
    /// A message type we do not have.
    UnknownType,
    /// More relays, identity associations or addresses than any network has.
    TooMany,
    /// An option has a length its meaning does not allow, or is there twice.
    BadOption(u16),
    /// An option that this message must have is not there (RFC 8415 §16).
    Missing(u16),
    /// An option that this message must not have is there (RFC 8415 §16).
    Forbidden(u16),
    /// Sent to one server's address what is for all of them (RFC 8415 §16).
    Unicast,
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dropped::Short => f.write_str("shorter than a DHCPv6 header"),
            Dropped::OptionPastEnd => f.write_str("an option runs past the end"),
            Dropped::FromServer => f.write_str("a message only servers send"),
            Dropped::UnknownType => f.write_str("unknown message type"),
            Dropped::TooMany => f.write_str("too many relays or addresses"),
            Dropped::BadOption(code) => write!(f, "option {code} is wrong or there twice"),
            Dropped::Missing(code) => write!(f, "option {code} is missing"),
            Dropped::Forbidden(code) => write!(f, "option {code} does not belong into it"),
            Dropped::Unicast => f.write_str("sent to one server instead of to all"),
        }
    }
}

/// What a client can say (RFC 8415 §7.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    Solicit,
    Request,
    Confirm,
    Renew,
    Rebind,
    Release,
    Decline,
    InformationRequest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IaKind {
    /// Addresses that last (IA_NA).
    Lasting,
    /// Addresses for a while (IA_TA).
    Temporary,
    /// A prefix (IA_PD).
    Prefix,
}

/// What a client wants, or has: an identity association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ia {
    pub kind: IaKind,
    pub iaid: [u8; 4],
    pub addresses: Vec<Ipv6Addr>,
}

/// One relay agent on the way (RFC 8415 §9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay<'a> {
    pub hops: u8,
    pub link: Ipv6Addr,
    pub peer: Ipv6Addr,
    pub interface_id: Option<&'a [u8]>,
    /// RFC 6939: the client's MAC as the first relay saw it.
    pub link_layer: Option<Mac>,
    /// RFC 8357: it wants its answer at the port it sent from.
    pub source_port: Option<&'a [u8]>,
}

/// A client's message, checked. Borrows the received octets.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub message: Message,
    pub xid: [u8; 3],
    /// The outermost, which talks to us, first.
    pub relays: Vec<Relay<'a>>,
    pub client_id: Option<Duid>,
    pub server_id: Option<&'a [u8]>,
    pub ias: Vec<Ia>,
    pub rapid_commit: bool,
    /// The options asked for, in the client's order.
    pub wanted: Vec<u16>,
    /// What the boot table wants to know.
    pub client: Client,
}

impl<'a> Request<'a> {
    /// Checks a packet. Never panics, whatever the octets.
    pub fn parse(packet: &'a [u8]) -> Result<Request<'a>, Dropped> {
        let (mut message, mut relays) = (packet, Vec::new());
        while message.first() == Some(&RELAY_FORWARD) {
            if relays.len() == MOST_RELAYS {
                return Err(Dropped::TooMany);
            }
            let (relay, inner) = relay(message)?;
            relays.push(relay);
            message = inner;
        }
        let (head, body) = message.split_at_checked(4).ok_or(Dropped::Short)?;
        let mut request = Request {
            message: message_type(head[0])?,
            xid: [head[1], head[2], head[3]],
            relays,
            client_id: None,
            server_id: None,
            ias: Vec::new(),
            rapid_commit: false,
            wanted: Vec::new(),
            client: Client::default(),
        };
        for part in Options(body) {
            let (code, value) = part?;
            request.take(code, value)?;
        }
        request.settle_client();
        request.sound()?;
        Ok(request)
    }

    fn take(&mut self, code: u16, value: &'a [u8]) -> Result<(), Dropped> {
        let bad = Dropped::BadOption(code);
        match code {
            option::CLIENT_ID if self.client_id.is_none() => {
                self.client_id = Some(Duid::new(value).ok_or(bad)?);
            }
            option::SERVER_ID if self.server_id.is_none() => self.server_id = Some(value),
            option::CLIENT_ID | option::SERVER_ID => return Err(bad),
            option::IA_NA | option::IA_TA | option::IA_PD => {
                if self.ias.len() == MOST_IAS {
                    return Err(Dropped::TooMany);
                }
                self.ias.push(ia(code, value)?);
            }
            option::WANTED => self.wanted = pairs(value).ok_or(bad)?,
            option::RAPID_COMMIT if value.is_empty() => self.rapid_commit = true,
            option::RAPID_COMMIT => return Err(bad),
            option::CLIENT_ARCH => {
                self.client.archs = pairs(value).filter(|archs| !archs.is_empty()).ok_or(bad)?;
            }
            // Classes are words for the boot table: what is not well formed says nothing.
            option::USER_CLASS => {
                let ipxe = texts(value).chain([value]).any(|c| c == b"iPXE" || c == b"gPXE");
                self.client.user_class = if ipxe { b"iPXE".to_vec() } else { value.to_vec() };
            }
            option::VENDOR_CLASS => {
                let classes = texts(value.get(4..).unwrap_or_default());
                if let Some(class) = classes.max_by_key(|class| boots(class)) {
                    self.client.vendor_class = class.to_vec();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn settle_client(&mut self) {
        self.client.uuid = self.client_id.as_ref().and_then(Duid::uuid);
        // RFC 5970 §3.3: only what boots from the network sends its architecture. IANA: 15 to 30
        // boot from HTTP, but for a few boards of the embedded world.
        if let (Some(arch), false) = (self.client.archs.first(), boots(&self.client.vendor_class)) {
            let class: &[u8] = if matches!(arch, 15..=20) { b"HTTPClient" } else { b"PXEClient" };
            self.client.vendor_class = class.to_vec();
        }
    }

    /// RFC 8415 §16: what each message must and must not have.
    fn sound(&self) -> Result<(), Dropped> {
        let (client, server) = (self.client_id.is_some(), self.server_id.is_some());
        match self.message {
            Message::InformationRequest if !self.ias.is_empty() => {
                Err(Dropped::Forbidden(option::IA_NA))
            }
            Message::InformationRequest => Ok(()),
            _ if !client => Err(Dropped::Missing(option::CLIENT_ID)),
            Message::Solicit | Message::Confirm | Message::Rebind if server => {
                Err(Dropped::Forbidden(option::SERVER_ID))
            }
            Message::Request | Message::Renew | Message::Release | Message::Decline if !server => {
                Err(Dropped::Missing(option::SERVER_ID))
            }
            _ => Ok(()),
        }
    }

    /// True for a message that must not be sent to one server's own address (RFC 8415 §16).
    pub fn is_for_all(&self) -> bool {
        matches!(
            self.message,
            Message::Solicit | Message::Confirm | Message::Rebind | Message::InformationRequest
        )
    }
}

fn boots(class: &[u8]) -> bool {
    class.starts_with(b"PXEClient") || class.starts_with(b"HTTPClient")
}

fn message_type(octet: u8) -> Result<Message, Dropped> {
    Ok(match octet {
        1 => Message::Solicit,
        3 => Message::Request,
        4 => Message::Confirm,
        5 => Message::Renew,
        6 => Message::Rebind,
        8 => Message::Release,
        9 => Message::Decline,
        11 => Message::InformationRequest,
        2 | 7 | 10 | RELAY_REPLY => return Err(Dropped::FromServer),
        _ => return Err(Dropped::UnknownType),
    })
}

fn relay(packet: &[u8]) -> Result<(Relay<'_>, &[u8]), Dropped> {
    let (head, body) = packet.split_at_checked(34).ok_or(Dropped::Short)?;
    let (link, peer) = (address(&head[2..18]), address(&head[18..34]));
    let mut relay = Relay {
        hops: head[1],
        link: link.ok_or(Dropped::Short)?,
        peer: peer.ok_or(Dropped::Short)?,
        interface_id: None,
        link_layer: None,
        source_port: None,
    };
    let mut inner = None;
    for part in Options(body) {
        match part? {
            (option::RELAY_MESSAGE, _) if inner.is_some() => {
                return Err(Dropped::BadOption(option::RELAY_MESSAGE));
            }
            (option::RELAY_MESSAGE, value) => inner = Some(value),
            (option::INTERFACE_ID, value) => relay.interface_id = Some(value),
            (option::RELAY_PORT, value) => relay.source_port = Some(value),
            (option::CLIENT_LINK_LAYER, [0, 1, mac @ ..]) => {
                relay.link_layer = mac.try_into().ok().map(Mac).filter(|mac| !mac.is_unusable());
            }
            _ => {}
        }
    }
    Ok((relay, inner.ok_or(Dropped::Missing(option::RELAY_MESSAGE))?))
}

fn ia(code: u16, value: &[u8]) -> Result<Ia, Dropped> {
    let bad = Dropped::BadOption(code);
    // IA_TA has no T1 and T2 (RFC 8415 §21.5).
    let head = if code == option::IA_TA { 4 } else { 12 };
    let (head, body) = value.split_at_checked(head).ok_or(bad)?;
    let kind = match code {
        option::IA_NA => IaKind::Lasting,
        option::IA_TA => IaKind::Temporary,
        _ => IaKind::Prefix,
    };
    let iaid = head[..4].try_into().map_err(|_| bad)?;
    let mut ia = Ia { kind, iaid, addresses: Vec::new() };
    for part in Options(body) {
        let (inner, value) = part?;
        if inner == option::IA_ADDRESS {
            let bad = Dropped::BadOption(inner);
            // An address and two lifetimes (RFC 8415 §21.6).
            let octets = value.get(..24).and_then(|all| all.get(..16)).ok_or(bad)?;
            if ia.addresses.len() == MOST_ADDRESSES {
                return Err(Dropped::TooMany);
            }
            ia.addresses.push(address(octets).ok_or(bad)?);
        }
    }
    Ok(ia)
}

fn address(octets: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(octets).ok().map(Ipv6Addr::from)
}

fn pairs(value: &[u8]) -> Option<Vec<u16>> {
    let pair = |pair: &[u8]| u16::from_be_bytes([pair[0], pair[1]]);
    value.len().is_multiple_of(2).then(|| value.chunks_exact(2).map(pair).collect())
}

/// Values with a length of two octets before each (RFC 8415 §§21.15, 21.16).
fn texts(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, tail) = rest.split_first_chunk::<2>()?;
        let (text, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        rest = tail;
        Some(text)
    })
}

/// Code and value of each option.
pub struct Options<'a>(pub &'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u16, &'a [u8]), Dropped>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.0);
        let Some((&[a, b, c, d], tail)) = rest.split_first_chunk::<4>() else {
            return Some(Err(Dropped::OptionPastEnd));
        };
        let length = usize::from(u16::from_be_bytes([c, d]));
        let Some((value, tail)) = tail.split_at_checked(length) else {
            return Some(Err(Dropped::OptionPastEnd));
        };
        self.0 = tail;
        Some(Ok((u16::from_be_bytes([a, b]), value)))
    }
}

/// For fuzzing: octets in, no panic out.
pub fn fuzz_one(packet: &[u8]) {
    let _ = ServerMessage::parse(packet);
    if let Ok(request) = Request::parse(packet) {
        wrapped(vec![0; 4], &request.relays);
    }
}

#[cfg(test)]
mod tests;
