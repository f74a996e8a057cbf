//! `lab up`: everything or nothing.
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use nix::libc;
use serde::Serialize;

use super::firmware::{Firmware, NicRom};
use super::plan::{Blade, LabName, Plan};
use super::state::{ID_VARIABLE, LabDir, Stage, State, namespace_inode, namespace_path};
use super::{down, emit, keeper, needs, net};

/// What `lab up --json` prints.
#[derive(Serialize)]
pub struct Report {
    pub name: LabName,
    pub dir: PathBuf,
    pub namespace: String,
    pub server: Ipv4Addr,
    pub power: PathBuf,
    pub inventory: PathBuf,
    pub config: PathBuf,
    pub blades: Vec<BladeReport>,
}

#[derive(Serialize)]
pub struct BladeReport {
    pub name: String,
    pub firmware: Firmware,
    pub mac: String,
    pub ip: Ipv4Addr,
    pub console: PathBuf,
}

/// Makes the lab, all blades off, and leaves its keeper running.
///
/// On an error nothing of it is left; killed in the middle it leaves what
/// [`down::down`] finds.
pub fn up(plan: &Plan, base: &Path) -> anyhow::Result<Report> {
    let dir = LabDir::new(base, &plan.name)?;
    needs::check(plan)?;
    refuse_existing(plan, &dir)?;
    let made = dir.create();
    if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists) {
        bail!("{} exists already: `firstlight lab down {}` first", dir.path().display(), plan.name);
    }
    made.with_context(|| format!("making {}", dir.path().display()))?;
    let mut state = State {
        id: uuid::Uuid::now_v7(),
        stage: Stage::Up,
        plan: plan.clone(),
        namespace_inode: None,
        keeper: None,
    };
    // A namespace that appeared since the look is not ours to remove.
    let named = dir.save(&state).and_then(|()| net::add(&plan.namespace, state.id));
    if let Err(error) = named {
        let _ = fs::remove_dir_all(dir.path());
        return Err(error);
    }
    match furnish(&mut state, &dir) {
        Ok(()) => Ok(report(plan, &dir)),
        Err(error) => {
            if let Err(left) = down::remove(&dir, &state, false) {
                eprintln!("warning: not all of the half-made lab could be removed: {left:#}");
            }
            Err(error)
        }
    }
}

fn refuse_existing(plan: &Plan, dir: &LabDir) -> anyhow::Result<()> {
    let name = &plan.name;
    match dir.load()? {
        Some(State { stage: Stage::Up, .. }) => bail!(
            "lab {name} is there already ({}): `firstlight lab down {name}` first",
            dir.path().display()
        ),
        Some(State { stage: Stage::Down, .. }) => bail!(
            "{} was kept by `lab down --keep`: `firstlight lab down {name}` removes it",
            dir.path().display()
        ),
        None => {}
    }
    if namespace_inode(&plan.namespace).is_some() {
        bail!(
            "{} exists, but no lab in {}: a lab of this name with another --dir, or not a lab's",
            namespace_path(&plan.namespace).display(),
            dir.path().display()
        );
    }
    Ok(())
}

fn furnish(state: &mut State, dir: &LabDir) -> anyhow::Result<()> {
    state.namespace_inode = namespace_inode(&state.plan.namespace);
    dir.save(state)?;
    net::batch(&state.plan.namespace, state.id, &emit::network(&state.plan))?;
    for part in ["consoles", "disks", "vars", "qmp", "data"] {
        let path = dir.join(part);
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
    }
    for blade in &state.plan.blades {
        furnish_blade(blade, dir).with_context(|| format!("blade {}", blade.name))?;
    }
    let write = |name: &str, text: String| {
        fs::write(dir.join(name), text).with_context(|| format!("writing {name}"))
    };
    write("inventory.toml", emit::inventory(&state.plan, &dir.power_socket()))?;
    write("firstlight.toml", emit::configuration(&state.plan, &dir.join("data")))?;
    start_keeper(state, dir)
}

fn furnish_blade(blade: &Blade, dir: &LabDir) -> anyhow::Result<()> {
    let files = emit::files(blade);
    let disk = |part: &str| {
        let path = dir.join(part);
        File::create_new(&path)
            .and_then(|file| file.set_len(blade.disk_bytes))
            .with_context(|| format!("making {}", path.display()))
    };
    disk(&files.disk)?;
    if blade.second_disk {
        disk(&files.second_disk)?;
    }
    if let Some(flash) = blade.firmware.board.flash() {
        let (from, vars) = (flash.vars.name, dir.join(&files.vars));
        fs::copy(from, &vars).with_context(|| format!("copying {from} to {}", vars.display()))?;
    }
    if blade.nic_rom == NicRom::Foreign {
        let script = dir.join(&files.rom_script);
        fs::write(&script, emit::FOREIGN_ROM_SCRIPT)
            .with_context(|| format!("writing {}", script.display()))?;
    }
    // So that the console can be followed before the first power-up.
    File::create_new(dir.join(&files.console)).context("making its console's log")?;
    Ok(())
}

fn start_keeper(state: &State, dir: &LabDir) -> anyhow::Result<()> {
    let log_path = dir.keeper_log();
    let log = File::create(&log_path).context("making the keeper's log")?;
    // Not the path: the file there may be another build by now.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("firstlight").args(["lab", "keeper"]).arg(state.plan.name.to_string());
    command.arg("--dir").arg(dir.path().parent().unwrap_or(Path::new("/")));
    command.env(ID_VARIABLE, state.id.to_string()).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
    // SAFETY: between fork and exec only setsid(2) and close_range(2) are
    // called, which are async-signal-safe; nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            // What we inherited (a lock, a pipe somebody waits on) must not
            // live as long as the lab. Marked, not closed: std reports a
            // failed exec over a descriptor of its own.
            #[expect(clippy::cast_possible_wrap, reason = "the flag is 4")]
            let flag = libc::CLOSE_RANGE_CLOEXEC as libc::c_int;
            libc::close_range(3, libc::c_uint::MAX, flag);
            Ok(())
        });
    }
    let mut child = command.spawn().context("starting the lab's keeper")?;
    if ready(&mut child) {
        return Ok(());
    }
    // It has closed its output, so it is ending.
    let status = child.wait().context("waiting for the lab's keeper")?;
    let log = fs::read_to_string(&log_path).unwrap_or_default();
    bail!("the lab's keeper ended ({status}): {}", log.trim())
}

fn ready(child: &mut Child) -> bool {
    let mut word = [0; keeper::READY.len()];
    let read = child.stdout.take().map(|mut stdout| stdout.read_exact(&mut word));
    matches!(read, Some(Ok(()))) && word == *keeper::READY.as_bytes()
}

fn report(plan: &Plan, dir: &LabDir) -> Report {
    let blades = plan.blades.iter().map(|blade| BladeReport {
        name: blade.name.clone(),
        firmware: blade.firmware,
        mac: blade.mac.clone(),
        ip: blade.ip,
        console: dir.join(emit::files(blade).console),
    });
    Report {
        name: plan.name.clone(),
        dir: dir.path().to_owned(),
        namespace: plan.namespace.clone(),
        server: plan.server,
        power: dir.power_socket(),
        inventory: dir.join("inventory.toml"),
        config: dir.join("firstlight.toml"),
        blades: blades.collect(),
    }
}
