//! One transfer as a machine without clock or socket: packets and time go in,
//! datagrams, a deadline and an ending come out (RFC 1350, 2347, 7440).
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::patience::{LONGEST_FIXED, Patience};
use super::source::Source;
use super::wire::{self, Acknowledged, Asked, Inbound, Mode, PLAIN_BLKSIZE};

/// A repeated RRQ is answered again, but no faster than this.
const REPEAT_GAP: Duration = Duration::from_millis(200);

/// What a client may have at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// Octets per block; larger requests are granted this much.
    pub blksize: u16,
    /// Blocks per window.
    pub windowsize: u16,
    /// Octets in flight: `windowsize` shrinks until the window fits.
    pub window_octets: usize,
}

impl Default for Ceiling {
    fn default() -> Self {
        Self { blksize: *wire::BLKSIZE.end(), windowsize: 64, window_octets: 64 << 10 }
    }
}

/// The terms of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub blksize: u16,
    pub windowsize: u16,
    pub oack: Acknowledged,
}

impl Grant {
    /// What is granted of `asked`, for a file of `size` octets.
    pub fn new(asked: &Asked, mode: Mode, size: usize, ceiling: &Ceiling) -> Self {
        let blksize = asked.blksize.map(|b| b.min(ceiling.blksize).max(*wire::BLKSIZE.start()));
        let octets = blksize.unwrap_or(PLAIN_BLKSIZE);
        let fitting = ceiling.window_octets / usize::from(octets);
        let most = u16::try_from(fitting).unwrap_or(u16::MAX).min(ceiling.windowsize).max(1);
        let windowsize = asked.windowsize.map(|w| w.min(most));
        let oack = Acknowledged {
            blksize,
            // The length on the wire is unknown before a netascii file is translated.
            tsize: (asked.tsize && mode == Mode::Octet).then_some(size as u64),
            // RFC 2349: the same value or none.
            timeout: asked.timeout.filter(|seconds| *seconds <= LONGEST_FIXED),
            windowsize,
        };
        Self { blksize: octets, windowsize: windowsize.unwrap_or(1), oack }
    }
}

/// A packet to send to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// OACK or ERROR, whole.
    Control(Bytes),
    /// DATA: block number on the wire and payload.
    Data { block: u16, payload: Bytes },
}

/// How a transfer came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every block was acknowledged.
    Finished,
    /// The client wanted to know the size only: EDK2 says ERROR 8, Intel ROMs
    /// ERROR 0, after the OACK.
    Probed,
    Failed(Reason),
}

/// Why a transfer failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("client fell silent: no ACK after {retransmissions} retransmissions")]
    Silent { retransmissions: u32 },
    #[error("client ended it with ERROR {code} \"{text}\"")]
    ClientError { code: u16, text: String },
    #[error("client asked for something else instead")]
    Superseded,
    #[error("client never answered, and others were waiting")]
    Crowded,
    #[error("server is stopping")]
    Stopping,
    #[error("no socket for the transfer: {0}")]
    Socket(String),
}

/// The machine. Drain [`Transfer::outbox`] after every call.
#[derive(Debug)]
pub struct Transfer {
    grant: Grant,
    source: Source,
    /// The OACK awaits ACK 0.
    negotiating: bool,
    /// Number of the first block in `flight`, from 1, not wrapped.
    base: u64,
    flight: VecDeque<Bytes>,
    /// The last block sent at all, and the last one sent more than once.
    sent_up_to: u64,
    repeated_up_to: u64,
    acknowledged: u64,
    patience: Patience,
    outbox: Vec<Datagram>,
    ending: Option<Ending>,
}

impl Transfer {
    /// Begins with the OACK or, without granted options, the first block.
    pub fn start(now: Instant, content: Bytes, mode: Mode, grant: Grant) -> Self {
        let mut transfer = Self {
            grant,
            source: Source::new(content, mode),
            negotiating: grant.oack != Acknowledged::default(),
            base: 1,
            flight: VecDeque::new(),
            sent_up_to: 0,
            repeated_up_to: 0,
            acknowledged: 0,
            patience: Patience::new(now, grant.oack.timeout),
            outbox: Vec::new(),
            ending: None,
        };
        transfer.advance(now);
        transfer
    }

    /// A packet from the client's own address and port.
    pub fn on_packet(&mut self, now: Instant, packet: &Inbound) {
        match packet {
            _ if self.ending.is_some() => {}
            Inbound::Ack(0) if self.negotiating => {
                self.negotiating = false;
                self.patience.on_progress(now, true);
                self.advance(now);
            }
            Inbound::Ack(_) if self.negotiating => {}
            Inbound::Ack(block) => self.on_ack(now, *block),
            Inbound::Error { code, text } => self.on_error(*code, text),
            // RFC 1350 gives no meaning to these from a reader.
            Inbound::Read(_) | Inbound::Stray => {}
        }
    }

