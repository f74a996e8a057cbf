//! What the RFCs and firmware demand of a TFTP server, each line seen on the
//! wire. Timers and windows are also tried without a wire, in the machine's
//! own tests.
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use firstlight::tftp::transfer::Reason;
use firstlight::tftp::{OpenError, Options, What};

use crate::tftp_kit::{Client, Got, Kit, files, octets};

/// Keeps the server's timer out of a test that looks at single packets.
const CALM: (&str, &str) = ("timeout", "20");

fn boot_file(octets: Vec<u8>) -> Kit {
    Kit::new(files(&[("boot/f", octets)]), Options::default())
}

/// A client whose transfer has its OACK and has acknowledged it.
fn begun(kit: &Kit, options: &[(&str, &str)]) -> Client {
    let mut client = kit.client();
    let options = [options, &[CALM]].concat();
    assert_eq!(client.begin(&options).option("timeout"), Some(20));
    client.ack(0);
    client
}

#[test]
fn an_octet_read_without_options_is_exact_rfc1350_2() {
    for length in [0, 1, 511, 512, 513, 100_000] {
        assert_eq!(Kit::with_file(length).fetch(&[]), octets(length), "{length}");
    }
}

#[test]
fn each_transfer_has_a_fresh_tid_rfc1350_4() {
    let kit = Kit::with_file(5000);
    let (mut one, mut two) = (kit.client(), kit.client());
    one.begin(&[]);
    two.begin(&[]);
    let ports = [one.transfer, two.transfer].map(|address| address.unwrap().port());
    assert!(ports[0] != ports[1] && !ports.contains(&kit.address.port()), "{ports:?}");
}

#[test]
fn the_first_data_is_block_1_of_512_octets_rfc1350_4() {
    let got = Kit::with_file(5000).client().begin(&[]);
    assert_eq!(got, Got::Data(1, octets(512)));
}

#[test]
fn a_multiple_of_512_ends_with_an_empty_block_rfc1350_6() {
    let kit = Kit::with_file(1024);
    let mut client = kit.client();
    client.begin(&[]);
    client.ack(1);
    assert_eq!(client.receive().block(), 2);
    client.ack(2);
    assert_eq!(client.receive(), Got::Data(3, vec![]));
}

#[test]
fn an_empty_file_is_one_empty_block_rfc1350_6() {
    assert_eq!(Kit::with_file(0).client().begin(&[]), Got::Data(1, vec![]));
}

#[test]
fn a_missing_file_is_error_1_rfc1350_appendix() {
    let kit = Kit::with_file(1);
    let mut client = kit.client();
    client.ask("nothing", "octet", &[("tsize", "0")]);
    assert_eq!(client.receive(), Got::Error(1, "no such file".into()));
    kit.until(|event| event.what == What::Refused(OpenError::NotFound));
}

#[test]
fn the_mode_is_case_insensitive_rfc1350_5() {
    let kit = Kit::with_file(9);
    let mut client = kit.client();
    client.ask("boot/f", "OcTeT", &[]);
    assert_eq!(client.receive(), Got::Data(1, octets(9)));
}

#[test]
fn netascii_doubles_line_ends_rfc1123_4_2_4() {
    let kit = boot_file(b"one\ntwo\rthree\r\n".to_vec());
    let mut client = kit.client();
    client.ask("boot/f", "netascii", &[]);
    assert_eq!(client.receive(), Got::Data(1, b"one\r\ntwo\r\0three\r\0\r\n".to_vec()));
}

#[test]
fn mail_and_unknown_modes_are_refused_rfc1123_4_2_2_1() {
    let kit = Kit::with_file(9);
    for mode in ["mail", "binary", ""] {
        let mut client = kit.client();
        client.ask("boot/f", mode, &[]);
        assert_eq!(client.receive().error(), 4, "{mode}");
    }
}

#[test]
fn a_write_request_is_refused_with_error_2() {
    let kit = Kit::with_file(9);
    let mut client = kit.client();
    client.socket.send_to(b"\0\x02boot/f\0octet\0", client.server).unwrap();
    assert_eq!(client.receive().error(), 2);
    assert_eq!(kit.fetch(&[]), octets(9));
}

