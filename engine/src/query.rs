//! Questions to a running job: what its tables hold, as of the last committed epoch, asked from any thread.
//!
//! A [`View`] is the state of one epoch, for as long as it is held; [`Queries`] makes them. Invariants: an answer is of
//! one epoch, and names it and the positions in the sources that it reflects; nothing of an epoch is seen before it is
//! committed, and all of it after that (HW-2); asking takes no lock that a worker takes. It does not know HTTP.
//!
//! On disk a view holds up nothing. In memory a commit copies the families that it changes while a view is held, once
//! for each view: with a million rows, some hundred milliseconds of the thread that commits.
//!
//! What is in a view has been published by sinks that decide epochs, such as Kafka's; other sinks publish right
//! behind it.

mod error;
mod least;
mod live;
mod view;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use highwater_operators::graph::Graph;
use highwater_state::budget::TableBudget;
use highwater_state::view::{Cursor, JsonRow, Page, Part, Row};
use highwater_state::{Backend, Epoch, Key, Persist, StateView, Timestamp, persist};

use crate::progress::Progress;
use crate::report::NodeReport;

pub use crate::progress::{Epochs, Health};
pub use error::QueryError;
pub use highwater_operators::graph::{Edge, Moves};
pub use least::AtLeast;
pub use live::Live;
pub use view::{Answer, TableInfo, View};

/// The result of a question.
pub type Result<T> = std::result::Result<T, QueryError>;

/// Asks a running job; made by [`RunningJob::queries`](crate::job::RunningJob::queries). Clones ask the same job.
///
/// Tables are read by the name of the operator that keeps them, with the name of a part behind a slash where it has
/// several. It answers until the running job is waited for or dropped.
///
/// ```
/// use highwater::prelude::*;
/// use highwater::query::AtLeast;
///
/// let topology = Topology::new("words");
/// let words = topology.source("words", Memory::source(["a", "b", "a"]).unending());
/// words.key_by(|word| word.to_string()).count("counts").keep();
/// let running = Job::new(topology).queryable().epoch_interval(Duration::from_millis(10)).start()?;
///
/// let queries = running.queries();
/// let all = AtLeast::nothing().position("words", "0", 3u64);
/// let view = queries.at_least(&all, Duration::from_secs(10)).expect("three words are read at once");
/// assert_eq!(view.get("counts", &"a".to_string()).expect("is a count"), Some(2u64));
/// # Ok::<(), JobError>(())
/// ```
#[derive(Clone)]
pub struct Queries {
    shared: Arc<Shared>,
}

/// What every clone asks.
pub(crate) struct Shared {
    graph: Arc<Graph>,
    /// Closed with the job: who asks must not keep the state directory from the next one.
    backend: Weak<dyn Backend>,
    progress: Arc<Progress>,
    budget: Arc<TableBudget>,
    workers: usize,
    /// Where the state is, for errors.
    place: PathBuf,
    /// The positions of an attempt's epoch, which are the same for all who ask within it.
    positions: Mutex<Option<(u64, Epoch, Positions)>>,
}

impl Queries {
    pub(crate) fn new(
        graph: &Arc<Graph>,
        backend: &Arc<dyn Backend>,
        progress: &Arc<Progress>,
        budget: &Arc<TableBudget>,
        workers: usize,
        place: Option<PathBuf>,
    ) -> Queries {
        let shared = Shared {
            graph: Arc::clone(graph),
            backend: Arc::downgrade(backend),
            progress: Arc::clone(progress),
            budget: Arc::clone(budget),
            workers,
            place: place.unwrap_or_else(|| PathBuf::from("memory")),
            positions: Mutex::default(),
        };
        Queries { shared: Arc::new(shared) }
    }

    /// All tables as the last committed epoch left them, for as long as the view is held: several questions to one view
    /// have answers that fit together. Costs a few lookups.
    ///
    /// A view that is held keeps what was replaced since from being dropped, and the state directory in use.
    ///
    /// # Errors
    /// [`QueryError::Ended`] if the job has ended and has been waited for.
    pub fn view(&self) -> Result<View> {
        let shared = &self.shared;
        let ended = || QueryError::Ended { topology: shared.graph.name().to_owned() };
        let backend = shared.backend.upgrade().ok_or_else(ended)?;
        let attempt = shared.progress.attempts();
        let state = StateView::of(backend.snapshot()?, &shared.place)?;
        let positions = shared.positions(attempt, &state)?;
        Ok(View::new(state, positions, Arc::clone(shared)))
    }

