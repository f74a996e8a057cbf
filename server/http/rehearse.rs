//! A rehearsal of one machine's boot: what it would be told at each step, by the same decisions
//! as on the wire, and which rule led there. Nothing is kept, and no secret is shown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    App, Shared,
    api::{self, Answer, ApiError},
    orders::{self, Asked},
};
use crate::{
    blade::{Kind, Mac},
    boot::{self, Exchange, Platform, Player, Program, Reader},
    config::Config,
    db,
};

#[derive(Deserialize)]
pub struct As {
    firmware: Option<String>,
    /// By DHCPv6 instead of DHCPv4.
    #[serde(default)]
    ipv6: bool,
}

/// ROM, iPXE that it loads, and no more: what else would ask again is no boot.
const LONGEST: usize = 3;

pub async fn rehearse(
    State(app): State<Shared>,
    Path(mac): Path<String>,
    Query(query): Query<As>,
) -> Answer {
    let bad = |error: String| ApiError(StatusCode::BAD_REQUEST, error);
    let mac: Mac = mac.parse().map_err(|error| bad(format!("{mac:?}: {error}")))?;
    let player = match query.firmware.as_deref() {
        Some(name) => name.parse().map_err(bad)?,
        None => last_seen(&app, mac, query.ipv6).await?,
    };
    let snapshot = app.snapshot.load_full();
    let blade = snapshot.by_mac(mac);
    let mut play = Play { app: &app, mac, ipv6: query.ipv6, base: None, stages: Vec::new() };
    play.boot(player).await;
    let Play { mut stages, base, .. } = play;
    if let Some(blade) = blade.filter(|blade| blade.member.is_some()) {
        match api::documents(&app, blade.name.as_str(), None, base.as_deref()) {
            Ok(Json(Value::Object(files))) => {
                stages.extend(
                    files.iter().map(
                        |(name, text)| json!({ "kind": "document", "name": name, "text": text }),
                    ),
                );
            }
            Ok(_) => {}
            Err(ApiError(_, why)) => stages.push(problem(why)),
        }
    }
    Ok(Json(json!({
        "mac": mac, "blade": blade.map(|blade| &blade.name), "firmware": player.to_string(),
        "ipv6": query.ipv6, "stages": stages,
    })))
}

/// The firmware this machine showed last; where it was never seen, BIOS, which knows no IPv6, or
/// UEFI x64.
async fn last_seen(app: &App, mac: Mac, ipv6: bool) -> Result<Player, ApiError> {
    let fits = |player: &Player| matches!(player, Player::Rom(_)) && (!ipv6 || knows_ipv6(*player));
    let snapshot = app.snapshot.load_full();
    let mut seen = None;
    if let Some(blade) = snapshot.by_mac(mac) {
        let mut tx = app.journal.db().read().await?;
        let events = db::events_of_blade(&mut tx, &blade.name, 200).await?;
        seen = events.iter().rev().filter(|event| event.kind == Kind::Dhcp).find_map(|event| {
            let player = event.detail.get("firmware")?.as_str()?.parse().ok()?;
            fits(&player).then_some(player)
        });
    }
    let first = || boot::ROMS.iter().map(Player::Rom).find(fits);
    Ok(seen.or_else(first).unwrap_or(Player::Os))
}

/// PXE 2.1 has no IPv6; iPXE on a BIOS has.
fn knows_ipv6(player: Player) -> bool {
    !matches!(player, Player::Rom(row) if row.platform == Platform::Bios)
}

/// Why there is no answer at all, with the key of the configuration to change.
fn unserved(config: &Config, ipv6: bool) -> &'static str {
    match (ipv6, config.subnets6.is_empty()) {
        (false, _) => "DHCP is not served here (dhcp.mode)",
        (true, true) => {
            "DHCPv6 is not served here: the configuration has no IPv6 [[subnet]], such as \
             cidr = \"fd00:12::/64\""
        }
        (true, false) => "DHCPv6 is not served here: dhcp.mode is not \"server\"",
    }
}

/// A rehearsal as far as it has come.
struct Play<'a> {
    app: &'a Shared,
    mac: Mac,
    ipv6: bool,
    /// The base of every address that the machine is told.
    base: Option<String>,
    stages: Vec<Value>,
}