#[test]
fn leading_slashes_are_accepted_as_roms_add_them() {
    let kit = Kit::with_file(9);
    for name in ["/boot/f", "//boot/f"] {
        let mut client = kit.client();
        client.ask(name, "octet", &[]);
        assert_eq!(client.receive(), Got::Data(1, octets(9)));
    }
}

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
fn the_reply_comes_from_the_address_asked() {
    let kit = Kit::on_loopback(files(&[("boot/f", octets(9))]));
    for last in [1, 2, 77] {
        let mut client = kit.client();
        client.server.set_ip(Ipv4Addr::new(127, 0, 0, last).into());
        client.begin(&[]);
        assert_eq!(client.transfer.unwrap().ip(), client.server.ip());
        let mut client = kit.client();
        client.server.set_ip(Ipv4Addr::new(127, 0, 0, last).into());
        client.ask("nothing", "octet", &[]);
        assert_eq!(client.receive().error(), 1);
        assert_eq!(client.transfer.unwrap().ip(), client.server.ip());
    }
}

#[test]
fn a_request_to_the_broadcast_address_is_ignored_rfc1123_4_2_3_5() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let names = Arc::clone(&asked);
    let mut kit = Kit::on_loopback(Arc::new(move |request| {
        names.lock().unwrap().push(request.name.clone());
        Ok(Bytes::new())
    }));
    let mut client = kit.client();
    client.socket.set_broadcast(true).unwrap();
    client.server.set_ip(Ipv4Addr::new(127, 255, 255, 255).into());
    client.ask("by-broadcast", "octet", &[]);
    kit.client().fetch("alone", &[], |_| false);
    kit.stop();
    assert_eq!(*asked.lock().unwrap(), ["alone"]);
}

#[test]
fn block_sizes_are_granted_and_exact_rfc2348() {
    let kit = Kit::with_file(200_000);
    for blksize in ["8", "512", "1468", "65464"] {
        let granted = kit.client().begin(&[("blksize", blksize)]).option("blksize");
        assert_eq!(granted, Some(blksize.parse().unwrap()));
        assert_eq!(kit.fetch(&[("blksize", blksize)]), octets(200_000));
    }
}

#[test]
fn block_sizes_out_of_range_are_never_granted_rfc2348() {
    let kit = Kit::with_file(2000);
    for blksize in ["0", "7", "65465", "70000", "-1", "abc"] {
        assert_eq!(kit.client().begin(&[("blksize", blksize)]), Got::Data(1, octets(512)));
    }
}

#[test]
fn tsize_is_answered_with_the_size_rfc2349() {
    let kit = Kit::with_file(12_345);
    assert_eq!(kit.client().begin(&[("tsize", "0")]).option("tsize"), Some(12_345));
}

#[test]
fn a_timeout_is_granted_as_asked_or_not_at_all_rfc2349() {
    let kit = Kit::with_file(9);
    let granted = |seconds| {
        let options = [("timeout", seconds), ("tsize", "0")];
        kit.client().begin(&options).option("timeout")
    };
    assert_eq!(granted("3"), Some(3));
    for seconds in ["0", "256", "abc"] {
        assert_eq!(granted(seconds), None, "{seconds}");
    }
}

#[test]
fn unknown_options_are_left_out_and_names_case_insensitive_rfc2347() {
    let kit = Kit::with_file(3000);
    let options = [("x-new", "1"), ("BLKSIZE", "1024"), ("TSize", "0"), ("blksize", "512")];
    let want = [("blksize", "1024"), ("tsize", "3000")].map(|(k, v)| (k.into(), v.into()));
    assert_eq!(kit.client().begin(&options), Got::Oack(want.into()));
    assert_eq!(kit.client().begin(&[("x-new", "1")]), Got::Data(1, octets(512)));
}

#[test]
fn no_data_before_ack_0_rfc2347() {
    let kit = Kit::with_file(3000);
    let mut client = kit.client();
    client.begin(&[("timeout", "1")]);
    assert!(matches!(client.receive(), Got::Oack(_)), "the OACK again, no DATA");
    client.ack(0);
    assert_eq!(client.receive().block(), 1);
}

