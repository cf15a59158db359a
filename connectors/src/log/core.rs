//! A log at work: frames are written in an order, synced together, and then visible.
//!
//! Invariants: readers see what is durable, and of a frame all or nothing; what is returned to a writer is durable.
//! Who writes holds the book for the time of one write to the journal; then it waits for a sync, and one sync serves
//! all who wrote before it began. A sync that failed breaks the log: what is on disk is not known until it is opened
//! again.
//!
//! Locks are taken in the order `syncing`, `writing`, `visible`, and the last two never together by a writer.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::book::{Arrival, Book, Meaning, Place, Section};
use super::error::LogError;
use super::frame::{self, Gathered, HEADER_BYTES, Kind, Note, SECTION_HEADER_BYTES, SectionHeader};
use super::journal::Journal;
use super::limits::TOPIC_BYTES;

/// What all clones of a log share.
#[derive(Debug)]
pub(super) struct Core {
    /// Tells the log from all others.
    pub(super) number: u64,
    /// None of a log in memory.
    journal: Option<Journal>,
    pub(super) topic_bytes: AtomicU64,
    writing: Mutex<Writing>,
    /// How far frames are durable and visible.
    syncing: Mutex<u64>,
    synced: AtomicU64,
    visible: RwLock<Visible>,
    /// The producers that have a sink.
    pub(super) active: Mutex<BTreeSet<String>>,
}

/// What is only for whoever writes.
#[derive(Debug, Default)]
pub(super) struct Writing {
    /// Where the next frame begins.
    end: u64,
    pub(super) book: Book,
    /// What will be visible when the log is durable so far.
    waiting: VecDeque<(u64, Vec<Arrival>)>,
    broken: Option<String>,
}

impl Writing {
    /// Where the last frame ends.
    pub(super) fn end(&self) -> u64 {
        self.end
    }
}

/// What readers see.
#[derive(Debug, Default)]
struct Visible {
    topics: Vec<VisibleTopic>,
    names: HashMap<Arc<str>, u32>,
}

#[derive(Debug)]
struct VisibleTopic {
    name: Arc<str>,
    partitions: Vec<Partition>,
}

#[derive(Debug, Default)]
struct Partition {
    /// The next offset.
    end: u64,
    /// Its records: the first offset of each section, in order.
    sections: Vec<(u64, Section)>,
}

/// The records of a section.
#[derive(Clone, Debug)]
pub(super) struct Records {
    /// The offset of the first.
    pub(super) first: u64,
    pub(super) count: u32,
    pub(super) bytes: Arc<[u8]>,
    place: Place,
}

impl Core {
    pub(super) fn in_memory() -> Core {
        Core::new(random(), None, Writing::default(), Visible::default())
    }

    pub(super) fn open(directory: &Path) -> Result<Core, LogError> {
        let (mut writing, mut visible) = (Writing::default(), Visible::default());
        let (journal, end) = Journal::open(directory, random(), |at, kind, body| {
            visible.add(writing.book.apply(at, read_meaning(at, kind, body)?)?);
            Ok(())
        })?;
        writing.end = end;
        Ok(Core::new(journal.log, Some(journal), writing, visible))
    }

    fn new(number: u64, journal: Option<Journal>, writing: Writing, visible: Visible) -> Core {
        let end = writing.end;
        Core {
            number,
            journal,
            topic_bytes: AtomicU64::new(TOPIC_BYTES),
            writing: Mutex::new(writing),
            syncing: Mutex::new(end),
            synced: AtomicU64::new(end),
            visible: RwLock::new(visible),
            active: Mutex::default(),
        }
    }

