//! What services note without waiting: lines of the journal, and where blades are.

use std::net::Ipv4Addr;

use firstlight::{
    blade::{Kind, Mac, NewEvent, Phase},
    config::{Config, DhcpMode},
    inventory::Whereabouts,
    journal::{Journal, Sighting},
};
use rstest::rstest;

use super::{begun, events, name, set_phase};
use crate::support::{CONFIG, Database, Engine, Postgres, Sqlite};

fn line(blade: &str, text: &str) -> Sighting {
    Sighting {
        kind: Kind::Dhcp,
        blade: Some(name(blade)),
        mac: None,
        phase: Some(Phase::Dhcp),
        text: text.to_owned(),
        detail: serde_json::Value::Null,
    }
}

#[rstest]
#[tokio::test]
async fn a_line_that_cannot_be_written_takes_none_of_the_others_with_it(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    let journal = base.journal().await;
    begun(&journal).await;
    set_phase(&base.db, "nonsense").await;
    for n in 0..20 {
        journal.saw(line("b1", "evidence about what cannot be read"));
        journal.saw(line("b2", &format!("line {n}")));
    }
    journal.note(NewEvent::new(0, Kind::Alert, "after them")).await.unwrap();
    let texts: Vec<String> = events(&base.db).await.into_iter().map(|event| event.text).collect();
    let lines: Vec<&String> = texts.iter().filter(|text| text.starts_with("line ")).collect();
    let wanted: Vec<String> = (0..20).map(|n| format!("line {n}")).collect();
    assert_eq!(lines, wanted.iter().collect::<Vec<_>>());
    assert!(texts.iter().all(|text| !text.starts_with("evidence")), "{texts:?}");
    assert!(journal.trouble().is_some_and(|trouble| trouble.contains("\"nonsense\" is no phase")));

    set_phase(&base.db, "off").await;
    journal.note(NewEvent::new(0, Kind::Alert, "any write")).await.unwrap();
    assert_eq!(journal.trouble(), None);
}

/// The journal of a site where another server gives the addresses.
async fn proxied(base: &Database) -> Journal {
    let config = Config::parse(&format!("{CONFIG}[dhcp]\nmode = \"proxy\"\n")).unwrap();
    assert_eq!(config.dhcp.mode, DhcpMode::Proxy);
    Journal::start(base.db.clone(), config.into()).await.unwrap().0
}

/// The snapshot follows in memory; a new one reads the tables.
#[rstest]
#[tokio::test]
async fn where_blades_are_is_the_same_at_once_and_after_a_restart(
    #[values(Sqlite, Postgres)] engine: Engine,
) {
    let base = engine.database().await;
    begun(&base.journal().await).await;
    let journal = proxied(&base).await;
    let macs: [Mac; 4] = [1, 2, 3, 9].map(|n| Mac([0x52, 0x54, 0, 0, n, n]));
    let b1 = journal.snapshot().load().by_name("b1").unwrap().macs[0];
    let b2 = journal.snapshot().load().by_name("b2").unwrap().macs[0];
    let at = |ip: Option<[u8; 4]>, port: Option<&str>| Whereabouts {
        ip: ip.map(Ipv4Addr::from),
        relay: port.map(|_| Ipv4Addr::new(10, 12, 0, 254)),
        port: port.map(str::to_owned),
    };
    let same = async || {
        journal.settle().await.unwrap();
        let (now, anew) =
            (journal.snapshot().load_full(), proxied(&base).await.snapshot().load_full());
        for mac in [b1, b2].iter().chain(&macs) {
            assert_eq!(now.whereabouts(*mac), anew.whereabouts(*mac), "{mac}");
        }
        for last in 0..=9 {
            let ip = Ipv4Addr::new(10, 12, 7, last);
            let name = |found: Option<&firstlight::inventory::Blade>| found.map(|b| b.name.clone());
            assert_eq!(name(now.by_ip(ip)), name(anew.by_ip(ip)), "{ip}");
        }
        now
    };

    journal.located(b1, at(Some([10, 12, 7, 1]), Some("sw1 · 7")));
    journal.located(b2, at(None, Some("sw1 · 8")));
    journal.located(macs[3], at(Some([10, 12, 7, 9]), None));
    let now = same().await;
    assert_eq!(now.by_ip([10, 12, 7, 1].into()).unwrap().name, name("b1"));
    assert_eq!(now.switch_port(now.by_name("b2").unwrap()), Some("sw1 · 8"));
    assert!(now.by_ip([10, 12, 7, 9].into()).is_none(), "no blade's card");

    // The same address, by another blade; then by somebody who is none.
    journal.located(b2, at(Some([10, 12, 7, 1]), Some("sw1 · 8")));
    let now = same().await;
    assert_eq!(now.by_ip([10, 12, 7, 1].into()).unwrap().name, name("b2"));
    assert_eq!(now.whereabouts(b1).unwrap().ip, None);
    journal.lost([10, 12, 7, 1].into(), macs[0]);
    journal.located(b1, at(Some([10, 12, 7, 2]), None));
    let now = same().await;
    assert!(now.by_ip([10, 12, 7, 1].into()).is_none());
    assert_eq!(now.by_ip([10, 12, 7, 2].into()).unwrap().name, name("b1"));

    // A change of the inventory's state reads all of it anew.
    journal.hold(name("b1"), "disk swap".into()).await.unwrap();
    assert_eq!(same().await.by_ip([10, 12, 7, 2].into()).unwrap().name, name("b1"));
}
