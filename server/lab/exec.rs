//! `lab exec`: a command inside the lab's network, reachable from outside by
//! one listener that it is handed.
use std::convert::Infallible;
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::dup2_raw;

use super::net;
use super::plan::LabName;
use super::state::{ID_VARIABLE, LabDir, Stage, namespace_inode};

/// sd_listen_fds(3): passed sockets begin at this descriptor.
const FIRST_PASSED: RawFd = 3;

/// Becomes the command; returns only where it cannot be started.
///
/// Only the network namespace changes: files stay the host's, and so does what
/// `/sys/class/net` shows.
pub fn exec(
    base: &Path,
    name: &LabName,
    listen: Option<SocketAddr>,
    words: &[OsString],
) -> anyhow::Result<Infallible> {
    let dir = LabDir::new(base, name)?;
    let Some(state) = dir.load()?.filter(|state| state.stage == Stage::Up) else {
        bail!("no lab {name} in {}", base.display());
    };
    let namespace = &state.plan.namespace;
    let present = namespace_inode(namespace);
    if present.is_none() || present != state.namespace_inode {
        bail!("lab {name} has lost its network: `firstlight lab down {name}`, then up again");
    }
    let Some((program, arguments)) = words.split_first() else { bail!("no command given") };
    let mut command = Command::new(program);
    command.args(arguments).env(ID_VARIABLE, state.id.to_string());
    if let Some(address) = listen {
        // Bound before the namespace is entered: this one is the host's.
        let listener = TcpListener::bind(address)
            .with_context(|| format!("listening on {address} for {}", program.display()))?;
        if address.port() == 0 {
            eprintln!("listening on {}", listener.local_addr()?);
        }
        pass(listener)?;
        command
            .env("LISTEN_FDS", "1")
            .env("LISTEN_PID", std::process::id().to_string())
            .env("LISTEN_FDNAMES", "ui");
    }
    net::enter(namespace)?;
    Err(command.exec()).with_context(|| format!("starting {}", program.display()))
}

/// Puts the listener where the command looks for it, open over exec.
fn pass(listener: TcpListener) -> anyhow::Result<()> {
    if listener.as_raw_fd() == FIRST_PASSED {
        // dup2(2) onto itself would leave close-on-exec set.
        fcntl(&listener, FcntlArg::F_SETFD(FdFlag::empty()))?;
        let _ = listener.into_raw_fd();
        return Ok(());
    }
    // SAFETY: whatever had descriptor 3 loses it, but nothing of this process
    // runs on: the next step is exec, or the end with an error.
    let passed = unsafe { dup2_raw(&listener, FIRST_PASSED) }?;
    let _ = passed.into_raw_fd();
    Ok(())
}
