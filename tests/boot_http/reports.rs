//! What blades say (CASES.md C34, CLOUD-CONFIG.md §4): each report once, nothing acknowledged
//! before it is durable, `installed` for ever.

use std::fs;

use firstlight::db::{self, Db};
use serde_json::json;

use super::{B01, B02, Bench, SCRIPT};

#[tokio::test]
async fn a_report_told_twice_is_one_line_and_both_are_200() {
    let bench = Bench::deployed("twice").await;
    let pass = bench.pass(B01);
    let report = pass.report(1, "live", "ok");
    assert_eq!([1, 2].map(|_| pass.says(&bench, &report)), [200, 200]);
    let mut other = pass.report(1, "write", "fail");
    other["msg"] = json!("the same number");
    assert_eq!(pass.says(&bench, &other), 200, "the number counts, not the words");
    assert_eq!(bench.lines("report", "").await, 1);
    assert_eq!(bench.blade("r1-c1-b01").await["phase"], "live");
}

#[tokio::test]
async fn reports_of_an_older_attempt_are_409_and_change_nothing() {
    let bench = Bench::deployed("older").await;
    let old = bench.pass(B01);
    assert_eq!(old.says(&bench, &old.report(1, "live", "ok")), 200);
    bench.post("blades/r1-c1-b01/reinstall", json!({})).await;
    let new = bench.pass(B01);
    assert_ne!(old.attempt, new.attempt);
    for report in [old.report(1, "live", "ok"), old.report(2, "write", "ok")] {
        assert_eq!(old.says(&bench, &report), 409);
    }
    assert_eq!(old.finishes(&bench).status, 409);
    assert_ne!(bench.blade("r1-c1-b01").await["phase"], "installed");
    assert_eq!(new.says(&bench, &new.report(1, "live", "ok")), 200, "numbers begin anew");
}

#[tokio::test]
async fn what_is_no_report_is_400_and_too_much_413() {
    let bench = Bench::deployed("bad").await;
    let pass = bench.pass(B01);
    for phase in ["lunch", "off", "installed", "ready", "joining", "dhcp", "", "LIVE"] {
        assert_eq!(pass.says(&bench, &pass.report(1, phase, "ok")), 400, "{phase}");
    }
    for seq in [0, -1, i64::MIN] {
        assert_eq!(pass.says(&bench, &pass.report(seq, "live", "ok")), 400, "{seq}");
    }
    assert_eq!(pass.says(&bench, &pass.report(1, "live", "fine")), 400);
    let mut other = pass.report(1, "live", "ok");
    other["attempt"] = json!(bench.pass(B02).attempt);
    assert_eq!(pass.says(&bench, &other), 400);
    for body in ["", "{", "null", "[1]", "\u{0}", &"[".repeat(20_000)] {
        let reply = bench.cable.post(B01, &pass.events(), &pass.token, body);
        assert_eq!(reply.status, 400, "{body:.20}");
    }
    let mut large = pass.report(1, "live", "ok");
    large["log_tail"] = json!("x".repeat(40 * 1024));
    assert_eq!(pass.says(&bench, &large), 413);
    assert_eq!(bench.lines("report", "").await, 0);
    large["log_tail"] = json!("\u{0}\u{1b}[31m<script>".repeat(800));
    assert_eq!(pass.says(&bench, &large), 200, "strange is not wrong");
    let mut huge = pass.report(2, "write", "progress");
    huge["bytes_done"] = json!(u64::MAX);
    huge["bytes_total"] = json!(1);
    huge["mono_ms"] = json!(i64::MIN);
    assert_eq!(pass.says(&bench, &huge), 200);
    assert!(bench.blade("r1-c1-b01").await["percent"].as_u64().unwrap() < 65);
}

#[tokio::test]
async fn a_flood_of_reports_is_429_and_other_blades_are_heard() {
    let bench = Bench::deployed("flood").await;
    let (loud, quiet) = (bench.pass(B01), bench.pass(B02));
    let body = loud.report(1, "live", "ok").to_string();
    // One connection is served in turn, and slow where the disk is busy: several are a flood.
    let mut lines: Vec<_> = (0..8).map(|_| bench.cable.connect(B01)).collect();
    let request = format!(
        "POST {} HTTP/1.1\r\nHost: 10.12.0.1\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
        loud.events(),
        loud.token,
        body.len()
    );
    let mut refused = None;
    for _ in 0..100_000 {
        for line in &mut lines {
            line.send(request.repeat(20).as_bytes());
        }
        let answers = lines.iter_mut().flat_map(|line| (0..20).map(|_| line.reply_to("POST")));
        let replies: Vec<_> = answers.map(Option::unwrap).collect();
        refused = replies.into_iter().find(|reply| reply.status == 429);
        if refused.is_some() {
            break;
        }
    }
    assert_eq!(refused.unwrap().header("retry-after"), Some("1"));
    assert_eq!(quiet.says(&bench, &quiet.report(1, "live", "ok")), 200);
}

