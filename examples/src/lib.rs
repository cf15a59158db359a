//! What the examples are made of beside their pipelines: formats, what they tell, the command line, the live view.
//!
//! A pipeline is the file named like its example, `clickstream.rs` or `iot.rs`, and `fraud/rules.rs` for `fraud`; here
//! is nothing that a reader of it must know. Everything stands on the facade `highwater`.

pub mod analytics;
pub mod bank;
pub mod clickstream;
pub mod conformance;
pub mod fraud;
pub mod iot;
pub mod live;
pub mod nexmark;
pub mod ops;
pub mod options;
pub mod orders;
pub mod topics;
