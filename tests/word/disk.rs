//! A full disk under `data_dir`.

use std::{
    fs::File,
    io::Write,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    boot_http::{B01, B02, Bench, Pass, SCRIPT},
    dhcp_wire::{dora, pxe, read},
    road::site::Site,
};

/// A file that takes all the room there is.
fn fill(bench: &Bench) -> PathBuf {
    let ballast = bench.lab.file("data/ballast");
    let mut file = File::create(&ballast).unwrap();
    while file.write_all(&[7; 4096]).is_ok() {}
    ballast
}

/// Reports from number `first` until one is not taken; the number of the last that was.
fn reports_until_refused(bench: &Bench, pass: &Pass, first: i64) -> i64 {
    for seq in first..190 {
        let mut report = pass.report(seq, "write", "progress");
        report["log_tail"] = json!(format!("{seq} ").repeat(3000));
        match pass.says(bench, &report) {
            200 => {}
            status => {
                assert_eq!(status, 503);
                return seq - 1;
            }
        }
    }
    panic!("190 reports were taken on a full disk");
}

async fn readiness(site: Site, wanted: u16) -> bool {
    site.page("/readyz").await.0 == wanted
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_is_told_everywhere_and_heals_by_itself() {
    let mut bench = Bench::on(Site::small("full", "", Some(24)).await);
    bench.deploy().await;
    let (pass, other) = (bench.pass(B01), bench.pass(B02));
    let ballast = fill(&bench);
    let taken = reports_until_refused(&bench, &pass, 1);

    bench.until(super::PATIENCE, "it is not ready", |site| readiness(site, 503)).await;
    bench.is_told("error", "the journal cannot write", "the journal cannot write").await;
    bench.is_told("error", "make room now", "").await;
    assert_eq!(pass.finishes(&bench).status, 503, "installed is not acknowledged");
    assert_eq!(other.says(&bench, &other.report(1, "live", "ok")), 503);
    let script = bench.cable.get(B02, "/boot/52-54-00-00-01-02.ipxe").text();
    assert!(script.contains("token="), "what stands is still served: {script}");
    let mac = [0x52, 0x54, 0, 0, 1, 3];
    let (_, ack) = dora(&bench.cable.port(), mac, &pxe(dhcproto::v4::Architecture::X86_Bios));
    assert_eq!(read(&ack).yiaddr().to_string(), "10.12.1.3", "a reserved blade gets its address");

    // A daemon that dies now comes back, and still promises nothing.
    bench.site.kill_and_restart().await;
    assert_eq!(pass.finishes(&bench).status, 503);
    bench.until(super::PATIENCE, "it is not ready", |site| readiness(site, 503)).await;

    std::fs::remove_file(&ballast).unwrap();
    bench.until(super::PATIENCE, "it is ready again", |site| readiness(site, 200)).await;
    assert!(bench.log().contains("the journal can write again"), "{}", bench.log());
    let retried = pass.report(taken + 1, "write", "progress");
    assert_eq!(pass.says(&bench, &retried), 200);
    assert_eq!(other.says(&bench, &other.report(1, "live", "ok")), 200);
    assert_eq!(pass.finishes(&bench).status, 200);

    bench.site.kill_and_restart().await;
    let events = bench.events().await;
    for seq in 1..=taken + 1 {
        let lines = events.iter().filter(|event| {
            event["attempt"] == pass.attempt.as_str() && event["detail"]["seq"] == seq
        });
        assert_eq!(lines.count(), 1, "report {seq} was acknowledged");
    }
    assert!(bench.cable.get(B01, SCRIPT).text().contains("sanboot"));
}

/// Installers go on asking for as long as it lasts; nobody was silent.
#[tokio::test]
async fn a_disk_that_is_full_for_longer_than_any_deadline_fails_no_blade() {
    let quick = "give_up = 2\n[deadlines]\nwrite = 25\n";
    let bench = Bench::on(Site::small("fulllong", quick, Some(24)).await);
    bench.deploy().await;
    let (pass, silent) = (bench.pass(B01), bench.pass(B02));
    assert_eq!(pass.says(&bench, &pass.report(1, "write", "start")), 200);
    assert_eq!(silent.says(&bench, &silent.report(1, "write", "start")), 200);
    let ballast = fill(&bench);
    let taken = reports_until_refused(&bench, &pass, 2);
    let begin = Instant::now();
    let lasted = |_| async move { begin.elapsed() > Duration::from_secs(30) };
    bench.until(super::PATIENCE, "it lasts longer than both deadlines", lasted).await;

    // A blade that asks all the time may find before the daemon that there is room again.
    let retried = pass.report(taken + 1, "write", "progress");
    assert_eq!(pass.says(&bench, &retried), 503);
    std::fs::remove_file(&ballast).unwrap();
    while pass.says(&bench, &retried) != 200 {}
    bench.until(super::PATIENCE, "it is ready again", |site| readiness(site, 200)).await;
    let looked = Instant::now();
    let thrice = |_| async move { looked.elapsed() > Duration::from_secs(3) };
    bench.until(super::PATIENCE, "deadlines were looked at", thrice).await;
    assert_eq!(silent.says(&bench, &silent.report(2, "write", "progress")), 200);
    let events = bench.events().await;
    let lost = |event: &&serde_json::Value| {
        let ours = [&pass, &silent].iter().any(|pass| event["attempt"] == pass.attempt.as_str());
        ours && event["kind"] == "attempt" && !event["text"].as_str().unwrap().contains("begins")
    };
    assert_eq!(events.iter().find(lost), None, "stalled or failed");
}
