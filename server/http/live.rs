//! Live events: server-sent events that a page or a script can resume where it left off.

use std::{convert::Infallible, time::Duration};

use axum::response::sse;
use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    blade::Event,
    db::{self, Db},
};

/// Lines of one read of the journal.
const PAGE: i64 = 500;

struct Follower {
    db: Db,
    changes: watch::Receiver<()>,
    after: i64,
    page: std::vec::IntoIter<Event>,
    shutdown: CancellationToken,
}

/// The journal from line `after` on, for ever; `id:` is the line's number, so a browser's
/// `Last-Event-ID` resumes without a gap.
pub fn follow(
    db: Db,
    changes: watch::Receiver<()>,
    after: i64,
    shutdown: CancellationToken,
) -> sse::Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let follower = Follower { db, changes, after, page: Vec::new().into_iter(), shutdown };
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((
            Ok(sse::Event::default()
                .id(event.id.to_string())
                .json_data(&event)
                .unwrap_or_default()),
            follower,
        ))
    });
    sse::Sse::new(events).keep_alive(sse::KeepAlive::new().interval(Duration::from_secs(15)))
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.page.next() {
                self.after = event.id;
                return Some(event);
            }
            // Marked as seen before the database is asked: a line that comes between wakes us.
            self.changes.borrow_and_update();
            let page = match self.read().await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!("live events: {error}");
                    return None;
                }
            };
            self.page = page.into_iter();
            if self.page.len() > 0 {
                continue;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                changed = self.changes.changed() => changed.ok()?,
            }
        }
    }

    async fn read(&self) -> db::Result<Vec<Event>> {
        let mut tx = self.db.read().await?;
        db::events_after(&mut tx, self.after, PAGE).await
    }
}
