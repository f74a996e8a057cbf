//! What "ready" asks of each blade.

use std::net::Ipv4Addr;

use crate::blade::Hostname;

/// The server's health probe of a cluster. A cluster with etcd voters is ready when each voter
/// answers `/health` with true and etcd's member list is exactly `etcd`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProbePlan {
    /// The voters, ordered by address. Empty where the topology has no etcd.
    pub etcd: Vec<EtcdMember>,
    /// One per blade, in the order of the cluster's members.
    pub asks: Vec<Ask>,
}

/// A voter as etcd's own member list must show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdMember {
    pub blade: Hostname,
    /// etcd's member name, which is the system's host name.
    pub name: String,
    pub ip: Ipv4Addr,
}

impl EtcdMember {
    pub fn client_url(&self) -> String {
        format!("http://{}:2379", self.ip)
    }

    pub fn peer_url(&self) -> String {
        format!("http://{}:2380", self.ip)
    }
}

/// What one blade is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub blade: Hostname,
    pub ip: Ipv4Addr,
    pub ready: ReadyWhen,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadyWhen {
    /// `GET http://ip:2379/health` gives 200 and `{"health":"true"}`, and the member list holds
    /// the whole of `ProbePlan::etcd`.
    Etcd { member: String, port: u16 },
    /// A TCP connection whose first bytes are `SSH-2.0-` (RFC 4253 §4.2).
    Ssh { port: u16 },
}
