//! Nothing is acknowledged before it is durable.

use std::fs;

use firstlight::{
    blade::{Phase, ReportState},
    db::Db,
};
use rstest::rstest;

use super::{attempt, begun, events, report};
use crate::support::{Engine, Postgres, Sqlite};

/// The files as a `kill -9` at this moment would leave them, opened by another daemon.
#[tokio::test]
async fn an_acknowledged_report_is_in_the_files() {
    let base = Sqlite.database().await;
    let journal = base.journal().await;
    let id = begun(&journal).await.id;
    for seq in 1..=20 {
        let mut news = report(id, seq, Phase::Write, ReportState::Progress);
        news.bytes_done = Some(seq.unsigned_abs());
        journal.report(news).await.unwrap();

        let copy = tempfile::tempdir().unwrap();
        for file in ["firstlight.sqlite", "firstlight.sqlite-wal"] {
            fs::copy(base.dir().join(file), copy.path().join(file)).unwrap();
        }
        let restarted = Db::open("sqlite", copy.path()).await.unwrap();
        assert_eq!(attempt(&restarted, id).await.bytes_done, seq);
        assert_eq!(events(&restarted).await, events(&base.db).await);
        restarted.close().await;
    }
}

#[rstest]
#[tokio::test]
async fn another_connection_sees_what_was_acknowledged(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let id = begun(&journal).await.id;
    let other = base.again().await;
    for seq in 1..=20 {
        journal.report(report(id, seq, Phase::Live, ReportState::Progress)).await.unwrap();
        let last = events(&other).await.pop().unwrap();
        assert_eq!((last.attempt, &last.detail["seq"]), (Some(id), &seq.into()));
    }
}

/// A commit returns after the disk has it: SQLite's `FULL` (2) and up, PostgreSQL's `on`.
#[rstest]
#[tokio::test]
async fn a_commit_waits_for_the_disk(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    match &base.db {
        Db::Lite { writer, .. } => {
            let level: i64 =
                sqlx::query_scalar("PRAGMA synchronous").fetch_one(writer).await.unwrap();
            let mode: String =
                sqlx::query_scalar("PRAGMA journal_mode").fetch_one(writer).await.unwrap();
            assert_eq!((level, mode.as_str()), (2, "wal"));
        }
        Db::Pg(pool) => {
            let level: String =
                sqlx::query_scalar("SHOW synchronous_commit").fetch_one(pool).await.unwrap();
            assert_eq!(level, "on");
        }
    }
}

/// A restarted daemon goes on where the killed one was, and doubles nothing.
#[rstest]
#[tokio::test]
async fn a_restarted_daemon_knows_every_attempt(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let first = base.journal().await;
    let begun = begun(&first).await;
    let news = report(begun.id, 1, Phase::Live, ReportState::Start);
    first.report(news.clone()).await.unwrap();
    let before = events(&base.db).await;

    let second = base.journal().await;
    let snapshot = second.snapshot().load_full();
    let blade = snapshot.by_name("b1").unwrap();
    assert_eq!(blade.attempt.as_ref().unwrap().id, begun.id);
    assert_eq!(
        second.report(news).await.unwrap(),
        firstlight::journal::ReportAnswer::Replayed,
        "the blade did not get the answer, and sends again"
    );
    assert_eq!(events(&base.db).await, before);
}
