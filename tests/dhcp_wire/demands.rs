//! What only the wire shows: Ethernet addresses, ports, who is answered where.

use dhcproto::v4::{DhcpOption, MessageType};

use super::{B01, STRANGER, bench, dora, for_me, kind, message, read};

#[test]
fn rfc2131_4_1_with_the_broadcast_bit_an_answer_goes_to_every_card() {
    let bench = bench();
    let port = bench.port();
    let mut discover = message(STRANGER, MessageType::Discover, &[]);
    discover[10] = 0x80;
    port.broadcast(STRANGER, &discover);
    let frame = port.receive(for_me(STRANGER)).expect("an OFFER");
    assert_eq!((frame.to_mac, frame.to_ip), ([0xff; 6], [255; 4]));
    assert_eq!((frame.from_ip, frame.from_port, frame.to_port), ([10, 12, 0, 1], 67, 68));
}

#[test]
fn rfc1542_5_1_a_request_sent_to_port_68_is_ignored() {
    let bench = bench();
    let port = bench.port();
    let asks = message(STRANGER, MessageType::Discover, &[]);
    for ports in [(68, 68), (67, 68)] {
        port.send_to(STRANGER, [0; 4], [255; 4], ports, &asks);
    }
    // The blade that asks behind it is the first that is answered.
    port.broadcast(B01, &message(B01, MessageType::Discover, &[]));
    let first = port.receive(|_| true).expect("an OFFER");
    assert!(for_me(B01)(&first), "{first:?}");
    assert!(bench.seen.lock().unwrap().iter().all(|seen| seen.mac.0 != STRANGER));
}

#[test]
fn rfc2131_4_3_2_renewing_by_unicast_and_rebinding_by_broadcast_are_acked() {
    let bench = bench();
    let port = bench.port();
    let (_, ack) = dora(&port, STRANGER, &[]);
    let ip = read(&ack).yiaddr();
    let mut renew = message(STRANGER, MessageType::Request, &[]);
    renew[12..16].copy_from_slice(&ip.octets());
    for to in [[10, 12, 0, 1], [255; 4]] {
        port.send(STRANGER, ip.octets(), to, &renew);
        let frame = port.receive(for_me(STRANGER)).expect("an ACK");
        let ack = read(&frame);
        assert_eq!((kind(&ack), ack.yiaddr(), ack.ciaddr()), (MessageType::Ack, ip, ip));
        assert_eq!((frame.to_mac, frame.to_ip, frame.to_port), (STRANGER, ip.octets(), 68));
    }
}

#[test]
fn rfc2131_4_3_3_a_declined_pool_address_is_not_offered_again_and_nothing_is_answered() {
    let bench = bench();
    let port = bench.port();
    let (offer, ack) = dora(&port, STRANGER, &[]);
    let ip = read(&ack).yiaddr();
    let server = read(&offer);
    let id = server.opts().get(dhcproto::v4::OptionCode::ServerIdentifier).unwrap().clone();
    let decline = [DhcpOption::RequestedIpAddress(ip), id];
    port.broadcast(STRANGER, &message(STRANGER, MessageType::Decline, &decline));
    // Had the DECLINE been answered, that would come first.
    port.broadcast(STRANGER, &message(STRANGER, MessageType::Discover, &[]));
    let next = read(&port.receive(for_me(STRANGER)).expect("an OFFER"));
    assert_eq!(kind(&next), MessageType::Offer);
    assert_ne!(next.yiaddr(), ip);
}
