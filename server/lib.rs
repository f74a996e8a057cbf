//! Firstlight: from racked blades to a running cluster, in one daemon.
//!
//! The map, highest layer first; a module imports only from layers below it
//! (kept by `tests/house.rs`, told in ARCHITECTURE.md):
//!
//! | layer | modules | what they do |
//! |---|---|---|
//! | 5 | `cli`, `lab` | wiring: commands, the daemon, the virtual rack |
//! | 4 | `dhcp`, `tftp`, `http`, `bmc` | services: carry bytes, never call each other |
//! | 3 | `journal`, `reconcile` | the one writer of a blade's state; what to do next |
//! | 2 | `db`, `images` | every SQL statement; every boot image |
//! | 1 | `boot`, `topology`, `inventory`, `config` | pure decisions |
//! | 0 | `blade` | the words: `Mac`, `Phase`, `Event` … |
pub mod blade;
pub mod bmc;
pub mod boot;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod db;
pub mod dhcp;
pub mod dhcp6;
pub mod http;
pub mod images;
pub mod inventory;
pub mod journal;
pub mod lab;
pub mod probe;
pub mod reconcile;
pub mod tftp;
pub mod topology;
