//! Power (layer 4): does what stands in the queue of requests, and tells the journal.
//!
//! A blade whose power cannot be reached is not given up: it is tried again, and where there is
//! nothing to try, its attempt asks a person to press the button. It goes on in any case when the
//! blade shows itself.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use futures_util::{
    FutureExt as _, StreamExt as _,
    stream::{self, FuturesUnordered},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    blade::{AttemptId, Hostname, Kind, Phase, Step},
    db::{self, AttemptRow, PowerRequest},
    inventory::{Bmc, Snapshot},
    journal::Journal,
    reconcile,
};

pub mod lab;
pub mod power;

use power::{PowerOp, PowerState};

/// A blade whose BMC did not answer is tried again after this, until its attempt is stalled.
const AGAIN: Duration = Duration::from_secs(5);
/// Operations at once: blades of a rack draw their inrush current one after the other.
const AT_ONCE: usize = 16;

/// Works until `shutdown`, woken by the journal. What people ask does not wait for attempts.
pub async fn run(journal: Journal, snapshot: Arc<ArcSwap<Snapshot>>, shutdown: CancellationToken) {
    let wanted = async {
        let (mut changes, mut tried) = (journal.changes(), HashMap::new());
        changes.mark_changed();
        loop {
            due(&journal, &mut changes).await;
            tell(roads(&journal, &snapshot, &mut tried).await);
        }
    };
    // What an attempt needs is done anew by the next daemon; what a person asked is done once.
    tokio::join!(shutdown.run_until_cancelled(wanted), requests(&journal, &snapshot, &shutdown));
}

/// Waits until there may be something to do.
async fn due(journal: &Journal, changes: &mut watch::Receiver<()>) {
    loop {
        // It ends at the latest after two seconds, whatever becomes of the journal.
        let _ = tokio::time::timeout(Duration::from_secs(2), changes.changed()).await;
        // What is done then could not be written, and would be done again and again.
        if journal.trouble().is_none() {
            return;
        }
    }
}

fn tell(result: db::Result<()>) {
    if let Err(error) = result {
        tracing::warn!("power: {error}");
    }
}

/// Does what people asked; a BMC that hangs keeps nobody else waiting.
async fn requests(journal: &Journal, snapshot: &ArcSwap<Snapshot>, shutdown: &CancellationToken) {
    let mut changes = journal.changes();
    changes.mark_changed();
    let (mut going, mut doing) = (HashSet::new(), FuturesUnordered::new());
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some((id, done)) = doing.next() => {
                going.remove(&id);
                tell(done);
                continue;
            }
            () = due(journal, &mut changes) => {}
        }
        match asked(journal).await {
            Ok(asked) => {
                let asked = asked.into_iter().filter(|request| going.insert(request.id));
                let one = |request| answer(journal, snapshot.load_full(), request);
                doing.extend(asked.map(one));
            }
            Err(error) => tell(Err(error)),
        }
    }
    while let Some((_, done)) = doing.next().await {
        tell(done);
    }
}

async fn asked(journal: &Journal) -> db::Result<Vec<PowerRequest>> {
    let mut tx = journal.db().read().await?;
    db::open_power(&mut tx, 64).await
}

/// Does what attempts need.
async fn roads(
    journal: &Journal,
    snapshot: &ArcSwap<Snapshot>,
    tried: &mut HashMap<AttemptId, Instant>,
) -> db::Result<()> {
    let mut tx = journal.db().read().await?;
    let attempts = db::latest_attempts(&mut tx).await?;
    drop(tx);
    // After what is wanted: a blade racked and deployed in this moment is in no older snapshot.
    let snapshot = snapshot.load_full();
    tried.retain(|_, at| at.elapsed() < AGAIN);
    let mut work = Vec::new();
    for row in reconcile::power_wanted(&attempts) {
        let has_power =
            bmc_of(&snapshot, row.blade.as_str()).is_ok_and(|(bmc, _)| bmc.lab.is_some());
        let again = has_power && !tried.contains_key(&row.id);
        if row.standing.phase == Phase::Off || again {
            work.push(netboot(journal, &snapshot, row).boxed());
            tried.insert(row.id, Instant::now());
        }
    }
    for row in reconcile::disk_boot_wanted(&attempts) {
        work.push(disk_boot(journal, &snapshot, row).boxed());
    }
    let done: Vec<_> = stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
    done.into_iter().collect()
}

/// A person's request: done once, the result stored for whoever waits.
async fn answer(
    journal: &Journal,
    snapshot: Arc<Snapshot>,
    request: PowerRequest,
) -> (i64, db::Result<()>) {
    let id = request.id;
    let op = match request.op.as_str() {
        "on" => PowerOp::On,
        "off" => PowerOp::Off,
        "cycle" => PowerOp::Cycle,
        _ => PowerOp::Status,
    };
    let result = match bmc_of(&snapshot, &request.blade) {
        Ok((bmc, name)) => operate(bmc, name, op).await,
        Err(why) => Err(why),
    };
    let text = match result {
        Ok(PowerState::On) => "on".to_owned(),
        Ok(PowerState::Off) => "off".to_owned(),
        Err(why) => format!("error: {why}"),
    };
    let written = journal
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
        .await;
    (id, written)
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
    // Others were powered before it; meanwhile it may have shown itself, or be held.
    let mut tx = journal.db().read().await?;
    let now = db::attempt(&mut tx, row.id).await?;
    drop(tx);
    if now.is_none_or(|now| reconcile::power_wanted(&[now]).next().is_none()) {
        return Ok(());
    }
    let done = match bmc_of(snapshot, row.blade.as_str()) {
        Ok((bmc, name)) => cold_netboot(bmc, name).await.map_err(|why| match bmc.lab {
            Some(_) => format!("{why}; it is tried again every {} s", AGAIN.as_secs()),
            None => why,
        }),
        Err(why) => Err(format!("{why}: press its power button, please")),
    };
    let (phase, why) = match done {
        Ok(()) => (Phase::Firmware, "powered on, to boot from the network".to_owned()),
        // Not a failure: the attempt waits, and goes on by itself.
        Err(why) => (Phase::Powering, why),
    };
    journal.step(row.id, Kind::Power, Step::Reached(phase), why).await?;
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
        && operate(bmc, name, PowerOp::BootDisk).await.is_ok()
    {
        let why = "its next boot is from the disk".to_owned();
        journal.step(row.id, Kind::Power, Step::Reached(Phase::Rebooting), why).await?;
    }
    Ok(())
}
