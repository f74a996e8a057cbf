//! The virtual rack: real firmware in emulated blades, and nothing left of it
//! afterwards. Needs root.
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use firstlight::bmc::power::{PowerOp, PowerState};

/// Far more than anything here takes, for a machine that is busy with others.
const PATIENCE: Duration = Duration::from_secs(60);

/// A lab that goes down with the test, whatever becomes of it.
pub struct Lab {
    pub name: String,
    pub base: tempfile::TempDir,
}

impl Lab {
    pub fn up(name: &str, options: &[&str]) -> Self {
        let lab = Self::named(name);
        let output = lab.command("up", options).output().unwrap();
        assert!(output.status.success(), "lab up: {}", said(&output));
        lab
    }

    /// Not yet made.
    fn named(name: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "the lab needs root for its network namespace: run these tests as root"
        );
        let name = format!("t{}-{name}", std::process::id());
        Self { name, base: tempfile::Builder::new().prefix("fl").tempdir().unwrap() }
    }

    pub fn command(&self, verb: &str, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firstlight"));
        command.args(["lab", verb, &self.name]).args(options);
        command.env("FIRSTLIGHT_LAB_DIR", self.base.path());
        command
    }

    fn run(&self, verb: &str, options: &[&str]) -> Output {
        self.command(verb, options).output().unwrap()
    }

    pub fn file(&self, part: &str) -> PathBuf {
        self.base.path().join(&self.name).join(part)
    }

    pub fn power(&self, blade: &str, op: PowerOp) -> PowerState {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let socket = self.file("power.sock");
        runtime.block_on(firstlight::bmc::lab::power(&socket, blade, op)).unwrap()
    }

    pub fn console(&self, blade: &str) -> String {
        let text = fs::read(self.file(&format!("consoles/{blade}.log"))).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    fn console_says(&self, blade: &str, words: &str) {
        let shown = || self.console(blade).contains(words);
        assert!(holds(shown), "{words:?} not on {blade}'s console: {}", self.console(blade));
    }

    /// The 512 bytes that BIOS loads from the disk and jumps to, in 16-bit code.
    fn write_boot_sector(&self, blade: &str, code: &[u8]) {
        let mut sector = [0; 512];
        sector[..code.len()].copy_from_slice(code);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        let disk = self.file(&format!("disks/{blade}.img"));
        fs::OpenOptions::new().write(true).open(disk).unwrap().write_all(&sector).unwrap();
    }

    /// The first blade as `lab status` tells it.
    fn first_blade(&self) -> serde_json::Value {
        let output = self.run("status", &["--output", "json"]).stdout;
        serde_json::from_slice::<serde_json::Value>(&output).unwrap()[0]["blades"][0].take()
    }

    fn namespace(&self) -> PathBuf {
        Path::new("/run/netns").join(format!("fl-{}", self.name))
    }

    /// Keeper and emulators: all work in the lab's directory.
    fn processes(&self) -> Vec<PathBuf> {
        let all = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        let ours = |path: &PathBuf| {
            fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(self.base.path()))
        };
        all.filter(ours).collect()
    }

    fn assert_nothing_left(&self) {
        assert!(!self.namespace().exists(), "{} is left", self.namespace().display());
        assert_eq!(self.processes(), Vec::<PathBuf>::new());
        let files: Vec<_> = fs::read_dir(self.base.path()).unwrap().collect();
        assert!(files.is_empty(), "{files:?}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.command("down", &["--if-exists"]).output();
    }
}

fn holds(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if condition() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    condition()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_lab_that_is_taken_down_leaves_no_namespace_no_process_no_file() {
    let lab = Lab::up("updown", &["--uefi", "1", "--second-disk", "r1-c1-b02"]);
    assert!(lab.namespace().exists());
    assert_eq!(lab.processes().len(), 1, "the keeper alone, while all blades are off");
    assert_eq!(lab.power("r1-c1-b01", PowerOp::On), PowerState::On);
    assert_eq!(lab.power("r1-c1-b03", PowerOp::On), PowerState::On);
    assert_eq!(lab.processes().len(), 3);
    let down = lab.run("down", &[]);
    assert!(down.status.success(), "{}", said(&down));
    lab.assert_nothing_left();
}

#[test]
fn two_labs_with_the_same_addresses_stand_side_by_side() {
    let one = Lab::up("one", &["--blades", "1"]);
    let two = Lab::up("two", &["--blades", "1"]);
    for lab in [&one, &two] {
        assert_eq!(lab.power("r1-c1-b01", PowerOp::On), PowerState::On);
        let addresses = lab.run("exec", &["--", "ip", "-brief", "address"]);
        assert!(String::from_utf8_lossy(&addresses.stdout).contains("10.12.0.1/16"));
    }
    assert!(one.run("down", &[]).status.success());
    one.assert_nothing_left();
    assert_eq!(two.power("r1-c1-b01", PowerOp::Status), PowerState::On);
}

#[test]
fn blades_die_with_a_killed_keeper_and_down_cleans_the_rest() {
    let lab = Lab::up("killed", &["--blades", "2"]);
    lab.power("r1-c1-b01", PowerOp::On);
    // Somebody's command inside, which nothing else would end; it has lost the
    // mark in its environment.
    let mut inside = lab.command("exec", &["--", "env", "-i", "sleep", "1000"]).spawn().unwrap();
    let state: serde_json::Value =
        serde_json::from_slice(&fs::read(lab.file("state.json")).unwrap()).unwrap();
    let keeper = i32::try_from(state["keeper"]["pid"].as_i64().unwrap()).unwrap();
    let keeper = nix::unistd::Pid::from_raw(keeper);
    nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGKILL).unwrap();
    assert!(holds(|| lab.processes().is_empty()), "alive: {:?}", lab.processes());
    let status = lab.run("status", &["--output", "json"]);
    assert!(!status.status.success());
    assert!(String::from_utf8_lossy(&status.stdout).contains("its keeper is dead"));

    let down = lab.run("down", &[]);
    assert!(down.status.success(), "{}", said(&down));
    lab.assert_nothing_left();
    assert!(!inside.wait().unwrap().success(), "the command inside was ended");
}

