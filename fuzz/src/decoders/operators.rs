//! Operators that go on from rows of which one is not what was written.
//!
//! Each topology is run over some records up to a committed epoch; then the bytes say which row becomes what, and it
//! is opened again on that and run to its end. It may fail, in words; it must not panic or run for ever.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use highwater::operators::exchange::{Channel, ChannelEnd, EdgeId, Transport};
use highwater::operators::executor::InPlace;
use highwater::operators::flow::Flow;
use highwater::operators::graph::Graph;
use highwater::operators::limits::Limits;
use highwater::operators::opening::WorkerOpening;
use highwater::operators::saga::Direction;
use highwater::operators::task::FullSpeed;
use highwater::prelude::*;
use highwater::state::backend::memory::MemoryBackend;
use highwater::state::budget::TableBudget;
use highwater::state::catalog::Catalog;
use highwater::state::delta::Family;
use highwater::state::{Backend, Delta, Epoch};
use serde::{Deserialize, Serialize};

/// Time in milliseconds, key, number.
type Record = (i64, u8, i64);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn keyed(records: Stream<Record>) -> KeyedStream<u8, Record> {
    records.key_by(|record| record.1)
}

fn told<T: Send + 'static>(stream: Stream<T>) {
    stream.sink("told", Blackhole::new());
}

fn windows(records: Stream<Record>) {
    let windows = keyed(records).window(tumbling(millis(10))).allow_late(millis(20));
    told(windows.aggregate("windows", |a| {
        let numbers = a.quantiles([0.5], |record: &Record| record.2);
        (a.count(), numbers, a.distinct_approx(|record| record.2), a.collect(3, |record| record.2))
    }));
}

fn sliding_windows(records: Stream<Record>) {
    let windows = keyed(records).window(sliding(millis(30), millis(10))).allow_late(millis(5));
    told(windows.aggregate("sliding", |a| (a.count(), a.distinct(|record| record.2))));
}

fn sessions(records: Stream<Record>) {
    told(keyed(records).window(session(millis(5))).aggregate("sessions", |a| a.sum(|record| record.2)));
}

fn counted(records: Stream<Record>) {
    told(keyed(records).window(highwater::prelude::records(3)).aggregate("counted", |a| a.count()));
}

#[derive(Clone)]
struct Overlapping;

impl AssignWindows for Overlapping {
    fn windows_of(&self, time: Timestamp, into: &mut Vec<TimeRange>) {
        let start = Timestamp::from_millis(time.as_millis() / 7 * 7);
        into.push(TimeRange { start, end: start + millis(7) });
        into.push(TimeRange { start: start - millis(1), end: start + millis(70) });
    }
}

fn own_windows(records: Stream<Record>) {
    let windows = keyed(records).window(Overlapping);
    told(windows.apply("own", |key, window, records| [(*key, window, records.len())]));
}

fn joins(records: Stream<Record>) {
    let (left, right) = records.branch(|record| record.2 % 2 == 0);
    let (left, right) = (left.key_by(|record| record.1), right.key_by(|record| record.1));
    told(left.join(right, within(millis(12))).outer("joins").entries());
}

fn versions(records: Stream<Record>) {
    let (left, right) = records.branch(|record| record.2 % 2 == 0);
    let (left, right) = (left.key_by(|record| record.1), right.key_by(|record| record.1));
    told(left.join_as_of(right).left("versions").entries());
}

fn tables(records: Stream<Record>) {
    let (left, right) = records.branch(|record| record.2 % 2 == 0);
    let numbers =
        left.key_by(|record| record.1).upsert("numbers", |record| (record.2 > 2).then_some(record.2));
    let latest = right.key_by(|record| record.1).latest("latest");
    told(numbers.join(latest).outer("tables").changes());
}

fn rows_of_keys(records: Stream<Record>) {
    let (sorted, _) = keyed(records).dedup("dedup", millis(50)).sorted("sorted");
    told(
        sorted
            .fold("folded", String::new, |text, record| text.push(if record.2 > 1 { 'a' } else { 'b' }))
            .to_stream(),
    );
}

struct Own {
    value: Value<(u32, String)>,
    list: List<i64>,
    map: Map<u8, Option<i64>>,
}

impl KeyedOperator<u8, Record> for Own {
    type Out = (usize, usize);

    fn on_record(&mut self, record: Record, context: &mut Context<'_, u8, Self::Out>) -> Result<(), Cause> {
        self.value.get_mut(context)?.get_or_insert_default().1.push('a');
        self.list.get_mut(context)?.push(record.2);
        self.map.get_mut(context)?.insert(record.2 as u8, Some(record.0));
        context.set_timer(Timestamp::from_millis(record.0) + millis(9))?;
        Ok(())
    }

