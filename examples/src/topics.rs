//! Where the topics of a program live: in a log of its own, or on Kafka; the program reads the same.
//!
//! [`TopicOptions`] are the flags; [`Topics`] is the place that they name. Each job of a program takes its part of it
//! by [`Topics::of`], under the job's name: its streams, its sinks, its state. Records are JSON.
//!
//! | flags | topics | the jobs' state | what a record counts |
//! | --- | --- | --- | --- |
//! | none | in memory | in memory | once, and all is gone at the end |
//! | `--dir DIR` | `DIR/log` | `DIR/state` | once, whatever is killed when |
//! | `--brokers`, `--dir DIR` | on Kafka | `DIR/state` | once, in transactions of the jobs' names |
//! | `--brokers` | on Kafka | in memory | at least once: every start begins anew |

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use highwater::connectors::kafka::KafkaSink;
use highwater::connectors::log::LogSink;
use highwater::operators::decide::Decide;
use highwater::operators::sink::{Publish, Sink, Writer};
use highwater::prelude::*;
use highwater::state::Epoch;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where the topics of a program live, and how its jobs run.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Topics")]
pub struct TopicOptions {
    /// Keep topics and state here: started again after a stop or a kill, the program goes on where it was
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Keep topics on Kafka: brokers, several with commas. Exactly once with --dir, at least once without
    #[arg(long, value_name = "HOST:PORT")]
    pub brokers: Option<String>,
    /// With Kafka: what the topics' names begin with
    #[arg(long, value_name = "TEXT", default_value = "", requires = "brokers")]
    pub prefix: String,
    /// Do not stop at what is the end of the topics now, but wait for more until SIGINT or SIGTERM
    #[arg(long)]
    pub follow: bool,
    /// How many threads work for each job; the results do not depend on it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub workers: usize,
    /// The time between two commits
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = humantime::parse_duration)]
    pub epoch: Duration,
}

impl TopicOptions {
    /// Opens the place that the flags name.
    ///
    /// # Errors
    /// If the log cannot be opened. Brokers are not asked yet.
    pub fn open(&self) -> Result<Topics, Cause> {
        let place = match (&self.brokers, &self.dir) {
            (Some(brokers), _) => Place::Kafka(Kafka::at(brokers)),
            (None, Some(directory)) => Place::Log(Log::open(directory.join("log"))?),
            (None, None) => Place::Log(Log::in_memory()),
        };
        Ok(Topics { place, options: Arc::new(self.clone()) })
    }
}

#[derive(Clone)]
enum Place {
    Log(Log),
    Kafka(Kafka),
}

/// The topics of a program. Clones are the same.
#[derive(Clone)]
pub struct Topics {
    place: Place,
    options: Arc<TopicOptions>,
}

impl Topics {
    /// Makes a topic, unless it is there.
    ///
    /// # Errors
    /// If it is there with another number of partitions, or cannot be made.
    pub fn create(&self, topic: &str, partitions: u32) -> Result<(), Cause> {
        match &self.place {
            Place::Log(log) => log.topic(topic, partitions)?,
            Place::Kafka(kafka) => kafka.topic(&self.named(topic), partitions)?,
        }
        Ok(())
    }

    /// The log, if the topics are in one: for whoever appends and reads beside the jobs.
    pub fn log(&self) -> Option<&Log> {
        match &self.place {
            Place::Log(log) => Some(log),
            Place::Kafka(_) => None,
        }
    }

    /// The part of a job: what it reads, writes and keeps is under its name, which no other job has.
    pub fn of(&self, job: &'static str) -> JobTopics {
        let place = match &self.place {
            Place::Log(log) => Place::Log(log.clone()),
            // Without state there is nothing that transactions could be kept in step with.
            Place::Kafka(kafka) if self.options.dir.is_none() => Place::Kafka(kafka.clone()),
            Place::Kafka(kafka) => {
                Place::Kafka(kafka.clone().exactly_once(format!("{}{job}", self.options.prefix)))
            }
        };
        JobTopics { topics: Topics { place, options: Arc::clone(&self.options) }, job }
    }

    /// Puts records into a topic that has none yet; in a log all of them or none.
    ///
    /// # Errors
    /// If the topic cannot be read or written.
    pub fn fill<T>(
        &self,
        topic: &str,
        records: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> String + Send + Sync + 'static,
    ) -> Result<(), Cause>
    where
        T: Serialize + Clone + Send + Sync + 'static,
    {
        if !self.records::<serde_json::Value>(topic)?.is_empty() {
            return Ok(());
        }
        if let Some(log) = self.log() {
            let encoded = |record: T| Ok((Some(key(&record)), serde_json::to_vec(&record)?));
            let records: Result<Vec<_>, serde_json::Error> = records.into_iter().map(encoded).collect();
            return Ok(log.append_all(topic, records?)?);
        }
        let topology = Topology::new("fill");
        let records = topology.source("records", Memory::source(records));
        records.sink("topic", self.unnamed("fill").sink(topic).key(key));
        Job::new(topology).start()?.wait()?;
        Ok(())
    }

    /// Appends a record to a topic of a log beside the jobs. It is durable, and can be read, when this returns.
    ///
    /// # Errors
    /// If the topic cannot be written, or is on Kafka, to which the library writes by jobs only.
    pub fn append<T: Serialize>(&self, topic: &str, key: &str, record: &T) -> Result<Written, Cause> {
        let value = serde_json::to_vec(record)?;
        match &self.place {
            Place::Log(log) => {
                let (partition, offset) = log.append(topic, Some(key.as_bytes()), &value)?;
                Ok(Written { split: format!("partition-{partition}"), next_offset: offset + 1 })
            }
            Place::Kafka(_) => {
                Err("commands are taken by a shop whose topics are in a log of its own".into())
            }
        }
    }

