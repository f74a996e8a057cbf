//! The network namespace of a lab, made and removed with iproute2.
use std::io::Write;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use nix::sched::{CloneFlags, setns};
use uuid::Uuid;

use super::state::{ID_VARIABLE, namespace_path};

pub fn add(namespace: &str, lab: Uuid) -> anyhow::Result<()> {
    ip(&["netns", "add", namespace], "", Some(lab))
}

/// The namespace's name; the namespace itself, with bridge and taps, goes with
/// its last process.
pub fn remove(namespace: &str) -> anyhow::Result<()> {
    ip(&["netns", "delete", namespace], "", None)
}

/// Runs a batch of `ip` commands in the namespace; the first failure ends it.
pub fn batch(namespace: &str, lab: Uuid, commands: &str) -> anyhow::Result<()> {
    ip(&["-netns", namespace, "-batch", "-"], commands, Some(lab))
}

/// Moves the calling thread into the namespace; threads and processes it
/// starts afterwards are there too. Mounts stay as they are.
pub fn enter(namespace: &str) -> anyhow::Result<()> {
    let path = namespace_path(namespace);
    let file = std::fs::File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    setns(OwnedFd::from(file), CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("entering network namespace {namespace}"))
}

/// Marked as `lab`'s: `down` after a killed `up` must not overlook an `ip`
/// that is still at work.
fn ip(arguments: &[&str], input: &str, lab: Option<Uuid>) -> anyhow::Result<()> {
    let line = || format!("`ip {}`", arguments.join(" "));
    let mut child = Command::new("ip")
        .args(arguments)
        .envs(lab.map(|lab| (ID_VARIABLE, lab.to_string())))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(line)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A broken pipe is `ip` refusing an earlier line; it says so itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(line)?;
    if !output.status.success() {
        bail!("{}: {}", line(), explain(input, &String::from_utf8_lossy(&output.stderr)));
    }
    Ok(())
}

/// What `ip` said, with the command that it counts only by number.
fn explain(input: &str, said: &str) -> String {
    let number = said.rsplit_once("Command failed -:").map(|(_, number)| number.trim());
    let command = number
        .and_then(|number| number.parse::<usize>().ok())
        .and_then(|number| input.lines().nth(number.checked_sub(1)?));
    match command {
        Some(command) => format!("{} (at `{command}`)", said.lines().next().unwrap_or("").trim()),
        None => said.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn a_failed_batch_names_the_command_not_its_number() {
        let said = "RTNETLINK answers: File exists\nCommand failed -:2\n";
        let told = explain("link set lo up\nlink add br0 type bridge\n", said);
        assert_eq!(told, "RTNETLINK answers: File exists (at `link add br0 type bridge`)");
        assert_eq!(explain("", "Cannot open network namespace\n"), "Cannot open network namespace");
        assert_eq!(explain("a\n", "Command failed -:0"), "Command failed -:0");
    }
}
