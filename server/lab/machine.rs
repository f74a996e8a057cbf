//! One emulator process, from power-up to its end.
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// From exec to the monitor's greeting takes 0.1 s on an idle machine. Whoever asked for it waits
/// a little longer (`bmc::lab`).
const GREETING_LIMIT: Duration = Duration::from_secs(15);

pub struct Machine {
    child: Child,
    monitor: Lines<BufReader<ChildStdout>>,
    commands: ChildStdin,
    complaints: std::path::PathBuf,
    /// The reason in the monitor's SHUTDOWN event.
    shutdown: Option<String>,
    pub pid: u32,
    pub since: Instant,
}

/// How an emulator ended by itself.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The guest asked for a reset.
    Reset,
    /// The guest powered itself off.
    Off,
    /// Neither: killed or broken, with what it said.
    Failed(String),
}

impl Machine {
    /// Starts `emulator` in `dir` (see [`super::emit::emulator`] for `argv`)
    /// and returns once the guest runs.
    ///
    /// The emulator dies with the *thread* that calls this: call it only from
    /// the thread that lives as long as the keeper.
    pub async fn start(
        emulator: &str,
        argv: &[String],
        dir: &Path,
        complaints: &Path,
    ) -> io::Result<Self> {
        let complaints = dir.join(complaints);
        let mut command = Command::new(emulator);
        command.args(argv).current_dir(dir).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&complaints)?);
        let keeper = nix::unistd::getpid();
        // SAFETY: between fork and exec only prctl(2) and getppid(2) are
        // called, which are async-signal-safe; nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                set_pdeathsig(Signal::SIGKILL)?;
                // The keeper may have died before the signal was arranged.
                if getppid() == keeper { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
            });
        }
        let mut child = command.spawn()?;
        let pid = child.id().unwrap_or_default();
        let (Some(commands), Some(monitor)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the emulator's monitor is not connected"));
        };
        let monitor = BufReader::new(monitor).lines();
        let since = Instant::now();
        let mut machine = Self { child, monitor, commands, complaints, shutdown: None, pid, since };
        match tokio::time::timeout(GREETING_LIMIT, machine.handshake()).await {
            Ok(Ok(())) => Ok(machine),
            Ok(Err(error)) => {
                let _ = machine.child.start_kill();
                let _ = machine.child.wait().await;
                let said = machine.last_complaint();
                Err(said.map_or(error, io::Error::other))
            }
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{emulator} did not greet within {GREETING_LIMIT:?}"),
            )),
        }
    }

    /// The guest is let go only after the monitor listens, so no event is lost.
    async fn handshake(&mut self) -> io::Result<()> {
        let ended = || io::Error::new(io::ErrorKind::UnexpectedEof, "the emulator ended at once");
        self.monitor.next_line().await?.ok_or_else(ended)?;
        self.commands
            .write_all(b"{\"execute\":\"qmp_capabilities\"}{\"execute\":\"cont\"}")
            .await?;
        let mut returned = 0;
        while returned < 2 {
            let line = self.monitor.next_line().await?.ok_or_else(ended)?;
            match serde_json::from_str::<Value>(&line) {
                Ok(answer) if answer.get("return").is_some() => returned += 1,
                Ok(answer) if answer.get("error").is_some() => return Err(io::Error::other(line)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Waits until the emulator ends by itself. Cancel-safe.
    pub async fn ended(&mut self) -> End {
        while let Ok(Some(line)) = self.monitor.next_line().await {
            if let Some(reason) = shutdown_reason(&line) {
                self.shutdown = Some(reason);
            }
        }
        let status = match self.child.wait().await {
            Ok(status) => status,
            Err(error) => return End::Failed(error.to_string()),
        };
        match self.shutdown.as_deref() {
            // `host-qmp-system-reset` is somebody at the monitor pressing the button.
            Some("guest-reset" | "host-qmp-system-reset") => End::Reset,
            Some("guest-shutdown" | "host-qmp-quit") => End::Off,
            _ => {
                let how = match status.signal() {
                    Some(signal) => format!("emulator ended by signal {signal}"),
                    None => format!("emulator ended with code {}", status.code().unwrap_or(-1)),
                };
                let said = self.last_complaint();
                End::Failed(said.map_or(how.clone(), |said| format!("{how}: {said}")))
            }
        }
    }

    /// Cuts the power: no flush, no notice to the guest.
    pub async fn kill(mut self) -> io::Result<()> {
        self.child.kill().await
    }

    fn last_complaint(&self) -> Option<String> {
        let text = std::fs::read(&self.complaints).ok()?;
        let text = String::from_utf8_lossy(&text);
        text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
    }
}

fn shutdown_reason(line: &str) -> Option<String> {
    let event: Value = serde_json::from_str(line).ok()?;
    if event.get("event")? != "SHUTDOWN" {
        return None;
    }
    Some(event.get("data")?.get("reason")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monitors_shutdown_event_tells_why() {
        let event = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#;
        assert_eq!(shutdown_reason(event).as_deref(), Some("guest-reset"));
        for other in ["", "[]", "{\"event\": \"RESUME\"}", "{\"event\": \"SHUTDOWN\"}", "\u{1b}["] {
            assert_eq!(shutdown_reason(other), None, "{other}");
        }
    }
}
