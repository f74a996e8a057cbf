//! Another DHCPv6 server on the network.

use std::time::Duration;

use firstlight::{
    dhcp6::{
        What,
        wire::{Writer, code},
    },
    inventory::Duid,
};

use super::{Bench, OURS, sh};
use crate::dhcp_wire::others::{Other, notice};

const RANGE: &str = "fd00:12::700,fd00:12::7ff,64,10m";

fn told(bench: &Bench, want: impl Fn(&str) -> bool) -> (bool, String) {
    let (notices, _) = bench.tells.as_ref().unwrap();
    notice(notices, Duration::from_secs(20), want)
}

/// b01 takes an address of another server (RFC 8415 §18.2.2).
fn request(server: &Duid) -> Vec<u8> {
    let mut address = Writer::default();
    address.put(code::IA_ADDRESS, &[&[0xfd, 0, 0, 0x12][..], &[0; 11], &[7], &[0; 8]].concat());
    let mut message = Writer::new(&[3, 1, 2, 3]);
    message
        .put(code::CLIENT_ID, Duid::of_uuid(&[5; 16]).octets())
        .put(code::SERVER_ID, server.octets())
        .put(code::IA_NA, &[&[0; 12], &address.into_octets()[..]].concat());
    message.into_octets()
}

#[test]
fn another_dhcpv6_server_is_named_with_who_took_its_address_until_it_is_gone() {
    let bench = Bench::start(false, OURS);
    let (warning, _) = told(&bench, |text| text.contains("no other DHCPv6 server"));
    assert!(!warning);

    sh(&format!("ip -n {} address add fd00:12::9/64 dev cli nodad", bench.client));
    let rogue = Other::dnsmasq6(&bench.client, "cli", RANGE);
    let alert = bench.wait_for(|seen| seen.what == What::Alert);
    for word in ["fe80::5054:ff:fe00:101", "52:54:00:00:01:01", "srv", "fd00:12::7", "a boot file"]
    {
        assert!(alert.detail.contains(word), "{word}: {}", alert.detail);
    }
    let duid = alert.duid.unwrap();
    let (_, metrics) = bench.tells.clone().unwrap();
    let gauge = format!("firstlight_dhcp6_foreign_server{{interface=\"srv\",server=\"{duid}\"}} 1");
    assert!(metrics().contains(&gauge), "{}", metrics());
    // Nobody took what it offered us.
    assert!(!rogue.log().contains("DHCPREQUEST"), "{}", rogue.log());

    bench.says(546, "ff02::1:2".parse().unwrap(), &request(&duid));
    let (warning, text) = told(&bench, |text| text.contains("taken by"));
    assert!(warning && text.contains("b01 52:54:00:00:01:01 (fd00:12::7)"), "{text}");

    drop(rogue);
    let cleared = bench.wait_for(|seen| seen.what == What::Cleared);
    assert!(cleared.detail.contains("on srv is gone"), "{}", cleared.detail);
    assert_eq!(cleared.blade.unwrap().as_str(), "b01");
    told(&bench, |text| text.contains("no other DHCPv6 server"));
    assert!(!metrics().contains(&gauge));
}

#[test]
fn a_dhcpv6_server_that_does_not_answer_us_is_known_by_its_clients() {
    let bench = Bench::start(false, OURS);
    let duid = Duid::of_uuid(&[9; 16]);
    bench.says(546, "ff02::1:2".parse().unwrap(), &request(&duid));
    let (warning, text) = told(&bench, |text| text.contains(&duid.to_string()));
    assert!(warning && text.contains("its address was taken by b01"), "{text}");
    // Each client says so again when it renews; an event is one.
    bench.says(546, "ff02::1:2".parse().unwrap(), &request(&duid));
    let solicit = [&[1, 1, 2, 3][..], &request(&duid)[4..26]].concat();
    bench.asks(546, "ff02::1:2".parse().unwrap(), &solicit);
    let seen = bench.seen.lock().unwrap();
    assert_eq!(seen.iter().filter(|seen| seen.what == What::Alert).count(), 1, "{seen:#?}");
}
