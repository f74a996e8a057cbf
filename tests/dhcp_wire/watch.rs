//! Another DHCP server on the network.

use std::time::Duration;

use dhcproto::v4::{DhcpOption, MessageType};
use firstlight::{config::DhcpMode, dhcp::What, inventory::Intent};

use super::{
    message,
    net::{Bench, CONFIG, INVENTORY, runs, snapshot},
    others::{Other, notice},
};

const B01: [u8; 6] = [0x52, 0x54, 0, 0, 1, 1];
const RANGE: &str = "10.12.7.1,10.12.7.50,255.255.0.0,10m";

fn bench(mode: DhcpMode) -> Bench {
    let mut bench = Bench::switched(snapshot(CONFIG, INVENTORY, &Intent::Menu), mode);
    bench.watch_every = Duration::from_millis(300);
    bench
}

fn told(bench: &Bench, want: impl Fn(&str) -> bool) -> (bool, String) {
    let (notices, _) = bench.tells.as_ref().unwrap();
    notice(notices, Duration::from_secs(10), want)
}

#[test]
fn another_dhcp_server_is_named_with_who_took_its_address_until_it_is_gone() {
    let mut bench = bench(DhcpMode::Server);
    let ns = bench.host("rogue", "10.12.0.9/16");
    bench.serve();
    let (warning, _) = told(&bench, |text| text.contains("no other DHCP server"));
    assert!(!warning);

    let rogue = Other::dnsmasq(&ns, "rogue", RANGE);
    let alert = bench.wait_for(|seen| seen.what == What::Alert);
    let link = runs(&ns, "ip -brief link show dev rogue").stdout;
    let mac = String::from_utf8_lossy(&link).split_whitespace().nth(2).unwrap().to_owned();
    for word in ["10.12.0.9", mac.as_str(), "srv", "10.12.7."] {
        assert!(alert.detail.contains(word), "{}", alert.detail);
    }
    let (_, metrics) = bench.tells.clone().unwrap();
    let gauge = "firstlight_dhcp_foreign_server{interface=\"srv\",server=\"10.12.0.9\"} 1";
    assert!(metrics().contains(gauge), "{}", metrics());
    // Nobody took what it offered us.
    assert!(!rogue.log().contains("DHCPREQUEST"), "{}", rogue.log());

    let takes = [
        DhcpOption::RequestedIpAddress([10, 12, 7, 1].into()),
        DhcpOption::ServerIdentifier([10, 12, 0, 9].into()),
    ];
    bench.port().broadcast(B01, &message(B01, MessageType::Request, &takes));
    let (warning, text) = told(&bench, |text| text.contains("b01"));
    assert!(warning && text.contains("b01 52:54:00:00:01:01 (10.12.7.1)"), "{text}");

    drop(rogue);
    let cleared = bench.wait_for(|seen| seen.what == What::Cleared);
    assert!(cleared.detail.contains("10.12.0.9 on srv is gone"), "{}", cleared.detail);
    told(&bench, |text| text.contains("no other DHCP server"));
    assert!(!metrics().contains(gauge));
}

#[test]
fn in_proxy_mode_a_missing_server_of_addresses_is_told() {
    let mut bench = bench(DhcpMode::Proxy);
    let ns = bench.host("other", "10.12.0.9/16");
    bench.serve();
    let (warning, _) = told(&bench, |text| text.contains("no DHCP server answers"));
    assert!(warning);
    let _dnsmasq = Other::dnsmasq(&ns, "other", RANGE);
    let (warning, _) = told(&bench, |text| text.contains("10.12.0.9 gives the addresses"));
    assert!(!warning);
    assert!(bench.seen.lock().unwrap().iter().all(|seen| seen.what != What::Alert));
}
