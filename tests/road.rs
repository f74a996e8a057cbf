//! The road of a blade, from dark to ready, on emulated blades with real firmware, kernels,
//! disks and a real etcd. Needs root, and the boot image of `make images`.

use std::time::Duration;

use firstlight::bmc::{lab, power::PowerOp};
use serde_json::{Value, json};

mod discovery;
pub mod site;
pub mod small;

use site::Site;

/// Enough for the slowest machine that anybody would wait for; conditions end the waiting.
const LONG: Duration = Duration::from_secs(900);

fn small_cluster(site: &Site) -> String {
    site.cluster("demo", "small-cluster", r#"small-cluster = ["r1-c1-b[01-03]"]"#)
}

/// Phases that the installer reports with a beginning and an end.
const REPORTED: [&str; 7] =
    ["live", "clock", "preflight", "partition", "write", "verify", "configure"];

/// Kills the daemon at ten moments that differ from run to run; returns the journal as it was
/// shown before the last.
async fn killed_ten_times(site: &mut Site) -> Vec<Value> {
    let mut seed = u64::from(std::process::id()) | 1;
    let mut acknowledged: Vec<Value> = Vec::new();
    for kill in 1..=10 {
        // xorshift
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let enough = acknowledged.len() + 2 + usize::try_from(seed % 24).unwrap();
        let grown = move |site: Site| async move { site.events().await.len() >= enough };
        site.until(LONG, "the journal grows", grown).await;
        acknowledged = site.events().await;
        eprintln!("kill {kill} at journal line {}", acknowledged.len());
        site.kill_and_restart().await;
    }
    acknowledged
}

/// Every report the installer repeats until it is acknowledged is in the journal, once.
fn nothing_acknowledged_is_missing(journal: &[Value], blade: &str) {
    let ours: Vec<&Value> = journal.iter().filter(|event| event["blade"] == blade).collect();
    let finished = ours.iter().filter(|event| event["kind"] == "finish").count();
    assert_eq!(finished, 1, "{blade} is installed once");
    let told = |phase: &str, state: &str| {
        let one = |event: &&&Value| event["phase"] == phase && event["detail"]["state"] == state;
        ours.iter().filter(one).count()
    };
    for phase in REPORTED {
        assert_eq!(told(phase, "start"), 1, "{blade}: beginning of {phase}");
        assert_eq!(told(phase, "ok"), 1, "{blade}: end of {phase}");
    }
    let clock = ours.iter().find(|e| e["phase"] == "clock" && e["detail"]["state"] == "ok");
    let clock = clock.unwrap()["text"].as_str().unwrap();
    assert!(!clock.contains("off by 0 s"), "the clock was years behind: {clock}");
}

#[tokio::test]
async fn three_blades_become_a_cluster_though_the_daemon_is_killed_ten_times() {
    let mut site =
        Site::up("killed", &["--blades", "3", "--uefi", "1", "--rtc", "2015-01-01T00:00:00"]).await;
    let cluster = small_cluster(&site);
    site.apply(&[&cluster]).await;
    site.post("clusters/demo/deploy", json!({})).await;

    let acknowledged = killed_ten_times(&mut site).await;
    site.until_ready(&["r1-c1-b01", "r1-c1-b02", "r1-c1-b03"], LONG).await;

    let journal = site.events().await;
    assert_eq!(
        journal[..acknowledged.len()],
        acknowledged[..],
        "what was once shown is still there, unchanged"
    );
    for blade in ["r1-c1-b01", "r1-c1-b02", "r1-c1-b03"] {
        let attempts = site.get(&format!("attempts?blade={blade}")).await;
        let count = attempts.as_array().unwrap().len();
        assert_eq!(count, 1, "{blade}: no attempt is lost or doubled: {attempts}");
        nothing_acknowledged_is_missing(&journal, blade);
    }
    site.etcd_is_healthy_as_asked_on_a_blade("10.12.1.1", 3);
}

#[tokio::test]
async fn a_blade_powered_off_while_it_writes_is_named_and_reinstall_brings_it_home() {
    let quick = "give_up = 10\n[deadlines]\nwrite = 25\n";
    let site = Site::up_with("poweroff", &["--blades", "1"], quick).await;
    let cluster = site.cluster("dev", "simple", r#"simple = ["r1-c1-b01"]"#);
    site.apply(&[&cluster]).await;
    site.post("clusters/dev/deploy", json!({})).await;
    let writing = |site: Site| async move {
        let blade = site.blade("r1-c1-b01").await;
        blade["phase"] == "write" && blade["bytes_done"].as_i64() > Some(0)
    };
    site.until(LONG, "bytes are being written", writing).await;
    site.power("r1-c1-b01", "off").await;
    site.until(LONG, "it is stalled", |site| async move {
        site.blade("r1-c1-b01").await["class"] == "stalled"
    })
    .await;
    site.until(LONG, "it is failed", |site| async move {
        site.blade("r1-c1-b01").await["class"] == "failed"
    })
    .await;
    let blade = site.blade("r1-c1-b01").await;
    let reason = blade["reason"].as_str().unwrap();
    assert!(reason.contains("E_TIMEOUT") && reason.contains("write"), "{reason}");

    // Powered on by somebody, it is told to wait: no second installation begins by itself.
    site.power("r1-c1-b01", "on").await;
    site.until(LONG, "its console says why it waits", |site| async move {
        site.console("r1-c1-b01").contains("failed in write")
    })
    .await;
    assert_eq!(site.get("attempts?blade=r1-c1-b01").await.as_array().unwrap().len(), 1);

    site.post("blades/r1-c1-b01/reinstall", json!({})).await;
    site.until_ready(&["r1-c1-b01"], LONG).await;
    let attempts = site.get("attempts?blade=r1-c1-b01").await;
    assert_eq!(attempts.as_array().unwrap().len(), 2);

    // Home for good: however often it is started, it boots from its disk.
    site.power("r1-c1-b01", "cycle").await;
    let booted = |site: Site| async move {
        let events = site.events().await;
        let last = events.iter().rev().find(|event| event["kind"] == "dhcp");
        last.is_some_and(|event| {
            event["text"].as_str().unwrap_or_default().contains("boots from its disk")
        })
    };
    site.until(LONG, "it boots from its disk", booted).await;
    assert_eq!(site.get("attempts?blade=r1-c1-b01").await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_blade_without_a_role_installs_what_is_chosen_at_its_console_though_garbage_rains() {
    let menu =
        "[menu]\ndefault = \"simple\"\ntimeout = 3\n[menu.parameters]\nssh_keys = [\"KEY\"]\n";
    let site = Site::up_with("menu", &["--blades", "1", "--uefi", "1"], menu).await;
    site.apply(&[]).await;
    let before = site.memory_kib();
    site.power("r1-c1-b01", "on").await;
    site.until(LONG, "the menu is shown", |site| async move {
        site.console("r1-c1-b01").contains("Production cluster: worker")
    })
    .await;
    for round in 0..4 {
        site.throw_garbage(round);
    }
    site.until(LONG, "the choice is recorded", |site| async move {
        site.events()
            .await
            .iter()
            .any(|event| event["kind"] == "menu" && event["blade"] == "r1-c1-b01")
    })
    .await;
    site.until_ready(&["r1-c1-b01"], LONG).await;
    let grown = site.memory_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "the daemon grew by {grown} KiB");
    assert!(!site.log().contains("panicked"), "{}", site.log());
}

#[tokio::test]
async fn a_bios_blade_powered_by_hand_is_given_ipxe_by_tftp() {
    let site = Site::up("undi", &["--blades", "1", "--nic-rom", "r1-c1-b01=foreign"]).await;
    let rack = std::fs::read_to_string(site.lab.file("inventory.toml")).unwrap();
    let without_power: Vec<&str> = rack.lines().filter(|line| !line.starts_with("bmc")).collect();
    let cluster = site.cluster("dev", "simple", r#"simple = ["r1-c1-b01"]"#);
    let files = json!([["rack.toml", without_power.join("\n")], ["dev.toml", cluster]]);
    site.post("apply", json!({ "files": files })).await;
    site.post("clusters/dev/deploy", json!({})).await;
    let told = |site: Site, kind: &'static str, words: &'static str| async move {
        let events = site.events().await;
        let text = |event: &Value| event["text"].as_str().unwrap_or_default().contains(words);
        events.iter().any(|event| event["kind"] == kind && text(event))
    };
    let asked = move |site| told(site, "power", "press its power button");
    site.until(LONG, "a person is asked to press the button", asked).await;

    lab::power(&site.lab.file("power.sock"), "r1-c1-b01", PowerOp::On).await.unwrap();
    let live = move |site| told(site, "report", "live done");
    site.until(LONG, "the live system reports", live).await;
    assert!(told(site.clone(), "tftp", "undionly.kpxe sent").await, "loaded by TFTP, whole");
    assert!(told(site.clone(), "http", "boot script: install").await, "then given its script");
}
