//! What a switch says of itself on its ports: one LLDP frame (IEEE 802.1AB), read from the octets
//! that a blade heard. Hostile: whoever reaches the port can send one.

use serde::{Deserialize, Serialize};

use super::machine::Word;

/// The switch and port that a blade is plugged into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Neighbour {
    /// System name; where a switch gives none, its chassis id.
    pub switch: Word,
    pub port: Word,
    #[serde(skip_serializing_if = "Word::is_empty")]
    pub port_description: Word,
    /// The port's own VLAN (IEEE 802.1Q annex D, subtype 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
}

const ETHERTYPE: [u8; 2] = [0x88, 0xcc];

impl Neighbour {
    /// Reads a whole Ethernet frame; `None` if it is no LLDP, or says neither switch nor port.
    pub fn read(frame: &[u8]) -> Option<Neighbour> {
        let mut rest = frame.get(14..).filter(|_| frame[12..14] == ETHERTYPE)?;
        let mut found = Neighbour::default();
        let mut chassis = Word::default();
        // 802.1AB §8.4: seven bits of type, nine of length; §8.5.1: type 0 ends the list.
        while let Some((head, tail)) = rest.split_first_chunk::<2>() {
            let head = u16::from_be_bytes(*head);
            let (kind, length) = (head >> 9, usize::from(head & 0x1ff));
            let Some((value, tail)) = tail.split_at_checked(length) else { break };
            match kind {
                0 => break,
                // Subtypes that hold an address: §8.5.2.2 and §8.5.3.2, not the same numbers.
                1 => chassis = identity(value, 4, 5),
                2 => found.port = identity(value, 3, 4),
                4 => found.port_description = text(value),
                5 => found.switch = text(value),
                127 => {
                    if let [0x00, 0x80, 0xc2, 1, high, low] = *value {
                        let vlan = u16::from_be_bytes([high, low]);
                        found.vlan = (1..4095).contains(&vlan).then_some(vlan);
                    }
                }
                _ => {}
            }
            rest = tail;
        }
        if found.switch.is_empty() {
            found.switch = chassis;
        }
        (!found.switch.is_empty() && !found.port.is_empty()).then_some(found)
    }

    /// `sw-r1 · Ethernet3 · VLAN 12`
    pub fn words(&self) -> String {
        let mut words = format!("{} · {}", self.switch, self.port);
        if !self.port_description.is_empty() && self.port_description != self.port {
            words = format!("{words} ({})", self.port_description);
        }
        match self.vlan {
            Some(vlan) => format!("{words} · VLAN {vlan}"),
            None => words,
        }
    }
}

fn text(value: &[u8]) -> Word {
    Word::new(&String::from_utf8_lossy(value))
}

fn identity(value: &[u8], mac: u8, network: u8) -> Word {
    match value.split_first() {
        Some((subtype, address)) if *subtype == mac && address.len() == 6 => {
            let octets: Vec<String> = address.iter().map(|octet| format!("{octet:02x}")).collect();
            Word::new(&octets.join(":"))
        }
        // An IANA address family number comes first: 1 is IPv4.
        Some((subtype, [1, a, b, c, d])) if *subtype == network => {
            Word::new(&format!("{a}.{b}.{c}.{d}"))
        }
        Some((_, name)) => text(name),
        None => Word::default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
        let head = (u16::from(kind) << 9) | u16::try_from(value.len()).unwrap();
        [&head.to_be_bytes(), value].concat()
    }

    fn frame(tlvs: &[Vec<u8>]) -> Vec<u8> {
        let mut frame = vec![0x01, 0x80, 0xc2, 0, 0, 0x0e, 2, 0, 0, 0, 0, 1, 0x88, 0xcc];
        frame.extend(tlvs.concat());
        frame
    }

    #[test]
    fn switch_port_and_vlan_are_read() {
        let whole = frame(&[
            tlv(1, &[4, 0x00, 0x1c, 0x73, 0x01, 0x02, 0x03]),
            tlv(2, b"\x05Ethernet3"),
            tlv(3, &[0, 120]),
            tlv(4, b"r1 c1 slot 3"),
            tlv(5, b"sw-r1"),
            tlv(127, &[0x00, 0x80, 0xc2, 1, 0, 12]),
            tlv(0, b""),
        ]);
        let found = Neighbour::read(&whole).unwrap();
        assert_eq!(found.words(), "sw-r1 · Ethernet3 (r1 c1 slot 3) · VLAN 12");
        let nameless = frame(&[
            tlv(1, &[4, 0x00, 0x1c, 0x73, 0x01, 0x02, 0x03]),
            tlv(2, &[3, 2, 0, 0, 0, 0, 9]),
            tlv(3, &[0, 120]),
        ]);
        let found = Neighbour::read(&nameless).unwrap();
        assert_eq!(found.words(), "00:1c:73:01:02:03 · 02:00:00:00:00:09");
    }

    #[test]
    fn what_is_no_lldp_is_nothing() {
        assert_eq!(Neighbour::read(&[]), None);
        assert_eq!(Neighbour::read(&[0; 13]), None);
        assert_eq!(Neighbour::read(&[0; 60]), None);
        assert_eq!(Neighbour::read(&frame(&[tlv(5, b"sw")])), None, "a switch without a port");
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_harm(tail in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut frame = frame(&[tlv(1, b"\x07x"), tlv(2, b"\x07y")]);
            frame.extend(tail);
            if let Some(found) = Neighbour::read(&frame) {
                let words = found.words();
                prop_assert!(words.chars().count() < 500 && !words.contains(char::is_control));
            }
        }
    }
}
