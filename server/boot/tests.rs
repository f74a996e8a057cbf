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

/// What a file with one blade and perhaps rules says of them.
fn chosen(client: &Client, toml: &str, intent: Intent) -> Choice {
    let text = format!("[[blade]]\nname = \"b1\"\nmacs = [\"{MAC}\"]\n{toml}");
    let document = crate::inventory::Document::parse(&text).unwrap();
    let blade = crate::inventory::Blade::new(&document, &document.blades[0], intent);
    let rules = &document.boot_rules;
    choose(client, &Asking { mac: MAC, blade: Some(&blade), rules, base: BASE })
}

fn answer(client: &Client, intent: Option<&Intent>) -> BootAnswer {
    match intent {
        Some(intent) => chosen(client, "", intent.clone()).answer,
        None => choose(client, &Asking { mac: MAC, blade: None, rules: &[], base: BASE }).answer,
    }
}

fn http(arch: u16) -> Client {
    let vendor_class = format!("HTTPClient:Arch:{arch:05}:UNDI:003000").into_bytes();
    Client { archs: vec![arch], vendor_class, ..Client::default() }
}

fn file(name: &str) -> BootAnswer {
    BootAnswer::File(name.to_owned())
}

fn url(path: &str) -> BootAnswer {
    BootAnswer::Url(format!("{BASE}/{path}"))
}

#[rstest]
#[case::pxe21_2_2_bios(&[0], "undionly.kpxe", "BIOS")]
#[case::rfc4578_2_1_uefi_x64(&[7], "snponly.efi", "UEFI x64")]
#[case::rfc4578_erratum_4625(&[9], "snponly.efi", "UEFI x64")]
#[case::iana_11_uefi_arm64(&[11], "ipxe-arm64.efi", "UEFI arm64")]
#[case::rfc4578_several_values(&[6, 7], "snponly.efi", "UEFI x64")]
fn a_rom_gets_the_boot_file_of_its_architecture(
    #[case] archs: &[u16],
    #[case] loader: &str,
    #[case] name: &str,
) {
    assert_eq!(answer(&rom(archs), Some(&Intent::Menu)), file(loader));
    assert_eq!(rom(archs).firmware().name(), name);
}

#[test]
fn pxe21_2_2_1_the_vendor_class_tells_the_architecture_where_option_93_is_absent() {
    assert_eq!(answer(&rom(&[]), None), file("undionly.kpxe"));
}

#[rstest]
#[case::uefi_2_10_24_7_x64(16, "snponly.efi")]
#[case::called_x86_by_iana(15, "snponly.efi")]
#[case::uefi_2_10_24_7_arm64(19, "ipxe-arm64.efi")]
fn uefi_http_boot_gets_a_url(#[case] arch: u16, #[case] loader: &str) {
    assert_eq!(answer(&http(arch), Some(&Intent::Menu)), url(&format!("loaders/{loader}")));
    assert_eq!(answer(&http(arch), None), url(&format!("loaders/{loader}")));
}

#[test]
fn where_secure_boot_is_on_only_signed_programs_are_offered() {
    for (client, signed) in [
        (rom(&[7]), file("shimx64.efi")),
        (rom(&[9]), file("shimx64.efi")),
        (rom(&[11]), file("shimaa64.efi")),
        (http(16), url("loaders/shimx64.efi")),
        (http(19), url("loaders/shimaa64.efi")),
    ] {
        let chosen = chosen(&client, "secure_boot = true", Intent::Menu);
        assert_eq!(chosen.answer, signed, "{}", chosen.rule);
        for loader in ["ipxe.efi", "ipxe-arm64.efi"] {
            let toml = format!("secure_boot = true\nloader = {loader:?}");
            assert_eq!(self::chosen(&client, &toml, Intent::Menu).answer, signed, "{loader}");
        }
        let off = self::chosen(&client, "secure_boot = false", Intent::Menu);
        assert!(!off.rule.contains("Secure Boot"), "{}", off.rule);
    }
}

