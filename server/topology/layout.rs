//! A cluster laid out: every blade with its host name, voters chosen.

use std::collections::BTreeMap;

use minijinja::{Value, context};
use serde_json::Map;

use super::{
    Ask, Catalogue, ClusterSpec, Document, EtcdMember, Member, ProbePlan, Problem, ReadyWhen, Role,
    Topology, document, fill::Filler, manifest::Ready,
};
use crate::blade::Hostname;

pub(super) struct Layout<'a> {
    pub spec: &'a ClusterSpec,
    pub topology: &'a Topology,
    /// With defaults.
    pub parameters: Map<String, serde_json::Value>,
    /// In the order of the cluster's members.
    pub nodes: Vec<Node<'a>>,
}

pub(super) struct Node<'a> {
    pub member: &'a Member,
    pub role: &'a Role,
    pub hostname: Hostname,
    pub voter: bool,
}

impl Layout<'_> {
    pub fn document(&self, catalogue: &Catalogue, blade: &Hostname) -> Result<Document, Problem> {
        let Some(node) = self.nodes.iter().find(|node| node.member.blade == *blade) else {
            let message = format!("{blade} is no blade of the cluster {}", self.spec.name);
            return Err(Problem::new("E_BLADE_UNKNOWN", "blade", message));
        };
        let mut document = Document {
            cluster: self.spec.name.clone(),
            blade: blade.clone(),
            hostname: node.hostname.clone(),
            os: self.spec.os,
            mac: node.member.mac,
            net: node.member.net.clone(),
            ssh_keys: Vec::new(),
            reboot_strategy: None,
            files: Vec::new(),
            units: Vec::new(),
        };
        let filler = Filler::new(self.values(node));
        for (source, neutral) in catalogue.documents(&self.topology.document_path(node.role)) {
            document::fill(&mut document, neutral, source, &filler)?;
        }
        Ok(document)
    }

    pub fn probe(&self) -> ProbePlan {
        let ask = |node: &Node<'_>| Ask {
            blade: node.member.blade.clone(),
            ip: node.member.net.ip,
            ready: match node.role.ready {
                Ready::Etcd if node.voter => {
                    ReadyWhen::Etcd { member: node.hostname.to_string(), port: 2379 }
                }
                Ready::Etcd | Ready::Ssh => ReadyWhen::Ssh { port: 22 },
            },
        };
        ProbePlan { etcd: self.etcd(), asks: self.nodes.iter().map(ask).collect() }
    }

    fn etcd(&self) -> Vec<EtcdMember> {
        let voter = |node: &Node<'_>| EtcdMember {
            blade: node.member.blade.clone(),
            name: node.hostname.to_string(),
            ip: node.member.net.ip,
        };
        let mut etcd: Vec<EtcdMember> =
            self.nodes.iter().filter(|node| node.voter).map(voter).collect();
        etcd.sort_by_key(|member| member.ip);
        etcd
    }

    /// What the rule of a host name may use.
    pub fn name_values(&self, member: &Member) -> Value {
        context! {
            cluster => self.spec.name.as_str(),
            role => member.role.as_str(),
            blade => member.blade.as_str(),
            ip => member.net.ip.to_string(),
            ip_dashed => member.net.ip.to_string().replace('.', "-"),
        }
    }

    /// What a document's expressions may use; told in cloud-configs/README.md.
    fn values(&self, node: &Node<'_>) -> Value {
        let net = &node.member.net;
        let etcd = self.etcd();
        let joined =
            |of: &dyn Fn(&EtcdMember) -> String| etcd.iter().map(of).collect::<Vec<_>>().join(",");
        let texts = |ips: &[std::net::Ipv4Addr]| -> Vec<Value> {
            ips.iter().map(|ip| Value::from(ip.to_string())).collect()
        };
        let own = context! {
            os => self.spec.os.as_str(),
            arch => node.member.arch.as_str(),
            hostname => node.hostname.as_str(),
            mac => node.member.mac.to_string(),
            prefix => net.prefix,
            gateway => net.gateway.map(|ip| ip.to_string()),
            dns => texts(&net.dns),
            ntp => texts(&net.ntp),
            domain => net.domain.clone(),
            voter => node.voter,
            etcd => context! {
                voters => etcd.len(),
                initial_cluster => joined(&|m| format!("{}={}", m.name, m.peer_url())),
                endpoints => joined(&EtcdMember::client_url),
            },
            param => value(&serde_json::Value::Object(self.parameters.clone())),
        };
        context! { ..own, ..self.name_values(node.member) }
    }
}

fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(yes) => Value::from(*yes),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(float)) => Value::from(float),
            (None, None) => Value::from(number.to_string()),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(value).collect(),
        serde_json::Value::Object(map) => {
            let items = map.iter().map(|(name, item)| (name.clone(), value(item)));
            items.collect::<BTreeMap<String, Value>>().into()
        }
    }
}