    fn on_timer(&mut self, _: Timestamp, context: &mut Context<'_, u8, Self::Out>) -> Result<(), Cause> {
        let found = (self.list.get(context)?.len(), self.map.get_mut(context)?.len());
        self.list.clear(context)?;
        context.emit(found);
        Ok(())
    }
}

fn own(records: Stream<Record>) {
    let make = |states: &mut States<'_, u8>| {
        let mut kept = states.ttl(millis(40));
        let (value, list) = (kept.value("value"), kept.list("list"));
        Own { value, list, map: states.map("map") }
    };
    told(keyed(records).process("own", make).entries());
}

fn patterns(records: Stream<Record>) {
    let round = Pattern::begin("first", |record: &Record| record.2 > 0).followed_by("second", any);
    let pattern = Pattern::begin("some", |record: &Record| record.2 < 6)
        .one_or_more()
        .fold(|| 0, |sum: &mut i64, record: &Record| *sum = sum.wrapping_add(record.2))
        .followed_by_any("one", |record| record.2 > 1)
        .when(|record, (sum,)| *sum != record.2)
        .followed_by_group(round)
        .times(1..=2)
        .followed_by("last", any)
        .when(|record, (_, one, rounds)| one.2 != record.2 || rounds.len() > 1)
        .after_match(AfterMatch::SkipToLast("one".to_owned()))
        .within(millis(40));
    let (matches, timed_out) = keyed(records)
        .pattern(pattern)
        .with_timed_out(|_, (sum, one, rounds, _)| (sum.copied(), one.map(|one| one.2), rounds.len()));
    timed_out.entries().sink("timed-out", Blackhole::new());
    let select = |_: &u8, (sum, one, rounds, last): (&i64, &Record, Vec<(&Record, &Record)>, &Record)| {
        (*sum, one.2, rounds.iter().map(|(first, second)| (first.2, second.2)).collect::<Vec<_>>(), last.2)
    };
    told(matches.select("patterns", select).entries());
}

#[derive(Default, Serialize, Deserialize)]
struct Tally(i64);

#[derive(Clone, Serialize, Deserialize)]
enum Tallied {
    More { number: i64 },
    Round(String),
}

impl EventSourced for Tally {
    type Command = i64;
    type Event = Tallied;
    type Rejection = i64;

    fn decide(&self, number: i64) -> Result<Vec<Tallied>, i64> {
        match number {
            7 => Err(self.0),
            5 => Ok(vec![Tallied::Round(number.to_string()), Tallied::More { number }]),
            _ => Ok(vec![Tallied::More { number }]),
        }
    }

    fn evolve(&mut self, event: &Tallied) {
        match event {
            Tallied::More { number } => self.0 = self.0.wrapping_add(*number),
            Tallied::Round(text) => self.0 ^= text.len() as i64,
        }
    }
}

fn aggregates(records: Stream<Record>) {
    let commands = keyed(records).map_values(|record| Command::new("command", record.2));
    let (events, replies) = commands.event_sourced("aggregates", Sourcing::<Tally>::new().snapshot_every(2));
    events.values().sink("events", Blackhole::new());
    told(replies.values());
}

fn sagas(records: Stream<Record>) {
    let saga = Saga::new("sagas")
        .step("one", |number: &i64| *number)
        .compensate(|number| -number)
        .timeout(millis(5))
        .step("other", |number| *number)
        .timeout(millis(9));
    let inputs = keyed(records).map_values(|(_, key, number)| match number {
        1 | 5 => SagaInput::Start(number),
        _ => SagaInput::Reply(SagaReply {
            saga: key,
            step: "one".to_owned(),
            direction: Direction::Do,
            attempt: 1,
            answer: if number == 7 { SagaAnswer::Refused("no".to_owned()) } else { SagaAnswer::Done(number) },
        }),
    });
    let streams = inputs.saga(saga);
    streams.requests.values().sink("requests", Blackhole::new());
    told(streams.ends.values());
}

const TOPOLOGIES: [fn(Stream<Record>); 14] = [
    windows,
    sliding_windows,
    sessions,
    counted,
    own_windows,
    joins,
    versions,
    tables,
    rows_of_keys,
    own,
    |records| told(keyed(records).two_stage().window(tumbling(millis(10))).count("two")),
    patterns,
    aggregates,
    sagas,
];

/// Only a worker that has others asks for channels.
struct Alone;

impl Transport for Alone {
    fn sender(&self, _: EdgeId, _: usize) -> Box<dyn Channel> {
        unreachable!("a single worker has nobody to send to")
    }

    fn receiver(&self, _: EdgeId, _: usize) -> Box<dyn ChannelEnd> {
        unreachable!("a single worker has nobody to receive from")
    }
}

