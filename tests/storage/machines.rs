//! Machines that wait for an operator.

use firstlight::{
    blade::Mac,
    db,
    inventory::{Machine, Reported},
    journal::{Discovery, Journal, MOST_WAITING},
};
use rstest::rstest;

use super::{events, files, name, no_judge};
use crate::support::{Engine, Postgres, Sqlite, THREE_BLADES};

fn mac(n: u16) -> Mac {
    let [high, low] = n.to_be_bytes();
    Mac([0x52, 0x54, 0, 9, high, low])
}

fn machine(serial: &str) -> Machine {
    let body =
        serde_json::json!({ "serial": serial, "cpus": 4, "disks": [{ "name": "sda\u{0}" }] });
    Machine::read(body.to_string().as_bytes()).unwrap()
}

async fn all(journal: &Journal) -> Vec<Reported> {
    let mut tx = journal.db().read().await.unwrap();
    db::machines(&mut tx).await.unwrap()
}

#[rstest]
#[tokio::test]
async fn a_report_is_kept_told_once_and_not_taken_again_at_once(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let ip = "10.12.9.1".parse().ok();
    let take = |serial: &'static str| journal.discovered(mac(1), None, ip, machine(serial));
    assert_eq!(take("A1").await.unwrap(), Discovery::Accepted);
    assert_eq!(take("B1").await.unwrap(), Discovery::TooSoon);
    let kept = all(&journal).await;
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].mac, kept[0].ip, &kept[0].machine), (mac(1), ip, &machine("A1")));
    let told: Vec<String> = events(&base.db).await.into_iter().map(|event| event.text).collect();
    assert_eq!(told, ["discovered: serial A1, 1 disk of 0 GB, 0 MB of memory"]);
    assert_eq!(journal.still_waits(mac(1)).await.unwrap(), Some(()));
    assert_eq!(journal.still_waits(mac(2)).await.unwrap(), None);
    assert!(journal.forget_machine(mac(1)).await.unwrap());
    assert!(!journal.forget_machine(mac(1)).await.unwrap());
    assert_eq!(all(&journal).await, []);
}

#[rstest]
#[tokio::test]
async fn whoever_was_silent_longest_makes_way_and_blades_keep_what_was_learned(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let blade = THREE_BLADES.replace("52:54:00:00:01:01", &mac(0).to_string());
    journal.apply(files(&blade), no_judge()).await.unwrap();
    let most = u16::try_from(MOST_WAITING).unwrap();
    for n in 0..=most {
        journal.discovered(mac(n), None, None, machine("x1")).await.unwrap();
    }
    assert_eq!(all(&journal).await.len(), MOST_WAITING + 1, "one of them is a blade's");
    let silent = all(&journal).await.into_iter().find(|one| one.mac == mac(7)).unwrap();
    journal
        .write(move |write| {
            Box::pin(async move {
                db::put_machine(&mut write.tx, &Reported { last_seen: 1, ..silent }).await
            })
        })
        .await
        .unwrap();
    journal.discovered(mac(most + 1), None, None, machine("x1")).await.unwrap();
    let kept: Vec<Mac> = all(&journal).await.iter().map(|one| one.mac).collect();
    assert_eq!(kept.len(), MOST_WAITING + 1);
    assert!(!kept.contains(&mac(7)) && kept.contains(&mac(0)) && kept.contains(&mac(most + 1)));
    let told = events(&base.db).await;
    assert!(told.iter().any(|event| event.text.starts_with("machine 52:54:00:09:00:07 made way")));
}

#[rstest]
#[tokio::test]
async fn a_machine_that_takes_anothers_place_is_told_and_the_other_forgotten(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    for n in [1, 2] {
        journal.discovered(mac(n), None, None, machine("x1")).await.unwrap();
    }
    journal.racked(mac(2), name("b1"), vec![mac(1), mac(2)]).await.unwrap();
    let kept: Vec<Mac> = all(&journal).await.iter().map(|one| one.mac).collect();
    assert_eq!(kept, [mac(2)]);
    let last = events(&base.db).await.pop().unwrap();
    assert_eq!(last.text, "52:54:00:09:00:02 racked as b1, in the place of 52:54:00:09:00:01");
    assert_eq!(last.blade, Some(name("b1")));
}
