//! The DHCPv6 service (RFC 8415): carries packets between the wire and `reply::decide`.
//!
//! It gives blades of the inventory their reserved addresses, and nobody any other: so its
//! answers wait for no database.

#[cfg(test)]
mod kit;
mod lookout;
mod net;
mod rehearse;
pub mod reply;
mod seen;
pub mod wire;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{Ipv6Addr, SocketAddrV6},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

pub use self::{
    lookout::look_around,
    seen::{Seen, What},
};
use self::{
    net::{Datagram, Lookout, Socket},
    rehearse::Caller,
    reply::{Arrival, Decision, Interface, decide},
    seen::Newsworthy,
    wire::{Dropped, Request},
};
use crate::{
    blade::{Exposition, Gate, Millis, millis},
    boot::{
        Rehearse,
        watch::{Notice, Watch},
    },
    inventory::{Duid, Snapshot},
};

/// Takes a note about an exchange; must not block.
pub type Tell = Arc<dyn Fn(Seen) + Send + Sync>;

/// What a server is made of.
#[derive(Clone)]
pub struct Options {
    /// DHCPv6 is answered on these and on no other.
    pub interfaces: Vec<String>,
    /// Base of URLs (`boot.url`); default: `http://` and the address that answers.
    pub url: Option<String>,
    /// Port of the boot listener, for the default of `url`.
    pub http_port: u16,
    /// This server's own identifier: the same for ever (RFC 8415 §11).
    pub duid: Duid,
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    pub seen: Tell,
    /// How often the wire is asked for other DHCPv6 servers.
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
    listeners: Vec<Listener>,
    desk: Arc<Desk>,
}

/// What all interfaces share.
#[derive(Debug)]
struct Desk {
    options: Options,
    state: Mutex<State>,
    started: Instant,
}

#[derive(Debug)]
struct State {
    news: Newsworthy,
    /// For the log: packets and sockets, not clients.
    complaints: Gate<(Ipv6Addr, Complaint)>,
    dropped: BTreeMap<Dropped, u64>,
    watch: Watch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Complaint {
    Dropped(Dropped),
    Send,
    Receive,
    Interface,
}

/// Interfaces are looked at again this often: addresses and links come and go.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

impl Server {
    /// Binds port 547 on every interface. Errors name the interface and what to do.
    pub fn bind(options: Options) -> io::Result<Server> {
        let every = millis(options.watch_every);
        let state = State {
            news: Newsworthy::new(),
            complaints: Gate::new(60_000, 1_024),
            dropped: BTreeMap::new(),
            watch: Watch::v6(every),
        };
        let desk = Arc::new(Desk { options, state: Mutex::new(state), started: Instant::now() });
        let names = desk.options.interfaces.iter();
        let listeners: io::Result<Vec<_>> =
            names.map(|name| Listener::bind(name, Arc::clone(&desk))).collect();
        Ok(Server { listeners: listeners?, desk })
    }

    /// What is known of other DHCPv6 servers; lives on after the server.
    pub fn notices(&self) -> Arc<dyn Fn() -> Vec<Notice> + Send + Sync> {
        let desk = Arc::clone(&self.desk);
        Arc::new(move || {
            let now = desk.steady();
            desk.state().watch.notices(now)
        })
    }

    /// Counters and gauges as Prometheus reads them; lives on after the server.
    pub fn metrics(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        let desk = Arc::clone(&self.desk);
        Arc::new(move || desk.state().metrics())
    }

    /// Rehearsals on the interfaces as they are at each call; lives on after the server.
    pub fn rehearsal(&self) -> Rehearse {
        let desk = Arc::clone(&self.desk);
        let shared = |listener: &Listener| Arc::clone(&listener.interface);
        let interfaces: Vec<_> = self.listeners.iter().map(shared).collect();
        Arc::new(move |player, mac| {
            let snapshot = desk.options.snapshot.load_full();
            let now_up: Vec<_> = interfaces.iter().map(|one| one.load_full()).collect();
            let place = rehearse::place(&snapshot, mac, &now_up);
            let Some((via, relay)) = place else { return Vec::new() };
            let caller = Caller::new(&snapshot, player, mac, relay);
            // A relay writes to us alone (RFC 8415 §19.1), a machine to all.
            let (from, multicast) = (caller.sends_from(), relay.is_none());
            let arrival = Arrival { via, from, multicast, now: now() };
            rehearse::exchanges(&caller, &mut |request| desk.judge(&snapshot, request, &arrival))
        })
    }

    /// Serves until cancelled.
    pub async fn run(self, stop: CancellationToken) {
        let stop = stop.child_token();
        let mut listening = tokio::task::JoinSet::new();
        for listener in self.listeners {
            listening.spawn(listener.run(stop.clone()));
        }
        // One that ends by itself ends the service, and so the daemon, which is started anew.
        listening.join_next().await;
        stop.cancel();
        while listening.join_next().await.is_some() {}
    }
}

impl State {
    fn metrics(&self) -> String {
        let causes = self.dropped.iter().map(|(cause, count)| (cause.to_string(), *count));
        let help = "DHCPv6 servers that are in the way.";
        let mut told = Exposition::default()
            .family(
                "firstlight_dhcp6_dropped_total",
                "counter",
                "DHCPv6 packets not understood, by cause.",
            )
            .each("cause", causes)
            .family("firstlight_dhcp6_foreign_server", "gauge", help);
        for found in self.watch.trouble() {
            let server = found.server.to_string();
            told.add(&[("interface", &found.interface), ("server", &server)], 1);
        }
        told.finish()
    }
}

impl Desk {
    /// Milliseconds since the start, whatever is done to the clock.
    fn steady(&self) -> Millis {
        millis(self.started.elapsed())
    }

