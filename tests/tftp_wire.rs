//! RFC 1350 and RFC 1123 §4.2, each demand seen on the wire. Timers are also
//! tried without a wire, in the machine's own tests.
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use firstlight::tftp::{OpenError, Options, What};

use crate::tftp_kit::{Got, Kit, files, octets};

fn boot_file(octets: Vec<u8>) -> Kit {
    Kit::new(files(&[("boot/f", octets)]), Options::default())
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
    let mut client = kit.begun(&[]);
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
    let mut client = kit.begun(&[]);
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
    let mut client = kit.begun(&[("windowsize", "2")]);
    assert_eq!(client.blocks(2), [1, 2]);
    client.error(3);
    kit.until(|event| matches!(event.what, What::Failed { .. }));
    assert!(!client.waiting());
}
