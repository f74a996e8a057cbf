//! The journal moves a blade along its road by evidence.

use firstlight::{
    blade::{
        AttemptId, Hostname, Kind, MAX_TRIES, NewEvent, Outcome, Phase, ReportState, Standing, Step,
    },
    db::{self, DbError},
    inventory::Intent,
    journal::{Journal, ReportAnswer, Sighting},
};
use rstest::rstest;
use serde_json::json;

use super::{attempt, begin, begun, events, name, report, set_phase};
use crate::support::{Engine, Postgres, Sqlite};

fn intent(journal: &Journal, blade: &str) -> Intent {
    journal.snapshot().load().by_name(blade).expect("a known blade").intent.clone()
}

async fn standing(journal: &Journal, id: AttemptId) -> Standing {
    attempt(journal.db(), id).await.standing
}

fn going(phase: Phase) -> Standing {
    Standing { phase, outcome: Outcome::Going }
}

#[rstest]
#[tokio::test]
async fn a_report_counts_once_however_often_it_is_sent(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let id = begun(&journal).await.id;
    let mut news = report(id, 1, Phase::Write, ReportState::Progress);
    news.bytes_done = Some(10);
    assert_eq!(journal.report(news.clone()).await.unwrap(), ReportAnswer::Accepted);
    let before = (attempt(&base.db, id).await, events(&base.db).await);
    news.bytes_done = Some(99);
    for _ in 0..3 {
        assert_eq!(journal.report(news.clone()).await.unwrap(), ReportAnswer::Replayed);
    }
    // Twenty at a time share a commit, and still one of them counts.
    let mut two = news.clone();
    two.seq = 2;
    let answers =
        futures_util::future::join_all((0..20).map(|_| journal.report(two.clone()))).await;
    let accepted = answers.iter().filter(|a| matches!(a, Ok(ReportAnswer::Accepted))).count();
    assert_eq!(accepted, 1);
    assert_eq!(before.0.bytes_done, 10);
    assert_eq!(events(&base.db).await.len(), before.1.len() + 1);
}

#[rstest]
#[tokio::test]
async fn a_stranger_and_an_older_attempt_are_told_so(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let old = begun(&journal).await;
    let stranger = AttemptId(uuid::Uuid::now_v7());
    let live = |id, seq| report(id, seq, Phase::Live, ReportState::Start);
    assert_eq!(journal.report(live(stranger, 1)).await.unwrap(), ReportAnswer::Unknown);
    assert_eq!(journal.finish(stranger).await.unwrap(), ReportAnswer::Unknown);
    assert_eq!(journal.report(live(old.id, 1)).await.unwrap(), ReportAnswer::Accepted);

    let new = begin(&journal, "b1").await;
    assert_eq!((old.number, new.number), (1, 2));
    assert_eq!(standing(&journal, old.id).await.outcome, Outcome::Superseded);
    let before = events(&base.db).await.len();
    assert_eq!(journal.report(live(old.id, 2)).await.unwrap(), ReportAnswer::Stale);
    assert_eq!(journal.finish(old.id).await.unwrap(), ReportAnswer::Stale);
    assert_eq!(events(&base.db).await.len(), before, "nothing is written of it");
    assert_eq!(standing(&journal, new.id).await, going(Phase::Off));
    assert!(matches!(intent(&journal, "b1"), Intent::Install(now) if now.id == new.id));
}

#[rstest]
#[tokio::test]
async fn bytes_never_decrease_and_phases_never_go_back(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let id = begun(&journal).await.id;
    let mut seq = 0;
    for (phase, done, total, expected) in [
        (Phase::Write, 10, 100, (Phase::Write, 10, 100)),
        (Phase::Write, 5, 50, (Phase::Write, 10, 100)),
        (Phase::Live, 99, 99, (Phase::Write, 10, 100)),
        (Phase::Write, u64::MAX, 100, (Phase::Write, i64::MAX, 100)),
        (Phase::Bundle, 1, 2, (Phase::Bundle, 1, 2)),
    ] {
        seq += 1;
        let mut news = report(id, seq, phase, ReportState::Progress);
        (news.bytes_done, news.bytes_total) = (Some(done), Some(total));
        assert_eq!(journal.report(news).await.unwrap(), ReportAnswer::Accepted);
        let row = attempt(&base.db, id).await;
        assert_eq!((row.standing.phase, row.bytes_done, row.bytes_total), expected);
    }
}

