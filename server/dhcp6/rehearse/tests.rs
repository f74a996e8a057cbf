use super::*;
use crate::dhcp6::{
    kit::snapshot,
    reply::{Arrival, decide},
};

fn interface(name: &str, addresses: &[&str]) -> Arc<Interface> {
    let addresses = addresses.iter().map(|net| net.parse().unwrap()).collect();
    let url = Some("http://10.12.0.1".to_owned());
    Arc::new(Interface { name: name.to_owned(), index: 2, addresses, url, http_port: 80 })
}

/// Octet `last` of a blade's MAC.
fn card(last: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 1, last])
}

fn played(player: &str, mac: Mac) -> Vec<Exchange> {
    let (snapshot, here) = (snapshot(), [interface("srv", &["fd00:12::1/64"])]);
    let (via, relay) = place(&snapshot, mac, &here).unwrap();
    let caller = Caller::new(&snapshot, player.parse().unwrap(), mac, relay);
    let (from, multicast) = (caller.sends_from(), relay.is_none());
    let server = Duid::of_uuid(&[7; 16]);
    exchanges(&caller, &mut |request| {
        decide(&snapshot, &server, request, &Arrival { via, from, multicast, now: 1 })
    })
}

fn value<'a>(exchange: &'a Exchange, name: &str) -> &'a str {
    let field = exchange.fields.iter().find(|(known, _)| known == name);
    &field.unwrap_or_else(|| panic!("no {name}: {:#?}", exchange.fields)).1
}

#[test]
fn it_asks_as_captured_firmware_does() {
    for (player, file) in [
        ("uefi-x64", "edk2-pxe-solicit"),
        ("uefi-x64", "edk2-pxe-request"),
        ("ipxe-uefi-x64", "ipxe-snponly-solicit"),
    ] {
        let path = format!("{}/tests/fixtures/dhcp6/{file}.bin", env!("CARGO_MANIFEST_DIR"));
        let captured = std::fs::read(path).unwrap();
        let captured = Request::parse(&captured).unwrap();
        let all = played(player, card(1));
        let ours = all.iter().map(|exchange| Request::parse(&exchange.sent).unwrap());
        let ours = ours.into_iter().find(|ours| ours.message == captured.message).unwrap();
        assert_eq!(ours.wanted, captured.wanted, "{file}");
        assert_eq!(ours.client.archs, captured.client.archs, "{file}");
        assert_eq!(ours.client.user_class, captured.client.user_class, "{file}");
        assert_eq!(ours.client.firmware(), captured.client.firmware(), "{file}");
        assert_eq!(ours.server_id.is_some(), captured.server_id.is_some(), "{file}");
        let shape = |request: &Request<'_>| -> Vec<_> {
            request.ias.iter().map(|ia| (ia.kind, ia.addresses.len())).collect()
        };
        assert_eq!(shape(&ours), shape(&captured), "{file}");
    }
}

#[test]
fn a_blade_on_our_link_is_given_its_address_and_what_it_boots_and_told_why() {
    let all = played("uefi-x64", card(1));
    let asked: Vec<_> = all.iter().map(|exchange| exchange.asked).collect();
    assert_eq!(asked, ["SOLICIT", "REQUEST"]);
    for (exchange, kind) in all.iter().zip(["ADVERTISE", "REPLY"]) {
        assert_eq!(value(exchange, "message type"), kind);
        assert_eq!(exchange.address, "fd00:12::1:1".parse().ok());
        assert_eq!(exchange.server, "fd00:12::1".parse().ok());
        assert_eq!(exchange.boot_file.as_deref(), Some("tftp://[fd00:12::1]/snponly.efi"));
        assert_eq!(exchange.rule, "firmware table: UEFI x64 (architecture 7)");
        assert!(value(exchange, "address (5)").starts_with("fd00:12::1:1, preferred for "));
        assert!(value(exchange, "association (3)").starts_with("00000101, renewed after "));
        assert_eq!(value(exchange, "client identifier (1)"), "00:03:00:01:52:54:00:00:01:01");
        assert!(value(exchange, "server identifier (2)").starts_with("00:04:07:07:"));
        assert_eq!(value(exchange, "DNS (23)"), "fd00:12::53");
    }
    assert_eq!(value(&all[0], "preference (7)"), "255");
    let request = Request::parse(&all[1].sent).unwrap();
    assert_eq!(request.ias[0].addresses, ["fd00:12::1:1".parse::<Ipv6Addr>().unwrap()]);
    assert_eq!(request.server_id, Some(Duid::of_uuid(&[7; 16]).octets()));

    let ipxe = &played("ipxe-uefi-x64", card(1))[1];
    assert_eq!(value(ipxe, "domains (24)"), "lab.example");
    let script = "http://[fd00:12::1]/boot/52-54-00-00-01-01.ipxe";
    assert_eq!(value(ipxe, "boot file (59)"), script, "boot.url is of the other version");
    let http = &played("uefi-x64-http", card(1))[1];
    assert_eq!(value(http, "vendor class (16)"), "HTTPClient");
    assert_eq!(value(http, "boot file (59)"), "http://[fd00:12::1]/loaders/snponly.efi");
    let system = &played("os", card(1))[1];
    assert_eq!((system.address, &system.boot_file), ("fd00:12::1:1".parse().ok(), &None));
}