    /// All records of a topic that are there now, in the order of each partition.
    ///
    /// # Errors
    /// If the topic cannot be read.
    pub fn records<T: DeserializeOwned + Send + 'static>(&self, topic: &str) -> Result<Vec<T>, Cause> {
        let (topology, records) = (Topology::new("read"), Memory::sink());
        self.unnamed("read").read(&topology, topic, false).or_fail().sink("records", records.clone());
        Job::new(topology).start()?.wait()?;
        Ok(records.take())
    }

    /// Runs jobs side by side until all have ended, or the process gets SIGINT or SIGTERM.
    ///
    /// # Errors
    /// That of the first job that fails; the others end with the process, which loses nothing where there is a --dir.
    pub fn run(&self, jobs: impl IntoIterator<Item = Job>) -> Result<(), Cause> {
        let (ended, end) = channel();
        for job in jobs {
            let ended = ended.clone();
            std::thread::spawn(move || ended.send(job.run()));
        }
        drop(ended);
        end.into_iter().try_for_each(|outcome| outcome.map(|_| ()))?;
        Ok(())
    }

    /// Without transactions, and without a name that lasts.
    fn unnamed(&self, job: &'static str) -> JobTopics {
        JobTopics { topics: self.clone(), job }
    }

    fn named(&self, topic: &str) -> String {
        match self.place {
            Place::Log(_) => topic.to_owned(),
            Place::Kafka(_) => format!("{}{topic}", self.options.prefix),
        }
    }
}

/// Where a record stands that was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The split of the source that reads it.
    pub split: String,
    /// The offset behind it: who has read so far has read it.
    pub next_offset: u64,
}

/// What one job has of the topics.
#[derive(Clone)]
pub struct JobTopics {
    topics: Topics,
    job: &'static str,
}

impl JobTopics {
    /// The records of a topic, from its beginning; one that is not as it should be ends the job.
    #[track_caller]
    pub fn stream<T>(&self, topology: &Topology, topic: &str) -> Stream<T, Untimed>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.try_stream(topology, topic).or_fail()
    }

    /// The records of a topic, from its beginning; the caller says what becomes of those that are not as they should
    /// be.
    #[track_caller]
    pub fn try_stream<T>(&self, topology: &Topology, topic: &str) -> Tried<T, BadRecord, Untimed>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.read(topology, topic, self.topics.options.follow)
    }

    /// Writes records to a topic; give them a key with [`TopicSink::key`].
    pub fn sink<T: Serialize + 'static>(&self, topic: &str) -> TopicSink<T> {
        match &self.topics.place {
            Place::Log(log) => TopicSink::Log(log.producer(self.job).sink(topic, Json::new())),
            Place::Kafka(kafka) => TopicSink::Kafka(kafka.sink(self.topics.named(topic), Json::new())),
        }
    }

    /// The job that runs a topology, with its state where the flags say.
    pub fn job(&self, topology: Topology) -> Job {
        let options = &self.topics.options;
        let job = Job::new(topology).workers(options.workers).epoch_interval(options.epoch);
        match &options.dir {
            Some(directory) => job.state(directory.join("state").join(self.job)),
            None => job,
        }
    }

    #[track_caller]
    fn read<T>(&self, topology: &Topology, topic: &str, follow: bool) -> Tried<T, BadRecord, Untimed>
    where
        T: DeserializeOwned + Send + 'static,
    {
        match &self.topics.place {
            Place::Log(log) => {
                let source = log.source(topic, Json::new());
                topology.try_source(topic, if follow { source } else { source.until_end() })
            }
            Place::Kafka(kafka) => {
                let source = kafka.source(self.topics.named(topic), Json::new());
                topology.try_source(topic, if follow { source } else { source.until_end() })
            }
        }
    }
}

/// A topic as a sink, wherever it is.
pub enum TopicSink<T> {
    /// In a log.
    Log(LogSink<T>),
    /// On Kafka.
    Kafka(KafkaSink<T>),
}

impl<T: 'static> TopicSink<T> {
    /// Gives each record a key: those with equal keys go to one partition, in their order.
    #[must_use]
    pub fn key<K: ToString>(self, key: impl Fn(&T) -> K + Send + Sync + 'static) -> Self {
        let key = move |record: &T| key(record).to_string().into_bytes();
        match self {
            TopicSink::Log(sink) => TopicSink::Log(sink.key(key)),
            TopicSink::Kafka(sink) => TopicSink::Kafka(sink.key(key)),
        }
    }

    fn inner(&self) -> &dyn Publish {
        match self {
            TopicSink::Log(sink) => sink,
            TopicSink::Kafka(sink) => sink,
        }
    }
}

impl<T: 'static> Publish for TopicSink<T> {
    fn recover(&self, last: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        self.inner().recover(last, receipts)
    }

    fn publish(&self, epoch: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        self.inner().publish(epoch, receipts)
    }

    fn decider(&self) -> Option<Arc<dyn Decide>> {
        self.inner().decider()
    }
}

impl<T: 'static> Sink<T> for TopicSink<T> {
    fn open(&self, worker: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        match self {
            TopicSink::Log(sink) => sink.open(worker),
            TopicSink::Kafka(sink) => sink.open(worker),
        }
    }
}
