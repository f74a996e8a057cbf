//! `dhcp.mode = "proxy"`: another server gives the addresses.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use firstlight::{config::DhcpMode, dhcp::What, inventory::Intent};

use super::{
    for_me, kind, message,
    net::{Bench, CONFIG, Frame, INVENTORY, Port, snapshot},
    others::Other,
    read,
};

const B01: [u8; 6] = [0x52, 0x54, 0, 0, 1, 1];
const SERVER: [u8; 4] = [10, 12, 0, 1];
const RANGE: &str = "10.12.7.1,10.12.7.50,255.255.0.0,10m";

fn bench() -> Bench {
    Bench::switched(snapshot(CONFIG, INVENTORY, &Intent::Menu), DhcpMode::Proxy)
}

/// A packet of real firmware, with the MAC of a blade of the inventory.
fn firmware(name: &str) -> Vec<u8> {
    let file = format!("{}/tests/fixtures/dhcp/{name}.bin", env!("CARGO_MANIFEST_DIR"));
    let mut packet = std::fs::read(file).unwrap();
    packet[28..34].copy_from_slice(&B01);
    packet
}

/// A DISCOVER of firmware, the offers of both servers, and the other one's address taken.
fn takes_the_others_address(bench: &Bench, port: &Port, discover: &[u8]) -> (Frame, [u8; 4]) {
    port.broadcast(B01, discover);
    let (mut ours, mut theirs) = (None, None);
    while ours.is_none() || theirs.is_none() {
        let frame = port.receive(for_me(B01)).expect("an OFFER of each server");
        let offer = read(&frame);
        assert_eq!(kind(&offer), MessageType::Offer);
        if frame.from_ip == SERVER {
            assert_eq!(offer.yiaddr(), Ipv4Addr::UNSPECIFIED, "a proxy gives no address");
            assert_eq!((frame.to_ip, frame.to_port), ([255; 4], 68));
            ours = Some(frame);
        } else {
            theirs = Some(offer);
        }
    }
    let theirs = theirs.unwrap();
    assert_ne!(theirs.yiaddr(), Ipv4Addr::UNSPECIFIED);
    let asks = [
        DhcpOption::RequestedIpAddress(theirs.yiaddr()),
        theirs.opts().get(OptionCode::ServerIdentifier).unwrap().clone(),
    ];
    port.broadcast(B01, &message(B01, MessageType::Request, &asks));
    let ack = port.receive(for_me(B01)).expect("an ACK");
    assert_eq!((kind(&read(&ack)), ack.from_ip != SERVER), (MessageType::Ack, true));
    let learned = bench.wait_for(|seen| seen.what == What::Addressed);
    assert_eq!((learned.mac.0, learned.ip), (B01, Some(theirs.yiaddr())));
    (ours.unwrap(), theirs.yiaddr().octets())
}

fn asks_the_boot_server(port: &Port, ip: [u8; 4], discover: &[u8], from_port: u16) -> Frame {
    // PXE 2.1 §2.2.3: a REQUEST with the options of the DISCOVER and the address in ciaddr.
    let mut asks = discover.to_vec();
    asks[12..16].copy_from_slice(&ip);
    let at = 240 + asks[240..].windows(3).position(|option| option == [53, 1, 1]).unwrap();
    asks[at + 2] = 3;
    port.send_to(B01, ip, SERVER, (from_port, 4011), &asks);
    port.receive(|frame| frame.from_port == 4011).expect("an ACK of the boot server")
}

#[test]
fn pxe2_1_2_2_3_bios_and_uefi_boot_beside_dnsmasq() {
    let mut bench = bench();
    let ns = bench.host("other", "10.12.0.9/16");
    let _dnsmasq = Other::dnsmasq(&ns, "other", RANGE);
    bench.serve();
    let port = bench.port();
    for (name, file, vendor) in [
        ("edk2-pxe-discover", "snponly.efi", None),
        ("seabios-ipxe-discover", "http://10.12.0.1/boot/52-54-00-00-01-01.ipxe", Some(())),
    ] {
        let discover = firmware(name);
        let (offer, ip) = takes_the_others_address(&bench, &port, &discover);
        let offer = read(&offer);
        let named = |frame: &[u8]| String::from_utf8_lossy(frame).trim_end_matches('\0').to_owned();
        assert_eq!(named(offer.fname().unwrap()), file);
        assert_eq!(offer.siaddr().octets(), SERVER);
        assert_eq!(offer.opts().get(OptionCode::VendorExtensions).map(|_| ()), vendor, "{name}");
        for from_port in [68, 4011] {
            let frame = asks_the_boot_server(&port, ip, &discover, from_port);
            assert_eq!((frame.to_ip, frame.to_port), (ip, from_port));
            let ack = read(&frame);
            assert_eq!((kind(&ack), ack.yiaddr()), (MessageType::Ack, Ipv4Addr::UNSPECIFIED));
            assert_eq!(named(ack.fname().unwrap()), file);
        }
    }
    assert!(bench.committed.lock().unwrap().is_empty(), "a proxy keeps no lease");
}

#[test]
fn firmware_boots_beside_iscs_server() {
    let mut bench = bench();
    let ns = bench.host("other", "10.12.0.9/16");
    let _dhcpd = Other::dhcpd(&ns, "other");
    bench.serve();
    let discover = firmware("edk2-http-discover");
    let (offer, _) = takes_the_others_address(&bench, &bench.port(), &discover);
    let offer = read(&offer);
    let class = Some(&DhcpOption::ClassIdentifier(b"HTTPClient".to_vec()));
    assert_eq!(offer.opts().get(OptionCode::ClassIdentifier), class);
    assert!(matches!(
        offer.opts().get(OptionCode::BootfileName),
        Some(DhcpOption::BootfileName(url)) if url.starts_with(b"http://10.12.0.1/loaders/")
    ));
}

#[test]
fn the_other_server_may_run_on_this_very_machine() {
    let mut bench = bench();
    let ns = bench.server_ns.clone();
    let _dnsmasq = Other::dnsmasq(&ns, "srv", RANGE);
    bench.serve();
    bench.client_runs("ip link set cli address 52:54:00:00:01:01");
    let run = bench.client_runs("udhcpc -i cli -n -q -f -t 5 -T 1 -s /bin/true 2>&1");
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && text.contains("lease of 10.12.7."), "{text}");
    let learned = bench.wait_for(|seen| seen.what == What::Addressed);
    assert!(text.contains(&learned.ip.unwrap().to_string()), "{text}");
    // And a ROM's packets on the same wire get their boot items.
    let mut port = bench.port();
    port.strict = false;
    port.broadcast(B01, &firmware("edk2-pxe-discover"));
    let ours = |frame: &Frame| frame.payload[16..20] == [0; 4];
    assert!(port.receive(ours).is_some(), "a proxy's OFFER");
}
