//! Firstlight keeps its word when the world does not: doubled MACs, taken addresses, full pools
//! and disks, missing images, garbage. It goes on serving whom it can, acknowledges nothing it
//! cannot keep, and says what happened in its log, in `check` and on the page.

mod addresses;
mod beside;
mod clock;
mod disk;
mod drops;
mod garbage;
mod images;
mod people;
mod places;
mod rehearsal;
mod voter;

use std::time::Duration;

use crate::boot_http::Bench;

/// Conditions end the waiting.
const PATIENCE: Duration = Duration::from_secs(60);

impl Bench {
    /// Waits until a finding of this level with these words is in `check`, on the page and, in
    /// the daemon's log, a line with `logged`.
    async fn is_told(&self, level: &str, words: &str, logged: &str) {
        let told = |site: crate::road::site::Site| async move {
            let findings = site.get("check").await;
            let findings = findings.as_array().unwrap();
            let checked = findings.iter().any(|finding| {
                finding["level"] == level && finding["text"].as_str().unwrap().contains(words)
            });
            let (_, page) = site.page("/").await;
            checked && page.contains(words) && site.log().contains(logged)
        };
        self.until(PATIENCE, &format!("{words:?} is told everywhere"), told).await;
    }
}
