//! `cloud-configs/install.sh` under every shell it meets, against a server that stumbles and a
//! file in place of a disk.

mod bench;

use std::{fs, path::Path};

use bench::{Bench, Faults, Shell};
use rstest::rstest;
use serde_json::Value;

const PHASES: [&str; 8] =
    ["live", "clock", "preflight", "partition", "write", "verify", "configure", "boot-order"];

#[rstest]
#[case::dash(Shell::Dash)]
#[case::bash(Shell::Bash)]
#[case::busybox(Shell::Busybox)]
#[tokio::test]
async fn installs_through_a_server_that_stumbles(#[case] shell: Shell) {
    let faults = Faults { unavailable: 2..6, break_off: true, ..Faults::default() };
    let bench = Bench::start(faults).await;
    let run = bench.install(shell, &[]).await;
    assert_eq!(run.code, 0, "{}", run.output);

    let events = bench.events();
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(seqs.is_sorted() && seqs[0] == 1, "{seqs:?}");
    assert_eq!(phases(&events), PHASES);
    for phase in PHASES {
        let states: Vec<&str> =
            of_phase(&events, phase).map(|event| text(event, "state")).collect();
        assert_eq!(states.first(), Some(&"start"), "{phase}");
        assert!(matches!(states.last(), Some(&"ok" | &"skip")), "{phase}: {states:?}");
    }
    let bytes: Vec<u64> =
        of_phase(&events, "write").filter_map(|event| event["bytes_done"].as_u64()).collect();
    assert!(bytes.is_sorted(), "{bytes:?}");
    assert_eq!(bytes.last(), Some(&bench.image_size()));
    assert_eq!(bench.finished(), 1);

    // Tables at both ends of the disk are made anew; what lies between is the image.
    let target = fs::read(bench.target()).unwrap();
    let inner = bench::MIB..bench.unpacked().len() - bench::MIB;
    assert!(target[inner.clone()] == bench.unpacked()[inner], "the disk differs from the image");
    let seed = bench.mounted().join("var/lib/cloud/seed/nocloud");
    assert_eq!(fs::read_to_string(seed.join("user-data")).unwrap(), "config.yml of b1\n");
    assert_eq!(fs::read_to_string(seed.join("meta-data")).unwrap(), "meta-data of b1\n");
    assert_eq!(fs::read_to_string(seed.join("network-config")).unwrap(), "network-config of b1\n");
    bench.assert_no_token(&run);
}

/// A daemon that is restarted in that moment refuses a connection, or hangs up.
#[rstest]
#[case::curl(Shell::Dash)]
#[case::busybox(Shell::Busybox)]
#[tokio::test]
async fn the_clock_is_asked_for_until_the_server_is_there(#[case] shell: Shell) {
    let bench = Bench::start(Faults::default()).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for _ in 0..2 {
            drop(listener.accept().await.unwrap());
        }
        let dated = axum::Router::new().fallback(async || {
            let then = [(axum::http::header::DATE, "Sun, 06 Nov 1994 08:49:37 GMT")];
            (axum::http::StatusCode::NOT_FOUND, then)
        });
        axum::serve(listener, dated).await
    });
    let run = bench.install(shell, &[("FL_TIME_URL", url)]).await;
    assert_eq!(run.code, 0, "{}", run.output);
    let events = bench.events();
    let told = of_phase(&events, "clock").last().unwrap();
    assert_eq!(text(told, "state"), "ok", "{told}");
    let offset = text(told, "msg").strip_prefix("clock was off by -").map(str::to_owned);
    assert!(offset.is_some_and(|seconds| seconds.len() > "99999999 s".len()), "{told}");
}

#[rstest]
#[case::dash(Shell::Dash)]
#[case::busybox(Shell::Busybox)]
#[tokio::test]
async fn a_flipped_byte_is_a_checksum_error_and_the_disk_cannot_boot(#[case] shell: Shell) {
    let bench = Bench::start(Faults { flip: Some(5_000_000), ..Faults::default() }).await;
    let run = bench.install(shell, &[]).await;
    assert_eq!(run.code, 1, "{}", run.output);
    let last = bench.events().pop().unwrap();
    assert_eq!((text(&last, "phase"), text(&last, "state")), ("verify", "fail"));
    assert_eq!(text(&last, "code"), "E_CHECKSUM");
    assert!(text(&last, "log_tail").contains("== write"), "{last}");
    assert_eq!(bench.finished(), 0);
    assert!(first_mib(&bench.target()).iter().all(|byte| *byte == 0));
    bench.assert_no_token(&run);
}

