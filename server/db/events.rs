//! The journal's table: append-only.

use futures_util::TryFutureExt;
use sqlx::FromRow;

use super::{Result, Tx, clean, on, parsed, parsed_option, sql};
use crate::blade::{AttemptId, Event, Hostname, NewEvent, Phase};

sql! {
    INSERT_EVENT = "INSERT INTO events (at, kind, blade, mac, attempt, seq, phase, text, detail) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    INSERT_EIGHT = "INSERT INTO events (at, kind, blade, mac, attempt, seq, phase, text, detail) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9), \
        ($10, $11, $12, $13, $14, $15, $16, $17, $18), \
        ($19, $20, $21, $22, $23, $24, $25, $26, $27), \
        ($28, $29, $30, $31, $32, $33, $34, $35, $36), \
        ($37, $38, $39, $40, $41, $42, $43, $44, $45), \
        ($46, $47, $48, $49, $50, $51, $52, $53, $54), \
        ($55, $56, $57, $58, $59, $60, $61, $62, $63), \
        ($64, $65, $66, $67, $68, $69, $70, $71, $72)";
    EVENT_WITH_SEQ = "SELECT COUNT(*) FROM events WHERE attempt = $1 AND seq = $2";
    EVENTS_AFTER = "SELECT id, at, kind, blade, mac, attempt, phase, text, detail FROM events \
        WHERE id > $1 ORDER BY id LIMIT $2";
    EVENTS_LATEST = "SELECT id, at, kind, blade, mac, attempt, phase, text, detail FROM events \
        ORDER BY id DESC LIMIT $1";
    EVENTS_OF_BLADE = "SELECT id, at, kind, blade, mac, attempt, phase, text, detail FROM events \
        WHERE blade = $1 ORDER BY id DESC LIMIT $2";
    EVENTS_OF_ATTEMPT = "SELECT id, at, kind, blade, mac, attempt, phase, text, detail FROM events \
        WHERE attempt = $1 ORDER BY id LIMIT $2";
    EVENTS_OF_KIND = "SELECT id, at, kind, blade, mac, attempt, phase, text, detail FROM events \
        WHERE kind = $1 AND at >= $2 ORDER BY id DESC LIMIT $3";
    FIRST_IN_PHASES = "SELECT attempt, phase, MIN(at) FROM events WHERE phase IS NOT NULL AND (attempt = $1 \
        OR attempt IN (SELECT id FROM attempts WHERE cluster = $2 ORDER BY started DESC LIMIT $3)) \
        GROUP BY attempt, phase";
    EVENTS_BEFORE = "SELECT id, at, kind, blade, mac, attempt, phase, text, detail FROM events \
        WHERE id < $1 ORDER BY id DESC LIMIT $2";
    LAST_EVENT = "SELECT COALESCE(MAX(id), 0) FROM events";
}

#[derive(FromRow)]
struct Row {
    id: i64,
    at: i64,
    kind: String,
    blade: Option<String>,
    mac: Option<String>,
    attempt: Option<String>,
    phase: Option<String>,
    text: String,
    detail: Option<String>,
}

impl Row {
    fn event(self) -> Result<Event> {
        let key = self.id.to_string();
        Ok(Event {
            id: self.id,
            at: self.at,
            kind: parsed("events", &key, &self.kind)?,
            blade: parsed_option("events", &key, self.blade.as_deref())?,
            mac: parsed_option("events", &key, self.mac.as_deref())?,
            attempt: parsed_option("events", &key, self.attempt.as_deref())?,
            phase: parsed_option("events", &key, self.phase.as_deref())?,
            text: self.text,
            detail: parsed_option("events", &key, self.detail.as_deref())?.unwrap_or_default(),
        })
    }
}

/// The columns of one line, in the order of `INSERT_EVENT`.
macro_rules! row {
    ($query:expr, $event:expr, $seq:expr) => {{
        let event: &NewEvent = $event;
        $query
            .bind(event.at)
            .bind(event.kind.as_str())
            .bind(event.blade.as_ref().map(Hostname::as_str))
            .bind(event.mac.map(|mac| mac.to_string()))
            .bind(event.attempt.map(|id| id.to_string()))
            .bind($seq)
            .bind(event.phase.map(|phase| phase.as_str()))
            .bind(clean(&event.text))
            .bind((!event.detail.is_null()).then(|| event.detail.to_string()))
    }};
}

