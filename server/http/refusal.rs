//! Who may have what of a blade's documents, and the answers to everybody else: short, and
//! without a hint about what exists.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::App;
use crate::{
    blade::{AttemptId, Outcome},
    inventory::{Blade, Snapshot},
};

/// Why a blade's request is refused (CASES.md C29, C30).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No token, or one we never made: nothing is here.
    Unknown,
    /// A token of another blade.
    Foreign,
    /// A token whose attempt is over.
    Over,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::Unknown => (StatusCode::NOT_FOUND, "not found\n"),
            Refusal::Foreign => (StatusCode::FORBIDDEN, "forbidden\n"),
            Refusal::Over => (StatusCode::GONE, "gone\n"),
        }
        .into_response()
    }
}

/// The IPv4 address of a client, also where it came in on an IPv6 socket.
pub fn ipv4(peer: SocketAddr) -> Option<Ipv4Addr> {
    match peer.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(ip) => ip.to_ipv4_mapped(),
    }
}

/// The token of a request: `Authorization: Bearer`, else `?token=`, which live images need that
/// only know an address.
pub fn token_of<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Option<&'a str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    // The scheme's case does not matter (RFC 9110 §11.1).
    if let Some((scheme, token)) = bearer.and_then(|value| value.split_once(' '))
        && scheme.eq_ignore_ascii_case("bearer")
    {
        return Some(token.trim());
    }
    query?.split('&').find_map(|pair| pair.strip_prefix("token="))
}

/// The blade that a request comes from, if its token and its address belong together and the
/// attempt is the blade's newest. `finished` ones are let in where `ready_too`.
pub fn admit<'a>(
    app: &App,
    snapshot: &'a Snapshot,
    peer: SocketAddr,
    token: Option<&str>,
    ready_too: bool,
) -> Result<(&'a Blade, AttemptId), Refusal> {
    let id = token.and_then(|token| app.key.attempt(token)).ok_or(Refusal::Unknown)?;
    let blade = snapshot.by_address(peer.ip());
    let is_newest = |blade: &Blade| blade.attempt.as_ref().is_some_and(|newest| newest.id == id);
    if let Some(blade) = blade.filter(|blade| is_newest(blade)) {
        let outcome = blade.attempt.as_ref().map(|attempt| attempt.standing.outcome);
        return match outcome {
            None | Some(Outcome::Failed | Outcome::Superseded) => Err(Refusal::Over),
            Some(Outcome::Ready) if !ready_too => Err(Refusal::Over),
            Some(_) => Ok((blade, id)),
        };
    }
    let elsewhere = snapshot.blades.iter().any(is_newest);
    Err(if elsewhere || blade.is_none() { Refusal::Foreign } else { Refusal::Over })
}

/// Text from a blade, fit for the journal: its token and private keys taken out, at most
/// `limit` characters.
pub fn redact(text: &str, token: &str, limit: usize) -> String {
    let clean = text.replace(token, "[token]");
    let clean: String = clean
        .lines()
        .map(|line| {
            if line.contains("PRIVATE KEY") || line.contains("$6$") || line.contains("$y$") {
                "[secret]"
            } else {
                line
            }
        })
        .collect::<Vec<_>>()
        .join("\n");
    clean.chars().take(limit).collect()
}
