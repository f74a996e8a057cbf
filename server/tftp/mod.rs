//! TFTP: a read-only server for boot loaders (RFC 1350, 2347–2349, 7440, and
//! what firmware makes of them). It knows no files: whoever wires it gives an
//! [`Open`] that turns a name into octets and an [`OnEvent`] that hears what
//! became of each transfer.
//!
//! `wire`, `source`, `patience` and `transfer` decide and are pure; `socket`,
//! `session` and this module carry.
mod notices;
mod patience;
mod session;
mod socket;
mod source;
mod table;
pub mod transfer;
pub mod wire;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::session::Session;
use self::socket::{Arrival, Listener};
use self::table::{Admission, Table};
use self::transfer::{Ceiling, Reason};
use self::wire::{Fault, Inbound, LONGEST_REQUEST, ReadRequest};

pub use self::notices::Notices;
pub use self::socket::Listen;

/// What a client wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As sent, but for leading slashes; it holds no `..`, backslash or
    /// control character, and is not empty.
    pub name: String,
    pub client: SocketAddr,
    /// The address of ours the client wrote to.
    pub local: IpAddr,
}

/// Finds the octets of a file: mapped from disk or made on the spot. Called
/// on a thread that may block; one slow file delays nobody else.
pub type Open = Arc<dyn Fn(&Request) -> Result<Bytes, OpenError> + Send + Sync>;

/// Hears of every transfer. Called on the packet path: must not block.
pub type OnEvent = Arc<dyn Fn(Event) + Send + Sync>;

/// Why a file is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("no such file")]
    NotFound,
    #[error("access denied")]
    Denied,
    /// Not now. The client is left without an answer: it asks again by itself,
    /// where an ERROR would make a ROM give up booting.
    #[error("busy")]
    Busy,
}

/// One thing that happened to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub client: SocketAddr,
    pub local: IpAddr,
    pub name: Arc<str>,
    pub what: What,
}

/// `Started` is followed by exactly one of `Finished`, `Probed`, `Failed`;
/// `Refused` stands alone. Octets are those of the file that the client has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Started {
        size: u64,
        blksize: u16,
        windowsize: u16,
    },
    Progress {
        bytes: u64,
    },
    Finished {
        bytes: u64,
        elapsed: Duration,
    },
    /// The client asked for the size and hung up: normal for PXE and EDK2.
    Probed,
    Failed {
        reason: Reason,
        bytes: u64,
    },
    Refused(OpenError),
}

/// Limits and habits.
#[derive(Clone, Debug)]
pub struct Options {
    /// Ports for transfers; `None` lets the kernel choose.
    pub ports: Option<RangeInclusive<u16>>,
    /// Transfers at once, all clients together. Each holds a file descriptor.
    pub most_transfers: usize,
    /// Transfers at once of one client address.
    pub most_per_client: usize,
    /// What one client may ask of block size and window.
    pub ceiling: Ceiling,
    /// The least time between two `Progress` of a transfer.
    pub progress_every: Duration,
    /// Where trouble is counted and told.
    pub notices: Arc<Notices>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ports: None,
            most_transfers: 2048,
            most_per_client: 512,
            ceiling: Ceiling::default(),
            progress_every: Duration::from_millis(500),
            notices: Arc::default(),
        }
    }
}

/// A server whose sockets are bound and that does not answer yet.
pub struct Server {
    listeners: Vec<(Listen, Listener)>,
    shared: Arc<Shared>,
}

/// Binds every socket, so that a start that fails fails here.
///
/// # Errors
/// The first socket that cannot be bound, with address and device named.
pub async fn bind(
    listen: &[Listen],
    open: Open,
    on_event: OnEvent,
    options: Options,
) -> io::Result<Server> {
    let bound = |listen: &Listen| Ok((listen.clone(), Listener::bind(listen)?));
    let listeners = listen.iter().map(bound).collect::<io::Result<_>>()?;
    let shared = Shared {
        open,
        on_event,
        table: Table::new(options.most_transfers, options.most_per_client),
        notices: Arc::clone(&options.notices),
        options,
        tasks: TaskTracker::new(),
    };
    Ok(Server { listeners, shared: Arc::new(shared) })
}

