//! Every answer is read back with another implementation's parser.

use dhcproto::{
    Decodable, Decoder,
    v6::{self, DhcpOption, OptionCode, Status},
};

use super::*;
use crate::{
    dhcp6::{kit::snapshot, wire::code},
    inventory::Intent,
};

const SERVER: &[u8] = &[0, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
/// Link-local address of b01's card.
const B01: &str = "fe80::5054:ff:fe00:101";
/// An address that tells no card.
const PRIVATE: &str = "fe80::dead:beef";
const LL_B01: &[u8] = &[0, 3, 0, 1, 0x52, 0x54, 0, 0, 1, 1];
const STRANGER: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 9, 9];

fn opt(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &u16::try_from(value.len()).unwrap().to_be_bytes(), value].concat()
}

fn ia(addresses: &[&str]) -> Vec<u8> {
    let address = |ip: &&str| {
        let ip: Ipv6Addr = ip.parse().unwrap();
        opt(code::IA_ADDRESS, &[&ip.octets()[..], &[0; 8]].concat())
    };
    let addresses: Vec<u8> = addresses.iter().flat_map(address).collect();
    opt(code::IA_NA, &[&[0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0][..], &addresses].concat())
}

fn wanted(codes: &[u16]) -> Vec<u8> {
    opt(code::WANTED, &codes.iter().flat_map(|code| code.to_be_bytes()).collect::<Vec<u8>>())
}

fn message(kind: u8, duid: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
    let mut message = vec![kind, 1, 2, 3];
    message.extend(opt(code::CLIENT_ID, duid));
    if matches!(kind, 3 | 5 | 8 | 9) {
        message.extend(opt(code::SERVER_ID, SERVER));
    }
    message.extend(more.concat());
    message
}

struct Bench {
    snapshot: Snapshot,
    multicast: bool,
    addresses: &'static [&'static str],
}

fn bench() -> Bench {
    Bench { snapshot: snapshot(), multicast: true, addresses: &["fd00:12::1/64"] }
}

impl Bench {
    fn ask(&self, packet: &[u8], from: &str) -> Decision {
        let via = Interface {
            name: "srv".into(),
            index: 2,
            addresses: self.addresses.iter().map(|net| net.parse().unwrap()).collect(),
            url: Some("http://10.12.0.1".into()),
            http_port: 80,
        };
        let from = from.parse().unwrap();
        let arrival = Arrival { via: &via, from, multicast: self.multicast, now: 1 };
        let server = Duid::new(SERVER).unwrap();
        decide(&self.snapshot, &server, &Request::parse(packet).unwrap(), &arrival)
    }

    fn answer(&self, packet: &[u8], from: &str) -> v6::Message {
        let decision = self.ask(packet, from);
        let octets = decision.answer.unwrap_or_else(|| panic!("no answer: {:?}", decision.seen));
        v6::Message::decode(&mut Decoder::new(&octets)).unwrap()
    }

    fn silent(&self, packet: &[u8], from: &str) -> Seen {
        let decision = self.ask(packet, from);
        assert_eq!(decision.answer, None);
        decision.seen.unwrap()
    }
}

/// Addresses of the first association with their valid lifetimes, and its status.
fn given(message: &v6::Message) -> (Vec<(String, u32)>, Option<Status>) {
    let Some(DhcpOption::IANA(ia)) = message.opts().get(OptionCode::IANA) else {
        panic!("no IA_NA: {message:?}")
    };
    assert_eq!(ia.id, 7);
    let addresses = ia.opts.iter().filter_map(|option| match option {
        DhcpOption::IAAddr(address) => Some((address.addr.to_string(), address.valid_life)),
        _ => None,
    });
    (addresses.collect(), status(&ia.opts))
}

fn status(options: &v6::DhcpOptions) -> Option<Status> {
    match options.get(OptionCode::StatusCode) {
        Some(DhcpOption::StatusCode(status)) => Some(status.status),
        _ => None,
    }
}

fn reserved(ip: &str) -> (Vec<(String, u32)>, Option<Status>) {
    (vec![(ip.to_owned(), 3600)], None)
}

fn url(message: &v6::Message) -> Option<String> {
    message.opts().iter().find_map(|option| match option {
        DhcpOption::Unknown(unknown) if u16::from(unknown.code()) == code::BOOT_FILE_URL => {
            Some(String::from_utf8(unknown.data().to_vec()).unwrap())
        }
        _ => None,
    })
}