#[test]
fn an_operator_chooses_the_program_for_a_blade_or_by_a_rule() {
    const RULE: &str =
        "[[boot_rule]]\nname = \"old nics\"\nmodel = \"PowerEdge R6*\"\nloader = \"ipxe.efi\"";
    let by = |client: &Client, toml: &str| chosen(client, toml, Intent::Menu);
    let own = by(&rom(&[7]), "loader = \"ipxe.efi\"");
    assert_eq!(own.answer, file("ipxe.efi"));
    assert_eq!(own.rule, "blade b1: loader = \"ipxe.efi\"");
    // A program for another platform is no program for this firmware.
    assert_eq!(by(&rom(&[0]), "loader = \"ipxe.efi\"").answer, file("undionly.kpxe"));
    assert_eq!(by(&http(16), "loader = \"ipxe.efi\"").answer, url("loaders/ipxe.efi"));
    let fits = by(&rom(&[7]), &format!("model = \"PowerEdge R640\"\n{RULE}"));
    assert_eq!(fits.answer, file("ipxe.efi"));
    assert_eq!(fits.rule, "boot rule old nics: loader = \"ipxe.efi\"");
    for other in ["model = \"PowerEdge R740\"\n", ""] {
        assert_eq!(by(&rom(&[7]), &format!("{other}{RULE}")).answer, file("snponly.efi"));
    }
    let narrow = "[[boot_rule]]\nname = \"x\"\nmac_prefix = \"52:54:00\"\nfirmware = \"UEFI x64 HTTP\"\nloader = \"ipxe.efi\"";
    assert_eq!(by(&rom(&[7]), narrow).answer, file("snponly.efi"));
    assert_eq!(by(&http(16), narrow).answer, url("loaders/ipxe.efi"));
}

#[test]
fn an_ipxe_in_the_rom_loads_what_a_rule_names_instead_of_ipxe() {
    let client = ipxe(b"iPXE");
    assert_eq!(chosen(&client, "loader = \"pxelinux.0\"", Intent::Menu).answer, file("pxelinux.0"));
    let script = BootAnswer::Script(SCRIPT.to_owned());
    assert_eq!(chosen(&client, "loader = \"undionly.kpxe\"", Intent::Menu).answer, script);
    assert_eq!(chosen(&client, "loader = \"shimx64.efi\"", Intent::Menu).answer, script);
}

#[test]
fn a_rule_that_cannot_work_is_refused_with_the_reason() {
    let told = |toml: &str| {
        let text = format!("[[blade]]\nname = \"b1\"\n{toml}");
        let document = crate::inventory::Document::parse(&text).unwrap();
        let sources = crate::inventory::SourceMap { files: vec![("r.toml".to_owned(), text)] };
        check(&document, &sources, &|name| name != "absent.efi").join("\n")
    };
    let rule = |keys: &str| told(&format!("[[boot_rule]]\nname = \"x\"\n{keys}"));
    for (text, why) in [
        (
            told("loader = \"absent.efi\""),
            "r.toml:3:10: blade b1: loader \"absent.efi\" is not on this server",
        ),
        (told("loader = \"../x\""), "is no file name"),
        (
            told("loader = \"ipxe.efi\"\nsecure_boot = true"),
            "is not signed, and the blade's Secure Boot is on",
        ),
        (
            told("loader = \"ipxe.efi\"\narch = \"arm64\""),
            "is for UEFI x64, and the blade is arm64",
        ),
        (
            told("loader = \"shimaa64.efi\"\narch = \"amd64\""),
            "is for UEFI arm64, and the blade is amd64",
        ),
        (rule("loader = \"ipxe.efi\""), "boot rule x: names no model, mac_prefix or firmware"),
        (rule("loader = \"ipxe.efi\"\nmac_prefix = \"52-54\""), "is not the beginning of a MAC"),
        (
            rule("loader = \"ipxe.efi\"\nfirmware = \"UEFI\""),
            "there is no firmware \"UEFI\"; there are BIOS, UEFI x64, UEFI arm64",
        ),
        (rule("loader = \"ipxe.efi\"\nfirmware = \"BIOS\""), "is for UEFI x64, not for BIOS"),
        (
            rule(
                "loader = \"ipxe.efi\"\nmodel = \"m\"\n[[boot_rule]]\nname = \"y\"\nmodel = \"m\"\nloader = \"snponly.efi\"",
            ),
            "boot rule y: says when it fits just as rule x does",
        ),
    ] {
        assert!(text.contains(why), "{text} lacks: {why}");
    }
    assert_eq!(told("loader = \"shimx64.efi\"\nsecure_boot = true"), "");
    assert_eq!(rule("loader = \"own-aa64.efi\"\nfirmware = \"UEFI arm64 HTTP\""), "");
}

