//! Commands against a real daemon in a network namespace of its own. Needs root.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use firstlight::{blade::AttemptId, http::BootKey};
use serde_json::Value;
use tempfile::TempDir;

use super::{firstlight, told};

/// Far more than anything here takes, for a machine that is busy with others.
const PATIENCE: Duration = Duration::from_secs(60);

/// As blades are reached: the daemon's address and the first blade's, on one interface.
const START: &str = r#"
exec 3<&0 0</dev/null
ip link set lo up && ip address add 10.12.0.1/16 dev lo && ip address add 10.12.1.1/32 dev lo || exit 9
export LISTEN_PID=$$ LISTEN_FDS=1
exec "$0" serve --config "$1"
"#;

const INVENTORY: &str = r#"
[[rack]]
name = "r1"
[[rack.chassis]]
name = "c1"
slots = 4
ip_first = "10.12.1.1"
[[blade]]
name = "b1"
slot = { rack = "r1", chassis = "c1", slot = 1 }
macs = ["52:54:00:00:01:01"]
[[blade]]
name = "b2"
slot = { rack = "r1", chassis = "c1", slot = 2 }
macs = ["52:54:00:00:01:02"]
[[cluster]]
name = "one"
topology = "simple"
[cluster.parameters]
ssh_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ops"]
[cluster.roles]
simple = ["b1"]
"#;

struct Site {
    dir: TempDir,
    /// The daemon's page and API: reached from here, though the daemon is in its own namespace.
    ui: TcpListener,
    daemon: Child,
}

impl Site {
    fn start() -> Site {
        let dir = tempfile::tempdir().unwrap();
        bundle(&dir.path().join("bundle"));
        let ui = TcpListener::bind("127.0.0.1:0").unwrap();
        configure(&dir.path().join("firstlight.toml"), &dir.path().join("data"), &ui);
        let mut import = firstlight();
        import.args(["image", "import"]).arg(dir.path().join("bundle"));
        import.arg("--config").arg(dir.path().join("firstlight.toml"));
        let imported = told(&import.output().unwrap());
        assert_eq!(imported.0, 0, "{imported:?}");
        let daemon = spawn(&dir.path().join("firstlight.toml"), &ui);
        let mut site = Site { dir, ui, daemon };
        site.answers();
        site
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn answers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(&["get", "blades"]).status.code() != Some(0) {
            let ended = self.daemon.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended: {ended:?}; these tests need root");
            assert!(Instant::now() < deadline, "the daemon does not answer");
        }
    }

    fn kill(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }

    fn restart(&mut self) {
        self.daemon = spawn(&self.file("firstlight.toml"), &self.ui);
    }

    fn command(&self) -> Command {
        let mut command = firstlight();
        command.env("FIRSTLIGHT_URL", format!("http://{}", self.ui.local_addr().unwrap()));
        command.env("FIRSTLIGHT_CONFIG", self.file("firstlight.toml")).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// Exit code, stdout, stderr.
    fn told(&self, args: &[&str]) -> (i32, String, String) {
        told(&self.run(args))
    }

    /// Stdout of what must succeed.
    fn done(&self, args: &[&str]) -> String {
        let (code, out, err) = self.told(args);
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        out
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[args, &["-o", "json"]].concat())).unwrap()
    }

    fn apply(&self, text: &str, options: &[&str]) -> (i32, String, String) {
        let mut child = self.command();
        child.args(["apply", "-"]).args(options);
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        told(&child.wait_with_output().unwrap())
    }

    fn applied(&self) {
        let (code, out, err) = self.apply(INVENTORY, &[]);
        assert_eq!(code, 0, "{out}{err}");
    }

    /// What the first blade would post about its newest attempt.
    fn report(&self, body: &str) {
        let attempt =
            self.json(&["get", "attempts", "--blade", "b1"])[0]["id"].as_str().unwrap().to_owned();
        let id: AttemptId = attempt.parse().unwrap();
        let token = BootKey::open(&self.file("data")).unwrap().token(id);
        let body = body.replace("ATTEMPT", &attempt);
        let posted = Command::new("nsenter")
            .args([
                "--net",
                "--target",
                &self.daemon.id().to_string(),
                "curl",
                "--silent",
                "--show-error",
            ])
            .args([
                "--fail-with-body",
                "--interface",
                "10.12.1.1",
                "--header",
                &format!("Authorization: Bearer {token}"),
            ])
            .args(["--data", &body, &format!("http://10.12.0.1/api/v1/attempts/{attempt}/events")])
            .output()
            .unwrap();
        assert!(posted.status.success(), "{posted:?}");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn configure(file: &Path, data: &Path, ui: &TcpListener) {
    let text = format!(
        "site = \"test\"\ndata_dir = {data:?}\n[boot]\ninterfaces = [\"lo\"]\nurl = \"http://10.12.0.1\"\n[dhcp]\nmode = \"off\"\n\
         [[subnet]]\ncidr = \"10.12.0.0/16\"\n[ui]\nlisten = \"{}\"\n",
        ui.local_addr().unwrap()
    );
    fs::write(file, text).unwrap();
}

/// The daemon, which ends with this test even if that is killed.
fn spawn(config: &Path, ui: &TcpListener) -> Child {
    Command::new("setpriv")
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--net",
            "sh",
            "-c",
            START,
            env!("CARGO_BIN_EXE_firstlight"),
        ])
        .arg(config)
        .env_remove("FIRSTLIGHT_LOG")
        .stdin(OwnedFd::from(ui.try_clone().unwrap()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A boot image that no blade could boot, but that is whole.
fn bundle(dir: &Path) {
    use sha2::{Digest, Sha256};
    fs::create_dir_all(dir).unwrap();
    let mut manifest = "[bundle]\nname = \"debian-12\"\nversion = \"1\"\nos = \"debian\"\nos_version = \"12\"\ncreated = \"2026-01-01T00:00:00Z\"\n".to_owned();
    for kind in ["kernel", "initrd", "image"] {
        fs::write(dir.join(kind), kind).unwrap();
        let digest = hex::encode(Sha256::digest(kind));
        manifest.push_str(&format!(
            "[[artifact]]\npath = \"{kind}\"\nkind = \"{kind}\"\narch = \"amd64\"\nsize = {}\nsha256 = \"{digest}\"\n",
            kind.len()
        ));
        if kind == "image" {
            manifest.push_str(&format!(
                "compression = \"none\"\nunpacked_size = {}\nunpacked_sha256 = \"{digest}\"\nroot_partition = 1\n",
                kind.len()
            ));
        }
    }
    fs::write(dir.join("bundle.toml"), manifest).unwrap();
}

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
    assert_eq!(site.json(&["get", "attempts"]), attempts);
    assert_eq!(fs::read(site.file("data/keys/boot.key")).unwrap(), key);
}
