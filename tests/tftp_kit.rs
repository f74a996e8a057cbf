//! A TFTP server on loopback and a client that does exactly what a test says.
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use firstlight::tftp::{Event, Listen, OnEvent, Open, OpenError, Options, What, bind};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than any machine is busy; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keeps the server's timer out of a test that looks at single packets.
pub const CALM: (&str, &str) = ("timeout", "20");

/// A running server; dropping it stops it and joins its tasks.
pub struct Kit {
    pub address: SocketAddr,
    events: Arc<(Mutex<Vec<Event>>, Condvar)>,
    shutdown: CancellationToken,
    served: Option<(Runtime, JoinHandle<()>)>,
}

/// Octets that repeat with no power of two, so that a misplaced block shows.
pub fn octets(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8 ^ (at / 251) as u8).collect()
}

/// Serves the given files.
pub fn files(files: &[(&str, Vec<u8>)]) -> Open {
    let owned =
        |(name, octets): &(&str, Vec<u8>)| ((*name).to_owned(), Bytes::from(octets.clone()));
    let files: HashMap<_, _> = files.iter().map(owned).collect();
    Arc::new(move |request| files.get(&request.name).cloned().ok_or(OpenError::NotFound))
}

impl Kit {
    /// A server of one file, `boot/f`, of this many octets.
    pub fn with_file(length: usize) -> Self {
        Self::new(files(&[("boot/f", octets(length))]), Options::default())
    }

    pub fn new(open: Open, options: Options) -> Self {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::on(Listen { address: local, device: None }, open, options)
    }

    /// On every address of the loopback interface, 127.0.0.2 and broadcast included.
    pub fn on_loopback(open: Open) -> Self {
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self::on(Listen { address, device: Some("lo".into()) }, open, Options::default())
    }

    pub fn on(listen: Listen, open: Open, options: Options) -> Self {
        let runtime = Runtime::new().unwrap();
        let events = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let heard = Arc::clone(&events);
        let on_event: OnEvent = Arc::new(move |event| {
            heard.0.lock().unwrap().push(event);
            heard.1.notify_all();
        });
        let server = runtime.block_on(bind(&[listen], open, on_event, options)).unwrap();
        let address = server.local_addrs()[0];
        let shutdown = CancellationToken::new();
        let task = runtime.spawn(server.run(shutdown.clone()));
        Self { address, events, shutdown, served: Some((runtime, task)) }
    }

    /// A client with a port of its own.
    pub fn client(&self) -> Client {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, self.address.port()));
        Client { socket, server, transfer: None }
    }

    /// A client whose transfer of `boot/f` has its OACK and has acknowledged it.
    pub fn begun(&self, options: &[(&str, &str)]) -> Client {
        let mut client = self.client();
        assert_eq!(client.begin(&[options, &[CALM]].concat()).option("timeout"), Some(20));
        client.ack(0);
        client
    }

    /// Fetches `boot/f`, acknowledging each window.
    pub fn fetch(&self, options: &[(&str, &str)]) -> Vec<u8> {
        self.client().fetch("boot/f", options, |_| false)
    }

    /// Waits until an event as wanted has come.
    pub fn until(&self, wanted: impl Fn(&Event) -> bool) -> Event {
        let events = self.events.0.lock().unwrap();
        let missing = |events: &mut Vec<Event>| !events.iter().any(&wanted);
        let (events, _) = self.events.1.wait_timeout_while(events, PATIENCE, missing).unwrap();
        events.iter().find(|event| wanted(event)).cloned().unwrap_or_else(|| panic!("{events:?}"))
    }

    pub fn events(&self) -> Vec<What> {
        self.events.0.lock().unwrap().iter().map(|event| event.what.clone()).collect()
    }

    /// Stops the server and joins all it has started.
    pub fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some((runtime, task)) = self.served.take() {
            let joined = runtime.block_on(async { tokio::time::timeout(PATIENCE, task).await });
            joined.expect("every task ends").expect("no task panics");
        }
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// A packet from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Data(u16, Vec<u8>),
    Oack(BTreeMap<String, String>),
    Error(u16, String),
}

impl Got {
    pub fn block(&self) -> u16 {
        match self {
            Got::Data(block, _) => *block,
            other => panic!("no DATA: {other:?}"),
        }
    }

    pub fn option(&self, name: &str) -> Option<u64> {
        match self {
            Got::Oack(options) => options.get(name).map(|value| value.parse().unwrap()),
            other => panic!("no OACK: {other:?}"),
        }
    }

    pub fn error(&self) -> u16 {
        match self {
            Got::Error(code, _) => *code,
            other => panic!("no ERROR: {other:?}"),
        }
    }
}

pub struct Client {
    pub socket: UdpSocket,
    pub server: SocketAddr,
    /// The server's TID, once it has spoken.
    pub transfer: Option<SocketAddr>,
}

impl Client {
    pub fn ask(&mut self, name: &str, mode: &str, options: &[(&str, &str)]) {
        let mut packet = vec![0, 1];
        let words = options.iter().flat_map(|(name, value)| [*name, *value]);
        for word in [name, mode].into_iter().chain(words) {
            packet.extend(word.as_bytes());
            packet.push(0);
        }
        self.transfer = None;
        self.socket.send_to(&packet, self.server).unwrap();
    }