    /// A view that covers `least`, as soon as there is one; waits for it as long as `timeout`.
    ///
    /// # Errors
    /// [`QueryError::TimedOut`] or [`QueryError::NeverReached`] if there is none; [`QueryError::UnknownSource`] and
    /// [`QueryError::Position`] if the topology has no such positions.
    pub fn at_least(&self, least: &AtLeast, timeout: Duration) -> Result<View> {
        let until = Instant::now().checked_add(timeout);
        loop {
            let turns = self.shared.progress.turns();
            let (reached, waited) = (self.turn(least)?, timeout);
            let reached = match reached {
                Ok(view) => return Ok(view),
                Err(reached) => reached,
            };
            let asked = least.to_string();
            if self.health() != Health::Running {
                return Err(QueryError::NeverReached { asked, reached: reached.to_string() });
            }
            // A time that the clock does not reach is no limit.
            let until = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            if Instant::now() >= until {
                return Err(QueryError::TimedOut { asked, reached: reached.to_string(), waited });
            }
            self.shared.progress.wait(turns, until);
        }
    }

    /// A view that covers `least`, if there is one now: for who waits in another way than
    /// [`at_least`](Self::at_least). There is no use in asking again before [`turns`](Self::turns) has changed.
    ///
    /// # Errors
    /// As there, but for those of waiting.
    pub fn now_at_least(&self, least: &AtLeast) -> Result<Option<View>> {
        Ok(self.turn(least)?.ok())
    }

    /// A number that changes with every epoch that ends, and when the job does.
    pub fn turns(&self) -> u64 {
        self.shared.progress.turns()
    }

    /// A view, or how far it has come if that is not enough.
    fn turn(&self, least: &AtLeast) -> Result<std::result::Result<View, Reached>> {
        let reading = least.in_topology(&self.shared.graph)?;
        // Asked before the view is made: what has passed by now is in it, also if nothing happened in it.
        let passed = self.shared.progress.last();
        let view = self.view()?;
        let epoch = passed.max(view.epoch());
        if epoch >= reading.epoch && reading.is_covered_by(view.positions())? {
            return Ok(Ok(view));
        }
        Ok(Err(Reached { epoch, positions: view.positions().clone() }))
    }

    /// The value of one key now; see [`View::get`].
    ///
    /// # Errors
    /// As there.
    pub fn get<K: Key, V: Persist>(&self, table: &str, key: &K) -> Result<Answer<Option<V>>> {
        self.view()?.answer(|view| view.get(table, key))
    }

    /// The value of one key and time now; see [`View::get_at`].
    ///
    /// # Errors
    /// As there.
    pub fn get_at<K: Key, V: Persist>(
        &self,
        table: &str,
        time: Timestamp,
        key: &K,
    ) -> Result<Answer<Option<V>>> {
        self.view()?.answer(|view| view.get_at(table, time, key))
    }

