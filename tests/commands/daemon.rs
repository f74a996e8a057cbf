//! Commands against a real daemon in a network namespace of its own. Needs root.

use std::{fs, os::unix::fs::PermissionsExt, process::Stdio, time::Instant};

use super::told;

mod site;
use site::{INVENTORY, PATIENCE, Site};

#[test]
fn an_inventory_is_shown_before_it_is_written_and_its_export_changes_nothing() {
    let site = Site::start();
    let (code, shown, err) = site.apply(INVENTORY, &["--dry-run"]);
    assert_eq!(code, 0, "{err}");
    assert!(shown.starts_with("+ rack r1\n+ blade b1\n+ blade b2\n+ cluster one\n"), "{shown}");
    assert!(shown.contains("nothing was written"), "{shown}");
    assert_eq!(site.done(&["export"]), "", "a dry run writes nothing");

    let (code, shown, _) = site.apply(INVENTORY, &[]);
    assert!(code == 0 && shown.ends_with("4 added, 0 changed, 0 removed; written\n"), "{shown}");
    let exported = site.done(&["export"]);
    assert_eq!(
        site.apply(&exported, &["--prune"]),
        (0, "nothing changes\n".to_owned(), String::new())
    );

    let changed = INVENTORY.replace("01:02", "01:0f");
    let (_, shown, _) = site.apply(&changed, &[]);
    assert!(shown.contains("~ blade b2\n    macs: "), "{shown}");

    let bad = INVENTORY.replace("slot = 2", "slot = 5").replace("\"r1\"\n", "\"r2\"\n");
    let (code, out, err) = site.apply(&bad, &[]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("standard input"), "{err}");
    assert!(!site.done(&["export"]).contains("r2"), "all or nothing");

    let (_, shown, _) = site.apply("[[rack]]\nname = \"r9\"\n", &["--prune", "--dry-run"]);
    assert!(shown.contains("- blade b1") && shown.contains("- cluster one"), "{shown}");
}

#[test]
fn what_is_there_can_be_listed_and_described_for_people_and_scripts() {
    let site = Site::start();
    site.applied();
    let blades = site.json(&["get", "blades"]);
    assert_eq!(blades[1]["name"], "b2");
    let table = site.done(&["get", "blades"]);
    assert!(
        table.starts_with("BLADE  SLOT     MAC                IP         CLUSTER  ROLE"),
        "{table}"
    );
    assert!(
        table.contains("b1     r1/c1/1  52:54:00:00:01:01  10.12.1.1  one      simple"),
        "{table}"
    );
    let toml: toml::Table = site.done(&["get", "clusters", "-o", "toml"]).parse().unwrap();
    assert_eq!(toml["clusters"][0]["name"].as_str(), Some("one"));
    for kind in ["racks", "topologies", "images", "leases", "events", "attempts"] {
        assert!(site.json(&["get", kind]).is_array(), "{kind}");
        assert!(!site.done(&["get", kind]).is_empty(), "{kind}");
    }
    let blade = site.done(&["describe", "blade", "b1"]);
    assert!(blade.contains("10.12.1.1") && blade.contains("add blade b1"), "{blade}");
    assert!(site.done(&["describe", "cluster", "one"]).contains("simple"));
    assert!(site.done(&["describe", "image", "debian-12"]).contains("version"));
    assert!(site.done(&["render", "b1"]).contains("#cloud-config"));
    assert!(site.json(&["render", "b1", "--format", "ignition"])["config.ign"].is_string());
    for args in [
        &["describe", "blade", "b7"][..],
        &["describe", "rack", "r7"],
        &["describe", "blade", "../x"],
        &["plan", "two"],
    ] {
        let (code, out, err) = site.told(args);
        assert_eq!((code, out.as_str()), (1, ""), "{args:?}");
        assert!(err.contains(args[args.len() - 1]), "{err}");
    }
    let (_, checked, _) = site.told(&["check"]);
    assert!(
        checked.contains("the daemon has them") && checked.contains("debian-12 1 for amd64"),
        "{checked}"
    );
    assert!(checked.contains("journal"), "the daemon's own findings are there: {checked}");
}

