//! Boot items beside another server's addresses.

use std::net::Ipv4Addr;

use super::{kit::*, *};
use crate::inventory::{Intent, Whereabouts};

const NOBODY: &str = "0.0.0.0:68";

fn uefi(mac: Mac) -> Packet {
    let mut packet = discover(mac);
    packet.option(60, b"PXEClient:Arch:00007:UNDI:003016").option(93, &[0, 7]);
    packet.option(97, &[0; 17]);
    packet
}

fn ipxe(mac: Mac) -> Packet {
    let mut packet = discover(mac);
    packet.pxe(0).option(77, b"iPXE").option(175, &[0xb1, 1, 1]);
    packet
}

/// No field or option of a proxy's answer may say anything of an address.
fn gives_no_address(reply: &Reply) {
    assert_eq!(reply.yiaddr(), Ipv4Addr::UNSPECIFIED);
    for code in [1, 3, 6, 15, 42, 50, 51, 58, 59] {
        assert_eq!(reply.get(code), None, "option {code}");
    }
}

#[test]
fn pxe2_1_2_2_3_a_rom_is_offered_boot_items_and_no_address() {
    let asked = server().ask_proxy(discover(B01).pxe(0), NOBODY, 67);
    let offer = asked.reply();
    gives_no_address(&offer);
    assert_eq!((offer.kind(), offer.file().as_str()), (OFFER, "undionly.kpxe"));
    assert_eq!((offer.siaddr(), offer.get(54).unwrap()), (SERVER, SERVER.octets().to_vec()));
    assert_eq!(offer.get(60).unwrap(), b"PXEClient");
    // Well formed: discovery control, "take the file of this offer", END.
    assert_eq!(offer.get(43).unwrap(), [6, 1, 8, 255]);
    // It has no address to be answered at, whatever its broadcast bit says.
    let answer = asked.answer();
    assert_eq!((answer.to, answer.to_port, answer.from.port()), (To::Broadcast, 68, 67));
    assert_eq!((asked.0.durable, asked.0.probe), (None, None));
}

#[test]
fn uefi_is_offered_a_bare_file_so_that_it_takes_it_or_asks_port_4011() {
    let offer = server().ask_proxy(&uefi(B01), NOBODY, 67).reply();
    gives_no_address(&offer);
    assert_eq!((offer.file().as_str(), offer.get(43)), ("snponly.efi", None));
    assert_eq!((offer.siaddr(), offer.get(97).unwrap()), (SERVER, vec![0; 17]));
}

#[test]
fn ipxe_is_given_its_script_by_either_port() {
    let server = server();
    let url = "http://10.12.0.1/boot/52-54-00-00-01-01.ipxe";
    let offer = server.ask_proxy(&ipxe(B01), NOBODY, 67).reply();
    gives_no_address(&offer);
    assert_eq!((offer.file().as_str(), offer.siaddr()), (url, SERVER));
    let mut asks = ipxe(B01);
    asks.header(240, &[53, 1, 3]).header(12, &[10, 12, 7, 7]).option(54, &SERVER.octets());
    let ack = server.ask_proxy(&asks, "10.12.7.7:68", 4011).reply();
    gives_no_address(&ack);
    assert_eq!((ack.kind(), ack.file().as_str()), (ACK, url));
}

#[test]
fn uefi_http_boot_is_offered_a_url_with_its_own_class() {
    let mut packet = discover(B01);
    packet.option(60, b"HTTPClient:Arch:00016:UNDI:003001").option(93, &[0, 16]);
    let offer = server().ask_proxy(&packet, NOBODY, 67).reply();
    gives_no_address(&offer);
    assert_eq!(offer.get(60).unwrap(), b"HTTPClient");
    assert!(offer.get(67).unwrap().starts_with(b"http://10.12.0.1/loaders/"));
    assert_eq!(offer.get(43), None);
}

#[test]
fn pxe2_1_2_2_3_port_4011_answers_to_the_port_that_asked() {
    let mut asks = uefi(B01);
    asks.header(240, &[53, 1, 3]).header(12, &[10, 12, 7, 7]);
    asks.option(43, &[71, 4, 0, 0, 0, 0, 255]);
    // EDK2 sends from port 4011 (EfiDhcp4TransmitReceive), BIOS ROMs from 68.
    for port in [68, 4011] {
        let asked = server().ask_proxy(&asks, &format!("10.12.7.7:{port}"), 4011);
        let answer = asked.answer();
        assert_eq!(answer.to, To::Client(addr("10.12.7.7"), B01));
        assert_eq!((answer.from.to_string(), answer.to_port), ("10.12.0.1:4011".into(), port));
        let ack = asked.reply();
        gives_no_address(&ack);
        assert_eq!((ack.kind(), ack.file().as_str()), (ACK, "snponly.efi"));
        assert_eq!(ack.get(43).unwrap(), [71, 4, 0, 0, 0, 0, 255], "the item it chose");
    }
    asks.option(54, &[10, 12, 0, 99]);
    assert_eq!(server().ask_proxy(&asks, "10.12.7.7:68", 4011).0.answer, None, "another's");
}

