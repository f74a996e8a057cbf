//! `check` before the first `serve`: what it finds on the wire. Needs root.

use serde_json::Value;

use firstlight::{config::DhcpMode, inventory::Intent};

use crate::dhcp_wire::{
    net::{Bench, CONFIG, INVENTORY, runs, sh, snapshot},
    others::Other,
};

const RANGE: &str = "10.12.7.1,10.12.7.50,255.255.0.0,10m";

/// A machine with the configuration of a daemon that does not run.
fn before_the_daemon() -> Bench {
    Bench::switched(snapshot(CONFIG, INVENTORY, &Intent::Menu), DhcpMode::Server)
}

fn check(bench: &Bench, mode: &str) -> Vec<(String, String)> {
    check_with(bench, mode, CONFIG)
}

/// Level and text of what `check` says of DHCP servers, by this configuration.
fn check_with(bench: &Bench, mode: &str, text: &str) -> Vec<(String, String)> {
    let dir = tempfile::tempdir().unwrap();
    let (config, data) = (dir.path().join("firstlight.toml"), dir.path().join("data"));
    let text = text.replace("site = ", &format!("data_dir = {data:?}\nsite = "));
    std::fs::write(&config, format!("{text}[dhcp]\nmode = \"{mode}\"\n")).unwrap();
    let command = format!(
        "env -u FIRSTLIGHT_URL -u FIRSTLIGHT_TOKEN {} check --output json --config {}",
        env!("CARGO_BIN_EXE_firstlight"),
        config.display()
    );
    let run = runs(&bench.server_ns, &command);
    let findings: Value = serde_json::from_slice(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let findings = findings.as_array().unwrap().iter();
    let told = findings.filter(|finding| finding["what"] == "DHCP servers");
    told.map(|finding| (text(&finding["level"]), text(&finding["text"]))).collect()
}

#[test]
fn check_without_a_daemon_names_another_dhcp_server_with_address_and_mac() {
    let mut bench = before_the_daemon();
    let ns = bench.host("rogue", "10.12.0.9/16");
    let rogue = Other::dnsmasq(&ns, "rogue", RANGE);
    let link = runs(&ns, "ip -brief link show dev rogue").stdout;
    let mac = String::from_utf8_lossy(&link).split_whitespace().nth(2).unwrap().to_owned();
    let told = check(&bench, "server");
    let [(level, text)] = &told[..] else { panic!("{told:?}") };
    assert_eq!(level, "warning");
    for word in ["10.12.0.9", mac.as_str(), "srv", "10.12.7."] {
        assert!(text.contains(word), "{word}: {text}");
    }
    // Beside it, it is what proxy mode needs.
    let told = check(&bench, "proxy");
    let expected = ("ok".to_owned(), "srv: DHCP server 10.12.0.9 gives the addresses".to_owned());
    assert_eq!(told, [expected]);
    // Nobody took what it offered.
    assert!(!rogue.log().contains("DHCPREQUEST"), "{}", rogue.log());
}

#[test]
fn check_without_a_daemon_says_that_there_is_no_other_dhcp_server() {
    let bench = before_the_daemon();
    let none = ("ok".to_owned(), "srv: no other DHCP server answers".to_owned());
    assert_eq!(check(&bench, "server"), [none]);
    let told = check(&bench, "proxy");
    assert!(
        matches!(&told[..], [(level, text)] if level == "warning" && text.contains("no DHCP server answers")),
        "{told:?}"
    );
}

#[test]
fn an_interface_that_check_cannot_ask_hides_no_server_on_another() {
    let mut bench = before_the_daemon();
    let ns = bench.host("rogue", "10.12.0.9/16");
    let _rogue = Other::dnsmasq(&ns, "rogue", RANGE);
    sh(&format!("ip -n {} link add down0 type veth peer name down1", bench.server_ns));
    let text = CONFIG.replace("\"srv\"", r#""gone0", "down0", "srv""#);
    let told = check_with(&bench, "server", &text);
    let texts: Vec<&str> = told.iter().map(|(_, text)| text.as_str()).collect();
    let [rogue, gone, down] = texts[..] else { panic!("{told:?}") };
    assert!(rogue.contains("10.12.0.9") && rogue.contains("srv"), "{rogue}");
    assert!(gone.starts_with("gone0: ") && gone.contains("no such interface"), "{gone}");
    assert!(down.starts_with("down0: ") && down.contains("could not be looked for"), "{down}");
}

#[test]
fn check_without_a_daemon_names_another_dhcpv6_server_where_blades_have_ipv6() {
    let mut bench = before_the_daemon();
    let ns = bench.host("rogue", "10.12.0.9/16");
    let server = &bench.server_ns;
    sh(&format!("ip -n {server} address add fe80::1/64 dev srv nodad"));
    sh(&format!("ip -n {server} address add fd00:12::1/64 dev srv nodad"));
    sh(&format!("ip -n {ns} address add fe80::9/64 dev rogue nodad"));
    sh(&format!("ip -n {ns} address add fd00:12::9/64 dev rogue nodad"));
    let _rogue = Other::dnsmasq6(&ns, "rogue", "fd00:12::700,fd00:12::7ff,64,10m");
    let text = format!("{CONFIG}[[subnet]]\ncidr = \"fd00:12::/64\"\n");
    let told = check_with(&bench, "server", &text);
    let [(v4, none), (v6, rogue)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((v4.as_str(), none.as_str()), ("ok", "srv: no other DHCP server answers"));
    assert_eq!(v6, "warning");
    for word in ["another DHCPv6 server", "DUID 00:", "srv", "fd00:12::7", "a boot file"] {
        assert!(rogue.contains(word), "{word}: {rogue}");
    }
    // Where no blade has IPv6, its IPv6 is nobody's business here.
    assert_eq!(check(&bench, "server").len(), 1);
}
