//! Answers as octets.

use super::{RELAY_REPLY, Relay, code};

/// IANA enterprise number of Intel, which PXE and UEFI HTTP boot name their class under.
const INTEL: u32 = 343;

/// A message or option in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn new(head: &[u8]) -> Writer {
        Writer(head.to_vec())
    }

    /// Values that do not fit are left out: none of ours is so long.
    pub fn put(&mut self, code: u16, value: &[u8]) -> &mut Writer {
        if let Ok(length) = u16::try_from(value.len()) {
            self.0.extend(code.to_be_bytes());
            self.0.extend(length.to_be_bytes());
            self.0.extend(value);
        }
        self
    }

    pub fn into_octets(self) -> Vec<u8> {
        self.0
    }
}

/// The class that UEFI HTTP boot looks for in an answer.
pub fn vendor_class(class: &str) -> Vec<u8> {
    let length = u16::try_from(class.len()).unwrap_or_default();
    [&INTEL.to_be_bytes()[..], &length.to_be_bytes(), class.as_bytes()].concat()
}

/// Wraps an answer for the relays it goes back through (RFC 8415 §19.3).
pub fn wrapped(answer: Vec<u8>, relays: &[Relay<'_>]) -> Vec<u8> {
    relays.iter().rev().fold(answer, |inner, relay| {
        let head = [&[RELAY_REPLY, relay.hops], &relay.link.octets()[..], &relay.peer.octets()];
        let mut outer = Writer::new(&head.concat());
        for (option, value) in
            [(code::INTERFACE_ID, relay.interface_id), (code::RELAY_PORT, relay.source_port)]
        {
            value.map(|value| outer.put(option, value));
        }
        outer.put(code::RELAY_MESSAGE, &inner);
        outer.into_octets()
    })
}
