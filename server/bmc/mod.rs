//! Power (layer 4): does what stands in the queue of requests, and tells the journal.
//!
//! A blade whose power cannot be reached is not given up: its attempt asks a person to press
//! the button and goes on when the blade shows itself.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    blade::{Hostname, Kind, Phase, Step},
    db::{self, AttemptRow, PowerRequest},
    inventory::{Bmc, Snapshot},
    journal::Journal,
    reconcile,
};

pub mod lab;
pub mod power;

use power::{PowerOp, PowerState};

/// Times a transient failure is tried again before a person is asked.
const TRIES: u32 = 3;
/// Operations at once: blades of a rack draw their inrush current one after the other.
const AT_ONCE: usize = 16;

/// Works until `shutdown`, woken by the journal.
pub async fn run(journal: Journal, snapshot: Arc<ArcSwap<Snapshot>>, shutdown: CancellationToken) {
    let mut changes = journal.changes();
    loop {
        changes.borrow_and_update();
        if let Err(error) = round(&journal, &snapshot).await {
            tracing::warn!("power: {error}");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }
}

/// One look at what is asked, until nothing is left.
async fn round(journal: &Journal, snapshot: &ArcSwap<Snapshot>) -> db::Result<()> {
    let mut tx = journal.db().read().await?;
    let requests = db::open_power(&mut tx, 64).await?;
    let attempts = db::latest_attempts(&mut tx).await?;
    drop(tx);
    // After what is asked: a blade racked and deployed in this moment is in no older snapshot.
    let snapshot = snapshot.load_full();
    let mut work = JoinSet::new();
    for request in requests {
        let (journal, snapshot) = (journal.clone(), snapshot.clone());
        work.spawn(async move { answer(&journal, &snapshot, request).await });
    }
    for row in reconcile::power_wanted(&attempts) {
        while work.len() >= AT_ONCE {
            work.join_next().await;
        }
        let (journal, snapshot, row) = (journal.clone(), snapshot.clone(), row.clone());
        work.spawn(async move { netboot(&journal, &snapshot, &row).await });
    }
    for row in reconcile::disk_boot_wanted(&attempts) {
        let (journal, snapshot, row) = (journal.clone(), snapshot.clone(), row.clone());
        work.spawn(async move { disk_boot(&journal, &snapshot, &row).await });
    }
    while let Some(done) = work.join_next().await {
        if let Ok(Err(error)) = done {
            tracing::warn!("power: {error}");
        }
    }
    Ok(())
}

/// A person's request: done once, the result stored for whoever waits.
async fn answer(journal: &Journal, snapshot: &Snapshot, request: PowerRequest) -> db::Result<()> {
    let op = match request.op.as_str() {
        "on" => PowerOp::On,
        "off" => PowerOp::Off,
        "cycle" => PowerOp::Cycle,
        _ => PowerOp::Status,
    };
    let result = match bmc_of(snapshot, &request.blade) {
        Ok((bmc, name)) => operate(bmc, name, op).await,
        Err(why) => Err(why),
    };
    let text = match result {
        Ok(PowerState::On) => "on".to_owned(),
        Ok(PowerState::Off) => "off".to_owned(),
        Err(why) => format!("error: {why}"),
    };
    journal
        .write(move |write| {
            Box::pin(async move {
                let now = write.now;
                if request.op != "status" {
                    let event = crate::blade::NewEvent {
                        blade: request.blade.parse().ok(),
                        ..crate::blade::NewEvent::new(
                            now,
                            Kind::Power,
                            format!("power {}: {text}", request.op),
                        )
                    };
                    db::append(&mut write.tx, &event, None).await?;
                }
                db::close_power(&mut write.tx, request.id, now, &text).await
            })
        })
        .await
}

fn bmc_of<'a>(snapshot: &'a Snapshot, blade: &str) -> Result<(&'a Bmc, &'a Hostname), String> {
    let blade = snapshot.by_name(blade).ok_or_else(|| format!("there is no blade {blade}"))?;
    let bmc = blade
        .bmc
        .as_ref()
        .ok_or_else(|| format!("blade {} has no BMC in the inventory", blade.name))?;
    Ok((bmc, &blade.name))
}

async fn operate(bmc: &Bmc, blade: &Hostname, op: PowerOp) -> Result<PowerState, String> {
    match &bmc.lab {
        Some(socket) => {
            lab::power(socket, blade.as_str(), op).await.map_err(|error| error.to_string())
        }
        None => Err(format!("IPMI is not spoken yet: press the power button of {blade}, please")),
    }
}

/// Begins an attempt's road: one boot from the network, from cold.
async fn netboot(journal: &Journal, snapshot: &Snapshot, row: &AttemptRow) -> db::Result<()> {
    if snapshot.by_name(row.blade.as_str()).is_none() {
        // What is committed is in memory a moment later: the next round knows the blade.
        return Ok(());
    }
    let mut last = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let done = match bmc_of(snapshot, row.blade.as_str()) {
            Ok((bmc, name)) if bmc.lab.is_some() => cold_netboot(bmc, name).await,
            Ok((_, name)) => {
                Err(format!("IPMI is not spoken yet: press the power button of {name}, please"))
            }
            Err(why) => Err(format!("{why}: press its power button, please")),
        };
        match done {
            Ok(()) => {
                let why = "powered on, to boot from the network".to_owned();
                journal.step(row.id, Kind::Power, Step::Reached(Phase::Firmware), why).await?;
                return Ok(());
            }
            Err(why) => last = why,
        }
        if last.contains("press") {
            break;
        }
    }
    // Not a failure: the attempt waits in `powering` for a person, and goes on by itself.
    journal.step(row.id, Kind::Power, Step::Reached(Phase::Powering), last).await?;
    Ok(())
}

async fn cold_netboot(bmc: &Bmc, blade: &Hostname) -> Result<(), String> {
    operate(bmc, blade, PowerOp::Off).await?;
    operate(bmc, blade, PowerOp::BootPxe).await?;
    operate(bmc, blade, PowerOp::On).await.map(drop)
}

/// Sends an installed blade to its disk at its reboot, where a BMC can: firmware that tries every
/// way to boot from the network first takes minutes (EDK2: PXEv6 66 s, HTTP boot 60 s). Without
/// one the blade finds its disk all the same, as no boot file is offered to it.
async fn disk_boot(journal: &Journal, snapshot: &Snapshot, row: &AttemptRow) -> db::Result<()> {
    if let Ok((bmc, name)) = bmc_of(snapshot, row.blade.as_str())
        && bmc.lab.is_some()
        && operate(bmc, name, PowerOp::BootDisk).await.is_ok()
    {
        let why = "its next boot is from the disk".to_owned();
        journal.step(row.id, Kind::Power, Step::Reached(Phase::Rebooting), why).await?;
    }
    Ok(())
}
