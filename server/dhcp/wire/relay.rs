//! Option 82: what relay agents say of a client's place (RFC 3046 and its relatives).

use std::{fmt::Write as _, net::Ipv4Addr};

use super::{Request, address, code};
use crate::blade::Mac;

mod sub {
    //! Sub-options of option 82.
    pub const CIRCUIT_ID: u8 = 1;
    pub const REMOTE_ID: u8 = 2;
    /// RFC 3527.
    pub const LINK_SELECTION: u8 = 5;
    /// RFC 3993.
    pub const SUBSCRIBER_ID: u8 = 6;
    /// RFC 5107.
    pub const SERVER_ID_OVERRIDE: u8 = 11;
    /// RFC 6925.
    pub const RELAY_ID: u8 = 12;
    /// RFC 8357.
    pub const SOURCE_PORT: u8 = 19;
}

/// Option 82 taken apart. A sub-option that is cut off ends the reading; what came before counts,
/// because a wrong word of a switch must not keep its blades from booting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Relay {
    pub circuit_id: Option<Vec<u8>>,
    pub remote_id: Option<Vec<u8>>,
    pub subscriber_id: Option<Vec<u8>>,
    pub relay_id: Option<Vec<u8>>,
    /// An address of the client's subnet, where `giaddr` is not one.
    pub link_selection: Option<Ipv4Addr>,
    /// What the client is to take for the server's address.
    pub server_id: Option<Ipv4Addr>,
    /// The relay wants its answers at the port it sent from.
    pub source_port: bool,
}

impl Request<'_> {
    /// What the relay says; nothing for a client that was not relayed, whatever it sends.
    pub fn relay(&self) -> Relay {
        let mut relay = Relay::default();
        let Some(option) = self.get(code::RELAY_AGENT).filter(|_| !self.giaddr.is_unspecified())
        else {
            return relay;
        };
        let mut rest = &option[..];
        while let [sub, length, tail @ ..] = rest {
            let Some((value, tail)) = tail.split_at_checked(usize::from(*length)) else { break };
            match *sub {
                sub::CIRCUIT_ID => relay.circuit_id = Some(value.to_vec()),
                sub::REMOTE_ID => relay.remote_id = Some(value.to_vec()),
                sub::SUBSCRIBER_ID => relay.subscriber_id = Some(value.to_vec()),
                sub::RELAY_ID => relay.relay_id = Some(value.to_vec()),
                sub::LINK_SELECTION => relay.link_selection = address(value),
                sub::SERVER_ID_OVERRIDE => relay.server_id = usable(value),
                // RFC 8357 §4: it has no value.
                sub::SOURCE_PORT => relay.source_port = value.is_empty(),
                _ => {}
            }
            rest = tail;
        }
        relay
    }
}

/// An address a client can send its renewals to.
fn usable(value: &[u8]) -> Option<Ipv4Addr> {
    let nobody = |ip: &Ipv4Addr| {
        ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast() || ip.is_loopback()
    };
    address(value).filter(|ip| !nobody(ip))
}

impl Relay {
    /// The blade's switch port as a person reads it: `sw1 · Eth1/7`, `vlan 20 port 1/7`.
    pub fn place(&self) -> Option<String> {
        let circuit = self.circuit_id.as_deref().map(circuit);
        let parts = [
            self.remote_id.as_deref().map(identifier),
            circuit,
            self.subscriber_id.as_deref().map(identifier),
        ];
        let parts: Vec<String> =
            parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        (!parts.is_empty()).then(|| parts.join(" · "))
    }

    /// Which relay it is, where it says so (RFC 6925).
    pub fn relay_name(&self) -> Option<String> {
        self.relay_id.as_deref().map(identifier).filter(|name| !name.is_empty())
    }
}

/// RFC 3046 leaves the value to the relay. Catalyst and its many followers send a type, a length,
/// then VLAN, module and port (type 0) or text (type 1).
fn circuit(value: &[u8]) -> String {
    match value {
        [0, 4, vlan @ .., module, port] if vlan.len() == 2 => {
            format!("vlan {} port {module}/{port}", u16::from_be_bytes([vlan[0], vlan[1]]))
        }
        _ => identifier(value),
    }
}

/// Text as it is, an Ethernet address as one, anything else in hexadecimal digits.
fn identifier(value: &[u8]) -> String {
    let inner = match value {
        // A type and a length before it: 0 an Ethernet address, 1 text.
        [0 | 1, length, inner @ ..] if usize::from(*length) == inner.len() => inner,
        whole => whole,
    };
    if let Ok(octets) = <[u8; 6]>::try_from(inner)
        && !inner.iter().all(u8::is_ascii_graphic)
    {
        return Mac(octets).to_string();
    }
    if inner.iter().all(|octet| octet.is_ascii_graphic() || *octet == b' ') {
        return inner.iter().take(64).map(|octet| char::from(*octet)).collect();
    }
    inner.iter().take(32).fold(String::new(), |mut text, octet| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switch_ports_are_told_as_people_call_them() {
        for (value, want) in [
            (&b"Eth1/7"[..], "Eth1/7"),
            (b"\x01\x06Eth1/7", "Eth1/7"),
            (&[0, 4, 0, 20, 1, 7], "vlan 20 port 1/7"),
            (&[0, 4, 0xff], "0004ff"),
            (&[0, 6, 2, 0, 0, 0, 0, 9], "02:00:00:00:00:09"),
            (&[0x52, 0x54, 0, 0, 1, 2], "52:54:00:00:01:02"),
            (b"<b>&\x07", "3c623e2607"),
            (b"", ""),
        ] {
            assert_eq!(circuit(value), want, "{value:?}");
        }
        let port = Relay {
            circuit_id: Some(b"Eth1/7".to_vec()),
            remote_id: Some(b"sw1".to_vec()),
            ..Relay::default()
        };
        assert_eq!(port.place().as_deref(), Some("sw1 · Eth1/7"));
        assert_eq!(Relay::default().place(), None);
    }
}
