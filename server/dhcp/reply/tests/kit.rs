//! A client's packets by hand, a server of two subnets, and a reader of answers.

use std::net::Ipv4Addr;

use crate::{
    blade::{Mac, Millis},
    config::Config,
    dhcp::{
        leases::LeaseBook,
        reply::{Answer, Decision, Interface, To, decide, decide_as_proxy},
        wire::{Arrival, Request},
    },
    inventory::{Document, Intent, Lease, Snapshot},
};

pub const OFFER: u8 = 2;
pub const ACK: u8 = 5;
pub const NAK: u8 = 6;
pub const XID: [u8; 4] = [0xde, 0xad, 0, 1];
pub const B01: Mac = Mac([0x52, 0x54, 0, 0, 1, 1]);
pub const B02: Mac = Mac([0x52, 0x54, 0, 0, 1, 2]);
/// A blade whose address belongs to the second subnet.
pub const ELSEWHERE: Mac = Mac([0x52, 0x54, 0, 0, 1, 3]);
pub const STRANGER: Mac = Mac([2, 0, 0, 0, 9, 1]);
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 12, 0, 1);
pub const OTHER_OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

const CONFIG: &str = r#"
site = "test"
[boot]
interfaces = ["eth1"]
[[subnet]]
cidr = "10.12.0.0/16"
gateway = "10.12.0.254"
dns = ["10.12.0.53", "10.12.0.54"]
domain = "lab.example"
pool = ["10.12.9.1-10.12.9.20"]
[[subnet]]
cidr = "10.13.0.0/24"
gateway = "10.13.0.1"
pool = ["10.13.0.100-10.13.0.110"]
"#;

const INVENTORY: &str = r#"
[[blade]]
name = "b01"
macs = ["52:54:00:00:01:01"]
ip = "10.12.1.1"
[[blade]]
name = "b02"
macs = ["52:54:00:00:01:02"]
ip = "10.12.1.2"
[[blade]]
name = "b03"
macs = ["52:54:00:00:01:03"]
ip = "10.13.0.3"
[[blade]]
name = "in-the-pool"
macs = ["52:54:00:00:01:04"]
ip = "10.12.9.3"
"#;

