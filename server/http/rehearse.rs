//! A rehearsal of one machine's boot: what it would be told at each step, by the same decisions
//! as on the wire, and which rule led there. Nothing is kept, and no secret is shown.

use std::net::{IpAddr, SocketAddr};

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
    boot::{self, Exchange, Player, Program, Reader},
    db,
};

#[derive(Deserialize)]
pub struct As {
    firmware: Option<String>,
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
        None => last_seen(&app, mac).await?,
    };
    let snapshot = app.snapshot.load_full();
    let blade = snapshot.by_mac(mac);
    let mut stages = steps(&app, player, mac).await;
    if let Some(blade) = blade.filter(|blade| blade.member.is_some()) {
        match api::documents(&app, blade.name.as_str(), None) {
            Ok(Json(Value::Object(files))) => {
                stages.extend(
                    files.iter().map(
                        |(name, text)| json!({ "kind": "document", "name": name, "text": text }),
                    ),
                );
            }
            Ok(_) => {}
            Err(ApiError(_, why)) => stages.push(json!({ "kind": "problem", "text": why })),
        }
    }
    Ok(Json(json!({
        "mac": mac, "blade": blade.map(|blade| &blade.name), "firmware": player.to_string(),
        "stages": stages,
    })))
}

/// The firmware this machine showed last; BIOS where it was never seen.
async fn last_seen(app: &App, mac: Mac) -> Result<Player, ApiError> {
    let snapshot = app.snapshot.load_full();
    let mut seen = None;
    if let Some(blade) = snapshot.by_mac(mac) {
        let mut tx = app.journal.db().read().await?;
        let events = db::events_of_blade(&mut tx, &blade.name, 200).await?;
        seen = events.iter().rev().filter(|event| event.kind == Kind::Dhcp).find_map(|event| {
            let player = event.detail.get("firmware")?.as_str()?.parse().ok()?;
            matches!(player, Player::Rom(_)).then_some(player)
        });
    }
    Ok(seen.unwrap_or(Player::Rom(&boot::ROMS[0])))
}

async fn steps(app: &Shared, first: Player, mac: Mac) -> Vec<Value> {
    let mut stages = Vec::new();
    let mut player = first;
    for _ in 0..LONGEST {
        let exchanges = (app.rehearse)(player, mac);
        if exchanges.is_empty() {
            stages
                .push(json!({ "kind": "problem", "text": "DHCP is not served here (dhcp.mode)" }));
        }
        stages.extend(exchanges.iter().map(|exchange| dhcp(player, exchange)));
        let Some(answered) = exchanges.last().filter(|last| last.answer.is_some()) else { break };
        let Some(file) = &answered.boot_file else { break };
        match next(app, &mut stages, answered, file, mac).await {
            Some(Program::Ipxe) => player = player.with_ipxe(),
            _ => break,
        }
    }
    stages
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

/// What is loaded next, and what that program reads; the program, if it will ask again.
async fn next(
    app: &Shared,
    stages: &mut Vec<Value>,
    answered: &Exchange,
    file: &str,
    mac: Mac,
) -> Option<Program> {
    let local = answered.server.map_or(IpAddr::from([0, 0, 0, 0]), IpAddr::from);
    let base = orders::base_at(app, local);
    if file.ends_with(".ipxe") {
        let snapshot = app.snapshot.load_full();
        let reader = Reader::Ipxe(boot::script_url(&base, mac));
        let (text, told) = orders::decide(app, &snapshot, &Asked { mac, base: &base, reader });
        stages.push(script(file, &text, &told));
        return None;
    }
    let (by, name) = match file.rsplit_once("/loaders/") {
        Some((_, name)) => ("HTTP", name),
        None => ("TFTP", file),
    };
    let found = app.loaders.find(name);
    stages.push(json!({
        "kind": "file", "name": name, "by": by,
        "bytes": found.as_ref().map(|program| program.bytes.len()),
        "sha256": found.as_ref().map(|program| &*program.sha256),
    }));
    let program = found.map(|_| boot::loader(name).program)?;
    let config = match program {
        Program::Grub => "grub/grub.cfg".to_owned(),
        Program::Pxelinux { .. } => format!("pxelinux.cfg/01-{}", mac.hyphenated()),
        Program::Ipxe | Program::Own => return Some(program),
    };
    let peer = SocketAddr::new(answered.address.map_or(local, IpAddr::from), 0);
    let made = orders::document(app, peer, &config, &base, true).await;
    stages.push(match made {
        Some(text) => script(&config, &text, "by the address that asks"),
        None => json!({ "kind": "problem", "text": format!("{config}: there is none for {}", peer.ip()) }),
    });
    None
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
    use super::without_token;

    #[test]
    fn no_token_is_shown_wherever_it_stands() {
        let shown =
            without_token("a?token=s3cret b 'c?token=s3cret' d?token=s3cret&x=1\ntoken=s3cret");
        assert_eq!(shown, "a?token=[token] b 'c?token=[token]' d?token=[token]&x=1\ntoken=[token]");
    }
}
