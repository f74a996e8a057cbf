//! What other servers say, and the question that makes them speak. For the watch.

use std::net::Ipv6Addr;

use super::{Options, Writer, code, ia, vendor_class};
use crate::inventory::Duid;

const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REPLY: u8 = 7;

/// A reply of a server, as far as the watch needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMessage {
    pub server_id: Duid,
    /// The first address in it.
    pub address: Option<Ipv6Addr>,
    /// It names a boot file (RFC 5970 §3.1).
    pub boots: bool,
}

impl ServerMessage {
    /// Reads an ADVERTISE or REPLY; nothing else is of interest. Never panics.
    pub fn parse(message: &[u8]) -> Option<ServerMessage> {
        let (head, body) = message.split_at_checked(4)?;
        let parts: Vec<(u16, &[u8])> = Options(body).collect::<Result<_, _>>().ok()?;
        let get = |code: u16| parts.iter().filter(move |part| part.0 == code).map(|part| part.1);
        let lasting = get(code::IA_NA).filter_map(|value| ia(code::IA_NA, value).ok());
        let server_id = Duid::new(get(code::SERVER_ID).next()?)?;
        matches!(head[0], ADVERTISE | REPLY).then(|| ServerMessage {
            server_id,
            address: lasting.flat_map(|ia| ia.addresses).next(),
            boots: get(code::BOOT_FILE_URL).any(|url| !url.is_empty()),
        })
    }
}

/// A SOLICIT that no server keeps silent at: of a UEFI ROM. Nobody takes what is offered.
pub fn question(xid: [u8; 3]) -> Vec<u8> {
    let mut message = Writer::new(&[SOLICIT, xid[0], xid[1], xid[2]]);
    message
        // The same for ever, so that it is one client to servers that keep a list.
        .put(code::CLIENT_ID, Duid::of_uuid(b"firstlight-watch").octets())
        .put(code::ELAPSED, &[0, 0])
        .put(code::IA_NA, &[0; 12])
        .put(code::WANTED, &[code::DNS, code::BOOT_FILE_URL].map(u16::to_be_bytes).concat())
        // RFC 5970 §3.3: x64 UEFI.
        .put(code::CLIENT_ARCH, &7u16.to_be_bytes())
        .put(code::VENDOR_CLASS, &vendor_class("PXEClient:Arch:00007:UNDI:003016"));
    message.into_octets()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dhcp6::wire::{Message, Request};

    fn advertise(association: &[u8]) -> Vec<u8> {
        let mut message = Writer::new(&[ADVERTISE, 1, 2, 3]);
        message
            .put(code::SERVER_ID, Duid::of_uuid(&[9; 16]).octets())
            .put(code::IA_NA, &[&[0; 12], association].concat())
            .put(code::BOOT_FILE_URL, b"tftp://[fd00::9]/x.efi");
        message.into_octets()
    }

    #[test]
    fn rfc8415_s18_2_1_the_question_is_a_solicit_of_firmware() {
        let packet = question([1, 2, 3]);
        let read = Request::parse(&packet).unwrap();
        assert_eq!((read.message, read.xid, read.ias.len()), (Message::Solicit, [1, 2, 3], 1));
        assert_eq!(read.client.firmware().name(), "UEFI x64");
        assert_eq!(ServerMessage::parse(&packet), None, "no reply");
    }

    #[test]
    fn rfc8415_s18_3_9_an_advertise_is_read_with_address_and_boot_file() {
        let ip: Ipv6Addr = "fd00:12::7".parse().unwrap();
        let mut association = Writer::default();
        association.put(code::IA_ADDRESS, &[&ip.octets()[..], &[0; 8]].concat());
        let read = ServerMessage::parse(&advertise(&association.into_octets())).unwrap();
        assert_eq!((read.address, read.boots), (Some(ip), true));
        assert_eq!(read.server_id, Duid::of_uuid(&[9; 16]));

        // No address for us, and why.
        let mut refused = Writer::default();
        refused.put(code::STATUS, &[0, 2]);
        assert_eq!(ServerMessage::parse(&advertise(&refused.into_octets())).unwrap().address, None);
    }

    proptest! {
        #[test]
        fn hostile_replies_do_not_panic(mut packet in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = ServerMessage::parse(&packet);
            let known = advertise(&packet);
            let _ = ServerMessage::parse(&known);
            if let Some(first) = packet.first_mut() {
                *first = REPLY;
            }
            let _ = ServerMessage::parse(&packet);
        }
    }
}