pub fn addr(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

pub struct Packet(Vec<u8>);

pub fn packet(kind: u8, mac: Mac) -> Packet {
    let mut octets = vec![0; 240];
    octets[..3].copy_from_slice(&[1, 1, 6]);
    octets[4..8].copy_from_slice(&XID);
    octets[28..34].copy_from_slice(&mac.0);
    octets[236..].copy_from_slice(&[99, 130, 83, 99]);
    let mut packet = Packet(octets);
    packet.option(53, &[kind]);
    packet
}

pub fn discover(mac: Mac) -> Packet {
    packet(1, mac)
}

pub fn request(mac: Mac) -> Packet {
    packet(3, mac)
}

impl Packet {
    pub fn header(&mut self, at: usize, value: &[u8]) -> &mut Packet {
        self.0[at..at + value.len()].copy_from_slice(value);
        self
    }

    pub fn option(&mut self, code: u8, value: &[u8]) -> &mut Packet {
        self.0.extend([code, u8::try_from(value.len()).unwrap()]);
        self.0.extend_from_slice(value);
        self
    }

    pub fn pxe(&mut self, arch: u16) -> &mut Packet {
        self.option(60, b"PXEClient:Arch:00000:UNDI:002001").option(93, &arch.to_be_bytes())
    }

    pub fn octets(&self) -> Vec<u8> {
        let mut octets = self.0.clone();
        octets.push(255);
        octets
    }
}

pub struct Desk {
    pub snapshot: Snapshot,
    pub book: LeaseBook,
    pub via: Interface,
    pub now: Millis,
    /// What was durable so far.
    pub disk: Vec<Lease>,
}

pub fn server() -> Desk {
    let snapshot = snapshot(&Intent::Menu);
    Desk {
        book: LeaseBook::new(&snapshot.subnets, []),
        snapshot,
        via: Interface {
            name: "eth1".to_owned(),
            index: 2,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            addresses: vec!["10.12.0.1/16".parse().unwrap()],
            own: vec![SERVER, OTHER_OWN, addr("10.12.9.2")],
            url: None,
            http_port: 80,
        },
        now: 1_000_000,
        disk: Vec::new(),
    }
}

fn snapshot(intent: &Intent) -> Snapshot {
    let config = Config::parse(CONFIG).unwrap();
    let document = Document::parse(INVENTORY).unwrap();
    Snapshot::build(&config, &document, &|_, _| (intent.clone(), None))
}

impl Desk {
    pub fn ask(&mut self, packet: &Packet) -> Asked {
        self.ask_octets(&packet.octets())
    }

    pub fn ask_octets(&mut self, octets: &[u8]) -> Asked {
        let request = Request::parse(octets).unwrap();
        let decision = decide(&self.snapshot, &mut self.book, &request, &self.via, self.now);
        self.disk.extend(decision.durable.clone());
        Asked(decision)
    }

    /// In proxy mode, to port 67 or 4011 from an address.
    pub fn ask_proxy(&self, packet: &Packet, from: &str, port: u16) -> Asked {
        let octets = packet.octets();
        let arrival = Arrival { from: from.parse().unwrap(), port };
        let request = Request::parse(&octets).unwrap().came(arrival);
        Asked(decide_as_proxy(&self.snapshot, &request, &self.via, self.now))
    }

    pub fn with_intent(&mut self, intent: &Intent) {
        self.snapshot = snapshot(intent);
    }

    /// What a restart leaves: the durable leases.
    pub fn restart(&mut self) {
        self.book = LeaseBook::new(&self.snapshot.subnets, self.disk.clone());
    }

    /// DISCOVER to ACK for a client; its address.
    pub fn dora(&mut self, mac: Mac) -> Ipv4Addr {
        let ip = self.ask(&discover(mac)).reply().yiaddr();
        let mut select = request(mac);
        select.option(50, &ip.octets()).option(54, &SERVER.octets());
        let ack = self.ask(&select).reply();
        assert_eq!((ack.kind(), ack.yiaddr()), (ACK, ip));
        ip
    }
}

pub struct Asked(pub Decision);

impl Asked {
    pub fn reply(&self) -> Reply {
        Reply(self.answer().packet.clone())
    }

    pub fn answer(&self) -> &Answer {
        self.0.answer.as_ref().expect("an answer")
    }

    pub fn to(&self) -> To {
        self.answer().to
    }
}

pub struct Reply(pub Vec<u8>);

impl Reply {
    /// Options in order; checks that the area is well formed.
    pub fn options(&self) -> Vec<(u8, Vec<u8>)> {
        assert_eq!(self.0[236..240], [99, 130, 83, 99]);
        let (mut at, mut found) = (240, Vec::new());
        loop {
            let code = self.0[at];
            if code == 255 {
                assert!(self.0[at + 1..].iter().all(|octet| *octet == 0), "only pad after END");
                return found;
            }
            let end = at + 2 + usize::from(self.0[at + 1]);
            found.push((code, self.0[at + 2..end].to_vec()));
            at = end;
        }
    }

    pub fn get(&self, code: u8) -> Option<Vec<u8>> {
        let parts: Vec<_> = self.options().into_iter().filter(|(c, _)| *c == code).collect();
        (!parts.is_empty()).then(|| parts.into_iter().flat_map(|(_, value)| value).collect())
    }

    pub fn number(&self, code: u8) -> u32 {
        u32::from_be_bytes(self.get(code).unwrap().try_into().unwrap())
    }

    pub fn kind(&self) -> u8 {
        self.get(53).unwrap()[0]
    }

    pub fn yiaddr(&self) -> Ipv4Addr {
        Ipv4Addr::from(<[u8; 4]>::try_from(&self.0[16..20]).unwrap())
    }

    pub fn siaddr(&self) -> Ipv4Addr {
        Ipv4Addr::from(<[u8; 4]>::try_from(&self.0[20..24]).unwrap())
    }

    pub fn file(&self) -> String {
        let field = self.0[108..236].split(|octet| *octet == 0).next().unwrap();
        String::from_utf8(field.to_vec()).unwrap()
    }
}
