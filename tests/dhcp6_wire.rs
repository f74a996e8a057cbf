//! DHCPv6 at the wire: the real server in a network namespace, clients and a relay of others.

mod watch;

use std::{
    net::{Ipv6Addr, SocketAddrV6, UdpSocket},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use firstlight::{
    boot::Rehearse,
    dhcp6::{Options, Seen, Server, What},
    inventory::{Duid, Intent},
};
use tokio_util::sync::CancellationToken;

use crate::dhcp_wire::{
    net::{Metrics, Notices, enter, snapshot},
    others::noted,
};

const CONFIG: &str = r#"
site = "test"
[boot]
interfaces = ["srv"]
[[subnet]]
cidr = "fd00:12::/64"
dns = ["fd00:12::53"]
domain = "lab.example"
"#;
const INVENTORY: &str = r#"
[[blade]]
name = "b01"
macs = ["52:54:00:00:01:01"]
ip6 = "fd00:12::1:1"
"#;

/// Namespaces with a server, a client and, where asked for, a relay between them; everything is
/// taken down when it is dropped.
struct Bench {
    server: String,
    relay: String,
    client: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    dir: tempfile::TempDir,
    relaying: Option<Child>,
    rehearsal: Option<Rehearse>,
    /// What is told of other servers, and what is counted.
    tells: Option<(Notices, Metrics)>,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

fn sh(command: &str) {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Bench {
    /// `own`: addresses of the server's interface.
    fn start(relayed: bool, own: &[&str]) -> Bench {
        let tag =
            format!("fldhcp6-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let (server, relay, client) = (format!("{tag}-s"), format!("{tag}-r"), format!("{tag}-c"));
        sh(&format!("ip netns add {server}; ip netns add {relay}; ip netns add {client}"));
        let (near, far) = if relayed { ("north", &relay) } else { ("cli", &client) };
        sh(&format!("ip -n {server} link add srv type veth peer name {near} netns {far}"));
        if relayed {
            sh(&format!("ip -n {relay} link add south type veth peer name cli netns {client}"));
            up(&relay, "north", &["fe80::a/64", "fd00:99::2/64"]);
            up(&relay, "south", &["fe80::b/64", "fd00:12::fe/64"]);
        }
        up(&server, "srv", &[&["fe80::1/64"], own].concat());
        sh(&format!("ip -n {client} link set cli address 52:54:00:00:01:01"));
        up(&client, "cli", &["fe80::5054:ff:fe00:101/64"]);
        let mut bench = Bench {
            server,
            relay,
            client,
            seen: Arc::default(),
            dir: tempfile::tempdir().unwrap(),
            relaying: None,
            rehearsal: None,
            tells: None,
            stop: CancellationToken::new(),
            thread: None,
        };
        bench.serve();
        bench
    }

    fn serve(&mut self) {
        let seen = Arc::clone(&self.seen);
        let options = Options {
            interfaces: vec!["srv".to_owned()],
            url: None,
            http_port: 80,
            duid: Duid::of_uuid(&[7; 16]),
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot(CONFIG, INVENTORY, &Intent::Menu))),
            seen: Arc::new(move |note| seen.lock().unwrap().push(note)),
            watch_every: Duration::from_millis(300),
        };
        let (stop, ns) = (self.stop.clone(), self.server.clone());
        let (ready, bound) = std::sync::mpsc::channel();
        self.thread = Some(std::thread::spawn(move || {
            enter(&ns);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let server = Server::bind(options);
                let handles = server
                    .as_ref()
                    .map(|server| (server.rehearsal(), (server.notices(), server.metrics())));
                ready.send(handles.map_err(ToString::to_string)).unwrap();
                server.unwrap().run(stop).await;
            });
        }));
        let (rehearsal, tells) = bound.recv().unwrap().unwrap();
        (self.rehearsal, self.tells) = (Some(rehearsal), Some(tells));
    }

    fn client_runs(&self, command: &str) -> Output {
        let inside = ["netns", "exec", &self.client, "sh", "-c", command];
        Command::new("ip").args(inside).output().unwrap()
    }

    /// Sends a message to `to` from this port of the client's link-local address; the answer.
    fn asks(&self, port: u16, to: Ipv6Addr, message: &[u8]) -> Vec<u8> {
        let socket = self.says(port, to, message);
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = vec![0; 2048];
        let length = socket.recv(&mut answer).expect("an answer");
        answer[..length].to_vec()
    }

    /// Sends it; the socket is where an answer comes.
    fn says(&self, port: u16, to: Ipv6Addr, message: &[u8]) -> UdpSocket {
        std::thread::scope(|scope| {
            let client = scope.spawn(|| {
                enter(&self.client);
                let link = nix::net::if_::if_nametoindex("cli").unwrap();
                let own =
                    SocketAddrV6::new("fe80::5054:ff:fe00:101".parse().unwrap(), port, 0, link);
                let socket = UdpSocket::bind(own).unwrap();
                socket.send_to(message, SocketAddrV6::new(to, 547, 0, link)).unwrap();
                socket
            });
            client.join().unwrap()
        })
    }

    /// ISC's client: its output, its lease file.
    fn dhclient(&self, words: &str) -> (String, String) {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let files = format!("-lf {} -pf {} -cf /dev/null -sf /bin/true", at("leases"), at("pid"));
        let run =
            self.client_runs(&format!("timeout 60 dhclient -6 -v -D LL {words} {files} cli 2>&1"));
        let leases = std::fs::read_to_string(at("leases")).unwrap_or_default();
        (String::from_utf8_lossy(&run.stdout).into_owned(), leases)
    }

    fn wait_for(&self, want: impl Fn(&Seen) -> bool) -> Seen {
        noted(&self.seen, want)
    }
}

