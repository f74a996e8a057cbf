//! `dhcp.mode = "proxy"`: a blade is known by the address that another server gave it.

use std::fs;

use dhcproto::v4::{self, DhcpOption, MessageType, OptionCode};
use firstlight::db::Db;

use crate::{
    boot_http::{B02, Bench, SCRIPT, STRANGER},
    dhcp_wire::{for_me, kind, message, net::Port, others::Other, read},
    lab::Lab,
    road::{site::Site, small},
};

const BLADE: [u8; 6] = [0x52, 0x54, 0, 0, 1, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 9, 1];
const RANGE: &str = "10.12.8.1,10.12.8.50,255.255.0.0,10m";

/// A site in proxy mode, with dnsmasq on the daemon's own machine.
async fn beside_dnsmasq(name: &str) -> (Bench, Other) {
    let lab = Lab::up(name, &["--blades", "3"]);
    let config = lab.file("firstlight.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(config, text.replace("mode = \"server\"", "mode = \"proxy\"")).unwrap();
    let image = small::image(&lab.file("bundle"));
    small::by_hand(&lab.file("inventory.toml"));
    let dnsmasq = Other::dnsmasq(&format!("fl-{}", lab.name), "br0", RANGE);
    (Bench::on(Site::serve(lab, &image, "", None).await), dnsmasq)
}

/// What dnsmasq offers this MAC, and the port that it came to.
fn offered(bench: &Bench, mac: [u8; 6]) -> (Port, v4::Message) {
    let mut port = bench.cable.port();
    // dnsmasq leaves its sums to the card.
    port.strict = false;
    port.broadcast(mac, &message(mac, MessageType::Discover, &[]));
    let offer = read(&port.receive(for_me(mac)).expect("dnsmasq's OFFER"));
    (port, offer)
}

/// Takes what was offered; the far end of the cable then has that address.
fn takes(bench: &Bench, (port, offer): &(Port, v4::Message), mac: [u8; 6]) -> String {
    let asks = [
        DhcpOption::RequestedIpAddress(offer.yiaddr()),
        offer.opts().get(OptionCode::ServerIdentifier).unwrap().clone(),
    ];
    port.broadcast(mac, &message(mac, MessageType::Request, &asks));
    let ack = read(&port.receive(for_me(mac)).expect("dnsmasq's ACK"));
    assert_eq!(kind(&ack), MessageType::Ack);
    let address = ack.yiaddr().to_string();
    assert!(address.starts_with("10.12.8."), "{address}");
    bench.cable.take(&address);
    address
}

fn by_tftp(bench: &Bench, from: &str, name: &str) -> Option<String> {
    let server = "10.12.0.1:69".parse().unwrap();
    let content = crate::tftp_kit::fetch_from(bench.cable.udp(from), server, name)?;
    Some(String::from_utf8(content).unwrap())
}

/// Names under which the blade's own programs ask, with its address in hexadecimal digits.
fn names(address: &str) -> [String; 4] {
    let ip: std::net::Ipv4Addr = address.parse().unwrap();
    [
        "grub/grub.cfg".to_owned(),
        "pxelinux.cfg/01-52-54-00-00-01-01".to_owned(),
        format!("pxelinux.cfg/{:08X}", u32::from(ip)),
        "pxelinux.cfg/default".to_owned(),
    ]
}

/// True if anything of the blade's installation can be had from here.
async fn has_anything(bench: &Bench, from: &str, address: &str) -> bool {
    let attempt = bench.attempts("r1-c1-b01").await[0]["id"].as_str().unwrap().to_owned();
    let told = |name: &String| by_tftp(bench, from, name).is_some_and(|it| it.contains(&attempt));
    names(address).iter().any(told) || bench.cable.get(from, SCRIPT).status == 200
}

#[tokio::test]
async fn a_blade_is_known_by_the_address_that_another_server_gave_it_and_nobody_else_by_it() {
    let (mut bench, _dnsmasq) = beside_dnsmasq("beside").await;
    bench.deploy().await;
    let address = takes(&bench, &offered(&bench, BLADE), BLADE);
    let learned = |site: Site| async move {
        let events = site.events().await;
        events.iter().any(|event| event["text"].as_str().unwrap().contains("takes 10.12.8."))
    };
    bench.until(super::PATIENCE, "its address is learned", learned).await;

    let script = bench.cable.get(&address, SCRIPT);
    assert!(script.text().contains("token="), "{}", script.text());
    for name in names(&address) {
        let text = by_tftp(&bench, &address, &name).unwrap_or_else(|| panic!("no {name}"));
        assert!(text.contains("token="), "{name}: {text}");
    }
    assert!(has_anything(&bench, &address, &address).await);
    for other in [STRANGER, B02] {
        assert!(!has_anything(&bench, other, &address).await, "{other} is another machine");
        let by_address = &names(&address)[2];
        assert_eq!(by_tftp(&bench, other, by_address), None);
    }
    // It is known after a restart, too: it does not ask for an address again.
    bench.site.kill_and_restart().await;
    assert!(bench.cable.get(&address, SCRIPT).text().contains("token="));

    // Another machine that is given that address is not the blade.
    let asks = [DhcpOption::RequestedIpAddress(address.parse().unwrap())];
    bench.cable.port().broadcast(OTHER, &message(OTHER, MessageType::Request, &asks));
    let lost = |site: Site| async move {
        let events = site.events().await;
        let other = |event: &&serde_json::Value| event["mac"] == "02:00:00:00:09:01";
        events.iter().any(|event| other(&event))
    };
    bench.until(super::PATIENCE, "the address is another machine's", lost).await;
    assert!(!has_anything(&bench, &address, &address).await);
}

#[tokio::test]
async fn a_blade_that_asks_while_its_address_is_still_being_written_waits_for_its_configuration() {
    let (bench, _dnsmasq) = beside_dnsmasq("slow").await;
    bench.deploy().await;
    let offer = offered(&bench, BLADE);
    // A disk that is busy for a moment: nothing is written as long as this transaction lives.
    let db = Db::open("sqlite", &bench.lab.file("data")).await.unwrap();
    let busy = db.begin().await.unwrap();
    let address = takes(&bench, &offer, BLADE);
    let heard = |site: Site| async move {
        let outcome = "firstlight_dhcp_exchanges_total{outcome=\"addressed\"} 1";
        site.page("/metrics").await.1.contains(outcome)
    };
    bench.until(super::PATIENCE, "the daemon heard of the address", heard).await;

    let socket = bench.cable.udp(&address);
    let server: std::net::SocketAddr = "10.12.0.1:69".parse().unwrap();
    socket.send_to(b"\0\x01grub/grub.cfg\0octet\0", server).unwrap();
    // While that waits, others are answered: what needs no journal.
    assert_eq!(by_tftp(&bench, STRANGER, "no-such-file"), None);
    drop(busy);
    // It asks again, as GRUB does; the first answer is what it takes.
    let config = crate::tftp_kit::fetch_from(socket, server, "grub/grub.cfg").expect("no ERROR");
    let config = String::from_utf8(config).unwrap();
    assert!(config.contains("token="), "{config}");
    db.close().await;
}