#[rstest]
#[case::dash(Shell::Dash)]
#[case::busybox(Shell::Busybox)]
#[tokio::test]
async fn two_disks_that_fit_are_both_named_and_nothing_is_written(#[case] shell: Shell) {
    let bench = Bench::start(Faults::default()).await;
    bench.disk("sda", 64, &[("device/model", "Evil \"disk\" \\ \u{1}\tend"), ("serial", "S-A")]);
    bench.disk("sdb", 64, &[("device/model", "ACME 1"), ("serial", "S-B")]);
    let run = bench.install(shell, &bench.real_disks("")).await;
    assert_eq!(run.code, 1, "{}", run.output);
    let events = bench.events();
    assert_eq!(phases(&events), PHASES[..3]);
    let last = events.last().unwrap();
    assert_eq!(text(last, "code"), "E_DISK_MANY");
    let message = text(last, "msg");
    assert!(message.contains("Evil \"disk\" \\ ?\tend, serial S-A"), "{message:?}");
    assert!(message.contains("sdb (67 MB, ACME 1, serial S-B)"), "{message:?}");
    assert!(fs::read(bench.device("sda")).unwrap().iter().all(|byte| *byte == 0));
    let disks = events[1]["hello"]["disks"].as_array().unwrap();
    assert_eq!(disks.len(), 2);
    assert_eq!(disks[1]["size"], 64 * 1_048_576);
}

#[rstest]
#[case("smallest=true", Ok("sdb"))]
#[case("largest=true", Err("E_DISK_MANY"))]
#[case("largest=true serial=L2", Ok("sdd"))]
#[case("serial=S-A", Ok("sda"))]
#[case("wwn=0x5000c500a1", Ok("sda"))]
#[case("by_id=virtio-S-B", Ok("sdb"))]
#[case("by_id=/dev/disk/by-id/nvme-Fast_One_77_N1", Ok("nvme0n1"))]
#[case("model=Fast One 77 min_size=1000", Ok("nvme0n1"))]
#[case("rotational=1 max_size=40000000", Ok("sda"))]
#[case("rotational=1\nmin_size=90000000\nserial=L1", Ok("sdc"))]
#[case("path=/dev/sdd", Ok("sdd"))]
#[case("serial=stick", Err("E_DISK_NONE"))]
#[case("min_size=9000000000000", Err("E_DISK_NONE"))]
#[case("min_size=10G", Err("E_DISK_RULE"))]
#[case("colour=red", Err("E_DISK_RULE"))]
#[case("", Err("E_DISK_MANY"))]
#[tokio::test]
async fn a_disk_rule_finds_one_disk_or_says_why(
    #[case] rule: &str,
    #[case] found: Result<&str, &str>,
) {
    let bench = Bench::start(Faults::default()).await;
    bench.disk(
        "sda",
        32,
        &[("serial", "S-A"), ("device/wwid", "naa.5000c500a1"), ("queue/rotational", "1")],
    );
    bench.disk("sdb", 16, &[("serial", "S-B")]);
    bench.disk("sdc", 96, &[("serial", "L1"), ("queue/rotational", "1")]);
    bench.disk("sdd", 96, &[("serial", "L2"), ("queue/rotational", "1")]);
    bench.disk("nvme0n1", 48, &[("device/model", "Fast One 77   "), ("device/serial", "N1")]);
    bench.disk("sde", 8, &[("serial", "stick"), ("removable", "1")]);
    bench.disk("loop0", 4, &[]);
    bench.disk("sr0", 4, &[]);
    // No image fits a blade's disk of this size: the choice is told and nothing is written.
    let huge = ("FL_IMAGE_UNPACKED_SIZE", "99999999999".to_owned());
    let run = bench.install(Shell::Busybox, &[bench.real_disks(rule), vec![huge]].concat()).await;
    assert_eq!(run.code, 1);
    let last = bench.events().pop().unwrap();
    match found {
        Err(code) => assert_eq!(text(&last, "code"), code, "{last}"),
        Ok(name) => {
            assert_eq!(text(&last, "code"), "E_DISK_SMALL", "{last}");
            assert!(text(&last, "msg").starts_with(&format!("{name} (")), "{last}");
        }
    }
}

