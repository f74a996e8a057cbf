//! What is stored, on both engines: every test here runs on SQLite and on PostgreSQL.

mod backup;
mod changes;
mod durable;
mod machines;
mod notes;
mod power;
mod road;
mod rows;
mod schema;
mod silence;

use firstlight::{
    blade::{AttemptId, Event, Hostname, Phase, Report, ReportState},
    db::{self, AttemptRow, Db},
    journal::{ApplyRequest, Begun, Journal, Judge},
};

use crate::support::THREE_BLADES;

fn name(text: &str) -> Hostname {
    text.parse().unwrap()
}

fn no_judge() -> Judge {
    std::sync::Arc::new(|_, _| Vec::new())
}

fn files(text: &str) -> ApplyRequest {
    let files = vec![("racks.toml".to_owned(), text.to_owned())];
    ApplyRequest { files, dry_run: false, prune: false }
}

async fn events(db: &Db) -> Vec<Event> {
    let mut tx = db.read().await.unwrap();
    db::events_after(&mut tx, 0, 10_000).await.unwrap()
}

async fn attempt(db: &Db, id: AttemptId) -> AttemptRow {
    let mut tx = db.read().await.unwrap();
    db::attempt(&mut tx, id).await.unwrap().expect("the attempt is stored")
}

/// As somebody would by hand: no phase has to be that of our words.
async fn set_phase(db: &Db, phase: &'static str) {
    let text = "UPDATE attempts SET phase = $1";
    match db {
        Db::Lite { writer, .. } => sqlx::query(text).bind(phase).execute(writer).await.map(drop),
        Db::Pg(pool) => sqlx::query(text).bind(phase).execute(pool).await.map(drop),
    }
    .unwrap();
}

fn report(attempt: AttemptId, seq: i64, phase: Phase, state: ReportState) -> Report {
    Report {
        attempt,
        seq,
        phase,
        state,
        bytes_done: None,
        bytes_total: None,
        mono_ms: None,
        msg: String::new(),
        code: None,
        log_tail: None,
        hello: None,
        host_keys: None,
    }
}

/// An inventory of three blades, and an attempt of `b1` that was powered on.
async fn begun(journal: &Journal) -> Begun {
    journal.apply(files(THREE_BLADES), no_judge()).await.unwrap();
    begin(journal, "b1").await
}

/// A new attempt of a blade, to be powered on.
async fn begin(journal: &Journal, blade: &str) -> Begun {
    let orders = vec![(name(blade), name("prod"), "small-cluster".to_owned())];
    journal.begin(orders, Phase::Off, "test").await.unwrap().remove(0)
}
