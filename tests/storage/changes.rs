//! `apply`: shown first, then all or nothing; `export` → `apply` changes nothing.

use std::{collections::BTreeMap, sync::Arc};

use firstlight::{
    blade::Outcome,
    db,
    inventory::{Document, Intent},
    journal::{Applied, ApplyError, ApplyRequest, Journal},
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config as ProptestConfig, TestRunner},
};
use rstest::rstest;

use super::{attempt, begin, begun, events, files, no_judge};
use crate::support::{Engine, Postgres, Sqlite, THREE_BLADES};

async fn stored(journal: &Journal) -> Document {
    let mut tx = journal.db().read().await.unwrap();
    db::load_inventory(&mut tx).await.unwrap()
}

fn named(applied: &Applied) -> Vec<String> {
    applied.changes.iter().map(|c| format!("{} {} {}", c.action, c.kind, c.name)).collect()
}

#[rstest]
#[tokio::test]
async fn what_is_shown_is_what_is_done(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let dry = ApplyRequest { dry_run: true, ..files(THREE_BLADES) };
    let shown = journal.apply(dry, no_judge()).await.unwrap();
    assert!(!shown.written);
    assert_eq!(stored(&journal).await, Document::default());
    assert_eq!(events(&base.db).await, []);
    assert!(journal.snapshot().load().by_name("b1").is_none());

    let done = journal.apply(files(THREE_BLADES), no_judge()).await.unwrap();
    assert!(done.written);
    assert_eq!(done.changes, shown.changes);
    assert_eq!(
        named(&done),
        ["add rack r1", "add blade b1", "add blade b2", "add blade b3", "add cluster prod"]
    );
    let snapshot = journal.snapshot().load_full();
    let b2 = snapshot.by_mac("52:54:00:00:02:02".parse().unwrap()).unwrap();
    assert_eq!(b2.ip, Some("10.12.1.2".parse().unwrap()), "by the rule of its chassis");
    assert_eq!(b2.intent, Intent::Wait("waiting for: firstlight deploy prod".into()));
    assert_eq!(events(&base.db).await.len(), 5);

    let again = journal.apply(files(THREE_BLADES), no_judge()).await.unwrap();
    assert!(!again.written && again.changes.is_empty());
    assert_eq!(events(&base.db).await.len(), 5);
}

#[rstest]
#[tokio::test]
async fn what_is_not_named_stays_unless_pruned(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let journal = base.journal().await;
    begun(&journal).await;
    let one = "[[blade]]\nname = \"b1\"\nmacs = [\"52:54:00:00:01:01\"]\nip = \"10.12.7.7\"\n";
    let changed = journal.apply(files(one), no_judge()).await.unwrap();
    assert_eq!(named(&changed), ["change blade b1"]);
    assert_eq!(stored(&journal).await.blades.len(), 3);
    let prune = ApplyRequest { prune: true, ..files(one) };
    let pruned = journal.apply(prune, no_judge()).await.unwrap();
    assert_eq!(
        named(&pruned),
        ["remove rack r1", "remove blade b2", "remove blade b3", "remove cluster prod"]
    );
    assert_eq!(stored(&journal).await, Document::parse(one).unwrap());
    let mut tx = base.db.read().await.unwrap();
    let attempts = db::latest_attempts(&mut tx).await.unwrap();
    assert_eq!(attempts.len(), 1, "what happened stays");
    assert_eq!(attempts[0].standing.outcome, Outcome::Going, "b1 is racked still");
}

#[rstest]
#[tokio::test]
async fn a_blade_taken_away_and_racked_again_does_not_go_on_installing(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let id = begun(&journal).await.id;
    let nothing = ApplyRequest { prune: true, ..files("") };
    journal.apply(nothing, no_judge()).await.unwrap();
    let row = attempt(&base.db, id).await;
    assert_eq!(row.standing.outcome, Outcome::Failed);
    assert_eq!(row.reason.as_deref(), Some("the blade was removed from the inventory"));
    assert!(row.ended.is_some());

    journal.apply(files(THREE_BLADES), no_judge()).await.unwrap();
    let snapshot = journal.snapshot().load_full();
    let Intent::Wait(why) = &snapshot.by_name("b1").unwrap().intent else {
        panic!("{:?}", snapshot.by_name("b1").unwrap().intent)
    };
    assert!(why.contains("removed from the inventory"), "{why}");
}

/// Who asked for it had the old picture of the racks.
#[rstest]
#[tokio::test]
async fn what_was_asked_of_a_blade_after_its_removal_is_not_done_when_it_is_racked_again(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let late = begin(&journal, "b1").await.id;
    journal.apply(files(THREE_BLADES), no_judge()).await.unwrap();
    assert_eq!(attempt(&base.db, late).await.standing.outcome, Outcome::Failed);
}

