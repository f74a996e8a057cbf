//! What is written is read back, and hostile text does no harm.

use std::collections::BTreeMap;

use firstlight::{
    blade::{AttemptId, Kind, Mac, NewEvent, Outcome, Phase, Standing},
    db::{self, AttemptRow},
    inventory::{Document, Lease, LeaseState},
};
use rstest::rstest;
use serde_json::json;

use super::{events, name};
use crate::support::{Engine, Postgres, Sqlite, THREE_BLADES};

/// Every key that an inventory can have.
const EVERYTHING: &str = r#"
[[rack]]
name = "r2"
chassis = [
    { name = "z", slots = 65535 },
    { name = "a", slots = 2, bmc_first = "10.202.0.1", ip_first = "10.12.1.1" },
]
[[rack]]
name = "r1"
[[blade]]
name = "z9"
slot = { rack = "r2", chassis = "a", slot = 2 }
macs = ["52:54:00:00:00:09", "52:54:00:00:00:01"]
arch = "arm64"
ip = "10.12.200.1"
bmc = { address = "10.202.9.9", user = "ö'\"; DROP TABLE blades;--", password_file = "/a b" }
[blade.disk]
by_id = "ata-1"
wwn = "0x5000"
serial = "s"
model = "m"
path = "/dev/vda"
min_size = "1G"
max_size = 9223372036854775807
rotational = false
smallest = true
largest = true
keep_data = true
[[blade]]
name = "a1"
bmc = { lab = "/run/lab/a1.sock" }
[[blade]]
name = "m5"
[[cluster]]
name = "z"
topology = "production"
image = "debian-12"
[cluster.parameters]
ssh_keys = ["ssh-ed25519 AAAA ops", "ünïcode \u0000 \u0007 '\"\\"]
nested = { deep = [[1, -9223372036854775808], [true, 1.5, 1e300, ""]], "key with ." = {} }
[cluster.roles]
production-worker = ["m5", "a1"]
production-central = ["z9"]
[[cluster]]
name = "a"
topology = "simple"
"#;

#[rstest]
#[case::everything(EVERYTHING)]
#[case::three_blades(THREE_BLADES)]
#[case::nothing("")]
#[tokio::test]
async fn an_inventory_is_read_back_as_it_was_written(
    #[values(Sqlite, Postgres)] engine: Engine,
    #[case] text: &str,
) {
    let base = engine.database().await;
    let document = Document::parse(text).unwrap();
    // Over another one, so that nothing of the old may stay.
    for document in [Document::parse(EVERYTHING).unwrap(), document.clone()] {
        let mut tx = base.db.begin().await.unwrap();
        db::store_inventory(&mut tx, &document, &BTreeMap::new()).await.unwrap();
        tx.commit().await.unwrap();
    }
    let mut tx = base.db.read().await.unwrap();
    let read = db::load_inventory(&mut tx).await.unwrap();
    assert_eq!(read, document);
    assert_eq!(Document::parse(&read.to_toml().unwrap()).unwrap(), document);
}

#[rstest]
#[tokio::test]
async fn what_is_not_committed_was_never_there(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let mut tx = base.db.begin().await.unwrap();
    db::append(&mut tx, &NewEvent::new(1, Kind::Alert, "lost"), None).await.unwrap();
    drop(tx);
    assert_eq!(events(&base.db).await, []);
}

