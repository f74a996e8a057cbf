//! Attempts, holds and console choices: the state of blades. Written by the journal alone.

use futures_util::TryFutureExt;
use serde::Serialize;
use sqlx::FromRow;

use super::{Result, Tx, clean, on, parsed, sql};
use crate::blade::{AttemptId, Hostname, Mac, Millis, Phase, Standing};

sql! {
    INSERT_ATTEMPT = "INSERT INTO attempts (id, blade, cluster, role, number, try, phase, outcome, \
        reason, started, phase_since, last_seen, ended, bytes_done, bytes_total, hello, host_keys) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)";
    UPDATE_ATTEMPT = "UPDATE attempts SET phase = $2, outcome = $3, reason = $4, phase_since = $5, \
        last_seen = $6, ended = $7, bytes_done = $8, bytes_total = $9, hello = $10, host_keys = $11 \
        WHERE id = $1";
    ATTEMPT_BY_ID = "SELECT id, blade, cluster, role, number, try, phase, outcome, reason, started, \
        phase_since, last_seen, ended, bytes_done, bytes_total, hello, host_keys FROM attempts WHERE id = $1";
    LATEST_OF_BLADE = "SELECT id, blade, cluster, role, number, try, phase, outcome, reason, started, \
        phase_since, last_seen, ended, bytes_done, bytes_total, hello, host_keys FROM attempts \
        WHERE blade = $1 ORDER BY number DESC LIMIT 1";
    LATEST_OF_ALL = "SELECT id, blade, cluster, role, number, try, phase, outcome, reason, started, \
        phase_since, last_seen, ended, bytes_done, bytes_total, hello, host_keys FROM attempts a \
        WHERE number = (SELECT MAX(number) FROM attempts b WHERE b.blade = a.blade) ORDER BY blade";
    ATTEMPTS_OF_BLADE = "SELECT id, blade, cluster, role, number, try, phase, outcome, reason, started, \
        phase_since, last_seen, ended, bytes_done, bytes_total, hello, host_keys FROM attempts \
        WHERE blade = $1 ORDER BY number DESC LIMIT $2";
    PUT_HOLD = "INSERT INTO holds (blade, at, why) VALUES ($1, $2, $3) \
        ON CONFLICT (blade) DO UPDATE SET at = excluded.at, why = excluded.why";
    DELETE_HOLD = "DELETE FROM holds WHERE blade = $1";
    ALL_HOLDS = "SELECT blade, why FROM holds ORDER BY blade";
    PUT_CHOICE = "INSERT INTO choices (mac, entry, at) VALUES ($1, $2, $3) \
        ON CONFLICT (mac) DO UPDATE SET entry = excluded.entry, at = excluded.at";
    ALL_CHOICES = "SELECT mac, entry FROM choices ORDER BY at";
}

/// One try at installing one blade, as stored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttemptRow {
    pub id: AttemptId,
    pub blade: Hostname,
    pub cluster: Hostname,
    pub role: String,
    /// Counts from 1 for each blade.
    pub number: i64,
    /// Counts from 1 for each request of an operator; at most `MAX_TRIES`.
    pub r#try: i64,
    #[serde(flatten, serialize_with = "standing")]
    pub standing: Standing,
    /// Why it stalled, failed or is held: one line for people.
    pub reason: Option<String>,
    pub started: Millis,
    pub phase_since: Millis,
    pub last_seen: Millis,
    pub ended: Option<Millis>,
    pub bytes_done: i64,
    pub bytes_total: i64,
    /// Hardware as the blade told it, JSON.
    pub hello: Option<String>,
    /// Public SSH host keys, one a line.
    pub host_keys: Option<String>,
}

fn standing<S: serde::Serializer>(
    standing: &Standing,
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    use serde::ser::SerializeMap;
    let mut map = to.serialize_map(Some(2))?;
    map.serialize_entry("phase", &standing.phase)?;
    map.serialize_entry("outcome", &standing.outcome)?;
    map.end()
}

#[derive(FromRow)]
struct Row {
    id: String,
    blade: String,
    cluster: String,
    role: String,
    number: i64,
    r#try: i64,
    phase: String,
    outcome: String,
    reason: Option<String>,
    started: i64,
    phase_since: i64,
    last_seen: i64,
    ended: Option<i64>,
    bytes_done: i64,
    bytes_total: i64,
    hello: Option<String>,
    host_keys: Option<String>,
}

impl Row {
    fn attempt(self) -> Result<AttemptRow> {
        let key = self.id.as_str();
        Ok(AttemptRow {
            id: parsed("attempts", key, key)?,
            blade: parsed("attempts", key, &self.blade)?,
            cluster: parsed("attempts", key, &self.cluster)?,
            standing: Standing {
                phase: parsed::<Phase>("attempts", key, &self.phase)?,
                outcome: parsed("attempts", key, &self.outcome)?,
            },
            role: self.role,
            number: self.number,
            r#try: self.r#try,
            reason: self.reason,
            started: self.started,
            phase_since: self.phase_since,
            last_seen: self.last_seen,
            ended: self.ended,
            bytes_done: self.bytes_done,
            bytes_total: self.bytes_total,
            hello: self.hello,
            host_keys: self.host_keys,
        })
    }
}

