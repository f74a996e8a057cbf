//! `lab status`: what is there, as the keepers tell it.
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use ipnet::Ipv4Net;
use serde::Serialize;

use super::emit;
use super::firmware::Firmware;
use super::plan::LabName;
use super::state::{LabDir, Stage, State, labs};
use crate::bmc::lab::{Answer, BladePower, BootDevice, LINE_LIMIT, Op, Power, Request};

/// A keeper answers within this unless a blade is just being started.
const LIMIT: Duration = Duration::from_secs(10);
/// The last line is looked for in so many bytes from the console's end.
const TAIL: u64 = 4096;
/// Characters of the console's last line that are shown.
const LINE: usize = 100;

#[derive(Debug, Serialize)]
pub struct LabStatus {
    pub name: LabName,
    pub stage: Stage,
    pub dir: PathBuf,
    pub namespace: String,
    pub subnet: Ipv4Net,
    pub server: Ipv4Addr,
    /// The keeper's pid while it lives. Without it the blades are dead.
    pub keeper: Option<u32>,
    /// What went wrong in asking the keeper.
    pub error: Option<String>,
    pub blades: Vec<BladeStatus>,
}

#[derive(Debug, Serialize)]
pub struct BladeStatus {
    pub name: String,
    pub firmware: Firmware,
    pub mac: String,
    pub ip: Ipv4Addr,
    pub power: Option<Power>,
    pub pid: Option<u32>,
    /// Seconds.
    pub uptime: Option<u64>,
    pub boots: u32,
    pub next_boot: Option<BootDevice>,
    pub error: Option<String>,
    pub console: PathBuf,
    pub last_line: String,
}

/// One lab, or all under `base`.
pub fn status(base: &Path, name: Option<&LabName>) -> anyhow::Result<Vec<LabStatus>> {
    let names = match name {
        Some(name) => vec![name.clone()],
        None => labs(base)?,
    };
    let mut found = Vec::with_capacity(names.len());
    for lab in names {
        let dir = LabDir::new(base, &lab)?;
        match dir.load()? {
            Some(state) => found.push(one(&dir, state)),
            // Taken down between listing and looking.
            None if name.is_none() => {}
            None => bail!("no lab {lab} in {}", base.display()),
        }
    }
    Ok(found)
}

fn one(dir: &LabDir, state: State) -> LabStatus {
    let keeper = state.keeper.filter(super::state::Process::alive).map(|keeper| keeper.pid);
    let (powers, error) = match (state.stage, keeper) {
        (Stage::Down, _) => (Vec::new(), None),
        (Stage::Up, None) => {
            let name = &state.plan.name;
            let error = format!("its keeper is dead: `firstlight lab down {name}` clears the rest");
            (Vec::new(), Some(error))
        }
        (Stage::Up, Some(_)) => match list(&dir.power_socket()) {
            Ok(powers) => (powers, None),
            Err(error) => (Vec::new(), Some(format!("asking its keeper: {error:#}"))),
        },
    };
    let blades = state.plan.blades.into_iter().map(|blade| {
        let power = powers.iter().find(|power| power.blade == blade.name);
        let console = dir.join(emit::files(&blade).console);
        BladeStatus {
            power: power.map(|blade| blade.power),
            pid: power.and_then(|blade| blade.pid),
            uptime: power.and_then(|blade| blade.uptime),
            boots: power.map_or(0, |blade| blade.boots),
            next_boot: power.and_then(|blade| blade.next_boot),
            error: power.and_then(|blade| blade.error.clone()),
            last_line: tail(&console).map(|text| last_line(&text)).unwrap_or_default(),
            console,
            name: blade.name,
            firmware: blade.firmware,
            mac: blade.mac,
            ip: blade.ip,
        }
    });
    LabStatus {
        blades: blades.collect(),
        name: state.plan.name,
        stage: state.stage,
        dir: dir.path().to_owned(),
        namespace: state.plan.namespace,
        subnet: state.plan.subnet,
        server: state.plan.server,
        keeper,
        error,
    }
}

fn list(socket: &Path) -> anyhow::Result<Vec<BladePower>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let request = Request { op: Op::List, blade: None, device: None };
    stream.write_all(format!("{}\n", serde_json::to_string(&request)?).as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_LIMIT)).read_line(&mut line)?;
    let answer: Answer = serde_json::from_str(&line)?;
    match answer.blades {
        Some(blades) => Ok(blades),
        None => bail!(answer.error.unwrap_or_else(|| "no answer to `list`".to_owned())),
    }
}

