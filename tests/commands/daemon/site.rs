//! A daemon in a network namespace of its own, and commands that ask it.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use firstlight::{blade::AttemptId, http::BootKey};
use serde_json::Value;
use tempfile::TempDir;

use super::super::{firstlight, told};

/// Far more than anything here takes, for a machine that is busy with others.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// As blades are reached: the daemon's address and the first blade's, on one interface.
const START: &str = r#"
exec 3<&0 0</dev/null
ip link set lo up && ip address add 10.12.0.1/16 dev lo && ip address add 10.12.1.1/32 dev lo || exit 9
export LISTEN_PID=$$ LISTEN_FDS=1
exec "$0" serve --config "$1"
"#;

pub const INVENTORY: &str = r#"
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

pub struct Site {
    dir: TempDir,
    /// The daemon's page and API: reached from here, though the daemon is in its own namespace.
    ui: TcpListener,
    daemon: Child,
}

impl Site {
    pub fn start() -> Site {
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

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn answers(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(&["get", "blades"]).status.code() != Some(0) {
            let ended = self.daemon.try_wait().unwrap();
            assert!(ended.is_none(), "the daemon ended: {ended:?}; these tests need root");
            assert!(Instant::now() < deadline, "the daemon does not answer");
        }
    }

    pub fn kill(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }

    pub fn restart(&mut self) {
        self.daemon = spawn(&self.file("firstlight.toml"), &self.ui);
    }

    pub fn command(&self) -> Command {
        let mut command = firstlight();
        command.env("FIRSTLIGHT_URL", format!("http://{}", self.ui.local_addr().unwrap()));
        command.env("FIRSTLIGHT_CONFIG", self.file("firstlight.toml")).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command().args(args).output().unwrap()
    }

    /// Exit code, stdout, stderr.
    pub fn told(&self, args: &[&str]) -> (i32, String, String) {
        told(&self.run(args))
    }

    /// Stdout of what must succeed.
    pub fn done(&self, args: &[&str]) -> String {
        let (code, out, err) = self.told(args);
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        out
    }

    pub fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.done(&[args, &["-o", "json"]].concat())).unwrap()
    }

    pub fn apply(&self, text: &str, options: &[&str]) -> (i32, String, String) {
        let mut child = self.command();
        child.args(["apply", "-"]).args(options);
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        told(&child.wait_with_output().unwrap())
    }

    pub fn applied(&self) {
        let (code, out, err) = self.apply(INVENTORY, &[]);
        assert_eq!(code, 0, "{out}{err}");
    }

    /// What the first blade would post about its newest attempt.
    pub fn report(&self, body: &str) {
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
