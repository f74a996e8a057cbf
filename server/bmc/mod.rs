//! TODO
pub mod lab;
pub mod power;
