//! A clock that was wrong.

use std::time::{SystemTime, UNIX_EPOCH};

use dhcproto::v4::MessageType;
use firstlight::db::{self, Db};
use serde_json::Value;

use crate::{
    boot_http::Bench,
    dhcp_wire::{dora, for_me, kind, message, read},
};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const ONE: [u8; 6] = [2, 0, 0, 9, 0, 1];
const TWO: [u8; 6] = [2, 0, 0, 9, 0, 2];
const THREE: [u8; 6] = [2, 0, 0, 9, 0, 3];

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// A machine asks for an address; which one it is acknowledged.
fn given(bench: &Bench, mac: [u8; 6]) -> String {
    let (_, ack) = dora(&bench.cable.port(), mac, &[]);
    assert_eq!(kind(&read(&ack)), MessageType::Ack);
    read(&ack).yiaddr().to_string()
}

/// End of each lease by its address.
async fn ends(bench: &Bench) -> Vec<(String, i64)> {
    let leases = bench.get("leases").await;
    let end = |lease: &Value| {
        (lease["ip"].as_str().unwrap().to_owned(), lease["until"].as_i64().unwrap())
    };
    leases.as_array().unwrap().iter().map(end).collect()
}

/// What a daemon would have written whose clock was an hour ahead; and in the year 2070, of one.
async fn written_by_a_wrong_clock(bench: &Bench, far: &str) {
    let db = Db::open("sqlite", &bench.lab.file("data")).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    db::shift_leases(&mut tx, HOUR).await.unwrap();
    let lease = db::leases(&mut tx).await.unwrap();
    let lease = lease.into_iter().find(|lease| lease.ip.to_string() == far).unwrap();
    let until = lease.until + 16_000 * DAY;
    db::put_lease(&mut tx, &firstlight::inventory::Lease { until, ..lease }).await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
}

#[tokio::test]
async fn leases_of_a_clock_that_was_ahead_are_all_kept_and_none_for_ever() {
    let mut bench = Bench::up("clock").await;
    bench.apply(&[]).await;
    let (one, two) = (given(&bench, ONE), given(&bench, TWO));
    let before = ends(&bench).await;
    written_by_a_wrong_clock(&bench, &two).await;

    bench.site.kill_and_restart().await;
    let after = ends(&bench).await;
    assert_eq!(
        after[0],
        (one.clone(), before[0].1 + HOUR),
        "an hour longer frees nobody's address"
    );
    assert_eq!(after[1].0, two);
    assert!(after[1].1 <= now() + 30 * DAY, "cut to the longest that is believed: {after:?}");
    assert!(bench.log().contains("1 leases were written by a wrong clock"), "{}", bench.log());
    bench.site.kill_and_restart().await;
    assert_eq!(ends(&bench).await, after, "a restart lengthens none");

    let third = given(&bench, THREE);
    assert!(third != one && third != two, "{third} is somebody else's");
    assert_eq!((given(&bench, ONE), given(&bench, TWO)), (one.clone(), two));
    let renewed = ends(&bench).await.into_iter().find(|(ip, _)| *ip == one).unwrap();
    assert!(renewed.1 <= now() + HOUR, "and from then on it ends by the right clock");

    // INIT-REBOOT with somebody else's address is told so (RFC 2131 §4.3.2).
    let wants = [dhcproto::v4::DhcpOption::RequestedIpAddress(one.parse().unwrap())];
    let port = bench.cable.port();
    port.broadcast(THREE, &message(THREE, MessageType::Request, &wants));
    assert_eq!(kind(&read(&port.receive(for_me(THREE)).expect("a NAK"))), MessageType::Nak);
}
