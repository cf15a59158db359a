//! A run: one way in which the records so far may become a match; and what a key keeps, its runs with their records.
//!
//! Invariant: a run holds one reference to its last node, so dropping a run means releasing it.

use std::collections::VecDeque;

use highwater_state::Timestamp;
use highwater_state::error::Result;
use serde::de::Deserializer;
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};

use crate::pattern::automaton::StateId;
use crate::pattern::buffer::{Buffer, NodeId};
use crate::pattern::fold::{Accumulator, FoldOf};

/// An accumulator of a run, and which records went into it.
#[derive(Serialize, Deserialize)]
pub(super) struct Folded {
    pub(super) kept: KeptAccumulator,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// An accumulator in use, or as it was read back.
pub(super) enum KeptAccumulator {
    Value(Box<dyn Accumulator>),
    Bytes(Vec<u8>),
}

impl KeptAccumulator {
    /// Decodes what was read back.
    pub(super) fn revive<T>(&mut self, name: &str, fold: &dyn FoldOf<T>) -> Result<()> {
        if let KeptAccumulator::Bytes(bytes) = self {
            *self = KeptAccumulator::Value(fold.decode(name, bytes)?);
        }
        Ok(())
    }

    /// The value of an accumulator in use.
    pub(super) fn get(&self) -> Option<&dyn Accumulator> {
        match self {
            KeptAccumulator::Value(value) => Some(value.as_ref()),
            KeptAccumulator::Bytes(_) => None,
        }
    }
}

impl Serialize for KeptAccumulator {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            KeptAccumulator::Value(value) => value.encode().map_err(S::Error::custom)?.serialize(serializer),
            KeptAccumulator::Bytes(bytes) => bytes.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for KeptAccumulator {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Ok(KeptAccumulator::Bytes(Vec::deserialize(deserializer)?))
    }
}

impl Clone for Folded {
    fn clone(&self) -> Self {
        let kept = match &self.kept {
            KeptAccumulator::Value(value) => KeptAccumulator::Value(value.copied()),
            KeptAccumulator::Bytes(bytes) => KeptAccumulator::Bytes(bytes.clone()),
        };
        Folded { kept, ..*self }
    }
}

/// The record that a run began with: its time, and its number among the records of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Beginning {
    pub(super) time: Timestamp,
    pub(super) position: u64,
}

/// One way in which the records so far may become a match.
#[derive(Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) state: StateId,
    pub(super) node: NodeId,
    pub(super) began: Beginning,
    /// The time of the record that it took last.
    pub(super) previous: Timestamp,
    /// The position of that record.
    pub(super) last: u64,
    pub(super) folds: Vec<Option<Folded>>,
}

impl Run {
    /// A run that has taken the same, in another state. The caller adds its reference to the last node.
    pub(super) fn copied(&self, state: StateId) -> Run {
        Run { state, folds: self.folds.clone(), ..*self }
    }
}

/// A match that waits because a run lives that began before it.
#[derive(Serialize, Deserialize)]
pub(super) struct Withheld {
    pub(super) run: Run,
    /// In which order matches were found.
    pub(super) found: u64,
}

/// What is kept for one key.
#[derive(Serialize, Deserialize)]
pub(super) struct Runs<T> {
    pub(super) buffer: Buffer<T>,
    /// In the order in which they began.
    pub(super) runs: Vec<Run>,
    pub(super) withheld: VecDeque<Withheld>,
    /// The number of the next record.
    pub(super) next: u64,
    /// When the first run runs out of time; [`Timestamp::MAX`] for never.
    pub(super) deadline: Timestamp,
    /// For when a timer is set: not after the deadline.
    pub(super) timer: Timestamp,
    /// It was made by this process, or has been found to hold together since it was read.
    #[serde(skip)]
    pub(super) checked: bool,
}

impl<T> Default for Runs<T> {
    fn default() -> Self {
        Runs {
            buffer: Buffer::default(),
            runs: Vec::new(),
            withheld: VecDeque::new(),
            next: 0,
            deadline: Timestamp::MAX,
            timer: Timestamp::MAX,
            checked: true,
        }
    }
}

impl<T> Runs<T> {
    /// Whether nothing is left that a later record could need.
    pub(super) fn is_over(&self) -> bool {
        self.runs.is_empty() && self.withheld.is_empty()
    }

    pub(super) fn drop_run(&mut self, run: &Run) {
        self.buffer.release(run.node);
    }
}
