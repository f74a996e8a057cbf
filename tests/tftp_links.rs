//! TFTP on interfaces that go and come, and what is said of packets that nobody can read.
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use firstlight::inventory::Intent;
use firstlight::tftp::{Listen, Notices, Options};

use crate::dhcp_wire::net::{Bench, CONFIG, INVENTORY, enter, sh, snapshot};
use crate::tftp_kit::{Kit, files, octets};

/// Far more than anything here takes, for a machine that is busy with others.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on the interface `srv` of the bench, of one file.
fn served(bench: &Bench) -> Kit {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 69));
    let listen = Listen { address, device: Some("srv".into()) };
    let serve = || {
        // Threads that are started here are in this namespace too.
        enter(&bench.server_ns);
        Kit::on(listen, files(&[("boot/f", octets(100_000))]), Options::default())
    };
    std::thread::scope(|scope| scope.spawn(serve).join().unwrap())
}

/// Reads the file as often as it takes, as a ROM that is started again does.
fn read_by(bench: &Bench, client: &str) {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("f");
    let command = client.replace("TARGET", &target.display().to_string());
    let until = Instant::now() + PATIENCE;
    loop {
        let run = bench.client_runs(&format!("timeout 3 {command} 2>&1"));
        if fs::read(&target).is_ok_and(|content| content == octets(100_000)) {
            return;
        }
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(Instant::now() < until, "{command}: {said}");
    }
}

#[test]
fn an_interface_that_comes_back_as_another_is_served_without_a_restart() {
    let bench = Bench::start(snapshot(CONFIG, INVENTORY, &Intent::Menu));
    bench.client_runs("ip address add 10.12.7.7/16 dev cli");
    let kit = served(&bench);
    let hpa = "tftp -4 -m binary 10.12.0.1 -c get boot/f TARGET";
    read_by(&bench, hpa);

    let (server, clients) = (&bench.server_ns, &bench.client_ns);
    sh(&format!(
        "ip -n {server} link del dev srv && \
         ip -n {server} link add srv type veth peer name cli netns {clients} && \
         ip -n {server} address add 10.12.0.1/16 dev srv && \
         ip -n {clients} address add 10.12.7.7/16 dev cli && \
         ip -n {server} link set dev srv up && ip -n {clients} link set dev cli up"
    ));
    read_by(&bench, hpa);
    read_by(&bench, "atftp -g -r boot/f -l TARGET 10.12.0.1");
    drop(kit);
}

#[test]
fn packets_that_cannot_be_read_are_counted_by_cause() {
    let notices = Arc::new(Notices::default());
    let options = Options { notices: Arc::clone(&notices), ..Options::default() };
    let kit = Kit::new(files(&[("boot/f", octets(9))]), options);
    let client = kit.client();
    for packet in [&b"\0\x09"[..], b"\0\x07rest", b"\0\x01no-end"] {
        client.socket.send_to(packet, client.server).unwrap();
    }
    // The server takes packets in turn: those before it have been counted.
    assert_eq!(kit.fetch(&[]), octets(9));
    let counts: Vec<_> = notices.counts().into_iter().collect();
    assert_eq!(counts, [("file name without its NUL", 1), ("unknown opcode", 2)]);
}
