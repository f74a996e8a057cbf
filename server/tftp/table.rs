//! The transfers that run, by client: who may begin, and what a request from
//! a port with a running transfer means.
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::wire::ReadRequest;

/// The same request came again.
pub const AGAIN: u8 = 1;
/// Another request came from the same port: the client has moved on.
pub const SUPERSEDED: u8 = 2;
/// The server stops.
pub const STOP: u8 = 4;
/// Others need the place, and the client never answered.
pub const CROWDED: u8 = 8;
/// The client has answered: its address is not forged.
const PROVEN: u8 = 16;

/// What a running session is told from outside.
#[derive(Debug, Default)]
pub struct Signal {
    flags: AtomicU8,
    notify: Notify,
}

impl Signal {
    pub fn is(&self, flag: u8) -> bool {
        self.flags.load(Ordering::Acquire) & flag != 0
    }

    /// Takes a flag back; true if it was set.
    pub fn take(&self, flag: u8) -> bool {
        self.flags.fetch_and(!flag, Ordering::AcqRel) & flag != 0
    }

    /// Returns once a flag may have been raised.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }

    /// The client has answered: nobody else may push it out any more.
    pub fn prove(&self) {
        self.flags.fetch_or(PROVEN, Ordering::AcqRel);
    }

    fn raise(&self, flag: u8) {
        self.flags.fetch_or(flag, Ordering::AcqRel);
        self.notify.notify_one();
    }
}

/// A session's place in the table.
#[derive(Debug)]
pub struct Seat {
    pub number: u64,
    pub signal: Arc<Signal>,
}

/// What becomes of a request.
pub enum Admission {
    Granted(Seat),
    /// A session for this very request runs and has been told.
    Running,
    Full,
    Stopping,
}

pub struct Table {
    most: usize,
    most_per_client: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<SocketAddr, Entry>,
    /// Sessions that lost their entry and have not left yet; they hold a socket.
    leaving: usize,
    last_number: u64,
    stopping: bool,
}

struct Entry {
    number: u64,
    local: IpAddr,
    request: ReadRequest,
    signal: Arc<Signal>,
}

impl Table {
    pub fn new(most: usize, most_per_client: usize) -> Self {
        Self { most, most_per_client, inner: Mutex::default() }
    }

    /// Decides on a read request and takes a place for it.
    pub fn admit(&self, client: SocketAddr, local: IpAddr, request: &ReadRequest) -> Admission {
        let mut inner = self.lock();
        if inner.stopping {
            return Admission::Stopping;
        }
        let running = inner.entries.get(&client);
        if let Some(entry) = running.filter(|e| e.local == local && e.request == *request) {
            entry.signal.raise(AGAIN);
            return Admission::Running;
        }
        let taken = running.is_some();
        if inner.leaving >= self.most || !(taken || self.make_room(&mut inner, client.ip())) {
            return Admission::Full;
        }
        inner.last_number += 1;
        let seat = Seat { number: inner.last_number, signal: Arc::default() };
        let entry = Entry {
            number: seat.number,
            local,
            request: request.clone(),
            signal: Arc::clone(&seat.signal),
        };
        if let Some(old) = inner.entries.insert(client, entry) {
            // A size probe whose ERROR was lost, or a ROM that tries the next
            // name: whatever it was, its port now speaks of something else.
            old.signal.raise(SUPERSEDED);
            inner.leaving += 1;
        }
        Admission::Granted(seat)
    }

    /// Whether one more fits. Where it does not, the oldest session gives way
    /// whose client never answered: forged requests must not keep blades out.
    fn make_room(&self, inner: &mut Inner, client: IpAddr) -> bool {
        let of_client = inner.entries.keys().filter(|key| key.ip() == client).count();
        let only = if of_client >= self.most_per_client {
            Some(client)
        } else if inner.entries.len() >= self.most {
            None
        } else {
            return true;
        };
        let silent = inner.entries.iter().filter(|(key, entry)| {
            only.is_none_or(|only| key.ip() == only) && !entry.signal.is(PROVEN)
        });
        let Some(oldest) = silent.min_by_key(|(_, entry)| entry.number).map(|(key, _)| *key) else {
            return false;
        };
        if let Some(entry) = inner.entries.remove(&oldest) {
            entry.signal.raise(CROWDED);
            inner.leaving += 1;
        }
        true
    }

