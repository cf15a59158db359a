//! A simulation of a topology: the engine's own code, stepped in one thread by one seed, in a world where everything
//! that can fail does.
//!
//! Workers, coordinator, commit and recovery are those that a [`Job`](crate::job::Job) runs. What is simulated is what
//! lies around them: which worker moves next, the clock, the state directory (a power cut takes back what was not
//! synced), brokers with transactions, sources and sinks. Processes are killed before and after every call to the
//! outside and at every step of a start and of a commit; calls fail, or say that they failed after they did what they
//! were asked; requests arrive late; transactions time out; a process stands still, is taken over, and wakes up again.
//! In the end every sink must show what the topology means, which is what the interpreter
//! ([`interpret`]) makes of the same input: no record lost, none twice, none
//! from an epoch that did not happen.
//!
//! ```
//! use highwater::prelude::*;
//! use highwater::simulate::Simulation;
//!
//! let simulation = Simulation::new(|world| {
//!     let visits = |from: i64| (0..40).map(|n| (from + n * 500, n % 3)).collect::<Vec<_>>();
//!     let topology = Topology::new("visits");
//!     topology
//!         .source("visits", world.topic("visits", [visits(0), visits(700)]))
//!         .event_time(|visit| Timestamp::from_millis(visit.0), Duration::from_secs(1))
//!         .key_by(|visit| visit.1)
//!         .window(tumbling(Duration::from_secs(5)))
//!         .count("visits-per-page")
//!         .sink("counts", world.transactional_sink("counts"));
//!     topology
//! });
//! let checked = simulation.check(20)?;
//! println!("{} runs, {} faults", checked.runs(), checked.coverage().total());
//! # Ok::<(), highwater::simulate::Failure>(())
//! ```
//!
//! The closure is the program: it is called for every process that starts, and once for the interpreter, and must
//! make the same topology each time. [`World`] gives it its sources and sinks. A failure names the seed, and
//! `HIGHWATER_SEED=<seed>` in the environment makes [`Simulation::check`] run that one again, with the same moves in
//! the same order; `HIGHWATER_SEEDS=<n>` makes it run so many.
//!
//! **What is not simulated**: sources and sinks of your own (their outside is not in the seed); several instances
//! that share their input; bytes that rot.
//!
//! **What the interpreter cannot tell**: topologies whose results depend on the order in which workers meet records,
//! such as windows over several splits with records behind the watermark, processing time, early results, or a stream
//! that is joined with a table; the page `docs/operators.md` says which they are. Bring those to a result that does
//! not (the last one, the sum of all), or look at what comes out by [`Simulation::observe`].

mod broker;
mod dice;
mod disk;
mod fault;
mod life;
mod outside;
mod planted;
mod run;
mod sinks;
mod sources;
mod staged;
#[cfg(test)]
mod tests;
mod transactions;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use highwater_operators::graph::Graph;
use highwater_operators::interpret::interpret;
use highwater_operators::topology::Topology;

use broker::Written;
pub use fault::{Call, Coverage, Fault};
use outside::Process;
use planted::Bug;
use run::{Course, Settings};
pub use sinks::SimulatedSink;
use sinks::{Taken, Way};
use sources::Place;
pub use sources::SimulatedSource;
use staged::Staging;
use transactions::Transactions;

/// Runs this one seed in place of those that [`Simulation::check`] is asked for.
const SEED: &str = "HIGHWATER_SEED";
/// Runs so many seeds in place of those that [`Simulation::check`] is asked for.
const SEEDS: &str = "HIGHWATER_SEEDS";

/// What each sink takes, in words and sorted.
type Meaning = BTreeMap<String, Vec<String>>;

/// How many records a failure lists of those that are missing, and of those that are too many.
const RECORDS_SHOWN: usize = 8;

/// The sources and sinks of one process.
pub struct World {
    inside: Inside,
}

enum Inside {
    Meaning(Arc<Mutex<Taken>>),
    Process(Process, Arc<Transactions>),
}

impl World {
    /// A topic of the simulated brokers, with the records of each partition. Transactions of others stand between them,
    /// aborted ones too, and the later ones end while the topic is read. Its positions are part of the transactions of
    /// [`transactional_sink`](World::transactional_sink), where there is one.
    pub fn topic<T>(&self, name: &str, partitions: impl IntoIterator<Item = Vec<T>>) -> SimulatedSource<T> {
        let place = match &self.inside {
            Inside::Meaning(_) => Place::Meaning,
            Inside::Process(process, transactions) => {
                Place::Topic(process.clone(), name.into(), Arc::clone(transactions))
            }
        };
        SimulatedSource::new(partitions, place)
    }

