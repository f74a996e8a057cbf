//! Hostile packets, and packets of real firmware.

use proptest::prelude::*;
use rstest::rstest;

use super::{encode::SHORTEST, *};

/// A DISCOVER with `options` behind its message type.
fn discover(options: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; HEADER];
    packet[..3].copy_from_slice(&[1, 1, 6]);
    packet[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    packet[236..].copy_from_slice(&MAGIC);
    packet.extend([53, 1, 1]);
    packet.extend_from_slice(options);
    packet
}

fn with(at: usize, value: &[u8]) -> Vec<u8> {
    let mut packet = discover(&[255]);
    packet[at..at + value.len()].copy_from_slice(value);
    packet
}

#[rstest]
#[case::empty(vec![], Dropped::Short)]
#[case::no_cookie(vec![1; 239], Dropped::Short)]
#[case::a_reply(with(0, &[2]), Dropped::NotRequest)]
#[case::token_ring(with(1, &[6]), Dropped::Hardware)]
#[case::hlen_17_stops_other_servers(with(2, &[17]), Dropped::Hardware)]
#[case::hlen_255(with(2, &[255]), Dropped::Hardware)]
#[case::hlen_0(with(2, &[0]), Dropped::Hardware)]
#[case::multicast_mac(with(28, &[1]), Dropped::Hardware)]
#[case::no_mac(with(28, &[0; 6]), Dropped::Hardware)]
#[case::rfc2131_3_wrong_cookie(with(236, &[0]), Dropped::Magic)]
#[case::an_offer(with(242, &[2]), Dropped::FromServer)]
#[case::an_ack(with(242, &[5]), Dropped::FromServer)]
#[case::a_nak(with(242, &[6]), Dropped::FromServer)]
#[case::type_0(with(242, &[0]), Dropped::UnknownType)]
#[case::type_255(with(242, &[255]), Dropped::UnknownType)]
#[case::bootp(with(240, &[255]), Dropped::NoMessageType)]
#[case::past_the_end(discover(&[61, 200, 1, 2]), Dropped::OptionPastEnd)]
#[case::no_length(discover(&[61]), Dropped::OptionPastEnd)]
#[case::long_type(discover(&[53, 1, 1]), Dropped::BadOption(53))]
#[case::short_address(discover(&[50, 3, 1, 2, 3]), Dropped::BadOption(50))]
#[case::long_server(discover(&[54, 5, 1, 2, 3, 4, 5]), Dropped::BadOption(54))]
#[case::overload_4(discover(&[52, 1, 4]), Dropped::BadOption(52))]
#[case::overload_into_garbage(discover(&[52, 1, 1]), Dropped::OptionPastEnd)]
fn what_cannot_be_understood_is_dropped_with_its_cause(
    #[case] mut packet: Vec<u8>,
    #[case] cause: Dropped,
) {
    if packet.len() > 236 {
        packet[235] = 7; // A lone octet at the end of `file`, for the overload case.
    }
    assert_eq!(Request::parse(&packet).err(), Some(cause));
}

#[test]
fn rfc2131_4_1_pads_between_options_are_skipped_and_a_missing_end_is_forgiven() {
    let packet = discover(&[0, 0, 50, 4, 1, 2, 3, 4, 0]);
    assert_eq!(Request::parse(&packet).unwrap().requested, Some([1, 2, 3, 4].into()));
}

#[test]
fn rfc2131_4_1_overloaded_fields_are_read_file_before_sname() {
    let mut packet = discover(&[61, 1, b'a', 52, 1, 3, 255]);
    packet[108..112].copy_from_slice(&[61, 1, b'b', 255]);
    packet[44..54].copy_from_slice(&[54, 4, 10, 12, 0, 1, 61, 1, b'c', 255]);
    let request = Request::parse(&packet).unwrap();
    assert_eq!(request.server_id, Some([10, 12, 0, 1].into()));
    assert_eq!(request.get(code::CLIENT_ID).unwrap(), &b"abc"[..]);
}

#[test]
fn rfc2131_2_a_request_of_1400_octets_is_accepted() {
    let mut options = Vec::new();
    for _ in 0..5 {
        options.extend([224, 230]);
        options.extend([9; 230]);
    }
    options.extend([50, 4, 1, 2, 3, 4, 255]);
    let packet = discover(&options);
    assert!(packet.len() > 1400);
    assert_eq!(Request::parse(&packet).unwrap().requested, Some([1, 2, 3, 4].into()));
}

