//! Files as a sink: every row of a committed epoch in one file, whoever dies when.
//!
//! Writers put rows into segments below `_staged`; the receipt of each epoch names all segments that no file holds yet,
//! so that they outlive it. When they are large or old enough, [`publish`](Publish::publish) makes files of them
//! (`docs/connectors.md`). Invariants: files follow from receipts alone, in content and in name; a segment goes only
//! when its file is there; an instance that another has taken over from makes no files any more. It does not know rows.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use highwater::operators::batch::Batch;
use highwater::operators::error::Cause;
use highwater::operators::sink::{Publish, Sink, Writer};
use highwater::state::Epoch;
use parquet::schema::types::TypePtr;

use crate::column::{Column, Gathering, Pushes, empty, fault};
use crate::encode::{add, file_of, schema};
use crate::error::ParquetError;
use crate::files::{OWNER, Owner, Planned, Receipt, Segment, epoch_of, plan};
use crate::limits::{SEGMENT_BYTES, SEGMENTS_MAX};
use crate::store::{Parquet, STAGED};

/// Writes records to Parquet files, exactly once; made by [`Rows::sink`](crate::Rows::sink).
///
/// A file holds whole epochs of one worker after the other; it appears under its name when it is complete, and never
/// changes. Rows of a committed epoch appear when a file is full ([`Parquet::file_bytes`]), when they have waited long
/// enough ([`Parquet::roll_after`]), at a start, and at the end of the job, when the sink is dropped.
///
/// What survives a restart: the files and what is below `_staged`, which belong together and to the job's state. A job
/// that begins anew, without state, takes no file away and adds its rows once more. A job whose state is older than the
/// files is refused. An instance that another has taken over from is refused when it next makes a file; stores have no
/// locks, so one that sleeps in the middle of making a file may still finish it: two instances should not run at a
/// time.
///
/// Cost: rows are encoded twice, and decoded once. An epoch with rows costs one object for each worker that has some.
/// Memory: a segment of 8 MiB for each worker, and a file while it is made.
pub struct ParquetSink<T> {
    shared: Arc<Shared>,
    columns: Arc<Vec<Column>>,
    push: Arc<Pushes<T>>,
}

impl<T> Clone for ParquetSink<T> {
    fn clone(&self) -> Self {
        let (shared, columns, push) =
            (Arc::clone(&self.shared), Arc::clone(&self.columns), Arc::clone(&self.push));
        ParquetSink { shared, columns, push }
    }
}

impl<T> fmt::Debug for ParquetSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetSink").field("place", &self.shared.place).finish_non_exhaustive()
    }
}

impl<T: 'static> ParquetSink<T> {
    pub(crate) fn new(place: Parquet, columns: Vec<Column>, push: Pushes<T>) -> Self {
        let columns = Arc::new(columns);
        let shared = Shared { place, columns: Arc::clone(&columns), state: Mutex::default() };
        ParquetSink { shared: Arc::new(shared), columns, push: Arc::new(push) }
    }
}

