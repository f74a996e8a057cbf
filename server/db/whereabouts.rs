//! Where the MACs of blades were last seen on the network.

use std::net::Ipv4Addr;

use futures_util::TryFutureExt;
use sqlx::FromRow;

use super::{Result, Tx, clean, on, parsed, sql};
use crate::{
    blade::{Mac, Millis},
    inventory::Whereabouts,
};

sql! {
    UPSERT_WHEREABOUTS = "INSERT INTO whereabouts (mac, ip, relay, port, at) \
        VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (mac) DO UPDATE SET ip = excluded.ip, relay = excluded.relay, \
        port = excluded.port, at = excluded.at";
    LEAVE_ADDRESS = "UPDATE whereabouts SET ip = NULL WHERE ip = $1 AND mac <> $2";
    ALL_WHEREABOUTS = "SELECT mac, ip, relay, port FROM whereabouts ORDER BY at";
}

#[derive(FromRow)]
struct Row {
    mac: String,
    ip: Option<String>,
    relay: Option<String>,
    port: Option<String>,
}

/// Writes where `mac` is now.
pub async fn put_whereabouts(tx: &mut Tx, mac: Mac, here: &Whereabouts, at: Millis) -> Result<()> {
    let text = |ip: Option<Ipv4Addr>| ip.map(|ip| ip.to_string());
    on!(tx, conn => sqlx::query(UPSERT_WHEREABOUTS)
        .bind(mac.to_string())
        .bind(text(here.ip))
        .bind(text(here.relay))
        .bind(here.port.as_deref().map(clean))
        .bind(at)
        .execute(conn).map_ok(drop))?;
    Ok(())
}

/// `ip` is `mac`'s now: nobody else has it any more.
pub async fn leave_address(tx: &mut Tx, ip: Ipv4Addr, mac: Mac) -> Result<()> {
    on!(tx, conn => sqlx::query(LEAVE_ADDRESS)
        .bind(ip.to_string())
        .bind(mac.to_string())
        .execute(conn).map_ok(drop))?;
    Ok(())
}

/// All that is known, the newest last.
pub async fn whereabouts(tx: &mut Tx) -> Result<Vec<(Mac, Whereabouts)>> {
    let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(ALL_WHEREABOUTS).fetch_all(conn))?;
    rows.into_iter()
        .map(|row| {
            let address = |text: Option<&String>| {
                text.map(|text| parsed("whereabouts", &row.mac, text)).transpose()
            };
            let (ip, relay) = (address(row.ip.as_ref())?, address(row.relay.as_ref())?);
            Ok((
                parsed("whereabouts", &row.mac, &row.mac)?,
                Whereabouts { ip, relay, port: row.port },
            ))
        })
        .collect()
}
