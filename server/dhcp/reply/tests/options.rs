//! What stands in an answer, and in which order.

use super::kit::*;
use crate::inventory::Intent;

fn place(reply: &Reply, code: u8) -> usize {
    reply.options().iter().position(|(c, _)| *c == code).unwrap()
}

#[test]
fn rfc2131_4_3_1_configured_parameters_that_were_asked_for_come_and_no_others() {
    let mut packet = discover(B01);
    packet.option(55, &[1, 3, 6, 15, 40, 69]);
    let offer = server().ask(&packet).reply();
    assert_eq!(offer.get(1).unwrap(), [255, 255, 0, 0]);
    assert_eq!(offer.get(3).unwrap(), [10, 12, 0, 254]);
    assert_eq!(offer.get(6).unwrap(), [10, 12, 0, 53, 10, 12, 0, 54]);
    assert_eq!(offer.get(15).unwrap(), b"lab.example");
    // NIS domain and SMTP servers are not ours to give; NTP servers were not asked for.
    assert!([40, 69, 42].iter().all(|code| offer.get(*code).is_none()));
}

#[test]
fn rfc2132_3_3_the_mask_is_before_the_router_whatever_the_order_asked() {
    for asked in [&[3u8, 6, 1][..], &[1, 3], &[6, 3, 15, 1], &[3]] {
        let mut packet = discover(B01);
        packet.option(55, asked);
        let offer = server().ask(&packet).reply();
        assert!(place(&offer, 1) < place(&offer, 3), "{asked:?}");
    }
}

#[test]
fn rfc2132_9_8_requested_options_come_in_the_order_requested() {
    let mut packet = discover(B01);
    packet.option(55, &[15, 6, 51, 1, 28, 3, 12]);
    let offer = server().ask(&packet).reply();
    let order: Vec<usize> = [15, 6, 51, 1, 28, 3, 12].map(|code| place(&offer, code)).to_vec();
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(offer.get(12).unwrap(), b"b01");
}

#[test]
fn rfc6842_3_the_client_identifier_is_echoed_when_sent_and_only_then() {
    let mut packet = discover(B01);
    assert_eq!(server().ask(&packet).reply().get(61), None);
    packet.option(61, b"\xff\0\x01odd");
    assert_eq!(server().ask(&packet).reply().get(61).unwrap(), b"\xff\0\x01odd");
}

#[test]
fn rfc3396_7_a_split_client_identifier_is_echoed_as_one_value() {
    let mut packet = discover(B01);
    packet.option(61, b"\0first,").option(12, b"between").option(61, b"second");
    assert_eq!(server().ask(&packet).reply().get(61).unwrap(), b"\0first,second");
}

#[test]
fn rfc3396_7_a_parameter_list_in_two_parts_is_one_list() {
    let mut packet = discover(B01);
    packet.option(55, &[1, 3]).option(61, b"\0x").option(55, &[6]);
    let offer = server().ask(&packet).reply();
    assert!([1, 3, 6].iter().all(|code| offer.get(*code).is_some()));
}

#[test]
fn rfc2132_9_10_an_answer_respects_the_maximum_message_size() {
    let mut packet = discover(B01);
    packet.option(61, &[7; 200]).option(57, &576u16.to_be_bytes());
    packet.option(55, &[1, 3, 6, 15, 28, 42, 12]);
    let offer = server().ask(&packet).reply();
    assert!(offer.0.len() + 28 <= 576, "{}", offer.0.len());
    assert!([1, 51, 53, 54, 61].iter().all(|code| offer.get(*code).is_some()));
}

#[test]
fn pxe21_2_2_roms_get_their_boot_file_and_next_server_in_the_header() {
    for (arch, file) in [(0, "undionly.kpxe"), (7, "snponly.efi"), (9, "snponly.efi")] {
        let mut packet = discover(B01);
        let offer = server().ask(packet.pxe(arch)).reply();
        assert_eq!((offer.file().as_str(), offer.siaddr()), (file, SERVER));
        assert_eq!(offer.get(60), None, "option 60 would make the ROM look for option 43");
    }
}