    /// Asks for `boot/f` and returns the first answer.
    pub fn begin(&mut self, options: &[(&str, &str)]) -> Got {
        self.ask("boot/f", "octet", options);
        self.receive()
    }

    /// Asks again and again, as a ROM does; the first answer.
    pub fn ask_until_answered(&mut self, name: &str) -> Got {
        self.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let answered = |client: &mut Self| {
            client.ask(name, "octet", &[]);
            client.socket.peek_from(&mut [0; 4]).is_ok()
        };
        assert!((0..300).any(|_| answered(self)), "never answered");
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        self.receive()
    }

    pub fn receive(&mut self) -> Got {
        let mut buffer = vec![0; 66_000];
        let (length, from) = self.socket.recv_from(&mut buffer).expect("the server answers");
        assert_eq!(*self.transfer.get_or_insert(from), from, "one TID per transfer");
        parse(&buffer[..length])
    }

    pub fn blocks(&mut self, count: usize) -> Vec<u16> {
        (0..count).map(|_| self.receive().block()).collect()
    }

    /// What has arrived already, if anything.
    pub fn waiting(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let arrived = self.socket.peek_from(&mut [0; 4]).is_ok();
        self.socket.set_nonblocking(false).unwrap();
        arrived
    }

    pub fn ack(&self, block: u16) {
        self.send(&[&[0, 4], &block.to_be_bytes()[..]].concat());
    }

    pub fn error(&self, code: u16) {
        self.send(&[&[0, 5], &code.to_be_bytes()[..], b"no\0"].concat());
    }

    pub fn send(&self, packet: &[u8]) {
        self.socket.send_to(packet, self.transfer.expect("a transfer runs")).unwrap();
    }

    /// Reads a file to its end; `lost` says of the n-th packet (of both ways)
    /// whether the wire swallows it.
    pub fn fetch(
        &mut self,
        name: &str,
        options: &[(&str, &str)],
        mut lost: impl FnMut(usize) -> bool,
    ) -> Vec<u8> {
        self.ask(name, "octet", options);
        let (mut blksize, mut window, mut content) = (512, 1, Vec::new());
        let (mut wanted, mut taken, mut hole_told, mut packets) = (1_u16, 0, false, 0);
        let mut swallowed = || {
            packets += 1;
            lost(packets)
        };
        loop {
            let got = self.receive();
            if swallowed() {
                continue;
            }
            let mut last = false;
            let acknowledge = match got {
                Got::Oack(_) => {
                    blksize = got.option("blksize").map_or(512, |v| v as usize);
                    window = got.option("windowsize").unwrap_or(1);
                    true
                }
                Got::Data(block, payload) if block == wanted => {
                    last = payload.len() < blksize;
                    content.extend(payload);
                    wanted = wanted.wrapping_add(1);
                    taken += 1;
                    hole_told = false;
                    last || taken == window
                }
                // The block before: our ACK was lost. One ahead: there is a hole.
                Got::Data(block, _) if block == wanted.wrapping_sub(1) => true,
                Got::Data(block, _) if block.wrapping_sub(wanted) < 0x8000 => {
                    !std::mem::replace(&mut hole_told, true)
                }
                Got::Data(..) => false,
                Got::Error(..) => panic!("{got:?}"),
            };
            if acknowledge {
                taken = 0;
                if last || !swallowed() {
                    self.ack(wanted.wrapping_sub(1));
                }
            }
            if last {
                return content;
            }
        }
    }
}

fn parse(packet: &[u8]) -> Got {
    let number = u16::from_be_bytes([packet[2], packet[3]]);
    let text = |octets: &[u8]| {
        let text = octets.strip_suffix(&[0]).expect("NUL-terminated");
        String::from_utf8(text.to_vec()).unwrap()
    };
    match packet[1] {
        3 => Got::Data(number, packet[4..].to_vec()),
        5 => Got::Error(number, text(&packet[4..])),
        6 => {
            let text = text(&packet[2..]);
            let words: Vec<_> = text.split('\0').map(str::to_owned).collect();
            let pairs = words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
            let options: BTreeMap<_, _> = pairs.collect();
            assert_eq!(options.len() * 2, words.len(), "each option once");
            Got::Oack(options)
        }
        other => panic!("opcode {other} from a server"),
    }
}

/// A file by single blocks of 512 octets, as the oldest ROM reads it; `None` if there is none.
pub fn fetch_from(socket: UdpSocket, server: SocketAddr, name: &str) -> Option<Vec<u8>> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut client = Client { socket, server, transfer: None };
    client.ask(name, "octet", &[]);
    let (mut content, mut wanted) = (Vec::new(), 1_u16);
    loop {
        match client.receive() {
            Got::Data(block, payload) if block == wanted => {
                client.ack(block);
                wanted = wanted.wrapping_add(1);
                content.extend(&payload);
                if payload.len() < 512 {
                    return Some(content);
                }
            }
            Got::Data(block, _) => client.ack(block),
            Got::Error(1, _) => return None,
            other => panic!("{other:?}"),
        }
    }
}