/// What the committing thread and the writers share.
struct Shared {
    place: Parquet,
    columns: Arc<Vec<Column>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Who this is, since the last start.
    owner: Option<Owner>,
    schema: Option<TypePtr>,
    /// The last epoch that is in files.
    filed: Epoch,
    /// What is committed and waits, and since when.
    waiting: Vec<Segment>,
    since: Option<Instant>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self, what: &'static str, reason: impl ToString) -> ParquetError {
        ParquetError::Damaged { place: self.place.place().to_owned(), what, reason: reason.to_string() }
    }

    fn fenced(&self) -> ParquetError {
        ParquetError::Fenced { place: self.place.place().to_owned() }
    }

    fn lost(&self, epoch: Epoch, reason: String) -> ParquetError {
        ParquetError::Lost { place: self.place.place().to_owned(), epoch, reason }
    }

    fn owner(&self) -> Result<Option<Owner>, ParquetError> {
        let Some(bytes) = self.place.get(OWNER)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.damaged("the note of its owner", error))
    }

    fn read(&self, receipts: &[Vec<u8>]) -> Result<Vec<Receipt>, ParquetError> {
        let given = receipts.iter().filter(|bytes| !bytes.is_empty());
        let read = given.map(|bytes| {
            let receipt: Receipt =
                serde_json::from_slice(bytes).map_err(|error| self.damaged("a receipt", error))?;
            match receipt.segments.iter().find(|segment| !segment.is_named_well()) {
                Some(segment) => Err(self.damaged("a receipt", format!("`{}` is no segment", segment.name))),
                None => Ok(receipt),
            }
        });
        read.collect()
    }

    /// Makes this instance the owner, and brings the files to the last committed epoch.
    fn recover(&self, last: Epoch, receipts: &[Vec<u8>]) -> Result<(), ParquetError> {
        let place = self.place.place().to_owned();
        if let Some(reason) = fault(&self.columns) {
            return Err(ParquetError::Columns { place, reason });
        }
        let receipts = self.read(receipts)?;
        let mut state = self.state();
        let found = self.owner()?;
        if state.owner.is_some() && state.owner != found {
            return Err(self.fenced());
        }
        let run = match (&found, receipts.first()) {
            _ if last == Epoch(0) => drawn(),
            (Some(owner), _) => owner.run.clone(),
            (None, None) => drawn(),
            (None, Some(_)) => return Err(self.lost(last, format!("`{OWNER}` is not there"))),
        };
        if let Some(other) = receipts.iter().find(|receipt| receipt.run != run) {
            return Err(
                self.lost(last, format!("they are of the run {}, and {run} was here since", other.run))
            );
        }
        // Whenever files are made, all that waits goes into them: their last epochs say which segments went together.
        let mut made = BTreeMap::new();
        for object in self.place.files(&run)? {
            if let Some(epoch) = epoch_of(&object) {
                made.insert(epoch, object);
            }
        }
        if let Some((_, object)) = made.range(last.next()..).next() {
            return Err(ParquetError::Ahead { place, object: object.clone(), last });
        }
        let owner = Owner { run, instance: drawn() };
        let note = serde_json::to_vec(&owner).expect("an owner is two texts");
        self.place.put(OWNER, note)?;
        let described = schema(&self.columns);
        let described =
            described.map_err(|error| ParquetError::Columns { place, reason: error.to_string() })?;
        let mut left: Vec<Segment> = receipts.into_iter().flat_map(|receipt| receipt.segments).collect();
        *state = State { owner: Some(owner), schema: Some(described), ..State::default() };
        for epoch in made.into_keys().chain([last]) {
            (state.waiting, left) = left.into_iter().partition(|segment| segment.epoch <= epoch);
            self.file(&mut state, epoch)?;
        }
        for name in self.place.staged()? {
            let object = format!("{STAGED}/{name}");
            if object != OWNER {
                self.place.remove(&object)?;
            }
        }
        Ok(())
    }

    fn publish(&self, epoch: Epoch, receipts: &[Vec<u8>]) -> Result<(), ParquetError> {
        let receipts = self.read(receipts)?;
        let mut state = self.state();
        let filed = state.filed;
        let segments = receipts.into_iter().flat_map(|receipt| receipt.segments);
        state.waiting = segments.filter(|segment| segment.epoch > filed).collect();
        let Some(first) = state.waiting.first() else { return Ok(()) };
        let first = first.epoch;
        let since = *state.since.get_or_insert_with(Instant::now);
        let bytes: u64 = state.waiting.iter().map(|segment| segment.bytes).sum();
        let is_due = bytes >= self.place.file_bytes as u64
            || since.elapsed() >= self.place.roll_after
            || state.waiting.len() >= SEGMENTS_MAX;
        tracing::trace!(%epoch, %first, bytes, segments = state.waiting.len(), is_due, "rows wait for a file");
        if is_due { self.file(&mut state, epoch) } else { Ok(()) }
    }

    /// Makes files of all that waits, up to this epoch.
    fn file(&self, state: &mut State, epoch: Epoch) -> Result<(), ParquetError> {
        let Some(owner) = state.owner.clone().filter(|_| !state.waiting.is_empty()) else { return Ok(()) };
        if self.owner()?.as_ref() != Some(&owner) {
            return Err(self.fenced());
        }
        let schema = state.schema.clone().expect("it is there where there is an owner");
        for planned in plan(&owner.run, &state.waiting, self.place.file_bytes) {
            if !self.place.has(&planned.name)? {
                let file = self.made_of(&planned, &schema, epoch)?;
                self.place.put(&planned.name, file)?;
            }
            tracing::debug!(file = %planned.name, segments = planned.segments.len(), "made");
        }
        state.filed = state.filed.max(epoch);
        state.since = None;
        for segment in std::mem::take(&mut state.waiting) {
            self.place.remove(&segment.object())?;
        }
        Ok(())
    }

    fn made_of(&self, planned: &Planned, schema: &TypePtr, epoch: Epoch) -> Result<Vec<u8>, ParquetError> {
        let format = |object: String, reason: String| {
            let place = self.place.place().to_owned();
            ParquetError::Format { place, object, reason }
        };
        let mut cells = empty(&self.columns);
        for segment in &planned.segments {
            let object = segment.object();
            let Some(bytes) = self.place.get(&object)? else {
                return Err(
                    self.lost(epoch, format!("`{object}` is not there, and neither is `{}`", planned.name))
                );
            };
            let rows =
                add(bytes, schema, &mut cells).map_err(|error| format(object.clone(), error.to_string()))?;
            if rows != segment.rows {
                return Err(format(object, format!("it has {rows} rows instead of {}", segment.rows)));
            }
        }
        file_of(schema, &cells).map_err(|error| format(planned.name.clone(), error.to_string()))
    }
}

