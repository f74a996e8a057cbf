//! Network namespaces: a server in one, clients in another, joined by a cable or by a switch
//! that holds further hosts.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use firstlight::{
    config::{Config, DhcpMode},
    dhcp::{Options, Seen, Server},
    inventory::{Document, Intent, Lease, Snapshot},
};
use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{LinkAddr, SockaddrLike, setsockopt, sockopt::ReceiveTimeout},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio_util::sync::CancellationToken;

pub const CONFIG: &str = r#"
site = "test"
[boot]
interfaces = ["srv"]
[[subnet]]
cidr = "10.12.0.0/16"
gateway = "10.12.0.254"
dns = ["10.12.0.53"]
ntp = ["10.12.0.1"]
domain = "lab.example"
pool = ["10.12.9.1-10.12.9.20"]
"#;

pub const INVENTORY: &str = r#"
[[rack]]
name = "r1"
[[rack.chassis]]
name = "c1"
slots = 4
ip_first = "10.12.1.1"
[[blade]]
name = "b01"
slot = { rack = "r1", chassis = "c1", slot = 1 }
macs = ["52:54:00:00:01:01"]
[[blade]]
name = "b02"
slot = { rack = "r1", chassis = "c1", slot = 2 }
macs = ["52:54:00:00:01:02"]
"#;

pub fn snapshot(config: &str, inventory: &str, intent: &Intent) -> Snapshot {
    let document = Document::parse(inventory).unwrap();
    Snapshot::build(&Config::parse(config).unwrap(), &document, &|_, _| (intent.clone(), None))
}

