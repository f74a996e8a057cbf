//! DHCP at the wire: the real server in a network namespace, clients of ours and of others.

mod net;

use dhcproto::{
    Decodable, Encodable,
    v4::{self, DhcpOption, MessageType, OptionCode},
};
use firstlight::inventory::Intent;
use net::{Bench, CONFIG, Frame, INVENTORY, snapshot};

const B01: [u8; 6] = [0x52, 0x54, 0, 0, 1, 1];

/// A client's message, made by another implementation than the server's.
fn message(mac: [u8; 6], kind: MessageType, options: &[DhcpOption]) -> Vec<u8> {
    let mut message = v4::Message::default();
    message.set_chaddr(&mac).set_xid(0x1122_3344);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message.to_vec().unwrap()
}

fn read(frame: &Frame) -> v4::Message {
    v4::Message::from_bytes(&frame.payload).unwrap()
}

fn kind(message: &v4::Message) -> MessageType {
    message.opts().msg_type().unwrap()
}

fn pxe(arch: v4::Architecture) -> Vec<DhcpOption> {
    vec![
        DhcpOption::ClassIdentifier(b"PXEClient:Arch:00000:UNDI:002001".to_vec()),
        DhcpOption::ClientSystemArchitecture(arch),
    ]
}

#[test]
fn a_reserved_blade_goes_from_discover_to_ack_with_a_boot_file() {
    let bench = Bench::start(snapshot(CONFIG, INVENTORY, &Intent::Menu));
    let port = bench.port();
    let rom = pxe(v4::Architecture::X86_Bios);
    port.broadcast(B01, &message(B01, MessageType::Discover, &rom));
    let frame = port.receive(|_| true).expect("an OFFER");
    let offer = read(&frame);
    assert_eq!(kind(&offer), MessageType::Offer);
    assert_eq!(offer.yiaddr().to_string(), "10.12.1.1");
    assert_eq!(offer.siaddr().to_string(), "10.12.0.1");
    assert_eq!(offer.fname(), Some(&b"undionly.kpxe\0"[..]));
    // RFC 2131 §4.1: broadcast bit clear, so straight to the client, which answers no ARP.
    assert_eq!((frame.to_mac, frame.to_ip, frame.to_port), (B01, [10, 12, 1, 1], 68));
    assert_eq!(frame.from_ip, [10, 12, 0, 1]);

    let mut asks = rom;
    asks.push(DhcpOption::RequestedIpAddress(offer.yiaddr()));
    asks.push(offer.opts().get(OptionCode::ServerIdentifier).unwrap().clone());
    port.broadcast(B01, &message(B01, MessageType::Request, &asks));
    let ack = read(&port.receive(|_| true).expect("an ACK"));
    assert_eq!(kind(&ack), MessageType::Ack);
    assert_eq!((ack.yiaddr(), ack.fname()), (offer.yiaddr(), offer.fname()));
}