#[test]
fn error_8_ends_the_transfer_rfc2347() {
    let kit = Kit::with_file(3000);
    let mut client = kit.client();
    client.begin(&[("blksize", "1024")]);
    client.error(8);
    let ended = |what: &What| matches!(what, What::Failed { reason: Reason::ClientError { code: 8, .. }, bytes: 0 });
    kit.until(|event| ended(&event.what));
    assert!(!client.waiting());
}

#[test]
fn the_options_of_edk2_and_ipxe_together_are_consistent() {
    let kit = Kit::with_file(300_000);
    let options = [("tsize", "0"), ("blksize", "1468"), ("timeout", "5"), ("windowsize", "4")];
    let oack = kit.client().begin(&options);
    let granted = ["tsize", "blksize", "timeout", "windowsize"].map(|name| oack.option(name));
    assert_eq!(granted, [300_000, 1468, 5, 4].map(Some));
    assert_eq!(kit.fetch(&options), octets(300_000));
}

#[test]
fn after_a_size_probe_the_next_request_from_the_same_port_works_edk2() {
    let kit = Kit::with_file(3000);
    let mut client = kit.client();
    for round in 0..50 {
        // With the same options as the probe and with others; EDK2 says
        // ERROR 8, Intel's ROMs ERROR 0.
        let options: &[_] = if round % 2 == 0 { &[("tsize", "0")] } else { &[("blksize", "1024")] };
        client.begin(&[("tsize", "0")]);
        client.error(if round % 3 == 0 { 8 } else { 0 });
        assert_eq!(client.fetch("boot/f", options, |_| false), octets(3000));
    }
}

#[test]
fn a_probe_whose_error_is_lost_does_not_hold_the_port() {
    let kit = Kit::with_file(3000);
    let mut client = kit.client();
    client.begin(&[("tsize", "0"), CALM]);
    assert_eq!(client.fetch("boot/f", &[("blksize", "1024")], |_| false), octets(3000));
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
        while client.receive() != Got::Data(block, octets(3000)[512 * usize::from(block - 1)..].iter().take(512).copied().collect()) {}
        client.ack(block);
    }
    kit.until(|event| matches!(event.what, What::Finished { bytes: 3000, .. }));
    let started = |what: &&What| matches!(what, What::Started { .. });
    assert_eq!(kit.events().iter().filter(started).count(), 1);
}

#[test]
fn windowsize_is_granted_up_to_the_request_rfc7440_3() {
    let kit = Kit::with_file(3000);
    for window in [1, 4, 64] {
        let options = [("windowsize", &*window.to_string())];
        assert_eq!(kit.client().begin(&options).option("windowsize"), Some(window));
    }
    let options = [("windowsize", "65535"), ("blksize", "1468")];
    let granted = kit.client().begin(&options).option("windowsize").unwrap();
    assert!((16..=44).contains(&granted), "no more than 64 KiB in flight: {granted}");
}

#[test]
fn windowsize_0_65536_and_abc_are_not_acknowledged_rfc7440_3() {
    let kit = Kit::with_file(3000);
    for window in ["0", "65536", "abc"] {
        assert_eq!(kit.client().begin(&[("windowsize", window)]).block(), 1);
    }
}

#[test]
fn exactly_a_window_is_sent_before_its_ack_rfc7440_4() {
    let kit = Kit::with_file(20_000);
    let mut client = begun(&kit, &[("windowsize", "4")]);
    assert_eq!(client.blocks(4), [1, 2, 3, 4]);
    client.ack(4);
    assert_eq!(client.blocks(4), [5, 6, 7, 8], "nothing stood between");
}

#[test]
fn after_a_lost_block_the_window_resumes_behind_the_ack_rfc7440_4() {
    let kit = Kit::with_file(20_000);
    let mut client = begun(&kit, &[("windowsize", "4")]);
    assert_eq!(client.blocks(4), [1, 2, 3, 4]);
    client.ack(2);
    assert_eq!(client.blocks(4), [3, 4, 5, 6]);
}

