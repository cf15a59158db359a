//! A topic of a log as a sink: exactly once.
//!
//! Writers put what they take into the journal as staged frames, which nobody sees; a receipt says where they are. When
//! the epoch is committed, one more frame names them all, and with it they are visible. Invariants: publishing an
//! epoch twice gives the same as publishing it once; what was staged and not committed is never visible; a job begins
//! anew without taking away what is in the topic, which may be others'.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use highwater_operators::batch::Batch;
use highwater_operators::codec::Encode;
use highwater_operators::error::Cause;
use highwater_operators::sink::{Publish, Sink, Writer};
use highwater_state::{Epoch, Timestamp};
use serde::{Deserialize, Serialize};

use super::core::{Core, Writing};
use super::error::LogError;
use super::frame::{Gathered, Note};
use super::{PIECE_BYTES, check_name, check_record, now, partition};

/// Who writes; made by [`Log::producer`](super::Log::producer), which says what the name is for.
#[derive(Clone)]
pub struct LogProducer {
    pub(super) core: Arc<Core>,
    pub(super) name: String,
}

impl fmt::Debug for LogProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogProducer").field("name", &self.name).finish_non_exhaustive()
    }
}

type KeyOf<T> = Arc<dyn Fn(&T) -> Vec<u8> + Send + Sync>;

/// Writes records to a topic, exactly once; made by [`LogProducer::sink`].
///
/// Records of a worker are in their order within each partition; within an epoch the workers follow each other. They
/// go to partitions by the hash of their key, or in turn without one. Their timestamp is their event time, or the
/// time at which they were written where the stream has none.
///
/// What survives a restart is which epoch was published last, in the log; it belongs to the job's state. A job that
/// begins anew, without state, appends anew: what it wrote before is still there, as nobody else's is taken away
/// either. A job whose state is older than what it has published is refused.
///
/// Cost: every byte is written once; an epoch with records costs a sync for each worker that has some, and one more,
/// shared with whoever else writes to the log at that time. Memory: [`PIECE_BYTES`] for each worker.
///
/// Errors: see [`LogError`]; in particular two sinks of one producer on one topic at a time.
pub struct LogSink<T> {
    producer: LogProducer,
    topic: Arc<str>,
    /// The producer's name and the topic.
    identity: Arc<str>,
    codec: Arc<dyn Encode<T>>,
    key: Option<KeyOf<T>>,
    held: Arc<Mutex<Option<Held>>>,
}

impl<T> Clone for LogSink<T> {
    fn clone(&self) -> Self {
        LogSink {
            producer: self.producer.clone(),
            topic: Arc::clone(&self.topic),
            identity: Arc::clone(&self.identity),
            codec: Arc::clone(&self.codec),
            key: self.key.clone(),
            held: Arc::clone(&self.held),
        }
    }
}

impl<T> fmt::Debug for LogSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogSink")
            .field("identity", &self.identity)
            .field("has_key", &self.key.is_some())
            .finish_non_exhaustive()
    }
}

/// The right to write under a name, given back when the sink is dropped.
struct Held {
    core: Arc<Core>,
    identity: Arc<str>,
}

impl Held {
    fn take(core: &Arc<Core>, identity: &Arc<str>) -> Result<Held, LogError> {
        let mut active = core.active.lock().unwrap_or_else(PoisonError::into_inner);
        match active.insert(identity.to_string()) {
            true => Ok(Held { core: Arc::clone(core), identity: Arc::clone(identity) }),
            false => Err(LogError::ProducerInUse { producer: identity.to_string() }),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut active = self.core.active.lock().unwrap_or_else(PoisonError::into_inner);
        active.remove(&*self.identity);
    }
}

/// What a writer staged for one epoch; committed with the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Receipt {
    /// The log's number.
    log: u64,
    /// The frame that the producer began with.
    begun: u64,
    /// The frames with the records.
    frames: Vec<u64>,
}

