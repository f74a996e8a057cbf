//! Topologies: from a cluster as asked for to documents that their real readers accept.
mod boot;
mod documents;
mod etcd;
mod files;
mod judges;
mod rules;
mod strings;

use std::net::Ipv4Addr;

use firstlight::{
    blade::{Arch, AttemptId, Hostname, Mac},
    topology::{Boot, Catalogue, ClusterSpec, Document, Member, Net, Os, embedded},
};
use serde_json::json;

const KEY: &str = "ssh-ed25519 \
    AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ops@example";

fn shipped() -> Catalogue {
    Catalogue::from_sources(embedded())
        .unwrap_or_else(|problems| panic!("shipped topologies are broken: {problems:#?}"))
}

fn name(text: &str) -> Hostname {
    text.parse().unwrap()
}

/// Node nNN of the cases: 52:54:00:00:00:NN at 10.12.1.NN.
fn node(role: &str, nn: u8) -> Member {
    Member {
        blade: name(&format!("n{nn}")),
        role: role.into(),
        mac: format!("52:54:00:00:00:{nn:02}").parse::<Mac>().unwrap(),
        arch: Arch::Amd64,
        net: Net {
            ip: Ipv4Addr::new(10, 12, 1, nn),
            prefix: 24,
            ip6: None,
            gateway: Some(Ipv4Addr::new(10, 12, 1, 1)),
            dns: vec![Ipv4Addr::new(10, 12, 1, 1)],
            ntp: vec![Ipv4Addr::new(10, 12, 1, 55)],
            domain: None,
        },
    }
}

/// A cluster of a topology with one role, which has the topology's name.
fn cluster(topology: &str, os: Os, nodes: &[u8]) -> ClusterSpec {
    ClusterSpec {
        name: name("c1"),
        topology: topology.into(),
        parameters: json!({ "ssh_keys": [KEY] }).as_object().unwrap().clone(),
        os,
        members: nodes.iter().map(|nn| node(topology, *nn)).collect(),
    }
}

fn render(spec: &ClusterSpec, blade: &str) -> Document {
    shipped().render(spec, &name(blade)).unwrap_or_else(|problem| panic!("{problem}"))
}

/// The first attempt at a blade.
fn boot() -> Boot {
    Boot {
        url: "http://10.12.1.55".into(),
        attempt: "01890a5d-ac96-774b-bcce-b302099a8057".parse::<AttemptId>().unwrap(),
        number: 1,
        token: "q83vEjRWeJASNFZ4kBI0VniQ".into(),
        menu: "small-cluster".into(),
    }
}

/// Every blade of a cluster of every menu entry, on both systems.
fn every_document() -> Vec<Document> {
    let clusters = [Os::Debian, Os::Flatcar].into_iter().flat_map(|os| {
        let mut develop = cluster("develop", os, &[]);
        develop.members = vec![node("develop-etcd", 31), node("develop-worker", 32)];
        let mut production = cluster("production", os, &[]);
        production.members = (41..44).map(|nn| node("production-central", nn)).collect();
        production.members.push(node("production-worker", 70));
        let small = cluster("small-cluster", os, &[21, 22, 23, 24]);
        [cluster("simple", os, &[11]), small, develop, production]
    });
    let catalogue = shipped();
    let of_cluster = |spec: ClusterSpec| -> Vec<Document> {
        let blades = spec.members.iter().map(|member| &member.blade);
        blades.map(|blade| catalogue.render(&spec, blade).unwrap()).collect()
    };
    clusters.flat_map(of_cluster).collect()
}
