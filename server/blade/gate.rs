//! Notes that repeat.

use std::collections::HashMap;

use super::Millis;

/// Lets a repeated note through once in a while. Random MACs must not fill the journal, so no
/// more than `most` different notes in that while either.
#[derive(Debug)]
pub struct Gate<K> {
    span: Millis,
    most: usize,
    until: HashMap<K, Millis>,
    kept_back: u64,
    next_sweep: Millis,
}

impl<K: std::hash::Hash + Eq> Gate<K> {
    pub fn new(span: Millis, most: usize) -> Self {
        Gate { span, most, until: HashMap::new(), kept_back: 0, next_sweep: 0 }
    }

    /// `Some(n)`: say it now, n notes were kept back before it.
    pub fn pass(&mut self, key: K, now: Millis) -> Option<u64> {
        if self.until.len() >= self.most && now >= self.next_sweep {
            // Seldom: a flood must not pay for a walk over all notes with each packet.
            self.until.retain(|_, until| *until > now);
            self.next_sweep = now + self.span / 4;
        }
        let fresh = self.until.get(&key).is_none_or(|until| *until <= now);
        if !fresh || self.until.len() >= self.most {
            self.kept_back += 1;
            return None;
        }
        self.until.insert(key, now + self.span);
        Some(std::mem::take(&mut self.kept_back))
    }
}
