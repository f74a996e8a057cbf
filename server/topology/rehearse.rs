//! Renders a made-up cluster of every topology when the catalogue is read, so that a misspelt
//! name in a document is found by `check`, not by the first deployment.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::{
    Catalogue, ClusterSpec, EtcdRule, Kind, Member, Net, Os, Parameter, Problem, Role, Topology,
    VoterRule,
};
use crate::blade::{Arch, Hostname, Mac};

/// A key of the right form that nobody has the other half of.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA sample";

/// Faults that only filling shows; each once.
pub(super) fn faults(catalogue: &Catalogue) -> Vec<Problem> {
    let mut faults: Vec<Problem> = Vec::new();
    let ready = catalogue.topologies().filter(|topology| topology.available);
    for spec in ready.flat_map(|topology| [Os::Debian, Os::Flatcar].map(|os| sample(topology, os)))
    {
        let refused = catalogue.check(&spec);
        let rendered = spec.members.iter().take(40).filter(|_| refused.is_empty());
        let rendered = rendered.filter_map(|m| catalogue.render(&spec, &m.blade).err());
        for mut problem in refused.iter().cloned().chain(rendered) {
            if problem.file.is_none() {
                problem = problem.at(&format!("{}/topology.toml", spec.topology), 0, 0);
            }
            if !faults.contains(&problem) {
                faults.push(problem);
            }
        }
    }
    faults
}

fn sample(topology: &Topology, os: Os) -> ClusterSpec {
    let required = topology.parameters.iter().filter(|(_, parameter)| parameter.required);
    let parameters: Map<String, Value> =
        required.map(|(name, parameter)| (name.clone(), value(parameter))).collect();
    let roles =
        topology.roles.iter().flat_map(|role| (0..blades(topology, role)).map(move |_| role));
    let members = roles.zip(1u16..).map(|(role, n)| member(role, n)).collect();
    let name = legal("sample");
    ClusterSpec { name, topology: topology.id.clone(), parameters, os, members }
}

/// The fewest that may be; one more where that makes a client beside the voters.
fn blades(topology: &Topology, role: &Role) -> u16 {
    let rule = topology.etcd.as_ref().filter(|rule| rule.role == role.id);
    let wanted = match rule {
        Some(EtcdRule { voters: VoterRule::All, min, .. }) => role.count.min.max(u16::from(*min)),
        Some(_) => role.count.min.saturating_add(1),
        None => role.count.min.max(1),
    };
    wanted.min(role.count.max.unwrap_or(wanted))
}

fn member(role: &Role, n: u16) -> Member {
    let [high, low] = n.to_be_bytes();
    let beside = Ipv4Addr::new(10, 255, 0, 1);
    Member {
        blade: legal(&format!("sample-{n}")),
        role: role.id.clone(),
        mac: Mac([0x52, 0x54, 0, 0, high, low]),
        arch: if n.is_multiple_of(2) { Arch::Arm64 } else { Arch::Amd64 },
        net: Net {
            ip: Ipv4Addr::new(10, 0, high, low),
            prefix: 8,
            ip6: None,
            gateway: Some(beside),
            dns: vec![beside],
            ntp: vec![beside],
            domain: Some("example".into()),
        },
    }
}

fn legal(name: &str) -> Hostname {
    name.parse().unwrap_or_else(|_| unreachable!("{name} is a legal name"))
}

fn value(parameter: &Parameter) -> Value {
    match parameter.kind {
        Kind::SshKeys => json!([KEY]),
        Kind::Integer => json!(parameter.min.or(parameter.max).unwrap_or(1)),
        Kind::Boolean => json!(true),
        Kind::Choice => json!(parameter.choices.first()),
        Kind::HostnamePattern => json!("{{ blade }}"),
        Kind::Cidr => json!("192.0.2.0/24"),
        Kind::Text => json!("text"),
    }
}
