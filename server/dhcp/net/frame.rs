//! Ethernet frames that carry UDP: read with every length checked, and built. Pure.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::PacketBuilder;

use crate::blade::Mac;

/// A UDP packet and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Of the machine on this wire that sent the frame: a router's, for one behind it.
    pub sender: Mac,
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub payload: &'a [u8],
}

/// Reads a frame. Its checksum is not looked at: a sender on this machine leaves that to a card
/// that the frame never reaches.
pub fn udp(frame: &[u8]) -> Option<Udp<'_>> {
    let (ethernet, packet) = frame.split_at_checked(14)?;
    if ethernet[12..14] != [8, 0] {
        return None;
    }
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
    // Padding up to the shortest frame stands behind the packet.
    let packet = packet.get(..total)?;
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff;
    if packet[0] >> 4 != 4 || header < 20 || *packet.get(9)? != 17 || fragment != 0 {
        return None;
    }
    let octets = |at: usize| -> Option<[u8; 4]> { packet.get(at..at + 4)?.try_into().ok() };
    let datagram = packet.get(header..)?;
    let word = |at: usize| -> Option<u16> {
        Some(u16::from_be_bytes([*datagram.get(at)?, *datagram.get(at + 1)?]))
    };
    let length = usize::from(word(4)?);
    Some(Udp {
        sender: Mac(ethernet[6..12].try_into().ok()?),
        from: SocketAddrV4::new(Ipv4Addr::from(octets(12)?), word(0)?),
        to: SocketAddrV4::new(Ipv4Addr::from(octets(16)?), word(2)?),
        payload: datagram.get(8..length)?,
    })
}

/// A frame from `from.0` to `to.0` with a UDP packet in it; `None` if it is too large for one.
pub fn build(
    from: (Mac, SocketAddrV4),
    to: (Mac, SocketAddrV4),
    payload: &[u8],
) -> Option<Vec<u8>> {
    let builder = PacketBuilder::ethernet2(from.0.0, to.0.0)
        .ipv4(from.1.ip().octets(), to.1.ip().octets(), 64)
        .udp(from.1.port(), to.1.port());
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).ok()?;
    Some(frame)
}

/// The same without the Ethernet header, for a packet that the kernel routes.
pub fn routed(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Option<Vec<u8>> {
    let builder =
        PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64).udp(from.port(), to.port());
    let mut packet = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut packet, payload).ok()?;
    Some(packet)
}

/// For cargo-fuzz.
pub fn fuzz_one(frame: &[u8]) {
    let _ = udp(frame);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> Vec<u8> {
        let from = (Mac([2, 0, 0, 0, 0, 1]), "10.0.0.1:67".parse().unwrap());
        build(from, (Mac([0xff; 6]), "255.255.255.255:68".parse().unwrap()), b"hello").unwrap()
    }

    #[test]
    fn a_frame_is_read_back_also_with_padding_behind_it() {
        let mut padded = frame();
        padded.resize(60, 0xaa);
        for frame in [frame(), padded] {
            let read = udp(&frame).unwrap();
            assert_eq!(read.sender, Mac([2, 0, 0, 0, 0, 1]));
            assert_eq!((read.from.to_string().as_str(), read.to.port()), ("10.0.0.1:67", 68));
            assert_eq!(read.payload, b"hello");
        }
        for length in 0..frame().len() {
            assert_eq!(udp(&frame()[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn hostile_frames_do_not_panic(at in 0usize..47, octet: u8, cut in 0usize..47) {
            let mut frame = frame();
            frame[at] = octet;
            fuzz_one(&frame[..cut]);
            fuzz_one(&frame);
        }
    }
}
