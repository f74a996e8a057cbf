//! One test for each line that RFC 2131 and its relatives demand of an answer.

mod demands;
mod kit;
mod options;
mod pool;
mod proxy;
mod relay;

use kit::*;

use super::*;
use crate::inventory::Intent;

#[test]
fn rfc2131_4_3_1_a_reserved_mac_is_offered_exactly_its_reserved_address() {
    let mut server = server();
    for (mac, ip) in [(B01, "10.12.1.1"), (B02, "10.12.1.2")] {
        let offer = server.ask(&discover(mac)).reply();
        assert_eq!((offer.kind(), offer.yiaddr()), (OFFER, addr(ip)));
    }
}

#[test]
fn rfc2131_table_3_an_offer_echoes_what_it_must_and_clears_the_rest() {
    for broadcast in [false, true] {
        let mut packet = discover(B01);
        packet.header(8, &[0, 77]).header(34, &[9; 10]);
        packet.header(10, &[if broadcast { 0x80 } else { 0 }, 0]);
        packet.option(50, &[10, 12, 1, 1]).option(57, &1500u16.to_be_bytes());
        let offer = server().ask(&packet).reply();
        let raw = &offer.0;
        assert_eq!(raw[..4], [2, 1, 6, 0], "op, htype, hlen, hops");
        assert_eq!(raw[4..8], XID);
        assert_eq!(raw[8..12], [0, 0, if broadcast { 0x80 } else { 0 }, 0], "secs, flags");
        assert_eq!(raw[12..16], [0; 4], "ciaddr");
        assert_eq!(raw[24..28], [0; 4], "giaddr");
        assert_eq!(raw[28..44], packet.octets()[28..44], "chaddr");
        assert_eq!(offer.get(54).unwrap(), SERVER.octets());
        assert!(offer.number(51) > 0);
        for code in [50, 55, 57] {
            assert_eq!(offer.get(code), None, "option {code}");
        }
    }
}

#[test]
fn rfc2131_4_1_the_options_area_is_well_formed_and_each_option_is_there_once() {
    let mut packet = discover(B01);
    packet.option(55, &[1, 3, 6, 15, 42, 51, 54, 58, 59, 1, 3, 97, 175]).option(61, b"\0client");
    let offer = server().ask(&packet).reply();
    let mut codes: Vec<u8> = offer.options().into_iter().map(|(code, _)| code).collect();
    codes.sort_unstable();
    let all = codes.len();
    codes.dedup();
    assert_eq!(codes.len(), all, "{codes:?}");
    assert!(offer.0.len() >= 300, "RFC 1542 §2.1");
}

#[test]
fn rfc2131_4_1_the_broadcast_bit_decides_where_the_answer_goes() {
    let mut packet = discover(B01);
    assert_eq!(server().ask(&packet).to(), To::Client(addr("10.12.1.1"), B01));
    packet.header(10, &[0x80, 0]);
    assert_eq!(server().ask(&packet).to(), To::Broadcast);
}

#[test]
fn rfc2131_4_3_1_repeated_discovers_get_the_same_address() {
    let mut server = server();
    for mac in [B01, STRANGER] {
        let first = server.ask(&discover(mac)).reply().yiaddr();
        let mut again = discover(mac);
        again.header(4, &[9, 9, 9, 9]);
        assert_eq!(server.ask(&again).reply().yiaddr(), first);
    }
}

#[test]
fn rfc2131_4_3_2_selecting_is_acked_with_the_offered_address_and_the_same_parameters() {
    let mut server = server();
    let mut rom = discover(B01);
    rom.pxe(0).header(8, &[0, 9]).option(55, &[1, 3, 6, 51]);
    let offer = server.ask(&rom).reply();
    let mut select = request(B01);
    select.pxe(0).header(8, &[0, 9]).option(55, &[1, 3, 6, 51]);
    select.option(50, &offer.yiaddr().octets()).option(54, &SERVER.octets());
    let ack = server.ask(&select).reply();
    assert_eq!((ack.kind(), ack.yiaddr()), (ACK, offer.yiaddr()));
    // Nothing but the message type may differ: boot file and next server included.
    assert_eq!(ack.0[..240], offer.0[..240]);
    assert_eq!(ack.options()[1..], offer.options()[1..]);
}

