//! What is looked at again and again: deadlines, health, boot images.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    blade::{Clock, Hostname, Kind, Millis, NewEvent, Phase, Step, millis},
    db::{self, AttemptRow},
    http::Shared,
    journal, probe, reconcile,
    topology::{Ask, ProbePlan},
};

/// Works until `shutdown`; everything is decided from what is stored.
pub async fn run(app: Shared, shutdown: CancellationToken) {
    let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(3)).build();
    let Ok(client) = client else {
        tracing::error!("no HTTP client for health probes");
        return;
    };
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut hearing = Hearing::new();
    for count in 0_u64.. {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = beat.tick() => {}
        }
        if let Err(error) = round(&app, &client, &mut hearing, count).await {
            hearing.since = journal::now();
            // A journal in trouble has said so once.
            if app.journal.trouble().is_none() {
                tracing::warn!("{error}");
            }
        }
    }
}

/// Since when blades can be heard: not while the journal could not be written, and not before the
/// clock was set.
struct Hearing {
    since: Millis,
    clock: Clock,
    began: Instant,
}

impl Hearing {
    fn new() -> Hearing {
        let (now, began) = (journal::now(), Instant::now());
        Hearing { since: now, clock: Clock::new(now, 0), began }
    }

    /// Looks at the clock; since when at `now`.
    fn since(&mut self, now: Millis) -> Millis {
        let steady = millis(self.began.elapsed());
        if self.clock.look(now, steady).is_some() {
            self.since = now;
        }
        self.since
    }
}

async fn round(
    app: &Shared,
    client: &reqwest::Client,
    hearing: &mut Hearing,
    count: u64,
) -> db::Result<()> {
    if let Some(trouble) = app.journal.trouble() {
        // Succeeds, and so ends the trouble, as soon as the journal can be written again.
        let text = format!("{trouble}: it can again; nothing that was acknowledged is missing");
        app.journal.note(NewEvent::new(journal::now(), Kind::Alert, text)).await?;
        hearing.since = journal::now();
    }
    let mut tx = app.journal.db().read().await?;
    let attempts = db::latest_attempts(&mut tx).await?;
    drop(tx);
    let (config, now) = (app.journal.config(), journal::now());
    for late in reconcile::overdue(&attempts, config, hearing.since(now), now) {
        let why = late.why.clone();
        if app.journal.step_if_silent(late.attempt, late.last_seen, late.step, late.why).await? {
            tracing::warn!(attempt = %late.attempt, "{why}");
        }
    }
    if count.is_multiple_of(2) {
        health(app, client, &attempts).await?;
    }
    if count.is_multiple_of(5)
        && let Err(error) = app.images.reload()
    {
        tracing::warn!("boot images: {error}");
    }
    Ok(())
}

/// Asks every blade that came up and is not ready, all at once.
async fn health(app: &Shared, client: &reqwest::Client, attempts: &[AttemptRow]) -> db::Result<()> {
    let waiting: Vec<&AttemptRow> =
        reconcile::probe_wanted(attempts).filter(|row| row.standing.phase >= Phase::Up).collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let plans = plans(app, &waiting);
    let asked = waiting.iter().filter_map(|row| {
        let plan = plans.get(&row.cluster)?;
        let ask = plan.asks.iter().find(|ask| ask.blade == row.blade)?;
        Some(one(app, client, row, plan, ask))
    });
    for result in futures_util::future::join_all(asked).await {
        result?;
    }
    Ok(())
}

fn plans(app: &Shared, waiting: &[&AttemptRow]) -> HashMap<Hostname, ProbePlan> {
    let snapshot = app.snapshot.load_full();
    let mut plans = HashMap::new();
    for row in waiting {
        if let Some(cluster) = snapshot.clusters.get(&row.cluster)
            && !plans.contains_key(&row.cluster)
            && let Ok(spec) = app.spec_of(&snapshot, cluster)
        {
            plans.insert(row.cluster.clone(), app.catalogue.probe(&spec));
        }
    }
    plans
}

async fn one(
    app: &Shared,
    client: &reqwest::Client,
    row: &AttemptRow,
    plan: &ProbePlan,
    ask: &Ask,
) -> db::Result<()> {
    match probe::ask(client, plan, ask).await {
        Ok(found) => {
            let why = format!("ready: {found}");
            app.journal.step(row.id, Kind::Probe, Step::Reached(Phase::Ready), why).await?;
        }
        Err(missing) if row.standing.phase == Phase::Up => {
            app.journal.step(row.id, Kind::Probe, Step::Reached(Phase::Joining), missing).await?;
        }
        // Said once, when joining began; the page shows since when.
        Err(_) => {}
    }
    Ok(())
}
