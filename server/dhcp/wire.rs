//! The guard between the wire and the decisions: every length is checked before it is used.
//!
//! An own walk over the options, because what the decisions need is what dhcproto 0.15 loses:
//! options after a malformed one, parts that are not adjacent (RFC 3396), overloaded fields
//! (option 52), all values of option 93. Tests read its replies back with dhcproto.

mod encode;
mod relay;
pub mod server;

use std::{
    borrow::Cow,
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

pub use self::{
    encode::{Reply, ReplyOption},
    relay::Relay,
    server::{ServerMessage, question},
};
use crate::{blade::Mac, boot::Client};

pub mod code {
    //! DHCP option codes (RFC 2132 unless said otherwise).
    pub const MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOSTNAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const BROADCAST: u8 = 28;
    pub const NTP: u8 = 42;
    pub const VENDOR: u8 = 43;
    pub const REQUESTED_IP: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const PARAMETERS: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAX_SIZE: u8 = 57;
    pub const T1: u8 = 58;
    pub const T2: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const TFTP_SERVER: u8 = 66;
    pub const BOOT_FILE: u8 = 67;
    /// RFC 3004.
    pub const USER_CLASS: u8 = 77;
    /// RFC 3046.
    pub const RELAY_AGENT: u8 = 82;
    /// RFC 4578 §2.1.
    pub const CLIENT_ARCH: u8 = 93;
    /// RFC 4578 §2.3.
    pub const CLIENT_UUID: u8 = 97;
    /// Encapsulated iPXE options (ipxe.org: "dhcp option space").
    pub const IPXE: u8 = 175;
}

pub const SERVER_PORT: u16 = 67;
pub const CLIENT_PORT: u16 = 68;
/// PXE 2.1 §2.2.3: where a PXE client asks the proxy, or a boot server, for its boot file.
pub const BOOT_SERVER_PORT: u16 = 4011;

const MAGIC: [u8; 4] = [99, 130, 83, 99];
const HEADER: usize = 240;
/// What fits an Ethernet frame behind IP and UDP headers.
const LONGEST: usize = 1472;
/// RFC 2131 §2: every client accepts a datagram of 576 octets, headers included.
const DATAGRAM: usize = 576;
const IP_UDP: usize = 28;

/// Why a packet was not understood. It is dropped; the service goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dropped {
    /// Less than a header and a magic cookie.
    Short,
    /// `op` is not BOOTREQUEST.
    NotRequest,
    /// Not Ethernet with six octets, or an address no card can have.
    Hardware,
    /// No DHCP magic cookie.
    Magic,
    /// An option's length points past the end of its field.
    OptionPastEnd,
    /// No message type: BOOTP.
    NoMessageType,
    /// A message only servers send: OFFER, ACK, NAK.
    FromServer,
    /// A message type we do not have.
    UnknownType,
    /// An option has a length its meaning does not allow.
    BadOption(u8),
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dropped::Short => "shorter than a DHCP header",
            Dropped::NotRequest => "not a request",
            Dropped::Hardware => "no usable Ethernet address",
            Dropped::Magic => "no DHCP magic cookie",
            Dropped::OptionPastEnd => "an option runs past the end",
            Dropped::NoMessageType => "no message type",
            Dropped::FromServer => "a message only servers send",
            Dropped::UnknownType => "unknown message type",
            Dropped::BadOption(code) => return write!(f, "option {code} has a wrong length"),
        })
    }
}

/// What a client can say (RFC 2131 §3.1, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    Discover,
    Request,
    Decline,
    Release,
    Inform,
}

/// How a packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub from: SocketAddrV4,
    /// Our port: 67, or 4011 for the PXE boot server.
    pub port: u16,
}

impl Default for Arrival {
    /// As a client without an address sends.
    fn default() -> Self {
        Arrival { from: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT), port: SERVER_PORT }
    }
}

/// A client's packet, checked. Borrows the received octets.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub message: Message,
    pub mac: Mac,
    pub xid: [u8; 4],
    pub broadcast: bool,
    pub flags: [u8; 2],
    pub ciaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub requested: Option<Ipv4Addr>,
    pub server_id: Option<Ipv4Addr>,
    pub lease_seconds: Option<u32>,
    /// Whence it came and on which of our ports; filled in by who received it.
    pub arrival: Arrival,
    packet: &'a [u8],
    parts: Vec<(u8, &'a [u8])>,
}

impl<'a> Request<'a> {
    /// Checks a packet. Never panics, whatever the octets.
    pub fn parse(packet: &'a [u8]) -> Result<Request<'a>, Dropped> {
        if packet.len() < HEADER {
            return Err(Dropped::Short);
        }
        if packet[0] != 1 {
            return Err(Dropped::NotRequest);
        }
        if packet[1] != 1 || packet[2] != 6 {
            return Err(Dropped::Hardware);
        }
        if packet[236..240] != MAGIC {
            return Err(Dropped::Magic);
        }
        let mac = Mac(octets(&packet[28..34]).ok_or(Dropped::Short)?);
        if mac.is_unusable() {
            return Err(Dropped::Hardware);
        }
        let mut request = Request {
            message: Message::Discover,
            mac,
            xid: octets(&packet[4..8]).ok_or(Dropped::Short)?,
            broadcast: packet[10] & 0x80 != 0,
            flags: [packet[10], packet[11]],
            ciaddr: address(&packet[12..16]).ok_or(Dropped::Short)?,
            giaddr: address(&packet[24..28]).ok_or(Dropped::Short)?,
            requested: None,
            server_id: None,
            lease_seconds: None,
            arrival: Arrival::default(),
            packet,
            parts: options(packet)?,
        };
        request.message = request.message_type()?;
        request.requested = request.address(code::REQUESTED_IP)?;
        request.server_id = request.address(code::SERVER_ID)?;
        request.lease_seconds = request.fixed(code::LEASE_TIME)?.map(u32::from_be_bytes);
        Ok(request)
    }

    /// The same request, with the way it came.
    pub fn came(self, arrival: Arrival) -> Request<'a> {
        Request { arrival, ..self }
    }