impl Server {
    /// The bound addresses, in the order of `listen`.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(_, listener)| listener.address()).collect()
    }

    /// Serves until `shutdown`; then tells every client and joins every task.
    pub async fn run(self, shutdown: CancellationToken) {
        let shutdown = shutdown.child_token();
        let _stop_with_this_future = shutdown.clone().drop_guard();
        let mut listening = JoinSet::new();
        for (listen, listener) in self.listeners {
            let listener = Arc::new(listener);
            let task = listen_on(Arc::clone(&self.shared), listen, listener, shutdown.clone());
            listening.spawn(task);
        }
        // One that ends by itself ends the service, and so the daemon, which is started anew.
        tokio::select! {
            () = shutdown.cancelled() => {}
            Some(_) = listening.join_next() => shutdown.cancel(),
        }
        while listening.join_next().await.is_some() {}
        self.shared.table.stop();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

/// What the tasks of a server have in common.
struct Shared {
    open: Open,
    on_event: OnEvent,
    options: Options,
    table: Table,
    tasks: TaskTracker,
    notices: Arc<Notices>,
}

/// An interface that went away and came back is another one to the kernel; a socket stays with
/// the one it was bound to. Looked at so often.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

async fn listen_on(
    shared: Arc<Shared>,
    listen: Listen,
    mut listener: Arc<Listener>,
    shutdown: CancellationToken,
) {
    let mut look = tokio::time::interval(LOOK_AGAIN);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut buffer = vec![0; LONGEST_REQUEST + 1];
    loop {
        let received = tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = look.tick() => {
                if listener.is_left_behind() {
                    match Listener::bind(&listen) {
                        Ok(anew) => listener = Arc::new(anew),
                        Err(error) => shared.notices.warn(None, "bind", format_args!("{error}")),
                    }
                }
                continue;
            }
            received = listener.receive(&mut buffer) => received,
        };
        match received {
            Ok(arrival) => {
                let packet = buffer.get(..arrival.length).unwrap_or_default();
                shared.on_datagram(&listener, packet, &arrival);
            }
            Err(error) => {
                let at = listener.address();
                shared.notices.warn(None, "receive", format_args!("on {at}: {error}"));
                // An interface that went away must not turn into a busy loop.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

impl Shared {
    fn on_datagram(self: &Arc<Self>, listener: &Arc<Listener>, packet: &[u8], from: &Arrival) {
        let client = from.client;
        // RFC 1123 §4.2.3.5: a request to a broadcast address is ignored.
        let Some(local) = from.local else { return };
        if packet.len() > LONGEST_REQUEST || client.port() == 0 {
            return self.notices.dropped(client.ip(), "longer than any request, or from port 0");
        }
        match wire::parse(packet) {
            Ok(Inbound::Read(request)) => self.admit(listener, request, client, local),
            // Late packets of a transfer, sent to the wrong port.
            Ok(_) => {}
            Err(Fault::Garbage(why)) => {
                self.notices.dropped(client.ip(), why);
            }
            Err(Fault::Refused { code, text }) => {
                self.notices.dropped(client.ip(), text);
                // Lost like any packet: the client asks again.
                let _ = listener.answer(&wire::error(code, text), client, local);
            }
        }
    }

    fn admit(
        self: &Arc<Self>,
        listener: &Arc<Listener>,
        request: ReadRequest,
        client: SocketAddr,
        local: IpAddr,
    ) {
        match self.table.admit(client, local, &request) {
            Admission::Granted(seat) => {
                let session = Session {
                    shared: Arc::clone(self),
                    listener: Arc::clone(listener),
                    name: Arc::from(request.name.as_str()),
                    request,
                    client,
                    local,
                    seat,
                };
                self.tasks.spawn(session.run());
            }
            Admission::Running | Admission::Stopping => {}
            Admission::Full => {
                // Silence: the client asks again, and may then find a place.
                let line = format_args!("{client} has to wait: too many transfers");
                self.notices.warn(Some(client.ip()), "full", line);
            }
        }
    }
}
