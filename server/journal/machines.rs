//! Machines that are not in the inventory: what they report, and what becomes of them.

use std::net::Ipv4Addr;

use serde_json::json;

use super::{Journal, Result, Write};
use crate::{
    blade::{Hostname, Kind, Mac, Millis, NewEvent},
    db,
    inventory::{Machine, Reported},
};

/// Machines that may wait for an operator at once; whoever was silent longest makes way.
pub const MOST_WAITING: usize = 256;
/// A machine has nothing to say more often.
const APART: Millis = 4_000;
/// How exact "last seen" is.
const SEEN: Millis = 60_000;

/// What the journal says to a machine's report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discovery {
    Accepted,
    /// It reported a moment ago: again later.
    TooSoon,
}

impl Journal {
    /// Takes what a machine says of itself; durable when this returns.
    pub async fn discovered(
        &self,
        mac: Mac,
        blade: Option<Hostname>,
        ip: Option<Ipv4Addr>,
        machine: Machine,
    ) -> Result<Discovery> {
        self.write(move |write| Box::pin(take(write, mac, blade, ip, machine))).await
    }

    /// Notes that a waiting machine still asks. `None` if it has not reported, or was forgotten.
    pub async fn still_waits(&self, mac: Mac) -> Result<Option<()>> {
        let known = {
            let mut tx = self.db().read().await?;
            db::machine(&mut tx, mac).await?
        };
        let Some(known) = known else { return Ok(None) };
        if super::now() - known.last_seen >= SEEN {
            self.write(move |write| {
                Box::pin(async move {
                    let Some(known) = db::machine(&mut write.tx, mac).await? else { return Ok(()) };
                    let known = Reported { last_seen: write.now, ..known };
                    db::put_machine(&mut write.tx, &known).await
                })
            })
            .await?;
        }
        Ok(Some(()))
    }

    /// Takes a machine out of the tray; it comes back when it reports again. False if it was not
    /// there.
    pub async fn forget_machine(&self, mac: Mac) -> Result<bool> {
        self.write(move |write| {
            Box::pin(async move {
                let was = db::delete_machine(&mut write.tx, mac).await?;
                if was {
                    let text = format!("machine {mac} forgotten");
                    let event = about(write, Kind::Operator, mac, text);
                    db::append(&mut write.tx, &event, None).await?;
                }
                Ok(was)
            })
        })
        .await
    }

    /// Notes which blade a machine has become, and forgets those it took the place of.
    pub async fn racked(&self, mac: Mac, blade: Hostname, replaced: Vec<Mac>) -> Result<()> {
        self.write(move |write| {
            Box::pin(async move {
                let mut text = format!("{mac} racked as {blade}");
                for old in replaced.into_iter().filter(|old| *old != mac) {
                    db::delete_machine(&mut write.tx, old).await?;
                    text = format!("{text}, in the place of {old}");
                }
                let event =
                    NewEvent { blade: Some(blade), ..about(write, Kind::Operator, mac, text) };
                db::append(&mut write.tx, &event, None).await
            })
        })
        .await
    }
}

fn about(write: &Write, kind: Kind, mac: Mac, text: String) -> NewEvent {
    NewEvent { mac: Some(mac), ..NewEvent::new(write.now, kind, text) }
}

async fn take(
    write: &mut Write,
    mac: Mac,
    blade: Option<Hostname>,
    ip: Option<Ipv4Addr>,
    machine: Machine,
) -> Result<Discovery> {
    let now = write.now;
    let before = db::machine(&mut write.tx, mac).await?;
    // A clock that was set back must not keep a machine waiting.
    if before.as_ref().is_some_and(|old| (0..APART).contains(&(now - old.reported))) {
        return Ok(Discovery::TooSoon);
    }
    let first_seen = before.as_ref().map_or(now, |old| old.first_seen);
    let news = before.as_ref().is_none_or(|old| old.machine != machine);
    let told = machine.words();
    let one = Reported { mac, ip, first_seen, reported: now, last_seen: now, machine };
    db::put_machine(&mut write.tx, &one).await?;
    if before.is_none() {
        make_way(write).await?;
    }
    if news {
        let verb = if before.is_some() { "reports anew" } else { "discovered" };
        let neighbour = one.machine.lldp.as_ref().map(|lldp| format!(", at {}", lldp.words()));
        let text = format!("{verb}: {told}{}", neighbour.unwrap_or_default());
        let event = NewEvent {
            blade,
            detail: json!({ "serial": one.machine.serial, "uuid": one.machine.uuid }),
            ..about(write, Kind::Inventory, mac, text)
        };
        db::append(&mut write.tx, &event, None).await?;
    }
    Ok(Discovery::Accepted)
}

async fn make_way(write: &mut Write) -> Result<()> {
    let strangers = db::strangers(&mut write.tx).await?;
    let excess = strangers.len().saturating_sub(MOST_WAITING);
    for mac in strangers.into_iter().take(excess) {
        db::delete_machine(&mut write.tx, mac).await?;
        let text = format!(
            "machine {mac} made way: at most {MOST_WAITING} wait for an operator; rack or forget some"
        );
        let event = about(write, Kind::Alert, mac, text);
        db::append(&mut write.tx, &event, None).await?;
    }
    Ok(())
}