#[rstest]
#[tokio::test]
async fn events_keep_their_order_and_what_they_say(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let (blade, id) = (name("b1"), AttemptId(uuid::Uuid::now_v7()));
    let mac: Mac = "52:54:00:00:00:01".parse().unwrap();
    let full = NewEvent {
        blade: Some(blade.clone()),
        mac: Some(mac),
        attempt: Some(id),
        phase: Some(Phase::Write),
        detail: json!({"text": "a\0b \\u0000 ü", "n": [1, null, 2.5]}),
        ..NewEvent::new(5, Kind::Report, "first")
    };
    let mut tx = base.db.begin().await.unwrap();
    db::append(&mut tx, &full, Some(7)).await.unwrap();
    // Time may go back; the order may not.
    db::append(&mut tx, &NewEvent::new(4, Kind::Alert, "second"), None).await.unwrap();
    tx.commit().await.unwrap();

    let stored = events(&base.db).await;
    let [first, second] = stored.as_slice() else { panic!("{stored:?}") };
    assert!(first.id < second.id);
    assert_eq!((first.at, first.kind, first.text.as_str()), (5, Kind::Report, "first"));
    assert_eq!((first.blade.as_ref(), first.mac), (Some(&blade), Some(mac)));
    assert_eq!((first.attempt, first.phase), (Some(id), Some(Phase::Write)));
    assert_eq!(first.detail, full.detail);
    assert_eq!((&second.blade, second.mac, second.detail.is_null()), (&None, None, true));

    let mut tx = base.db.read().await.unwrap();
    let (first, second) = (vec![first.clone()], vec![second.clone()]);
    assert_eq!(db::events_after(&mut tx, first[0].id, 9).await.unwrap(), second);
    assert_eq!(db::events_after(&mut tx, 0, 1).await.unwrap(), first);
    assert_eq!(db::latest_events(&mut tx, 1).await.unwrap(), second);
    assert_eq!(db::events_of_blade(&mut tx, &blade, 9).await.unwrap(), first);
    assert_eq!(db::events_of_attempt(&mut tx, id, 9).await.unwrap(), first);
    assert_eq!(db::events_of_kind(&mut tx, Kind::Alert, 4, 9).await.unwrap(), second);
    assert_eq!(db::events_of_kind(&mut tx, Kind::Alert, 5, 9).await.unwrap(), []);
    assert_eq!(db::last_event(&mut tx).await.unwrap(), second[0].id);
    assert!(db::has_report(&mut tx, id, 7).await.unwrap());
    assert!(!db::has_report(&mut tx, id, 8).await.unwrap());
}

#[rstest]
#[tokio::test]
async fn the_database_itself_refuses_a_reports_number_twice(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let id = AttemptId(uuid::Uuid::now_v7());
    let event = NewEvent { attempt: Some(id), ..NewEvent::new(1, Kind::Report, "x") };
    let mut tx = base.db.begin().await.unwrap();
    db::append(&mut tx, &event, Some(1)).await.unwrap();
    db::append(&mut tx, &event, None).await.unwrap();
    db::append(&mut tx, &event, None).await.unwrap();
    db::append(&mut tx, &event, Some(1)).await.unwrap_err();
}

/// PostgreSQL's TEXT cannot hold NUL; SQLite's can.
#[rstest]
#[tokio::test]
async fn nul_in_hostile_text_is_replaced_wherever_it_may_come_from(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let mac: Mac = "52:54:00:00:00:01".parse().unwrap();
    let row = AttemptRow {
        reason: Some("a\0".into()),
        hello: Some(json!({"serial": "a\0"}).to_string()),
        host_keys: Some("k\0".into()),
        ..an_attempt("b1", 1)
    };
    let lease = Lease {
        ip: "10.12.9.1".parse().unwrap(),
        mac,
        state: LeaseState::Bound,
        until: 9,
        hostname: Some("h\0".into()),
    };
    let mut tx = base.db.begin().await.unwrap();
    db::append(&mut tx, &NewEvent::new(1, Kind::Dhcp, "e\0"), None).await.unwrap();
    db::put_hold(&mut tx, &name("b1"), 1, "why\0").await.unwrap();
    db::put_choice(&mut tx, mac, "c\0", 1).await.unwrap();
    db::put_lease(&mut tx, &lease).await.unwrap();
    db::insert_attempt(&mut tx, &row).await.unwrap();
    db::update_attempt(&mut tx, &row).await.unwrap();
    let power = db::ask_power(&mut tx, &name("b1"), "on", 1).await.unwrap();
    db::close_power(&mut tx, power, 2, "error: r\0").await.unwrap();

    assert_eq!(db::latest_events(&mut tx, 1).await.unwrap()[0].text, "e\u{fffd}");
    assert_eq!(db::holds(&mut tx).await.unwrap(), [(name("b1"), "why\u{fffd}".into())]);
    assert_eq!(db::choices(&mut tx).await.unwrap(), [(mac, "c\u{fffd}".into())]);
    let leases = db::leases(&mut tx).await.unwrap();
    assert_eq!(leases[0].hostname.as_deref(), Some("h\u{fffd}"));
    let stored = db::attempt(&mut tx, row.id).await.unwrap().unwrap();
    assert_eq!(stored.reason.as_deref(), Some("a\u{fffd}"));
    assert_eq!(stored.host_keys.as_deref(), Some("k\u{fffd}"));
    assert_eq!(stored.hello, row.hello, "JSON writes NUL with other characters");
    let power = db::power_request(&mut tx, power).await.unwrap().unwrap();
    assert_eq!(power.result.as_deref(), Some("error: r\u{fffd}"));
}