#[test]
fn rfc2131_4_4_5_t1_is_before_t2_before_the_end_for_any_lease_asked_for() {
    for asked in [None, Some(0), Some(1), Some(600), Some(u32::MAX)] {
        let mut packet = discover(B01);
        if let Some(seconds) = asked {
            packet.option(51, &seconds.to_be_bytes());
        }
        let offer = server().ask(&packet).reply();
        let (t1, t2, end) = (offer.number(58), offer.number(59), offer.number(51));
        assert!(0 < t1 && t1 < t2 && t2 < end && end <= 3600, "{asked:?}: {t1} {t2} {end}");
    }
}

#[test]
fn rfc2131_3_1_4_a_request_that_names_another_server_gets_no_answer() {
    let mut select = request(B01);
    select.option(50, &[10, 12, 1, 1]).option(54, &[10, 12, 0, 99]);
    assert_eq!(server().ask(&select).0.answer, None);
}

#[test]
fn rfc2131_4_1_any_of_the_servers_own_addresses_is_its_identifier() {
    let mut select = request(B01);
    select.option(50, &[10, 12, 1, 1]).option(54, &OTHER_OWN.octets());
    assert_eq!(server().ask(&select).reply().kind(), ACK);
}

#[test]
fn rfc2131_4_3_2_init_reboot_is_acked_naked_or_left_alone() {
    let reboot = |mac, ip: &str| {
        let mut packet = request(mac);
        packet.option(50, &addr(ip).octets());
        server().ask(&packet)
    };
    assert_eq!(reboot(B01, "10.12.1.1").reply().kind(), ACK, "its own address");
    assert_eq!(reboot(B01, "192.168.7.7").reply().kind(), NAK, "the wrong network");
    assert_eq!(reboot(B01, "10.12.1.2").reply().kind(), NAK, "another of the subnet");
    assert_eq!(reboot(STRANGER, "10.12.9.7").0.answer, None, "a client without a record");
}

#[test]
fn rfc2131_table_3_a_nak_is_bare_and_broadcast_even_if_the_broadcast_bit_is_clear() {
    let mut packet = request(B01);
    packet.option(50, &[192, 168, 7, 7]).option(61, b"\x01id");
    let answer = server().ask(&packet);
    assert_eq!(answer.to(), To::Broadcast);
    let nak = answer.reply();
    assert_eq!(nak.0[12..24], [0; 12], "ciaddr, yiaddr, siaddr");
    assert_eq!(nak.get(54).unwrap(), SERVER.octets());
    assert_eq!(nak.get(61).unwrap(), b"\x01id");
    let allowed = [53, 54, 56, 60, 61, 82];
    assert!(nak.options().iter().all(|(code, _)| allowed.contains(code)));
}

#[test]
fn rfc2131_4_3_2_renewing_and_rebinding_are_acked_straight_to_the_address_in_use() {
    let mut packet = request(B01);
    packet.header(12, &[10, 12, 1, 1]);
    let answer = server().ask(&packet);
    assert_eq!(answer.to(), To::Client(addr("10.12.1.1"), B01));
    let ack = answer.reply();
    assert_eq!((ack.kind(), ack.yiaddr()), (ACK, addr("10.12.1.1")));
    assert_eq!(ack.0[12..16], [10, 12, 1, 1], "ciaddr");
}

#[test]
fn rfc2131_4_3_2_rebinding_somebody_elses_address_is_not_acked() {
    for mac in [B01, STRANGER] {
        let mut packet = request(mac);
        packet.header(12, &[10, 12, 1, 2]);
        let answer = server().ask(&packet);
        assert!(answer.0.answer.is_none() || answer.reply().kind() == NAK);
    }
}

