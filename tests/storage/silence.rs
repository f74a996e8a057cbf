//! Whoever is not heard is stalled and then failed, but only by what could be heard.

use firstlight::{
    blade::{AttemptId, Millis, Outcome, Phase, ReportState, Step},
    config::Config,
    db::AttemptRow,
    journal::Journal,
    reconcile,
};
use rstest::rstest;

use super::{attempt, begun, report};
use crate::support::{CONFIG, Engine, Postgres, Sqlite};

const HOUR: Millis = 3_600_000;

/// A blade that writes, and was heard now.
async fn writing(journal: &Journal) -> AttemptRow {
    let id: AttemptId = begun(journal).await.id;
    journal.report(report(id, 1, Phase::Write, ReportState::Start)).await.unwrap();
    attempt(journal.db(), id).await
}

fn due(row: &AttemptRow, resumed: Millis, now: Millis) -> Option<Step> {
    let config = Config::parse(CONFIG).unwrap();
    let rows = std::slice::from_ref(row);
    reconcile::overdue(rows, &config, resumed, now).pop().map(|decision| decision.step)
}

#[rstest]
#[tokio::test]
async fn silence_counts_from_when_a_blade_could_be_heard(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let row = writing(&journal).await;
    let heard = row.last_seen;
    assert_eq!(due(&row, 0, heard + 59_000), None);
    assert_eq!(due(&row, 0, heard + 61_000), Some(Step::Stall));
    // An hour in which nothing could be written, or by which the clock was set forward.
    assert_eq!(due(&row, heard + HOUR, heard + HOUR + 59_000), None);
    assert_eq!(due(&row, heard + HOUR, heard + HOUR + 61_000), Some(Step::Stall));
    // Set back by an hour: silence does not last an hour longer for that.
    assert_eq!(due(&row, heard - HOUR, heard - HOUR + 59_000), None);
    assert_eq!(due(&row, heard - HOUR, heard - HOUR + 61_000), Some(Step::Stall));
    // A step of seconds is no jump.
    assert_eq!(due(&row, 0, heard - 3_000), None);
}

#[rstest]
#[tokio::test]
async fn a_blade_heard_while_it_was_being_given_up_goes_on(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let row = writing(&journal).await;
    let give_up = async |last_seen, step| {
        journal.step_if_silent(row.id, last_seen, step, "silent".into()).await.unwrap()
    };
    assert!(!give_up(row.last_seen - 1, Step::Fail).await, "it was heard since");
    assert_eq!(attempt(&base.db, row.id).await.standing, row.standing);
    assert!(give_up(row.last_seen, Step::Stall).await);
    assert_eq!(attempt(&base.db, row.id).await.standing.outcome, Outcome::Stalled);
}