#[tokio::test]
async fn a_usb_stick_is_no_disk_to_install_on_even_if_it_does_not_call_itself_removable() {
    let bench = Bench::start(Faults::default()).await;
    bench.usb_disk("sda", 64);
    let run = bench.install(Shell::Dash, &bench.real_disks("smallest=true")).await;
    assert_eq!(run.code, 1, "{}", run.output);
    let last = bench.events().pop().unwrap();
    assert_eq!(text(&last, "code"), "E_DISK_NONE");
    assert!(text(&last, "msg").contains("sda (67 MB) removable"), "{last}");
}

#[tokio::test]
async fn data_on_the_disk_is_kept_unless_wiping_is_confirmed() {
    let bench = Bench::start(Faults::default()).await;
    let mut old = fs::read(bench.target()).unwrap();
    old[512] = b'E';
    fs::write(bench.target(), &old).unwrap();
    let run = bench.install(Shell::Dash, &[("FL_WIPE", "refuse".to_owned())]).await;
    assert_eq!(run.code, 1, "{}", run.output);
    assert_eq!(text(bench.events().last().unwrap(), "code"), "E_DISK_DATA");
    assert!(fs::read(bench.target()).unwrap() == old, "the disk was touched");
}

#[rstest]
#[case("partition", 409)]
#[case("write", 410)]
#[tokio::test]
async fn an_attempt_that_is_over_touches_nothing_more(
    #[case] phase: &'static str,
    #[case] status: u16,
) {
    let bench = Bench::start(Faults { over: Some((phase, status)), ..Faults::default() }).await;
    let run = bench.install(Shell::Busybox, &[]).await;
    assert_eq!(run.code, 3, "{}", run.output);
    assert!(run.output.contains("is over"), "{}", run.output);
    assert!(first_mib(&bench.target()).iter().all(|byte| *byte == 0));
    assert_eq!(bench.finished(), 0);
    assert_eq!(text(bench.events().last().unwrap(), "phase"), phase);
}

#[tokio::test]
async fn the_seed_lies_on_the_real_file_system_which_fills_the_disk() {
    let bench = Bench::start(Faults::default()).await;
    if !bench::can_mount() {
        eprintln!("not root, or no loop device: the file system is not mounted here");
        return;
    }
    let run = bench.install(Shell::Busybox, &[("FL_MOUNT", String::new())]).await;
    assert_eq!(run.code, 0, "{}", run.output);
    assert!(run.output.contains("root fills the disk"), "{}", run.output);
    let seen = bench.read_inside("/var/lib/cloud/seed/nocloud/user-data");
    assert_eq!(seen, "config.yml of b1\n");
}

#[tokio::test]
async fn the_first_stage_waits_for_the_installer_and_becomes_it() {
    let bench = Bench::start(Faults { unavailable: 0..2, ..Faults::default() }).await;
    for shell in [Shell::Dash, Shell::Busybox] {
        let run = bench.setup(shell).await;
        assert_eq!(run.code, 0, "{}", run.output);
        assert!(run.output.ends_with("the installer runs\n"), "{}", run.output);
        bench.assert_no_token(&run);
    }
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [
        "cloud-configs/install.sh",
        "cloud-configs/setup.sh",
        "cloud-configs/inventory.sh",
        "boot-assets/build-images.sh",
        "boot-assets/disk/customize.sh",
        "boot-assets/live/init",
        "boot-assets/live/cloud-config",
        "boot-assets/live/udhcpc.script",
    ];
    let answer = std::process::Command::new("shellcheck")
        .args(["--shell=sh", "--severity=style", "--external-sources"])
        .args(files)
        .current_dir(root)
        .output()
        .expect("shellcheck is there (Debian: shellcheck)");
    assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stdout));
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event[key].as_str().unwrap_or_else(|| panic!("no {key} in {event}"))
}

fn of_phase<'a>(events: &'a [Value], phase: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["phase"] == phase)
}

/// The phases in the order they were told, each once.
fn phases(events: &[Value]) -> Vec<&str> {
    let mut phases: Vec<&str> = events.iter().map(|event| text(event, "phase")).collect();
    phases.dedup();
    phases
}

fn first_mib(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    bytes.truncate(bench::MIB);
    bytes
}