/// With addresses of its own choice: the kernel would test its own for a second.
fn up(ns: &str, link: &str, addresses: &[&str]) {
    sh(&format!("ip -n {ns} link set {link} addrgenmode none; ip -n {ns} link set {link} up"));
    for address in addresses {
        sh(&format!("ip -n {ns} address add {address} dev {link} nodad"));
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(mut relay) = self.relaying.take() {
            let _ = relay.kill();
            let _ = relay.wait();
        }
        // A dhclient that is bound stays in the background.
        if let Ok(pid) = std::fs::read_to_string(self.dir.path().join("pid")) {
            let _ = Command::new("kill").arg(pid.trim()).status();
        }
        let served = self.thread.take().map(std::thread::JoinHandle::join);
        for ns in [&self.server, &self.relay, &self.client] {
            let _ = Command::new("ip").args(["netns", "delete", ns]).status();
        }
        assert!(!matches!(served, Some(Err(_))) || std::thread::panicking(), "the server panicked");
    }
}

const OURS: &[&str] = &["fd00:12::1/64"];

#[test]
fn isc_dhclient_gets_the_reserved_ipv6_address_renews_and_releases_it() {
    let bench = Bench::start(false, OURS);
    let (text, leases) = bench.dhclient("-1");
    for word in ["iaaddr fd00:12::1:1", "dhcp6.name-servers fd00:12::53", "lab.example"] {
        assert!(leases.contains(word), "{word}\n{leases}\n{text}");
    }
    bench.client_runs("ip address add fd00:12::1:1/128 dev cli nodad");
    let (text, _) = bench.dhclient("-r");
    assert!(text.contains("Release"), "{text}");
    let released = bench.wait_for(|seen| seen.what == What::Released);
    assert_eq!(released.ip, "fd00:12::1:1".parse().ok());
    assert_eq!(released.blade.unwrap().as_str(), "b01");
}

