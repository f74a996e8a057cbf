//! Addresses that two want.

use dhcproto::v4::{self, DhcpOption, MessageType, OptionCode};
use firstlight::blade::Mac;

use crate::{
    boot_http::{Bench, cable::Cable},
    dhcp_wire::{dora, message, net::Port, pxe, read},
};

const B01: [u8; 6] = [0x52, 0x54, 0, 0, 1, 1];

fn machine(number: u8) -> Vec<DhcpOption> {
    let mut uuid = vec![0];
    uuid.extend((0..16).map(|n| n * 7 + number));
    let mut options = pxe(v4::Architecture::X86_Bios);
    options.push(DhcpOption::ClientMachineIdentifier(uuid));
    options
}

fn served(cable: &Cable, mac: [u8; 6]) -> (Port, v4::Message) {
    let port = cable.port();
    let (_, ack) = dora(&port, mac, &machine(1));
    (port, read(&ack))
}

#[tokio::test]
async fn two_machines_with_one_mac_are_told_by_name_and_both_are_served() {
    let bench = Bench::up("twins").await;
    bench.apply(&[]).await;
    let port = bench.cable.port();
    for number in [1, 2] {
        let (_, ack) = dora(&port, B01, &machine(number));
        assert_eq!(read(&ack).yiaddr().to_string(), "10.12.1.1");
    }
    let words = "two blades with one MAC: 52:54:00:00:01:01 is used by the machines";
    bench.is_told("warning", words, words).await;
    assert_eq!(
        bench
            .lines("alert", "by the machines 01080f16-1d24-2b32-3940-474e555c636a and 02091017-")
            .await,
        1,
        "which machines"
    );
}

#[tokio::test]
async fn two_blades_with_one_mac_are_refused_with_file_line_and_column() {
    let bench = Bench::up("twin-blades").await;
    bench.apply(&[]).await;
    let before = bench.page("/api/v1/export").await.1;
    let text = "[[blade]]\nname = \"other\"\nip = \"10.12.5.5\"\nmacs = [\"52:54:00:00:01:01\"]\n";
    let request = serde_json::json!({ "files": [["more.toml", text]] });
    let (status, answer) = bench.ask("apply", request).await;
    let error = answer["error"].as_str().unwrap();
    assert_eq!(status, 422, "{error}");
    let told = "more.toml:4:9: other: MAC 52:54:00:00:01:01 belongs to r1-c1-b01 already";
    assert!(error.contains(told), "{error}");
    assert_eq!(bench.page("/api/v1/export").await.1, before);
}

#[tokio::test]
async fn an_address_that_another_machine_uses_is_told_with_both() {
    let bench = Bench::up("declined").await;
    bench.apply(&[]).await;
    let (port, ack) = served(&bench.cable, B01);
    let options = [
        DhcpOption::RequestedIpAddress(ack.yiaddr()),
        ack.opts().get(OptionCode::ServerIdentifier).unwrap().clone(),
    ];
    port.broadcast(B01, &message(B01, MessageType::Decline, &options));
    let words = "address in use: r1-c1-b01 (52:54:00:00:01:01) was given its address 10.12.1.1";
    bench.is_told("warning", words, words).await;
}

#[tokio::test]
async fn a_full_pool_is_told_with_its_subnet_and_blades_are_served_all_the_same() {
    let bench = Bench::up("pool").await;
    bench.apply(&[]).await;
    let port = bench.cable.port();
    let told = |site: crate::road::site::Site| {
        let port = &port;
        async move {
            // Offers that nobody takes are given to others: made-up machines take theirs.
            for n in 1..=250_u8 {
                let mac = [2, 0, 0, 9, 0, n];
                let taken = [
                    DhcpOption::RequestedIpAddress([10, 12, 9, n].into()),
                    DhcpOption::ServerIdentifier([10, 12, 0, 1].into()),
                ];
                port.broadcast(mac, &message(mac, MessageType::Request, &taken));
                let late = [2, 0, 0, 9, 1, n];
                port.broadcast(late, &message(late, MessageType::Discover, &[]));
            }
            let events = site.events().await;
            events.iter().any(|event| event["kind"] == "alert")
        }
    };
    bench.until(super::PATIENCE, "the pool is full", told).await;
    let words = "pool of 10.12.0.0/16 is full";
    bench.is_told("warning", words, words).await;
    assert!(bench.lines("alert", "`firstlight get leases`").await >= 1);
    let (_, ack) = served(&bench.cable, B01);
    assert_eq!(ack.yiaddr().to_string(), "10.12.1.1");
    // And who holds what: a machine that was given one.
    let leases = bench.get("leases").await;
    for lease in leases.as_array().unwrap() {
        assert!(lease["mac"].as_str().unwrap().parse::<Mac>().is_ok(), "{lease}");
    }
}