#[test]
fn rfc4578_2_1_all_architectures_of_option_93_are_kept() {
    let packet = discover(&[93, 4, 0, 6, 0, 7, 255]);
    assert_eq!(Request::parse(&packet).unwrap().client().archs, [6, 7]);
}

#[test]
fn replies_are_read_back_by_another_decoder() {
    let packet = discover(&[82, 3, 1, 1, b'p', 255]);
    let option = |code, value: &[u8]| ReplyOption { code, value: value.to_vec(), required: true };
    let reply = Reply {
        yiaddr: Some([10, 12, 1, 1].into()),
        siaddr: Some([10, 12, 0, 1].into()),
        file: "snponly.efi".to_owned(),
        options: vec![option(53, &[2]), option(1, &[255, 255, 0, 0]), option(61, &[7; 300])],
        ..Reply::default()
    };
    let octets = reply.encode(&Request::parse(&packet).unwrap()).unwrap();
    insta::assert_debug_snapshot!(dhcproto::v4::borrowed::Message::new(&octets).map(|message| {
        let options: Vec<_> =
            message.opts().map(|o| (u8::from(o.code()), hex::encode(o.data()))).collect();
        (message.yiaddr(), message.siaddr(), message.fname().to_vec(), options)
    }));
}

#[rstest]
#[case("seabios-ipxe-discover")]
#[case("seabios-ipxe-request")]
#[case("edk2-pxe-discover")]
#[case("edk2-pxe-request")]
#[case("ipxe-snponly-discover")]
#[case("efi-rom-ipxe-discover")]
fn packets_of_real_firmware_are_understood(#[case] name: &str) {
    let path = format!("{}/tests/fixtures/dhcp/{name}.bin", env!("CARGO_MANIFEST_DIR"));
    let packet = std::fs::read(path).unwrap();
    let request = Request::parse(&packet).unwrap();
    let options: Vec<_> = request
        .parts
        .iter()
        .map(|(code, value)| format!("{code}: {}", hex::encode(value)))
        .collect();
    let text = format!(
        "{:?} from {}, xid {}, broadcast {}, requested {:?}\nfirmware: {}\nuuid: {:?}\n{}\n",
        request.message,
        request.mac,
        hex::encode(request.xid),
        request.broadcast,
        request.requested,
        request.client().firmware().name(),
        request.client().uuid.as_ref().map(crate::boot::uuid_text),
        options.join("\n"),
    );
    insta::assert_snapshot!(format!("decoded_{name}"), text);
}

/// Options with plausible codes and lengths, or garbage.
fn area() -> impl Strategy<Value = Vec<u8>> {
    let codes = prop::sample::select(vec![0u8, 12, 50, 52, 53, 54, 55, 57, 60, 61, 77, 82, 93, 97]);
    let option = (codes, prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(code, value)| {
        let length = u8::try_from(value.len()).unwrap();
        [&[code, length][..], &value].concat()
    });
    prop_oneof![
        prop::collection::vec(option, 0..20).prop_map(|options| options.concat()),
        prop::collection::vec(any::<u8>(), 0..600),
    ]
}

proptest! {
    #[test]
    fn no_packet_panics(
        head in prop::collection::vec(any::<u8>(), 0..300),
        options in area(),
        keep in 0usize..1000,
        broken in prop::option::of((0usize..600, any::<u8>())),
    ) {
        fuzz_one(&head);
        let mut packet = discover(&options);
        if let Some((at, octet)) = broken && let Some(place) = packet.get_mut(at) {
            *place = octet;
        }
        packet.truncate(keep);
        fuzz_one(&packet);
    }

    #[test]
    fn an_answer_is_never_larger_than_a_frame_and_always_ends(options in area()) {
        let packet = discover(&options);
        if let Ok(request) = Request::parse(&packet) {
            let option = |code, required| ReplyOption { code, value: vec![1; 120], required };
            let options = vec![option(1, true), option(2, false), option(3, false)];
            if let Some(octets) = (Reply { options, ..Reply::default() }).encode(&request) {
                prop_assert!((SHORTEST..=LONGEST).contains(&octets.len()));
                prop_assert!(octets.contains(&255));
            }
        }
    }
}