#[test]
fn ipxe_gets_its_script_and_is_told_not_to_wait_for_a_proxy() {
    let mut packet = discover(B01);
    packet.pxe(0).option(77, b"iPXE").option(175, &[0xb1, 1, 1]);
    let mut desk = server();
    let offer = desk.ask(&packet).reply();
    assert_eq!(offer.file(), "http://10.12.0.1/boot/52-54-00-00-01-01.ipxe");
    assert_eq!(offer.get(175).unwrap(), [176, 1, 1]);
    desk.via.http_port = 8080;
    assert!(desk.ask(&packet).reply().file().starts_with("http://10.12.0.1:8080/boot/"));
    desk.via.url = Some("http://boot.lab.example/".to_owned() + &"long/".repeat(25));
    let offer = desk.ask(&packet).reply();
    assert_eq!(offer.file(), "", "longer than the header's field");
    assert!(offer.get(67).unwrap().starts_with(b"http://boot.lab.example/long"));
}

#[test]
fn rfc4578_2_3_the_machine_uuid_is_echoed_to_pxe_clients_only() {
    let uuid = [&[0][..], &[0xab; 16]].concat();
    let mut rom = discover(B01);
    let offer = server().ask(rom.pxe(7).option(97, &uuid)).reply();
    assert_eq!(offer.get(97).unwrap(), uuid);
    let mut os = discover(B01);
    assert_eq!(server().ask(os.option(97, &uuid)).reply().get(97), None);
}

#[test]
fn pxe21_2_2_3_a_plain_client_is_sent_nothing_of_pxe() {
    let offer = server().ask(&discover(B01)).reply();
    assert!([43, 60, 66, 67, 97, 175].iter().all(|code| offer.get(*code).is_none()));
    assert_eq!((offer.file().as_str(), &offer.0[20..24]), ("", &[0; 4][..]));
}

#[test]
fn what_the_client_wants_echoed_is_never_a_reason_to_send_a_giant() {
    let mut packet = discover(B01);
    for _ in 0..5 {
        packet.option(61, &[7; 255]);
    }
    assert_eq!(server().ask(&packet).0.answer, None);
}

#[test]
fn real_firmware_is_answered_octet_by_octet_like_this() {
    let names = ["seabios-ipxe-discover", "edk2-pxe-discover", "edk2-pxe-request"];
    for name in names {
        let path = format!("{}/tests/fixtures/dhcp/{name}.bin", env!("CARGO_MANIFEST_DIR"));
        let mut packet = std::fs::read(path).unwrap();
        packet[28..34].copy_from_slice(&B01.0);
        // The captured REQUEST names another network's server: as if we had offered.
        if let Some(at) = packet.windows(6).position(|w| w[..2] == [54, 4]) {
            packet[at + 2..at + 6].copy_from_slice(&SERVER.octets());
            packet[at + 8..at + 12].copy_from_slice(&[10, 12, 1, 1]);
        }
        for (state, intent) in [("menu", Intent::Menu), ("installed", Intent::Local)] {
            let mut desk = server();
            desk.with_intent(&intent);
            let asked = desk.ask_octets(&packet);
            let reply = asked.reply();
            let options: Vec<_> = reply
                .options()
                .iter()
                .map(|(code, value)| format!("{code}: {}", hex::encode(value)))
                .collect();
            let rows: Vec<_> = reply.0.chunks(32).map(hex::encode).collect();
            let text = format!(
                "to {:?}\nyiaddr {}, siaddr {}, file {:?}\n{}\n\n{}\n",
                asked.to(),
                reply.yiaddr(),
                reply.siaddr(),
                reply.file(),
                options.join("\n"),
                rows.join("\n"),
            );
            insta::assert_snapshot!(format!("answer_{name}_{state}"), text);
        }
    }
}
