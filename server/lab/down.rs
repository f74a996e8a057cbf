//! `lab down`: nothing is left, whatever died before.
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::net;
use super::plan::LabName;
use super::state::{LabDir, Stage, State, labs, namespace_inode, processes};

/// Time for the lab's processes to end by themselves (a daemon inside closes
/// its database), before they are killed.
const GRACE: Duration = Duration::from_secs(5);
/// The kernel ends a killed process within this, or never (stuck in a device).
const DEATH: Duration = Duration::from_secs(10);

/// Returns what to tell the operator.
pub fn down(base: &Path, name: &LabName, keep: bool, if_exists: bool) -> anyhow::Result<String> {
    let dir = LabDir::new(base, name)?;
    let Some(state) = dir.load()? else {
        // `up` killed at its very start leaves an empty directory (or only the
        // unfinished state). Never more: this may be somebody's own directory.
        let _ = fs::remove_file(dir.join("state.json.new"));
        match fs::remove_dir(dir.path()) {
            Ok(()) => return Ok(format!("lab {name}, half-made, is gone\n")),
            Err(error) if error.kind() == io::ErrorKind::NotFound && if_exists => {
                return Ok(String::new());
            }
            Err(_) => bail!("no lab {name} in {}{}", base.display(), others(base)),
        }
    };
    remove(&dir, &state, keep)?;
    Ok(if keep {
        format!("lab {name} is down; its files are kept in {}\n", dir.path().display())
    } else {
        format!("lab {name} is down, nothing is left\n")
    })
}

/// Ends the lab's processes, removes its network and, unless `keep`, its files.
pub fn remove(dir: &LabDir, state: &State, keep: bool) -> anyhow::Result<()> {
    if state.stage == Stage::Up {
        end_processes(state)?;
        let namespace = &state.plan.namespace;
        let present = namespace_inode(namespace);
        let ours = state.namespace_inode.is_none_or(|inode| present == Some(inode));
        if present.is_some() && ours {
            net::remove(namespace)?;
        }
    }
    if keep {
        let _ = fs::remove_file(dir.power_socket());
        return dir.save(&State { stage: Stage::Down, keeper: None, ..state.clone() });
    }
    fs::remove_dir_all(dir.path()).with_context(|| format!("removing {}", dir.path().display()))
}

fn end_processes(state: &State) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut asked = Vec::new();
    loop {
        let left = processes(state)?;
        if left.is_empty() {
            return Ok(());
        }
        let waited = start.elapsed();
        if waited > GRACE + DEATH {
            let pids: Vec<_> = left.iter().map(|process| process.pid.to_string()).collect();
            bail!("processes of the lab do not end even by SIGKILL: {}", pids.join(", "));
        }
        for process in &left {
            let signal = match asked.contains(process) {
                _ if waited > GRACE => Signal::SIGKILL,
                true => continue,
                false => Signal::SIGTERM,
            };
            asked.push(*process);
            // It may have ended meanwhile: the next look tells.
            if let Ok(pid) = i32::try_from(process.pid) {
                let _ = kill(Pid::from_raw(pid), signal);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn others(base: &Path) -> String {
    match labs(base) {
        Ok(names) if !names.is_empty() => {
            let names: Vec<_> = names.iter().map(LabName::to_string).collect();
            format!(" (there are: {})", names.join(", "))
        }
        _ => String::new(),
    }
}