/// A server in its namespace; everything is taken down when it is dropped.
pub struct Bench {
    pub server_ns: String,
    pub client_ns: String,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    pub committed: Arc<Mutex<Vec<Lease>>>,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Makes every commit fail.
    pub disk_full: Arc<Mutex<bool>>,
    pub mode: DhcpMode,
    pub watch_every: Duration,
    pub interfaces: Vec<String>,
    /// What the running server tells of others, and counts.
    pub tells: Option<(Notices, Metrics)>,
    tag: String,
    /// The namespace of the switch and those of the hosts on it.
    others: Vec<String>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

pub type Notices = Arc<dyn Fn() -> Vec<firstlight::boot::watch::Notice> + Send + Sync>;
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

static NEXT: AtomicU32 = AtomicU32::new(0);

pub fn sh(command: &str) -> Output {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(
        output.status.success(),
        "{command}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

impl Bench {
    /// A cable between server and clients.
    pub fn start(snapshot: Snapshot) -> Bench {
        let mut bench = Bench::dark(snapshot, DhcpMode::Server);
        let (server_ns, client_ns) = (&bench.server_ns, &bench.client_ns);
        sh(&format!(
            "ip netns add {server_ns} && ip netns add {client_ns} && \
             ip -n {server_ns} link add srv type veth peer name cli netns {client_ns} && \
             ip -n {server_ns} link set lo up && ip -n {client_ns} link set lo up && \
             ip -n {server_ns} address add 10.12.0.1/16 dev srv && \
             ip -n {server_ns} link set srv up && ip -n {client_ns} link set cli up"
        ));
        bench.serve();
        bench
    }

    /// A switch, the server and the clients on it; not served before `serve`.
    pub fn switched(snapshot: Snapshot, mode: DhcpMode) -> Bench {
        let mut bench = Bench::dark(snapshot, mode);
        let switch = format!("{}-w", bench.tag);
        sh(&format!(
            "ip netns add {switch} && \
             ip -n {switch} link add br0 type bridge forward_delay 0 stp_state 0 && \
             ip -n {switch} link set br0 up"
        ));
        bench.others.push(switch);
        for (ns, port, address) in
            [(bench.server_ns.clone(), "srv", "10.12.0.1/16"), (bench.client_ns.clone(), "cli", "")]
        {
            bench.plug(&ns, port, address);
        }
        bench
    }

    /// Another machine on the switch; the name of its namespace. `name` is its port as well.
    pub fn host(&mut self, name: &str, address: &str) -> String {
        let ns = format!("{}-{name}", self.tag);
        self.others.push(ns.clone());
        self.plug(&ns, name, address);
        ns
    }

    fn plug(&self, ns: &str, port: &str, address: &str) {
        let switch = &self.others[0];
        sh(&format!(
            "ip netns add {ns} && ip -n {ns} link set lo up && \
             ip -n {switch} link add p-{port} type veth peer name {port} netns {ns} && \
             ip -n {switch} link set p-{port} master br0 && ip -n {switch} link set p-{port} up && \
             ip -n {ns} link set {port} up"
        ));
        if !address.is_empty() {
            sh(&format!("ip -n {ns} address add {address} dev {port}"));
        }
    }

    fn dark(snapshot: Snapshot, mode: DhcpMode) -> Bench {
        let tag = format!("fl{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (server_ns, client_ns) = (format!("{tag}-s"), format!("{tag}-c"));
        Bench {
            server_ns,
            client_ns,
            seen: Arc::default(),
            committed: Arc::default(),
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            disk_full: Arc::default(),
            mode,
            watch_every: Duration::from_secs(60),
            interfaces: vec!["srv".to_owned()],
            tells: None,
            tag,
            others: Vec::new(),
            stop: CancellationToken::new(),
            thread: None,
        }
    }

    fn options(&self, interfaces: &[String]) -> Options {
        let (seen, committed) = (Arc::clone(&self.seen), Arc::clone(&self.committed));
        let disk_full = Arc::clone(&self.disk_full);
        Options {
            mode: self.mode,
            interfaces: interfaces.to_vec(),
            url: None,
            http_port: 80,
            snapshot: Arc::clone(&self.snapshot),
            leases: Vec::new(),
            seen: Arc::new(move |note| seen.lock().unwrap().push(note)),
            commit: Arc::new(move |leases| {
                if *disk_full.lock().unwrap() {
                    return Box::pin(async { Err("disk full".to_owned()) });
                }
                committed.lock().unwrap().extend(leases);
                Box::pin(async { Ok(()) })
            }),
            shift: Arc::new(|_| Box::pin(async { Ok(()) })),
            watch_every: self.watch_every,
        }
    }

    /// What a second server in the same namespace is told.
    pub fn bind_again(&self, interface: &str) -> io::Result<()> {
        let (options, ns) = (self.options(&[interface.to_owned()]), self.server_ns.clone());
        std::thread::spawn(move || {
            enter(&ns);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(Server::bind(options)).map(|_| ())
        })
        .join()
        .unwrap()
    }

    pub fn wait_for(&self, want: impl Fn(&Seen) -> bool) -> Seen {
        super::others::noted(&self.seen, want)
    }

    pub fn serve(&mut self) {
        let options = self.options(&self.interfaces);
        let (stop, ns) = (self.stop.clone(), self.server_ns.clone());
        let (ready, bound) = std::sync::mpsc::channel();
        self.thread = Some(std::thread::spawn(move || {
            enter(&ns);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let server = Server::bind(options).await;
                let tells = server.as_ref().map(|server| (server.notices(), server.metrics()));
                ready.send(tells.map_err(ToString::to_string)).unwrap();
                server.unwrap().run(stop).await;
            });
        }));
        self.tells = Some(bound.recv().unwrap().unwrap());
    }

    /// Runs a program in the clients' namespace; its output and exit.
    pub fn client_runs(&self, command: &str) -> Output {
        runs(&self.client_ns, command)
    }

    /// A raw Ethernet port on the clients' side of the wire.
    pub fn port(&self) -> Port {
        self.port_on("cli")
    }

    pub fn port_on(&self, name: &str) -> Port {
        port_in(&self.client_ns, name)
    }
}

/// A raw Ethernet port in any namespace.
pub fn port_in(ns: &str, name: &str) -> Port {
    let open = || {
        enter(ns);
        Port::open_on(name).unwrap()
    };
    std::thread::scope(|scope| scope.spawn(open).join().unwrap())
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
        let served = self.thread.take().map(std::thread::JoinHandle::join);
        for ns in [&self.server_ns, &self.client_ns].into_iter().chain(&self.others) {
            let _ = Command::new("ip").args(["netns", "delete", ns]).status();
        }
        assert!(!matches!(served, Some(Err(_))) || std::thread::panicking(), "the server panicked");
    }
}

/// Runs a program in a namespace; its output and exit.
pub fn runs(ns: &str, command: &str) -> Output {
    Command::new("ip").args(["netns", "exec", ns, "sh", "-c", command]).output().unwrap()
}

pub fn enter(ns: &str) {
    let file = File::open(format!("/run/netns/{ns}")).unwrap();
    setns(file, CloneFlags::CLONE_NEWNET).unwrap();
}

/// What came over the wire.
#[derive(Debug, Clone)]
pub struct Frame {
    pub to_mac: [u8; 6],
    pub from_ip: [u8; 4],
    pub to_ip: [u8; 4],
    pub from_port: u16,
    pub to_port: u16,
    pub payload: Vec<u8>,
}

pub struct Port {
    socket: Socket,
    /// All that comes from the server's address is the server's own.
    pub strict: bool,
}

impl Port {
    /// On the interface `cli` of the namespace that this thread is in.
    pub fn open() -> io::Result<Port> {
        Port::open_on("cli")
    }