    /// A panic while the lock was held leaves whole counts: each change is one insertion.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The decision about a packet, on the wire and in rehearsals.
    fn judge(&self, at: &Snapshot, request: &Request<'_>, arrival: &Arrival<'_>) -> Decision {
        decide(at, &self.options.duid, request, arrival)
    }

    /// Logs a complaint once a minute for each source.
    fn complain(&self, from: Ipv6Addr, what: Complaint, text: impl fmt::Display) {
        if let Some(kept_back) = self.state().complaints.pass((from, what), now()) {
            tracing::warn!(%from, kept_back, "DHCPv6: {text}");
        }
    }
}

/// One interface: receives, decides, sends. No packet ends it.
#[derive(Debug)]
struct Listener {
    name: String,
    desk: Arc<Desk>,
    /// As it was found last; rehearsals look at it too.
    interface: Arc<ArcSwap<Interface>>,
    socket: Socket,
    lookout: Lookout,
}

impl Listener {
    fn bind(name: &str, desk: Arc<Desk>) -> io::Result<Listener> {
        let interface = net::find(name, &desk.options)?;
        let (socket, lookout) = (Socket::open(&interface)?, Lookout::open(name)?);
        let interface = Arc::new(ArcSwap::from_pointee(interface));
        Ok(Listener { name: name.to_owned(), desk, interface, socket, lookout })
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_AGAIN);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ask = tokio::time::interval(self.desk.options.watch_every);
        ask.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut buffer = vec![0; 65_536];
        let mut second = buffer.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => self.look_again(),
                _ = ask.tick() => self.ask_for_servers().await,
                heard = self.lookout.hear(&mut second) => match heard {
                    Ok((packet, from)) => self.heard_server(packet, from),
                    Err(error) => self.pause(&error).await,
                },
                received = self.socket.receive(&mut buffer) => match received {
                    Ok(datagram) => {
                        let packet = buffer.get(..datagram.length).unwrap_or_default();
                        self.receive(packet, &datagram).await;
                    }
                    Err(error) => self.pause(&error).await,
                },
            }
        }
    }

    /// An interface that is down fails at once and again.
    async fn pause(&self, error: &io::Error) {
        self.complain(Complaint::Receive, format!("receiving failed: {error}"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    async fn receive(&self, packet: &[u8], datagram: &Datagram) {
        let from = *datagram.from.ip();
        let request = Request::parse(packet).and_then(|request| {
            // RFC 8415 §16: what is for all servers is not sent to one.
            let misdirected = !datagram.multicast && request.relays.is_empty();
            if misdirected && request.is_for_all() { Err(Dropped::Unicast) } else { Ok(request) }
        });
        let request = match request {
            Ok(request) => request,
            Err(cause) => {
                *self.desk.state().dropped.entry(cause).or_default() += 1;
                let text = format!("dropped a packet on {}: {cause}", self.name);
                return self.desk.complain(from, Complaint::Dropped(cause), text);
            }
        };
        let snapshot = self.desk.options.snapshot.load_full();
        self.heard_choice(&request, from, &snapshot);
        let (via, multicast) = (self.interface.load(), datagram.multicast);
        let arrival = Arrival { via: &via, from, multicast, now: now() };
        let decision = self.desk.judge(&snapshot, &request, &arrival);
        if let Some(answer) = decision.answer {
            let to = destination(datagram.from, &request);
            if let Err(error) = self.socket.send(&answer, to).await {
                // The client asks again.
                self.complain(Complaint::Send, format!("answering {to} failed: {error}"));
            }
        }
        if let Some(seen) = decision.seen
            && self.desk.state().news.pass(&seen)
        {
            (self.desk.options.seen)(seen);
        }
    }

    fn look_again(&mut self) {
        match net::find(&self.name, &self.desk.options) {
            Ok(interface) => {
                if interface.index != self.interface.load().index {
                    match Socket::open(&interface).and_then(|s| Ok((s, Lookout::open(&self.name)?)))
                    {
                        Ok(sockets) => {
                            tracing::info!("DHCPv6: {} is back", self.name);
                            (self.socket, self.lookout) = sockets;
                        }
                        Err(error) => return self.complain(Complaint::Interface, error),
                    }
                }
                // IPv6 may be switched on while we run.
                let joined = self.socket.join(interface.index);
                self.interface.store(Arc::new(interface));
                if let Err(error) = joined {
                    self.complain(Complaint::Interface, error);
                }
            }
            Err(error) => self.complain(Complaint::Interface, error),
        }
    }

    fn complain(&self, what: Complaint, text: impl fmt::Display) {
        let text = format!("{}: {text}", self.name);
        self.desk.complain(Ipv6Addr::UNSPECIFIED, what, text);
    }
}

/// Port 546 of a client, port 547 of a relay, or the port a relay asks for (RFC 8357 §5.3).
fn destination(from: SocketAddrV6, request: &Request<'_>) -> SocketAddrV6 {
    let port = match request.relays.first() {
        None => net::CLIENT_PORT,
        Some(relay) if relay.source_port.is_some() => from.port(),
        Some(_) => net::SERVER_PORT,
    };
    SocketAddrV6::new(*from.ip(), port, 0, from.scope_id())
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(since)
}
