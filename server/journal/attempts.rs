//! How an attempt moves: what is seen, what a blade reports, what an operator asks.

use super::{Journal, ReportAnswer, Result, Sighting, Write};
use crate::{
    blade::{
        AttemptId, Hostname, Kind, MAX_TRIES, Mac, Millis, NewEvent, Outcome, Phase, Standing,
        Step, after,
    },
    db::{self, AttemptRow},
};

/// An attempt that began.
#[derive(Debug, Clone)]
pub struct Begun {
    pub id: AttemptId,
    pub blade: Hostname,
    pub number: i64,
}

/// An attempt to begin that waits for an operator, because another machine has its blade's place.
#[derive(Debug, Clone)]
pub struct Held {
    pub blade: Hostname,
    pub cluster: Hostname,
    pub role: String,
    pub why: String,
}

fn id_at(now: i64) -> AttemptId {
    let millis = u64::try_from(now).unwrap_or(0);
    let timestamp = uuid::Timestamp::from_unix_time(
        millis / 1000,
        u32::try_from(millis % 1000).unwrap_or(0) * 1_000_000,
        0,
        0,
    );
    AttemptId(uuid::Uuid::new_v7(timestamp))
}

pub(super) fn line(
    write: &Write,
    kind: Kind,
    row: &AttemptRow,
    text: impl Into<String>,
) -> NewEvent {
    NewEvent {
        blade: Some(row.blade.clone()),
        attempt: Some(row.id),
        phase: Some(row.standing.phase),
        ..NewEvent::new(write.now, kind, text)
    }
}

/// Applies a step to a row; true if anything but `last_seen` changed.
pub(super) fn apply(write: &mut Write, row: &mut AttemptRow, step: Step) -> bool {
    let (old, new) = (row.standing, after(row.standing, step));
    row.last_seen = write.now;
    if new == old {
        return false;
    }
    if new.phase != old.phase {
        row.phase_since = write.now;
    }
    if new.outcome.is_over() {
        row.ended = Some(write.now);
    }
    if matches!(new.outcome, Outcome::Going | Outcome::Ready) {
        row.reason = None;
    }
    row.standing = new;
    // Packets are answered by phase only where a blade's road forks.
    let fork = |s: Standing| (s.outcome, s.phase >= Phase::Live, s.phase >= Phase::Installed);
    write.intents_changed |= fork(old) != fork(new);
    true
}

/// Writes what services saw, and moves a blade's attempt where that is evidence.
pub(super) async fn saw(write: &mut Write, seen: &[&Sighting]) -> Result<()> {
    let mut events = Vec::with_capacity(seen.len());
    for sighting in seen {
        events.push(evidence(write, sighting).await?);
    }
    db::append_all(&mut write.tx, &events).await
}

async fn evidence(write: &mut Write, sighting: &Sighting) -> Result<NewEvent> {
    let mut event = NewEvent {
        blade: sighting.blade.clone(),
        mac: sighting.mac,
        detail: sighting.detail.clone(),
        ..NewEvent::new(write.now, sighting.kind, sighting.text.clone())
    };
    let row = match &sighting.blade {
        Some(blade) if write.may_be_going(blade) => {
            db::latest_attempt(&mut write.tx, blade).await?
        }
        _ => None,
    };
    if let Some(mut row) = row.filter(|row| !row.standing.outcome.is_over()) {
        event.attempt = Some(row.id);
        if let Some(phase) = sighting.phase {
            let reached = as_seen(row.standing.phase, phase);
            apply(write, &mut row, Step::Reached(reached));
            db::update_attempt(&mut write.tx, &row).await?;
        }
        event.phase = Some(row.standing.phase);
    }
    Ok(event)
}

/// A boot packet of a blade that called back "installed" is its reboot.
fn as_seen(now: Phase, seen: Phase) -> Phase {
    if now == Phase::Installed && seen <= Phase::Script { Phase::Rebooting } else { seen }
}

impl Journal {
    /// The install-completed callback: `installed` is durable when this returns. Idempotent.
    pub async fn finish(&self, attempt: AttemptId) -> Result<ReportAnswer> {
        self.write(move |write| {
            Box::pin(async move {
                let Some(mut row) = db::attempt(&mut write.tx, attempt).await? else {
                    return Ok(ReportAnswer::Unknown);
                };
                if row.standing.phase >= Phase::Installed {
                    return Ok(ReportAnswer::Replayed);
                }
                if !is_current(write, &row).await? {
                    return Ok(ReportAnswer::Stale);
                }
                apply(write, &mut row, Step::Finished);
                db::update_attempt(&mut write.tx, &row).await?;
                let event = line(
                    write,
                    Kind::Finish,
                    &row,
                    "installed; from now on it boots from its disk",
                );
                db::append(&mut write.tx, &event, None).await?;
                Ok(ReportAnswer::Accepted)
            })
        })
        .await
    }

