//! The DHCP service: carries packets between the wire and `reply::decide`.
//!
//! Answered from the snapshot and the leases in memory. What must be durable goes through one
//! group commit; its answers are sent after it, never before.

mod arp;
mod leases;
mod listener;
mod lookout;
mod metrics;
mod net;
mod rehearse;
pub mod reply;
mod seen;
pub mod wire;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinError, JoinSet},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    leases::{Entry, Hold, LeaseBook},
    lookout::look_around,
    net::frame,
    seen::{Seen, What, Witness},
};
use self::{listener::Listener, reply::Answer, seen::Newsworthy, wire::Dropped};
use crate::{
    blade::{Clock, Gate, Millis, millis},
    boot::{
        Rehearse,
        watch::{Notice, Watch},
    },
    config::DhcpMode,
    inventory::{Lease, Snapshot},
};

/// Takes a note about an exchange; must not block.
pub type Tell = Arc<dyn Fn(Seen) + Send + Sync>;
/// Writes leases, each the new row of its `ip`, all or none; `Ok` means they are on disk.
pub type Commit = Arc<dyn Fn(Vec<Lease>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Adds so many milliseconds to the end of every written lease; `Ok` means that is on disk.
pub type Shift = Arc<dyn Fn(Millis) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What a server is made of.
#[derive(Clone)]
pub struct Options {
    /// `Server` or `Proxy`.
    pub mode: DhcpMode,
    /// DHCP is answered on these and on no other.
    pub interfaces: Vec<String>,
    /// Base of script URLs (`boot.url`); default: `http://` and the address that answers.
    pub url: Option<String>,
    /// Port of the boot listener, for the default of `url`.
    pub http_port: u16,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The durable leases.
    pub leases: Vec<Lease>,
    pub seen: Tell,
    pub commit: Commit,
    /// Moves the end of every written lease, after the clock was set.
    pub shift: Shift,
    /// How often the wire is asked for other DHCP servers.
    pub watch_every: Duration,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("interfaces", &self.interfaces).finish_non_exhaustive()
    }
}

/// A bound server; nothing is answered before `run`.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Arc<Listener>>,
    desk: Arc<Desk>,
    jobs: mpsc::Receiver<Job>,
}

/// What all interfaces share.
struct Desk {
    options: Options,
    state: Mutex<State>,
    jobs: mpsc::Sender<Job>,
    probes: Arc<Semaphore>,
    probing: TaskTracker,
    started: Instant,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("options", &self.options).finish_non_exhaustive()
    }
}

struct State {
    book: LeaseBook,
    witness: Witness,
    news: Newsworthy,
    /// For the log: packets and sockets, not clients.
    complaints: Gate<(Ipv4Addr, Complaint)>,
    dropped: BTreeMap<Dropped, u64>,
    /// Notes by what they tell, those that repeat too.
    noted: BTreeMap<What, u64>,
    watch: Watch,
    clock: Clock,
    /// The snapshot the pools were searched with.
    known: Option<Arc<Snapshot>>,
}

/// Pool addresses asked about on the wire at once; beyond it they are offered unasked, because
/// clients that wait would be worse.
const PROBES: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Complaint {
    Dropped(Dropped),
    Send,
    Receive,
    Interface,
    Overload,
}

/// What the lease writer does, in this order.
enum Job {
    Write(Box<Write>),
    /// The clock was set.
    Shift(Millis),
}

/// A lease to write, and what is sent after that.
struct Write {
    lease: Lease,
    listener: Arc<Listener>,
    answer: Option<Answer>,
    seen: Vec<Seen>,
}

/// Leases that may wait for one commit. A client whose request finds the queue full asks again.
const QUEUE: usize = 8192;
const BATCH: usize = 1024;