#[test]
fn an_unknown_architecture_gets_no_boot_file_and_is_told_why() {
    for client in [rom(&[6]), rom(&[16]), http(7), http(20)] {
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
    // Firmware is told in its own words, or it asks for a file for a minute.
    let nothing = || BootAnswer::DiskByUrl("http://10.12.0.1/loaders/local-boot".to_owned());
    for (client, want) in [
        (rom(&[0]), BootAnswer::Disk),
        (rom(&[7]), BootAnswer::Disk),
        (http(16), nothing()),
        (http(19), nothing()),
        (ipxe(b"iPXE"), BootAnswer::None(INSTALLED)),
    ] {
        let given = answer(&client, Some(&Intent::Local));
        assert_eq!((given.file(), &given), ("", &want), "{client:?}");
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
    insta::assert_snapshot!(ipxe_text(INSTALL));
}

#[test]
fn script_to_boot_from_the_disk() {
    insta::assert_snapshot!(ipxe_text(LOCAL));
}

#[test]
fn script_to_wait() {
    insta::assert_snapshot!(ipxe_text(WAIT));
}

#[test]
fn script_of_the_menu() {
    insta::assert_snapshot!(ipxe_text(MENU));
    let forever =
        Order::Menu { title: "x", entries: &[], default: "simple", timeout: Duration::ZERO };
    assert!(!ipxe_text(forever).contains("--timeout"));
}

const FILES: Files<'_> = Files {
    base: BASE,
    kernel: "/images/sha256/aa",
    initrd: "/images/sha256/bb",
    cmdline: "console=ttyS0,115200n8  cloud-config-url=http://10.12.0.1/config/small/pxe.yml?token=a.b",
};
const INSTALL: Order<'_> = Order::Install { title: "installing r1-c1-b01", files: FILES };
const LOCAL: Order<'_> = Order::Local { title: "r1-c1-b01 is installed: booting from its disk" };
const WAIT: Order<'_> = Order::Wait { why: "r1-c1-b01 waits: 'debian-12' is missing" };
const MENU: Order<'_> = Order::Menu {
    title: "52:54:00:00:01:01",
    entries: &[
        ("simple", "A single machine"),
        ("small-cluster", "Three members of an etcd cluster"),
        ("local-boot", "Boot from the disk"),
    ],
    default: "local-boot",
    timeout: Duration::from_secs(60),
};

fn ipxe_text(order: Order<'_>) -> String {
    order.text(&Reader::Ipxe(SCRIPT.to_owned())).unwrap()
}

fn pxelinux(http: bool) -> Reader {
    let config = "pxelinux.cfg/01-52-54-00-00-01-01".to_owned();
    Reader::Pxelinux(Pxelinux { config, http, menu: "vesamenu.c32".to_owned() })
}

/// All four orders, one after the other.
fn all_texts(reader: &Reader) -> String {
    let orders = [INSTALL, LOCAL, WAIT, MENU];
    orders.map(|order| order.text(reader).unwrap()).join("---\n")
}