impl Drop for Shared {
    /// What is committed waits no longer than the job runs.
    fn drop(&mut self) {
        let mut state = std::mem::take(&mut *self.state());
        let Some(last) = state.waiting.iter().map(|segment| segment.epoch).max() else { return };
        if let Err(error) = self.file(&mut state, last) {
            tracing::warn!("rows wait for the next start: {error}");
        }
    }
}

/// Sixteen letters that no other start has.
fn drawn() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

impl<T: 'static> Publish for ParquetSink<T> {
    fn recover(&self, last: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        self.shared.recover(last, receipts).map_err(ParquetError::into_cause)
    }

    fn publish(&self, epoch: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        self.shared.publish(epoch, receipts).map_err(ParquetError::into_cause)
    }
}

impl<T: 'static> Sink<T> for ParquetSink<T> {
    fn open(&self, worker: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        let (owner, schema) = {
            let state = self.shared.state();
            let owner = state.owner.clone().expect("a sink is recovered before it is opened");
            (owner, state.schema.clone().expect("it is there where there is an owner"))
        };
        let gathering = Gathering::new(Arc::clone(&self.columns), Arc::clone(&self.push));
        Ok(Box::new(ParquetWriter {
            shared: Arc::clone(&self.shared),
            owner,
            schema,
            worker,
            begun: 0,
            gathering,
            new: Vec::new(),
            waiting: Vec::new(),
        }))
    }
}

/// The writer of one worker.
struct ParquetWriter<T> {
    shared: Arc<Shared>,
    owner: Owner,
    schema: TypePtr,
    worker: usize,
    /// How many segments were begun.
    begun: u64,
    gathering: Gathering<T>,
    /// Segments of this epoch, whose number is told at its end.
    new: Vec<Segment>,
    /// Segments of earlier epochs that no file holds, as far as is known.
    waiting: Vec<Segment>,
}

impl<T> ParquetWriter<T> {
    /// Puts what was gathered into a segment.
    fn put(&mut self) -> Result<(), ParquetError> {
        let bytes = self.gathering.bytes() as u64;
        let (cells, rows) = self.gathering.split_off();
        if rows == 0 {
            return Ok(());
        }
        self.begun += 1;
        let name = format!("{}-{:x}-{:x}.segment", self.owner.instance, self.worker, self.begun);
        let segment = Segment { name, epoch: Epoch(0), rows: rows as u64, bytes };
        let place = &self.shared.place;
        let file = file_of(&self.schema, &cells).map_err(|error| ParquetError::Format {
            place: place.place().to_owned(),
            object: segment.object(),
            reason: error.to_string(),
        })?;
        place.put(&segment.object(), file)?;
        self.new.push(segment);
        Ok(())
    }
}

impl<T> Writer<T> for ParquetWriter<T> {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        for record in &batch.values {
            self.gathering.take(record);
        }
        batch.values.clear();
        batch.times.clear();
        if self.gathering.bytes() >= SEGMENT_BYTES {
            self.put().map_err(ParquetError::into_cause)?;
        }
        Ok(())
    }

    fn stage(&mut self, epoch: Epoch) -> Result<Vec<u8>, Cause> {
        self.put().map_err(ParquetError::into_cause)?;
        let filed = self.shared.state().filed;
        self.waiting.retain(|segment| segment.epoch > filed);
        self.waiting.extend(self.new.drain(..).map(|segment| Segment { epoch, ..segment }));
        if self.waiting.is_empty() {
            return Ok(Vec::new());
        }
        let receipt = Receipt { run: self.owner.run.clone(), segments: self.waiting.clone() };
        Ok(serde_json::to_vec(&receipt).expect("a receipt is texts and numbers"))
    }
}