    /// A source that can be read again from every position, as files can, with the records of each split.
    pub fn source<T>(&self, splits: impl IntoIterator<Item = Vec<T>>) -> SimulatedSource<T> {
        let place = match &self.inside {
            Inside::Meaning(_) => Place::Meaning,
            Inside::Process(process, _) => Place::Splits(process.clone()),
        };
        SimulatedSource::new(splits, place)
    }

    /// A sink that writes into the transactions of the simulated brokers, which decide the epochs: what it shows is
    /// what a consumer sees that reads committed records. All such sinks of a topology share their transactions.
    /// `name` is what the records are found under in a [`Run`].
    pub fn transactional_sink<T>(&self, name: &str) -> SimulatedSink<T> {
        let way = match &self.inside {
            Inside::Meaning(taken) => Way::Meaning(Arc::clone(taken)),
            Inside::Process(_, transactions) => Way::Transactions(Arc::clone(transactions)),
        };
        SimulatedSink { name: name.to_owned(), way, of: PhantomData }
    }

    /// A sink that stages what it takes and shows it when the epoch is committed, as files do. `name` is what the
    /// records are found under in a [`Run`].
    pub fn sink<T>(&self, name: &str) -> SimulatedSink<T> {
        let way = match &self.inside {
            Inside::Meaning(taken) => Way::Meaning(Arc::clone(taken)),
            Inside::Process(process, _) => {
                Way::Staging(Staging { process: process.clone(), name: name.to_owned() })
            }
        };
        SimulatedSink { name: name.to_owned(), way, of: PhantomData }
    }
}

/// A topology that is to be simulated.
pub struct Simulation {
    program: Box<dyn Fn(&World) -> Topology>,
    settings: Settings,
    bug: Option<Bug>,
}

impl Simulation {
    /// A simulation of the program that `program` is: it makes the topology out of what the world has.
    pub fn new(program: impl Fn(&World) -> Topology + 'static) -> Simulation {
        let settings = Settings { idle_after: Duration::MAX, workers_max: 5 };
        Simulation { program: Box::new(program), settings, bug: None }
    }

    /// Lets splits become idle after so long; never unless said. The clock jumps by hours, so that every split may be
    /// idle at any time, and what it delivers later may be late.
    pub fn idle_after(mut self, silence: Duration) -> Simulation {
        self.settings.idle_after = silence;
        self
    }

    /// Every start has a number of workers from 1 to this; 5 unless said.
    pub fn workers(mut self, most: usize) -> Simulation {
        self.settings.workers_max = most.max(1);
        self
    }

    /// Makes the simulated world do something wrong.
    #[cfg(test)]
    fn plant(mut self, bug: Bug) -> Simulation {
        self.bug = Some(bug);
        self
    }

    /// What the topology means: what each sink takes when the interpreter runs it, in words and sorted.
    ///
    /// # Errors
    /// If it is no topology, or the interpreter fails.
    fn meaning(&self) -> Result<Meaning, String> {
        let taken: Arc<Mutex<Taken>> = Arc::default();
        let world = World { inside: Inside::Meaning(Arc::clone(&taken)) };
        interpret((self.program)(&world)).map_err(|error| format!("the interpreter says: {error}"))?;
        let taken = std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(taken.into_iter().map(|(sink, records)| (sink, texts(&records))).collect())
    }

    fn build(&self, process: &Process) -> Result<Graph, String> {
        let transactions = Transactions::of(process);
        let world = World { inside: Inside::Process(process.clone(), transactions) };
        (self.program)(&world)
            .finish()
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    /// Runs one seed and compares what the sinks show with what the topology means.
    ///
    /// # Errors
    /// What differs, or what ended the run.
    pub fn run(&self, seed: u64) -> Result<Run, Failure> {
        let meaning = self.meaning().map_err(|what| Failure { seed, what, events: Vec::new() })?;
        self.run_against(seed, Some(&meaning))
    }

    /// Runs one seed and compares nothing: for topologies whose results depend on the order in which workers meet
    /// records, of which something else can be said.
    ///
    /// # Errors
    /// What ended the run.
    pub fn observe(&self, seed: u64) -> Result<Run, Failure> {
        self.run_against(seed, None)
    }

    fn run_against(&self, seed: u64, meaning: Option<&Meaning>) -> Result<Run, Failure> {
        let build = |process: &Process| self.build(process);
        let mut course = Course::new(seed, self.bug, &self.settings, &build);
        let outside = Arc::clone(&course.outside);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            course.run()?;
            let outputs = course.outputs();
            match meaning.and_then(|meaning| difference(meaning, &outputs)) {
                None => Ok(outputs),
                Some(difference) => Err(difference),
            }
        }));
        let outside = &mut *outside.lock().unwrap_or_else(PoisonError::into_inner);
        let trace = std::mem::take(&mut outside.trace);
        let what = match ran {
            Ok(Ok(outputs)) => {
                let coverage = std::mem::take(&mut outside.coverage);
                return Ok(Run { seed, outputs, coverage, hash: trace.hash(), events: trace.events() });
            }
            Ok(Err(what)) => what,
            Err(panic) => format!("it panicked: {}", message_of(&*panic)),
        };
        Err(Failure { seed, what, events: trace.into_last() })
    }

    /// Runs so many seeds, from one that nobody has chosen.
    ///
    /// # Errors
    /// The first failure; its text says how to run the seed again.
    pub fn check(&self, seeds: u64) -> Result<Checked, Failure> {
        let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        if let Some(seed) = number(SEED) {
            return self.check_seeds(seed..=seed);
        }
        let first = first_seed();
        self.check_seeds(first..=first.saturating_add(number(SEEDS).unwrap_or(seeds).saturating_sub(1)))
    }

    /// Runs these seeds.
    ///
    /// # Errors
    /// The first failure.
    pub fn check_seeds(&self, seeds: impl IntoIterator<Item = u64>) -> Result<Checked, Failure> {
        let mut checked = Checked { runs: 0, coverage: Coverage::default() };
        let mut meaning = None;
        for seed in seeds {
            let meaning = match &mut meaning {
                Some(meaning) => meaning,
                None => {
                    let found = self.meaning().map_err(|what| Failure { seed, what, events: Vec::new() })?;
                    meaning.insert(found)
                }
            };
            checked.coverage.add(&self.run_against(seed, Some(meaning))?.coverage);
            checked.runs += 1;
        }
        Ok(checked)
    }
}

