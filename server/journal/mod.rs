//! The journal (layer 3): the one writer of a blade's state.
//!
//! All writes queue here and are committed in groups: many blades' reports share one sync of
//! the disk. An answer is given after the commit, and after the snapshot that answers packets
//! has been swapped, so whoever got a 200 finds the new state everywhere.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    blade::{Hostname, Kind, Mac, Millis, NewEvent, Phase},
    config::{Config, DhcpMode},
    db::{self, Db, DbError, Tx},
    inventory::{self, Snapshot},
};

mod attempts;
mod changes;
mod leases;
mod machines;
mod reports;
mod whereabouts;

pub use attempts::Begun;
pub use changes::{Applied, ApplyError, ApplyRequest, Judge};
pub use leases::LeaseChange;
pub use machines::{Discovery, MOST_WAITING};
pub use reports::ReportAnswer;

type Result<T> = std::result::Result<T, DbError>;
type Reply = Box<dyn FnOnce() + Send>;
type Job = Box<dyn for<'a> FnOnce(&'a mut Write) -> BoxFuture<'a, Result<Reply>> + Send>;

/// Jobs that may wait; packets beyond it are counted, not waited for.
const QUEUE: usize = 65_536;
/// Jobs that share one commit.
const GROUP: usize = 512;

/// What a service saw: a line for the journal, and evidence that the blade is in a phase.
#[derive(Debug, Clone)]
pub struct Sighting {
    pub kind: Kind,
    pub blade: Option<Hostname>,
    pub mac: Option<Mac>,
    /// The phase this proves, if the blade is being installed.
    pub phase: Option<Phase>,
    pub text: String,
    pub detail: serde_json::Value,
}

/// A transaction with the moment it happens at; given to each job in turn.
pub struct Write {
    pub tx: Tx,
    pub now: Millis,
    /// Set when packets are to be answered differently from now on.
    pub intents_changed: bool,
}

struct Inner {
    db: Db,
    config: Arc<Config>,
    jobs: mpsc::Sender<Job>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    changed: watch::Sender<()>,
    dropped: AtomicU64,
    trouble: ArcSwap<Option<String>>,
}

/// A handle to the journal; clones share it.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

/// Now, in milliseconds since the Unix epoch.
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::try_from(since.as_millis()).unwrap_or(Millis::MAX)
}

impl Journal {
    /// Loads the snapshot and starts the writer. The writer ends, with all that was queued
    /// written, when every handle is gone.
    pub async fn start(
        db: Db,
        config: Arc<Config>,
    ) -> Result<(Journal, tokio::task::JoinHandle<()>)> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let snapshot = load_snapshot(&db, &config).await?;
        let inner = Inner {
            db,
            config,
            jobs,
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            changed: watch::Sender::new(()),
            dropped: AtomicU64::new(0),
            trouble: ArcSwap::from_pointee(None),
        };
        let shared = Shared {
            db: inner.db.clone(),
            config: inner.config.clone(),
            snapshot: inner.snapshot.clone(),
            stale: false,
        };
        let journal = Journal(Arc::new(inner));
        let writer = tokio::spawn(run(queue, shared, Arc::downgrade(&journal.0)));
        Ok((journal, writer))
    }

    /// The snapshot that answers packets; swapped whole.
    pub fn snapshot(&self) -> Arc<ArcSwap<Snapshot>> {
        self.0.snapshot.clone()
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    pub fn db(&self) -> &Db {
        &self.0.db
    }

    /// Wakes when the journal has grown. Carries no data: readers ask the database again, so a
    /// lost signal loses nothing.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    /// What keeps the journal from writing, if anything does: for `check`, log and page.
    pub fn trouble(&self) -> Option<String> {
        self.0.trouble.load().as_ref().clone()
    }

    /// Notes what a service saw, off the packet's way. Never waits: with a full queue the
    /// sighting is dropped, counted and logged.
    pub fn saw(&self, sighting: Sighting) {
        self.queue(move |write| Box::pin(attempts::saw(write, sighting)));
    }

    fn queue<F>(&self, work: F)
    where
        F: for<'a> FnOnce(&'a mut Write) -> BoxFuture<'a, Result<()>> + Send + 'static,
    {
        let job: Job = Box::new(move |write| {
            Box::pin(async move {
                work(write).await?;
                Ok(Box::new(|| ()) as Reply)
            })
        });
        if self.0.jobs.try_send(job).is_err() {
            let before = self.0.dropped.fetch_add(1, Ordering::Relaxed);
            if before.is_multiple_of(1000) {
                tracing::warn!(
                    dropped = before + 1,
                    "the journal cannot keep up; what was seen is not recorded"
                );
            }
        }
    }

    /// Runs `work` in the next group commit and returns its result once that is durable.
    pub async fn write<R, F>(&self, work: F) -> Result<R>
    where
        R: Send + 'static,
        F: for<'a> FnOnce(&'a mut Write) -> BoxFuture<'a, Result<R>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |write| {
            Box::pin(async move {
                let result = work(write).await;
                let undone = result.as_ref().err().map(|error| DbError::Undone(error.to_string()));
                let reply: Reply = Box::new(move || drop(answer.send(result)));
                match undone {
                    None => Ok(reply),
                    Some(undone) => {
                        reply();
                        Err(undone)
                    }
                }
            })
        });
        let lost = || DbError::Open {
            place: "journal".to_owned(),
            message: "it could not be written, or not be answered from; see the log for why"
                .to_owned(),
        };
        self.0.jobs.send(job).await.map_err(|_| lost())?;
        answered.await.map_err(|_| lost())?
    }

    /// Appends one line, durably.
    pub async fn note(&self, event: NewEvent) -> Result<()> {
        self.write(move |write| {
            Box::pin(async move { db::append(&mut write.tx, &event, None).await })
        })
        .await
    }
}