fn tail(console: &Path) -> std::io::Result<String> {
    let mut file = File::open(console)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last line with something in it, without the escape sequences and
/// control characters that would act on the reader's own terminal.
fn last_line(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            // ECMA-48 §5.4: ESC [ parameters, then one final byte of @ to ~.
            '\u{1b}' if letters.peek() == Some(&'[') => {
                letters.next();
                let _ = letters.find(|letter| ('@'..='~').contains(letter));
            }
            '\n' | '\r' => plain.push('\n'),
            letter if letter.is_control() => {}
            letter => plain.push(letter),
        }
    }
    let line = plain.lines().map(str::trim).rev().find(|line| !line.is_empty());
    line.unwrap_or_default().chars().take(LINE).collect()
}

/// For people; the same as the JSON holds.
pub fn table(labs: &[LabStatus]) -> String {
    let mut text = String::new();
    for lab in labs {
        let stage = match (lab.stage, lab.keeper) {
            (Stage::Up, Some(pid)) => format!("up (keeper {pid})"),
            (Stage::Up, None) => "broken".to_owned(),
            (Stage::Down, _) => "down, files kept".to_owned(),
        };
        let (name, subnet, dir) = (&lab.name, lab.subnet, lab.dir.display());
        let _ = writeln!(text, "lab {name}: {stage}, {subnet}, {dir}");
        if let Some(error) = &lab.error {
            let _ = writeln!(text, "  {error}");
        }
        let _ = writeln!(
            text,
            "  BLADE      POWER  FIRMWARE           PID      UPTIME  BOOTS  CONSOLE"
        );
        for blade in &lab.blades {
            let power = match blade.power {
                Some(Power::On) => "on",
                Some(Power::Off) => "off",
                None => "?",
            };
            let pid = blade.pid.map_or("-".to_owned(), |pid| pid.to_string());
            let uptime = blade.uptime.map_or("-".to_owned(), |seconds| format!("{seconds} s"));
            let last = blade.error.as_ref().unwrap_or(&blade.last_line);
            let _ = writeln!(
                text,
                "  {:<9}  {power:<5}  {:<17}  {pid:<7}  {uptime:<6}  {:<5}  {last}",
                blade.name, blade.firmware, blade.boots
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_consoles_last_line_is_plain_text() {
        let ipxe = "\u{1b}[0;1miPXE 1.0.0\u{1b}[0m -- Firmware\r\n\r\n";
        assert_eq!(last_line(ipxe), "iPXE 1.0.0 -- Firmware");
        assert_eq!(last_line("first\nsecond\x07\x08 \r\n   \r\n"), "second");
        assert_eq!(last_line("progress 1%\rprogress 2%\r"), "progress 2%");
        assert_eq!(last_line("cut \u{1b}[0;"), "cut");
        assert_eq!(last_line("\u{9b}2Jhidden"), "2Jhidden");
        assert_eq!(last_line(""), "");
    }

    #[test]
    fn the_table_shows_power_and_trouble() {
        let blade = |name: &str, power, error: Option<&str>| BladeStatus {
            name: name.into(),
            firmware: Firmware::BIOS,
            mac: "52:54:00:00:01:01".into(),
            ip: Ipv4Addr::new(10, 12, 1, 1),
            power,
            pid: power.filter(|power| *power == Power::On).map(|_| 4711),
            uptime: power.filter(|power| *power == Power::On).map(|_| 12),
            boots: 1,
            next_boot: None,
            error: error.map(str::to_owned),
            console: "/c".into(),
            last_line: "login:".into(),
        };
        let lab = |stage, keeper, error: Option<&str>, blades| LabStatus {
            name: "demo".parse().unwrap(),
            stage,
            dir: "/var/lib/firstlight/lab/demo".into(),
            namespace: "fl-demo".into(),
            subnet: "10.12.0.0/16".parse().unwrap(),
            server: Ipv4Addr::new(10, 12, 0, 1),
            keeper,
            error: error.map(str::to_owned),
            blades,
        };
        let up = vec![
            blade("r1-c1-b01", Some(Power::On), None),
            blade("r1-c1-b02", Some(Power::Off), Some("emulator ended by signal 11")),
        ];
        let broken = vec![blade("r1-c1-b01", None, None)];
        insta::assert_snapshot!(table(&[
            lab(Stage::Up, Some(99), None, up),
            lab(Stage::Up, None, Some("its keeper is dead"), broken),
        ]));
    }
}
