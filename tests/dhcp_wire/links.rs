//! Interfaces that come, go and change while the server runs; relays of others.

use std::time::{Duration, Instant};

use dhcproto::v4::MessageType;
use firstlight::{config::DhcpMode, dhcp::What, inventory::Intent};

use super::{
    for_me, message,
    net::{Bench, CONFIG, Frame, INVENTORY, Port, runs, sh, snapshot},
    others::Other,
    read,
};

const B01: [u8; 6] = [0x52, 0x54, 0, 0, 1, 1];
const B03: [u8; 6] = [0x52, 0x54, 0, 0, 1, 3];

/// A second subnet, with a blade in it.
fn two_subnets() -> firstlight::inventory::Snapshot {
    let config = format!("{CONFIG}[[subnet]]\ncidr = \"10.13.0.0/24\"\ngateway = \"10.13.0.1\"\n");
    let blade = "[[blade]]\nname = \"b03\"\nmacs = [\"52:54:00:00:01:03\"]\nip = \"10.13.0.3\"\n";
    snapshot(&config, &format!("{INVENTORY}{blade}"), &Intent::Menu)
}

/// Asks, as a ROM does, until an OFFER pleases; at most twenty seconds.
fn offered(port: impl Fn() -> Port, mac: [u8; 6], want: impl Fn(&Frame) -> bool) -> Frame {
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        let port = port();
        port.broadcast(mac, &message(mac, MessageType::Discover, &[]));
        let frame = port.receive_within(Duration::from_secs(2), for_me(mac));
        if let Some(frame) = frame.filter(&want) {
            return frame;
        }
    }
    panic!("no such OFFER");
}

#[test]
fn an_address_that_changes_is_followed() {
    let bench = Bench::start(snapshot(CONFIG, INVENTORY, &Intent::Menu));
    offered(|| bench.port(), B01, |frame| frame.from_ip == [10, 12, 0, 1]);
    let ns = &bench.server_ns;
    sh(&format!(
        "ip -n {ns} address add 10.12.0.7/16 dev srv && ip -n {ns} address del 10.12.0.1/16 dev srv"
    ));
    sh(&format!("ip -n {ns} address replace 10.12.0.7/16 dev srv"));
    let frame = offered(|| bench.port(), B01, |frame| frame.from_ip == [10, 12, 0, 7]);
    assert_eq!(read(&frame).siaddr().to_string(), "0.0.0.0", "an OS boots nothing");
}

#[test]
fn a_link_that_flaps_and_an_interface_that_comes_back_are_served_without_a_restart() {
    let bench = Bench::start(snapshot(CONFIG, INVENTORY, &Intent::Menu));
    let (server, clients) = (&bench.server_ns, &bench.client_ns);
    let flap = format!("ip -n {server} link set dev srv");
    sh(&format!("{flap} down && {flap} up && ip -n {server} address replace 10.12.0.1/16 dev srv"));
    offered(|| bench.port(), B01, |_| true);

    sh(&format!("ip -n {server} link del dev srv"));
    sh(&format!(
        "ip -n {server} link add srv type veth peer name cli netns {clients} && \
         ip -n {server} address add 10.12.0.1/16 dev srv && \
         ip -n {server} link set dev srv up && ip -n {clients} link set dev cli up"
    ));
    let frame = offered(|| bench.port(), B01, |_| true);
    assert_eq!(read(&frame).yiaddr().to_string(), "10.12.1.1");
}

#[test]
fn each_interface_gives_addresses_of_its_own_subnet() {
    // As VLAN sub-interfaces are: names with a dot, on one card.
    let mut bench = Bench::switched(two_subnets(), DhcpMode::Server);
    let (server, clients) = (bench.server_ns.clone(), bench.client_ns.clone());
    sh(&format!(
        "ip -n {server} link add srv.20 type veth peer name cli.20 netns {clients} && \
         ip -n {server} address add 10.13.0.1/24 dev srv.20 && \
         ip -n {server} link set dev srv.20 up && ip -n {clients} link set dev cli.20 up"
    ));
    bench.interfaces = vec!["srv".to_owned(), "srv.20".to_owned()];
    bench.serve();
    let frame = offered(|| bench.port(), B01, |_| true);
    assert_eq!(
        (read(&frame).yiaddr().to_string(), frame.from_ip),
        ("10.12.1.1".into(), [10, 12, 0, 1])
    );
    let frame = offered(|| bench.port_on("cli.20"), B03, |_| true);
    assert_eq!(
        (read(&frame).yiaddr().to_string(), frame.from_ip),
        ("10.13.0.3".into(), [10, 13, 0, 1])
    );
    // A blade plugged into the wrong network is told of.
    bench.port().broadcast(B03, &message(B03, MessageType::Discover, &[]));
    let alert = bench.wait_for(|seen| seen.what == What::Alert);
    assert!(alert.detail.contains("b03") && alert.detail.contains("10.13.0.3"), "{}", alert.detail);
}

#[test]
fn a_blade_behind_iscs_relay_is_served_and_its_switch_port_is_known() {
    let mut bench = Bench::switched(two_subnets(), DhcpMode::Server);
    let relay = bench.host("relay", "10.12.0.2/16");
    let clients = bench.client_ns.clone();
    sh(&format!(
        "ip -n {relay} link add leaf type veth peer name far netns {clients} && \
         ip -n {relay} address add 10.13.0.1/24 dev leaf && ip -n {relay} link set dev leaf up && \
         ip -n {clients} link set dev far address 52:54:00:00:01:03 && \
         ip -n {clients} link set dev far up && \
         ip -n {} route add 10.13.0.0/24 via 10.12.0.2",
        bench.server_ns
    ));
    bench.serve();
    let _relay = Other::dhcrelay(&relay, "relay", "leaf");
    let run = runs(&clients, "udhcpc -i far -n -q -f -t 5 -T 2 -s /bin/true 2>&1");
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && text.contains("lease of 10.13.0.3 obtained from 10.12.0.1"),
        "{text}"
    );
    let seen = bench.wait_for(|seen| seen.what == What::Acked);
    assert_eq!(seen.relay, Some([10, 13, 0, 1].into()));
    assert!(seen.switch_port.as_deref().is_some_and(|port| port.contains("leaf")), "{seen:?}");
}