#[test]
fn rfc2131_4_3_5_inform_is_acked_without_a_lease_to_the_address_in_use() {
    let mut packet = packet(8, B01);
    packet.header(12, &[10, 12, 1, 1]).option(55, &[1, 3, 51, 58]);
    let answer = server().ask(&packet);
    assert_eq!(answer.to(), To::Client(addr("10.12.1.1"), B01));
    let ack = answer.reply();
    assert_eq!((ack.kind(), ack.yiaddr()), (ACK, Ipv4Addr::UNSPECIFIED));
    assert!([51, 58, 59].iter().all(|code| ack.get(*code).is_none()));
    assert_eq!(ack.get(3).unwrap(), [10, 12, 0, 254]);
}

#[test]
fn rfc2131_4_3_4_release_gets_no_answer_and_the_reservation_survives_it() {
    let mut server = server();
    let mut packet = packet(7, B01);
    packet.header(12, &[10, 12, 1, 1]).option(54, &SERVER.octets());
    assert_eq!(server.ask(&packet).0.answer, None);
    assert_eq!(server.ask(&discover(B01)).reply().yiaddr(), addr("10.12.1.1"));
}

#[test]
fn rfc2131_4_3_3_a_declined_reserved_address_is_not_offered_at_once_and_both_are_named() {
    let mut server = server();
    let mut packet = packet(4, B01);
    packet.option(50, &[10, 12, 1, 1]).option(54, &SERVER.octets());
    let decision = server.ask(&packet).0;
    assert_eq!(decision.answer, None);
    let alert = decision.seen.iter().find(|seen| seen.what == What::Alert).unwrap();
    for word in ["b01", "52:54:00:00:01:01", "10.12.1.1"] {
        assert!(alert.detail.contains(word), "{}", alert.detail);
    }
    assert_eq!(server.ask(&discover(B01)).0.answer, None);
    server.now += 30_000;
    assert_eq!(server.ask(&discover(B01)).reply().yiaddr(), addr("10.12.1.1"));
}

#[test]
fn one_mac_in_three_stages_always_has_its_reserved_address() {
    let mut server = server();
    let ids: [Option<&[u8]>; 3] = [Some(&[0; 17]), None, Some(b"\xff\0\0\0\x01\0\x02duid")];
    for id in ids {
        let mut packet = discover(B01);
        if let Some(id) = id {
            packet.option(61, id);
        }
        assert_eq!(server.ask(&packet).reply().yiaddr(), addr("10.12.1.1"), "{id:?}");
    }
}

#[test]
fn two_macs_with_one_client_identifier_each_have_their_own_address() {
    let mut server = server();
    let mut given = Vec::new();
    for mac in [B01, B02, STRANGER, Mac([2, 0, 0, 0, 9, 2])] {
        let mut packet = discover(mac);
        packet.option(61, &[0; 17]).option(97, &[0; 17]);
        given.push(server.ask(&packet).reply().yiaddr());
    }
    assert_eq!(given[..2], [addr("10.12.1.1"), addr("10.12.1.2")]);
    assert_ne!(given[2], given[3]);
}

#[test]
fn an_installed_blade_has_its_address_and_no_boot_file() {
    let mut server = server();
    server.with_intent(&Intent::Local);
    let mut rom = discover(B01);
    let offer = server.ask(rom.pxe(0)).reply();
    assert_eq!(offer.yiaddr(), addr("10.12.1.1"));
    assert_eq!((offer.file().as_str(), &offer.0[20..24]), ("", &[0; 4][..]));
    // EDK2 then says "Remote boot cancelled" in 4 s instead of asking for a minute.
    assert_eq!(offer.get(60).unwrap(), b"PXEClient");
    assert_eq!(offer.get(43).unwrap(), crate::boot::local_boot_menu());
    let os = server.ask(&discover(B01)).reply();
    assert!(os.get(60).is_none() && os.get(43).is_none());
}

#[test]
fn a_blade_on_the_wrong_network_is_told_of_and_not_answered() {
    let mut server = server();
    let decision = server.ask(&discover(ELSEWHERE)).0;
    assert_eq!(decision.answer, None);
    let seen = &decision.seen[0];
    assert_eq!(seen.what, What::Alert);
    assert!(seen.detail.contains("b03") && seen.detail.contains("10.13.0.3"), "{}", seen.detail);
}
