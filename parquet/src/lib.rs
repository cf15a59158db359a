//! Parquet files in a directory or on an object store, as a sink that shows every epoch once.
//!
//! [`Parquet`] says where files go and how large they get; [`Rows`] which columns are made of a record; the result is a
//! [`ParquetSink`].
//!
//! ```no_run
//! use highwater::prelude::*;
//! use highwater_parquet::Parquet;
//!
//! let views = Parquet::directory("/data/views")?
//!     .roll_after(Duration::from_secs(300))
//!     .rows::<(String, u64)>()
//!     .column("url", |view| view.0.clone())
//!     .column("views", |view| view.1 as i64)
//!     .sink();
//!
//! let topology = Topology::new("views");
//! topology
//!     .source("urls", File::at("urls.txt").lines(Text))
//!     .key_by(|url: &String| url.clone())
//!     .count("views")
//!     .to_stream()
//!     .sink("views", views);
//! Job::new(topology).state("/var/lib/views").run()?;
//! # Ok::<(), Cause>(())
//! ```
//!
//! Invariants: a file under its name is complete, holds rows of committed epochs only, and never changes; each row is
//! in one file. It does not know who reads, and merges no files afterwards.

pub mod limits;

mod column;
mod encode;
mod error;
mod files;
mod sink;
mod store;

pub use column::{Cells, Field, Kind, Rows};
pub use error::ParquetError;
pub use object_store;
pub use sink::ParquetSink;
pub use store::Parquet;