#[test]
fn isc_dhclient_is_served_through_iscs_relay() {
    let mut bench = Bench::start(true, &["fd00:99::1/64"]);
    let relay = ["netns", "exec", &bench.relay, "dhcrelay", "-6", "-d", "-I", "-pf"];
    let pid = bench.dir.path().join("relay.pid");
    let child = Command::new("ip")
        .args(relay)
        .arg(&pid)
        .args(["-l", "south", "-u", "fd00:99::1%north"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    bench.relaying = Some(child.unwrap());
    let (text, leases) = bench.dhclient("-1");
    assert!(leases.contains("iaaddr fd00:12::1:1"), "{leases}\n{text}");
    let replied = bench.wait_for(|seen| seen.what == What::Replied);
    assert_eq!(replied.relay, Some("fd00:12::fe".parse::<Ipv6Addr>().unwrap()));
    assert!(replied.relay_port.is_some(), "the interface-id is noted: {replied:?}");
}

#[test]
fn dhcpcd_gets_the_reserved_ipv6_address() {
    let bench = Bench::start(false, OURS);
    let config = bench.dir.path().join("dhcpcd.conf");
    let text = "duid\nnoipv6rs\nipv6only\nslaac hwaddr\ninterface cli\nia_na 1\noption dhcp6_name_servers\n";
    std::fs::write(&config, text).unwrap();
    // Leases and sockets of its own: with those of another run it would only confirm an address.
    let command = format!(
        "unshare --mount sh -c 'mount -t tmpfs none /var/lib/dhcpcd && mount -t tmpfs none /run && \
         exec timeout 60 dhcpcd -6 -1 -B -d -f {} -c /bin/true cli' 2>&1",
        config.display()
    );
    let run = bench.client_runs(&command);
    let text = String::from_utf8_lossy(&run.stdout);
    let ip = "fd00:12::1:1".parse().ok();
    bench.wait_for(|seen| seen.what == What::Replied && seen.ip == ip);
    assert!(text.contains("fd00:12::1:1"), "{text}");
}

#[test]
fn an_address_that_comes_later_is_served_without_a_restart() {
    let bench = Bench::start(false, &[]);
    let asked = std::thread::scope(|scope| {
        let client = scope.spawn(|| bench.dhclient("-1"));
        // Nothing is answered until the interface is in the subnet.
        bench.wait_for(|seen| seen.what == What::Ignored && seen.detail.contains("no [[subnet]]"));
        sh(&format!("ip -n {} address add fd00:12::1/64 dev srv nodad", bench.server));
        client.join().unwrap()
    });
    assert!(asked.1.contains("iaaddr fd00:12::1:1"), "{asked:?}");
}

#[test]
fn a_rehearsed_exchange_is_what_dhcpv6_answers() {
    let (all, us) = ("ff02::1:2".parse().unwrap(), "fe80::1".parse().unwrap());
    // On our link; then through a relay, for which the client's side of the wire is taken.
    for (own, port, to) in [(OURS, 546, all), (&["fd00:99::1/64"], 547, us)] {
        let bench = Bench::start(false, own);
        let rehearsal = bench.rehearsal.clone().unwrap();
        for firmware in ["uefi-x64", "uefi-x64-http", "uefi-arm64", "ipxe-uefi-x64", "os"] {
            let played = rehearsal(firmware.parse().unwrap(), "52:54:00:00:01:01".parse().unwrap());
            let asked: Vec<&str> = played.iter().map(|exchange| exchange.asked).collect();
            assert_eq!(asked, ["SOLICIT", "REQUEST"], "{firmware}: {played:?}");
            for exchange in played {
                assert_eq!(exchange.sent[0] == 12, port == 547, "RELAY-FORW: {firmware}");
                let answer = bench.asks(port, to, &exchange.sent);
                assert_eq!(Some(answer), exchange.answer, "{firmware}: {}", exchange.asked);
            }
        }
        bench.wait_for(|seen| seen.what == What::Replied && seen.rule.contains("UEFI x64"));
    }
}

#[test]
fn a_rehearsal_follows_an_address_that_comes_later() {
    let bench = Bench::start(false, &[]);
    let rehearsal = bench.rehearsal.clone().unwrap();
    let played = || rehearsal("os".parse().unwrap(), "52:54:00:00:01:01".parse().unwrap());
    let through_a_relay = |sent: &[u8]| sent[0] == 12;
    assert!(through_a_relay(&played()[0].sent), "none of our links is its own");
    sh(&format!("ip -n {} address add fd00:12::1/64 dev srv nodad", bench.server));
    let until = Instant::now() + Duration::from_secs(20);
    while through_a_relay(&played()[0].sent) {
        assert!(Instant::now() < until, "not followed");
        std::thread::sleep(Duration::from_millis(10));
    }
}