    /// Begins attempts at an operator's request: blade, cluster, role each. What was under way is
    /// superseded. `from` is `Off` to have the blades powered, `Script` if they are on and ask.
    pub async fn begin(
        &self,
        blades: Vec<(Hostname, Hostname, String)>,
        from: Phase,
        by: &'static str,
    ) -> Result<Vec<Begun>> {
        self.write(move |write| {
            Box::pin(async move {
                let mut begun = Vec::new();
                for (blade, cluster, role) in blades {
                    db::delete_hold(&mut write.tx, &blade).await?;
                    let order = Order { blade, cluster, role, r#try: 1, from };
                    begun.push(begin_one(write, order, by).await?);
                }
                Ok(begun)
            })
        })
        .await
    }

    /// Begins an attempt that an operator must release first.
    pub async fn begin_held(&self, anew: Held) -> Result<()> {
        self.write(move |write| Box::pin(begin_held(write, anew))).await
    }

    /// A blade being installed asked for its boot script again: it was restarted. The attempt
    /// ends as failed, and a new one begins while tries are left. True if one began.
    pub async fn restarted(&self, attempt: AttemptId) -> Result<bool> {
        self.write(move |write| {
            Box::pin(async move {
                let Some(mut row) = db::attempt(&mut write.tx, attempt).await? else {
                    return Ok(false);
                };
                let lost =
                    row.standing.phase >= Phase::Live && row.standing.phase < Phase::Installed;
                if !lost || row.standing.outcome.is_over() || !is_current(write, &row).await? {
                    return Ok(false);
                }
                let reason = format!("the blade restarted in {}", row.standing.phase);
                fail(write, &mut row, reason).await?;
                if row.r#try >= MAX_TRIES {
                    return Ok(false);
                }
                let order = Order {
                    blade: row.blade,
                    cluster: row.cluster,
                    role: row.role,
                    r#try: row.r#try + 1,
                    from: Phase::Script,
                };
                begin_one(write, order, "the blade restarted").await?;
                Ok(true)
            })
        })
        .await
    }

    /// Applies a step decided elsewhere (power, probe) with a line that says why. False if it
    /// changed nothing, and nothing was written.
    pub async fn step(
        &self,
        attempt: AttemptId,
        kind: Kind,
        step: Step,
        why: String,
    ) -> Result<bool> {
        self.write(move |write| {
            Box::pin(async move {
                let row = db::attempt(&mut write.tx, attempt).await?;
                stepped(write, row, kind, step, why).await
            })
        })
        .await
    }

    /// The same for a step that is due because the blade was silent since `last_seen`. False, and
    /// nothing is written, if it was heard before this.
    pub async fn step_if_silent(
        &self,
        attempt: AttemptId,
        last_seen: Millis,
        step: Step,
        why: String,
    ) -> Result<bool> {
        self.write(move |write| {
            Box::pin(async move {
                let row = db::attempt(&mut write.tx, attempt).await?;
                let silent = row.filter(|row| row.last_seen == last_seen);
                stepped(write, silent, Kind::Attempt, step, why).await
            })
        })
        .await
    }

    /// Holds a blade: it is told to wait at its next boot, and its attempt stops where it is.
    pub async fn hold(&self, blade: Hostname, why: String) -> Result<()> {
        self.write(move |write| Box::pin(held(write, blade, why))).await
    }

    pub async fn release(&self, blade: Hostname) -> Result<()> {
        self.write(move |write| {
            Box::pin(async move {
                db::delete_hold(&mut write.tx, &blade).await?;
                operator(write, blade, Step::Release, "released".to_owned()).await
            })
        })
        .await
    }

    /// Records a choice made at a blade's console.
    pub async fn choose(&self, mac: Mac, blade: Option<Hostname>, entry: String) -> Result<()> {
        self.write(move |write| {
            Box::pin(async move {
                let now = write.now;
                db::put_choice(&mut write.tx, mac, &entry, now).await?;
                let text = format!("{entry} chosen at the console");
                let event =
                    NewEvent { blade, mac: Some(mac), ..NewEvent::new(now, Kind::Menu, text) };
                db::append(&mut write.tx, &event, None).await
            })
        })
        .await
    }
}

