//! One client that asks or reports without end must not fill the journal (RFC 6585 §4).

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::blade::Mac;

/// Requests a second, in the long run; an installer sends one or two.
const RATE: f64 = 50.0;
/// Requests at once: cloud-init reports a whole boot when its network is up.
const BURST: f64 = 200.0;
/// Addresses remembered; those that were quiet are forgotten first.
const MOST: usize = 4096;

/// A bucket of requests for each address.
#[derive(Default)]
pub struct Throttle(Mutex<HashMap<IpAddr, (f64, Instant)>>);

impl Throttle {
    pub fn shared() -> Arc<Throttle> {
        Arc::default()
    }

    fn pass(&self, ip: IpAddr, now: Instant) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = |(left, at): (f64, Instant)| {
            (left + now.saturating_duration_since(at).as_secs_f64() * RATE).min(BURST)
        };
        if buckets.len() >= MOST && !buckets.contains_key(&ip) {
            buckets.retain(|_, bucket| filled(*bucket) < BURST);
            if buckets.len() >= MOST {
                return false;
            }
        }
        let bucket = buckets.entry(ip).or_insert((BURST, now));
        let left = filled(*bucket);
        *bucket = (if left < 1.0 { left } else { left - 1.0 }, now);
        left >= 1.0
    }
}

/// What was said to a blade last: one that waits asks every ten seconds, for days, and is told
/// the same.
#[derive(Default)]
pub struct Repeats(Mutex<HashMap<Mac, (String, Instant)>>);

/// How long the same words to the same blade are no news.
const NO_NEWS: Duration = Duration::from_secs(600);

impl Repeats {
    /// True if `told` is worth a line of the journal.
    pub fn is_news(&self, mac: Mac, told: &str, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = |at: Instant| now.saturating_duration_since(at) >= NO_NEWS;
        if last.get(&mac).is_some_and(|(words, at)| words == told && !old(*at)) {
            return false;
        }
        if last.len() >= MOST {
            last.retain(|_, (_, at)| !old(*at));
        }
        if last.len() < MOST {
            last.insert(mac, (told.to_owned(), now));
        }
        true
    }
}

pub async fn guard(
    State(throttle): State<Arc<Throttle>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    if throttle.pass(peer.ip(), Instant::now()) {
        return next.run(request).await;
    }
    let slower = [(header::RETRY_AFTER, "1")];
    (StatusCode::TOO_MANY_REQUESTS, slower, "too many requests; ask again in a second\n")
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_words_to_the_same_blade_are_news_once_in_ten_minutes() {
        let (repeats, start) = (Repeats::default(), Instant::now());
        let (one, other) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        assert!(repeats.is_news(one, "wait", start) && !repeats.is_news(one, "wait", start));
        assert!(repeats.is_news(other, "wait", start));
        assert!(repeats.is_news(one, "install", start), "and never keeps back what is new");
        assert!(repeats.is_news(one, "wait", start));
        assert!(repeats.is_news(one, "wait", start + NO_NEWS));
    }

    #[test]
    fn a_flood_is_held_to_its_rate_and_disturbs_nobody_else() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let (one, other) = (IpAddr::from([10, 12, 1, 1]), IpAddr::from([10, 12, 1, 2]));
        let passed = (0..1000).filter(|_| throttle.pass(one, start)).count();
        assert_eq!(passed, 200);
        assert!(throttle.pass(other, start));
        let later = start + Duration::from_secs(1);
        assert_eq!((0..1000).filter(|_| throttle.pass(one, later)).count(), 50);
    }

    #[test]
    fn addresses_without_number_take_no_memory_without_bound() {
        let (throttle, start) = (Throttle::default(), Instant::now());
        let flood = |now| {
            (0..5_000u32).filter(|n| throttle.pass(IpAddr::from(n.to_be_bytes()), now)).count()
        };
        assert_eq!(flood(start), MOST);
        assert!(throttle.0.lock().unwrap().len() <= MOST);
        assert_eq!(flood(start + Duration::from_secs(1)) % MOST, 0, "quiet ones were forgotten");
    }
}
