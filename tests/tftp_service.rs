//! What the TFTP service owes to many clients, to hostile ones and to its host.
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use firstlight::tftp::transfer::Reason;
use firstlight::tftp::{Listen, OpenError, Options, What, bind};

use crate::tftp_kit::{CALM, Client, Got, Kit, files, octets};

#[test]
fn names_that_leave_the_tree_never_reach_the_files() {
    let kit = Kit::new(Arc::new(|_| Ok(Bytes::from_static(b"secret"))), Options::default());
    for name in ["../etc/shadow", "/../etc/shadow", "boot/../../etc/shadow", "..", "..\\x", "a\n"] {
        let mut client = kit.client();
        client.ask(name, "octet", &[]);
        assert_eq!(client.receive().error(), 2, "{name}");
    }
    assert_eq!(kit.events(), []);
}

#[test]
fn a_repeated_request_starts_no_second_transfer() {
    let kit = Kit::with_file(3000);
    let mut client = kit.client();
    client.begin(&[CALM]);
    let first = client.transfer;
    for _ in 0..5 {
        client.ask("boot/f", "octet", &[CALM]);
    }
    client.transfer = first;
    client.ack(0);
    for block in 1..=6 {
        while client.receive()
            != Got::Data(
                block,
                octets(3000)[512 * usize::from(block - 1)..].iter().take(512).copied().collect(),
            )
        {}
        client.ack(block);
    }
    kit.until(|event| matches!(event.what, What::Finished { bytes: 3000, .. }));
    let started = |what: &&What| matches!(what, What::Started { .. });
    assert_eq!(kit.events().iter().filter(started).count(), 1);
}

#[test]
fn twenty_four_clients_at_once_all_get_the_exact_file() {
    let kit = Kit::with_file(100_000);
    std::thread::scope(|scope| {
        for client in 0..24 {
            let kit = &kit;
            let window = (client % 8 + 1).to_string();
            scope.spawn(move || {
                let options = [("windowsize", &*window)];
                let options = if client < 8 { &[] } else { &options[..] };
                assert_eq!(kit.fetch(options), octets(100_000));
            });
        }
    });
}

#[test]
fn a_slow_file_delays_nobody_else() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let kit = Kit::new(
        Arc::new(move |request| {
            if request.name == "slow" {
                let _ = released.lock().unwrap().recv();
            }
            Ok(Bytes::from(octets(9)))
        }),
        Options::default(),
    );
    let mut slow = kit.client();
    slow.ask("slow", "octet", &[]);
    slow.ask("slow", "octet", &[]);
    assert_eq!(kit.fetch(&[]), octets(9));
    release.send(()).unwrap();
    assert_eq!(slow.receive(), Got::Data(1, octets(9)));
    slow.ack(1);
    kit.until(|event| &*event.name == "slow" && matches!(event.what, What::Finished { .. }));
}

#[test]
fn a_file_that_cannot_be_opened_harms_only_its_reader() {
    let kit = Kit::new(
        Arc::new(|request| match &*request.name {
            "denied" => Err(OpenError::Denied),
            "busy" => Err(OpenError::Busy),
            "broken" => panic!("as a test of what a bug would do"),
            _ => Ok(Bytes::from(octets(9))),
        }),
        Options::default(),
    );
    let mut client = kit.client();
    client.ask("denied", "octet", &[]);
    assert_eq!(client.receive().error(), 2);
    for name in ["busy", "broken"] {
        client.ask(name, "octet", &[]);
        kit.until(|event| &*event.name == name && event.what == What::Refused(OpenError::Busy));
        assert!(!client.waiting(), "silence, so that a ROM asks again");
    }
    assert_eq!(kit.fetch(&[]), octets(9));
}

#[test]
fn beyond_the_limit_clients_wait_and_are_served_when_a_place_is_free() {
    let options = Options { most_per_client: 1, ..Options::default() };
    let kit = Kit::new(files(&[("boot/f", octets(9))]), options);
    let mut first = kit.begun(&[]);
    assert_eq!(first.receive().block(), 1);
    let mut second = kit.client();
    second.ask("boot/f", "octet", &[]);
    // The server takes requests in turn: the one before has been dropped.
    let mut other = kit.client();
    other.ask("boot/f", "mail", &[]);
    assert_eq!(other.receive().error(), 4);
    assert!(!second.waiting());
    first.ack(1);
    kit.until(|event| matches!(event.what, What::Finished { .. }));
    assert_eq!(second.ask_until_answered("boot/f"), Got::Data(1, octets(9)));
}

#[test]
fn requests_that_nobody_stands_behind_do_not_keep_a_blade_out() {
    let options = Options { most_transfers: 4, ..Options::default() };
    let kit = Kit::new(files(&[("boot/f", octets(5000))]), options);
    let mut silent = [(); 4].map(|()| kit.client());
    for client in &mut silent {
        assert!(matches!(client.begin(&[CALM]), Got::Oack(_)));
    }
    assert_eq!(kit.fetch(&[]), octets(5000));
    let oldest = silent[0].socket.local_addr().unwrap();
    let crowded = What::Failed { reason: Reason::Crowded, bytes: 0 };
    kit.until(|event| event.client == oldest && event.what == crowded);
}

