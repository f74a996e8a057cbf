//! One blade of the rack: off, or an emulator that runs. The only one who
//! starts and ends that emulator.
use std::future;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};

use super::emit;
use super::machine::{End, Machine};
use super::plan::{self, Plan};
use super::state::LabDir;
use crate::bmc::lab::{BladePower, BootDevice, Op, Power};

/// One operation, and where its answer goes: the blade's state after it, or
/// why it was not done.
pub struct Command {
    pub op: Op,
    pub device: Option<BootDevice>,
    pub reply: oneshot::Sender<Result<BladePower, String>>,
}

/// Obeys until the last sender is gone, then cuts the power.
pub async fn run(
    plan: Arc<Plan>,
    blade: plan::Blade,
    dir: LabDir,
    mut commands: mpsc::Receiver<Command>,
) {
    let mut blade =
        Blade { plan, blade, dir, machine: None, boots: 0, next_boot: None, error: None };
    loop {
        let ended = async {
            match &mut blade.machine {
                Some(machine) => machine.ended().await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            end = ended => blade.ended(end).await,
            command = commands.recv() => match command {
                Some(Command { op, device, reply }) => {
                    let result = blade.obey(op, device).await.map(|()| blade.state());
                    // Who asked may have gone; the operation stands.
                    let _ = reply.send(result);
                }
                None => break,
            },
        }
    }
    if let Err(reason) = blade.off().await {
        tracing::warn!(blade = blade.blade.name, reason, "not powered off");
    }
}

struct Blade {
    plan: Arc<Plan>,
    blade: plan::Blade,
    dir: LabDir,
    machine: Option<Machine>,
    boots: u32,
    next_boot: Option<BootDevice>,
    error: Option<String>,
}

impl Blade {
    async fn obey(&mut self, op: Op, device: Option<BootDevice>) -> Result<(), String> {
        match op {
            Op::On if self.machine.is_some() => Ok(()),
            Op::On => self.on("powered on").await,
            Op::Off => self.off().await,
            Op::Reset if self.machine.is_none() => Err("it is off".to_owned()),
            Op::Cycle | Op::Reset => {
                self.off().await?;
                self.on("power cycled").await
            }
            Op::Boot => {
                self.next_boot = device;
                Ok(())
            }
            Op::Status | Op::List => Ok(()),
        }
    }

    async fn on(&mut self, how: &str) -> Result<(), String> {
        match self.start(how).await {
            Ok(machine) => {
                tracing::info!(blade = self.blade.name, pid = machine.pid, boot = self.boots, how);
                self.machine = Some(machine);
                self.error = None;
                Ok(())
            }
            Err(error) => {
                let reason = format!("not {how}: {error}");
                tracing::error!(blade = self.blade.name, reason);
                self.error = Some(reason.clone());
                Err(reason)
            }
        }
    }

    async fn start(&mut self, how: &str) -> io::Result<Machine> {
        let files = emit::files(&self.blade);
        // A one-time boot device lapses with the power-up that takes it.
        let once = self.next_boot.take();
        self.boots += 1;
        let line = format!("\r\n--- {}: {how}, boot {} ---\r\n", self.blade.name, self.boots);
        let console = self.dir.join(&files.console);
        let mut log = OpenOptions::new().create(true).append(true).open(console).await?;
        log.write_all(line.as_bytes()).await?;
        log.flush().await?;
        let argv = emit::emulator(&self.plan, &self.blade, once);
        let emulator = self.blade.firmware.board.emulator().name;
        Machine::start(emulator, &argv, self.dir.path(), Path::new(&files.complaints)).await
    }

    async fn off(&mut self) -> Result<(), String> {
        if let Some(machine) = self.machine.take() {
            tracing::info!(blade = self.blade.name, pid = machine.pid, "powered off");
            machine.kill().await.map_err(|error| format!("not powered off: {error}"))?;
        }
        Ok(())
    }

    async fn ended(&mut self, end: End) {
        self.machine = None;
        match end {
            End::Reset => {
                // Its failure is logged and kept; the blade then is off.
                let _ = self.on("reset by its guest").await;
            }
            End::Off => tracing::info!(blade = self.blade.name, "powered off by its guest"),
            End::Failed(reason) => {
                tracing::error!(blade = self.blade.name, reason);
                self.error = Some(reason);
            }
        }
    }

    fn state(&self) -> BladePower {
        let machine = self.machine.as_ref();
        BladePower {
            blade: self.blade.name.clone(),
            power: if machine.is_some() { Power::On } else { Power::Off },
            pid: machine.map(|machine| machine.pid),
            uptime: machine.map(|machine| machine.since.elapsed().as_secs()),
            boots: self.boots,
            next_boot: self.next_boot,
            error: self.error.clone(),
        }
    }
}
