//! Where blades are on the network, learned from their packets.

use std::net::Ipv4Addr;

use super::{Journal, Result, Write, writer::Note};
use crate::{
    blade::Mac,
    db,
    inventory::{Move, Whereabouts},
};

impl Journal {
    /// Notes where a blade's MAC is now. Never waits.
    pub fn located(&self, mac: Mac, here: Whereabouts) {
        self.queue(Note::Moved(Move::Here(mac, here)));
    }

    /// An address that was a blade's is `mac`'s now, which is no blade. Never waits.
    pub fn lost(&self, ip: Ipv4Addr, mac: Mac) {
        self.queue(Note::Moved(Move::Lost(ip, mac)));
    }
}

pub(super) async fn moved(write: &mut Write, moved: &Move) -> Result<()> {
    match moved {
        Move::Here(mac, here) => {
            if let Some(ip) = here.ip {
                db::leave_address(&mut write.tx, ip, *mac).await?;
            }
            db::put_whereabouts(&mut write.tx, *mac, here, write.now).await?;
        }
        Move::Lost(ip, mac) => db::leave_address(&mut write.tx, *ip, *mac).await?,
    }
    write.moves.push(moved.clone());
    Ok(())
}