#[test]
fn transfers_keep_to_the_port_range() {
    // A free port, found by asking for one.
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let options = Options { ports: Some(free..=free.saturating_add(3)), ..Options::default() };
    let kit = Kit::new(files(&[("boot/f", octets(5000))]), options);
    for _ in 0..8 {
        let mut client = kit.client();
        client.begin(&[]);
        let port = client.transfer.unwrap().port();
        assert!((free..=free.saturating_add(3)).contains(&port), "{port}");
        client.error(0);
        kit.until(|event| {
            event.client == client.socket.local_addr().unwrap()
                && matches!(event.what, What::Failed { .. })
        });
    }
}

#[test]
fn the_server_serves_on_after_random_octets() {
    let kit = Kit::with_file(5000);
    let client = kit.client();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..3000 {
        let mut packet: Vec<u8> = (0..random() % 1400).map(|_| random() as u8).collect();
        if round % 2 == 0 {
            packet.splice(..packet.len().min(2), [0, (random() % 7) as u8]);
        }
        client.socket.send_to(&packet, client.server).unwrap();
    }
    assert_eq!(kit.fetch(&[]), octets(5000));
}

#[test]
fn a_transfer_goes_on_after_random_octets_from_its_client() {
    let kit = Kit::with_file(2000);
    let mut client = kit.begun(&[]);
    for block in 1..=4 {
        assert_eq!(client.receive().block(), block);
        for packet in [&b""[..], b"\0", b"\0\x04", b"\0\x04\0", b"\0\x05", b"\xff\xff\xff\xff"] {
            client.send(packet);
        }
        client.send(b"\0\x03\0\x01DATA");
        client.send(b"\0\x06tsize\x001\0");
        client.send(b"\0\x01boot/f\0octet\0");
        client.send(&[0; 9000]);
        client.ack(block);
    }
    kit.until(|event| matches!(event.what, What::Finished { bytes: 2000, .. }));
}

#[test]
fn events_tell_a_transfer_from_start_to_end() {
    let options = Options { progress_every: Duration::ZERO, ..Options::default() };
    let kit = Kit::new(files(&[("boot/f", octets(3000))]), options);
    let mut client = kit.client();
    client.fetch("boot/f", &[("blksize", "1024")], |_| false);
    let end = kit.until(|event| matches!(event.what, What::Finished { .. }));
    assert_eq!(end.client, client.socket.local_addr().unwrap());
    assert_eq!((end.local, &*end.name), (Ipv4Addr::LOCALHOST.into(), "boot/f"));
    let events = kit.events();
    assert_eq!(events[0], What::Started { size: 3000, blksize: 1024, windowsize: 1 });
    let progress = [1024, 2048, 3000].map(|bytes| What::Progress { bytes });
    assert_eq!(events[1..4], progress);
    assert!(matches!(events[4..], [What::Finished { bytes: 3000, .. }]));
}

#[test]
fn on_shutdown_clients_are_told_and_every_task_ends() {
    let mut kit = Kit::with_file(5000);
    let mut client = kit.begun(&[]);
    assert_eq!(client.receive().block(), 1);
    kit.stop();
    assert_eq!(client.receive(), Got::Error(0, "server is stopping".into()));
    let failed = What::Failed { reason: Reason::Stopping, bytes: 0 };
    assert_eq!(kit.events().last(), Some(&failed));
}

#[test]
fn a_client_with_ipv6_is_served_the_same() {
    let Ok(socket) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return eprintln!("no IPv6 on this host's loopback");
    };
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let listen = Listen { address, device: None };
    let kit = Kit::on(listen, files(&[("boot/f", octets(5000))]), Options::default());
    let mut client = Client { socket, server: kit.address, transfer: None };
    client.ask("nothing", "octet", &[]);
    assert_eq!(client.receive().error(), 1);
    let options = [("windowsize", "4"), ("blksize", "1024")];
    assert_eq!(client.fetch("boot/f", &options, |_| false), octets(5000));
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_it() {
    let kit = Kit::with_file(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listen = |address: SocketAddr, device: Option<&str>| {
        let listen = [Listen { address, device: device.map(str::to_owned) }];
        let opened = files(&[]);
        let bound = bind(&listen, opened, Arc::new(|_| ()), Options::default());
        runtime.block_on(bound).err().expect("cannot be bound").to_string()
    };
    assert!(listen(kit.address, None).contains(&kit.address.to_string()));
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    assert!(listen(any, Some("no-such-if")).contains("no-such-if"));
}

#[test]
fn a_block_longer_than_the_link_takes_travels_in_fragments() {
    // Loopback's MTU is 65,536: this block and its headers do not fit.
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let kit = Kit::new(
        Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Bytes::from(octets(400_000)))
        }),
        Options::default(),
    );
    assert_eq!(kit.fetch(&[("blksize", "65464"), ("windowsize", "2")]), octets(400_000));
    assert_eq!(opened.load(Ordering::Relaxed), 1);
}
