//! A small site for unit tests: two IPv6 subnets, four blades.

use crate::{
    config::Config,
    inventory::{Document, Intent, Snapshot},
};

const CONFIG: &str = r#"
site = "test"
[boot]
interfaces = ["srv"]
[[subnet]]
cidr = "10.12.0.0/16"
[[subnet]]
cidr = "fd00:12::/64"
dns = ["fd00:12::53"]
ntp = ["fd00:12::1"]
domain = "lab.example"
[[subnet]]
cidr = "fd00:13::/64"
"#;
const INVENTORY: &str = r#"
[[blade]]
name = "b01"
macs = ["52:54:00:00:01:01"]
ip6 = "fd00:12::1:1"
[[blade]]
name = "b02"
macs = ["52:54:00:00:01:02"]
ip6 = "fd00:12::1:2"
duid = "00:04:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff"
[[blade]]
name = "b03"
macs = ["52:54:00:00:01:03"]
ip6 = "fd00:13::1:3"
[[blade]]
name = "b04"
macs = ["52:54:00:00:01:04"]
"#;

pub fn snapshot() -> Snapshot {
    let document = Document::parse(INVENTORY).unwrap();
    Snapshot::build(&Config::parse(CONFIG).unwrap(), &document, &|_, _| (Intent::Menu, None))
}