impl<T: 'static> LogSink<T> {
    pub(super) fn new(producer: LogProducer, topic: String, codec: impl Encode<T>) -> Self {
        let identity = format!("{}/{topic}", producer.name).into();
        let (topic, codec) = (topic.into(), Arc::new(codec));
        LogSink { producer, topic, identity, codec, key: None, held: Arc::default() }
    }

    /// Gives each record a key: records with equal keys go to one partition, the one where Kafka's clients would put
    /// them.
    pub fn key(mut self, key: impl Fn(&T) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.key = Some(Arc::new(key));
        self
    }
}

impl<T> LogSink<T> {
    fn core(&self) -> &Arc<Core> {
        &self.producer.core
    }

    /// The frames of the receipts, in the order of the workers.
    fn frames(&self, writing: &Writing, epoch: Epoch, receipts: &[Vec<u8>]) -> Result<Vec<u64>, LogError> {
        let producer = || self.identity.to_string();
        let begun = writing.book.producer(&self.identity).map(|(_, page)| page.begun);
        let mut frames = Vec::new();
        for bytes in receipts.iter().filter(|bytes| !bytes.is_empty()) {
            let receipt: Receipt = serde_json::from_slice(bytes)
                .map_err(|error| LogError::Receipt { producer: producer(), reason: error.to_string() })?;
            if receipt.log != self.core().number || Some(receipt.begun) != begun {
                return Err(LogError::OtherProducer { producer: producer(), epoch });
            }
            if let Some(twice) = receipt.frames.iter().find(|at| frames.contains(*at)) {
                let reason = format!("the frame at byte {twice} is named twice");
                return Err(LogError::Receipt { producer: producer(), reason });
            }
            frames.extend(receipt.frames);
        }
        Ok(frames)
    }

    /// Makes frames visible, unless they are; where the log ends then.
    fn publish_frames(&self, writing: &mut Writing, epoch: Epoch, frames: Vec<u64>) -> Result<u64, LogError> {
        let found = writing.book.producer(&self.identity);
        let Some((number, _)) = found.filter(|(_, page)| page.published < epoch && !frames.is_empty()) else {
            return Ok(writing.end());
        };
        if let Some(at) = writing.book.first_not_staged(number, &frames) {
            return Err(LogError::Lost { producer: self.identity.to_string(), epoch, at });
        }
        self.core().note(writing, Note::Publish { producer: number, epoch, frames })
    }

    fn recover_at(&self, last: Epoch, receipts: &[Vec<u8>]) -> Result<(), LogError> {
        check_name(&self.producer.name)?;
        self.core().topic(&self.topic)?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(Held::take(self.core(), &self.identity)?);
        }
        let mut writing = self.core().writing()?;
        let frames = match last {
            Epoch(0) => Vec::new(),
            last => self.frames(&writing, last, receipts)?,
        };
        match writing.book.producer(&self.identity) {
            Some((_, page)) if last > Epoch(0) && page.published > last => {
                let (producer, published) = (self.identity.to_string(), page.published);
                return Err(LogError::Ahead { producer, published, last });
            }
            // It is new, or begins anew.
            found => {
                if last == Epoch(0) || found.is_none() {
                    self.core().note(&mut writing, Note::Begin { producer: self.identity.to_string() })?;
                }
            }
        }
        let end = self.publish_frames(&mut writing, last, frames)?;
        if let Some((number, _)) = writing.book.producer(&self.identity) {
            writing.book.forget(number);
        }
        drop(writing);
        self.core().settle(end)
    }
}

impl<T: 'static> Publish for LogSink<T> {
    fn recover(&self, last: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(self.recover_at(last, receipts)?)
    }

    fn publish(&self, epoch: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        let end = {
            let mut writing = self.core().writing()?;
            let frames = self.frames(&writing, epoch, receipts)?;
            self.publish_frames(&mut writing, epoch, frames)?
        };
        Ok(self.core().settle(end)?)
    }
}

