//! How long to wait for an ACK (RFC 1123 §4.2.3.2: adaptive, growing), in the
//! manner of RFC 6298. Pure: time is an argument.
use std::time::{Duration, Instant};

/// Before anything is known about the path (RFC 6298 §2.1).
const FIRST: Duration = Duration::from_secs(1);
/// A ROM that draws its progress bar is late by this much now and then.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(32);
/// A round trip nobody has measured yet: longer than most racks are wide.
const UNMEASURED: Duration = Duration::from_millis(10);
/// RFC 7440 §6 wants an end; a blade's own ROM has given up long before.
const GIVE_UP: Duration = Duration::from_secs(60);
const RETRIES: u32 = 10;
/// Until the first ACK the address may be forged: what is sent to it is little.
const RETRIES_UNPROVEN: u32 = 5;
/// A timeout a client may fix with RFC 2349, so that at least one
/// retransmission fits before giving up.
pub const LONGEST_FIXED: u8 = 20;

/// Estimates the round trip and counts retransmissions without progress.
#[derive(Debug)]
pub struct Patience {
    /// RFC 2349 timeout that was acknowledged: the first wait of every flight.
    fixed: Option<Duration>,
    smoothed: Option<Duration>,
    variation: Duration,
    shortest_seen: Option<Duration>,
    sent: Instant,
    progress: Instant,
    /// Flights sent again because time had passed, since the last progress.
    retries: u32,
    /// Flights sent again at the client's word.
    copies: u32,
    /// Karn: a flight sent twice measures nothing.
    measurable: bool,
    proven: bool,
    /// An ACK hinted at a loss before a round trip had passed.
    hinted: bool,
}

impl Patience {
    pub fn new(now: Instant, fixed: Option<u8>) -> Self {
        Self {
            fixed: fixed.map(|seconds| Duration::from_secs(seconds.into())),
            smoothed: None,
            variation: Duration::ZERO,
            shortest_seen: None,
            sent: now,
            progress: now,
            retries: 0,
            copies: 0,
            measurable: true,
            proven: false,
            hinted: false,
        }
    }

    /// A new flight leaves.
    pub fn on_sent(&mut self, now: Instant) {
        self.sent = now;
        self.measurable = true;
        self.hinted = false;
    }

    /// The same flight leaves again because nothing came, or nothing but a hint.
    pub fn on_resent(&mut self, now: Instant) {
        if self.hinted && self.answers() {
            return self.on_asked_again(now);
        }
        self.sent = now;
        self.measurable = false;
        self.hinted = false;
        self.retries = self.retries.saturating_add(1);
    }

    /// The same flight leaves again at the client's word. It is there, so this does not count
    /// for its silence: a client that is short of CPU says the same ten times in one breath.
    pub fn on_asked_again(&mut self, now: Instant) {
        self.on_repeated(now);
        self.copies = self.copies.saturating_add(1);
    }

    /// Whether the client's word still brings a copy. Without end it would be a weapon.
    pub fn answers(&self) -> bool {
        self.copies < self.most()
    }

    /// A flight leaves of which parts have left before, at the client's word.
    pub fn on_repeated(&mut self, now: Instant) {
        self.sent = now;
        self.measurable = false;
        self.hinted = false;
    }

    /// An ACK moved the transfer on; `whole` if it covers the whole flight.
    pub fn on_progress(&mut self, now: Instant, whole: bool) {
        self.proven = true;
        self.progress = now;
        self.retries = 0;
        self.copies = 0;
        if !whole || !self.measurable {
            return;
        }
        let sample = now.saturating_duration_since(self.sent);
        self.shortest_seen = Some(self.shortest_seen.map_or(sample, |seen| seen.min(sample)));
        match self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.variation = sample / 2;
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(sample)) / 4;
                self.smoothed = Some((smoothed * 7 + sample) / 8);
            }
        }
    }

    /// An ACK says the flight has a hole, but may be an old one repeated: if
    /// nothing else comes, waiting two round trips is enough.
    pub fn on_hint(&mut self) {
        self.hinted = true;
    }

    /// Whether an ACK at `now` can speak of the flight last sent at all.
    pub fn round_trip_passed(&self, now: Instant) -> bool {
        self.waited(now) >= self.shortest_seen.unwrap_or(UNMEASURED)
    }

    /// Time since the flight last left.
    pub fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.sent)
    }

    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// Whether the next deadline ends the transfer instead of repeating.
    pub fn exhausted(&self, now: Instant) -> bool {
        self.retries >= self.most() || now.saturating_duration_since(self.progress) >= GIVE_UP
    }

    fn most(&self) -> u32 {
        if self.proven { RETRIES } else { RETRIES_UNPROVEN }
    }

    /// When to act if nothing comes.
    pub fn deadline(&self) -> Instant {
        (self.sent + self.wait()).min(self.progress + GIVE_UP)
    }

    fn wait(&self) -> Duration {
        let estimate = match (self.fixed, self.smoothed) {
            (Some(fixed), _) => fixed,
            (None, None) => FIRST,
            (None, Some(smoothed)) => (smoothed + self.variation * 4).max(SHORTEST),
        };
        let grown = (estimate * (1 << self.retries.min(10))).min(LONGEST.max(estimate * 2));
        if self.hinted && self.answers() {
            let round_trip = self.smoothed.unwrap_or(UNMEASURED);
            return grown.min(round_trip * 2 + self.variation * 4 + Duration::from_millis(1));
        }
        grown
    }
}
