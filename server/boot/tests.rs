use std::time::Duration;

use rstest::rstest;

use super::*;

const MAC: Mac = Mac([0x52, 0x54, 0, 0, 1, 1]);
const BASE: &str = "http://10.12.0.1";
const SCRIPT: &str = "http://10.12.0.1/boot/52-54-00-00-01-01.ipxe";

fn rom(archs: &[u16]) -> Client {
    let vendor_class = b"PXEClient:Arch:00000:UNDI:002001".to_vec();
    Client { archs: archs.to_vec(), vendor_class, ..Client::default() }
}

fn ipxe(user_class: &[u8]) -> Client {
    Client { user_class: user_class.to_vec(), ..rom(&[0]) }
}

fn answer(client: &Client, intent: Option<&Intent>) -> BootAnswer {
    client.firmware().answer(intent, BASE, MAC)
}

#[rstest]
#[case::pxe21_2_2_bios(&[0], "undionly.kpxe", "BIOS")]
#[case::rfc4578_2_1_uefi_x64(&[7], "snponly.efi", "UEFI x64")]
#[case::rfc4578_erratum_4625(&[9], "snponly.efi", "UEFI x64")]
#[case::rfc4578_several_values(&[6, 7], "snponly.efi", "UEFI x64")]
fn a_rom_gets_the_boot_file_of_its_architecture(
    #[case] archs: &[u16],
    #[case] file: &'static str,
    #[case] name: &str,
) {
    assert_eq!(answer(&rom(archs), Some(&Intent::Menu)), BootAnswer::File(file));
    assert_eq!(rom(archs).firmware().name(), name);
}

#[test]
fn pxe21_2_2_1_the_vendor_class_tells_the_architecture_where_option_93_is_absent() {
    assert_eq!(answer(&rom(&[]), None), BootAnswer::File("undionly.kpxe"));
}

#[test]
fn an_unknown_architecture_gets_no_boot_file_and_is_told_why() {
    for client in [rom(&[6]), Client { vendor_class: b"HTTPClient".to_vec(), ..rom(&[16]) }] {
        let why = BootAnswer::None("no boot file for this firmware");
        assert_eq!(answer(&client, Some(&Intent::Menu)), why);
    }
}

#[rstest]
#[case::raw(ipxe(b"iPXE"))]
#[case::rfc3004(ipxe(b"\x04iPXE"))]
#[case::rfc3004_second(ipxe(b"\x03abc\x04iPXE"))]
#[case::option_175(Client { option_175: true, ..rom(&[7]) })]
#[case::unknown_architecture(Client { user_class: b"iPXE".to_vec(), ..rom(&[99]) })]
fn ipxe_gets_the_script_and_never_its_own_binary_again(#[case] client: Client) {
    assert_eq!(answer(&client, None), BootAnswer::Script(SCRIPT.to_owned()));
    assert_eq!(client.firmware().name(), "iPXE");
}

#[test]
fn a_user_class_that_only_looks_like_ipxe_is_not_it() {
    for class in [&b"\x05iPXE"[..], b"iPXEx", b"\x04iPX", b"\xff", b"\x00\x00"] {
        assert_eq!(ipxe(class).firmware().name(), "BIOS", "{class:?}");
    }
}

#[test]
fn an_installed_blade_gets_no_boot_file_whatever_asks() {
    let http = Client { vendor_class: b"HTTPClient".to_vec(), ..rom(&[16]) };
    for (client, goes_on_at_once) in
        [(rom(&[0]), true), (rom(&[7]), true), (ipxe(b"iPXE"), false), (http, false)]
    {
        let given = answer(&client, Some(&Intent::Local));
        let want = if goes_on_at_once { BootAnswer::Disk } else { BootAnswer::None(INSTALLED) };
        assert_eq!(given, want, "{client:?}");
    }
}

#[test]
fn pxe21_2_2_3_the_local_boot_menu_is_well_formed() {
    let menu = local_boot_menu();
    let (mut rest, mut codes) = (&menu[..], Vec::new());
    while let [code, length, tail @ ..] = rest {
        codes.push(*code);
        rest = &tail[usize::from(*length)..];
    }
    assert_eq!((codes, rest), (vec![6, 9, 10], &[255][..]));
}

#[test]
fn pxe21_2_2_3_a_plain_dhcp_client_is_not_a_pxe_client() {
    let os = Client { vendor_class: b"udhcp 1.35.0".to_vec(), ..Client::default() };
    assert!(!os.is_pxe() && matches!(answer(&os, Some(&Intent::Menu)), BootAnswer::None(_)));
}

#[test]
fn script_to_install() {
    let text = install(
        "r1-c1-b01, installing debian-12",
        "http://10.12.0.1/images/debian-12/vmlinuz",
        "http://10.12.0.1/images/debian-12/initrd.img",
        "console=ttyS0,115200n8  cloud-config-url=http://10.12.0.1/config/small/pxe.yml",
        SCRIPT,
    );
    insta::assert_snapshot!(text.unwrap());
}

#[test]
fn script_to_boot_from_the_disk() {
    insta::assert_snapshot!(local("r1-c1-b01 is installed: booting from its disk"));
}

#[test]
fn script_to_wait() {
    insta::assert_snapshot!(hold("r1-c1-b01 waits: image debian-12 is missing", SCRIPT).unwrap());
}

#[test]
fn script_of_the_menu() {
    let entries = [
        ("simple", "A single machine"),
        ("small-cluster", "Three members of an etcd cluster"),
        ("local-boot", "Boot from the disk"),
    ];
    let timeout = Duration::from_secs(60);
    let text = menu("52:54:00:00:01:01", &entries, "local-boot", timeout, SCRIPT);
    insta::assert_snapshot!(text.unwrap());
    let forever = menu("x", &entries, "simple", Duration::ZERO, SCRIPT).unwrap();
    assert!(!forever.contains("--timeout"), "{forever}");
}

#[rstest]
#[case::line_break("a\nshell")]
#[case::carriage_return("a\rshell")]
#[case::expansion("${net0/mac}")]
#[case::divider("a || shell")]
#[case::and("a && shell")]
#[case::comment("a #b")]
#[case::joins_the_next_line("a \\")]
#[case::not_ascii("a\u{a0}b")]
fn no_value_can_break_a_script(#[case] hostile: &str) {
    assert!(install("x", hostile, "i", "", "u").is_err());
    assert!(install("x", "k", hostile, "", "u").is_err());
    assert!(install("x", "k", "i", hostile, "u").is_err());
    assert!(install("x", "k", "i", "", hostile).is_err());
    assert!(hold("x", hostile).is_err());
    assert!(menu("x", &[(hostile, "t")], "a", Duration::ZERO, "u").is_err());
    assert!(menu("x", &[], hostile, Duration::ZERO, "u").is_err());
    // Text for people is cleaned instead: a blade must not be lost to a strange title.
    for text in [local(hostile), hold(hostile, "u").unwrap()] {
        let plain = local("").lines().count().max(hold("", "u").unwrap().lines().count());
        assert!(text.lines().count() <= plain && text.is_ascii(), "{text}");
        assert!(!text.replace("${platform}", "").contains("${"), "{text}");
        let said = text.lines().nth(1).unwrap();
        assert!(!said.contains(['|', '&', '#', '\\']), "{said}");
    }
}
