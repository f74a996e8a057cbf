//! Clients behind a relay agent.

use super::{kit::*, *};

const GIADDR: [u8; 4] = [10, 13, 0, 1];
const AGENT: &[u8] = b"\x01\x04port\x02\x03sw1";

fn relayed(mut packet: Packet) -> Packet {
    packet.header(24, &GIADDR).header(3, &[1]).option(82, AGENT);
    packet
}

#[test]
fn rfc2131_4_1_a_relayed_discover_is_answered_to_the_relay_with_an_address_of_its_subnet() {
    let mut server = server();
    let answer = server.ask(&relayed(discover(ELSEWHERE)));
    assert_eq!(answer.to(), To::Relay(Ipv4Addr::from(GIADDR)));
    let offer = answer.reply();
    assert_eq!((offer.yiaddr(), &offer.0[24..28]), (addr("10.13.0.3"), &GIADDR[..]));
    assert_eq!(offer.get(1).unwrap(), [255, 255, 255, 0]);
    let stranger = server.ask(&relayed(discover(STRANGER))).reply();
    assert_eq!(stranger.yiaddr(), addr("10.13.0.100"));
}

#[test]
fn rfc3046_2_2_option_82_is_echoed_whole_and_last_and_only_if_sent() {
    let mut server = server();
    let offer = server.ask(&relayed(discover(ELSEWHERE))).reply();
    assert_eq!(offer.options().last().unwrap(), &(82, AGENT.to_vec()));
    assert_eq!(server.ask(&discover(B01)).reply().get(82), None);
}

#[test]
fn rfc2131_4_3_2_a_nak_through_a_relay_has_the_broadcast_bit_set() {
    let mut packet = relayed(request(ELSEWHERE));
    packet.option(50, &[192, 168, 7, 7]);
    let answer = server().ask(&packet);
    assert_eq!(answer.to(), To::Relay(Ipv4Addr::from(GIADDR)));
    let nak = answer.reply();
    assert_eq!((nak.kind(), nak.0[10]), (NAK, 0x80));
    assert_eq!(nak.get(82).unwrap(), AGENT);
}

#[test]
fn rfc2131_4_3_1_a_relay_of_a_subnet_we_do_not_serve_gets_silence() {
    for giaddr in [[172, 16, 0, 1], [255; 4], [224, 0, 0, 1], [127, 0, 0, 1], [10, 12, 0, 1]] {
        let mut packet = discover(STRANGER);
        packet.header(24, &giaddr);
        assert_eq!(server().ask(&packet).0.answer, None, "{giaddr:?}");
    }
}

#[test]
fn rfc3527_3_link_selection_picks_the_subnet_and_giaddr_stays_the_way_back() {
    let mut packet = discover(STRANGER);
    packet.header(24, &[192, 0, 2, 9]).option(82, b"\x01\x01a\x05\x04\x0a\x0d\x00\x00");
    let answer = server().ask(&packet);
    assert_eq!(answer.to(), To::Relay(addr("192.0.2.9")));
    assert_eq!(answer.reply().yiaddr(), addr("10.13.0.100"));
}

#[test]
fn the_note_of_a_relayed_request_names_relay_and_port() {
    let seen = server().ask(&relayed(discover(ELSEWHERE))).0.seen.remove(0);
    assert_eq!(seen.relay, Some(Ipv4Addr::from(GIADDR)));
    assert_eq!(seen.relay_agent.unwrap(), hex::encode(AGENT));
}
