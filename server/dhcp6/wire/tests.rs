use proptest::prelude::*;

use super::*;

/// An option as it stands on the wire.
pub fn opt(code: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    [&code.to_be_bytes()[..], &length.to_be_bytes(), value].concat()
}

const DUID_LL: [u8; 10] = [0, 3, 0, 1, 0x52, 0x54, 0, 0, 1, 1];

fn solicit(more: &[Vec<u8>]) -> Vec<u8> {
    [vec![1, 0xa, 0xb, 0xc], opt(option::CLIENT_ID, &DUID_LL), more.concat()].concat()
}

fn relayed(hops: u8, link: &str, options: &[Vec<u8>]) -> Vec<u8> {
    let (link, peer): (Ipv6Addr, Ipv6Addr) =
        (link.parse().unwrap(), "fe80::5054:ff:fe00:101".parse().unwrap());
    [&[RELAY_FORWARD, hops], &link.octets()[..], &peer.octets(), &options.concat()].concat()
}

fn why(packet: &[u8]) -> Dropped {
    Request::parse(packet).unwrap_err()
}

#[test]
fn rfc8415_s21_2_a_client_is_known_by_its_duid() {
    let packet = solicit(&[]);
    let request = Request::parse(&packet).unwrap();
    assert_eq!((request.message, request.xid), (Message::Solicit, [0xa, 0xb, 0xc]));
    assert_eq!(request.client_id.unwrap().octets(), DUID_LL);
}

#[test]
fn rfc8415_s16_messages_that_lack_or_have_what_they_must_not_are_dropped() {
    let client = opt(option::CLIENT_ID, &DUID_LL);
    let server = opt(option::SERVER_ID, &[0, 4, 1]);
    let message = |kind: u8, options: &[&Vec<u8>]| {
        let options: Vec<u8> = options.iter().flat_map(|option| (*option).clone()).collect();
        [vec![kind, 0, 0, 1], options].concat()
    };
    for kind in [1, 4, 6] {
        assert_eq!(why(&message(kind, &[])), Dropped::Missing(1), "§§16.2, 16.5, 16.7");
        assert_eq!(why(&message(kind, &[&client, &server])), Dropped::Forbidden(2));
        assert!(Request::parse(&message(kind, &[&client])).is_ok());
    }
    for kind in [3, 5, 8, 9] {
        assert_eq!(
            why(&message(kind, &[&client])),
            Dropped::Missing(2),
            "§§16.4, 16.6, 16.8, 16.9"
        );
        assert!(Request::parse(&message(kind, &[&client, &server])).is_ok());
    }
    let ia = opt(option::IA_NA, &[0; 12]);
    assert_eq!(why(&message(11, &[&ia])), Dropped::Forbidden(3), "§16.12");
    assert!(Request::parse(&message(11, &[])).is_ok(), "§16.12: no client identifier is needed");
    for kind in [2, 7, 10, 13] {
        assert_eq!(why(&message(kind, &[&client])), Dropped::FromServer, "§§16.3, 16.10, 16.11");
    }
    assert_eq!(why(&message(99, &[])), Dropped::UnknownType);
}

#[test]
fn rfc8415_s9_nested_relays_are_read_from_the_outside_in() {
    let inner = relayed(
        0,
        "fd00:12::7",
        &[
            opt(option::CLIENT_LINK_LAYER, &[0, 1, 0x52, 0x54, 0, 0, 1, 9]),
            opt(option::RELAY_MESSAGE, &solicit(&[])),
            opt(option::INTERFACE_ID, b"port7"),
        ],
    );
    let outer = relayed(1, "::", &[opt(37, &[0, 0, 0, 9, 1]), opt(option::RELAY_MESSAGE, &inner)]);
    let request = Request::parse(&outer).unwrap();
    assert_eq!(request.message, Message::Solicit);
    let [outer, inner] = request.relays.as_slice() else { panic!("{request:?}") };
    assert_eq!((outer.hops, inner.hops), (1, 0));
    assert!(outer.link.is_unspecified() && outer.interface_id.is_none());
    assert_eq!(inner.interface_id, Some(&b"port7"[..]));
    assert_eq!(inner.link_layer, Some(Mac([0x52, 0x54, 0, 0, 1, 9])), "RFC 6939 §4");
}

#[test]
fn rfc8415_s7_6_more_relays_than_the_hop_count_limit_are_dropped() {
    let mut packet = solicit(&[]);
    for depth in 0..9_u8 {
        assert!(Request::parse(&packet).is_ok(), "{depth}");
        packet = relayed(depth, "fd00:12::7", &[opt(option::RELAY_MESSAGE, &packet)]);
    }
    assert_eq!(why(&packet), Dropped::TooMany);
}

#[test]
fn rfc8415_s19_3_an_answer_goes_back_in_the_wrapping_it_came_in() {
    let inner = relayed(
        0,
        "fd00:12::7",
        &[opt(option::INTERFACE_ID, b"p7"), opt(option::RELAY_MESSAGE, &solicit(&[]))],
    );
    let port = opt(option::RELAY_PORT, &[0, 0]);
    let outer = relayed(1, "fd00:13::1", &[port, opt(option::RELAY_MESSAGE, &inner)]);
    let request = Request::parse(&outer).unwrap();
    let answer = wrapped(vec![7, 0xa, 0xb, 0xc], &request.relays);
    let mut expected = relayed(
        0,
        "fd00:12::7",
        &[opt(option::INTERFACE_ID, b"p7"), opt(option::RELAY_MESSAGE, &[7, 0xa, 0xb, 0xc])],
    );
    expected[0] = RELAY_REPLY;
    let port = opt(option::RELAY_PORT, &[0, 0]);
    let mut expected = relayed(1, "fd00:13::1", &[port, opt(option::RELAY_MESSAGE, &expected)]);
    expected[0] = RELAY_REPLY;
    assert_eq!(answer, expected, "RFC 8357 §5.3: the relay's port is echoed");
}

