//! What a blade says about itself.

use serde_json::json;

use super::{
    Journal, Result, Write,
    attempts::{apply, is_current, line},
};
use crate::{
    blade::{Kind, NewEvent, Report, ReportState, Step},
    db::{self, AttemptRow},
};

/// What the journal says to a blade's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportAnswer {
    Accepted,
    /// The same number again: nothing changes, and the blade is told the same.
    Replayed,
    /// A newer attempt of this blade exists, or this one has ended: the blade must stop.
    Stale,
    /// No such attempt.
    Unknown,
}

impl Journal {
    /// Takes a blade's report; durable when it returns. Idempotent by `seq`.
    pub async fn report(&self, report: Report) -> Result<ReportAnswer> {
        self.write(move |write| Box::pin(async move { take_report(write, report).await })).await
    }
}

async fn take_report(write: &mut Write, report: Report) -> Result<ReportAnswer> {
    let Some(mut row) = db::attempt(&mut write.tx, report.attempt).await? else {
        return Ok(ReportAnswer::Unknown);
    };
    if db::has_report(&mut write.tx, row.id, report.seq).await? {
        return Ok(ReportAnswer::Replayed);
    }
    if !is_current(write, &row).await? {
        return Ok(ReportAnswer::Stale);
    }
    row.last_seen = write.now;
    if let Some(hello) = &report.hello {
        row.hello = Some(hello.to_string());
    }
    if let Some(keys) = &report.host_keys {
        row.host_keys = Some(keys.join("\n"));
    }
    let failed = move_by_report(write, &mut row, &report);
    db::update_attempt(&mut write.tx, &row).await?;
    let event = NewEvent {
        phase: Some(report.phase),
        detail: json!({
            "seq": report.seq, "state": report.state, "bytes_done": report.bytes_done,
            "bytes_total": report.bytes_total, "mono_ms": report.mono_ms, "code": report.code,
            "log_tail": report.log_tail,
        }),
        ..line(write, Kind::Report, &row, told(&report))
    };
    db::append(&mut write.tx, &event, Some(report.seq)).await?;
    if failed {
        let reason = row.reason.clone().unwrap_or_default();
        let event =
            line(write, Kind::Attempt, &row, format!("failed in {}: {reason}", row.standing.phase));
        db::append(&mut write.tx, &event, None).await?;
    }
    Ok(ReportAnswer::Accepted)
}

/// True if the attempt failed by this report; one that is ready stays ready.
fn move_by_report(write: &mut Write, row: &mut AttemptRow, report: &Report) -> bool {
    let before = row.standing.phase;
    apply(write, row, Step::Reached(report.phase));
    if row.standing.phase != before && row.standing.phase == report.phase {
        (row.bytes_done, row.bytes_total) = (0, 0);
    }
    if report.phase == row.standing.phase {
        // Bytes never decrease within a phase.
        let as_i64 =
            |bytes: Option<u64>| bytes.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        row.bytes_done = row.bytes_done.max(as_i64(report.bytes_done));
        row.bytes_total = row.bytes_total.max(as_i64(report.bytes_total));
    }
    let failed = report.state == ReportState::Fail && apply(write, row, Step::Fail);
    if failed {
        let code = report.code.as_deref().map(|code| format!("{code}: ")).unwrap_or_default();
        row.reason = Some(format!("{code}{}", report.msg));
    }
    failed
}

fn told(report: &Report) -> String {
    let state = match report.state {
        ReportState::Start => "begins",
        ReportState::Progress => "goes on",
        ReportState::Ok => "done",
        ReportState::Fail => "failed",
        ReportState::Skip => "skipped",
    };
    let code = report.code.as_deref().map(|code| format!(" {code}")).unwrap_or_default();
    let msg = if report.msg.is_empty() { String::new() } else { format!(": {}", report.msg) };
    format!("{} {state}{code}{msg}", report.phase)
}
