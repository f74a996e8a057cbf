//! Dynamic leases: durable before the ACK.

use std::net::Ipv4Addr;

use super::{Journal, Result};
use crate::{blade::Millis, db, inventory::Lease};

/// A change to a dynamic lease that a DHCP answer depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseChange {
    Put(Lease),
    Delete(Ipv4Addr),
    /// The clock was set: every end moves by so many milliseconds.
    Shift(Millis),
}

impl Journal {
    /// Writes lease changes; when it returns `Ok` an ACK may be sent.
    pub async fn commit_leases(&self, changes: Vec<LeaseChange>) -> Result<()> {
        self.write(move |write| {
            Box::pin(async move {
                for change in &changes {
                    match change {
                        LeaseChange::Put(lease) => db::put_lease(&mut write.tx, lease).await?,
                        LeaseChange::Delete(ip) => db::delete_lease(&mut write.tx, *ip).await?,
                        LeaseChange::Shift(jump) => db::shift_leases(&mut write.tx, *jump).await?,
                    }
                }
                Ok(())
            })
        })
        .await
    }
}