#[test]
fn down_finds_the_processes_of_a_lab_whose_namespace_has_lost_its_name() {
    let lab = Lab::up("nameless", &["--blades", "1"]);
    lab.power("r1-c1-b01", PowerOp::On);
    let name = format!("fl-{}", lab.name);
    assert!(Command::new("ip").args(["netns", "delete", &name]).status().unwrap().success());
    assert_eq!(lab.processes().len(), 2);
    let down = lab.run("down", &[]);
    assert!(down.status.success(), "{}", said(&down));
    lab.assert_nothing_left();
}

#[test]
fn an_up_that_was_killed_at_any_moment_leaves_nothing_that_down_does_not_clean() {
    let lab = Lab::named("killedup");
    // The whole of `up` takes about 15 ms.
    for moment in (0..40).map(|step| Duration::from_micros(step * 500)) {
        let mut up = lab.command("up", &[]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moment);
        up.kill().unwrap();
        up.wait().unwrap();
        let down = lab.run("down", &["--if-exists"]);
        assert!(down.status.success(), "killed after {moment:?}: {}", said(&down));
        lab.assert_nothing_left();
    }
}

#[test]
fn a_bios_blade_boots_from_the_network_until_it_is_powered_off() {
    let lab = Lab::up("bios", &["--blades", "1"]);
    assert_eq!(lab.power("r1-c1-b01", PowerOp::Status), PowerState::Off);
    assert_eq!(lab.power("r1-c1-b01", PowerOp::On), PowerState::On);
    assert_eq!(lab.power("r1-c1-b01", PowerOp::On), PowerState::On, "on is on");
    lab.console_says("r1-c1-b01", "Configuring (net0 52:54:00:00:01:01)");
    assert_eq!(lab.power("r1-c1-b01", PowerOp::Off), PowerState::Off);
    assert_eq!(lab.power("r1-c1-b01", PowerOp::Off), PowerState::Off, "off is off");
    assert_eq!(lab.power("r1-c1-b01", PowerOp::Cycle), PowerState::On);
    lab.console_says("r1-c1-b01", "power cycled, boot 2");
    assert!(lab.console("r1-c1-b01").contains("powered on, boot 1"), "consoles are kept");
}

#[test]
fn a_uefi_blade_boots_by_its_firmwares_own_pxe_client() {
    let lab = Lab::up("uefi", &["--blades", "1", "--uefi", "1"]);
    lab.power("r1-c1-b01", PowerOp::On);
    lab.console_says("r1-c1-b01", "Start PXE over IPv4");
    assert!(!lab.console("r1-c1-b01").contains("iPXE"));
}

/// And a one-time boot device is taken once: the second boot is from the network.
#[test]
fn a_guest_that_resets_itself_starts_anew() {
    let lab = Lab::up("reset", &["--blades", "1"]);
    // mov al, 0xfe; out 0x64, al: the keyboard controller pulls the reset line.
    lab.write_boot_sector("r1-c1-b01", &[0xfa, 0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd]);
    assert_eq!(lab.power("r1-c1-b01", PowerOp::BootDisk), PowerState::Off);
    lab.power("r1-c1-b01", PowerOp::On);
    lab.console_says("r1-c1-b01", "reset by its guest, boot 2");
    lab.console_says("r1-c1-b01", "Configuring (net0");
    let console = lab.console("r1-c1-b01");
    let (first, second) = console.split_once("reset by its guest").unwrap();
    assert!(first.contains("Booting from Hard Disk"), "{first}");
    assert!(!second.contains("Booting from Hard Disk"), "{second}");
    assert_eq!(lab.power("r1-c1-b01", PowerOp::Status), PowerState::On);
}

