//! The writer: what waits is committed in groups, and answered after that.

use std::{
    iter::Peekable,
    ops::Range,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{Inner, Result, Sighting, attempts, now, whereabouts};
use crate::{
    blade::{Hostname, Millis},
    config::{Config, DhcpMode},
    db::{self, Db, DbError, Tx},
    inventory::{self, Move, Snapshot},
};

pub(super) type Reply = Box<dyn FnOnce() + Send>;
pub(super) type Work =
    Box<dyn for<'a> FnOnce(&'a mut Write) -> BoxFuture<'a, Result<Reply>> + Send>;

pub(super) enum Job {
    /// Nobody waits for it.
    Note(Note),
    /// Somebody waits for its answer.
    Write(Work),
}

pub(super) enum Note {
    Saw(Box<Sighting>),
    Moved(Move),
}

/// Jobs that share one commit.
const GROUP: usize = 512;
/// What nobody waits for waits so long for company: when a room is switched on, a commit each
/// would cost more than all the packets.
const COMPANY: Duration = Duration::from_millis(20);

/// A transaction with the moment it happens at; given to each job in turn.
pub struct Write {
    pub tx: Tx,
    pub now: Millis,
    /// Set when packets are to be answered differently from now on.
    pub intents_changed: bool,
    /// What was learned of where blades are.
    pub moves: Vec<Move>,
    /// The state that the transaction began with, if it is in memory.
    known: Option<Arc<Snapshot>>,
}

impl Write {
    /// False if this blade surely has no attempt under way.
    pub fn may_be_going(&self, blade: &Hostname) -> bool {
        // Attempts that begin or end change intents, so the snapshot has them.
        let known = self.known.as_ref().filter(|_| !self.intents_changed);
        let Some(blade) = known.and_then(|known| known.by_name(blade.as_str())) else {
            return true;
        };
        blade.attempt.as_ref().is_some_and(|attempt| !attempt.standing.outcome.is_over())
    }
}

pub(super) struct Shared {
    pub db: Db,
    pub config: Arc<Config>,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The snapshot is older than the database: loading it failed, and is tried again with the
    /// next group.
    pub stale: bool,
}

pub(super) async fn run(mut queue: mpsc::Receiver<Job>, mut shared: Shared, inner: Weak<Inner>) {
    let mut group = Vec::with_capacity(GROUP);
    while gather(&mut queue, &mut group).await {
        let notes = group.iter().filter(|job| matches!(job, Job::Note(_))).count();
        let mut undone = None;
        let result = commit(&mut shared, group.drain(..), &mut undone).await;
        let trouble = result.as_ref().err().or(undone.as_ref());
        let trouble = trouble.map(|error| format!("the journal cannot write: {error}"));
        if let Some(inner) = inner.upgrade() {
            inner.waiting.fetch_sub(notes, Ordering::AcqRel);
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

/// The next group; false at the end of all.
async fn gather(queue: &mut mpsc::Receiver<Job>, group: &mut Vec<Job>) -> bool {
    if queue.recv_many(group, GROUP).await == 0 {
        return false;
    }
    let end = tokio::time::sleep(COMPANY);
    tokio::pin!(end);
    while group.len() < GROUP && !group.iter().any(|job| matches!(job, Job::Write(_))) {
        let room = GROUP - group.len();
        tokio::select! {
            () = &mut end => break,
            more = queue.recv_many(group, room) => if more == 0 { break },
        }
    }
    true
}

/// Runs the jobs in one transaction, each in its own savepoint, so that one that fails takes
/// nothing of the others with it.
async fn commit(
    shared: &mut Shared,
    jobs: impl Iterator<Item = Job>,
    undone: &mut Option<DbError>,
) -> Result<Vec<Reply>> {
    let known = (!shared.stale).then(|| shared.snapshot.load_full());
    let tx = shared.db.begin().await?;
    let mut write = Write { tx, now: now(), intents_changed: false, moves: Vec::new(), known };
    let mut replies = Vec::new();
    let mut jobs = jobs.peekable();
    while let Some(job) = jobs.next() {
        let done = match job {
            Job::Note(first) => note(&mut write, following(first, &mut jobs)).await?,
            Job::Write(work) => alone(&mut write, work).await?,
        };
        match done {
            Ok(reply) => replies.push(reply),
            Err(error) => *undone = Some(error),
        }
    }
    let Write { tx, intents_changed, moves, .. } = write;
    tx.commit().await?;
    shared.stale |= intents_changed;
    if shared.stale {
        shared.snapshot.store(Arc::new(load_snapshot(&shared.db, &shared.config).await?));
        shared.stale = false;
    } else if !moves.is_empty() {
        shared.snapshot.store(Arc::new(shared.snapshot.load().moved(moves)));
    }
    Ok(replies)
}

fn following(first: Note, jobs: &mut Peekable<impl Iterator<Item = Job>>) -> Vec<Note> {
    let mut notes = vec![first];
    while let Some(Job::Note(next)) = jobs.next_if(|job| matches!(job, Job::Note(_))) {
        notes.push(next);
    }
    notes
}

/// Writes notes that came one after the other in one savepoint, or if that fails, each in its own.
/// The outer error is of the transaction itself.
async fn note(write: &mut Write, notes: Vec<Note>) -> Result<Result<Reply>> {
    let (count, notes) = (notes.len(), Arc::new(notes));
    let all = alone(write, noted(&notes, 0..count)).await?;
    if all.is_ok() || count == 1 {
        return Ok(all);
    }
    let mut result: Result<Reply> = Ok(Box::new(|| ()));
    for index in 0..count {
        let one = alone(write, noted(&notes, index..index + 1)).await?;
        if one.is_err() {
            result = one;
        }
    }
    Ok(result)
}

fn noted(notes: &Arc<Vec<Note>>, range: Range<usize>) -> Work {
    let notes = Arc::clone(notes);
    Box::new(move |write| {
        Box::pin(async move {
            let mut seen = Vec::new();
            for note in notes.get(range).unwrap_or_default() {
                match note {
                    Note::Saw(sighting) => seen.push(&**sighting),
                    Note::Moved(moved) => whereabouts::moved(write, moved).await?,
                }
            }
            attempts::saw(write, &seen).await?;
            Ok(Box::new(|| ()) as Reply)
        })
    })
}

/// Runs a job in a savepoint of its own. The outer error is of the transaction itself.
async fn alone(write: &mut Write, work: Work) -> Result<Result<Reply>> {
    db::savepoint(&mut write.tx).await?;
    let before = (write.intents_changed, write.moves.len());
    let result = work(write).await;
    match &result {
        Ok(_) => db::release_savepoint(&mut write.tx).await?,
        Err(_) => {
            write.intents_changed = before.0;
            write.moves.truncate(before.1);
            db::rollback_savepoint(&mut write.tx).await?;
        }
    }
    Ok(result)
}

pub(super) async fn load_snapshot(db: &Db, config: &Config) -> Result<Snapshot> {
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