    /// The client sent its RRQ once more: our first answer may be lost.
    pub fn on_repeated_request(&mut self, now: Instant) {
        let unanswered = self.negotiating || self.base == 1;
        if self.ending.is_none() && unanswered && self.patience.waited(now) >= REPEAT_GAP {
            self.patience.on_repeated(now);
            self.send_flight();
        }
    }

    /// Time has reached [`Transfer::deadline`].
    pub fn on_deadline(&mut self, now: Instant) {
        if self.ending.is_some() || now < self.deadline() {
            return;
        }
        if self.patience.exhausted(now) {
            let retransmissions = self.patience.retries();
            self.ending = Some(Ending::Failed(Reason::Silent { retransmissions }));
            return;
        }
        self.patience.on_resent(now);
        self.refill();
        self.send_flight();
    }

    /// When [`Transfer::on_deadline`] wants to be called.
    pub fn deadline(&self) -> Instant {
        self.patience.deadline()
    }

    /// What is to be sent now, in order.
    pub fn outbox(&mut self) -> &mut Vec<Datagram> {
        &mut self.outbox
    }

    /// Set once the transfer is over.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// Octets of payload the client has acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    fn on_ack(&mut self, now: Instant, block: u16) {
        // `base - 1` is the last block acknowledged; a window is far smaller
        // than 65,536, so the wrapped distance is the true one.
        let distance = block.wrapping_sub((self.base - 1) as u16);
        let covered = usize::from(distance);
        if covered > self.flight.len() {
            return;
        }
        if covered == 0 && self.grant.windowsize == 1 {
            // RFC 1123 §4.2.3.1, Sorcerer's Apprentice: never answer a
            // duplicate ACK with another copy of the next block.
            return;
        }
        let whole = covered == self.flight.len();
        if covered > 0 {
            let octets: usize = self.flight.drain(..covered).map(|block| block.len()).sum();
            self.acknowledged += octets as u64;
            self.base += u64::from(distance);
            self.patience.on_progress(now, whole);
        }
        if whole {
            self.advance(now);
        } else {
            self.on_hole(now, covered > 0);
        }
    }

    /// An ACK inside the window: RFC 7440 §4 takes it for a hole behind it.
    fn on_hole(&mut self, now: Instant, progress: bool) {
        if progress && self.base - 1 <= self.repeated_up_to {
            // Or the client repeats its ACK because it saw a block twice (EDK2
            // does) and waits for a whole window behind it: completing that
            // brings both back into step, a copy of it would do so never.
            self.refill();
            self.patience.on_repeated(now);
            self.patience.on_hint();
            self.send_from(self.sent_up_to + 1);
        } else if self.patience.round_trip_passed(now) && self.patience.answers() {
            if progress {
                self.patience.on_repeated(now);
            } else {
                self.patience.on_asked_again(now);
            }
            self.refill();
            self.send_flight();
        } else {
            // Too early to speak of what left last: an ACK that the network
            // doubled, or a client that acknowledges more often than agreed.
            // Answering would double every window from here on.
            self.patience.on_hint();
        }
    }

    fn on_error(&mut self, code: u16, text: &str) {
        let probe = self.negotiating && self.grant.oack.tsize.is_some();
        self.ending = Some(if probe {
            Ending::Probed
        } else {
            Ending::Failed(Reason::ClientError { code, text: text.to_owned() })
        });
    }

    /// The next window leaves, or everything has arrived.
    fn advance(&mut self, now: Instant) {
        self.refill();
        if self.flight.is_empty() && !self.negotiating {
            self.ending = Some(Ending::Finished);
            return;
        }
        self.patience.on_sent(now);
        self.send_flight();
    }

    fn refill(&mut self) {
        if self.negotiating {
            return;
        }
        while self.flight.len() < usize::from(self.grant.windowsize) {
            match self.source.next_block(self.grant.blksize.into()) {
                Some(block) => self.flight.push_back(block),
                None => break,
            }
        }
    }

    fn send_flight(&mut self) {
        self.outbox.clear();
        if self.negotiating {
            self.outbox.push(Datagram::Control(wire::oack(&self.grant.oack)));
            return;
        }
        self.repeated_up_to = self.sent_up_to;
        self.send_from(self.base);
    }

    fn send_from(&mut self, first: u64) {
        let skipped = usize::try_from(first - self.base).unwrap_or(usize::MAX);
        let data = |(number, payload): (u64, &Bytes)| Datagram::Data {
            block: number as u16,
            payload: payload.clone(),
        };
        self.outbox.extend((first..).zip(self.flight.iter().skip(skipped)).map(data));
        self.sent_up_to = self.sent_up_to.max(self.base + self.flight.len() as u64 - 1);
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