fn boots(arch: u16, class: &str) -> Vec<u8> {
    let length = u16::try_from(class.len()).unwrap().to_be_bytes();
    let class = [&343_u32.to_be_bytes()[..], &length, class.as_bytes()].concat();
    [opt(code::CLIENT_ARCH, &arch.to_be_bytes()), opt(code::VENDOR_CLASS, &class)].concat()
}

#[test]
fn rfc8415_s18_3_1_a_solicit_is_answered_by_an_advertise_with_the_reserved_address() {
    let answer = bench().answer(&message(1, LL_B01, &[ia(&[])]), B01);
    assert_eq!(answer.msg_type(), v6::MessageType::Advertise);
    assert_eq!(answer.xid(), [1, 2, 3]);
    assert_eq!(given(&answer), reserved("fd00:12::1:1"));
    let has = |option: DhcpOption| answer.opts().iter().any(|other| *other == option);
    assert!(has(DhcpOption::ClientId(LL_B01.to_vec())), "§21.2");
    assert!(has(DhcpOption::ServerId(SERVER.to_vec())), "§21.3");
    assert!(has(DhcpOption::Preference(255)), "§21.8");
}

#[test]
fn rfc8415_s18_3_1_rapid_commit_is_answered_by_a_reply_at_once() {
    let packet = message(1, LL_B01, &[ia(&[]), opt(code::RAPID_COMMIT, &[])]);
    let answer = bench().answer(&packet, B01);
    assert_eq!(answer.msg_type(), v6::MessageType::Reply);
    assert!(answer.opts().get(OptionCode::RapidCommit).is_some(), "§21.14");
    assert_eq!(given(&answer), reserved("fd00:12::1:1"));
}

#[test]
fn rfc8415_s18_3_2_a_request_gets_the_reserved_address_whatever_it_asks_for() {
    for asks in [&[][..], &["fd00:12::1:1"], &["fd00:12::99"]] {
        let answer = bench().answer(&message(3, LL_B01, &[ia(asks)]), B01);
        assert_eq!(answer.msg_type(), v6::MessageType::Reply);
        assert_eq!(given(&answer), reserved("fd00:12::1:1"));
    }
    let answer = bench().answer(&message(3, LL_B01, &[ia(&["fd00:99::1"])]), B01);
    assert_eq!(given(&answer), (vec![], Some(Status::NotOnLink)));
}

#[test]
fn rfc8415_s16_what_is_for_another_server_is_left_to_it() {
    let packet = [message(11, LL_B01, &[]), opt(code::SERVER_ID, &[0, 4, 9, 9])].concat();
    assert_eq!(bench().ask(&packet, B01), Decision::default());
}

#[test]
fn rfc8415_s18_3_3_confirm_says_whether_addresses_belong_to_this_link() {
    let answer = |ips: &[&str]| {
        let answer = bench().answer(&message(4, STRANGER, &[ia(ips)]), PRIVATE);
        assert_eq!(answer.msg_type(), v6::MessageType::Reply);
        status(answer.opts())
    };
    assert_eq!(answer(&["fd00:12::77"]), Some(Status::Success));
    assert_eq!(answer(&["fd00:12::77", "fd00:13::77"]), Some(Status::NotOnLink));
    let none = bench().silent(&message(4, STRANGER, &[ia(&[])]), PRIVATE);
    assert!(none.detail.contains("without an address"));
}

#[test]
fn rfc8415_s18_3_4_renew_and_s18_3_5_rebind_end_addresses_that_are_not_its_own() {
    for kind in [5, 6] {
        let packet = message(kind, LL_B01, &[ia(&["fd00:12::1:1", "fd00:12::99"])]);
        let (addresses, status) = given(&bench().answer(&packet, B01));
        let old = ("fd00:12::99".to_owned(), 0);
        assert_eq!(addresses, [("fd00:12::1:1".to_owned(), 3600), old]);
        assert_eq!(status, None);
    }
}

#[test]
fn rfc8415_s18_3_4_a_renew_of_a_stranger_has_no_binding_and_its_rebind_is_left_to_others() {
    let answer = bench().answer(&message(5, STRANGER, &[ia(&["fd00:12::99"])]), PRIVATE);
    assert_eq!(given(&answer), (vec![], Some(Status::NoBinding)));
    bench().silent(&message(6, STRANGER, &[ia(&["fd00:12::99"])]), PRIVATE);
}

