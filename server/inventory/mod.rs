//! What stands where: the inventory people write, and the immutable snapshot that answers
//! packets. Pure: no clock, no file, no database.

mod check;
mod diff;
mod doc;
mod duid;
mod intent;
mod lldp;
mod machine;
mod racking;
mod snapshot;

pub use check::{SourceMap, check};
pub use diff::{Change, diff, merge};
pub use doc::{
    BladeDoc, Bmc, BootRule, Chassis, ClusterDoc, DiskSelector, Document, Place, Rack, Size, expand,
};
pub use duid::Duid;
pub use intent::intent;
pub use lldp::Neighbour;
pub use machine::{BmcSeen, FirmwareKind, Machine, Nic, SeenDisk, Word};
pub use racking::{Mark, Oddity, Racked, Reported, Wish, marks, name_of, rack};
pub use snapshot::{
    Attempt, Blade, Intent, Lease, LeaseState, Member, Move, Snapshot, StateOf, Whereabouts,
    address6, addresses,
};
