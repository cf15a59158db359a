//! Verbs that give event time and take it away.

mod event_time;
mod processing_time;
mod untimed;
