//! To be written.

pub mod blackhole;
pub mod file;
pub mod generator;
pub mod kafka;
pub mod stdio;