/// A seed that depends on the time of day; small enough to be typed.
pub fn first_seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (since.as_micros() as u64) % 1_000_000_000_000
}

/// What came of one seed.
pub struct Run {
    seed: u64,
    outputs: BTreeMap<String, Vec<Written>>,
    coverage: Coverage,
    hash: u64,
    events: u64,
}

impl Run {
    /// What the sink with this name shows, in the order in which it became visible.
    ///
    /// # Panics
    /// If the sink takes records of another type.
    pub fn output<T: Clone + 'static>(&self, sink: &str) -> Vec<T> {
        let records = self.outputs.get(sink).map(Vec::as_slice).unwrap_or_default();
        let typed = records.iter().map(|written| written.record.downcast_ref::<T>());
        typed.map(|record| record.expect("a record of the sink's type").clone()).collect()
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The faults that were injected.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// A number for everything that happened, in order; the same for the same seed and program.
    pub fn fingerprint(&self) -> u64 {
        self.hash
    }

    /// How many events that number is of.
    pub fn events(&self) -> u64 {
        self.events
    }
}

/// What came of many seeds, all of which ran clean.
#[derive(Clone, Debug)]
pub struct Checked {
    runs: u64,
    coverage: Coverage,
}

impl Checked {
    /// How many seeds ran.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// The faults that were injected, over all runs.
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }
}

/// A seed with which something is wrong. Its `Debug` form is its text, because that is what a test prints.
pub struct Failure {
    seed: u64,
    what: String,
    events: Vec<String>,
}

impl Failure {
    /// The seed that fails.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.events.is_empty() {
            writeln!(f, "the last events of the simulation:")?;
            self.events.iter().try_for_each(|event| writeln!(f, "    {event}"))?;
        }
        write!(f, "seed {}: {}\nrun it again with {SEED}={}", self.seed, self.what, self.seed)
    }
}

impl Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Failure {}

fn texts(records: &[Written]) -> Vec<String> {
    let mut texts: Vec<String> = records.iter().map(|record| record.text.clone()).collect();
    texts.sort_unstable();
    texts
}

/// What the sinks show too much or too little of.
fn difference(meaning: &Meaning, outputs: &BTreeMap<String, Vec<Written>>) -> Option<String> {
    let mut said = String::new();
    let mut sinks: Vec<&String> = meaning.keys().chain(outputs.keys()).collect();
    sinks.sort_unstable();
    sinks.dedup();
    for sink in sinks {
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        let shown = outputs.get(sink).map(|records| texts(records)).unwrap_or_default();
        meaning.get(sink).into_iter().flatten().for_each(|text| *counts.entry(text).or_insert(0) -= 1);
        shown.iter().for_each(|text| *counts.entry(text).or_insert(0) += 1);
        for (what, sign) in [("too many", 1), ("missing", -1)] {
            let differ = counts.iter().filter(|(_, count)| **count * sign > 0);
            let records: Vec<String> =
                differ.map(|(text, count)| format!("    {} x {text}\n", count.abs())).collect();
            if !records.is_empty() {
                said += &format!("in the sink `{sink}` records are {what}, {} different:\n", records.len());
                said.extend(records.into_iter().take(RECORDS_SHOWN));
            }
        }
    }
    (!said.is_empty()).then_some(said)
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
