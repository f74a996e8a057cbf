//! A backup carries a site from either engine to either engine.

use firstlight::{
    blade::{Mac, Phase, ReportState},
    db::{self, Db},
    inventory::{Lease, LeaseState, Machine, Whereabouts},
    journal::{ApplyRequest, LeaseChange},
};
use rstest::rstest;

use super::{begun, events, name, report};
use crate::support::{Database, Engine, Postgres, Sqlite};

/// A database with something in every table.
async fn lived_in(engine: Engine) -> Database {
    let base = engine.database().await;
    let journal = base.journal().await;
    let id = begun(&journal).await.id;
    let mac: Mac = "52:54:00:00:09:09".parse().unwrap();
    for seq in 1..=11 {
        let mut report = report(id, seq, Phase::Live, ReportState::Progress);
        report.msg = format!("ü \"quoted\" line\nnext \u{1F680} {seq}");
        journal.report(report).await.unwrap();
    }
    let rule = "[[boot_rule]]\nname = \"nics\"\nmac_prefix = \"52:54\"\nloader = \"ipxe.efi\"";
    let files = vec![("rules.toml".to_owned(), rule.to_owned())];
    let request = ApplyRequest { files, dry_run: false, prune: false };
    journal.apply(request, std::sync::Arc::new(|_, _| Vec::new())).await.unwrap();
    journal.hold(name("b2"), "no; 'quotes'".to_owned()).await.unwrap();
    journal.choose(mac, None, "simple".to_owned()).await.unwrap();
    let lease = |last| Lease {
        ip: std::net::Ipv4Addr::new(10, 12, 9, last),
        mac,
        state: LeaseState::Bound,
        until: 9,
        hostname: None,
    };
    let leases = [2, 10, 1].map(|last| LeaseChange::Put(lease(last))).to_vec();
    journal.commit_leases(leases).await.unwrap();
    let ip = Some(std::net::Ipv4Addr::new(10, 12, 7, 1));
    journal.located(mac, Whereabouts { ip, relay: None, port: Some("sw1 · 7".to_owned()) });
    journal.settle().await.unwrap();
    let machine = Machine::read(br#"{"serial":"CN7","disks":[{"name":"sda"}]}"#).unwrap();
    journal.discovered(mac, None, None, machine).await.unwrap();
    let mut tx = base.db.begin().await.unwrap();
    db::ask_power(&mut tx, &name("b1"), "on", 1).await.unwrap();
    tx.commit().await.unwrap();
    base
}

#[rstest]
#[tokio::test]
async fn what_is_restored_on_any_engine_is_what_was_backed_up(
    #[values(Sqlite, Postgres)] from: Engine,
    #[values(Sqlite, Postgres)] to: Engine,
) {
    let (old, new) = (lived_in(from).await, to.database().await);
    let backup = db::dump(&old.db).await.unwrap();
    for (table, _) in db::backed_up_tables() {
        assert!(backup.contains(&format!("\n[\"{table}\",")), "{table} is empty in this test");
    }
    db::load(&new.db, &backup).await.unwrap();
    assert_eq!(db::dump(&new.db).await.unwrap(), backup);
    assert_eq!(events(&new.db).await, events(&old.db).await);

    // Life goes on: numbers that were given are not given again.
    let last = events(&new.db).await.last().unwrap().id;
    new.journal().await.release(name("b2")).await.unwrap();
    assert!(events(&new.db).await.last().unwrap().id > last);
    let mut tx = new.db.begin().await.unwrap();
    db::ask_power(&mut tx, &name("b1"), "off", 1).await.unwrap();
}

async fn refused(db: &Db, backup: &str) -> String {
    db::load(db, backup).await.expect_err("it must be refused").to_string()
}

#[rstest]
#[tokio::test]
async fn a_backup_that_does_not_fit_changes_nothing(#[values(Sqlite, Postgres)] engine: Engine) {
    let backup = db::dump(&lived_in(engine).await.db).await.unwrap();
    let new = engine.database().await;
    let empty = db::dump(&new.db).await.unwrap();
    let event = backup.lines().count();
    for (spoiled, told) in [
        (String::new(), "line 1: this is no backup of Firstlight"),
        (backup.replacen("backup-1", "backup-9", 1), "one of another version"),
        (format!("{backup}[\"events\",1"), "is not a JSON array"),
        (format!("{backup}[\"users\",1]"), "names no table"),
        (format!("{backup}[\"racks\",\"r9\"]"), "has the wrong number of columns"),
        (format!("{backup}[\"racks\",9,9]"), "has a wrong name of racks"),
        (format!("{backup}[\"racks\",\"r9\",\"9\"]"), "has a wrong position of racks"),
        (format!("{backup}[\"racks\",\"r9\",1.5]"), "has a wrong position of racks"),
        (format!("{backup}[\"racks\",\"r9\",null]"), "does not fit"),
        (format!("{backup}[\"racks\",\"r1\",1]"), "does not fit"),
        (format!("{backup}[\"chassis\",\"r9\",\"c\",0,1,null,null,null]"), "does not fit"),
    ] {
        let error = refused(&new.db, &spoiled).await;
        assert!(error.contains(told), "{told}: {error}");
        if !spoiled.starts_with("[\"firstlight-backup-1\"]") {
            continue;
        }
        assert!(error.contains(&format!("line {}", event + 1)), "{error}");
        assert_eq!(db::dump(&new.db).await.unwrap(), empty, "after {told}");
    }
}

#[rstest]
#[tokio::test]
async fn only_an_empty_database_takes_a_backup(#[values(Sqlite, Postgres)] engine: Engine) {
    let used = engine.database().await;
    let mut tx = used.db.begin().await.unwrap();
    db::put_choice(&mut tx, "52:54:00:00:09:09".parse().unwrap(), "simple", 1).await.unwrap();
    tx.commit().await.unwrap();
    let backup = db::dump(&engine.database().await.db).await.unwrap();
    let error = refused(&used.db, &backup).await;
    assert!(error.contains("is not empty (it has choices)"), "{error}");
}
