//! Topologies: what each blade of a cluster becomes, decided from data (layer 1, pure).
//!
//! A folder of `cloud-configs/` is a topology: `topology.toml` has its rules, `ROLE.yml` one
//! neutral document per role. A document is parsed first, then the `{{ expressions }}` in its
//! strings are filled, then it is emitted from data in the three forms blades read; no value can
//! break or inject YAML, because none is ever pasted into it.
//!
//! ```text
//! files ──Catalogue::from_sources──▶ Catalogue ──check──▶ problems
//! ClusterSpec ──────────────────────────┴──────render──▶ Document ──▶ coreos · cloud_init · ignition
//! ```

mod catalogue;
mod check;
mod cloud_init;
mod coreos;
mod document;
mod embedded;
mod fill;
mod ignition;
mod json;
mod layout;
mod manifest;
mod neutral;
mod parameters;
mod probe;
mod problem;
mod quorum;
mod rehearse;
mod spec;
mod ssh_key;
mod stages;
mod up;
mod validate;

pub use catalogue::{Catalogue, MenuEntry};
pub use cloud_init::CloudInit;
pub use document::{Command, Document, Dropin, File, Unit};
pub use embedded::embedded;
pub use manifest::{Count, EtcdRule, Kind, Parameter, Role, Topology, VoterRule};
pub use probe::{Ask, EtcdMember, ProbePlan, ReadyWhen};
pub use problem::Problem;
pub use spec::{ClusterSpec, Member, Net, Os};
pub use stages::{Target, Wipe, inventory_yml, pxe_sh, pxe_yml};
pub use up::Boot;
pub use validate::validate_coreos;
