//! Power is asked for by what is stored, whatever this moment's picture of the racks.

use std::sync::Arc;

use arc_swap::ArcSwap;
use firstlight::{
    blade::{AttemptId, Hostname, Phase},
    bmc::{self, lab::Op},
    db,
    inventory::Snapshot,
    journal::{ApplyRequest, Journal},
};
use rstest::rstest;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixListener,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{attempt, begin, events, files, name, no_judge};
use crate::support::{Engine, Postgres, Sqlite, THREE_BLADES};

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

async fn reached(journal: &Journal, id: AttemptId, phase: Phase) {
    let mut changes = journal.changes();
    while attempt(journal.db(), id).await.standing.phase != phase {
        changes.changed().await.unwrap();
    }
}

/// The service under test.
struct Power {
    service: JoinHandle<()>,
    shutdown: CancellationToken,
}

impl Power {
    fn works(journal: &Journal, picture: &Arc<ArcSwap<Snapshot>>) -> Power {
        let shutdown = CancellationToken::new();
        let service = bmc::run(journal.clone(), picture.clone(), shutdown.clone());
        Power { service: tokio::spawn(service), shutdown }
    }

    async fn ends(self) {
        self.shutdown.cancel();
        self.service.await.unwrap();
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
    let without_b1 =
        THREE_BLADES.replace("name = \"b1\"", "name = \"b4\"").replace("b[1-3]", "b[2-4]");
    journal.apply(files(&without_b1), no_judge()).await.unwrap();
    let before = journal.snapshot().load_full();
    assert!(before.by_name("b1").is_none() && before.by_name("b2").is_some());
    let whole = ApplyRequest { prune: true, ..files(THREE_BLADES) };
    journal.apply(whole, no_judge()).await.unwrap();
    let orders = ["b1", "b2"].map(|blade| (name(blade), name("prod"), "small-cluster".to_owned()));
    let begun = journal.begin(orders.to_vec(), Phase::Off, "test").await.unwrap();
    let [b1, b2] = [&begun[0], &begun[1]].map(|begun| begun.id);

    let picture: Arc<ArcSwap<Snapshot>> = Arc::new(ArcSwap::new(before));
    let power = Power::works(&journal, &picture);
    reached(&journal, b2, Phase::Powering).await;
    // Its answer is written after what was to be said of the other.
    let status = asked(&journal, name("b1")).await;
    assert!(answer(&journal, status).await.contains("there is no blade b1"));
    assert_eq!(attempt(&base.db, b1).await.standing.phase, Phase::Off, "nobody was asked yet");

    picture.store(journal.snapshot().load_full());
    reached(&journal, b1, Phase::Powering).await;
    power.ends().await;
}

/// A lab, or a network, that is away for a moment is no reason to call a person.
#[rstest]
#[tokio::test]
async fn power_that_cannot_be_reached_is_tried_again(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let socket = base.dir().join("power.sock");
    let bmc = format!("bmc = {{ lab = {socket:?} }}\nmacs = [\"52:54:00:00:01:01\"]");
    let racks = THREE_BLADES.replace("macs = [\"52:54:00:00:01:01\"]", &bmc);
    journal.apply(files(&racks), no_judge()).await.unwrap();
    let id = begin(&journal, "b1").await.id;
    let power = Power::works(&journal, &journal.snapshot());
    reached(&journal, id, Phase::Powering).await;
    let told = events(&base.db).await.pop().unwrap().text;
    assert!(told.contains("power.sock") && told.contains("tried again every 5 s"), "{told}");

    let lab = UnixListener::bind(&socket).unwrap();
    let mut asked = Vec::new();
    for _ in 0..3 {
        let (stream, _) = lab.accept().await.unwrap();
        let mut line = String::new();
        let mut stream = BufReader::new(stream);
        stream.read_line(&mut line).await.unwrap();
        stream.write_all(b"{\"ok\":true,\"power\":\"on\"}\n").await.unwrap();
        asked.push(serde_json::from_str::<bmc::lab::Request>(&line).unwrap().op);
    }
    assert_eq!(asked, [Op::Off, Op::Boot, Op::On]);
    reached(&journal, id, Phase::Firmware).await;
    power.ends().await;
}