impl<T: 'static> Sink<T> for LogSink<T> {
    fn open(&self, worker: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        let (topic, partitions) = self.core().topic(&self.topic)?;
        let writing = self.core().writing()?;
        let (producer, page) =
            writing.book.producer(&self.identity).expect("a sink is recovered before it is opened");
        Ok(Box::new(LogWriter {
            core: Arc::clone(self.core()),
            topic: Arc::clone(&self.topic),
            codec: Arc::clone(&self.codec),
            key: self.key.clone(),
            worker,
            producer,
            begun: page.begun,
            turn: (worker as u32 + partitions - 1) % partitions,
            gathered: (0..partitions).map(|partition| Gathered::of(topic, partition)).collect(),
            bytes: 0,
            taken: 0,
            value: Vec::new(),
            frames: Vec::new(),
            end: 0,
        }))
    }
}

/// The writer of one worker.
struct LogWriter<T> {
    core: Arc<Core>,
    topic: Arc<str>,
    codec: Arc<dyn Encode<T>>,
    key: Option<KeyOf<T>>,
    worker: usize,
    /// The producer's number, and the frame that it began with.
    producer: u32,
    begun: u64,
    /// Where the last record without a key went.
    turn: u32,
    /// What is not written yet, by partition.
    gathered: Vec<Gathered>,
    bytes: usize,
    /// How many records were taken.
    taken: u64,
    value: Vec<u8>,
    /// The frames of the epoch, and where the last one ends.
    frames: Vec<u64>,
    end: u64,
}

impl<T: 'static> LogWriter<T> {
    fn take(&mut self, value: &T, timestamp: Timestamp) -> Result<(), LogError> {
        self.taken += 1;
        self.value.clear();
        self.codec.encode(value, &mut self.value).map_err(|reason| self.refused(reason))?;
        let key = self.key.as_ref().map(|key| key(value));
        check_record(&self.topic, key.as_deref(), &self.value)
            .map_err(|error| self.refused(error.to_string()))?;
        let partitions = self.gathered.len() as u32;
        let partition = match &key {
            Some(key) => partition::of_key(key, partitions),
            None => {
                self.turn = (self.turn + 1) % partitions;
                self.turn
            }
        };
        let section = &mut self.gathered[partition as usize];
        let before = section.bytes.len();
        section.push(timestamp, key.as_deref(), &self.value);
        self.bytes += section.bytes.len() - before;
        if self.bytes >= PIECE_BYTES { self.write_out() } else { Ok(()) }
    }

    fn refused(&self, reason: String) -> LogError {
        let (topic, worker, record) = (self.topic.to_string(), self.worker, self.taken);
        LogError::Encode { topic, worker, record, reason }
    }

    /// Writes what was gathered as one staged frame.
    fn write_out(&mut self) -> Result<(), LogError> {
        let full = self.gathered.iter_mut().filter(|section| section.count > 0);
        let full: Vec<Gathered> = full
            .map(|section| {
                let empty = Gathered::of(section.topic, section.partition);
                std::mem::replace(section, empty)
            })
            .collect();
        self.bytes = 0;
        if full.is_empty() {
            return Ok(());
        }
        let mut writing = self.core.writing()?;
        let (begin, end) = self.core.records(&mut writing, Some(self.producer), full)?;
        self.frames.push(begin);
        self.end = end;
        Ok(())
    }
}

impl<T: 'static> Writer<T> for LogWriter<T> {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        let written = if batch.times.is_empty() { now() } else { Timestamp::MIN };
        for (number, value) in batch.values.iter().enumerate() {
            self.take(value, batch.times.get(number).copied().unwrap_or(written))?;
        }
        batch.values.clear();
        batch.times.clear();
        Ok(())
    }

    fn stage(&mut self, _: Epoch) -> Result<Vec<u8>, Cause> {
        self.write_out()?;
        if self.frames.is_empty() {
            return Ok(Vec::new());
        }
        self.core.settle(self.end)?;
        let frames = std::mem::take(&mut self.frames);
        let receipt = Receipt { log: self.core.number, begun: self.begun, frames };
        Ok(serde_json::to_vec(&receipt).expect("a receipt is numbers"))
    }
}
