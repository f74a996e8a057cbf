//! Where blades are on the network, learned from their packets.

use std::net::Ipv4Addr;

use super::{Journal, Result};
use crate::{blade::Mac, db, inventory::Whereabouts};

impl Journal {
    /// Notes where a blade's MAC is now. Never waits.
    pub fn located(&self, mac: Mac, here: Whereabouts) {
        self.queue(move |write| {
            Box::pin(async move {
                if let Some(ip) = here.ip {
                    db::leave_address(&mut write.tx, ip, mac).await?;
                }
                db::put_whereabouts(&mut write.tx, mac, &here, write.now).await?;
                write.intents_changed = true;
                Ok(())
            })
        });
    }

    /// An address that was a blade's is `mac`'s now, which is no blade. Never waits.
    pub fn lost(&self, ip: Ipv4Addr, mac: Mac) {
        self.queue(move |write| {
            Box::pin(async move {
                db::leave_address(&mut write.tx, ip, mac).await?;
                write.intents_changed = true;
                Ok(())
            })
        });
    }

    /// Returns when all that was noted before is in the snapshot.
    pub async fn settle(&self) -> Result<()> {
        self.write(|_| Box::pin(async { Ok(()) })).await
    }
}
