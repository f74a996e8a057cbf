//! RFC 2347, 2348, 2349, 7440 and what firmware makes of them, on the wire.
use firstlight::tftp::What;
use firstlight::tftp::transfer::Reason;

use crate::tftp_kit::{CALM, Got, Kit, octets};

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
    let ended = |what: &What| {
        matches!(what, What::Failed { reason: Reason::ClientError { code: 8, .. }, bytes: 0 })
    };
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
    let mut client = kit.begun(&[("windowsize", "4")]);
    assert_eq!(client.blocks(4), [1, 2, 3, 4]);
    client.ack(4);
    assert_eq!(client.blocks(4), [5, 6, 7, 8], "nothing stood between");
}

#[test]
fn after_a_lost_block_the_window_resumes_behind_the_ack_rfc7440_4() {
    let kit = Kit::with_file(20_000);
    let mut client = kit.begun(&[("windowsize", "4")]);
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
fn block_numbers_roll_over_to_0() {
    let kit = Kit::with_file(8 * 65_540 + 3);
    let options = [("blksize", "8"), ("windowsize", "64")];
    assert_eq!(kit.fetch(&options), octets(8 * 65_540 + 3));
}
