//! The task that carries one transfer between its socket and its machine.
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::socket::{Listener, Peer};
use super::table::{AGAIN, CROWDED, STOP, SUPERSEDED, Seat};
use super::transfer::{Ending, Grant, Reason, Transfer};
use super::wire::{self, Code, ReadRequest};
use super::{Event, OpenError, Request, Shared, What};

/// ACK and ERROR fit; the tail of a longer text is not worth more.
const PACKET: usize = 256;
/// Strangers that get an ERROR 5, per transfer.
const STRANGERS: u32 = 16;

/// A request that was admitted.
pub struct Session {
    pub shared: Arc<Shared>,
    pub listener: Arc<Listener>,
    pub request: ReadRequest,
    pub name: Arc<str>,
    pub client: SocketAddr,
    pub local: IpAddr,
    pub seat: Seat,
}

impl Session {
    pub async fn run(self) {
        loop {
            self.serve().await;
            if self.shared.table.leave(self.client, &self.seat) {
                return;
            }
        }
    }

    async fn serve(&self) {
        let content = match self.open().await {
            Ok(content) => content,
            Err(None) => return,
            Err(Some(refusal)) => return self.refuse(refusal),
        };
        // A repetition that came while the file was looked for is answered now.
        self.seat.signal.take(AGAIN);
        let options = &self.shared.options;
        let asked = &self.request.asked;
        let grant = Grant::new(asked, self.request.mode, content.len(), &options.ceiling);
        let ports = options.ports.as_ref().map(|range| (range, self.seat.number));
        let mut peer = match Peer::bind(self.local, self.listener.device(), self.client, ports) {
            Ok(peer) => peer,
            Err(error) => {
                self.warn("socket", format_args!("no socket for {}: {error}", self.client));
                let reason = Reason::Socket(error.to_string());
                return self.tell(What::Failed { reason, bytes: 0 });
            }
        };
        self.tell(What::Started {
            size: content.len() as u64,
            blksize: grant.blksize,
            windowsize: grant.windowsize,
        });
        let begun = Instant::now();
        let mut transfer = Transfer::start(begun, content, self.request.mode, grant);
        let ending = self.carry(&mut peer, &mut transfer).await;
        let bytes = transfer.acknowledged();
        self.tell(match ending {
            Ending::Finished => What::Finished { bytes, elapsed: begun.elapsed() },
            Ending::Probed => What::Probed,
            Ending::Failed(reason) => What::Failed { reason, bytes },
        });
    }

    /// The octets, or why not; `None` if the client or the server has moved on
    /// while the file was being opened.
    async fn open(&self) -> Result<Bytes, Option<OpenError>> {
        let request =
            Request { name: self.request.name.clone(), client: self.client, local: self.local };
        let open = Arc::clone(&self.shared.open);
        let mut opened = tokio::task::spawn_blocking(move || open(&request));
        loop {
            if self.seat.signal.is(STOP | SUPERSEDED | CROWDED) {
                return Err(None);
            }
            tokio::select! {
                content = &mut opened => {
                    return content.unwrap_or(Err(OpenError::Busy)).map_err(Some);
                }
                () = self.seat.signal.changed() => {}
            }
        }
    }

    fn warn(&self, what: &'static str, line: std::fmt::Arguments<'_>) {
        self.shared.notices.warn(Some(self.client.ip()), what, line);
    }

    fn refuse(&self, refusal: OpenError) {
        let (client, name) = (self.client, &self.name);
        self.warn("refusal", format_args!("{client} gets no {name:?}: {refusal}"));
        let code = match refusal {
            OpenError::NotFound => Some(Code::NotFound),
            OpenError::Denied => Some(Code::AccessViolation),
            OpenError::Busy => None,
        };
        if let Some(code) = code {
            let packet = wire::error(code, &refusal.to_string());
            // Lost like any packet: the client asks again.
            let _ = self.listener.answer(&packet, client, self.local);
        }
        // A repetition that came while the file was looked for has its answer.
        self.seat.signal.take(AGAIN);
        self.tell(What::Refused(refusal));
    }

    async fn carry(&self, peer: &mut Peer, transfer: &mut Transfer) -> Ending {
        let mut buffer = [0; PACKET];
        let mut desk = Desk { session: self, strangers: 0, told: Instant::now() };
        let mut alarm = pin!(tokio::time::sleep_until(transfer.deadline().into()));
        loop {
            if let Err(error) = peer.send(transfer.outbox()).await {
                self.warn("send", format_args!("to {}: {error}", self.client));
            }
            if let Some(ending) = transfer.ending() {
                return ending.clone();
            }
            if let Some(ending) = self.interrupted(peer).await {
                return ending;
            }
            alarm.as_mut().reset(transfer.deadline().into());
            let again = tokio::select! {
                biased;
                received = peer.receive(&mut buffer) => {
                    match received {
                        Ok((length, from)) => desk.take(peer, transfer, &buffer[..length], from),
                        Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                    false
                }
                () = &mut alarm => false,
                () = self.seat.signal.changed() => self.seat.signal.is(AGAIN),
            };
            if again {
                // What the client said before it asked again comes first: an
                // ERROR after a size probe, or the last ACK.
                while let Ok((length, from)) = peer.receive_now(&mut buffer) {
                    desk.take(peer, transfer, &buffer[..length], from);
                }
                if transfer.ending().is_none() && self.seat.signal.take(AGAIN) {
                    transfer.on_repeated_request(Instant::now());
                }
            }
            // Here and not in the branch above: a flood of packets must not
            // keep the clock from being read.
            transfer.on_deadline(Instant::now());
        }
    }

    async fn interrupted(&self, peer: &mut Peer) -> Option<Ending> {
        if self.seat.signal.is(STOP) {
            let packet = wire::error(Code::Undefined, "server is stopping");
            // The last word; nobody is left to hear that it was not sent.
            let _ = peer.send(&mut vec![super::transfer::Datagram::Control(packet)]).await;
            return Some(Ending::Failed(Reason::Stopping));
        }
        let reasons = [(SUPERSEDED, Reason::Superseded), (CROWDED, Reason::Crowded)];
        let told = reasons.into_iter().find(|(flag, _)| self.seat.signal.is(*flag));
        told.map(|(_, reason)| Ending::Failed(reason))
    }

    fn tell(&self, what: What) {
        let (client, local, name) = (self.client, self.local, Arc::clone(&self.name));
        (self.shared.on_event)(Event { client, local, name, what });
    }
}

/// Takes packets in and tells how far the transfer has come.
struct Desk<'a> {
    session: &'a Session,
    strangers: u32,
    told: Instant,
}

impl Desk<'_> {
    fn take(&mut self, peer: &Peer, transfer: &mut Transfer, packet: &[u8], from: SocketAddr) {
        // A transfer ignores what it does not understand.
        let Ok(packet) = wire::parse(packet) else { return };
        if !peer.is_client(from) {
            // Never an ERROR for an ERROR: two servers would play ping-pong.
            let answer = !matches!(packet, wire::Inbound::Error { .. });
            if answer && self.strangers < STRANGERS {
                self.strangers += 1;
                peer.refuse(from);
            }
            return;
        }
        self.session.seat.signal.prove();
        let now = Instant::now();
        let before = transfer.acknowledged();
        transfer.on_packet(now, &packet);
        let bytes = transfer.acknowledged();
        let due = now.saturating_duration_since(self.told);
        if bytes > before && due >= self.session.shared.options.progress_every {
            self.told = now;
            self.session.tell(What::Progress { bytes });
        }
    }
}