const BEFORE: [Record; 8] =
    [(1, 1, 1), (3, 1, 2), (4, 2, 3), (12, 1, 4), (11, 2, 5), (25, 1, 1), (26, 3, 2), (27, 1, 7)];
const BEHIND: [Record; 5] = [(28, 1, 1), (29, 2, 2), (24, 1, 4), (41, 2, 5), (90, 1, 6)];

fn graph(topology: fn(Stream<Record>), ends: bool) -> Graph {
    let plan = Topology::new("operators");
    let records = if ends { [&BEFORE[..], &BEHIND].concat() } else { BEFORE.to_vec() };
    let source = Memory::source(records);
    let source = if ends { source } else { source.unending() };
    let time = |record: &Record| Timestamp::from_millis(record.0);
    topology(plan.source("records", source).event_time(time, millis(15)));
    plan.finish().expect("it is a topology")
}

/// Runs a plan on a backend until nothing happens any more, and gives what the epoch changed.
fn run(graph: &Graph, backend: &Arc<dyn Backend>, committed: Epoch, last: bool) -> Result<Delta, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let mut splits = BTreeMap::new();
    for (number, _, list) in graph.sources() {
        splits.insert(number, list().map_err(|error| words(&error))?);
    }
    let catalog = Arc::new(Catalog::open(&**backend).map_err(|error| words(&error))?);
    let opening = WorkerOpening {
        worker: 0,
        workers: 1,
        backend: Arc::clone(backend),
        catalog: Arc::clone(&catalog),
        budget: Arc::new(TableBudget::new(usize::MAX)),
        committed,
        limits: Limits::default(),
        transport: &Alone,
        splits: &splits,
        idle_after: Duration::MAX,
        executor: Arc::new(InPlace),
    };
    let mut flow = Flow::open(graph, &opening).map_err(|error| words(&error))?;
    let now = Timestamp::from_millis(0);
    while flow.step(now, &FullSpeed).map_err(|error| words(&error))? {}
    flow.end_epoch(committed.next(), last);
    loop {
        flow.step(now, &FullSpeed).map_err(|error| words(&error))?;
        if let Some((_, mut contribution)) = flow.take_contribution() {
            catalog.take_changes(&mut contribution.delta);
            return Ok(contribution.delta);
        }
    }
}

type Rows = Vec<(Family, Vec<u8>, Vec<u8>)>;

/// The rows of a topology after its first records.
fn rows_before(number: usize) -> &'static Rows {
    static ROWS: [OnceLock<Rows>; TOPOLOGIES.len()] = [const { OnceLock::new() }; TOPOLOGIES.len()];
    ROWS[number].get_or_init(|| {
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
        let delta = run(&graph(TOPOLOGIES[number], false), &backend, Epoch(0), false);
        backend.commit(&delta.expect("the first records pass")).expect("a backend in memory does not fail");
        let mut rows = Rows::new();
        for family in [Family::Values, Family::Windows, Family::Timers, Family::Meta] {
            let mut visit = |key: &[u8], value: &[u8]| {
                rows.push((family, key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            };
            backend.scan(family, &[], &[0xff; 16], &mut visit).expect("a backend in memory does not fail");
        }
        assert!(!rows.is_empty(), "topology {number} keeps nothing");
        rows
    })
}

/// A topology, a row of it, and what it becomes: a byte of its key is changed, or its value is another.
pub fn operators(bytes: &[u8]) {
    let (which, bytes) = super::first(bytes);
    let (row, bytes) = super::first(bytes);
    let (how, bytes) = super::first(bytes);
    let number = usize::from(which) % TOPOLOGIES.len();
    let rows = rows_before(number);
    let changed = usize::from(row) % rows.len();
    let mut delta = Delta::default();
    for (at, (family, key, value)) in rows.iter().enumerate() {
        let (mut key, mut value) = (key.clone(), value.clone());
        if at == changed {
            match how {
                0 => value = bytes.to_vec(),
                1 => {
                    key.truncate(12);
                    key.extend_from_slice(bytes);
                }
                _ => {
                    // A change here and there.
                    for place in bytes.chunks_exact(2) {
                        let (here, length) = (usize::from(place[0]), value.len().max(1));
                        value.get_mut(here % length).into_iter().for_each(|byte| *byte ^= place[1]);
                    }
                }
            }
        }
        delta.put(*family, &key, &value);
    }
    let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::new());
    backend.commit(&delta).expect("a backend in memory does not fail");
    match run(&graph(TOPOLOGIES[number], true), &backend, Epoch(1), true) {
        Ok(delta) => backend.commit(&delta).expect("a backend in memory does not fail"),
        Err(words) => assert!(words.len() > 20, "an error is for a person to read: {words}"),
    }
}
