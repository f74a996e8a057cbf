//! What a lab leaves on disk, so that `down` can find all of it whatever died.
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::plan::{LabName, Plan};

/// Every process of a lab carries this in its environment, with the lab's id.
pub const ID_VARIABLE: &str = "FIRSTLIGHT_LAB_ID";

/// `state.json`: written before anything else is made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Distinguishes this lab from every earlier one of the same name.
    pub id: uuid::Uuid,
    pub stage: Stage,
    pub plan: Plan,
    /// Inode of the network namespace, once it is made.
    pub namespace_inode: Option<u64>,
    pub keeper: Option<Process>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Up,
    /// Taken down with `--keep`: only files are left.
    Down,
}

/// A process beyond doubt: a pid comes again, but not with the same start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// Clock ticks after boot, proc(5) `stat` field 22.
    pub start: u64,
}

/// The directory of one lab and the places in it.
#[derive(Clone, Debug)]
pub struct LabDir(PathBuf);

impl LabDir {
    /// `base` must be absolute: blades' emulators run elsewhere.
    pub fn new(base: &Path, name: &LabName) -> anyhow::Result<Self> {
        let base = std::path::absolute(base).context("the base directory of labs")?;
        let dir = Self(base.join(name.to_string()));
        // sockaddr_un holds 108 bytes with the final zero.
        let length = dir.power_socket().as_os_str().len();
        if length > 107 {
            bail!(
                "{} is too long for a socket's path ({length} of 107 bytes): choose a shorter --dir",
                dir.power_socket().display()
            );
        }
        Ok(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, part: impl AsRef<Path>) -> PathBuf {
        self.0.join(part)
    }

    pub fn power_socket(&self) -> PathBuf {
        self.join("power.sock")
    }

    pub fn keeper_log(&self) -> PathBuf {
        self.join("keeper.log")
    }

    /// Makes the directory, for root alone: who reaches the power socket rules
    /// the blades. Of two that try at once one gets `AlreadyExists`.
    pub fn create(&self) -> io::Result<()> {
        if let Some(base) = self.0.parent() {
            fs::create_dir_all(base)?;
        }
        fs::DirBuilder::new().mode(0o700).create(&self.0)
    }

    /// `None` where there is no such lab.
    pub fn load(&self) -> anyhow::Result<Option<State>> {
        let path = self.join("state.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(format!("reading {}", path.display())),
        };
        let state = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a lab's state", path.display()))?;
        Ok(Some(state))
    }

    /// Replaces `state.json` as a whole: a reader never sees half of it.
    pub fn save(&self, state: &State) -> anyhow::Result<()> {
        let (half, path) = (self.join("state.json.new"), self.join("state.json"));
        fs::write(&half, serde_json::to_vec_pretty(state)?)
            .and_then(|()| fs::rename(&half, &path))
            .with_context(|| format!("writing {}", path.display()))
    }
}

/// The names under `base` that are labs, sorted.
pub fn labs(base: &Path) -> io::Result<Vec<LabName>> {
    let entries = match fs::read_dir(base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(name) = name
            && entry.path().join("state.json").is_file()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

impl Process {
    /// `None` where no such process is, or where it has ended and only waits to be reaped.
    pub fn find(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name stands in parentheses and may hold spaces and parentheses.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?;
        let start = fields.nth(18)?.parse().ok()?;
        (state != "Z" && state != "X").then_some(Self { pid, start })
    }

    pub fn alive(&self) -> bool {
        Self::find(self.pid) == Some(*self)
    }
}

/// Every process that is the lab's: in its namespace, or started by it.
///
/// Not the caller's own. The namespace counts only while its name still leads
/// to it: an inode number of a namespace that is gone is soon given to another.
pub fn processes(state: &State) -> anyhow::Result<Vec<Process>> {
    let named = namespace_inode(&state.plan.namespace);
    let namespace = named.filter(|inode| state.namespace_inode.is_none_or(|own| own == *inode));
    let mark = format!("{ID_VARIABLE}={}", state.id);
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("reading /proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let inside = || {
            let inode = fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|meta| meta.ino());
            inode.is_some() && inode == namespace
        };
        let marked = || {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        if (inside() || marked())
            && let Some(process) = Process::find(pid)
        {
            found.push(process);
        }
    }
    Ok(found)
}

/// `None` where no namespace has this name.
pub fn namespace_inode(name: &str) -> Option<u64> {
    fs::metadata(namespace_path(name)).ok().map(|meta| meta.ino())
}

pub fn namespace_path(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_pid_and_start() {
        let own = Process::find(std::process::id()).unwrap();
        assert!(own.alive());
        assert!(!Process { start: own.start + 1, ..own }.alive());
        assert_eq!(Process::find(u32::MAX), None);
    }

    #[test]
    fn a_base_too_deep_for_a_socket_is_refused_with_the_remedy() {
        let base = PathBuf::from("/x".repeat(50));
        let error = LabDir::new(&base, &"demo".parse().unwrap()).unwrap_err();
        assert!(error.to_string().contains("shorter --dir"), "{error}");
    }

    #[test]
    fn only_directories_with_a_state_are_labs() {
        let base = tempfile::tempdir().unwrap();
        assert_eq!(labs(&base.path().join("none")).unwrap(), []);
        for name in ["b", "a", "empty", "Not-A-Name"] {
            fs::create_dir(base.path().join(name)).unwrap();
            if name != "empty" {
                fs::write(base.path().join(name).join("state.json"), "{}").unwrap();
            }
        }
        let names: Vec<_> = labs(base.path()).unwrap().iter().map(LabName::to_string).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
