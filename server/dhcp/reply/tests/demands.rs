//! What an ACK must have as well as an OFFER, and what takes more than one client to show.

use std::collections::HashSet;

use super::{kit::*, *};

/// Its OFFER, then the REQUEST with the same options, with the offered address.
fn selects(server: &mut Desk, mac: Mac, fill: impl Fn(&mut Packet)) -> [Reply; 2] {
    let mut packet = discover(mac);
    fill(&mut packet);
    let offer = server.ask(&packet).reply();
    let mut select = request(mac);
    fill(&mut select);
    select.option(50, &offer.yiaddr().octets()).option(54, &SERVER.octets());
    let ack = server.ask(&select).reply();
    assert_eq!((ack.kind(), ack.yiaddr()), (ACK, offer.yiaddr()));
    [offer, ack]
}

#[test]
fn rfc2131_table_3_an_ack_has_what_it_must_and_nothing_of_the_request() {
    let [_, ack] = selects(&mut server(), B01, |packet| {
        packet.header(8, &[0, 77]).header(10, &[0x80, 0]).header(34, &[9; 10]);
        packet.option(55, &[1, 3, 50, 51, 55, 57]).option(57, &1500u16.to_be_bytes());
    });
    assert_eq!(ack.0[..4], [2, 1, 6, 0], "op, htype, hlen, hops");
    assert_eq!(ack.0[4..8], XID);
    assert_eq!(ack.0[8..12], [0, 0, 0x80, 0], "secs, flags");
    assert_eq!((&ack.0[12..16], &ack.0[24..28]), (&[0; 4][..], &[0; 4][..]), "ciaddr, giaddr");
    assert_eq!(ack.0[28..44], [&B01.0[..], &[9; 10]].concat(), "chaddr");
    assert_eq!(ack.get(54).unwrap(), SERVER.octets());
    assert!(ack.number(51) > 0);
    assert!([50, 55, 57].iter().all(|code| ack.get(*code).is_none()), "{:?}", ack.options());
}

#[test]
fn rfc6842_3_and_rfc3046_2_2_identifier_and_option_82_are_echoed_in_the_ack_too() {
    let agent = b"\x01\x04port\x02\x03sw1";
    let both = selects(&mut server(), ELSEWHERE, |packet| {
        packet.header(24, &[10, 13, 0, 1]).option(61, b"\xff\0\x01odd").option(82, agent);
    });
    for reply in both {
        assert_eq!(reply.get(61).unwrap(), b"\xff\0\x01odd");
        assert_eq!(reply.options().last().unwrap(), &(82, agent.to_vec()));
    }
    let [_, plain] = selects(&mut server(), B01, |_| ());
    assert!(plain.get(61).is_none() && plain.get(82).is_none());
}

#[test]
fn uefi_2_10_24_7_http_boot_is_offered_and_acked_a_url_beside_its_class() {
    for (arch, program) in [(15u16, "snponly.efi"), (16, "snponly.efi"), (19, "ipxe-arm64.efi")] {
        let both = selects(&mut server(), B01, |packet| {
            let class = format!("HTTPClient:Arch:{arch:05}:UNDI:003001");
            packet.option(60, class.as_bytes()).option(93, &arch.to_be_bytes());
        });
        for reply in both {
            assert_eq!(reply.get(60).unwrap(), b"HTTPClient");
            let url = format!("http://10.12.0.1/loaders/{program}");
            assert_eq!(reply.get(67).unwrap(), url.as_bytes());
        }
    }
}

#[test]
fn rfc2131_1_6_no_address_is_acked_twice_whoever_asks_for_it() {
    let mut server = server();
    let clients: Vec<Mac> = (0..18).map(|n| Mac([2, 0, 0, 0, 7, n])).collect();
    let offered: Vec<Ipv4Addr> =
        clients.iter().map(|mac| server.ask(&discover(*mac)).reply().yiaddr()).collect();
    let mut acked = HashSet::new();
    for (n, mac) in clients.iter().enumerate() {
        // First its neighbour's, the server's own and a reserved one: never ACKed.
        let neighbours = offered[(n + 1) % offered.len()];
        for ip in [neighbours, SERVER, addr("10.12.9.2"), addr("10.12.9.3"), addr("10.12.1.1")] {
            let mut grabs = request(*mac);
            grabs.option(50, &ip.octets()).option(54, &SERVER.octets());
            let answer = server.ask(&grabs);
            assert!(answer.0.answer.is_none() || answer.reply().kind() == NAK, "{mac} {ip}");
        }
        let ip = server.dora(*mac);
        assert!(acked.insert(ip), "{ip} twice");
    }
    assert_eq!(acked.len(), 18);
}