async fn stepped(
    write: &mut Write,
    row: Option<AttemptRow>,
    kind: Kind,
    step: Step,
    why: String,
) -> Result<bool> {
    let Some(mut row) = row else { return Ok(false) };
    let last_seen = row.last_seen;
    if !apply(write, &mut row, step) {
        return Ok(false);
    }
    if matches!(step, Step::Stall | Step::Fail) {
        // Only the blade itself says that it was seen.
        row.last_seen = last_seen;
        row.reason = Some(why.clone());
    }
    db::update_attempt(&mut write.tx, &row).await?;
    let event = line(write, kind, &row, why);
    db::append(&mut write.tx, &event, None).await?;
    Ok(true)
}

pub(super) async fn begin_held(write: &mut Write, anew: Held) -> Result<()> {
    let Held { blade, cluster, role, why } = anew;
    let order = Order { blade, cluster, role, r#try: 1, from: Phase::Script };
    let begun = begin_one(write, order, "another machine has its place").await?;
    held(write, begun.blade, why).await
}

async fn held(write: &mut Write, blade: Hostname, why: String) -> Result<()> {
    let now = write.now;
    db::put_hold(&mut write.tx, &blade, now, &why).await?;
    operator(write, blade, Step::Hold, format!("held: {why}")).await
}

async fn operator(write: &mut Write, blade: Hostname, step: Step, text: String) -> Result<()> {
    write.intents_changed = true;
    let mut event =
        NewEvent { blade: Some(blade.clone()), ..NewEvent::new(write.now, Kind::Operator, text) };
    if let Some(mut row) = db::latest_attempt(&mut write.tx, &blade).await? {
        let last_seen = row.last_seen;
        if apply(write, &mut row, step) {
            row.last_seen = last_seen;
            row.phase_since = write.now;
            db::update_attempt(&mut write.tx, &row).await?;
        }
        event.attempt = Some(row.id);
        event.phase = Some(row.standing.phase);
    }
    db::append(&mut write.tx, &event, None).await
}

/// True if `row` is the newest attempt of its blade and not over.
pub(super) async fn is_current(write: &mut Write, row: &AttemptRow) -> Result<bool> {
    let latest = db::latest_attempt(&mut write.tx, &row.blade).await?;
    let over = matches!(row.standing.outcome, Outcome::Failed | Outcome::Superseded);
    Ok(!over && latest.is_some_and(|latest| latest.id == row.id))
}

/// A new attempt to be made.
struct Order {
    blade: Hostname,
    cluster: Hostname,
    role: String,
    r#try: i64,
    from: Phase,
}

async fn begin_one(write: &mut Write, order: Order, by: &str) -> Result<Begun> {
    let Order { blade, cluster, role, r#try, from } = order;
    let mut number = 1;
    if let Some(mut last) = db::latest_attempt(&mut write.tx, &blade).await? {
        number = last.number + 1;
        let last_seen = last.last_seen;
        if apply(write, &mut last, Step::Supersede) {
            last.last_seen = last_seen;
            db::update_attempt(&mut write.tx, &last).await?;
        }
    }
    let row = AttemptRow {
        id: id_at(write.now),
        blade,
        cluster,
        role,
        number,
        r#try,
        standing: Standing { phase: from, outcome: Outcome::Going },
        reason: None,
        started: write.now,
        phase_since: write.now,
        last_seen: write.now,
        ended: None,
        bytes_done: 0,
        bytes_total: 0,
        hello: None,
        host_keys: None,
    };
    write.intents_changed = true;
    db::insert_attempt(&mut write.tx, &row).await?;
    let text = format!("attempt {number} begins: {} of cluster {} ({by})", row.role, row.cluster);
    let event = line(write, Kind::Attempt, &row, text);
    db::append(&mut write.tx, &event, None).await?;
    Ok(Begun { id: row.id, blade: row.blade, number })
}

/// Ends what is under way with a blade that left the inventory: racked again, it starts anew.
pub(super) async fn removed(write: &mut Write, blade: &Hostname) -> Result<()> {
    match db::latest_attempt(&mut write.tx, blade).await? {
        Some(mut row) if !row.standing.outcome.is_over() => {
            fail(write, &mut row, "the blade was removed from the inventory".to_owned()).await
        }
        _ => Ok(()),
    }
}

async fn fail(write: &mut Write, row: &mut AttemptRow, reason: String) -> Result<()> {
    apply(write, row, Step::Fail);
    row.reason = Some(reason.clone());
    db::update_attempt(&mut write.tx, row).await?;
    let event =
        line(write, Kind::Attempt, row, format!("failed in {}: {reason}", row.standing.phase));
    db::append(&mut write.tx, &event, None).await
}