#[test]
fn a_blade_of_another_link_asks_through_a_relay_there() {
    let all = played("uefi-x64", card(3));
    assert_eq!(all.len(), 2);
    for exchange in &all {
        assert_eq!(exchange.sent[..2], [12, 0]);
        let request = Request::parse(&exchange.sent).unwrap();
        let relay = &request.relays[0];
        assert_eq!(relay.link, "fd00:13::".parse::<Ipv6Addr>().unwrap());
        assert_eq!(relay.peer, "fe80::5054:ff:fe00:103".parse::<Ipv6Addr>().unwrap());
        assert_eq!(value(exchange, "relay's link address"), "fd00:13::");
        assert_eq!(value(exchange, "relay's peer address"), "fe80::5054:ff:fe00:103");
        assert_eq!(exchange.address, "fd00:13::1:3".parse().ok());
        assert_eq!(exchange.boot_file.as_deref(), Some("tftp://[fd00:12::1]/snponly.efi"));
    }
}

#[test]
fn rfc8415_s18_2_9_who_is_advertised_no_address_does_not_request_one() {
    for (mac, why) in [
        (card(4), "NoAddrsAvail: it has no ip6 in the inventory"),
        (card(9), "NoAddrsAvail: not in the inventory"),
    ] {
        let all = played("uefi-x64", mac);
        assert_eq!(all.len(), 1, "{all:#?}");
        assert_eq!(value(&all[0], "status (13)"), why);
        assert_eq!(value(&all[0], "association (3)").len(), 8, "no times of renewal");
        assert_eq!((all[0].address, &all[0].boot_file), (None, &None));
        assert!(all[0].said.starts_with("no address: "), "{}", all[0].said);
    }
}

#[test]
fn an_identifier_of_the_inventory_is_what_the_machine_shows() {
    let all = played("uefi-arm64", card(2));
    let duid = "00:04:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff";
    assert_eq!(value(&all[1], "client identifier (1)"), duid);
    assert_eq!(all[1].address, "fd00:12::1:2".parse().ok());
}

#[test]
fn a_machine_is_heard_where_its_network_is() {
    let snapshot = snapshot();
    let all = [
        interface("dark", &[]),
        interface("far", &["fd00:99::1/64"]),
        interface("near", &["2001:db8::1/64", "fd00:12::1/64"]),
    ];
    let at = |mac, interfaces| {
        let (via, relay) = place(&snapshot, mac, interfaces).unwrap();
        (via.name.clone(), relay.map(|relay| relay.to_string()))
    };
    let relay = Some("fd00:13::".to_owned());
    assert_eq!(at(card(1), &all[..]), ("near".to_owned(), None));
    assert_eq!(at(card(3), &all[..]), ("far".to_owned(), relay.clone()));
    assert_eq!(at(card(3), &all[..1]), ("dark".to_owned(), relay));
    assert_eq!(at(card(9), &all[..]), ("near".to_owned(), None), "a stranger, on a served link");
    assert_eq!(at(card(9), &all[..2]), ("far".to_owned(), None));
    assert!(place(&snapshot, card(1), &[]).is_none());
}