impl Play<'_> {
    async fn boot(&mut self, first: Player) {
        if self.ipv6 && !knows_ipv6(first) {
            let text = "a BIOS boots by IPv4 only; \"ipxe-bios\" is an iPXE in its ROM";
            return self.stages.push(problem(text));
        }
        let mut player = first;
        let ask = if self.ipv6 { &self.app.rehearse6 } else { &self.app.rehearse };
        for _ in 0..LONGEST {
            let exchanges = ask(player, self.mac);
            if exchanges.is_empty() {
                self.stages.push(problem(unserved(self.app.journal.config(), self.ipv6)));
            }
            self.stages.extend(exchanges.iter().map(|exchange| dhcp(player, exchange)));
            let Some(answered) = exchanges.last().filter(|last| last.answer.is_some()) else {
                break;
            };
            let Some(file) = &answered.boot_file else { break };
            match self.next(answered, file).await {
                Some(Program::Ipxe) => player = player.with_ipxe(),
                _ => break,
            }
        }
    }

    /// What is loaded next, and what that program reads; the program, if it will ask again.
    async fn next(&mut self, answered: &Exchange, file: &str) -> Option<Program> {
        let nowhere: IpAddr =
            if self.ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        // Without an address `boot.url` names us, which is told to both versions.
        let local = answered.server.unwrap_or(nowhere);
        let base = &*self.base.insert(orders::base_at(self.app, local));
        if file.ends_with(".ipxe") {
            let snapshot = self.app.snapshot.load_full();
            let reader = Reader::Ipxe(boot::script_url(base, self.mac));
            let asked = Asked { mac: self.mac, base, reader };
            let (text, told) = orders::decide(self.app, &snapshot, &asked);
            self.stages.push(script(file, &text, &told));
            return None;
        }
        let (by, name) = fetched(file);
        let found = self.app.loaders.find(name);
        self.stages.push(json!({
            "kind": "file", "name": name, "by": by,
            "bytes": found.as_ref().map(|program| program.bytes.len()),
            "sha256": found.as_ref().map(|program| &*program.sha256),
        }));
        let program = found.map(|_| boot::loader(name).program)?;
        let config = match program {
            Program::Grub => "grub/grub.cfg".to_owned(),
            Program::Pxelinux { .. } => format!("pxelinux.cfg/01-{}", self.mac.hyphenated()),
            Program::Ipxe | Program::Own => return Some(program),
        };
        let peer = SocketAddr::new(answered.address.unwrap_or(local), 0);
        let made = orders::document(self.app, peer, &config, base, true).await;
        self.stages.push(match made {
            Some(text) => script(&config, &text, "by the address that asks"),
            None => problem(format!("{config}: there is none for {}", peer.ip())),
        });
        None
    }
}

/// How a boot file is fetched, and what it is called here. By DHCPv6 every file is a URL
/// (RFC 5970 §3.1), by DHCPv4 one for TFTP is only a name.
fn fetched(file: &str) -> (&'static str, &str) {
    let path = file.strip_prefix("tftp://").and_then(|rest| rest.split_once('/'));
    match (path, file.rsplit_once("/loaders/")) {
        (Some((_, name)), _) => ("TFTP", name),
        (None, Some((_, name))) => ("HTTP", name),
        (None, None) => ("TFTP", file),
    }
}

fn problem(text: impl Into<String>) -> Value {
    json!({ "kind": "problem", "text": text.into() })
}

fn dhcp(player: Player, exchange: &Exchange) -> Value {
    let fields: Vec<Value> =
        exchange.fields.iter().map(|(name, value)| json!([name, value])).collect();
    json!({
        "kind": "dhcp", "as": player.to_string(), "asked": exchange.asked,
        "sent": hex::encode(&exchange.sent), "answer": exchange.answer.as_ref().map(hex::encode),
        "fields": fields, "rule": exchange.rule, "said": exchange.said,
    })
}

fn script(name: &str, text: &str, rule: &str) -> Value {
    json!({ "kind": "script", "name": name, "text": without_token(text), "rule": rule })
}

/// A boot token is the blade's alone.
fn without_token(text: &str) -> String {
    const KEY: &str = "token=";
    let mut parts = text.split(KEY);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_whitespace() || "&'\"".contains(c));
        shown += KEY;
        shown += "[token]";
        shown += &part[end.unwrap_or(part.len())..];
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{fetched, unserved, without_token};
    use crate::config::Config;

    #[test]
    fn a_file_is_found_by_name_and_by_url_of_either_version() {
        assert_eq!(fetched("snponly.efi"), ("TFTP", "snponly.efi"));
        assert_eq!(fetched("tftp://[fd00:12::1]/snponly.efi"), ("TFTP", "snponly.efi"));
        assert_eq!(fetched("http://10.12.0.1/loaders/shimx64.efi"), ("HTTP", "shimx64.efi"));
        assert_eq!(fetched("http://[fd00:12::1]:81/loaders/x.efi"), ("HTTP", "x.efi"));
    }

    #[test]
    fn where_dhcp_is_not_served_the_key_is_named() {
        let told = |more: &str, ipv6| {
            let text = format!(
                "site = \"test\"\n[boot]\ninterfaces = [\"srv\"]\n{more}\n[[subnet]]\n\
                 cidr = \"10.12.0.0/16\""
            );
            unserved(&Config::parse(&text).unwrap(), ipv6)
        };
        let v6 = "[[subnet]]\ncidr = \"fd00:12::/64\"";
        assert!(told("[dhcp]\nmode = \"off\"", false).contains("dhcp.mode"));
        assert!(told("", true).contains("no IPv6 [[subnet]]"));
        let proxy = format!("[dhcp]\nmode = \"proxy\"\n{v6}");
        assert!(told(&proxy, true).contains("dhcp.mode is not \"server\""));
    }

    #[test]
    fn no_token_is_shown_wherever_it_stands() {
        let shown =
            without_token("a?token=s3cret b 'c?token=s3cret' d?token=s3cret&x=1\ntoken=s3cret");
        assert_eq!(shown, "a?token=[token] b 'c?token=[token]' d?token=[token]&x=1\ntoken=[token]");
    }
}