    /// What whoever panicked left behind is whole: the book changes in one call, behind a write that has succeeded.
    pub(super) fn writing(&self) -> Result<MutexGuard<'_, Writing>, LogError> {
        let writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match &writing.broken {
            Some(reason) => Err(LogError::Broken { reason: reason.clone() }),
            None => Ok(writing),
        }
    }

    /// Writes a note; the end of its frame, for [`settle`](Core::settle).
    pub(super) fn note(&self, writing: &mut Writing, note: Note) -> Result<u64, LogError> {
        let body = serde_json::to_vec(&note).expect("a note is names and numbers");
        self.write(writing, Kind::Note, &body, Meaning::Note(note))?;
        Ok(writing.end)
    }

    /// Writes records: visible when the frame is settled, or staged by a producer. Where its frame begins and ends.
    pub(super) fn records(
        &self,
        writing: &mut Writing,
        producer: Option<u32>,
        gathered: Vec<Gathered>,
    ) -> Result<(u64, u64), LogError> {
        self.check_room(&writing.book, &gathered)?;
        let (mut body, mut sections) = (Vec::new(), Vec::with_capacity(gathered.len()));
        if let Some(producer) = producer {
            body.extend_from_slice(&producer.to_le_bytes());
        }
        for gathered in gathered {
            let (topic, partition) = (gathered.topic, gathered.partition);
            let (count, bytes) = (gathered.count, gathered.bytes.len() as u32);
            let place = match &self.journal {
                Some(_) => Place::Journal(writing.end + (HEADER_BYTES + body.len()) as u64),
                None => Place::Memory(gathered.bytes.as_slice().into()),
            };
            if self.journal.is_some() {
                gathered.encode(&mut body);
            }
            sections.push(Section { topic, partition, count, bytes, place });
        }
        let begin = match producer {
            Some(producer) => {
                self.write(writing, Kind::Staged, &body, Meaning::Staged { producer, sections })?
            }
            None => self.write(writing, Kind::Append, &body, Meaning::Append(sections))?,
        };
        Ok((begin, writing.end))
    }

    fn check_room(&self, book: &Book, gathered: &[Gathered]) -> Result<(), LogError> {
        let limit = self.topic_bytes.load(Ordering::Relaxed);
        let mut more: HashMap<u32, u64> = HashMap::new();
        for section in gathered {
            *more.entry(section.topic).or_default() += section.bytes.len() as u64;
        }
        for (topic, more) in more {
            let topic = &book.topics[topic as usize];
            if topic.bytes + more > limit {
                let (name, bytes) = (topic.name.to_string(), topic.bytes);
                return Err(LogError::Full { topic: name, bytes, more, limit });
            }
        }
        Ok(())
    }

    fn write(
        &self,
        writing: &mut Writing,
        kind: Kind,
        body: &[u8],
        meaning: Meaning,
    ) -> Result<u64, LogError> {
        let at = writing.end;
        let end = match &self.journal {
            Some(journal) => journal.write(at, kind, body, self.synced.load(Ordering::Acquire))?,
            None => at + 1,
        };
        let arrivals = writing.book.apply(at, meaning);
        let arrivals =
            arrivals.expect("what is written was checked before: the book knows its topics and producers");
        writing.end = end;
        writing.waiting.push_back((end, arrivals));
        Ok(at)
    }

    /// Waits until everything before `end` is durable, and makes it visible.
    pub(super) fn settle(&self, end: u64) -> Result<(), LogError> {
        let mut synced = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if *synced >= end {
            return Ok(());
        }
        let until = self.writing()?.end;
        if let Some(journal) = &self.journal
            && let Err(error) = journal.sync(until)
        {
            self.writing()?.broken = Some(error.to_string());
            return Err(error);
        }
        let settled: Vec<_> = {
            let mut writing = self.writing()?;
            let count = writing.waiting.partition_point(|(end, _)| *end <= until);
            writing.waiting.drain(..count).collect()
        };
        let mut visible = self.visible.write().unwrap_or_else(PoisonError::into_inner);
        settled.into_iter().for_each(|(_, arrivals)| visible.add(arrivals));
        *synced = until;
        self.synced.store(until, Ordering::Release);
        Ok(())
    }

    /// Looks at what is visible of a topic.
    fn look<R>(&self, topic: &str, look: impl FnOnce(u32, &VisibleTopic) -> R) -> Result<R, LogError> {
        let visible = self.visible.read().unwrap_or_else(PoisonError::into_inner);
        match visible.names.get(topic) {
            Some(number) => Ok(look(*number, &visible.topics[*number as usize])),
            None => Err(LogError::UnknownTopic { topic: topic.to_owned() }),
        }
    }

    /// The number of a topic and how many partitions it has.
    pub(super) fn topic(&self, topic: &str) -> Result<(u32, u32), LogError> {
        self.look(topic, |number, topic| (number, topic.partitions.len() as u32))
    }

    /// The names of all topics, in the order in which they were created.
    pub(super) fn topics(&self) -> Vec<String> {
        let visible = self.visible.read().unwrap_or_else(PoisonError::into_inner);
        visible.topics.iter().map(|topic| topic.name.to_string()).collect()
    }

    /// The next offset of a partition.
    pub(super) fn end(&self, topic: &str, partition: u32) -> Result<u64, LogError> {
        self.partition(topic, partition, |partition| partition.end)
    }

    fn partition<R>(
        &self,
        topic: &str,
        partition: u32,
        look: impl FnOnce(&Partition) -> R,
    ) -> Result<R, LogError> {
        self.look(topic, |_, found| match found.partitions.get(partition as usize) {
            Some(partition) => Ok(look(partition)),
            None => {
                let (split, partitions) = (format!("partition-{partition}"), found.partitions.len() as u32);
                Err(LogError::UnknownPartition { topic: topic.to_owned(), split, partitions })
            }
        })?
    }

    /// The records of the section that holds an offset; `None` at the end.
    pub(super) fn records_at(
        &self,
        topic: &str,
        partition: u32,
        offset: u64,
    ) -> Result<Option<Records>, LogError> {
        let found = self.partition(topic, partition, |partition| {
            if offset >= partition.end {
                return Err(partition.end);
            }
            let behind = partition.sections.partition_point(|(first, _)| *first <= offset);
            Ok(partition.sections[behind - 1].clone())
        })?;
        match found {
            Ok((first, section)) => {
                let bytes = self.bytes_of(&section)?;
                Ok(Some(Records { first, count: section.count, bytes, place: section.place }))
            }
            Err(end) if offset == end => Ok(None),
            Err(end) => Err(LogError::OutOfRange { topic: topic.to_owned(), partition, offset, end }),
        }
    }

    fn bytes_of(&self, section: &Section) -> Result<Arc<[u8]>, LogError> {
        let (at, journal) = match (&section.place, &self.journal) {
            (Place::Memory(bytes), _) => return Ok(Arc::clone(bytes)),
            (Place::Journal(at), Some(journal)) => (*at, journal),
            (Place::Journal(_), None) => unreachable!("a log in memory has no journal to point into"),
        };
        let mut bytes = vec![0; SECTION_HEADER_BYTES + section.bytes as usize];
        journal.read(at, &mut bytes)?;
        let (header, records) = bytes.split_at(SECTION_HEADER_BYTES);
        if SectionHeader::decode(header).is_none_or(|header| !header.fits(records)) {
            return Err(journal.damaged(at, "the records there are not those that were written"));
        }
        Ok(records.into())
    }

    /// What is wrong with records whose bytes end before they do.
    pub(super) fn torn(&self, records: &Records) -> LogError {
        match (&records.place, &self.journal) {
            (Place::Journal(at), Some(journal)) => {
                journal.damaged(*at, "a record is longer than its section")
            }
            _ => LogError::Broken { reason: "a record in memory is longer than its section".to_owned() },
        }
    }
}