impl Server {
    /// Binds port 67 on every interface. Errors name the interface and what to do.
    pub async fn bind(mut options: Options) -> io::Result<Server> {
        let snapshot = options.snapshot.load_full();
        let wall = wall();
        let leases = believed(&mut options, &snapshot, wall).await;
        let book = LeaseBook::new(&snapshot.subnets, leases);
        let every = millis(options.watch_every);
        let (sender, jobs) = mpsc::channel(QUEUE);
        let state = State {
            book,
            witness: Witness::default(),
            news: Newsworthy::new(),
            complaints: complaints(),
            dropped: BTreeMap::new(),
            noted: BTreeMap::new(),
            watch: Watch::v4(options.mode == DhcpMode::Proxy, every),
            clock: Clock::new(wall, 0),
            known: None,
        };
        let desk = Arc::new(Desk {
            options,
            state: Mutex::new(state),
            jobs: sender,
            probes: Arc::new(Semaphore::new(PROBES)),
            probing: TaskTracker::new(),
            started: Instant::now(),
        });
        let listeners: io::Result<Vec<_>> = desk
            .options
            .interfaces
            .iter()
            .map(|name| Listener::bind(name, Arc::clone(&desk)).map(Arc::new))
            .collect();
        Ok(Server { listeners: listeners?, desk, jobs })
    }

    /// What is known of other DHCP servers; lives on after the server.
    pub fn notices(&self) -> Arc<dyn Fn() -> Vec<Notice> + Send + Sync> {
        let desk = Arc::clone(&self.desk);
        Arc::new(move || {
            let now = desk.now();
            desk.state().watch.notices(now)
        })
    }

    /// Counters and gauges as Prometheus reads them; lives on after the server.
    pub fn metrics(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        let desk = Arc::clone(&self.desk);
        Arc::new(move || {
            let now = desk.now();
            let state = desk.state();
            metrics::text(&state.dropped, &state.noted, &state.watch, &state.book.census(now))
        })
    }

    /// Rehearsals on the interfaces as they are at each call; lives on after the server.
    pub fn rehearsal(&self) -> Rehearse {
        let (desk, listeners) = (Arc::clone(&self.desk), self.listeners.clone());
        Arc::new(move |player, mac| {
            let snapshot = desk.options.snapshot.load_full();
            let ip = snapshot.by_mac(mac).and_then(|blade| blade.ip);
            let subnet = ip.and_then(|ip| snapshot.subnet_of(ip));
            let at = |listener: &&Arc<Listener>| subnet.is_some_and(|s| listener.is_on(s.cidr));
            let here = listeners.iter().find(at);
            // A blade on none of our links asks through a relay, which is its gateway.
            let giaddr = match (here, subnet) {
                (None, Some(subnet)) => {
                    subnet.gateway.or(subnet.cidr.hosts().next()).unwrap_or(Ipv4Addr::UNSPECIFIED)
                }
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let Some(listener) = here.or(listeners.first()) else { return Vec::new() };
            let mut book = desk.state().book.clone();
            rehearse::exchanges(player, mac, giaddr, &mut |request| {
                listener.judge(&snapshot, &mut book, request, wall())
            })
        })
    }

    /// Serves until cancelled; every answer owed to a written lease is sent before it returns.
    pub async fn run(self, stop: CancellationToken) {
        let Server { listeners, desk, jobs } = self;
        let stop = stop.child_token();
        let (done, probing) = (CancellationToken::new(), desk.probing.clone());
        let mut listening = JoinSet::new();
        for listener in listeners {
            listening.spawn(listener.run(stop.clone()));
        }
        let mut committing = JoinSet::new();
        committing.spawn(commit_leases(desk, jobs, done.clone()));
        // One that ends by itself ends the service, and so the daemon, which is started anew:
        // half a service would be missed by nobody but the blades.
        tokio::select! {
            ended = listening.join_next() => complain_of("a listener", ended),
            ended = committing.join_next() => complain_of("the lease writer", ended),
        }
        stop.cancel();
        while listening.join_next().await.is_some() {}
        probing.close();
        probing.wait().await;
        done.cancel();
        // It ends by itself when the queue is empty.
        complain_of("the lease writer", committing.join_next().await);
    }
}

/// A task ends by itself only by a panic.
fn complain_of(task: &str, ended: Option<Result<(), JoinError>>) {
    if let Some(Err(error)) = ended {
        tracing::error!(%error, "DHCP: {task} ended");
    }
}

impl Desk {
    /// A panic while the lock was held leaves a book that is still whole: every change to it
    /// is one insertion.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now by the wall clock. When that was set, all that is remembered moves with it.
    fn now(&self) -> Millis {
        let wall = wall();
        let steady = millis(self.started.elapsed());
        let mut state = self.state();
        if let Some(jump) = state.clock.look(wall, steady) {
            tracing::warn!("DHCP: the clock was set by {} s; leases move with it", jump / 1000);
            state.book.shift(jump);
            state.watch.shift(jump);
            // What was said lately may be said again.
            (state.news, state.complaints) = (Newsworthy::new(), complaints());
            state.witness = Witness::default();
            if self.jobs.try_send(Job::Shift(jump)).is_err() {
                tracing::error!(
                    "DHCP: too many leases wait to be written; the clock's jump is not"
                );
            }
        }
        wall
    }