#[test]
fn rfc5970_s3_3_the_architecture_and_classes_of_a_boot_program_are_read() {
    let class =
        [&343_u32.to_be_bytes()[..], &[0, 33], b"HTTPClient:Arch:00016:UNDI:003001"].concat();
    let packet = solicit(&[opt(option::CLIENT_ARCH, &[0, 16]), opt(option::VENDOR_CLASS, &class)]);
    let client = Request::parse(&packet).unwrap().client;
    assert_eq!(client.firmware().name(), "UEFI x64 HTTP");
    let packet = solicit(&[opt(option::CLIENT_ARCH, &[0, 7])]);
    let client = Request::parse(&packet).unwrap().client;
    assert_eq!(client.firmware().name(), "UEFI x64", "the architecture alone says it boots");
    for class in [&b"\0\x04iPXE"[..], b"iPXE", b"\0\x01x\0\x04iPXE"] {
        let packet = solicit(&[opt(option::USER_CLASS, class), opt(option::CLIENT_ARCH, &[0, 7])]);
        assert_eq!(Request::parse(&packet).unwrap().client.firmware().name(), "iPXE", "§21.15");
    }
    assert_eq!(why(&solicit(&[opt(option::CLIENT_ARCH, &[0])])), Dropped::BadOption(61));
}

#[test]
fn what_is_cut_doubled_or_without_number_is_dropped_by_cause() {
    assert_eq!(why(&[]), Dropped::Short);
    assert_eq!(why(&[1, 0, 0]), Dropped::Short);
    assert_eq!(why(&[RELAY_FORWARD, 0, 0]), Dropped::Short);
    assert_eq!(why(&relayed(0, "::", &[])), Dropped::Missing(9));
    assert_eq!(why(&[&solicit(&[])[..], &[0, 1, 0]].concat()), Dropped::OptionPastEnd);
    assert_eq!(why(&[&solicit(&[])[..], &[0, 8, 0, 9, 1]].concat()), Dropped::OptionPastEnd);
    assert_eq!(why(&solicit(&[opt(option::CLIENT_ID, &DUID_LL)])), Dropped::BadOption(1));
    assert_eq!(why(&solicit(&[opt(option::IA_NA, &[0; 11])])), Dropped::BadOption(3));
    let short = [vec![0; 12], opt(option::IA_ADDRESS, &[0; 23])].concat();
    assert_eq!(why(&solicit(&[opt(option::IA_NA, &short)])), Dropped::BadOption(5));
    assert_eq!(why(&solicit(&vec![opt(option::IA_NA, &[0; 12]); 17])), Dropped::TooMany);
    let many = [vec![0; 12], vec![opt(option::IA_ADDRESS, &[0; 24]); 17].concat()].concat();
    assert_eq!(why(&solicit(&[opt(option::IA_NA, &many)])), Dropped::TooMany);
}

proptest! {
    #[test]
    fn no_octets_make_the_parser_panic(octets in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz_one(&octets);
    }

    /// Octets that look like a message get further than random ones.
    #[test]
    fn no_options_make_the_parser_panic(
        kind in prop_oneof![Just(RELAY_FORWARD), 0..14_u8],
        options in prop::collection::vec((0..64_u16, prop::collection::vec(any::<u8>(), 0..80)), 0..12),
        cut in 0..2000_usize,
    ) {
        let body: Vec<u8> = options.iter().flat_map(|(code, value)| opt(*code, value)).collect();
        let mut packet = [&[kind, 0, 0, 1][..], &body].concat();
        packet.truncate(cut.max(4));
        fuzz_one(&packet);
        fuzz_one(&relayed(0, "fd00::1", &[opt(option::RELAY_MESSAGE, &packet)]));
    }
}

#[test]
fn real_firmware_is_understood() {
    let read = |name: &str| {
        let path = format!("{}/tests/fixtures/dhcp6/{name}.bin", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    for (name, message, firmware) in [
        ("edk2-ip6config-solicit", Message::Solicit, "OS"),
        ("edk2-pxe-solicit", Message::Solicit, "UEFI x64"),
        ("edk2-pxe-request", Message::Request, "UEFI x64"),
        ("ipxe-snponly-solicit", Message::Solicit, "iPXE"),
    ] {
        let packet = read(name);
        let request = Request::parse(&packet).unwrap();
        assert_eq!((request.message, request.client.firmware().name()), (message, firmware));
        assert!(request.client.uuid.is_some(), "RFC 6355: the DUID is the SMBIOS UUID");
        assert_eq!((request.ias.len(), request.ias[0].kind), (1, IaKind::Lasting));
        assert_eq!(request.wanted.contains(&option::BOOT_FILE_URL), firmware != "OS", "{name}");
    }
}
