//! Power is asked for by what is stored, whatever this moment's picture of the racks.

use std::sync::Arc;

use arc_swap::ArcSwap;
use firstlight::{
    blade::{Hostname, Phase},
    bmc, db,
    inventory::Snapshot,
    journal::Journal,
};
use rstest::rstest;
use tokio_util::sync::CancellationToken;

use super::{attempt, begun, name};
use crate::support::{Engine, Postgres, Sqlite};

async fn asked(journal: &Journal, blade: Hostname) -> i64 {
    journal
        .write(move |write| {
            Box::pin(async move { db::ask_power(&mut write.tx, &blade, "status", write.now).await })
        })
        .await
        .unwrap()
}

async fn answer(journal: &Journal, request: i64) -> String {
    let mut changes = journal.changes();
    loop {
        changes.borrow_and_update();
        let mut tx = journal.db().read().await.unwrap();
        let found = db::power_request(&mut tx, request).await.unwrap().unwrap();
        drop(tx);
        if let Some(result) = found.result {
            return result;
        }
        changes.changed().await.unwrap();
    }
}

/// The commit of an attempt is seen a moment before the memory's new picture of the racks.
#[rstest]
#[tokio::test]
async fn a_blade_deployed_in_the_moment_of_its_racking_is_powered_all_the_same(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let before = journal.snapshot().load_full();
    assert!(before.by_name("b1").is_none());
    let picture: Arc<ArcSwap<Snapshot>> = Arc::new(ArcSwap::new(before));
    let id = begun(&journal).await.id;
    let shutdown = CancellationToken::new();
    let service = tokio::spawn(bmc::run(journal.clone(), picture.clone(), shutdown.clone()));

    // The second is answered in a later round: the first round is over.
    for _ in 0..2 {
        let status = asked(&journal, name("b2")).await;
        assert!(answer(&journal, status).await.contains("there is no blade b2"));
    }
    assert_eq!(attempt(&base.db, id).await.standing.phase, Phase::Off, "nobody was asked yet");

    picture.store(journal.snapshot().load_full());
    let mut changes = journal.changes();
    let status = asked(&journal, name("b2")).await;
    assert!(answer(&journal, status).await.contains("b2"));
    while attempt(&base.db, id).await.standing.phase == Phase::Off {
        changes.changed().await.unwrap();
    }
    assert_eq!(attempt(&base.db, id).await.standing.phase, Phase::Powering);
    shutdown.cancel();
    service.await.unwrap();
}
