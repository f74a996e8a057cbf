//! Dynamic leases.

use futures_util::TryFutureExt;
use sqlx::FromRow;

use super::{Result, Tx, clean, on, parsed, sql};
use crate::{
    blade::Millis,
    inventory::{Lease, LeaseState},
};

sql! {
    UPSERT_LEASE = "INSERT INTO leases (ip, mac, state, until, hostname) VALUES ($1, $2, $3, $4, $5) \
        ON CONFLICT (ip) DO UPDATE SET mac = excluded.mac, state = excluded.state, \
        until = excluded.until, hostname = excluded.hostname";
    DELETE_LEASE = "DELETE FROM leases WHERE ip = $1";
    SHIFT_LEASES = "UPDATE leases SET until = until + $1";
    ALL_LEASES = "SELECT ip, mac, state, until, hostname FROM leases ORDER BY ip";
}

#[derive(FromRow)]
struct Row {
    ip: String,
    mac: String,
    state: String,
    until: i64,
    hostname: Option<String>,
}

/// Writes a lease, over what the address had before.
pub async fn put_lease(tx: &mut Tx, lease: &Lease) -> Result<()> {
    let state = match lease.state {
        LeaseState::Bound => "bound",
        LeaseState::Quarantined => "quarantined",
    };
    let hostname = lease.hostname.as_deref().map(clean);
    on!(tx, conn => sqlx::query(UPSERT_LEASE)
        .bind(lease.ip.to_string())
        .bind(lease.mac.to_string())
        .bind(state)
        .bind(lease.until)
        .bind(hostname)
        .execute(conn).map_ok(drop))?;
    Ok(())
}

/// Forgets the lease of an address.
pub async fn delete_lease(tx: &mut Tx, ip: std::net::Ipv4Addr) -> Result<()> {
    on!(tx, conn => sqlx::query(DELETE_LEASE).bind(ip.to_string()).execute(conn).map_ok(drop))?;
    Ok(())
}

/// Moves the end of every lease.
pub async fn shift_leases(tx: &mut Tx, jump: Millis) -> Result<()> {
    on!(tx, conn => sqlx::query(SHIFT_LEASES).bind(jump).execute(conn).map_ok(drop))?;
    Ok(())
}

/// Every lease, ended ones too.
pub async fn leases(tx: &mut Tx) -> Result<Vec<Lease>> {
    let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(ALL_LEASES).fetch_all(conn))?;
    rows.into_iter()
        .map(|row| {
            Ok(Lease {
                ip: parsed("leases", &row.ip, &row.ip)?,
                mac: parsed("leases", &row.ip, &row.mac)?,
                state: if row.state == "quarantined" {
                    LeaseState::Quarantined
                } else {
                    LeaseState::Bound
                },
                until: row.until,
                hostname: row.hostname,
            })
        })
        .collect()
}
