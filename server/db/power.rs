//! Power requests: asked by people and by deployments, done by the `bmc` service.

use futures_util::TryFutureExt;
use serde::Serialize;
use sqlx::FromRow;

use super::{Result, Tx, clean, on, sql};
use crate::blade::{Hostname, Millis};

sql! {
    INSERT_POWER = "INSERT INTO power_requests (blade, op, at) VALUES ($1, $2, $3) RETURNING id";
    OPEN_POWER = "SELECT id, blade, op, at, done, result FROM power_requests \
        WHERE done IS NULL ORDER BY id LIMIT $1";
    POWER_BY_ID = "SELECT id, blade, op, at, done, result FROM power_requests WHERE id = $1";
    CLOSE_POWER = "UPDATE power_requests SET done = $2, result = $3 WHERE id = $1 AND done IS NULL";
}

/// A request to a blade's BMC. `op` is `on`, `off`, `cycle`, `status` or `netboot` (one boot
/// from the network, then a cold start).
#[derive(Debug, Clone, FromRow, Serialize)]
pub struct PowerRequest {
    pub id: i64,
    pub blade: String,
    pub op: String,
    pub at: Millis,
    pub done: Option<Millis>,
    pub result: Option<String>,
}

/// Asks; returns the request's id.
pub async fn ask_power(tx: &mut Tx, blade: &Hostname, op: &str, at: Millis) -> Result<i64> {
    Ok(
        on!(tx, conn => sqlx::query_scalar(INSERT_POWER).bind(blade.as_str()).bind(op).bind(at).fetch_one(conn))?,
    )
}

/// Requests not done yet, oldest first.
pub async fn open_power(tx: &mut Tx, limit: i64) -> Result<Vec<PowerRequest>> {
    Ok(on!(tx, conn => sqlx::query_as(OPEN_POWER).bind(limit).fetch_all(conn))?)
}

pub async fn power_request(tx: &mut Tx, id: i64) -> Result<Option<PowerRequest>> {
    Ok(on!(tx, conn => sqlx::query_as(POWER_BY_ID).bind(id).fetch_optional(conn))?)
}

/// Marks a request done with `result`: `on`, `off`, or `error: …`.
pub async fn close_power(tx: &mut Tx, id: i64, at: Millis, result: &str) -> Result<()> {
    on!(tx, conn => sqlx::query(CLOSE_POWER).bind(id).bind(at).bind(clean(result)).execute(conn).map_ok(drop))?;
    Ok(())
}
