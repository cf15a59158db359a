//! The parts of the example `iot` that are not about streams: what a reading is and how it is read, what the
//! program tells, and where readings come from when there are none.

mod outcome;
mod reading;
mod weather;

pub use outcome::Outcome;
pub use reading::{Kind, Reading, Row, by_sensor, source_name};
pub use weather::{READING_SPLITS, reading};