struct Shared {
    db: Db,
    config: Arc<Config>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// The snapshot is older than the database: loading it failed, and is tried again with the
    /// next group.
    stale: bool,
}

async fn run(mut queue: mpsc::Receiver<Job>, mut shared: Shared, inner: std::sync::Weak<Inner>) {
    let mut group = Vec::with_capacity(GROUP);
    while queue.recv_many(&mut group, GROUP).await > 0 {
        let mut undone = None;
        let result = commit(&mut shared, group.drain(..), &mut undone).await;
        let trouble = result.as_ref().err().or(undone.as_ref());
        let trouble = trouble.map(|error| format!("the journal cannot write: {error}"));
        if let Some(inner) = inner.upgrade() {
            if trouble != **inner.trouble.load() {
                match &trouble {
                    Some(trouble) => {
                        tracing::error!("{trouble}; nothing is acknowledged until it can")
                    }
                    None => tracing::info!("the journal can write again"),
                }
                inner.trouble.store(Arc::new(trouble));
            }
            inner.changed.send_replace(());
        }
        if let Ok(replies) = result {
            replies.into_iter().for_each(|reply| reply());
        }
    }
}

/// Runs the jobs in one transaction, each in its own savepoint, so that one that fails takes
/// nothing of the others with it.
async fn commit(
    shared: &mut Shared,
    jobs: impl Iterator<Item = Job>,
    undone: &mut Option<DbError>,
) -> Result<Vec<Reply>> {
    let mut write = Write { tx: shared.db.begin().await?, now: now(), intents_changed: false };
    let mut replies = Vec::new();
    for job in jobs {
        db::savepoint(&mut write.tx).await?;
        let intents_before = write.intents_changed;
        match job(&mut write).await {
            Ok(reply) => {
                db::release_savepoint(&mut write.tx).await?;
                replies.push(reply);
            }
            Err(error) => {
                write.intents_changed = intents_before;
                db::rollback_savepoint(&mut write.tx).await?;
                *undone = Some(error);
            }
        }
    }
    let Write { tx, intents_changed, .. } = write;
    tx.commit().await?;
    shared.stale |= intents_changed;
    if shared.stale {
        shared.snapshot.store(Arc::new(load_snapshot(&shared.db, &shared.config).await?));
        shared.stale = false;
    }
    Ok(replies)
}

async fn load_snapshot(db: &Db, config: &Config) -> Result<Snapshot> {
    let mut tx = db.read().await?;
    let document = db::load_inventory(&mut tx).await?;
    let attempts = db::latest_attempts(&mut tx).await?;
    let holds = db::holds(&mut tx).await?;
    let whereabouts = db::whereabouts(&mut tx).await?;
    let by_blade: std::collections::HashMap<_, _> =
        attempts.iter().map(|row| (&row.blade, row)).collect();
    let holds: std::collections::HashMap<_, _> = holds.into_iter().collect();
    let snapshot = Snapshot::build(config, &document, &|name, member| {
        let row = by_blade.get(name);
        let attempt = row.map(|row| inventory::Attempt {
            id: row.id,
            number: row.number,
            standing: row.standing,
        });
        let reason = row.and_then(|row| row.reason.as_deref());
        let hold = holds.get(name).map(String::as_str);
        (inventory::intent(member, attempt.as_ref(), reason, hold), attempt)
    });
    Ok(snapshot.with_whereabouts(config.dhcp.mode == DhcpMode::Proxy, whereabouts))
}