pub async fn insert_attempt(tx: &mut Tx, row: &AttemptRow) -> Result<()> {
    on!(tx, conn => sqlx::query(INSERT_ATTEMPT)
        .bind(row.id.to_string())
        .bind(row.blade.as_str())
        .bind(row.cluster.as_str())
        .bind(row.role.as_str())
        .bind(row.number)
        .bind(row.r#try)
        .bind(row.standing.phase.as_str())
        .bind(row.standing.outcome.as_str())
        .bind(row.reason.as_deref().map(clean))
        .bind(row.started)
        .bind(row.phase_since)
        .bind(row.last_seen)
        .bind(row.ended)
        .bind(row.bytes_done)
        .bind(row.bytes_total)
        .bind(row.hello.as_deref().map(clean))
        .bind(row.host_keys.as_deref().map(clean))
        .execute(conn).map_ok(drop))?;
    Ok(())
}

/// Writes what can change of an attempt.
pub async fn update_attempt(tx: &mut Tx, row: &AttemptRow) -> Result<()> {
    on!(tx, conn => sqlx::query(UPDATE_ATTEMPT)
        .bind(row.id.to_string())
        .bind(row.standing.phase.as_str())
        .bind(row.standing.outcome.as_str())
        .bind(row.reason.as_deref().map(clean))
        .bind(row.phase_since)
        .bind(row.last_seen)
        .bind(row.ended)
        .bind(row.bytes_done)
        .bind(row.bytes_total)
        .bind(row.hello.as_deref().map(clean))
        .bind(row.host_keys.as_deref().map(clean))
        .execute(conn).map_ok(drop))?;
    Ok(())
}

pub async fn attempt(tx: &mut Tx, id: AttemptId) -> Result<Option<AttemptRow>> {
    let row: Option<Row> =
        on!(tx, conn => sqlx::query_as(ATTEMPT_BY_ID).bind(id.to_string()).fetch_optional(conn))?;
    row.map(Row::attempt).transpose()
}

/// The newest attempt of a blade.
pub async fn latest_attempt(tx: &mut Tx, blade: &Hostname) -> Result<Option<AttemptRow>> {
    let row: Option<Row> =
        on!(tx, conn => sqlx::query_as(LATEST_OF_BLADE).bind(blade.as_str()).fetch_optional(conn))?;
    row.map(Row::attempt).transpose()
}

/// The newest attempt of every blade that ever had one.
pub async fn latest_attempts(tx: &mut Tx) -> Result<Vec<AttemptRow>> {
    let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(LATEST_OF_ALL).fetch_all(conn))?;
    rows.into_iter().map(Row::attempt).collect()
}

/// The last `limit` attempts of a blade, newest first.
pub async fn attempts_of(tx: &mut Tx, blade: &Hostname, limit: i64) -> Result<Vec<AttemptRow>> {
    let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(ATTEMPTS_OF_BLADE).bind(blade.as_str()).bind(limit).fetch_all(conn))?;
    rows.into_iter().map(Row::attempt).collect()
}

pub async fn put_hold(tx: &mut Tx, blade: &Hostname, at: Millis, why: &str) -> Result<()> {
    on!(tx, conn => sqlx::query(PUT_HOLD).bind(blade.as_str()).bind(at).bind(clean(why)).execute(conn).map_ok(drop))?;
    Ok(())
}

pub async fn delete_hold(tx: &mut Tx, blade: &Hostname) -> Result<()> {
    on!(tx, conn => sqlx::query(DELETE_HOLD).bind(blade.as_str()).execute(conn).map_ok(drop))?;
    Ok(())
}

/// Blades that an operator holds, and why.
pub async fn holds(tx: &mut Tx) -> Result<Vec<(Hostname, String)>> {
    let rows: Vec<(String, String)> = on!(tx, conn => sqlx::query_as(ALL_HOLDS).fetch_all(conn))?;
    rows.into_iter().map(|(blade, why)| Ok((parsed("holds", &blade, &blade)?, why))).collect()
}

/// Records what was chosen at a blade's console.
pub async fn put_choice(tx: &mut Tx, mac: Mac, entry: &str, at: Millis) -> Result<()> {
    on!(tx, conn => sqlx::query(PUT_CHOICE).bind(mac.to_string()).bind(clean(entry)).bind(at).execute(conn).map_ok(drop))?;
    Ok(())
}

/// Choices made at consoles: MAC and menu entry, oldest first.
pub async fn choices(tx: &mut Tx) -> Result<Vec<(Mac, String)>> {
    let rows: Vec<(String, String)> = on!(tx, conn => sqlx::query_as(ALL_CHOICES).fetch_all(conn))?;
    rows.into_iter().map(|(mac, entry)| Ok((parsed("choices", &mac, &mac)?, entry))).collect()
}
