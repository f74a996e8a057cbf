//! Replies put into octets.

use std::net::Ipv4Addr;

use super::{HEADER, LONGEST, MAGIC, Request, code};

/// RFC 1542 §2.1: BOOTP ROMs drop messages shorter than 300 octets.
pub(super) const SHORTEST: usize = 300;

/// A reply before it is put into octets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    pub flags: [u8; 2],
    pub ciaddr: Option<Ipv4Addr>,
    pub yiaddr: Option<Ipv4Addr>,
    pub siaddr: Option<Ipv4Addr>,
    /// Boot file: in the header's field if it fits there (ROMs read that), else option 67.
    pub file: String,
    /// In the order they are sent.
    pub options: Vec<ReplyOption>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyOption {
    pub code: u8,
    pub value: Vec<u8>,
    /// Must be in the reply whatever its size; others are left out, last first, where the
    /// client's maximum message size asks for it.
    pub required: bool,
}

impl Reply {
    /// The octets of the answer to `request`; `None` if what must be in it fits no Ethernet
    /// frame (a client identifier of a thousand octets).
    pub fn encode(&self, request: &Request<'_>) -> Option<Vec<u8>> {
        let mut packet = self.header(request);
        let long_file = self.file.len() >= 128;
        if long_file {
            put_option(&mut packet, code::BOOT_FILE, self.file.as_bytes());
        } else {
            packet[108..108 + self.file.len()].copy_from_slice(self.file.as_bytes());
        }
        let required = self.options.iter().filter(|option| option.required).map(size).sum();
        let mut left = request.room().saturating_sub(packet.len() + 1).saturating_sub(required);
        for option in &self.options {
            if !option.required {
                let Some(rest) = left.checked_sub(size(option)) else { continue };
                left = rest;
            }
            put_option(&mut packet, option.code, &option.value);
        }
        // RFC 3046 §2.2: last, whole and unaltered. It does not count against the client's
        // maximum, because the relay takes it out.
        if let Some(relay) = request.get(code::RELAY_AGENT) {
            put_option(&mut packet, code::RELAY_AGENT, &relay);
        }
        packet.push(255);
        packet.resize(packet.len().max(SHORTEST), 0);
        (packet.len() <= LONGEST).then_some(packet)
    }

    fn header(&self, request: &Request<'_>) -> Vec<u8> {
        let mut packet = Vec::with_capacity(512);
        packet.resize(HEADER, 0);
        packet[..3].copy_from_slice(&[2, 1, 6]);
        packet[4..8].copy_from_slice(&request.xid);
        packet[10..12].copy_from_slice(&self.flags);
        let addresses =
            [(12, self.ciaddr), (16, self.yiaddr), (20, self.siaddr), (24, Some(request.giaddr))];
        for (at, address) in addresses {
            let octets = address.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
            packet[at..at + 4].copy_from_slice(&octets);
        }
        packet[28..44].copy_from_slice(&request.packet[28..44]);
        packet[236..240].copy_from_slice(&MAGIC);
        packet
    }
}

/// Octets an option takes, with its headers.
fn size(option: &ReplyOption) -> usize {
    let length = option.value.len();
    length + 2 * length.div_ceil(255).max(1)
}

/// Values longer than 255 octets are split (RFC 3396 §6).
fn put_option(packet: &mut Vec<u8>, code: u8, value: &[u8]) {
    let mut chunks = value.chunks(255);
    let first = chunks.next().unwrap_or_default();
    for chunk in std::iter::once(first).chain(chunks) {
        packet.push(code);
        // Chunks have at most 255 octets.
        packet.push(u8::try_from(chunk.len()).unwrap_or(u8::MAX));
        packet.extend_from_slice(chunk);
    }
}