#[rstest]
#[tokio::test]
async fn only_the_callback_makes_a_blade_installed_and_only_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let id = begun(&journal).await.id;
    // A blade claims, a probe finds, a packet suggests: none of it counts before the callback.
    journal.report(report(id, 1, Phase::Up, ReportState::Ok)).await.unwrap();
    let probed = journal.step(id, Kind::Probe, Step::Reached(Phase::Ready), "odd".into()).await;
    assert!(!probed.unwrap());
    assert!(standing(&journal, id).await.phase < Phase::Installed);
    assert!(matches!(intent(&journal, "b1"), Intent::Install(_)));

    assert_eq!(journal.finish(id).await.unwrap(), ReportAnswer::Accepted);
    assert_eq!(intent(&journal, "b1"), Intent::Local, "known when the answer is given");
    let before = events(&base.db).await;
    for _ in 0..2 {
        assert_eq!(journal.finish(id).await.unwrap(), ReportAnswer::Replayed);
    }
    assert_eq!(events(&base.db).await, before);

    // Its reboot is seen by its boot packets, which cannot make it a blade to be installed.
    journal.saw(seen("b1", Phase::Dhcp));
    journal.note(NewEvent::new(0, Kind::Alert, "after what was seen")).await.unwrap();
    assert_eq!(standing(&journal, id).await, going(Phase::Rebooting));
    let stepped = journal.step(id, Kind::Probe, Step::Reached(Phase::Ready), "healthy".into());
    assert!(stepped.await.unwrap());
    assert_eq!(standing(&journal, id).await.outcome, Outcome::Ready);
    assert_eq!(intent(&journal, "b1"), Intent::Local);
}

fn seen(blade: &str, phase: Phase) -> Sighting {
    Sighting {
        kind: Kind::Dhcp,
        blade: Some(name(blade)),
        mac: None,
        phase: Some(phase),
        text: "DISCOVER".into(),
        detail: json!({}),
    }
}

#[rstest]
#[tokio::test]
async fn a_failure_is_kept_with_its_code_and_ends_the_attempt(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let id = begun(&journal).await.id;
    let mut news = report(id, 1, Phase::Preflight, ReportState::Fail);
    (news.code, news.msg) = (Some("E_DISK_MANY".into()), "two disks\0fit".into());
    news.log_tail = Some("last line\0".into());
    assert_eq!(journal.report(news).await.unwrap(), ReportAnswer::Accepted);
    let row = attempt(&base.db, id).await;
    assert_eq!(row.standing, Standing { phase: Phase::Preflight, outcome: Outcome::Failed });
    assert_eq!(row.reason.as_deref(), Some("E_DISK_MANY: two disks\u{fffd}fit"));
    assert!(row.ended.is_some());
    let told = events(&base.db).await.pop().unwrap();
    assert_eq!(told.text, "failed in preflight: E_DISK_MANY: two disks\u{fffd}fit");
    let Intent::Wait(why) = intent(&journal, "b1") else { panic!("it must not loop") };
    assert!(why.contains("attempt 1 failed in preflight: E_DISK_MANY"), "{why}");
    let late = report(id, 2, Phase::Write, ReportState::Progress);
    assert_eq!(journal.report(late).await.unwrap(), ReportAnswer::Stale);
}

#[rstest]
#[tokio::test]
async fn a_blade_that_is_ready_does_not_fail_any_more(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let id = begun(&journal).await.id;
    journal.finish(id).await.unwrap();
    journal.step(id, Kind::Probe, Step::Reached(Phase::Ready), "healthy".into()).await.unwrap();
    journal.report(report(id, 1, Phase::Up, ReportState::Fail)).await.unwrap();
    assert_eq!(standing(&journal, id).await.outcome, Outcome::Ready);
    assert!(events(&base.db).await.iter().all(|event| !event.text.starts_with("failed in")));
}