impl Visible {
    fn add(&mut self, arrivals: Vec<Arrival>) {
        for arrival in arrivals {
            match arrival {
                Arrival::Topic { name, partitions } => {
                    let partitions = (0..partitions).map(|_| Partition::default()).collect();
                    self.names.insert(Arc::clone(&name), self.topics.len() as u32);
                    self.topics.push(VisibleTopic { name, partitions });
                }
                Arrival::Records { first, section } => {
                    let topic = &mut self.topics[section.topic as usize];
                    let partition = &mut topic.partitions[section.partition as usize];
                    debug_assert_eq!(partition.end, first);
                    partition.end = first + u64::from(section.count);
                    partition.sections.push((first, section));
                }
            }
        }
    }
}

/// What a frame of the journal means.
fn read_meaning(at: u64, kind: Kind, body: &[u8]) -> Result<Meaning, String> {
    let places = |from: usize| -> Result<Vec<Section>, String> {
        let found = frame::sections(&body[from..])?;
        let section = |(offset, header): (usize, SectionHeader)| Section {
            topic: header.topic,
            partition: header.partition,
            count: header.count,
            bytes: header.bytes,
            place: Place::Journal(at + (HEADER_BYTES + from + offset) as u64),
        };
        Ok(found.into_iter().map(section).collect())
    };
    match kind {
        Kind::Note => serde_json::from_slice(body).map(Meaning::Note).map_err(|error| error.to_string()),
        Kind::Append => places(0).map(Meaning::Append),
        Kind::Staged => {
            let producer = body.first_chunk::<4>().ok_or("staged records name no producer")?;
            Ok(Meaning::Staged { producer: u32::from_le_bytes(*producer), sections: places(4)? })
        }
    }
}

/// A number that no other log has.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
