//! The journal (layer 3): the one writer of a blade's state.
//!
//! All writes queue here and are committed in groups: many blades' reports share one sync of
//! the disk. An answer is given after the commit, and after the snapshot that answers packets
//! has been swapped, so whoever got a 200 finds the new state everywhere.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    blade::{Hostname, Kind, Mac, Millis, NewEvent, Phase, millis},
    config::Config,
    db::{self, Db, DbError},
    inventory::Snapshot,
};

mod attempts;
mod changes;
mod leases;
mod machines;
mod reports;
mod whereabouts;
mod writer;

pub use attempts::{Begun, Held};
pub use changes::{Applied, ApplyError, ApplyRequest, Judge};
pub use leases::LeaseChange;
pub use machines::{Discovery, MOST_WAITING};
pub use reports::ReportAnswer;
pub use writer::Write;
use writer::{Job, Note, Reply, Shared, Work, load_snapshot};

type Result<T> = std::result::Result<T, DbError>;

/// Jobs that may wait; packets beyond it are counted, not waited for.
const QUEUE: usize = 65_536;

/// How long a page waits for what was just seen.
const CATCH_UP: Duration = Duration::from_millis(250);

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

struct Inner {
    db: Db,
    config: Arc<Config>,
    jobs: mpsc::Sender<Job>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    changed: watch::Sender<()>,
    dropped: AtomicU64,
    /// Notes that are not written yet.
    waiting: AtomicUsize,
    trouble: ArcSwap<Option<String>>,
}

/// A handle to the journal; clones share it.
#[derive(Clone)]
pub struct Journal(Arc<Inner>);

/// Now, in milliseconds since the Unix epoch.
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since)
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
            waiting: AtomicUsize::new(0),
            trouble: ArcSwap::from_pointee(None),
        };
        let shared = Shared {
            db: inner.db.clone(),
            config: inner.config.clone(),
            snapshot: inner.snapshot.clone(),
            stale: false,
        };
        let journal = Journal(Arc::new(inner));
        let writer = tokio::spawn(writer::run(queue, shared, Arc::downgrade(&journal.0)));
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
        self.queue(Note::Saw(Box::new(sighting)));
    }

    fn queue(&self, note: Note) {
        self.0.waiting.fetch_add(1, Ordering::AcqRel);
        if self.0.jobs.try_send(Job::Note(note)).is_err() {
            self.0.waiting.fetch_sub(1, Ordering::AcqRel);
            let before = self.0.dropped.fetch_add(1, Ordering::Relaxed);
            if before.is_multiple_of(1000) {
                tracing::warn!(
                    dropped = before + 1,
                    "the journal cannot keep up; what was seen is not recorded"
                );
            }
        }
    }

    /// Returns when all that was noted before is written and in the snapshot; at once where
    /// nothing waits.
    pub async fn settle(&self) -> Result<()> {
        if self.0.waiting.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        self.write(|_| Box::pin(async { Ok(()) })).await
    }

    /// The same for people's pages: does not wait for a database that is in trouble.
    pub async fn catch_up(&self) {
        // Late or failed, the page shows what is written.
        let _ = tokio::time::timeout(CATCH_UP, self.settle()).await;
    }

    /// Runs `work` in the next group commit and returns its result once that is durable.
    pub async fn write<R, F>(&self, work: F) -> Result<R>
    where
        R: Send + 'static,
        F: for<'a> FnOnce(&'a mut Write) -> BoxFuture<'a, Result<R>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |write| {
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
        self.0.jobs.send(Job::Write(work)).await.map_err(|_| lost())?;
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
