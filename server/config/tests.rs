use super::*;

const CONTRACT: &str = r#"
site = "beijing-dc1"
data_dir = "/var/lib/firstlight"
database = "sqlite"
[boot]
interfaces = ["eth1"]
http = "0.0.0.0:80"
url = "http://10.12.0.1"
[dhcp]
mode = "server"
lease = "1h"
unknown = "discover"
[[subnet]]
cidr = "10.12.0.0/16"
gateway = "10.12.0.254"
dns = ["10.12.0.53"]
ntp = ["10.12.0.1"]
pool = ["10.12.9.1-10.12.9.250"]
[ui]
listen = "127.0.0.1:8443"
tls = "off"
[deadlines]
write = 30
"#;

#[test]
fn the_contracts_example_is_understood() {
    let config = Config::parse(CONTRACT).unwrap();
    assert_eq!(config.dhcp.lease, Span(3600));
    assert_eq!(config.subnets[0].pool[0].len(), 250);
    assert_eq!(config.deadline_ms(Phase::Write), Some(30_000));
    assert_eq!(config.deadline_ms(Phase::Ready), None);
}

#[test]
fn an_unknown_key_is_an_error_with_its_line() {
    let error = Config::parse(&CONTRACT.replace("lease =", "leese =")).unwrap_err();
    assert!(error.contains("line 11") && error.contains("leese"), "{error}");
}

#[test]
fn what_cannot_work_is_refused_with_its_key() {
    for (from, to, key) in [
        ("10.12.0.0/16", "10.12.0.1/16", "host bits"),
        ("gateway = \"10.12.0.254\"", "gateway = \"10.13.0.1\"", "gateway"),
        ("10.12.9.1-10.12.9.250", "10.12.9.9-10.12.9.1", "ends before"),
        ("10.12.9.1-10.12.9.250", "10.12.0.1-10.12.1.1", "holds the gateway"),
        ("127.0.0.1:8443", "0.0.0.0:8443", "ui.listen"),
        ("\"1h\"", "\"1x\"", "duration"),
        ("\"1h\"", "\"\"", "duration"),
        ("[\"eth1\"]", "[]", "boot.interfaces"),
        ("\"sqlite\"", "\"mysql://x\"", "database"),
    ] {
        let error = Config::parse(&CONTRACT.replace(from, to)).unwrap_err();
        assert!(error.contains(key), "{to}: {error}");
    }
}

const IPV6: &str = r#"
[[subnet]]
cidr = "fd00:12::/64"
dns = ["fd00:12::53"]
ntp = ["fd00:12::1"]
domain = "dc1.example"
"#;

#[test]
fn a_subnet_is_of_the_ip_version_of_its_cidr() {
    let config = Config::parse(&format!("{CONTRACT}{IPV6}")).unwrap();
    assert_eq!((config.subnets.len(), config.subnets6.len()), (1, 1));
    assert_eq!(config.subnets6[0].dns[0].to_string(), "fd00:12::53");
}

#[test]
fn an_ipv6_subnet_that_cannot_work_is_refused_with_what_to_write() {
    let more = format!("{IPV6}[[subnet]]\ncidr = \"fd00:12:0:1::/64\"\n");
    for (from, to, told) in [
        ("fd00:12::/64", "fd00:12::1/64", "has host bits; write fd00:12::/64"),
        ("fd00:12::/64", "fe80::/64", "is no network with addresses to give"),
        ("fd00:12::/64", "ff02::/64", "is no network with addresses to give"),
        ("fd00:12:0:1::/64", "fd00:12::/48", "overlaps subnet fd00:12::/64"),
        ("\"fd00:12::53\"", "\"10.12.0.53\"", "10.12.0.53 is of the other IP version"),
        ("domain", "gateway = \"fd00:12::1\"\ndomain", "announces itself"),
        ("domain", "pool = [\"fd00:12::10-fd00:12::20\"]\ndomain", "has no pool"),
        ("domain", "pool = [\"10.12.1.1\"]\ndomain", "has no pool"),
        ("domain", "lease = 1\ndomain", "unknown field `lease`"),
    ] {
        let error = Config::parse(&format!("{CONTRACT}{more}").replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(told), "{to}: {error}");
    }
    let narrow = CONTRACT.replace("0.0.0.0:80", "10.12.0.1:80");
    let error = Config::parse(&format!("{narrow}{IPV6}")).unwrap_err();
    assert!(error.contains("write \"[::]:80\""), "{error}");
}