#[rstest]
#[tokio::test]
async fn one_mistake_in_one_file_keeps_all_files_out(#[values(Sqlite, Postgres)] engine: Engine) {
    let base = engine.database().await;
    let journal = base.journal().await;
    let with = |text: &str| ApplyRequest {
        files: vec![
            ("good.toml".to_owned(), THREE_BLADES.to_owned()),
            ("bad.toml".to_owned(), text.to_owned()),
        ],
        dry_run: false,
        prune: false,
    };
    for (text, told) in [
        ("[[blade]]\nname = \"b4\"\nmacs = [\"52:54\"]\n", "bad.toml:3:8: "),
        ("[[blade]]\nname = \"B4\"\n", "E_HOSTNAME"),
        ("[[blade]]\nname = \"b4\"\nmacs = [\"52:54:00:00:01:01\"]", "belongs to b1 already"),
        ("[[blade]]\nname = \"b4\"\nip = \"10.12.9.9\"", "bad.toml:3:6: blade b4: address"),
        ("[[cluster]]\nname = \"c\"\ntopology = \"a\\u0000\"", "is no name of a topology"),
        ("[[cluster]]\nname = \"c\"\ntopology = \"t\"\nparameters = { a = nan }", "nan and inf"),
    ] {
        let Err(ApplyError::Refused(problems)) = journal.apply(with(text), no_judge()).await else {
            panic!("{text} was accepted");
        };
        assert!(problems.join("\n").contains(told), "{problems:?}");
        assert_eq!(stored(&journal).await, Document::default());
    }
    let judge: firstlight::journal::Judge = Arc::new(|document, sources| {
        assert_eq!((document.blades.len(), sources.files.len()), (3, 2));
        vec!["the judge says no".to_owned()]
    });
    let Err(ApplyError::Refused(problems)) = journal.apply(with(""), judge).await else {
        panic!("against the judge");
    };
    assert_eq!(problems, ["the judge says no"]);
    assert_eq!(stored(&journal).await, Document::default());
    assert_eq!(events(&base.db).await, []);
}

/// Any value that TOML can say, without `nan` and `inf`.
fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        proptest::num::f64::NORMAL.prop_map(Into::into),
        any::<String>().prop_map(Into::into),
        Just("off".into()),
        Just("1979-05-27".into()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Sound inventories: what is unique is made from numbers, all else is any.
fn documents() -> impl Strategy<Value = String> {
    let chassis = vec((any::<bool>(), any::<bool>()), 0..3);
    let blade = (0..9usize, vec(any::<u8>(), 0..3), any::<[bool; 6]>(), "[!-~]{1,9}", any::<u32>());
    let cluster = (
        proptest::collection::btree_map(any::<String>(), value(), 0..4),
        "[^\\p{C}]{1,9}",
        proptest::option::of("[a-z0-9.]{1,9}"),
        vec("[^\\p{C}]{1,9}", 1..4),
    );
    (vec(chassis, 0..3), vec(blade, 0..8), vec(cluster, 0..3)).prop_map(
        |(racks, blades, clusters)| {
            let mut places = Vec::new();
            let mut document = json_list("rack", racks.iter().enumerate(), |(r, chassis)| {
                let chassis = chassis.iter().enumerate().map(|(c, (ip, bmc))| {
                    places.push(serde_json::json!({
                        "rack": format!("r{r}"), "chassis": format!("c{c}"), "slot": places.len() + 1,
                    }));
                    serde_json::json!({
                        "name": format!("c{c}"), "slots": 99,
                        "ip_first": ip.then(|| format!("10.12.{}.1", 20 + 10 * r + c)),
                        "bmc_first": bmc.then(|| format!("10.202.{r}.{c}")),
                    })
                });
                serde_json::json!({ "name": format!("r{r}"), "chassis": chassis.collect::<Vec<_>>() })
            });
            let mut free = places.into_iter();
            let names: Vec<String> = (0..blades.len()).map(|n| format!("n{}", n * 7 % 8)).collect();
            document.extend(json_list("blade", blades.iter().zip(&names).enumerate(), |(n, (blade, name))| {
                let (_, macs, on, text, size) = blade;
                let macs = macs.iter().enumerate().map(|(m, x)| format!("52:54:00:{x:02x}:{n:02x}:{m:02x}"));
                serde_json::json!({
                    "name": name, "macs": macs.collect::<Vec<_>>(),
                    "slot": on[0].then(|| free.next()).flatten(),
                    "ip": on[1].then(|| format!("10.12.200.{}", n + 1)),
                    "arch": on[2].then_some("arm64"),
                    "bmc": on[3].then(|| serde_json::json!({ "user": text })),
                    "disk": on[4].then(|| serde_json::json!({ "model": text, "min_size": size, "largest": on[5] })),
                })
            }));
            let mut members = names.into_iter();
            document.extend(json_list("cluster", clusters.iter().enumerate(), |(n, cluster)| {
                let (parameters, topology, image, roles) = cluster;
                let roles: BTreeMap<_, Vec<_>> =
                    roles.iter().map(|role| (role, members.by_ref().take(2).collect())).collect();
                serde_json::json!({
                    "name": format!("k{n}"), "topology": topology, "image": image,
                    "parameters": parameters, "roles": roles,
                })
            }));
            toml::to_string(&serde_json::Value::Object(document)).expect("TOML can say it")
        },
    )
}

fn json_list<T>(
    key: &str,
    items: impl Iterator<Item = T>,
    make: impl FnMut(T) -> serde_json::Value,
) -> serde_json::Map<String, serde_json::Value> {
    let mut list: Vec<serde_json::Value> = items.map(make).collect();
    list.iter_mut().for_each(without_null);
    serde_json::Map::from_iter([(key.to_owned(), list.into())])
}

fn without_null(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_null);
        }
        serde_json::Value::Array(list) => list.iter_mut().for_each(without_null),
        _ => {}
    }
}

#[rstest]
fn what_is_exported_and_applied_again_changes_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let base = runtime.block_on(engine.database());
    let journal = runtime.block_on(base.journal());
    let apply = |text: &str, prune| {
        let request = ApplyRequest { prune, ..files(text) };
        runtime.block_on(journal.apply(request, no_judge()))
    };
    let config =
        ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    let result = TestRunner::new(config).run(&documents(), |text| {
        apply(&text, true).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let document = runtime.block_on(stored(&journal));
        prop_assert_eq!(&document, &Document::parse(&text).unwrap());
        let export = document.to_toml().map_err(TestCaseError::fail)?;
        for prune in [false, true] {
            let again = apply(&export, prune).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(&again.changes, &vec![]);
            prop_assert!(!again.written);
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
