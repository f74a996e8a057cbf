//! DHCP at the wire: the real server in a network namespace, clients of ours and of others.

mod clients;
mod demands;
mod links;
pub mod net;
pub mod others;
mod proxy;
mod relays;
mod watch;

use std::time::Duration;

use dhcproto::{
    Decodable, Encodable,
    v4::{self, DhcpOption, MessageType, OptionCode},
};
use firstlight::{
    dhcp::{Seen, What},
    inventory::{Intent, LeaseState},
};
use net::{Bench, CONFIG, Frame, INVENTORY, Port, snapshot};

const B01: [u8; 6] = [0x52, 0x54, 0, 0, 1, 1];
const STRANGER: [u8; 6] = [2, 0, 0, 0, 9, 1];

fn bench() -> Bench {
    Bench::start(snapshot(CONFIG, INVENTORY, &Intent::Menu))
}

/// A client's message, made by another implementation than the server's.
pub fn message(mac: [u8; 6], kind: MessageType, options: &[DhcpOption]) -> Vec<u8> {
    let mut message = v4::Message::default();
    message.set_chaddr(&mac).set_xid(0x1122_3344);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    for option in options {
        message.opts_mut().insert(option.clone());
    }
    message.to_vec().unwrap()
}

pub fn read(frame: &Frame) -> v4::Message {
    v4::Message::from_bytes(&frame.payload).unwrap()
}

pub fn kind(message: &v4::Message) -> MessageType {
    message.opts().msg_type().unwrap()
}

pub fn for_me(mac: [u8; 6]) -> impl Fn(&Frame) -> bool {
    move |frame| frame.payload[28..34] == mac
}

pub fn pxe(arch: v4::Architecture) -> Vec<DhcpOption> {
    vec![
        DhcpOption::ClassIdentifier(b"PXEClient:Arch:00000:UNDI:002001".to_vec()),
        DhcpOption::ClientSystemArchitecture(arch),
    ]
}

/// DISCOVER, OFFER, REQUEST, ACK; the two answers as they came.
pub fn dora(port: &Port, mac: [u8; 6], options: &[DhcpOption]) -> (Frame, Frame) {
    port.broadcast(mac, &message(mac, MessageType::Discover, options));
    let first = port.receive(for_me(mac)).expect("an OFFER");
    let offer = read(&first);
    assert_eq!(kind(&offer), MessageType::Offer);
    let mut asks = options.to_vec();
    asks.push(DhcpOption::RequestedIpAddress(offer.yiaddr()));
    asks.push(offer.opts().get(OptionCode::ServerIdentifier).unwrap().clone());
    port.broadcast(mac, &message(mac, MessageType::Request, &asks));
    (first, port.receive(for_me(mac)).expect("an ACK"))
}

#[test]
fn a_reserved_blade_goes_from_discover_to_ack_with_a_boot_file() {
    let bench = bench();
    let (frame, ack) = dora(&bench.port(), B01, &pxe(v4::Architecture::X86_Bios));
    let (offer, ack) = (read(&frame), read(&ack));
    assert_eq!(offer.yiaddr().to_string(), "10.12.1.1");
    assert_eq!(offer.siaddr().to_string(), "10.12.0.1");
    assert_eq!(offer.fname(), Some(&b"undionly.kpxe\0"[..]));
    // RFC 2131 §4.1: broadcast bit clear, so straight to the client, which answers no ARP.
    assert_eq!((frame.to_mac, frame.to_ip, frame.to_port), (B01, [10, 12, 1, 1], 68));
    assert_eq!(frame.from_ip, [10, 12, 0, 1]);
    assert_eq!(kind(&ack), MessageType::Ack);
    assert_eq!((ack.yiaddr(), ack.fname()), (offer.yiaddr(), offer.fname()));
    assert!(bench.committed.lock().unwrap().is_empty(), "a reservation is durable already");
}

#[test]
fn the_intent_of_a_new_snapshot_holds_for_the_next_packet() {
    let bench = bench();
    let (port, rom) = (bench.port(), pxe(v4::Architecture::X64));
    assert_eq!(read(&dora(&port, B01, &rom).1).fname(), Some(&b"snponly.efi\0"[..]));
    bench.snapshot.store(snapshot(CONFIG, INVENTORY, &Intent::Local).into());
    assert_eq!(read(&dora(&port, B01, &rom).1).fname(), None);
}

#[test]
fn rfc2131_2_1_a_dynamic_lease_is_on_disk_before_its_ack() {
    let bench = bench();
    let port = bench.port();
    let (_, ack) = dora(&port, STRANGER, &[]);
    let lease = bench.committed.lock().unwrap()[0].clone();
    assert_eq!((lease.ip, lease.mac.0), (read(&ack).yiaddr(), STRANGER));

    *bench.disk_full.lock().unwrap() = true;
    let other = [2, 0, 0, 0, 9, 2];
    port.broadcast(other, &message(other, MessageType::Discover, &[]));
    let offer = read(&port.receive(for_me(other)).expect("an OFFER"));
    let id = offer.opts().get(OptionCode::ServerIdentifier).unwrap().clone();
    let asks = [DhcpOption::RequestedIpAddress(offer.yiaddr()), id];
    port.broadcast(other, &message(other, MessageType::Request, &asks));
    let alert = bench.wait_for(|seen| seen.what == What::Alert);
    assert!(alert.detail.contains("no ACK") && alert.detail.contains("disk"), "{alert:?}");
    let more = port.receive_within(Duration::from_secs(2), for_me(other));
    assert!(more.is_none(), "an ACK for a lease that was not written");
}

