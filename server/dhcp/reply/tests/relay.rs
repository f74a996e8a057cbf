//! Clients behind a relay agent.

use super::{kit::*, *};
use crate::dhcp::wire::Arrival;

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

#[test]
fn rfc5107_4_the_relays_override_is_the_server_identifier_and_is_accepted_as_ours() {
    let override_82 = b"\x01\x01a\x0b\x04\x0a\x0d\x00\x01";
    let via_relay = |mut packet: Packet| {
        packet.header(24, &GIADDR).option(82, override_82);
        packet
    };
    let mut server = server();
    let offer = server.ask(&via_relay(discover(ELSEWHERE))).reply();
    assert_eq!(offer.get(54).unwrap(), [10, 13, 0, 1]);
    let mut select = request(ELSEWHERE);
    select.option(50, &offer.yiaddr().octets()).option(54, &[10, 13, 0, 1]);
    let ack = server.ask(&via_relay(select)).reply();
    assert_eq!((ack.kind(), ack.get(54).unwrap()), (ACK, vec![10, 13, 0, 1]));
    // Without a relay anybody could say so: the identifier is another server's.
    let mut direct = request(B01);
    direct.option(50, &[10, 12, 1, 1]).option(54, &[10, 13, 0, 1]).option(82, override_82);
    assert_eq!(server.ask(&direct).0.answer, None);
    // And an override that no client could send to is none.
    for useless in [[0; 4], [255; 4], [127, 0, 0, 1], [224, 0, 0, 1]] {
        let mut packet = discover(ELSEWHERE);
        packet.header(24, &GIADDR);
        packet.option(82, &[&[11, 4][..], &useless].concat());
        assert_eq!(server.ask(&packet).reply().get(54).unwrap(), SERVER.octets());
    }
}

#[test]
fn rfc8357_4_a_relay_that_asks_for_it_is_answered_at_its_source_port() {
    let server = server();
    let answered_at = |option: &[u8]| {
        let mut packet = discover(ELSEWHERE);
        packet.header(24, &GIADDR).option(82, option);
        let octets = packet.octets();
        let arrival = Arrival { from: "10.13.0.1:4444".parse().unwrap(), port: 67 };
        let request = Request::parse(&octets).unwrap().came(arrival);
        let mut book = LeaseBook::new(&server.snapshot.subnets, []);
        decide(&server.snapshot, &mut book, &request, &server.via, server.now).answer.unwrap()
    };
    assert_eq!(answered_at(b"\x01\x01a\x13\x00").to_port, 4444);
    assert_eq!(answered_at(b"\x01\x01a").to_port, 67);
}

#[test]
fn rfc6925_a_relays_own_name_is_in_the_note_with_the_port_for_people() {
    let mut packet = discover(ELSEWHERE);
    packet.header(24, &GIADDR);
    packet.option(82, b"\x01\x06\x00\x04\x00\x14\x01\x07\x02\x03sw1\x0c\x05leaf9");
    let seen = server().ask(&packet).0.seen.remove(0);
    assert_eq!(seen.switch_port.as_deref(), Some("sw1 · vlan 20 port 1/7"));
    assert_eq!(seen.relay_name.as_deref(), Some("leaf9"));
}

#[test]
fn rfc1542_4_1_1_behind_several_relays_the_first_is_answered() {
    // Every further relay counts a hop and leaves giaddr and option 82 as they are.
    for hops in [2, 16, 255] {
        let mut packet = relayed(discover(ELSEWHERE));
        packet.header(3, &[hops]);
        let answer = server().ask(&packet);
        assert_eq!(answer.to(), To::Relay(Ipv4Addr::from(GIADDR)));
        let offer = answer.reply();
        assert_eq!((offer.0[3], offer.get(82).unwrap()), (0, AGENT.to_vec()));
    }
}

#[test]
fn rfc3046_a_broken_option_82_keeps_no_blade_from_its_address() {
    for broken in [&[5u8, 4, 10][..], &[1], &[11, 2, 1, 1], &[0, 0, 0]] {
        let mut packet = discover(ELSEWHERE);
        packet.header(24, &GIADDR).option(82, broken);
        assert_eq!(server().ask(&packet).reply().yiaddr(), addr("10.13.0.3"), "{broken:?}");
    }
}