    pub fn open_on(name: &str) -> io::Result<Port> {
        // ETH_P_ALL in network order.
        let all = i32::from(3u16.to_be());
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(all)))?;
        let link = nix::ifaddrs::getifaddrs()?
            .filter(|found| found.interface_name == name)
            .find_map(|found| Some(*found.address?.as_link_addr()?))
            .ok_or(io::ErrorKind::NotFound)?;
        assert!(link.family().is_some());
        bind(&socket, &link)?;
        setsockopt(&socket, ReceiveTimeout, &nix::sys::time::TimeVal::new(0, 100_000))?;
        Ok(Port { socket, strict: true })
    }

    /// Sends a DHCP message as a broadcast from a client without an address.
    pub fn broadcast(&self, mac: [u8; 6], payload: &[u8]) {
        self.send(mac, [0; 4], [255; 4], payload);
    }

    pub fn send(&self, mac: [u8; 6], from: [u8; 4], to: [u8; 4], payload: &[u8]) {
        self.send_to(mac, from, to, (68, 67), payload);
    }

    pub fn send_to(
        &self,
        mac: [u8; 6],
        from: [u8; 4],
        to: [u8; 4],
        ports: (u16, u16),
        payload: &[u8],
    ) {
        let builder =
            PacketBuilder::ethernet2(mac, [0xff; 6]).ipv4(from, to, 64).udp(ports.0, ports.1);
        let mut frame = Vec::new();
        builder.write(&mut frame, payload).unwrap();
        self.socket.send(&frame).unwrap();
    }

    /// The first packet of a server that `want` likes; `None` after twenty seconds.
    pub fn receive(&self, want: impl Fn(&Frame) -> bool) -> Option<Frame> {
        self.receive_within(Duration::from_secs(20), want)
    }

    /// The same with other patience: where nothing is expected, or more is to be asked.
    pub fn receive_within(
        &self,
        patience: Duration,
        want: impl Fn(&Frame) -> bool,
    ) -> Option<Frame> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if let Some(frame) = self.next().filter(&want) {
                return Some(frame);
            }
        }
        None
    }

    fn next(&self) -> Option<Frame> {
        let mut buffer = [0u8; 2048];
        let length = nix::unistd::read(&self.socket, &mut buffer).ok()?;
        let packet = SlicedPacket::from_ethernet(&buffer[..length]).ok()?;
        let net = packet.net?;
        let ip = net.ipv4_ref()?.header();
        let Some(TransportSlice::Udp(udp)) = packet.transport else { return None };
        [67, 4011].contains(&udp.source_port()).then(|| {
            let (from, to) = (ip.source(), ip.destination());
            // A wrong checksum must fail the test here, not in a ROM. Others leave the sum to
            // the card.
            if self.strict && from == [10, 12, 0, 1] {
                let sum = udp.to_header().calc_checksum_ipv4_raw(from, to, udp.payload()).unwrap();
                assert_eq!(udp.checksum(), sum, "UDP checksum");
                let head = ip.to_header();
                assert_eq!(head.header_checksum, head.calc_header_checksum(), "IP checksum");
                assert!(head.time_to_live > 0, "TTL");
            }
            Frame {
                to_mac: buffer[..6].try_into().unwrap(),
                from_ip: from,
                to_ip: to,
                from_port: udp.source_port(),
                to_port: udp.destination_port(),
                payload: udp.payload().to_vec(),
            }
        })
    }
}

fn bind(socket: &Socket, link: &LinkAddr) -> io::Result<()> {
    Ok(nix::sys::socket::bind(socket.as_raw_fd(), link)?)
}