#[test]
fn twenty_strangers_at_once_have_twenty_addresses() {
    let bench = bench();
    let port = bench.port();
    let macs: Vec<[u8; 6]> = (0..20).map(|n| [2, 0, 0, 0, 7, n]).collect();
    for mac in &macs {
        port.broadcast(*mac, &message(*mac, MessageType::Discover, &[]));
    }
    let mut given: Vec<_> =
        macs.iter().map(|_| read(&port.receive(|_| true).expect("an OFFER")).yiaddr()).collect();
    given.sort_unstable();
    given.dedup();
    assert_eq!(given.len(), 20);
}

#[test]
fn rfc2131_2_2_an_address_that_answers_arp_is_not_offered_from_the_pool() {
    let bench = bench();
    bench.client_runs("ip address add 10.12.9.1/16 dev cli");
    let (_, ack) = dora(&bench.port(), STRANGER, &[]);
    assert_eq!(read(&ack).yiaddr().to_string(), "10.12.9.2");
    let alert = bench.wait_for(|seen| seen.what == What::Alert);
    assert!(alert.detail.contains("10.12.9.1 is used by"), "{}", alert.detail);
    let aside = bench.committed.lock().unwrap()[0].clone();
    assert_eq!(
        (aside.ip.to_string().as_str(), aside.state),
        ("10.12.9.1", LeaseState::Quarantined)
    );
}

#[test]
fn hostile_packets_are_counted_and_the_next_blade_is_served() {
    let bench = bench();
    let port = bench.port();
    let good = message(B01, MessageType::Discover, &[]);
    let mut octets = good.clone();
    for n in 0..2000usize {
        octets[n % good.len()] = octets[n % good.len()].wrapping_mul(31).wrapping_add(n as u8);
        port.broadcast(B01, &octets[..good.len() - n % 200]);
    }
    for hlen in [0, 7, 17, 255] {
        let mut bad = good.clone();
        bad[2] = hlen;
        port.broadcast(B01, &bad);
    }
    port.broadcast(B01, &vec![0; 1472]);
    let mac = [0x52, 0x54, 0, 0, 1, 2];
    assert_eq!(read(&dora(&port, mac, &[]).1).yiaddr().to_string(), "10.12.1.2");
}

#[test]
fn two_machines_with_one_mac_are_an_alert() {
    let bench = bench();
    let port = bench.port();
    for n in [1u8, 2] {
        let mut rom = pxe(v4::Architecture::X86_Bios);
        let uuid: Vec<u8> = std::iter::once(0).chain((0..16).map(|i| i * n)).collect();
        rom.push(DhcpOption::ClientMachineIdentifier(uuid));
        dora(&port, B01, &rom);
    }
    let alert = bench.wait_for(|seen| seen.what == What::Alert);
    assert!(alert.detail.contains("two blades with one MAC"), "{}", alert.detail);
}

#[test]
fn rfc2131_4_1_a_relay_is_answered_at_port_67() {
    let bench = bench();
    let port = bench.port();
    bench.client_runs("ip address add 10.12.0.2/16 dev cli");
    let mut discover = message(B01, MessageType::Discover, &[]);
    discover[24..28].copy_from_slice(&[10, 12, 0, 2]);
    port.send(B01, [10, 12, 0, 2], [10, 12, 0, 1], &discover);
    let frame = port.receive(for_me(B01)).expect("an OFFER");
    assert_eq!((frame.to_ip, frame.to_port), ([10, 12, 0, 2], 67));
}

#[test]
fn busyboxs_client_is_served() {
    let bench = bench();
    bench.client_runs("ip link set cli address 52:54:00:00:01:01");
    let run = bench.client_runs(
        "udhcpc -i cli -n -q -f -t 5 -T 1 -s /bin/true -x hostname:rescue -V test 2>&1",
    );
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{text}");
    assert!(text.contains("lease of 10.12.1.1 obtained from 10.12.0.1"), "{text}");
    assert_eq!(bench.wait_for(|seen| seen.what == What::Acked).firmware, Some("OS"));
}

#[test]
fn iscs_client_is_served_and_releases() {
    let bench = bench();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let files = format!("-lf {} -pf {} -cf /dev/null -sf /bin/true", at("leases"), at("pid"));
    let run = bench.client_runs(&format!("dhclient -4 -1 -v {files} cli 2>&1"));
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(run.status.success() && text.contains("bound to 10.12.9."), "{text}");
    let leases = std::fs::read_to_string(at("leases")).unwrap();
    for line in ["subnet-mask 255.255.0.0", "routers 10.12.0.254", "domain-name \"lab.example\""] {
        assert!(leases.contains(line), "{leases}");
    }
    bench.client_runs(&format!("ip address add {} dev cli", bound(&bench)));
    bench.client_runs(&format!("dhclient -4 -r -v {files} cli 2>&1"));
    let released = bench.wait_for(|seen| seen.what == What::Released);
    assert_eq!(released.ip, bench.committed.lock().unwrap().first().map(|lease| lease.ip));
}

fn bound(bench: &Bench) -> String {
    let acked: Seen = bench.wait_for(|seen| seen.what == What::Acked);
    format!("{}/16", acked.ip.unwrap())
}

#[test]
fn a_second_server_on_the_port_and_a_missing_interface_are_named() {
    let bench = bench();
    let busy = bench.bind_again("srv").unwrap_err().to_string();
    assert!(busy.contains("interface srv") && busy.contains("another DHCP server"), "{busy}");
    let missing = bench.bind_again("nosuch0").unwrap_err().to_string();
    assert!(missing.contains("nosuch0") && missing.contains("no such interface"), "{missing}");
}