#[test]
fn rfc8415_s18_3_7_release_is_noted_and_s18_3_8_decline_alerts_a_person() {
    let bench = bench();
    for (kind, what) in [(8, What::Released), (9, What::Alert)] {
        let packet = message(kind, LL_B01, &[ia(&["fd00:12::1:1"])]);
        assert_eq!(status(bench.answer(&packet, B01).opts()), Some(Status::Success));
        assert_eq!(bench.ask(&packet, B01).seen.unwrap().what, what);
        let foreign = bench.answer(&message(kind, LL_B01, &[ia(&["fd00:12::99"])]), B01);
        assert_eq!(given(&foreign), (vec![], Some(Status::NoBinding)));
    }
    let answer = bench.answer(&message(1, LL_B01, &[ia(&[])]), B01);
    assert_eq!(given(&answer), reserved("fd00:12::1:1"), "it stays reserved");
}

#[test]
fn rfc8415_s18_3_6_an_information_request_gets_what_it_asks_for_and_no_address() {
    let asks = wanted(&[code::DNS, code::DOMAINS, code::SNTP, code::NTP, 82]);
    let answer = bench().answer(&[&[11, 1, 2, 3][..], &asks].concat(), PRIVATE);
    assert_eq!(answer.msg_type(), v6::MessageType::Reply);
    let find = |wanted: u16| {
        let options = answer.opts().iter().filter(|o| u16::from(OptionCode::from(*o)) == wanted);
        options.count()
    };
    assert_eq!([23, 24, 31, 56, 3, 1].map(find), [1, 1, 1, 1, 0, 0]);
    let octets = bench().ask(&[&[11, 1, 2, 3][..], &asks].concat(), PRIVATE).answer.unwrap();
    let has = |part: &[u8]| octets.windows(part.len()).any(|window| window == part);
    let server: Ipv6Addr = "fd00:12::1".parse().unwrap();
    let ntp = [&[0, 1, 0, 16][..], &server.octets()].concat();
    assert!(has(&opt(code::NTP, &ntp)), "RFC 5908 §4.1");
    assert!(has(&opt(code::DOMAINS, b"\x03lab\x07example\0")), "RFC 3646 §4");
    let nothing = bench().answer(&[11, 1, 2, 3], PRIVATE);
    assert_eq!(nothing.opts().iter().count(), 1, "§21.7: only what is asked for");
}

#[test]
fn rfc8415_s18_4_a_request_to_our_own_address_is_told_to_use_multicast() {
    let bench = Bench { multicast: false, ..bench() };
    for kind in [3, 5, 8, 9] {
        let answer = bench.answer(&message(kind, LL_B01, &[ia(&["fd00:12::1:1"])]), B01);
        assert_eq!(status(answer.opts()), Some(Status::UseMulticast));
    }
}

#[test]
fn rfc8415_s18_3_9_a_stranger_is_told_that_there_is_no_address_or_nothing_as_configured() {
    let mut bench = bench();
    let packet = message(1, STRANGER, &[ia(&[]), opt(code::IA_PD, &[0; 12])]);
    let answer = bench.answer(&packet, PRIVATE);
    assert_eq!(answer.msg_type(), v6::MessageType::Advertise);
    assert_eq!(given(&answer), (vec![], Some(Status::NoAddrsAvail)));
    let Some(DhcpOption::IAPD(pd)) = answer.opts().get(OptionCode::IAPD) else { panic!() };
    assert_eq!(status(&pd.opts), Some(Status::NoPrefixAvail));
    bench.snapshot.serve_unknown = false;
    assert!(bench.silent(&packet, PRIVATE).detail.contains("not in the inventory"));
    let b04 = message(1, &[0, 3, 0, 1, 0x52, 0x54, 0, 0, 1, 4], &[ia(&[])]);
    let seen = bench.ask(&b04, PRIVATE).seen.unwrap();
    assert!(seen.detail.contains("no ip6 in the inventory"), "{}", seen.detail);
}

#[test]
fn a_blade_is_known_by_its_written_duid_its_relay_its_card_or_the_mac_in_its_duid() {
    let bench = bench();
    let uuid = [&[0, 4][..], &hex::decode("33221100554477668899aabbccddeeff").unwrap()].concat();
    let lease = |duid: &[u8], from: &str| given(&bench.answer(&message(1, duid, &[ia(&[])]), from));
    assert_eq!(lease(&uuid, B01), reserved("fd00:12::1:2"), "RFC 6355: as written, octets swapped");
    assert_eq!(lease(&[0, 4, 1, 1], B01), reserved("fd00:12::1:1"), "RFC 4291: by its card");
    assert_eq!(lease(LL_B01, PRIVATE), reserved("fd00:12::1:1"), "§11.4: by its DUID-LL");
    let cloned = [0, 3, 0, 1, 0x52, 0x54, 0, 0, 1, 2];
    assert_eq!(lease(&cloned, B01), reserved("fd00:12::1:1"), "a cloned disk's DUID does not win");
}