#[rstest]
#[tokio::test]
async fn an_address_has_one_lease_the_last_written(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let first = Lease {
        ip: "10.12.9.1".parse().unwrap(),
        mac: "52:54:00:00:00:01".parse().unwrap(),
        state: LeaseState::Bound,
        until: 100,
        hostname: Some("blade".into()),
    };
    let second = Lease {
        mac: "52:54:00:00:00:02".parse().unwrap(),
        state: LeaseState::Quarantined,
        until: i64::MAX,
        hostname: None,
        ..first.clone()
    };
    let mut tx = base.db.begin().await.unwrap();
    for lease in [&first, &second] {
        db::put_lease(&mut tx, lease).await.unwrap();
        assert_eq!(db::leases(&mut tx).await.unwrap(), std::slice::from_ref(lease));
    }
    db::delete_lease(&mut tx, first.ip).await.unwrap();
    assert_eq!(db::leases(&mut tx).await.unwrap(), []);
}

fn an_attempt(blade: &str, number: i64) -> AttemptRow {
    AttemptRow {
        id: AttemptId(uuid::Uuid::now_v7()),
        blade: name(blade),
        cluster: name("prod"),
        role: "small-cluster".into(),
        number,
        r#try: 1,
        standing: Standing { phase: Phase::Off, outcome: Outcome::Going },
        reason: None,
        started: 1,
        phase_since: 2,
        last_seen: 3,
        ended: None,
        bytes_done: 0,
        bytes_total: i64::MAX,
        hello: None,
        host_keys: None,
    }
}

#[rstest]
#[tokio::test]
async fn attempts_are_read_back_newest_first(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let (old, new, other) = (an_attempt("b1", 9), an_attempt("b1", 10), an_attempt("b2", 1));
    let mut tx = base.db.begin().await.unwrap();
    for row in [&new, &old, &other] {
        db::insert_attempt(&mut tx, row).await.unwrap();
    }
    let changed = AttemptRow {
        standing: Standing { phase: Phase::Write, outcome: Outcome::Failed },
        reason: Some("r".into()),
        phase_since: 12,
        last_seen: 13,
        ended: Some(14),
        bytes_done: 5,
        bytes_total: 6,
        hello: Some("{}".into()),
        host_keys: Some("k".into()),
        ..new.clone()
    };
    db::update_attempt(&mut tx, &changed).await.unwrap();
    assert_eq!(db::attempt(&mut tx, new.id).await.unwrap(), Some(changed.clone()));
    assert_eq!(db::attempt(&mut tx, AttemptId(uuid::Uuid::nil())).await.unwrap(), None);
    assert_eq!(db::latest_attempt(&mut tx, &name("b1")).await.unwrap(), Some(changed.clone()));
    assert_eq!(db::latest_attempts(&mut tx).await.unwrap(), [changed.clone(), other]);
    assert_eq!(db::attempts_of(&mut tx, &name("b1"), 9).await.unwrap(), [changed, old]);
    db::insert_attempt(&mut tx, &an_attempt("b1", 10)).await.expect_err("a number twice");
}

#[rstest]
#[tokio::test]
async fn power_requests_are_done_once(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let mut tx = base.db.begin().await.unwrap();
    let first = db::ask_power(&mut tx, &name("b1"), "netboot", 1).await.unwrap();
    let second = db::ask_power(&mut tx, &name("b2"), "off", 2).await.unwrap();
    let open = |requests: Vec<db::PowerRequest>| requests.iter().map(|r| r.id).collect::<Vec<_>>();
    assert_eq!(open(db::open_power(&mut tx, 9).await.unwrap()), [first, second]);
    db::close_power(&mut tx, first, 3, "on").await.unwrap();
    db::close_power(&mut tx, first, 4, "off").await.unwrap();
    assert_eq!(open(db::open_power(&mut tx, 9).await.unwrap()), [second]);
    let done = db::power_request(&mut tx, first).await.unwrap().unwrap();
    assert_eq!((done.done, done.result.as_deref()), (Some(3), Some("on")));
}