#[test]
fn what_grub_reads() {
    insta::assert_snapshot!(all_texts(&Reader::Grub(0)));
    let last = WAIT.text(&Reader::Grub(60)).unwrap();
    assert!(last.ends_with("reboot\n"), "nested without end: {last}");
}

#[test]
fn what_pxelinux_reads() {
    insta::assert_snapshot!(all_texts(&pxelinux(false)));
    let by_http = INSTALL.text(&pxelinux(true)).unwrap();
    assert!(by_http.contains("LINUX http://10.12.0.1/images/sha256/aa\n"), "{by_http}");
}

#[test]
fn names_that_boot_programs_ask_for() {
    let mac = Name::Pxelinux(Whose::Mac(MAC));
    for (asked, meant) in [
        ("pxelinux.cfg/01-52-54-00-00-01-01", mac),
        ("/pxelinux.cfg/01-52-54-00-00-01-01", mac),
        ("pxelinux.cfg/0A0C0101", Name::Pxelinux(Whose::Ip([10, 12, 1, 1].into()))),
        ("pxelinux.cfg/0A0C010", Name::Pxelinux(Whose::Any)),
        ("pxelinux.cfg/44454c4c-0000-1000-8000-000000000001", Name::Pxelinux(Whose::Any)),
        ("pxelinux.cfg/default", Name::Pxelinux(Whose::Any)),
        ("pxelinux.cfg/choice/simple", Name::PxelinuxChoice("simple")),
        ("/grub/grub.cfg", Name::Grub(0)),
        ("grub/again/59.cfg", Name::Grub(59)),
        ("grub/again/999.cfg", Name::Other("grub/again/999.cfg")),
        ("grub/choice/simple.cfg", Name::GrubChoice("simple")),
        ("grub/x86_64-efi/command.lst", Name::Other("grub/x86_64-efi/command.lst")),
        ("//grubx64.efi", Name::Other("grubx64.efi")),
        ("/images/sha256/ab", Name::Image("ab")),
    ] {
        assert_eq!(name(asked), meant, "{asked}");
    }
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
#[case::ends_grubs_quotes("a';reboot;'b")]
fn no_value_can_break_a_script(#[case] hostile: &str) {
    let readers = [Reader::Ipxe(SCRIPT.to_owned()), Reader::Grub(0), pxelinux(true)];
    for reader in &readers {
        let install = |files| Order::Install { title: "x", files }.text(reader);
        assert!(install(Files { kernel: hostile, ..FILES }).is_err());
        assert!(install(Files { initrd: hostile, ..FILES }).is_err());
        assert!(install(Files { cmdline: hostile, ..FILES }).is_err());
        let menu = |entries: &[(&str, &str)], default| {
            Order::Menu { title: "x", entries, default, timeout: Duration::ZERO }.text(reader)
        };
        assert!(menu(&[(hostile, "t")], "a").is_err());
        assert!(menu(&[], hostile).is_err());
        // Text for people is cleaned instead: a blade must not be lost to a strange title.
        for (strange, plain) in [
            (Order::Local { title: hostile }, Order::Local { title: "" }),
            (Order::Wait { why: hostile }, Order::Wait { why: "" }),
        ] {
            let (text, plain) = (strange.text(reader).unwrap(), plain.text(reader).unwrap());
            assert_eq!(text.lines().count(), plain.lines().count(), "{text}");
            let said = text.lines().find(|line| line.contains("Firstlight:")).unwrap();
            let quotes = said.matches('\'').count();
            assert!(text.is_ascii() && (quotes == 0 || quotes == 2), "{text}");
            assert!(!said.contains(['|', '&', '#', '\\', '$', '"']), "{said}");
        }
    }
    assert!(WAIT.text(&Reader::Ipxe(hostile.to_owned())).is_err());
}