    fn tell(&self, seen: impl IntoIterator<Item = Seen>) {
        seen.into_iter().for_each(|seen| (self.options.seen)(seen));
    }

    /// Logs a complaint once a minute for each source.
    fn complain(&self, now: Millis, from: Ipv4Addr, what: Complaint, text: impl fmt::Display) {
        if let Some(kept_back) = self.state().complaints.pass((from, what), now) {
            tracing::warn!(%from, kept_back, "DHCP: {text}");
        }
    }
}

/// The durable leases. Ends that no lease can have were written by a wrong clock: they are cut,
/// on the disk too, or each restart would hold their addresses anew.
async fn believed(options: &mut Options, snapshot: &Snapshot, now: Millis) -> Vec<Lease> {
    let given = Millis::from(snapshot.lease_seconds) * 1000;
    let (mut leases, mut cut) = (Vec::new(), Vec::new());
    for written in std::mem::take(&mut options.leases) {
        let lease = leases::sane(written.clone(), now, given);
        cut.extend((lease != written).then(|| lease.clone()));
        leases.push(lease);
    }
    let count = cut.len();
    if count > 0 {
        tracing::warn!("DHCP: {count} leases were written by a wrong clock; their ends are cut");
        // In memory they are right all the same, and blades are to be served.
        if let Err(error) = (options.commit)(cut).await {
            tracing::warn!("DHCP: the cut ends of leases could not be written: {error}");
        }
    }
    leases
}

fn complaints() -> Gate<(Ipv4Addr, Complaint)> {
    Gate::new(60_000, 1_024)
}

fn wall() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since)
}

/// Writes leases in groups: all that wait while one commit runs go into the next.
async fn commit_leases(desk: Arc<Desk>, mut jobs: mpsc::Receiver<Job>, done: CancellationToken) {
    let (mut batch, mut writes) = (Vec::with_capacity(BATCH), Vec::new());
    loop {
        let count = tokio::select! {
            biased;
            count = jobs.recv_many(&mut batch, BATCH) => count,
            () = done.cancelled() => return,
        };
        if count == 0 {
            return;
        }
        for job in batch.drain(..) {
            match job {
                Job::Write(write) => writes.push(*write),
                Job::Shift(jump) => {
                    // What was decided before the jump is written before it.
                    commit_group(&desk, &mut writes).await;
                    if let Err(error) = (desk.options.shift)(jump).await {
                        tracing::error!("DHCP: written leases could not follow the clock: {error}");
                    }
                }
            }
        }
        commit_group(&desk, &mut writes).await;
    }
}

async fn commit_group(desk: &Desk, writes: &mut Vec<Write>) {
    if writes.is_empty() {
        return;
    }
    let leases = writes.iter().map(|write| write.lease.clone()).collect();
    match (desk.options.commit)(leases).await {
        Ok(()) => {
            for write in writes.drain(..) {
                // First: whoever has the answer may ask for what follows from it.
                desk.tell(write.seen);
                if let Some(answer) = &write.answer {
                    write.listener.send(answer).await;
                }
            }
        }
        Err(error) => {
            for mut seen in writes.drain(..).flat_map(|write| write.seen) {
                seen.detail = format!(
                    "no ACK, because the lease could not be written: {error}; check the \
                     database and the free space under data_dir"
                );
                seen.what = What::Alert;
                // One alert for all of them: the fault is ours, not theirs.
                let pass = desk.state().news.pass(&seen, false);
                if pass {
                    desk.tell([seen]);
                }
            }
        }
    }
}
