//! Health probes (layer 4): `ready` is what a role's own service says, asked by the server.

use std::{collections::BTreeSet, time::Duration};

use serde::Deserialize;
use tokio::io::AsyncReadExt;

use crate::topology::{Ask, ProbePlan, ReadyWhen};

/// A service that does not answer in this time is not ready.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks one blade; `Err` says what is still missing, for people.
pub async fn ask(client: &reqwest::Client, plan: &ProbePlan, ask: &Ask) -> Result<String, String> {
    let asked = tokio::time::timeout(PATIENCE, async {
        match &ask.ready {
            ReadyWhen::Etcd { port, .. } => etcd(client, plan, ask, *port).await,
            ReadyWhen::Ssh { port } => ssh(ask, *port).await,
        }
    });
    asked.await.unwrap_or_else(|_| {
        Err(format!("{} does not answer within {} s", ask.ip, PATIENCE.as_secs()))
    })
}

#[derive(Deserialize)]
struct Health {
    health: String,
}

#[derive(Deserialize)]
struct Members {
    #[serde(default)]
    members: Vec<EtcdPeer>,
}

#[derive(Deserialize)]
struct EtcdPeer {
    #[serde(default)]
    name: String,
}

/// etcd 3.4 and later: `/health` says whether there is a quorum, the member list whether it is
/// the cluster that was asked for.
async fn etcd(
    client: &reqwest::Client,
    plan: &ProbePlan,
    ask: &Ask,
    port: u16,
) -> Result<String, String> {
    let base = format!("http://{}:{port}", ask.ip);
    let told = |error: reqwest::Error| format!("etcd on {}: {}", ask.ip, root(&error));
    let health: Health = client
        .get(format!("{base}/health"))
        .send()
        .await
        .map_err(told)?
        .json()
        .await
        .map_err(told)?;
    if health.health != "true" {
        return Err(format!("etcd on {} has no quorum", ask.ip));
    }
    let list = client
        .post(format!("{base}/v3/cluster/member/list"))
        .body("{}")
        .send()
        .await
        .map_err(told)?;
    let found: Members = list.json().await.map_err(told)?;
    let found: BTreeSet<&str> = found.members.iter().map(|member| member.name.as_str()).collect();
    let wanted: BTreeSet<&str> = plan.etcd.iter().map(|member| member.name.as_str()).collect();
    if found != wanted {
        return Err(format!(
            "etcd on {} lists the members {found:?} instead of {wanted:?}",
            ask.ip
        ));
    }
    Ok(format!("etcd is healthy, {} of {} members", found.len(), wanted.len()))
}

/// The innermost cause: what a person can act on.
fn root(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

async fn ssh(ask: &Ask, port: u16) -> Result<String, String> {
    let told = |error: std::io::Error| format!("ssh on {}: {error}", ask.ip);
    let mut stream = tokio::net::TcpStream::connect((ask.ip, port)).await.map_err(told)?;
    let mut banner = [0; 8];
    stream.read_exact(&mut banner).await.map_err(told)?;
    // RFC 4253 §4.2.
    if banner.starts_with(b"SSH-2.0-") {
        Ok("ssh answers".to_owned())
    } else {
        Err(format!("what answers on {}:{port} is not ssh", ask.ip))
    }
}