#[test]
fn content_is_exact_with_every_13th_block_of_window_16_dropped_rfc7440_4() {
    let kit = Kit::with_file(300_000);
    let options = [("windowsize", "16"), ("blksize", "1024")];
    let got = kit.client().fetch("boot/f", &options, |packet| packet % 13 == 0);
    assert_eq!(got, octets(300_000));
}

#[test]
fn content_is_exact_with_one_in_seven_packets_lost_both_ways_rfc1350_2() {
    let kit = Kit::with_file(20_000);
    for options in [&[][..], &[("windowsize", "4")]] {
        let got = kit.client().fetch("boot/f", options, |packet| packet % 7 == 3);
        assert_eq!(got, octets(20_000));
    }
}

#[test]
fn an_unacknowledged_block_is_sent_again_rfc1350_2() {
    let kit = Kit::with_file(3000);
    let mut client = kit.client();
    let first = client.begin(&[]);
    assert_eq!(client.receive(), first);
}

#[test]
fn a_duplicate_ack_brings_no_second_copy_rfc1123_4_2_3_1() {
    let kit = Kit::with_file(5000);
    let mut client = begun(&kit, &[]);
    for block in 1..=10 {
        assert_eq!(client.receive().block(), block, "each block once");
        for _ in 0..3 {
            client.ack(block);
        }
    }
}

#[test]
fn a_stranger_gets_error_5_and_the_transfer_goes_on_rfc1350_4() {
    let kit = Kit::with_file(3000);
    let mut client = begun(&kit, &[]);
    let mut stranger = kit.client();
    stranger.transfer = client.transfer;
    assert_eq!(client.receive().block(), 1);
    stranger.ack(1);
    assert_eq!(stranger.receive().error(), 5);
    stranger.error(0);
    client.ack(1);
    assert_eq!(client.receive().block(), 2);
}

#[test]
fn an_error_in_mid_transfer_stops_it_rfc1350_7() {
    let kit = Kit::with_file(3000);
    let mut client = begun(&kit, &[("windowsize", "2")]);
    assert_eq!(client.blocks(2), [1, 2]);
    client.error(3);
    kit.until(|event| matches!(event.what, What::Failed { .. }));
    assert!(!client.waiting());
}

#[test]
fn block_numbers_roll_over_to_0() {
    let kit = Kit::with_file(8 * 65_540 + 3);
    let options = [("blksize", "8"), ("windowsize", "64")];
    assert_eq!(kit.fetch(&options), octets(8 * 65_540 + 3));
}

#[test]
fn twenty_four_clients_at_once_all_get_the_exact_file() {
    let kit = Kit::with_file(100_000);
    std::thread::scope(|scope| {
        for client in 0..24 {
            let kit = &kit;
            let window = (client % 8 + 1).to_string();
            scope.spawn(move || {
                let options: &[_] = if client < 8 { &[] } else { &[("windowsize", &window)] };
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
    let mut first = kit.client();
    first.begin(&[CALM]);
    let mut second = kit.client();
    second.ask("boot/f", "octet", &[]);
    first.ack(0);
    assert_eq!(first.receive().block(), 1);
    assert!(!second.waiting());
    first.ack(1);
    kit.until(|event| matches!(event.what, What::Finished { .. }));
    // As a ROM does: it asks until it is answered.
    second.socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let answered = (0..200).any(|_| {
        second.ask("boot/f", "octet", &[]);
        second.socket.recv_from(&mut [0; 600]).is_ok()
    });
    assert!(answered);
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
    let mut client = begun(&kit, &[]);
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
    let mut client = begun(&kit, &[]);
    assert_eq!(client.receive().block(), 1);
    kit.stop();
    assert_eq!(client.receive(), Got::Error(0, "server is stopping".into()));
    let failed = What::Failed { reason: Reason::Stopping, bytes: 0 };
    assert_eq!(kit.events().last(), Some(&failed));
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_it() {
    let kit = Kit::with_file(1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listen = |address: SocketAddr, device: Option<&str>| {
        let listen = firstlight::tftp::Listen { address, device: device.map(str::to_owned) };
        let opened = files(&[]);
        let bound = firstlight::tftp::bind(&[listen], opened, Arc::new(|_| ()), Options::default());
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
