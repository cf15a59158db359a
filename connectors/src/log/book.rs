//! What the frames of a log mean: topics and their ends, producers and what they have staged and published.
//!
//! Invariant: the book is what its frames say, in their order; a log that is opened comes to the same book as the one
//! that wrote it, because both use [`Book::apply`]. It holds no records, only where they are, and does not know files.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use highwater_state::Epoch;

use super::frame::Note;

/// Where the records of a section are.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// Here.
    Memory(Arc<[u8]>),
    /// In the journal; the section's header begins at this byte.
    Journal(u64),
}

/// Records of one partition that lie behind each other.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) topic: u32,
    pub(super) partition: u32,
    pub(super) count: u32,
    /// How many bytes its records are.
    pub(super) bytes: u32,
    pub(super) place: Place,
}

/// What a frame says.
#[derive(Clone, Debug)]
pub(super) enum Meaning {
    Note(Note),
    Append(Vec<Section>),
    Staged { producer: u32, sections: Vec<Section> },
}

/// What readers get to see of a frame.
#[derive(Clone, Debug)]
pub(super) enum Arrival {
    /// A topic.
    Topic { name: Arc<str>, partitions: u32 },
    /// Records, the first of which has this offset.
    Records { first: u64, section: Section },
}

/// A topic.
#[derive(Debug)]
pub(super) struct TopicPage {
    pub(super) name: Arc<str>,
    /// The next offset of each partition.
    pub(super) ends: Vec<u64>,
    /// How many bytes its records are, with those that are staged.
    pub(super) bytes: u64,
    /// Where the next record without a key goes.
    pub(super) turn: u32,
}

/// Who writes exactly once.
#[derive(Debug)]
pub(super) struct ProducerPage {
    /// The frame that it began with.
    pub(super) begun: u64,
    /// The last epoch that it published; 0 if none.
    pub(super) published: Epoch,
    /// What it has staged and not published, by the place of the frame.
    staged: BTreeMap<u64, Vec<Section>>,
}

/// All that a log knows beside its records.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) topics: Vec<TopicPage>,
    pub(super) producers: Vec<ProducerPage>,
    topic_names: HashMap<String, u32>,
    producer_names: HashMap<String, u32>,
}

impl Book {
    pub(super) fn topic(&self, name: &str) -> Option<(u32, &TopicPage)> {
        self.topic_names.get(name).map(|number| (*number, &self.topics[*number as usize]))
    }

    pub(super) fn producer(&self, name: &str) -> Option<(u32, &ProducerPage)> {
        self.producer_names.get(name).map(|number| (*number, &self.producers[*number as usize]))
    }

    /// Enters what the frame at `at` means; what is new to readers.
    ///
    /// # Errors
    /// If it speaks of what there is not; then nothing is entered.
    pub(super) fn apply(&mut self, at: u64, meaning: Meaning) -> Result<Vec<Arrival>, String> {
        match meaning {
            Meaning::Note(Note::Topic { name, partitions }) => self.begin_topic(name, partitions),
            Meaning::Note(Note::Begin { producer }) => {
                self.begin_producer(at, producer);
                Ok(Vec::new())
            }
            Meaning::Note(Note::Publish { producer, epoch, frames }) => {
                self.publish(producer, epoch, &frames)
            }
            Meaning::Append(sections) => {
                self.check(&sections)?;
                self.reserve(&sections);
                Ok(sections.into_iter().map(|section| self.arrive(section)).collect())
            }
            Meaning::Staged { producer, sections } => {
                self.check(&sections)?;
                if self.producers.len() <= producer as usize {
                    return Err(format!("there is no producer {producer}"));
                }
                self.reserve(&sections);
                self.producers[producer as usize].staged.insert(at, sections);
                Ok(Vec::new())
            }
        }
    }

    fn begin_topic(&mut self, name: String, partitions: u32) -> Result<Vec<Arrival>, String> {
        if self.topic_names.contains_key(&name) || partitions == 0 || partitions > super::PARTITIONS_MAX {
            return Err(format!("a topic `{name}` of {partitions} partitions cannot begin"));
        }
        let shared: Arc<str> = name.as_str().into();
        let ends = vec![0; partitions as usize];
        self.topic_names.insert(name, self.topics.len() as u32);
        self.topics.push(TopicPage { name: Arc::clone(&shared), ends, bytes: 0, turn: 0 });
        Ok(vec![Arrival::Topic { name: shared, partitions }])
    }

    fn begin_producer(&mut self, at: u64, name: String) {
        match self.producer_names.get(&name) {
            Some(number) => {
                let number = *number;
                self.forget(number);
                let page = &mut self.producers[number as usize];
                (page.begun, page.published) = (at, Epoch(0));
            }
            None => {
                self.producer_names.insert(name, self.producers.len() as u32);
                let page = ProducerPage { begun: at, published: Epoch(0), staged: BTreeMap::new() };
                self.producers.push(page);
            }
        }
    }

    fn publish(&mut self, producer: u32, epoch: Epoch, frames: &[u64]) -> Result<Vec<Arrival>, String> {
        if let Some(missing) = self.first_not_staged(producer, frames) {
            return Err(format!("nothing is staged at byte {missing}"));
        }
        let page = &mut self.producers[producer as usize];
        page.published = epoch;
        let sections: Vec<Section> =
            frames.iter().filter_map(|at| page.staged.remove(at)).flatten().collect();
        Ok(sections.into_iter().map(|section| self.arrive(section)).collect())
    }

    /// The first of the frames that the producer has not staged.
    pub(super) fn first_not_staged(&self, producer: u32, frames: &[u64]) -> Option<u64> {
        let page = self.producers.get(producer as usize);
        let is_staged = |at: &u64| page.is_some_and(|page| page.staged.contains_key(at));
        frames.iter().find(|at| !is_staged(at)).copied()
    }

    /// Forgets what a producer has staged: it will never be published. No frame says so, as nobody has a receipt of
    /// it.
    pub(super) fn forget(&mut self, producer: u32) {
        let staged = std::mem::take(&mut self.producers[producer as usize].staged);
        for section in staged.into_values().flatten() {
            self.topics[section.topic as usize].bytes -= u64::from(section.bytes);
        }
    }

    fn check(&self, sections: &[Section]) -> Result<(), String> {
        let known = |section: &Section| {
            let topic = self.topics.get(section.topic as usize);
            topic.is_some_and(|topic| topic.ends.len() > section.partition as usize)
        };
        match sections.iter().find(|section| !known(section)) {
            Some(Section { topic, partition, .. }) => {
                Err(format!("there is no partition {partition} of topic {topic}"))
            }
            None => Ok(()),
        }
    }

    fn reserve(&mut self, sections: &[Section]) {
        for section in sections {
            self.topics[section.topic as usize].bytes += u64::from(section.bytes);
        }
    }

    fn arrive(&mut self, section: Section) -> Arrival {
        let end = &mut self.topics[section.topic as usize].ends[section.partition as usize];
        let first = *end;
        *end += u64::from(section.count);
        Arrival::Records { first, section }
    }
}
