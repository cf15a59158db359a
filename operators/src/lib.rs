//! The language of Highwater.
pub mod batch;
pub mod codec;
pub mod error;
pub mod signal;
pub mod sink;
pub mod source;