    /// A page of the rows now; see [`View::page`].
    ///
    /// # Errors
    /// As there.
    pub fn page<K: Key, V: Persist>(
        &self,
        table: &str,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Answer<Page<Row<K, V>>>> {
        self.view()?.answer(|view| view.page(table, after, limit))
    }

    /// A page of a part of the rows now, as JSON; see [`View::json_page`].
    ///
    /// # Errors
    /// As there.
    pub fn json_page(
        &self,
        table: &str,
        part: &Part,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Answer<Page<JsonRow>>> {
        self.view()?.answer(|view| view.json_page(table, part, after, limit))
    }

    /// How the job is.
    pub fn health(&self) -> Health {
        self.shared.progress.health()
    }

    /// What is known of its epochs.
    pub fn epochs(&self) -> Epochs {
        self.shared.progress.epochs()
    }

    /// What each operator has counted since the job was started, in the order of the plan.
    pub fn counters(&self) -> Vec<NodeReport> {
        NodeReport::of(&self.shared.graph)
    }

    /// What the job takes and what waits in it.
    pub fn gauges(&self) -> crate::report::Gauges {
        let shared = &self.shared;
        let backend = shared.backend.upgrade();
        let lags = shared.graph.nodes().flat_map(|(place, counters)| {
            let source = place.name.clone().unwrap_or_default();
            counters.lags.read().into_iter().map(move |(split, lag)| (source.clone(), split, lag))
        });
        crate::report::Gauges {
            lags: lags.collect(),
            workers: shared.workers,
            table_bytes: shared.budget.used() as u64,
            rows_asked: shared.budget.rows_asked(),
            rows_read: shared.budget.rows_read(),
            families: backend.map(|backend| backend.sizes()).unwrap_or_default(),
            queues: shared.progress.channels().map(|channels| channels.lengths()).unwrap_or_default(),
            watermarks: shared.graph.nodes().map(|(_, counters)| counters.watermarks.least()).collect(),
            latencies: shared.graph.nodes().map(|(_, counters)| counters.latency.read()).collect(),
        }
    }

    /// The name of the topology.
    pub fn topology(&self) -> &str {
        self.shared.graph.name()
    }

    /// Every way that records take from one operator to another, by their numbers in [`counters`](Self::counters).
    pub fn edges(&self) -> Vec<Edge> {
        self.shared.graph.edges().collect()
    }

    /// A picture of the topology in the language of Mermaid.
    pub fn mermaid(&self) -> String {
        self.shared.graph.to_mermaid()
    }
}

impl Shared {
    /// The positions of the view's epoch, shown as the topology's sources show them. The attempt is one that had begun
    /// before the view was made.
    fn positions(&self, attempt: u64, state: &StateView) -> Result<Positions> {
        let mut kept = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, epoch, positions)) = kept.as_ref()
            && (*of, *epoch) == (attempt, state.epoch())
            && *epoch > Epoch(0)
        {
            return Ok(positions.clone());
        }
        let mut splits = BTreeMap::new();
        for at in state.positions()? {
            // A source that the topology does not have any more has left its positions behind.
            let Some(of) = self.graph.positions_of(&at.source) else { continue };
            let json = of.to_json(&at.position)?;
            splits.insert((at.source, at.split), (at.position, json));
        }
        let positions = Positions { splits: Arc::new(splits) };
        *kept = Some((attempt, state.epoch(), positions.clone()));
        Ok(positions)
    }
}

/// How far the sources had been read in an epoch: every record before these positions is in it, and none after them.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    /// By source and split: the position as it is kept, and as JSON.
    splits: Arc<BTreeMap<(String, String), (Vec<u8>, String)>>,
}

/// The position in one split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position<'p> {
    /// The source's name.
    pub source: &'p str,
    /// The split's name.
    pub split: &'p str,
    /// The position as JSON.
    pub json: &'p str,
}

impl Positions {
    /// The position in one split; `None` if it has never been read, or its positions are no `P`.
    pub fn get<P: Persist>(&self, source: &str, split: &str) -> Option<P> {
        persist::decode("position", self.bytes(source, split)?).ok()
    }

    /// All of them, in the order of sources and splits.
    pub fn iter(&self) -> impl Iterator<Item = Position<'_>> {
        self.splits.iter().map(|((source, split), (_, json))| Position { source, split, json })
    }

    fn bytes(&self, source: &str, split: &str) -> Option<&[u8]> {
        let key = (source.to_owned(), split.to_owned());
        self.splits.get(&key).map(|(bytes, _)| bytes.as_slice())
    }
}

impl fmt::Display for Positions {
    /// As JSON: `{"clicks":{"0":42,"1":17}}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        f.write_str("{")?;
        for Position { source, split, json } in self.iter() {
            match last {
                Some(before) if before == source => f.write_str(",")?,
                None => write!(f, "{source:?}:{{")?,
                Some(_) => write!(f, "}},{source:?}:{{")?,
            }
            last = Some(source);
            write!(f, "{}:{json}", quoted(split))?;
        }
        f.write_str(if last.is_some() { "}}" } else { "}" })
    }
}

/// A text as JSON writes it.
fn quoted(text: &str) -> String {
    text.chars().fold("\"".to_owned(), |mut quoted, c| {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c < ' ' => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
        quoted
    }) + "\""
}

/// How far a job had come that was not far enough.
struct Reached {
    epoch: Epoch,
    positions: Positions,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is at {}, with the positions {}", self.epoch, self.positions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_written_as_json() {
        assert_eq!(Positions::default().to_string(), "{}");
        let at = |source: &str, split: &str, json: &str| {
            ((source.to_owned(), split.to_owned()), (Vec::new(), json.to_owned()))
        };
        let splits =
            BTreeMap::from([at("a", "1", "7"), at("a", "say \"x\"\n", "8"), at("b", "", "{\"n\":9}")]);
        let positions = Positions { splits: Arc::new(splits) };
        let text = r#"{"a":{"1":7,"say \"x\"\u000a":8},"b":{"":{"n":9}}}"#;
        assert_eq!(positions.to_string(), text);
    }
}