/// Appends a line. `seq` is a blade's own number of its report.
pub async fn append(tx: &mut Tx, event: &NewEvent, seq: Option<i64>) -> Result<()> {
    on!(tx, conn => row!(sqlx::query(INSERT_EVENT), event, seq).execute(conn).map_ok(drop))?;
    Ok(())
}

/// Appends lines that no blade has numbered, several with each statement: a statement costs more
/// than its rows.
pub async fn append_all(tx: &mut Tx, events: &[NewEvent]) -> Result<()> {
    let (eights, rest) = events.as_chunks::<8>();
    for eight in eights {
        on!(tx, conn => eight
            .iter()
            .fold(sqlx::query(INSERT_EIGHT), |query, event| row!(query, event, None::<i64>))
            .execute(conn)
            .map_ok(drop))?;
    }
    for event in rest {
        append(tx, event, None).await?;
    }
    Ok(())
}

/// True if the attempt's report number `seq` is in the journal already.
pub async fn has_report(tx: &mut Tx, attempt: AttemptId, seq: i64) -> Result<bool> {
    let count: i64 = on!(tx, conn => sqlx::query_scalar(EVENT_WITH_SEQ).bind(attempt.to_string()).bind(seq).fetch_one(conn))?;
    Ok(count > 0)
}

/// Up to `limit` lines after `id`, oldest first.
pub async fn events_after(tx: &mut Tx, id: i64, limit: i64) -> Result<Vec<Event>> {
    let rows: Vec<Row> =
        on!(tx, conn => sqlx::query_as(EVENTS_AFTER).bind(id).bind(limit).fetch_all(conn))?;
    rows.into_iter().map(Row::event).collect()
}

/// The last `limit` lines, newest first.
pub async fn latest_events(tx: &mut Tx, limit: i64) -> Result<Vec<Event>> {
    let rows: Vec<Row> =
        on!(tx, conn => sqlx::query_as(EVENTS_LATEST).bind(limit).fetch_all(conn))?;
    rows.into_iter().map(Row::event).collect()
}

/// The last `limit` lines about a blade, newest first.
pub async fn events_of_blade(tx: &mut Tx, blade: &Hostname, limit: i64) -> Result<Vec<Event>> {
    let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(EVENTS_OF_BLADE).bind(blade.as_str()).bind(limit).fetch_all(conn))?;
    rows.into_iter().map(Row::event).collect()
}

/// Up to `limit` lines of an attempt, oldest first.
pub async fn events_of_attempt(tx: &mut Tx, attempt: AttemptId, limit: i64) -> Result<Vec<Event>> {
    let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(EVENTS_OF_ATTEMPT).bind(attempt.to_string()).bind(limit).fetch_all(conn))?;
    rows.into_iter().map(Row::event).collect()
}

/// The last `limit` lines of a kind since `at`, newest first.
pub async fn events_of_kind(
    tx: &mut Tx,
    kind: crate::blade::Kind,
    at: i64,
    limit: i64,
) -> Result<Vec<Event>> {
    let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(EVENTS_OF_KIND).bind(kind.as_str()).bind(at).bind(limit).fetch_all(conn))?;
    rows.into_iter().map(Row::event).collect()
}

/// The last `limit` lines before `id`, newest first.
pub async fn events_before(tx: &mut Tx, id: i64, limit: i64) -> Result<Vec<Event>> {
    let rows: Vec<Row> =
        on!(tx, conn => sqlx::query_as(EVENTS_BEFORE).bind(id).bind(limit).fetch_all(conn))?;
    rows.into_iter().map(Row::event).collect()
}

/// When each phase was first seen: for an attempt, and for the last `limit` of its cluster.
pub async fn first_in_phases(
    tx: &mut Tx,
    attempt: AttemptId,
    cluster: &Hostname,
    limit: i64,
) -> Result<Vec<(AttemptId, Phase, i64)>> {
    let rows: Vec<(String, String, i64)> = on!(tx, conn => sqlx::query_as(FIRST_IN_PHASES)
        .bind(attempt.to_string())
        .bind(cluster.as_str())
        .bind(limit)
        .fetch_all(conn))?;
    let read = |(attempt, phase, at): (String, String, i64)| {
        Ok((parsed("events", &attempt, &attempt)?, parsed("events", &attempt, &phase)?, at))
    };
    rows.into_iter().map(read).collect()
}

/// Id of the newest line; 0 if there is none.
pub async fn last_event(tx: &mut Tx) -> Result<i64> {
    Ok(on!(tx, conn => sqlx::query_scalar(LAST_EVENT).fetch_one(conn))?)
}
