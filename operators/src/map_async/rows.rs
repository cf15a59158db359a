//! The records whose answers are not there when an epoch ends, as rows: what is requested again after a restart.
//!
//! A row is written once, at the end of the epoch in which its record came, and deleted when its record has left; a
//! record that comes and leaves within one epoch never has one. Rows are read only when the operator is opened, so
//! no table is held above them.
//!
//! Rows belong to key groups, which move when the number of workers changes. Those of a keyed stream stand in the
//! group of their key, so that each goes where its key goes; those of another stand in the first group of the worker
//! that took them. Within a group they are ordered by their number.

use std::ops::ControlFlow;

use highwater_state::error::StateError;
use highwater_state::layout::{after_prefix, split_time_row, time_prefix, value_prefix};
use highwater_state::table::Place;
use highwater_state::{Delta, KeyGroup, Persist, Timestamp, persist};
use serde::{Deserialize, Serialize};

/// A record that waits for its answer, with all that its result is to carry.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept<K, T> {
    pub(crate) key: K,
    pub(crate) record: T,
    /// Its event time, on a stream that has it.
    pub(crate) time: Option<Timestamp>,
    /// The source and the index of its split, on a stream without event time.
    pub(crate) split: (u32, u32),
    /// The watermark that it met: if it was late, it is late again after a restart.
    pub(crate) met: Timestamp,
    /// How many workers there were: with another number the record may come back on another of them.
    pub(crate) workers: u32,
}

/// Where a row is filed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowId {
    pub(crate) number: u64,
    pub(crate) group: KeyGroupNumber,
}

/// The number of a key group.
pub(crate) type KeyGroupNumber = u16;

/// The rows of one worker.
pub(crate) struct Rows {
    place: Place,
    /// Those whose records have left since the last freeze.
    left: Vec<RowId>,
}

impl Rows {
    pub(crate) fn new(place: Place) -> Self {
        Rows { place, left: Vec::new() }
    }

    /// The group in which a record of this worker is filed that has no key.
    pub(crate) fn own_group(&self) -> KeyGroupNumber {
        self.place.groups.start
    }

    /// All rows of this worker's groups, in the order of their numbers.
    pub(crate) fn load<K: Persist, T: Persist>(&self) -> Result<Vec<(RowId, Kept<K, T>)>, StateError> {
        let Place { name, store, family, backend, groups, .. } = &self.place;
        let (mut from, mut last) = (Vec::new(), Vec::new());
        value_prefix(*store, KeyGroup::new(groups.start), &mut from);
        value_prefix(*store, KeyGroup::new(groups.end - 1), &mut last);
        let (mut found, mut failed) = (Vec::new(), None);
        backend.scan(*family, &from, &after_prefix(&last), &mut |row, value| {
            let loaded = row_id(name, row).and_then(|id| Ok((id, persist::decode(name, value)?)));
            match loaded {
                Ok(loaded) => found.push(loaded),
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        found.sort_by_key(|(id, _)| *id);
        failed.map_or(Ok(found), Err)
    }

    /// The record of this row has left.
    pub(crate) fn leave(&mut self, row: RowId) {
        self.left.push(row);
    }

    /// Writes a row that the backend does not hold yet.
    pub(crate) fn write<K: Persist, T: Persist>(
        &self,
        id: RowId,
        kept: &Kept<K, T>,
        delta: &mut Delta,
    ) -> Result<(), StateError> {
        delta.put_with(
            self.place.family,
            |into| {
                self.key(id, into);
                Ok(())
            },
            |into| persist::encode("record", kept, into),
        )
    }

    /// Deletes the rows of records that have left.
    pub(crate) fn delete_left(&mut self, delta: &mut Delta) {
        for id in std::mem::take(&mut self.left) {
            let mut key = Vec::new();
            self.key(id, &mut key);
            delta.delete(self.place.family, &key);
        }
    }

    fn key(&self, id: RowId, into: &mut Vec<u8>) {
        let number = Timestamp::from_millis(id.number as i64);
        time_prefix(self.place.store, KeyGroup::new(id.group), number, into);
    }
}

fn row_id(name: &str, row: &[u8]) -> Result<RowId, StateError> {
    let number = split_time_row(row).filter(|(_, key)| key.is_empty()).map(|(number, _)| number);
    let number = number.and_then(|number| u64::try_from(number.as_millis()).ok());
    match (row, number) {
        (&[_, _, high, low, ..], Some(number)) => {
            Ok(RowId { number, group: u16::from_be_bytes([high, low]) })
        }
        _ => Err(StateError::Row {
            name: name.to_owned(),
            reason: "its key is not a key group and a number".to_owned(),
        }),
    }
}
