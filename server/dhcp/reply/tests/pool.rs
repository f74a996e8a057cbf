//! Blades nobody told us about.

use std::{collections::HashSet, net::Ipv4Addr};

use super::{kit::*, *};
use crate::{blade::Mac, inventory::LeaseState};

fn stranger(n: u8) -> Mac {
    Mac([2, 0, 0, 0, 8, n])
}

#[test]
fn rfc2131_4_2_an_unknown_mac_is_served_from_the_pool_or_ignored_as_configured() {
    let mut server = server();
    let ip = server.dora(STRANGER);
    assert!(ip.to_string().starts_with("10.12.9."));
    server.snapshot.serve_unknown = false;
    let decision = server.ask(&discover(stranger(1))).0;
    assert_eq!((decision.answer, decision.seen[0].what), (None, What::Ignored));
}

#[test]
fn rfc2131_1_6_twenty_at_once_get_different_addresses_none_of_them_somebody_elses() {
    let mut server = server();
    let offered: HashSet<Ipv4Addr> =
        (0..18).map(|n| server.ask(&discover(stranger(n))).reply().yiaddr()).collect();
    // The pool has 20 addresses: .2 is the server's own, .3 is reserved.
    assert_eq!(offered.len(), 18);
    assert!(!offered.contains(&addr("10.12.9.2")) && !offered.contains(&addr("10.12.9.3")));
    let pool = addr("10.12.9.1")..=addr("10.12.9.20");
    assert!(offered.iter().all(|ip| pool.contains(ip)));
}

#[test]
fn a_full_pool_is_an_alert_that_names_the_subnet_and_how_many_hold_it() {
    let mut server = server();
    for n in 0..18 {
        server.dora(stranger(n));
    }
    let decision = server.ask(&discover(stranger(99))).0;
    assert_eq!(decision.answer, None);
    let seen = &decision.seen[0];
    assert_eq!(seen.what, What::Alert);
    for word in ["10.12.0.0/16", "18 are bound", "0 on offer", "02:00:00:00:08:"] {
        assert!(seen.detail.contains(word), "{seen:?}");
    }
    // A starved pool takes nothing from reserved blades, nor from those that hold a lease.
    assert_eq!(server.dora(B01), addr("10.12.1.1"));
    server.dora(stranger(3));
    server.now += 3_600_000;
    server.dora(stranger(99));
}

#[test]
fn rfc2131_2_1_a_lease_is_durable_before_its_ack_and_survives_a_restart() {
    let mut server = server();
    let ip = server.ask(&discover(STRANGER)).reply().yiaddr();
    assert!(server.disk.is_empty(), "an offer need not be durable");
    // The restart loses the offer; the client's choice is honoured all the same.
    server.restart();
    let mut select = request(STRANGER);
    select.option(50, &ip.octets()).option(54, &SERVER.octets()).option(12, b"rescue<b>");
    let decision = server.ask(&select).0;
    let lease = decision.durable.unwrap();
    assert_eq!((lease.ip, lease.mac, lease.state), (ip, STRANGER, LeaseState::Bound));
    assert_eq!(lease.until, server.now + 3_600_000);
    assert_eq!(lease.hostname.as_deref(), Some("rescue<b>"));
    server.restart();
    assert_ne!(server.ask(&discover(stranger(1))).reply().yiaddr(), ip, "given twice");
    let mut renew = request(STRANGER);
    renew.header(12, &ip.octets());
    assert_eq!(server.ask(&renew).reply().kind(), ACK);
}

#[test]
fn rfc2131_4_3_1_a_client_gets_its_last_address_again_if_nobody_has_it() {
    let mut server = server();
    let ip = server.dora(STRANGER);
    let mut bye = packet(7, STRANGER);
    bye.header(12, &ip.octets()).option(54, &SERVER.octets());
    assert_eq!(server.ask(&bye).0.durable.unwrap().until, server.now);
    assert_ne!(server.dora(stranger(1)), ip);
    assert_eq!(server.dora(STRANGER), ip);
}

