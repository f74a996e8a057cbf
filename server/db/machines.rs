//! What machines report of themselves.

use std::net::Ipv4Addr;

use futures_util::TryFutureExt;
use sqlx::FromRow;

use super::{DbError, Result, Tx, clean, on, parsed, parsed_option, sql};
use crate::{blade::Mac, inventory::Reported};

sql! {
    UPSERT_MACHINE = "INSERT INTO machines (mac, ip, first_seen, reported, last_seen, report) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (mac) DO UPDATE SET ip = excluded.ip, \
        first_seen = excluded.first_seen, reported = excluded.reported, \
        last_seen = excluded.last_seen, report = excluded.report";
    DELETE_MACHINE = "DELETE FROM machines WHERE mac = $1";
    ONE_MACHINE = "SELECT mac, ip, first_seen, reported, last_seen, report FROM machines WHERE mac = $1";
    ALL_MACHINES = "SELECT mac, ip, first_seen, reported, last_seen, report FROM machines ORDER BY first_seen, mac";
    STRANGERS = "SELECT mac FROM machines WHERE mac NOT IN (SELECT mac FROM reservations) ORDER BY last_seen, mac";
    LEASE_HOLDER = "SELECT mac FROM leases WHERE ip = $1 AND state = 'bound' AND until > $2";
}

#[derive(FromRow)]
struct Row {
    mac: String,
    ip: Option<String>,
    first_seen: i64,
    reported: i64,
    last_seen: i64,
    report: String,
}

impl Row {
    fn machine(self) -> Result<Reported> {
        let corrupt = |error: serde_json::Error| DbError::Corrupt {
            table: "machines",
            key: self.mac.clone(),
            message: error.to_string(),
        };
        Ok(Reported {
            mac: parsed("machines", &self.mac, &self.mac)?,
            ip: parsed_option("machines", &self.mac, self.ip.as_deref())?,
            first_seen: self.first_seen,
            reported: self.reported,
            last_seen: self.last_seen,
            machine: serde_json::from_str(&self.report).map_err(corrupt)?,
        })
    }
}

/// Writes a machine's report over what it said before.
pub async fn put_machine(tx: &mut Tx, one: &Reported) -> Result<()> {
    let report = clean(&serde_json::to_string(&one.machine).unwrap_or_default());
    on!(tx, conn => sqlx::query(UPSERT_MACHINE)
        .bind(one.mac.to_string())
        .bind(one.ip.map(|ip| ip.to_string()))
        .bind(one.first_seen)
        .bind(one.reported)
        .bind(one.last_seen)
        .bind(report)
        .execute(conn).map_ok(drop))?;
    Ok(())
}

/// True if there was such a machine.
pub async fn delete_machine(tx: &mut Tx, mac: Mac) -> Result<bool> {
    let rows = on!(tx, conn => sqlx::query(DELETE_MACHINE)
        .bind(mac.to_string())
        .execute(conn).map_ok(|done| done.rows_affected()))?;
    Ok(rows > 0)
}

pub async fn machine(tx: &mut Tx, mac: Mac) -> Result<Option<Reported>> {
    let row: Option<Row> =
        on!(tx, conn => sqlx::query_as(ONE_MACHINE).bind(mac.to_string()).fetch_optional(conn))?;
    row.map(Row::machine).transpose()
}

/// All of them, the first that came first.
pub async fn machines(tx: &mut Tx) -> Result<Vec<Reported>> {
    let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(ALL_MACHINES).fetch_all(conn))?;
    rows.into_iter().map(Row::machine).collect()
}

/// Those that are in no blade's entry, the one that was silent longest first.
pub async fn strangers(tx: &mut Tx) -> Result<Vec<Mac>> {
    let rows: Vec<(String,)> = on!(tx, conn => sqlx::query_as(STRANGERS).fetch_all(conn))?;
    rows.iter().map(|(mac,)| parsed("machines", mac, mac)).collect()
}

/// Who holds the lease of `ip` at this moment.
pub async fn lease_holder(tx: &mut Tx, ip: Ipv4Addr, now: i64) -> Result<Option<Mac>> {
    let row: Option<(String,)> = on!(tx, conn => sqlx::query_as(LEASE_HOLDER)
        .bind(ip.to_string())
        .bind(now)
        .fetch_optional(conn))?;
    row.map(|(mac,)| parsed("leases", &mac, &mac)).transpose()
}