#[test]
fn rfc8415_s13_1_a_relayed_client_is_where_the_relay_nearest_to_it_says() {
    let bench = bench();
    let relay = |link: &str, options: &[Vec<u8>]| {
        let (link, peer): (Ipv6Addr, Ipv6Addr) = (link.parse().unwrap(), PRIVATE.parse().unwrap());
        [&[12, 0], &link.octets()[..], &peer.octets(), &options.concat()].concat()
    };
    let b03 = opt(code::CLIENT_LINK_LAYER, &[0, 1, 0x52, 0x54, 0, 0, 1, 3]);
    let solicit = opt(code::RELAY_MESSAGE, &message(1, &[0, 4, 1, 1], &[ia(&[])]));
    // A switch without an address of its own (RFC 6221), then a router on fd00:13::/64.
    let inner = relay("::", &[opt(code::INTERFACE_ID, b"port 3"), b03, solicit]);
    let outer = relay("fd00:13::fe", &[opt(code::RELAY_MESSAGE, &inner)]);
    let decision = bench.ask(&outer, "fd00:13::fe");
    let octets = decision.answer.unwrap();
    assert_eq!(octets[0], 13);
    let address: Ipv6Addr = "fd00:13::1:3".parse().unwrap();
    assert!(octets.windows(16).any(|window| window == address.octets()), "RFC 6939: option 79");
    let seen = decision.seen.unwrap();
    assert_eq!(seen.relay_port, Some(hex::encode("port 3")));
    let lost = relay("fd00:99::fe", &[opt(code::RELAY_MESSAGE, &inner)]);
    assert!(bench.silent(&lost, "fd00:99::fe").detail.contains("no subnet we serve"));
}

#[test]
fn a_blade_that_asks_from_another_network_alerts_a_person() {
    let packet = message(1, &[0, 3, 0, 1, 0x52, 0x54, 0, 0, 1, 3], &[ia(&[])]);
    let seen = bench().silent(&packet, PRIVATE);
    assert_eq!(seen.what, What::Alert);
    assert!(seen.detail.contains("b03") && seen.detail.contains("cabling"), "{}", seen.detail);
    let nowhere = Bench { addresses: &[], ..bench() };
    let seen = nowhere.silent(&message(1, LL_B01, &[ia(&[])]), B01);
    assert!(seen.detail.contains("no [[subnet]]"), "{}", seen.detail);
}

#[test]
fn rfc5970_s3_1_each_boot_program_is_told_where_its_next_one_is() {
    let bench = bench();
    let told = |more: Vec<u8>| url(&bench.answer(&message(1, LL_B01, &[ia(&[]), more]), B01));
    let pxe = boots(7, "PXEClient:Arch:00007:UNDI:003001");
    assert_eq!(told(pxe.clone()).as_deref(), Some("tftp://[fd00:12::1]/snponly.efi"));
    let ipxe = [pxe, opt(code::USER_CLASS, b"\0\x04iPXE")].concat();
    let script = "http://[fd00:12::1]/boot/52-54-00-00-01-01.ipxe";
    assert_eq!(told(ipxe).as_deref(), Some(script), "not at boot.url, which is IPv4");
    assert_eq!(told(vec![]), None, "an operating system");
    let http = message(1, LL_B01, &[ia(&[]), boots(16, "HTTPClient:Arch:00016:UNDI:003001")]);
    let answer = bench.answer(&http, B01);
    assert_eq!(url(&answer).as_deref(), Some("http://[fd00:12::1]/loaders/snponly.efi"));
    let octets = bench.ask(&http, B01).answer.unwrap();
    let class = opt(code::VENDOR_CLASS, b"\0\0\x01\x57\0\x0aHTTPClient");
    assert!(
        octets.windows(class.len()).any(|w| w == class),
        "UEFI 2.10 §24.7: the class is echoed"
    );
}

#[test]
fn an_installed_blade_is_told_no_boot_file() {
    let mut bench = bench();
    std::sync::Arc::make_mut(&mut bench.snapshot.blades)[0].intent = Intent::Local;
    let pxe = boots(7, "PXEClient:Arch:00007:UNDI:003001");
    let answer = bench.answer(&message(1, LL_B01, &[ia(&[]), pxe]), B01);
    assert_eq!((url(&answer), given(&answer)), (None, reserved("fd00:12::1:1")));
}