#[test]
fn an_installed_blade_is_told_at_once_to_boot_its_disk() {
    let mut server = server();
    server.with_intent(&Intent::Local);
    let offer = server.ask_proxy(&uefi(B01), NOBODY, 67).reply();
    gives_no_address(&offer);
    assert_eq!((offer.file().as_str(), offer.siaddr()), ("", Ipv4Addr::UNSPECIFIED));
    assert_eq!(offer.get(43).unwrap(), crate::boot::local_boot_menu());
}

#[test]
fn nothing_else_is_answered_and_nobody_is_refused_an_address() {
    let mut server = server();
    assert_eq!(server.ask_proxy(&discover(STRANGER), NOBODY, 67).0, Decision::default());
    for kind in [3, 4, 7, 8] {
        for mac in [B01, STRANGER] {
            let mut packet = packet(kind, mac);
            packet.option(50, &[192, 168, 7, 7]).option(54, &[10, 12, 0, 99]).pxe(0);
            let decision = server.ask_proxy(&packet, NOBODY, 67).0;
            assert_eq!((decision.answer, decision.durable), (None, None), "{kind}");
        }
    }
    server.snapshot.serve_unknown = false;
    assert_eq!(server.ask_proxy(discover(STRANGER).pxe(0), NOBODY, 67).0.answer, None);
    assert_eq!(server.ask_proxy(discover(B01).pxe(0), NOBODY, 67).reply().kind(), OFFER);
}

#[test]
fn a_relayed_rom_is_answered_to_its_relay_where_that_is_ours() {
    let server = server();
    let mut packet = discover(B01);
    packet.pxe(0).header(24, &[10, 13, 0, 1]).option(82, b"\x01\x04port");
    let asked = server.ask_proxy(&packet, "10.13.0.1:67", 67);
    assert_eq!((asked.to(), asked.answer().to_port), (To::Relay(addr("10.13.0.1")), 67));
    assert_eq!(asked.reply().get(82).unwrap(), b"\x01\x04port");
    packet.header(24, &[172, 16, 0, 1]);
    assert_eq!(server.ask_proxy(&packet, "172.16.0.1:67", 67).0.answer, None);
}

#[test]
fn the_address_another_server_gives_a_blade_is_noted() {
    let server = server();
    let note = |packet: &Packet| {
        server.ask_proxy(packet, NOBODY, 67).0.seen.first().map(|seen| (seen.what, seen.ip))
    };
    let learned = |ip: &str| Some((What::Addressed, Some(addr(ip))));
    let mut selects = request(B01);
    selects.option(50, &[10, 12, 7, 7]).option(54, &[10, 12, 0, 99]);
    assert_eq!(note(&selects), learned("10.12.7.7"));
    assert_eq!(note(request(B01).header(12, &[10, 12, 7, 8])), learned("10.12.7.8"), "rebinding");
    // Not what cannot be its address: nobody's, ours, another blade's.
    for ip in [[255; 4], [127, 0, 0, 1], SERVER.octets(), [10, 12, 1, 2]] {
        assert_eq!(note(request(B01).option(50, &ip)), None, "{ip:?}");
    }
    assert_eq!(note(request(STRANGER).option(50, &[10, 12, 7, 7])), None);
}

#[test]
fn an_address_that_passes_to_a_stranger_is_no_longer_the_blades() {
    let mut server = server();
    let here = Whereabouts { ip: Some(addr("10.12.7.7")), relay: None, port: None };
    server.snapshot = server.snapshot.clone().with_whereabouts(true, [(B01, here)]);
    let there = server.snapshot.by_address(addr("10.12.7.7").into()).unwrap();
    assert_eq!(there.name, server.snapshot.by_mac(B01).unwrap().name);
    let mut takes = request(STRANGER);
    takes.option(50, &[10, 12, 7, 7]);
    let seen = &server.ask_proxy(&takes, NOBODY, 67).0.seen[0];
    assert_eq!(
        (seen.what, seen.mac, seen.ip),
        (What::Addressed, STRANGER, Some(addr("10.12.7.7")))
    );
}
