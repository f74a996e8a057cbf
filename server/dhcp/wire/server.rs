//! What other servers say, and the question that makes them speak. For the watch.

use std::net::Ipv4Addr;

use super::{HEADER, MAGIC, address, code, encode::SHORTEST, octets, options};
use crate::blade::Mac;

/// A reply of a server, as far as the watch needs it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerMessage {
    /// For whom.
    pub client: Option<Mac>,
    /// An ACK: the client has the address now.
    pub acks: bool,
    pub yiaddr: Option<Ipv4Addr>,
    /// `giaddr`: the relay it came through.
    pub relay: Option<Ipv4Addr>,
    pub server_id: Option<Ipv4Addr>,
    /// It names a boot file.
    pub boots: bool,
}

impl ServerMessage {
    /// Reads an OFFER, ACK or NAK; nothing else is of interest. Never panics.
    pub fn parse(packet: &[u8]) -> Option<ServerMessage> {
        if packet.len() < HEADER || packet[0] != 2 || packet[236..240] != MAGIC {
            return None;
        }
        let parts = options(packet).ok()?;
        let get = |code: u8| parts.iter().find(|part| part.0 == code).map(|part| part.1);
        let kind = *get(code::MESSAGE_TYPE)?.first()?;
        let given = |at: usize| address(&packet[at..at + 4]).filter(|ip| !ip.is_unspecified());
        matches!(kind, 2 | 5 | 6).then(|| ServerMessage {
            client: octets(&packet[28..34]).map(Mac),
            acks: kind == 5,
            yiaddr: given(16),
            relay: given(24),
            server_id: get(code::SERVER_ID).and_then(address),
            boots: packet[108] != 0 || get(code::BOOT_FILE).is_some_and(|file| !file.is_empty()),
        })
    }
}

/// A DISCOVER that no server keeps silent at: of a BIOS PXE ROM, so that proxies speak too. Its
/// client identifier is its own, so that a DHCP client of this machine keeps its lease; nobody
/// takes what is offered. The broadcast bit is set: we do not have the address.
pub fn question(mac: Mac, xid: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0; HEADER];
    packet[..3].copy_from_slice(&[1, 1, 6]);
    packet[4..8].copy_from_slice(&xid);
    packet[10] = 0x80;
    packet[28..34].copy_from_slice(&mac.0);
    packet[236..].copy_from_slice(&MAGIC);
    let identifier = [b"\0firstlight-watch-".as_slice(), &mac.0].concat();
    let options: [(u8, &[u8]); 6] = [
        (code::MESSAGE_TYPE, &[1]),
        (code::CLIENT_ID, &identifier),
        (code::PARAMETERS, &[code::MASK, code::ROUTER, code::VENDOR, 54, 60, 66, 67]),
        (code::VENDOR_CLASS, b"PXEClient:Arch:00000:UNDI:002001"),
        (code::CLIENT_ARCH, &[0, 0]),
        // RFC 4578 §2.2: UNDI 2.1.
        (94, &[1, 2, 1]),
    ];
    for (code, value) in options {
        packet.push(code);
        packet.push(u8::try_from(value.len()).unwrap_or(u8::MAX));
        packet.extend_from_slice(value);
    }
    packet.push(255);
    packet.resize(packet.len().max(SHORTEST), 0);
    packet
}

/// For cargo-fuzz.
pub fn fuzz_one(packet: &[u8]) {
    let _ = ServerMessage::parse(packet);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dhcp::wire::{Message, Request};

    #[test]
    fn the_question_is_a_discover_that_asks_for_a_broadcast() {
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let packet = question(mac, [1, 2, 3, 4]);
        let read = Request::parse(&packet).unwrap();
        assert_eq!((read.message, read.mac, read.broadcast), (Message::Discover, mac, true));
        assert!(read.client().is_pxe());
        assert_eq!(ServerMessage::parse(&packet), None, "no reply");
    }

    proptest! {
        #[test]
        fn hostile_replies_do_not_panic(mut packet in proptest::collection::vec(any::<u8>(), 0..600)) {
            fuzz_one(&packet);
            if packet.len() > HEADER {
                packet[0] = 2;
                packet[236..240].copy_from_slice(&MAGIC);
                fuzz_one(&packet);
            }
        }
    }
}
