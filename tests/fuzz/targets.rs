//! What is fuzzed: octets from the network go through parser and decision as they do in the
//! daemon, and whatever is answered must be an answer that a client can read.
//!
//! Compiled twice: into the fuzzers (`make fuzz`) and into the tests, which run the seeds.

use std::{
    net::Ipv4Addr,
    sync::OnceLock,
    time::{Duration, Instant},
};

use bytes::Bytes;
use firstlight::{
    blade::Mac,
    config::Config,
    dhcp::{
        LeaseBook,
        reply::{Decision, Interface, To, decide, decide_as_proxy},
        wire::{Arrival, Request},
    },
    dhcp6,
    inventory::{Document, Duid, Intent, Snapshot},
    tftp::{
        transfer::{Ceiling, Datagram, Grant, Transfer},
        wire::{Asked, Inbound, Mode, parse},
    },
};

/// A function that takes any octets and never panics.
pub type Target = fn(&[u8]);

/// Each has a fuzzer and a folder of seeds of this name.
pub const TARGETS: [(&str, Target); 5] = [
    ("dhcp4", dhcp4),
    ("dhcp6", dhcp6),
    ("option82", option82),
    ("pxe_suboptions", pxe_suboptions),
    ("tftp", tftp),
];

const CONFIG: &str = r#"
site = "fuzz"
[boot]
interfaces = ["eth1"]
[[subnet]]
cidr = "10.12.0.0/16"
gateway = "10.12.0.254"
dns = ["10.12.0.53"]
domain = "lab.example"
pool = ["10.12.9.1-10.12.9.20"]
[[subnet]]
cidr = "10.13.0.0/24"
pool = ["10.13.0.100-10.13.0.110"]
[[subnet]]
cidr = "fd00:12::/64"
dns = ["fd00:12::53"]
ntp = ["fd00:12::1"]
domain = "lab.example"
"#;

const INVENTORY: &str = r#"
[[blade]]
name = "b01"
macs = ["52:54:00:00:01:01"]
ip = "10.12.1.1"
ip6 = "fd00:12::1:1"
[[blade]]
name = "b02"
macs = ["52:54:00:00:01:02"]
ip = "10.12.1.2"
"#;

const B02: (Mac, [u8; 4]) = (Mac([0x52, 0x54, 0, 0, 1, 2]), [10, 12, 1, 2]);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 12, 0, 1);
const MAGIC: [u8; 4] = [99, 130, 83, 99];

fn snapshot() -> &'static Snapshot {
    static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let document = Document::parse(INVENTORY).unwrap();
        Snapshot::build(&Config::parse(CONFIG).unwrap(), &document, &|_, _| (Intent::Menu, None))
    })
}

fn interface() -> Interface {
    Interface {
        name: "eth1".to_owned(),
        index: 2,
        mac: Mac([2, 0, 0, 0, 0, 1]),
        addresses: vec!["10.12.0.1/16".parse().unwrap()],
        own: vec![SERVER],
        url: None,
        http_port: 80,
    }
}

/// A whole DHCPv4 message to port 67, and to port 4011 of a proxy.
pub fn dhcp4(packet: &[u8]) {
    firstlight::dhcp::wire::fuzz_one(packet);
    let Ok(request) = Request::parse(packet) else { return };
    let via = interface();
    let mut book = LeaseBook::new(&snapshot().subnets, []);
    // Twice: the second time its address is held, declined or released already.
    for now in [1_000_000, 1_002_000] {
        let decision = decide(snapshot(), &mut book, &request, &via, now);
        is_an_answer(packet, &request, &decision);
    }
    for port in [67, 4011] {
        let from = "10.12.1.1:68".parse().unwrap();
        let request = Request::parse(packet).unwrap().came(Arrival { from, port });
        is_an_answer(packet, &request, &decide_as_proxy(snapshot(), &request, &via, 1_000_000));
    }
}

/// The value of option 82 of a DISCOVER that a relay of the second subnet has sent on.
pub fn option82(value: &[u8]) {
    let mut packet = message(1);
    packet[24..28].copy_from_slice(&[10, 13, 0, 1]);
    put(&mut packet, 82, value);
    dhcp4(&packet);
}

/// The value of option 43 of a PXE client's question to the boot server.
pub fn pxe_suboptions(value: &[u8]) {
    let mut packet = message(3);
    packet[12..16].copy_from_slice(&[10, 12, 1, 1]);
    put(&mut packet, 60, b"PXEClient:Arch:00000:UNDI:002001");
    put(&mut packet, 93, &[0, 0]);
    put(&mut packet, 43, value);
    dhcp4(&packet);
}

fn message(kind: u8) -> Vec<u8> {
    let mut packet = vec![0; 240];
    packet[..3].copy_from_slice(&[1, 1, 6]);
    packet[28..34].copy_from_slice(&[0x52, 0x54, 0, 0, 1, 1]);
    packet[236..].copy_from_slice(&MAGIC);
    put(&mut packet, 53, &[kind]);
    packet
}

/// Split where it is too long for one option (RFC 3396 §6).
fn put(packet: &mut Vec<u8>, code: u8, value: &[u8]) {
    for part in value.chunks(255) {
        packet.push(code);
        packet.push(u8::try_from(part.len()).unwrap());
        packet.extend_from_slice(part);
    }
}

