//! Topologies: from a cluster as asked for to documents that the real readers accept.
use std::net::Ipv4Addr;

use firstlight::{
    blade::{Arch, AttemptId, Hostname, Mac},
    topology::{Boot, Catalogue, ClusterSpec, Member, Net, Os, embedded},
};
use serde_json::json;

/// Fixture F of the cases: node nNN is 52:54:00:00:00:NN at 10.12.1.NN.
pub fn member(role: &str, nn: u8) -> Member {
    Member {
        blade: name(&format!("n{nn}")),
        role: role.into(),
        mac: format!("52:54:00:00:00:{nn:02}").parse::<Mac>().unwrap(),
        arch: Arch::Amd64,
        net: Net {
            ip: Ipv4Addr::new(10, 12, 1, nn),
            prefix: 24,
            gateway: Some(Ipv4Addr::new(10, 12, 1, 1)),
            dns: vec![Ipv4Addr::new(10, 12, 1, 1)],
            ntp: vec![Ipv4Addr::new(10, 12, 1, 55)],
            domain: None,
        },
    }
}
pub fn name(text: &str) -> Hostname {
    text.parse().unwrap()
}
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ops@example";
pub fn spec(topology: &str, os: Os, nodes: &[u8]) -> ClusterSpec {
    ClusterSpec {
        name: name("c1"),
        topology: topology.into(),
        parameters: json!({"ssh_keys": [KEY]}).as_object().unwrap().clone(),
        os,
        members: nodes.iter().map(|nn| member(topology, *nn)).collect(),
    }
}

#[test]
fn smoke() {
    let catalogue = Catalogue::from_sources(embedded()).unwrap_or_else(|p| panic!("{p:#?}"));
    for os in [Os::Debian, Os::Flatcar] {
        let spec = spec("small-cluster", os, &[21, 22, 23, 24]);
        assert_eq!(catalogue.check(&spec), []);
        let d = catalogue.render(&spec, &name("n21")).unwrap_or_else(|p| panic!("{p}"));
        let ci = d.cloud_init(None);
        println!(
            "{}\n{}\n{}\n{}\n{}",
            ci.user_data,
            ci.meta_data,
            ci.network_config,
            d.coreos(None),
            d.ignition(None)
        );
        println!("{:#?}", catalogue.probe(&spec));
    }
    let _ = Boot {
        url: String::new(),
        attempt: AttemptId(uuid::Uuid::nil()),
        number: 1,
        token: String::new(),
        menu: String::new(),
    };
}