#[test]
fn rfc2131_4_3_3_a_declined_pool_address_is_put_aside_durably() {
    let mut server = server();
    let ip = server.dora(STRANGER);
    let mut packet = packet(4, STRANGER);
    packet.option(50, &ip.octets()).option(54, &SERVER.octets());
    let decision = server.ask(&packet).0;
    assert_eq!(decision.answer, None);
    assert_eq!(decision.durable.unwrap().state, LeaseState::Quarantined);
    server.restart();
    for mac in [STRANGER, stranger(1)] {
        assert_ne!(server.dora(mac), ip);
    }
}

#[test]
fn nobody_can_decline_or_release_for_others() {
    let mut server = server();
    let ip = server.dora(STRANGER);
    for kind in [4, 7] {
        let mut forged = packet(kind, stranger(1));
        forged.header(12, &ip.octets()).option(50, &ip.octets()).option(54, &SERVER.octets());
        let decision = server.ask(&forged).0;
        assert_eq!((decision.answer, decision.durable), (None, None));
    }
    assert_eq!(server.dora(STRANGER), ip);
}

#[test]
fn a_lease_whose_address_became_reserved_ends_at_its_renewal() {
    let mut server = server();
    let lease = Lease {
        ip: addr("10.12.9.3"),
        mac: STRANGER,
        state: LeaseState::Bound,
        until: i64::MAX,
        hostname: None,
    };
    server.book = LeaseBook::new(&server.snapshot.subnets, [lease]);
    let mut renew = request(STRANGER);
    renew.header(12, &[10, 12, 9, 3]);
    assert_eq!(server.ask(&renew).reply().kind(), NAK);
    assert_eq!(server.dora(Mac([0x52, 0x54, 0, 0, 1, 4])), addr("10.12.9.3"));
}

#[test]
fn made_up_macs_that_only_ask_cannot_keep_a_pool_from_others() {
    let mut server = server();
    let flood = |server: &mut Desk, round: u8| {
        for n in 0..=255 {
            let answer = server.ask(&discover(Mac([2, 0, 0, 1, round, n])));
            assert!(answer.0.durable.is_none(), "an offer alone takes nothing");
        }
    };
    flood(&mut server, 1);
    assert!(server.book.census(server.now)[0].offered <= 18, "bounded by the pool");
    // One that means it is offered an address, and has it though a flood passes before it asks.
    let ip = server.ask(&discover(STRANGER)).reply().yiaddr();
    flood(&mut server, 2);
    let mut select = request(STRANGER);
    select.option(50, &ip.octets()).option(54, &SERVER.octets());
    assert_eq!(server.ask(&select).reply().kind(), ACK);
    // It keeps it, and reserved addresses were never in reach.
    flood(&mut server, 3);
    let mut renew = request(STRANGER);
    renew.header(12, &ip.octets());
    assert_eq!(server.ask(&renew).reply().kind(), ACK);
    assert_eq!(server.dora(B01), addr("10.12.1.1"));
}

#[test]
fn strangers_leave_addresses_to_blades_that_have_none_reserved() {
    let mut server = server();
    server.snapshot.without_address = 2;
    let mut given = 0;
    for n in 0..30 {
        given += usize::from(server.ask(&discover(stranger(n))).0.answer.is_some_and(|answer| {
            let ip = Reply(answer.packet).yiaddr();
            let mut select = request(stranger(n));
            select.option(50, &ip.octets()).option(54, &SERVER.octets());
            server.ask(&select).reply().kind() == ACK
        }));
    }
    assert_eq!(given, 16, "18 addresses, two of them kept back");
}

#[test]
fn a_clock_set_forward_frees_no_lease_and_set_back_holds_none_longer() {
    for jump in [5 * 3_600_000, -5 * 3_600_000] {
        let mut server = server();
        for n in 0..18 {
            server.dora(stranger(n));
        }
        server.now += jump;
        server.book.shift(jump);
        assert_eq!(server.ask(&discover(stranger(99))).0.answer, None, "still theirs");
        server.now += 3_600_000;
        server.dora(stranger(99));
    }
}