/// RFC 2131 table 3, and what no packet may bring about.
fn is_an_answer(asked: &[u8], request: &Request<'_>, decision: &Decision) {
    let Some(answer) = &decision.answer else { return };
    let packet = &answer.packet;
    assert!((300..=1472).contains(&packet.len()), "{} octets", packet.len());
    assert_eq!((packet[0], &packet[4..8], &packet[28..34]), (2, &asked[4..8], &asked[28..34]));
    assert_eq!(packet[236..240], MAGIC);
    let options = options(&packet[240..]);
    let get = |code: u8| options.iter().find(|(c, _)| *c == code).map(|(_, value)| *value);
    assert!(matches!(get(53), Some([2 | 5 | 6])), "{options:?}");
    assert!(get(54).is_some_and(|id| id.len() == 4), "no server identifier: {options:?}");
    let last = options.last().map(|(code, _)| *code);
    assert_eq!(get(82).is_some(), last == Some(82), "RFC 3046 §2.2: it is the last");
    match answer.to {
        To::Relay(relay) => assert_eq!(relay, request.giaddr),
        // Port 4011 is asked without relays: who asked is answered, whatever giaddr says.
        To::Client(..) | To::Routed(..) | To::Broadcast => {
            let relayed = request.arrival.port == 67 && !request.giaddr.is_unspecified();
            assert!(!relayed, "{:?}", answer.to);
        }
    }
    let given = &packet[16..20];
    assert!(*given != B02.1 || request.mac == B02.0, "a reserved address for another");
    assert_ne!(given, SERVER.octets());
}

fn options(area: &[u8]) -> Vec<(u8, &[u8])> {
    let (mut rest, mut found) = (area, Vec::new());
    loop {
        match rest {
            [255, tail @ ..] => {
                assert!(tail.iter().all(|octet| *octet == 0), "only pad after END");
                return found;
            }
            [code, length, tail @ ..] => {
                let (value, tail) = tail.split_at(usize::from(*length));
                found.push((*code, value));
                rest = tail;
            }
            _ => panic!("no END"),
        }
    }
}

/// A whole DHCPv6 message, perhaps relayed, to all servers and to an address of ours.
pub fn dhcp6(packet: &[u8]) {
    dhcp6::wire::fuzz_one(packet);
    let Ok(request) = dhcp6::wire::Request::parse(packet) else { return };
    let via = dhcp6::reply::Interface {
        name: "eth1".to_owned(),
        index: 2,
        addresses: vec!["fd00:12::1/64".parse().unwrap()],
        url: None,
        http_port: 80,
    };
    let server = Duid::of_uuid(&[7; 16]);
    for from in ["fe80::5054:ff:fe00:101", "fd00:12::99"] {
        for multicast in [true, false] {
            let from = from.parse().unwrap();
            let arrival = dhcp6::reply::Arrival { via: &via, from, multicast, now: 1_000_000 };
            let decision = dhcp6::reply::decide(snapshot(), &server, &request, &arrival);
            let Some(answer) = decision.answer else { continue };
            is_an_answer6(packet, &answer);
        }
    }
}

/// RFC 8415 §19.3: wrapped as the question was; innermost an ADVERTISE or a REPLY with its
/// transaction id and our identifier.
fn is_an_answer6(asked: &[u8], answer: &[u8]) {
    if asked[0] == 12 {
        assert_eq!((answer[0], &answer[1..34]), (13, &asked[1..34]));
        let message = |packet| options6(packet, 34).into_iter().find(|(code, _)| *code == 9);
        let (asked, answer) = (message(asked).unwrap().1, message(answer).unwrap().1);
        return is_an_answer6(asked, answer);
    }
    assert!(matches!(answer[0], 2 | 7), "message type {}", answer[0]);
    assert_eq!(answer[1..4], asked[1..4]);
    let ours = options6(answer, 4).iter().filter(|(code, _)| *code == 2).count();
    assert_eq!(ours, 1, "one server identifier");
}

fn options6(packet: &[u8], head: usize) -> Vec<(u16, &[u8])> {
    let (mut rest, mut found) = (&packet[head..], Vec::new());
    while let [a, b, c, d, tail @ ..] = rest {
        let (value, tail) = tail.split_at(usize::from(u16::from_be_bytes([*c, *d])));
        found.push((u16::from_be_bytes([*a, *b]), value));
        rest = tail;
    }
    assert!(rest.is_empty(), "{} octets behind the options", rest.len());
    found
}

/// The first packet of a client, and packets of four octets and more to a running transfer.
pub fn tftp(octets: &[u8]) {
    let asked = match parse(octets) {
        Ok(Inbound::Read(request)) => {
            let name = &request.name;
            let leaves = name.starts_with('/') || name.split('/').any(|part| part == "..");
            assert!(!leaves && !name.contains('\\') && !name.contains('\0'), "{name:?}");
            transfers(request.asked, request.mode, &[]);
            return;
        }
        _ => Asked { windowsize: Some(4), tsize: true, ..Asked::default() },
    };
    transfers(asked, Mode::Octet, octets);
}

/// Runs a transfer: `octets` are what its client says, by fours; then it is silent.
fn transfers(asked: Asked, mode: Mode, octets: &[u8]) {
    let content = Bytes::from(vec![b'\n'; 5000]);
    let mut now = Instant::now();
    let grant = Grant::new(&asked, mode, content.len(), &Ceiling::default());
    let largest = usize::from(grant.blksize);
    let mut transfer = Transfer::start(now, content, mode, grant);
    let mut sent = Vec::from_iter(transfer.outbox().drain(..));
    for packet in octets.chunks(4) {
        now += Duration::from_millis(5);
        if let Ok(inbound) = parse(packet) {
            transfer.on_packet(now, &inbound);
        }
        sent.append(transfer.outbox());
    }
    while transfer.ending().is_none() {
        now = transfer.deadline();
        transfer.on_deadline(now);
        sent.append(transfer.outbox());
    }
    for datagram in sent {
        if let Datagram::Data { payload, .. } = datagram {
            assert!(payload.len() <= largest, "{} octets in a block", payload.len());
        }
    }
}