#[rstest]
#[tokio::test]
async fn a_blade_that_restarts_is_tried_again_until_a_person_must_look(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let first = begun(&journal).await.id;
    assert!(!journal.restarted(first).await.unwrap(), "it has not even begun");
    let latest = async || {
        let mut tx = base.db.read().await.unwrap();
        db::latest_attempt(&mut tx, &name("b1")).await.unwrap().unwrap()
    };
    for number in 1..=MAX_TRIES {
        let row = latest().await;
        assert_eq!((row.number, row.r#try), (number, number));
        journal.report(report(row.id, 1, Phase::Write, ReportState::Progress)).await.unwrap();
        assert_eq!(journal.restarted(row.id).await.unwrap(), number < MAX_TRIES);
        let ended = attempt(&base.db, row.id).await;
        assert_eq!(ended.standing, Standing { phase: Phase::Write, outcome: Outcome::Failed });
        assert_eq!(ended.reason.as_deref(), Some("the blade restarted in write"));
        assert!(!journal.restarted(row.id).await.unwrap(), "a restart counts once");
    }
    assert_eq!(latest().await.number, MAX_TRIES);
    assert!(matches!(intent(&journal, "b1"), Intent::Wait(_)));
    begin(&journal, "b1").await;
    assert_eq!((latest().await.number, latest().await.r#try), (MAX_TRIES + 1, 1));
}

#[rstest]
#[tokio::test]
async fn a_held_blade_waits_and_goes_on_when_released(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let id = begun(&journal).await.id;
    journal.hold(name("b1"), "disk swap".into()).await.unwrap();
    assert_eq!(intent(&journal, "b1"), Intent::Wait("held by an operator: disk swap".into()));
    journal.saw(seen("b1", Phase::Dhcp));
    journal.note(NewEvent::new(0, Kind::Alert, "after what was seen")).await.unwrap();
    let held = Standing { phase: Phase::Dhcp, outcome: Outcome::Held };
    assert_eq!(standing(&journal, id).await, held);
    assert_eq!(
        base.journal().await.snapshot().load().by_name("b1").unwrap().intent,
        intent(&journal, "b1"),
        "a restart does not release it"
    );
    journal.release(name("b1")).await.unwrap();
    assert!(matches!(intent(&journal, "b1"), Intent::Install(_)));
    assert_eq!(standing(&journal, id).await, going(Phase::Dhcp));

    // A blade without an attempt can be held as well.
    journal.hold(name("b2"), "later".into()).await.unwrap();
    assert_eq!(intent(&journal, "b2"), Intent::Wait("held by an operator: later".into()));
}

#[rstest]
#[tokio::test]
async fn a_stalled_blade_goes_on_if_it_moves(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let id = begun(&journal).await.id;
    journal.report(report(id, 1, Phase::Write, ReportState::Start)).await.unwrap();
    let seen = attempt(&base.db, id).await.last_seen;
    let stall = async || {
        journal.step(id, Kind::Attempt, Step::Stall, "silent for 60 s".into()).await.unwrap()
    };
    assert!(stall().await);
    assert!(!stall().await, "and is said once");
    let row = attempt(&base.db, id).await;
    assert_eq!(row.standing, Standing { phase: Phase::Write, outcome: Outcome::Stalled });
    assert_eq!((row.last_seen, row.reason.as_deref()), (seen, Some("silent for 60 s")));
    journal.report(report(id, 2, Phase::Write, ReportState::Progress)).await.unwrap();
    let row = attempt(&base.db, id).await;
    assert_eq!((row.standing, row.reason), (going(Phase::Write), None));
}

#[rstest]
#[tokio::test]
async fn one_that_fails_takes_nothing_of_its_group_with_it(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let id = begun(&journal).await.id;
    let twice = NewEvent { attempt: Some(id), ..NewEvent::new(1, Kind::Report, "bad") };
    let bad = journal.write(move |write| {
        Box::pin(async move {
            write.intents_changed = true;
            db::put_hold(&mut write.tx, &name("b2"), 1, "undone").await?;
            db::append(&mut write.tx, &twice, Some(1)).await?;
            db::append(&mut write.tx, &twice, Some(1)).await
        })
    });
    let good = |n: i64| journal.note(NewEvent::new(n, Kind::Alert, "good"));
    let (before, bad, after) = tokio::join!(good(1), bad, good(2));
    before.unwrap();
    after.unwrap();
    assert!(matches!(bad, Err(DbError::Sql(_))), "{bad:?}");
    let texts: Vec<_> = events(&base.db).await.into_iter().map(|event| event.text).collect();
    assert_eq!(texts.iter().filter(|text| *text == "good").count(), 2);
    assert!(!texts.contains(&"bad".to_owned()));
    assert!(!matches!(intent(&journal, "b2"), Intent::Wait(why) if why.contains("undone")));
    journal.note(NewEvent::new(3, Kind::Alert, "goes on")).await.unwrap();
    assert_eq!(journal.trouble(), None);
}

#[rstest]
#[tokio::test]
async fn an_answer_comes_after_the_snapshot_and_the_signal(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    begun(&journal).await;
    for round in 0..20 {
        let mut changes = journal.changes();
        let blade: Hostname = name(["b1", "b2", "b3"][round % 3]);
        journal.hold(blade.clone(), format!("round {round}")).await.unwrap();
        let told = format!("held by an operator: round {round}");
        assert_eq!(intent(&journal, blade.as_str()), Intent::Wait(told));
        assert!(changes.has_changed().unwrap());
        changes.mark_unchanged();
    }
}

/// What is durable is answered from as soon as it can be read, and not acknowledged before.
#[rstest]
#[tokio::test]
async fn a_snapshot_that_could_not_be_loaded_is_loaded_with_the_next_write(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    begun(&journal).await;
    set_phase(&base.db, "nonsense").await;
    journal.hold(name("b2"), "disk swap".into()).await.unwrap_err();
    let trouble = journal.trouble().expect("a person must look");
    assert!(trouble.contains("\"nonsense\" is no phase"), "{trouble}");

    set_phase(&base.db, "off").await;
    journal.note(NewEvent::new(0, Kind::Alert, "any write")).await.unwrap();
    assert_eq!(intent(&journal, "b2"), Intent::Wait("held by an operator: disk swap".into()));
    assert_eq!(journal.trouble(), None);
}

#[rstest]
#[tokio::test]
async fn the_writer_ends_with_all_that_was_queued_written(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let config = firstlight::config::Config::parse(crate::support::CONFIG).unwrap();
    let (journal, writer) = Journal::start(base.db.clone(), config.into()).await.unwrap();
    for _ in 0..1500 {
        journal.saw(Sighting { blade: None, ..seen("b1", Phase::Dhcp) });
    }
    drop(journal);
    writer.await.unwrap();
    assert_eq!(events(&base.db).await.len(), 1500);
}