    /// Gives the place back, unless the same request has come again since the
    /// session last looked: then it stays and is to be served anew.
    pub fn leave(&self, client: SocketAddr, seat: &Seat) -> bool {
        let mut inner = self.lock();
        let ours = inner.entries.get(&client).is_some_and(|entry| entry.number == seat.number);
        if !ours {
            inner.leaving = inner.leaving.saturating_sub(1);
            return true;
        }
        if seat.signal.take(AGAIN) && !inner.stopping {
            return false;
        }
        inner.entries.remove(&client);
        true
    }

    /// Tells every session to stop and admits no more.
    pub fn stop(&self) {
        let mut inner = self.lock();
        inner.stopping = true;
        inner.entries.values().for_each(|entry| entry.signal.raise(STOP));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Asked, Mode};
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn admit(table: &Table, port: u16, name: &str) -> Admission {
        let request = ReadRequest { name: name.into(), mode: Mode::Octet, asked: Asked::default() };
        table.admit(SocketAddr::new(LOCAL, port), LOCAL, &request)
    }

    fn seat(admission: Admission) -> Seat {
        match admission {
            Admission::Granted(seat) => seat,
            _ => panic!("not granted"),
        }
    }

    #[test]
    fn the_same_request_again_starts_nothing_and_reaches_the_session() {
        let table = Table::new(9, 9);
        let first = seat(admit(&table, 1, "a"));
        assert!(matches!(admit(&table, 1, "a"), Admission::Running));
        assert!(first.signal.is(AGAIN));
        let client = SocketAddr::new(LOCAL, 1);
        assert!(!table.leave(client, &first), "to be served anew");
        assert!(table.leave(client, &first));
        seat(admit(&table, 1, "a"));
    }

    #[test]
    fn another_request_from_the_same_port_ends_the_first() {
        let table = Table::new(9, 1);
        let first = seat(admit(&table, 1, "a"));
        let second = seat(admit(&table, 1, "b"));
        assert!(first.signal.is(SUPERSEDED) && !second.signal.is(SUPERSEDED));
        assert!(table.leave(SocketAddr::new(LOCAL, 1), &first));
        assert!(matches!(admit(&table, 1, "b"), Admission::Running), "the second one stays");
    }

    #[test]
    fn transfers_are_limited_in_total_and_per_client() {
        for (most, most_per_client) in [(2, 9), (9, 2)] {
            let table = Table::new(most, most_per_client);
            let first = seat(admit(&table, 1, "a"));
            first.signal.prove();
            seat(admit(&table, 2, "a")).signal.prove();
            assert!(matches!(admit(&table, 3, "a"), Admission::Full));
            assert!(table.leave(SocketAddr::new(LOCAL, 1), &first));
            seat(admit(&table, 3, "a"));
        }
    }

    #[test]
    fn of_a_full_table_the_oldest_that_never_answered_gives_way() {
        let table = Table::new(3, 9);
        let seats = [1, 2, 3].map(|port| seat(admit(&table, port, "a")));
        seats[0].signal.prove();
        seat(admit(&table, 4, "a"));
        assert_eq!([true, false, false], [1, 0, 2].map(|at: usize| seats[at].signal.is(CROWDED)));
        assert!(table.leave(SocketAddr::new(LOCAL, 2), &seats[1]));
    }

    #[test]
    fn sessions_that_lost_their_place_are_limited_too() {
        let table = Table::new(1, 9);
        let first = seat(admit(&table, 1, "a"));
        seat(admit(&table, 1, "b"));
        assert!(matches!(admit(&table, 1, "c"), Admission::Full));
        assert!(table.leave(SocketAddr::new(LOCAL, 1), &first));
        seat(admit(&table, 1, "c"));
    }
}