#[test]
fn a_guest_that_powers_itself_off_stays_off() {
    let lab = Lab::up("poweroff", &["--blades", "1"]);
    // mov dx, 0x604; mov ax, 0x2000; out dx, ax: ACPI PM1a_CNT, SLP_EN to S5.
    let code = [0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd];
    lab.write_boot_sector("r1-c1-b01", &code);
    lab.power("r1-c1-b01", PowerOp::BootDisk);
    lab.power("r1-c1-b01", PowerOp::On);
    assert!(holds(|| lab.power("r1-c1-b01", PowerOp::Status) == PowerState::Off));
    assert!(lab.console("r1-c1-b01").contains("Booting from Hard Disk"));
    let blade = lab.first_blade();
    assert_eq!((&blade["boots"], &blade["error"]), (&1.into(), &serde_json::Value::Null));
}

#[test]
fn an_emulator_that_dies_is_off_with_the_reason() {
    let lab = Lab::up("dies", &["--blades", "1"]);
    lab.power("r1-c1-b01", PowerOp::On);
    let pid = i32::try_from(lab.first_blade()["pid"].as_i64().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    assert!(holds(|| lab.first_blade()["power"] == "off"), "{}", lab.first_blade());
    assert_eq!(lab.first_blade()["error"], "emulator ended by signal 9");
}

#[test]
fn a_blade_that_cannot_start_says_why() {
    let lab = Lab::up("nodisk", &["--blades", "1"]);
    fs::remove_file(lab.file("disks/r1-c1-b01.img")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let socket = lab.file("power.sock");
    let on = firstlight::bmc::lab::power(&socket, "r1-c1-b01", PowerOp::On);
    let error = runtime.block_on(on).unwrap_err().to_string();
    assert!(error.contains("disks/r1-c1-b01.img"), "{error}");
}

#[test]
fn a_name_in_use_an_unknown_name_and_a_missing_emulator_are_told() {
    let lab = Lab::up("errors", &["--blades", "1"]);
    let again = lab.run("up", &["--blades", "2"]);
    assert!(!again.status.success());
    assert!(said(&again).contains("is there already"), "{}", said(&again));
    assert_eq!(lab.power("r1-c1-b01", PowerOp::Status), PowerState::Off, "it was left alone");

    let unknown = Lab::named("unknown");
    let down = unknown.run("down", &[]);
    assert!(!down.status.success());
    assert!(said(&down).contains(&format!("no lab {}", unknown.name)), "{}", said(&down));
    assert!(unknown.run("down", &["--if-exists"]).status.success());

    let up = unknown.command("up", &["--uefi", "1"]).env("PATH", "").output().unwrap();
    assert!(!up.status.success());
    assert!(said(&up).contains("apt-get install qemu-system-x86"), "{}", said(&up));
    unknown.assert_nothing_left();
}

#[test]
fn a_lab_that_fails_half_way_leaves_nothing() {
    let lab = Lab::named("half");
    // More than any file can have: fails after namespace and bridge are there.
    let up = lab.run("up", &["--disk-size", "9000000T"]);
    assert!(!up.status.success());
    assert!(said(&up).contains("disks/r1-c1-b01.img"), "{}", said(&up));
    lab.assert_nothing_left();
}

#[test]
fn down_keeps_the_consoles_where_asked_and_removes_them_when_asked_again() {
    let lab = Lab::up("keep", &["--blades", "1"]);
    lab.power("r1-c1-b01", PowerOp::On);
    assert!(lab.run("down", &["--keep"]).status.success());
    assert!(!lab.namespace().exists());
    assert!(holds(|| lab.processes().is_empty()));
    assert!(lab.console("r1-c1-b01").contains("powered on, boot 1"));
    assert!(!lab.run("up", &[]).status.success(), "kept files are not overwritten");
    assert!(lab.run("down", &[]).status.success());
    lab.assert_nothing_left();
}

/// How the daemon serves the lab's blades and people on the host at once.
#[test]
fn a_command_in_the_lab_is_reached_by_a_socket_bound_outside() {
    let lab = Lab::up("exec", &["--blades", "1"]);
    let script = "echo $LISTEN_FDS $LISTEN_FDNAMES $LISTEN_PID $$; exec sleep 1000";
    let mut child = lab
        .command("exec", &["--listen", "127.0.0.1:0", "--", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    let stdout = first_line(child.stdout.take().unwrap());
    let stderr = first_line(child.stderr.take().unwrap());
    assert_eq!(stdout, format!("1 ui {pid} {pid}"));
    let address = stderr.strip_prefix("listening on ").unwrap();
    TcpStream::connect(address).unwrap();
    end(child);
}

fn first_line(stream: impl std::io::Read) -> String {
    BufReader::new(stream).lines().next().unwrap().unwrap()
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn garbage_on_the_power_socket_ends_only_its_own_connection() {
    let lab = Lab::up("garbage", &["--blades", "1"]);
    let mut client = UnixStream::connect(lab.file("power.sock")).unwrap();
    client.write_all(&[0xff; 200_000]).ok();
    client.write_all(b"\n").ok();
    let mut client = UnixStream::connect(lab.file("power.sock")).unwrap();
    client.write_all(b"{\"op\":\"explode\",\"blade\":\"r1-c1-b01\"}\n").unwrap();
    assert!(first_line(client).contains("not a request"));
    assert_eq!(lab.power("r1-c1-b01", PowerOp::On), PowerState::On);
}
