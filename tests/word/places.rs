//! A blade's switch port, in the words of a relay that may say anything.

use std::process::Command;

use dhcproto::v4::MessageType;

use crate::{
    boot_http::{Bench, STRANGER},
    dhcp_wire::{for_me, message},
    road::site::Site,
};

const B01: [u8; 6] = [0x52, 0x54, 0, 0, 1, 1];
const RELAY: [u8; 4] = [10, 12, 7, 7];

/// The blade asks through a relay, which names its port so.
fn asks_at(bench: &Bench, circuit: &[u8]) {
    assert_eq!(STRANGER, std::net::Ipv4Addr::from(RELAY).to_string());
    let mut packet = message(B01, MessageType::Discover, &[]);
    packet[24..28].copy_from_slice(&RELAY);
    let end = packet.iter().rposition(|octet| *octet == 255).unwrap();
    packet.truncate(end);
    // RFC 3046 §2.0: option 82 is the last; sub-option 1 is the circuit.
    let length = u8::try_from(circuit.len()).unwrap();
    packet.extend([82, length + 2, 1, length]);
    packet.extend(circuit);
    packet.push(255);
    let port = bench.cable.port();
    port.send_to(B01, RELAY, [10, 12, 0, 1], (67, 67), &packet);
    let offer = port.receive(for_me(B01)).expect("an OFFER to the relay");
    assert_eq!((offer.to_ip, offer.to_port), (RELAY, 67));
}

/// The blade asks there, as often as it takes, until the API tells this port: what goes well is
/// noted once a second.
async fn is_at(bench: &Bench, circuit: &[u8], wanted: &str) {
    let told = |site: Site| async move {
        asks_at(bench, circuit);
        site.blade("r1-c1-b01").await["switch_port"] == wanted
    };
    bench.until(super::PATIENCE, &format!("the blade is at {wanted}"), told).await;
}

/// What `firstlight describe` prints.
fn described(bench: &Bench) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_firstlight"));
    command.env_remove("FIRSTLIGHT_TOKEN");
    command.args(["describe", "blade", "r1-c1-b01", "--url", &bench.site.url()]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_blades_switch_port_is_on_its_page_and_in_describe_whatever_the_relay_calls_it() {
    let mut bench = Bench::up("places").await;
    bench.apply(&[]).await;
    is_at(&bench, b"Eth1/7", "Eth1/7").await;
    for path in ["/blades/r1-c1-b01", "/?blade=r1-c1-b01"] {
        let page = bench.page(path).await.1;
        assert!(page.contains("Switch port: Eth1/7"), "{path}: {page}");
    }
    assert!(described(&bench).contains("Eth1/7"));

    // Moved within ten minutes, which is an event with the port's name in it.
    let evil = "<script>alert(1)</script>\"'&";
    is_at(&bench, evil.as_bytes(), evil).await;
    for path in ["/", "/events", "/blades/r1-c1-b01", "/?blade=r1-c1-b01", "/?lang=zh"] {
        let page = bench.page(path).await.1;
        assert!(!page.contains("<script>alert"), "{path}: {page}");
    }
    let page = bench.page("/blades/r1-c1-b01").await.1;
    let escaped = "Switch port: &#60;script&#62;alert(1)&#60;/script&#62;&#34;&#39;&#38;";
    assert!(page.contains(escaped), "{page}");
    let moved = bench.lines("alert", evil).await;
    assert!(moved >= 1, "{:?}", bench.events().await);

    // What is no text is told in hexadecimal digits: nothing steers a terminal.
    let digits = "1b5b324a457468000a";
    is_at(&bench, b"\x1b[2JEth\0\n", digits).await;
    assert!(bench.page("/blades/r1-c1-b01").await.1.contains(digits));
    let shown = described(&bench);
    assert!(shown.contains(digits) && !shown.contains('\u{1b}'), "{shown:?}");

    bench.site.kill_and_restart().await;
    assert_eq!(bench.blade("r1-c1-b01").await["switch_port"], digits, "kept over a restart");
}