#[tokio::test]
async fn installed_is_on_disk_when_the_200_arrives_and_stays_through_a_kill() {
    let mut bench = Bench::deployed("durable").await;
    let pass = bench.pass(B01);
    // Before any report: an installer that lost all of them still comes home.
    assert_eq!(pass.finishes(&bench).status, 200);
    // What the disk holds at this moment, read as by a daemon after a power loss.
    let copy = tempfile::tempdir().unwrap();
    for file in ["firstlight.sqlite", "firstlight.sqlite-wal"] {
        fs::copy(bench.lab.file("data").join(file), copy.path().join(file)).unwrap();
    }
    let db = Db::open("sqlite", copy.path()).await.unwrap();
    let rows = db::latest_attempts(&mut db.read().await.unwrap()).await.unwrap();
    let row = rows.iter().find(|row| row.blade.as_str() == "r1-c1-b01").unwrap();
    assert_eq!(row.standing.phase.as_str(), "installed");
    db.close().await;

    bench.site.kill_and_restart().await;
    assert_eq!(pass.finishes(&bench).status, 200, "the blade did not hear the first 200");
    assert_eq!(bench.lines("finish", "installed").await, 1, "one transition");
    let script = bench.cable.get(B01, SCRIPT).text();
    assert!(script.contains("sanboot") && !script.contains("token="), "{script}");
    assert_eq!(bench.attempts("r1-c1-b01").await.len(), 1);
}

#[tokio::test]
async fn a_blade_restarted_while_it_installs_is_tried_three_times_then_held() {
    let bench = Bench::deployed("restarts").await;
    let mut tokens = Vec::new();
    for number in 1..=3 {
        let pass = bench.pass(B01);
        assert_eq!(bench.pass(B01).token, pass.token, "asking twice is no restart");
        assert!(!tokens.contains(&pass.token), "each attempt has its own token");
        assert_eq!(pass.says(&bench, &pass.report(1, "write", "start")), 200);
        assert_eq!(bench.cable.head(B01, SCRIPT).status, 200, "HEAD changes nothing");
        assert_eq!(bench.attempts("r1-c1-b01").await.len(), number);
        tokens.push(pass.token);
    }
    let script = bench.cable.get(B01, SCRIPT).text();
    assert!(script.contains("restarted in write") && !script.contains("token="), "{script}");
    assert_eq!(bench.attempts("r1-c1-b01").await.len(), 3);
    assert_eq!(bench.blade("r1-c1-b01").await["class"], "failed");
    for _ in 0..20 {
        bench.cable.get(B01, SCRIPT);
    }
    assert_eq!(bench.lines("http", "boot script: wait").await, 1, "it may wait for days");
}

#[tokio::test]
async fn bytes_never_decrease_and_a_finished_blade_goes_on_to_up() {
    let bench = Bench::deployed("bytes").await;
    let pass = bench.pass(B01);
    for (seq, done) in [(1, 500), (2, 200), (3, 900)] {
        let mut report = pass.report(seq, "write", "progress");
        report["bytes_done"] = json!(done);
        report["bytes_total"] = json!(1000);
        assert_eq!(pass.says(&bench, &report), 200);
        let shown = bench.blade("r1-c1-b01").await["bytes_done"].as_i64().unwrap();
        assert_eq!(shown, done.max(500));
    }
    assert_eq!(pass.says(&bench, &pass.report(4, "up", "ok")), 200);
    assert_eq!(bench.blade("r1-c1-b01").await["phase"], "write", "only the callback installs");
    assert_eq!(pass.finishes(&bench).status, 200);
    assert_eq!(pass.says(&bench, &pass.report(5, "up", "ok")), 200);
    assert_eq!(bench.blade("r1-c1-b01").await["phase"], "up");
}
