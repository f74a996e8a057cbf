//! One interface: receives, decides, sends. No packet ends it.

use std::{
    io,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::{
    Complaint, Desk, Entry, Hold, Job, LeaseBook, State, Write,
    net::{self, Sockets},
    reply::{Answer, Decision, Interface, POOL_QUARANTINE_MS, decide, decide_as_proxy},
    seen::{Seen, What, Witness},
    wire::{Arrival, Request},
};
use crate::{
    blade::Millis,
    config::DhcpMode,
    inventory::{Lease, LeaseState, Snapshot},
};

/// Interfaces are looked at again this often: addresses and links come and go.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Listener {
    name: String,
    pub(super) desk: Arc<Desk>,
    interface: ArcSwap<Interface>,
    sockets: ArcSwap<Sockets>,
    /// A socket failed: it is opened anew at the next look. A deleted interface that came back
    /// with its old number is noticed by nothing else.
    failed: AtomicBool,
}

impl Listener {
    pub fn bind(name: &str, desk: Arc<Desk>) -> io::Result<Listener> {
        let (interface, link) =
            net::find(name, desk.options.url.as_deref(), desk.options.http_port)?;
        if interface.addresses.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("interface {name} has no IPv4 address; give it one of its subnet"),
            ));
        }
        let sockets = Sockets::open(name, &link, desk.options.mode)?;
        Ok(Listener {
            name: name.to_owned(),
            desk,
            interface: ArcSwap::from_pointee(interface),
            sockets: ArcSwap::from_pointee(sockets),
            failed: AtomicBool::new(false),
        })
    }

    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut look = tokio::time::interval(LOOK_AGAIN);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ask = tokio::time::interval(self.desk.options.watch_every);
        ask.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut buffer = vec![0; 65_536];
        let (mut second, mut third) = (buffer.clone(), buffer.clone());
        loop {
            let sockets = self.sockets.load_full();
            tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => self.look_again(),
                _ = ask.tick() => self.ask_for_servers(&sockets, &self.interface.load_full()).await,
                heard = sockets.hear_servers(&mut third) => match heard {
                    Ok(packet) => packet.iter().for_each(|packet| {
                        self.heard_server(packet, &self.interface.load());
                    }),
                    Err(error) => self.pause(&error).await,
                },
                received = sockets.hear(&mut buffer) => match received {
                    Ok((length, arrival)) => self.receive(&buffer[..length], arrival).await,
                    Err(error) => self.pause(&error).await,
                },
                received = sockets.hear_boot_server(&mut second) => match received {
                    Ok((length, arrival)) => self.receive(&second[..length], arrival).await,
                    Err(error) => self.pause(&error).await,
                },
                heard = sockets.arp.listen() => if let Err(error) = heard {
                    self.pause(&error).await;
                },
            }
        }
    }

    /// An interface that is down fails at once and again.
    async fn pause(&self, error: &io::Error) {
        let text = format!("receiving on {} failed: {error}", self.name);
        self.failed.store(true, Ordering::Relaxed);
        self.complain(Complaint::Receive, text);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    async fn receive(self: &Arc<Self>, packet: &[u8], arrival: Arrival) {
        let now = self.desk.now();
        let request = match Request::parse(packet) {
            Ok(request) => request.came(arrival),
            Err(cause) => {
                *self.desk.state().dropped.entry(cause).or_default() += 1;
                let text = format!("dropped a packet on {}: {cause}", self.name);
                self.desk.complain(now, *arrival.from.ip(), Complaint::Dropped(cause), text);
                return;
            }
        };
        self.heard_choice(&request, &self.interface.load(), now);
        let (decision, extra) = self.decide(&request, now);
        self.desk.tell(extra);
        if let Some(ip) = decision.probe
            && let Ok(permit) = Arc::clone(&self.desk.probes).try_acquire_owned()
        {
            let (listener, packet) = (Arc::clone(self), packet.to_vec());
            self.desk.probing.spawn(async move {
                listener.offer_unless_used(ip, decision, &packet, arrival).await;
                drop(permit);
            });
            return;
        }
        self.carry_out(decision).await;
    }

    /// Sends an offer, or if its address is in use puts that aside and offers the next, once.
    async fn offer_unless_used(
        self: &Arc<Self>,
        ip: Ipv4Addr,
        offer: Decision,
        packet: &[u8],
        arrival: Arrival,
    ) {
        let from = offer.answer.as_ref().map_or(Ipv4Addr::UNSPECIFIED, |answer| *answer.from.ip());
        let holder = match self.sockets.load_full().arp.holder(ip, from).await {
            Ok(holder) => holder,
            Err(error) => {
                self.complain(Complaint::Send, format!("asking who has {ip} failed: {error}"));
                None
            }
        };
        let Ok(request) = Request::parse(packet).map(|request| request.came(arrival)) else {
            return;
        };
        // The client itself may still use the address it had.
        let Some(holder) = holder.filter(|holder| *holder != request.mac) else {
            return self.carry_out(offer).await;
        };
        let now = self.desk.now();
        let until = now + POOL_QUARANTINE_MS;
        let quarantine =
            Lease { ip, mac: holder, state: LeaseState::Quarantined, until, hostname: None };
        let mut seen = offer.seen;
        for seen in &mut seen {
            (seen.mac, seen.what, seen.firmware, seen.boot_file) =
                (holder, What::Alert, None, None);
            seen.detail = format!(
                "address in use: pool address {ip} is used by {holder}; it is put aside for an \
                 hour. Give that machine an address outside of the pool"
            );
        }
        self.desk.state().book.put(ip, Entry { mac: holder, hold: Hold::Quarantined, until });
        let durable = Some(quarantine);
        self.carry_out(Decision { answer: None, durable, probe: None, seen }).await;
        let (next, extra) = self.decide(&request, now);
        self.desk.tell(extra);
        self.carry_out(next).await;
    }

    async fn carry_out(self: &Arc<Self>, decision: Decision) {
        match decision.durable {
            None => {
                // First: whoever has the answer may ask for what follows from it.
                self.desk.tell(decision.seen);
                if let Some(answer) = &decision.answer {
                    self.send(answer).await;
                }
            }
            Some(lease) => {
                let listener = Arc::clone(self);
                let Decision { answer, seen, .. } = decision;
                let write = Box::new(Write { lease, listener, answer, seen });
                if self.desk.jobs.try_send(Job::Write(write)).is_err() {
                    self.complain(Complaint::Overload, "too many leases wait to be written");
                }
            }
        }
    }

    /// Decides under the lock; notes that repeat are taken out.
    fn decide(&self, request: &Request<'_>, now: Millis) -> (Decision, Vec<Seen>) {
        let snapshot = self.desk.options.snapshot.load_full();
        let mut guard = self.desk.state();
        let state: &mut State = &mut guard;
        if !state.known.as_ref().is_some_and(|known| Arc::ptr_eq(known, &snapshot)) {
            state.book.rewind();
            state.known = Some(Arc::clone(&snapshot));
        }
        let mut decision = self.judge(&snapshot, &mut state.book, request, now);
        let extra = suspicions(&mut state.witness, &snapshot, request, &decision, now);
        for seen in &decision.seen {
            *state.noted.entry(seen.what).or_default() += 1;
        }
        let known = snapshot.by_mac(request.mac).is_some();
        let mut passes = |seen: &Seen| state.news.pass(seen, known);
        let extra = extra.into_iter().filter(&mut passes).collect();
        decision.seen.retain(passes);
        (decision, extra)
    }

    /// True if the interface has an address of this network.
    pub fn is_on(&self, network: ipnet::Ipv4Net) -> bool {
        self.interface.load().addresses.iter().any(|address| network.contains(&address.addr()))
    }

    /// The decision about a packet, on the wire and in rehearsals.
    pub fn judge(
        &self,
        snapshot: &Snapshot,
        book: &mut LeaseBook,
        request: &Request<'_>,
        now: Millis,
    ) -> Decision {
        let interface = self.interface.load();
        match self.desk.options.mode {
            DhcpMode::Proxy => decide_as_proxy(snapshot, request, &interface, now),
            _ => decide(snapshot, book, request, &interface, now),
        }
    }

    /// Failures are logged: the client asks again.
    pub async fn send(&self, answer: &Answer) {
        let interface = self.interface.load_full();
        if let Err(error) = self.sockets.load_full().send(&interface, answer).await {
            let text = format!("answering {:?} on {} failed: {error}", answer.to, self.name);
            self.complain(Complaint::Send, text);
        }
    }

    fn look_again(&self) {
        let options = &self.desk.options;
        match net::find(&self.name, options.url.as_deref(), options.http_port) {
            Ok((interface, link)) => {
                let before = self.interface.load();
                let another = (interface.index, interface.mac) != (before.index, before.mac);
                if another || self.failed.swap(false, Ordering::Relaxed) {
                    match Sockets::open(&self.name, &link, self.desk.options.mode) {
                        Ok(sockets) => {
                            tracing::info!("DHCP: {} is served anew", self.name);
                            self.sockets.store(Arc::new(sockets));
                        }
                        Err(error) => return self.complain(Complaint::Interface, error),
                    }
                }
                if interface != **self.interface.load() {
                    self.interface.store(Arc::new(interface));
                }
            }
            Err(error) => self.complain(Complaint::Interface, error),
        }
    }

    pub(super) fn complain(&self, what: Complaint, text: impl std::fmt::Display) {
        self.desk.complain(self.desk.now(), Ipv4Addr::UNSPECIFIED, what, text);
    }
}

/// What should be there once and was seen twice.
fn suspicions(
    witness: &mut Witness,
    snapshot: &Snapshot,
    request: &Request<'_>,
    decision: &Decision,
    now: Millis,
) -> Vec<Seen> {
    let Some(seen) = decision.seen.first() else { return Vec::new() };
    let known = snapshot.by_mac(request.mac).is_some();
    let mut found = Vec::new();
    if let Some(uuid) = request.client().uuid {
        let name = |mac| snapshot.by_mac(mac).map(|blade| blade.name.to_string());
        if known {
            found.extend(witness.look(request.mac, &uuid, now));
        }
        found.extend(witness.clone_of(request.mac, &uuid, name));
    }
    if let (true, Some(relay), Some(port)) = (known, seen.relay, &seen.switch_port) {
        found.extend(witness.moved(request.mac, relay, port, now));
    }
    let alert = |text| Seen { what: What::Alert, detail: text, ..seen.clone() };
    found.into_iter().map(alert).collect()
}