    /// An option's value, its parts joined in order (RFC 3396 §7).
    pub fn get(&self, code: u8) -> Option<Cow<'a, [u8]>> {
        let mut parts = self.parts.iter().filter(|part| part.0 == code).map(|part| part.1);
        let first = parts.next()?;
        let mut value = Cow::Borrowed(first);
        for part in parts {
            value.to_mut().extend_from_slice(part);
        }
        Some(value)
    }

    /// Option 55: what the client wants, in its order; `None` if it does not say.
    pub fn wanted(&self) -> Option<Cow<'a, [u8]>> {
        self.get(code::PARAMETERS)
    }

    /// Octets a reply may have, option 82 not counted: the relay takes it out again.
    pub fn room(&self) -> usize {
        let asked = self
            .get(code::MAX_SIZE)
            .and_then(|value| octets(&value))
            .map_or(0, |size| usize::from(u16::from_be_bytes(size)));
        asked.clamp(DATAGRAM, LONGEST + IP_UDP) - IP_UDP
    }

    /// What the boot table wants to know.
    pub fn client(&self) -> Client {
        let get = |code| self.get(code).map(Cow::into_owned).unwrap_or_default();
        let (archs, uuid) = (get(code::CLIENT_ARCH), get(code::CLIENT_UUID));
        Client {
            archs: archs
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect(),
            vendor_class: get(code::VENDOR_CLASS),
            user_class: get(code::USER_CLASS),
            option_175: self.parts.iter().any(|part| part.0 == code::IPXE),
            uuid: uuid.strip_prefix(&[0]).and_then(octets),
        }
    }

    /// Option 12, for people: printable ASCII, at most 63 characters.
    pub fn hostname(&self) -> Option<String> {
        let raw = self.get(code::HOSTNAME)?;
        let text: String =
            raw.iter().filter(|b| b.is_ascii_graphic()).take(63).map(|b| char::from(*b)).collect();
        (!text.is_empty()).then_some(text)
    }

    fn message_type(&self) -> Result<Message, Dropped> {
        let value: [u8; 1] = self.fixed(code::MESSAGE_TYPE)?.ok_or(Dropped::NoMessageType)?;
        match value[0] {
            1 => Ok(Message::Discover),
            3 => Ok(Message::Request),
            4 => Ok(Message::Decline),
            7 => Ok(Message::Release),
            8 => Ok(Message::Inform),
            2 | 5 | 6 => Err(Dropped::FromServer),
            _ => Err(Dropped::UnknownType),
        }
    }

    fn address(&self, code: u8) -> Result<Option<Ipv4Addr>, Dropped> {
        Ok(self.fixed::<4>(code)?.map(Ipv4Addr::from))
    }

    fn fixed<const N: usize>(&self, code: u8) -> Result<Option<[u8; N]>, Dropped> {
        match self.get(code) {
            None => Ok(None),
            Some(value) => octets(&value).map(Some).ok_or(Dropped::BadOption(code)),
        }
    }
}

/// All options of a packet in the order of RFC 3396 §5: options field, `file`, `sname`.
fn options(packet: &[u8]) -> Result<Vec<(u8, &[u8])>, Dropped> {
    let mut parts = Vec::with_capacity(24);
    walk(&packet[HEADER..], &mut parts)?;
    let overload = parts.iter().find(|part| part.0 == code::OVERLOAD).map(|part| part.1);
    match overload {
        None => {}
        Some([which @ 1..=3]) => {
            if which & 1 != 0 {
                walk(&packet[108..236], &mut parts)?;
            }
            if which & 2 != 0 {
                walk(&packet[44..108], &mut parts)?;
            }
        }
        Some(_) => return Err(Dropped::BadOption(code::OVERLOAD)),
    }
    Ok(parts)
}

fn walk<'a>(field: &'a [u8], parts: &mut Vec<(u8, &'a [u8])>) -> Result<(), Dropped> {
    let mut rest = field;
    loop {
        rest = match rest {
            [0, tail @ ..] => tail,
            [] | [255, ..] => return Ok(()),
            [code, length, tail @ ..] => {
                let split = tail.split_at_checked(usize::from(*length));
                let (value, tail) = split.ok_or(Dropped::OptionPastEnd)?;
                parts.push((*code, value));
                tail
            }
            [_] => return Err(Dropped::OptionPastEnd),
        };
    }
}

fn octets<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    value.try_into().ok()
}

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    octets::<4>(value).map(Ipv4Addr::from)
}

/// For cargo-fuzz and the property test: parses, and reads everything that decisions read.
pub fn fuzz_one(packet: &[u8]) {
    if let Ok(request) = Request::parse(packet) {
        let _ = (request.client().firmware(), request.hostname(), request.room());
        let relay = request.relay();
        let _ = (relay.place(), relay.relay_name());
        let option =
            |required| ReplyOption { code: code::DOMAIN, value: vec![b'x'; 300], required };
        let options = vec![option(false), option(true)];
        let _ = Reply { options, ..Reply::default() }.encode(&request);
    }
}

#[cfg(test)]
mod tests;