#[test]
fn a_deploy_says_whose_disks_are_erased_and_asks() {
    let site = Site::start();
    site.applied();
    let plan = site.done(&["plan", "one"]);
    assert!(plan.contains("debian-12") && plan.contains("the only fixed disk"), "{plan}");
    let (code, out, err) = site.told(&["deploy", "one"]);
    assert_eq!(code, 1);
    assert!(out.contains("ERASED: b1") && err.contains("--yes"), "{out}{err}");
    assert_eq!(site.json(&["get", "attempts"]).as_array().unwrap().len(), 0, "nothing was begun");

    let out = site.done(&["deploy", "one", "--yes"]);
    assert!(out.contains("firstlight watch one"), "{out}");
    assert_eq!(site.json(&["get", "attempts"])[0]["number"], 1);
    assert!(site.done(&["reinstall", "b1", "--yes"]).contains("b1: begins"));
    assert_eq!(site.json(&["get", "attempts"])[0]["number"], 2);

    assert_eq!(site.done(&["hold", "b[1-2]", "--why", "memory"]), "b1: held\nb2: held\n");
    assert_eq!(site.json(&["get", "blades"])[0]["outcome"], "held");
    assert_eq!(site.done(&["release", "b[1-2]"]), "b1: released\nb2: released\n");
    let (code, out, err) = site.told(&["hold", "b[1-3]"]);
    assert!(
        code == 1 && out.is_empty() && err.contains("b3"),
        "a mistyped name changes nothing: {err}"
    );
    assert_eq!(site.json(&["get", "blades"])[0]["outcome"], "going");
    let (code, _, err) = site.told(&["reinstall", "b2", "--yes"]);
    assert!(code == 1 && err.contains("no role"), "{err}");
}

#[test]
fn watching_survives_the_daemon_and_ends_with_the_reason_of_a_failure() {
    let mut site = Site::start();
    site.applied();
    let (code, _, err) = site.told(&["watch", "two"]);
    assert!(code == 1 && err.contains("there are: one"), "{err}");
    site.done(&["deploy", "one", "--yes"]);
    let (code, out, err) = site.told(&["watch", "one", "--timeout", "1s"]);
    assert_eq!(code, 3, "{out}{err}");
    assert!(err.contains("out of time") && err.contains("press the blade's power button"), "{err}");

    let log = site.file("watch.log");
    let mut watch = site.command();
    watch
        .args(["watch", "--timeout", "60s"])
        .stdout(fs::File::create(&log).unwrap())
        .stderr(Stdio::piped());
    let watch = watch.spawn().unwrap();
    let says = |words: &str| {
        let deadline = Instant::now() + PATIENCE;
        while !fs::read_to_string(&log).unwrap().contains(words) {
            assert!(Instant::now() < deadline, "{words:?}: {}", fs::read_to_string(&log).unwrap());
        }
    };
    says("b1");
    site.report(r#"{"attempt":"ATTEMPT","seq":1,"phase":"live","state":"start"}"#);
    says("live begins");
    site.kill();
    site.restart();
    site.answers();
    site.report(r#"{"attempt":"ATTEMPT","seq":2,"phase":"preflight","state":"fail","code":"E_DISK_NONE","msg":"no disk \u001b[31mfits"}"#);
    let (code, out, err) = told(&watch.wait_with_output().unwrap());
    let lines = fs::read_to_string(&log).unwrap();
    assert_eq!(code, 1, "{lines}{out}{err}");
    assert!(err.contains("waiting for it") && err.contains("answers again"), "{err}");
    assert!(err.contains("E_DISK_NONE") && err.contains("firstlight reinstall b1"), "{err}");
    assert!(
        !err.contains('\u{1b}') && !lines.contains('\u{1b}'),
        "a blade cannot steer the terminal"
    );
}

#[test]
fn a_backup_brings_the_site_back_elsewhere() {
    let mut site = Site::start();
    site.applied();
    site.done(&["deploy", "one", "--yes"]);
    let file = site.file("backup").display().to_string();
    assert!(site.done(&["backup", &file]).contains("1 keys"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, _, err) = site.told(&["restore", &file]);
    assert!(code == 1 && err.contains("stop it"), "{err}");
    let (exported, attempts) = (site.done(&["export"]), site.json(&["get", "attempts"]));
    site.kill();
    let (code, _, err) = site.told(&["restore", &file]);
    assert!(code == 1 && err.contains("not empty"), "{err}");

    let key = fs::read(site.file("data/keys/boot.key")).unwrap();
    fs::rename(site.file("data"), site.file("old")).unwrap();
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(site.file("short"), &whole[..whole.len() - 20]).unwrap();
    let short = site.file("short").display().to_string();
    let (code, _, err) = site.told(&["restore", &short]);
    assert!(code == 1 && err.contains("cut short"), "{err}");
    site.done(&["restore", &file]);
    site.restart();
    site.answers();
    assert_eq!(site.done(&["export"]), exported);
    // The daemon goes on with it at once, so only its identity stays as it was.
    let again = site.json(&["get", "attempts"]);
    assert_eq!(
        (&again[0]["id"], &again[0]["number"]),
        (&attempts[0]["id"], &attempts[0]["number"])
    );
    assert_eq!(fs::read(site.file("data/keys/boot.key")).unwrap(), key);
}
