//! What one blade shall hold, filled and checked, before it takes the form a system reads.

use std::{collections::HashSet, fmt, str::FromStr};

use serde_saphyr::Spanned;

use super::{
    Net, Os, Problem,
    fill::Filler,
    neutral::{Neutral, NeutralUnit, Source},
};
use crate::blade::{Hostname, Mac};

/// A blade's document. The same in every form: hostname, keys, files, units, static network.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    pub cluster: Hostname,
    /// The blade's name in the inventory; the system's own is `hostname`.
    pub blade: Hostname,
    pub hostname: Hostname,
    pub os: Os,
    pub mac: Mac,
    pub net: Net,
    /// For the user `core`, who may use sudo, on every system.
    pub ssh_keys: Vec<String>,
    pub reboot_strategy: Option<String>,
    pub files: Vec<File>,
    pub units: Vec<Unit>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute, unique.
    pub path: String,
    /// Permission bits, at most 0o7777.
    pub mode: u16,
    pub content: String,
}

/// A systemd unit: a whole one, or drop-ins for the system's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    pub name: String,
    pub enabled: bool,
    pub command: Option<Command>,
    pub content: Option<String>,
    pub dropins: Vec<Dropin>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropin {
    pub name: String,
    pub content: String,
}

/// systemctl's verbs that coreos-cloudinit knows (config/unit.go).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Start,
    Stop,
    Restart,
    Reload,
    TryRestart,
    ReloadOrRestart,
    ReloadOrTryRestart,
}

impl Command {
    pub const ALL: [Command; 7] = [
        Command::Start,
        Command::Stop,
        Command::Restart,
        Command::Reload,
        Command::TryRestart,
        Command::ReloadOrRestart,
        Command::ReloadOrTryRestart,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Command::Start => "start",
            Command::Stop => "stop",
            Command::Restart => "restart",
            Command::Reload => "reload",
            Command::TryRestart => "try-restart",
            Command::ReloadOrRestart => "reload-or-restart",
            Command::ReloadOrTryRestart => "reload-or-try-restart",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Command {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = || Command::ALL.map(Command::as_str).join(", ");
        let found = Command::ALL.into_iter().find(|command| command.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is no command; use one of {}", known()))
    }
}

/// Fills a neutral document into `document`, after what is there already.
pub(super) fn fill(
    document: &mut Document,
    neutral: &Neutral,
    source: Source<'_>,
    filler: &Filler,
) -> Result<(), Problem> {
    document.ssh_keys.extend(filler.list(source, &neutral.ssh_authorized_keys)?);
    if let Some(text) = &neutral.reboot_strategy {
        let strategy = filler.text(source, text)?;
        if !["off", "reboot", "etcd-lock"].contains(&strategy.as_str()) {
            return Err(fault(source, text, format!("{strategy:?}: use off, reboot, etcd-lock")));
        }
        document.reboot_strategy = Some(strategy);
    }
    for file in &neutral.files {
        if !filler.holds(source, file.when.as_ref())? {
            continue;
        }
        let path = filler.text(source, &file.path)?;
        path_fault(document, &path).map_or(Ok(()), |why| Err(fault(source, &file.path, why)))?;
        let mode = filler.text(source, &file.mode)?;
        let mode = mode_bits(&mode).map_err(|why| fault(source, &file.mode, why))?;
        let content = filler.text(source, &file.content)?;
        document.files.push(File { path, mode, content });
    }
    for unit in &neutral.units {
        if filler.holds(source, unit.when.as_ref())? {
            let filled = fill_unit(document, unit, source, filler)?;
            document.units.push(filled);
        }
    }
    Ok(())
}

fn fill_unit(
    document: &Document,
    unit: &NeutralUnit,
    source: Source<'_>,
    filler: &Filler,
) -> Result<Unit, Problem> {
    let name = filler.text(source, &unit.name)?;
    unit_fault(document, &name).map_or(Ok(()), |why| Err(fault(source, &unit.name, why)))?;
    let command = match &unit.command {
        Some(text) => {
            let verb = filler.text(source, text)?;
            Some(verb.parse().map_err(|why| fault(source, text, why))?)
        }
        None => None,
    };
    let content = filler.maybe(source, unit.content.as_ref())?;
    // systemd enables nothing without [Install]; Ignition's validator only warns of it.
    if let Some(text) = content.as_ref().filter(|_| unit.enabled)
        && !text.lines().any(|line| line.trim() == "[Install]")
    {
        return Err(fault(source, &unit.name, format!("{name} is enabled without [Install]")));
    }
    let mut dropins = Vec::new();
    for dropin in &unit.dropins {
        let name = filler.text(source, &dropin.name)?;
        if !is_name(&name) || !name.ends_with(".conf") {
            return Err(fault(source, &dropin.name, format!("{name:?} is no NAME.conf")));
        }
        dropins.push(Dropin { name, content: filler.text(source, &dropin.content)? });
    }
    Ok(Unit { name, enabled: unit.enabled, command, content, dropins })
}

fn fault(source: Source<'_>, at: &Spanned<String>, message: String) -> Problem {
    let place = at.referenced;
    Problem::new("E_DOCUMENT", "", message).at(source.path, place.line(), place.column())
}

fn path_fault(document: &Document, path: &str) -> Option<String> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    if !path.starts_with('/') || parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return Some(format!("{path:?} is not an absolute path without . or .."));
    }
    if path.chars().any(char::is_control) {
        return Some(format!("{path:?} has a control character"));
    }
    if path.starts_with("/usr/") && document.os == Os::Flatcar {
        return Some(format!("{path}: /usr is read-only on Flatcar"));
    }
    let twice = document.files.iter().any(|file| file.path == path);
    twice.then(|| format!("{path} is written twice"))
}

fn mode_bits(text: &str) -> Result<u16, String> {
    let octal = text.len() == 4 && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let bits = u16::from_str_radix(text, 8).ok().filter(|_| octal);
    bits.ok_or_else(|| format!("{text:?} is no mode; write four octal digits like \"0644\""))
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@:\\".contains(&b))
}

/// systemd.unit(5): the types of units there are.
fn unit_fault(document: &Document, name: &str) -> Option<String> {
    let kinds: HashSet<&str> =
        ["service", "socket", "target", "timer", "mount", "automount", "path", "swap", "slice"]
            .into();
    if !is_name(name) || !name.rsplit_once('.').is_some_and(|(_, kind)| kinds.contains(kind)) {
        return Some(format!("{name:?} is no unit's name, like etcd.service"));
    }
    let twice = document.units.iter().any(|unit| unit.name == name);
    twice.then(|| format!("{name} is described twice"))
}
