//! From a case to a topology.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use highwater::operators::memory::MemorySink;
use highwater::operators::source::{Poll, Polled, Reader, Source};
use highwater::prelude::*;
use highwater::simulate::World;

use super::case::{Case, Keyed, Keys, Out, Rec, Sinks, Stage, WindowOf};
use super::joins::apply_join;
use super::kept::{self, Dying, Uneven};
use super::patterns;
use super::whole;

/// How many records the sources may still deliver, all together.
#[derive(Clone)]
pub struct Gate(Arc<AtomicUsize>);

impl Gate {
    pub fn open() -> Self {
        Gate::of(usize::MAX)
    }

    pub fn of(records: usize) -> Self {
        Gate(Arc::new(AtomicUsize::new(records)))
    }

    pub fn is_used_up(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }

    fn take(&self, wanted: usize) -> usize {
        let update = |left: usize| Some(if left == usize::MAX { left } else { left - left.min(wanted) });
        let before = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, update);
        before.unwrap_or_else(|before| before).min(wanted)
    }
}

/// Splits in memory behind a gate.
struct Gated {
    splits: Vec<Arc<Vec<Rec>>>,
    gate: Gate,
}

impl Source for Gated {
    type Item = Rec;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok((0..self.splits.len()).map(|number| format!("split-{number}")).collect())
    }

    fn open(
        &self,
        split: &str,
        from: Option<u64>,
    ) -> Result<Box<dyn Reader<Item = Rec, Position = u64>>, Cause> {
        let number: usize = split.trim_start_matches("split-").parse()?;
        let records = Arc::clone(&self.splits[number]);
        Ok(Box::new(GatedReader { records, next: from.unwrap_or(0) as usize, gate: self.gate.clone() }))
    }
}

struct GatedReader {
    records: Arc<Vec<Rec>>,
    next: usize,
    gate: Gate,
}

impl Reader for GatedReader {
    type Item = Rec;
    type Position = u64;

    fn poll(&mut self, limit: usize, into: &mut Polled<Rec>) -> Result<Poll, Cause> {
        let left = self.records.len() - self.next;
        let taken = self.gate.take(limit.min(left));
        into.values.extend_from_slice(&self.records[self.next..self.next + taken]);
        self.next += taken;
        Ok(if taken == left { Poll::Finished } else { Poll::Pending })
    }

    fn position(&self) -> u64 {
        self.next as u64
    }
}

/// Where the records of a case come from, and where its outputs go.
pub trait Ends {
    fn source(&self, topology: &Topology, name: &str, splits: &[Vec<Rec>]) -> Stream<Rec, Untimed>;

    fn sink(&self, outputs: Stream<Out, Untimed>);
}

/// A real job, or the interpreter: a gate, and a sink in memory.
pub struct InMemory<'a> {
    pub gate: &'a Gate,
    pub sink: &'a MemorySink<Out>,
}

impl Ends for InMemory<'_> {
    fn source(&self, topology: &Topology, name: &str, splits: &[Vec<Rec>]) -> Stream<Rec, Untimed> {
        let splits = splits.iter().cloned().map(Arc::new).collect();
        topology.source(name, Gated { splits, gate: self.gate.clone() })
    }

    fn sink(&self, outputs: Stream<Out, Untimed>) {
        outputs.sink("out", self.sink.clone());
    }
}

/// A simulation.
pub struct Simulated<'a> {
    pub world: &'a World,
    pub topics: bool,
    pub sinks: Sinks,
}

impl Ends for Simulated<'_> {
    fn source(&self, topology: &Topology, name: &str, splits: &[Vec<Rec>]) -> Stream<Rec, Untimed> {
        let splits = splits.iter().cloned();
        match self.topics {
            true => topology.source(name, self.world.topic(name, splits)),
            false => topology.source(name, self.world.source(splits)),
        }
    }

    fn sink(&self, outputs: Stream<Out, Untimed>) {
        let (some, others) = outputs.branch(|(tag, _)| tag % 2 == 0);
        match self.sinks {
            Sinks::Staging => some.merge(others).sink("out", self.world.sink("staged")),
            Sinks::Transactional => {
                some.merge(others).sink("out", self.world.transactional_sink("transactional"))
            }
            Sinks::Both => {
                some.sink("some", self.world.transactional_sink("transactional"));
                others.sink("others", self.world.sink("staged"));
            }
        }
    }
}

/// The topology of the case; `look` sees every record that an `Inspect` sees.
pub fn build(case: &Case, ends: &impl Ends, look: impl Fn() + Clone + Send + Sync + 'static) -> Topology {
    let topology = Topology::new("case");
    let (first, second) = case.splits.split_at(case.splits.len() - case.second);
    let source = |name: &str, splits: &[Vec<Rec>]| ends.source(&topology, name, splits);
    let timed = |stream: Stream<Rec, Untimed>| {
        stream.event_time(|rec| Timestamp::from_millis(rec.at), Duration::from_millis(case.lag))
    };
    let stream = match case.second {
        0 => timed(source("first", first)),
        _ if case.merge_untimed => timed(source("first", first).merge(source("second", second))),
        _ => timed(source("first", first)).merge(timed(source("second", second))),
    };
    let mut outs = Outs { tag: 0, all: None };
    let mut stream = stream.inspect(move |_| look());
    for (number, stage) in case.stages.iter().enumerate() {
        stream = apply(stream, *stage, &format!("stage-{number}"), &mut outs);
    }
    outs.add(stream);
    ends.sink(outs.all.expect("one output was added"));
    topology
}

/// Everything that goes to the sink, merged without times.
pub struct Outs {
    tag: u8,
    all: Option<Stream<Out, Untimed>>,
}

impl Outs {
    pub fn add(&mut self, stream: Stream<Rec>) {
        let tag = self.tag;
        self.tag += 1;
        let tagged = stream.untimed().map(move |rec| (tag, rec));
        self.all = Some(match self.all.take() {
            Some(all) => all.merge(tagged),
            None => tagged,
        });
    }
}

fn with_value(rec: Rec, value: i64) -> Rec {
    Rec { value: value.rem_euclid(1009), ..rec }
}

fn refuse(rec: Rec, divisor: i64) -> Result<Rec, String> {
    if rec.value % divisor == 0 { Err(format!("divisible by {divisor}")) } else { Ok(rec) }
}

fn apply(stream: Stream<Rec>, stage: Stage, name: &str, outs: &mut Outs) -> Stream<Rec> {
    match stage {
        Stage::Filter(n) => stream.filter(move |rec| rec.value % n != 0),
        Stage::Map(n) => stream.map(move |rec: Rec| {
            let value = rec.value * 31 + n;
            with_value(rec, value)
        }),
        Stage::FlatMap(n) => stream.flat_map(move |rec: Rec| {
            let copies = rec.value % (n + 1);
            (0..copies).map(|i| with_value(rec.clone(), rec.value + i)).collect::<Vec<_>>()
        }),
        Stage::Fused(n) => stream.fused(move |records| {
            records.filter(move |rec| rec.value % n != 1).flat_map(move |rec| {
                let copies = if rec.value % 5 == 0 { 2 } else { 1 };
                vec![with_value(rec.clone(), rec.value + n); copies]
            })
        }),
        Stage::Inspect => stream.inspect(|rec| assert!(rec.value < 2000)),
        Stage::Skip(n) => stream.try_map(move |rec| refuse(rec, n)).or_skip(),
        Stage::DeadLetter(n) => {
            let (good, bad) = stream.try_map(move |rec| refuse(rec, n)).or_dead_letter();
            outs.add(bad.map(|bad| bad.record));
            good
        }
        Stage::BranchMerge(n) => {
            let (some, others) = stream.branch(move |rec| rec.value % n == 0);
            some.map(|rec: Rec| with_value(rec.clone(), rec.value + 7)).merge(others)
        }
        Stage::CloneMerge(n) => {
            let copy = stream.clone().filter(move |rec| rec.value % n == 0);
            stream.merge(copy)
        }
        Stage::Tap => {
            outs.add(stream.clone());
            stream
        }
        Stage::Async { unordered } => {
            let requests = stream.map_async(name, answer).in_flight(5);
            if unordered { requests.unordered().or_fail() } else { requests.or_fail() }
        }
        Stage::Keyed(keys, keyed) => apply_keyed(stream.key_by(group(keys)), keyed, name, outs),
        Stage::Join(keys, join) => {
            let (left, right) = stream.branch(|rec| rec.value % 2 == 0);
            apply_join(left.key_by(group(keys)), right.key_by(group(keys)), join, name, outs)
        }
    }
}

/// Answers after some polls.
async fn answer(rec: Rec) -> Result<Rec, Cause> {
    let mut left = rec.value % 3;
    poll_fn(|context| {
        left -= 1;
        if left < 0 {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
    let value = rec.value + 5;
    Ok(with_value(rec, value))
}

fn group(keys: Keys) -> impl Fn(&Rec) -> Group + Send + Sync + 'static {
    move |rec| match keys {
        Keys::One => (0, 0),
        Keys::Number(n) => (0, rec.key % n),
        Keys::SplitAndNumber(n) => (rec.split, rec.key % n),
    }
}

pub type Group = (u8, u8);
pub type Grouped = highwater::operators::keyed::KeyedStream<Group, Rec>;

pub fn rec((split, key): Group, at: i64, value: i64) -> Rec {
    with_value(Rec { split, key, at, value }, value)
}

/// Depends on the order of the records.
fn chain(kept: &mut i64, record: &Rec) {
    *kept = (*kept * 31 + record.value + record.at).rem_euclid(1_000_003);
}

fn combine(mut before: Rec, next: Rec) -> Rec {
    chain(&mut before.value, &next);
    before
}

/// Depends on the order of the records, and not on how they are grouped in it, as parts of windows are.
fn first_and_last(before: Rec, next: Rec) -> Rec {
    Rec { value: next.value, ..before }
}

fn apply_keyed(stream: Grouped, keyed: Keyed, name: &str, outs: &mut Outs) -> Stream<Rec> {
    match keyed {
        Keyed::Count => stream.count(name).to_stream().map(|(key, count)| rec(key, 0, count as i64)),
        Keyed::Aggregate => stream
            .aggregate(name, |a| (a.count(), a.sum(|r: &Rec| r.value), a.min(|r| r.at), a.max(|r| r.at)))
            .to_stream()
            .map(|(key, (count, sum, min, max))| rec(key, min, count as i64 + sum * 3 + max)),
        Keyed::Fold => {
            stream.fold(name, || 0, |kept, r| chain(kept, &r)).to_stream().map(|(key, h)| rec(key, 0, h))
        }
        Keyed::Reduce => stream.reduce(name, combine).to_stream().map(|(key, r)| rec(key, r.at, r.value)),
        Keyed::Window { size, offset, lateness, with_late, early, of } => {
            let windows = stream.window(tumbling(millis(size)).offset(millis(offset)));
            let windows = windows.allow_late(millis(lateness));
            let windows = if early > 0 { windows.emit_early(millis(early)) } else { windows };
            match of {
                WindowOf::Fold => {
                    let windows = told_late(windows, with_late, outs);
                    let folded = windows.fold(name, || 0, |kept, r| chain(kept, &r));
                    folded.filter(|w| w.timing != Timing::Early).map(of_window)
                }
                _ => merged_windows(windows, with_late, of, name, outs),
            }
        }
        Keyed::Sliding { size, slide, offset, lateness, with_late, early, of } => {
            let windows = stream.window(sliding(millis(size), millis(slide)).offset(millis(offset)));
            let windows = windows.allow_late(millis(lateness));
            let windows = if early > 0 { windows.emit_early(millis(early)) } else { windows };
            merged_windows(windows, with_late, of, name, outs)
        }
        Keyed::Session { gap, with_late, of } => {
            let windows = stream.window(session(Duration::from_millis(u64::from(gap))));
            merged_windows(windows, with_late, of, name, outs)
        }
        Keyed::Records(count) => {
            let windows = stream.window(records(u64::from(count)));
            windows.fold(name, || 0, |kept, r| chain(kept, &r)).map(of_window)
        }
        Keyed::Dedup { ttl } => stream.dedup(name, Duration::from_millis(u64::from(ttl))).values(),
        Keyed::TwoStage { size, slide, lateness, with_late } => {
            let windows = stream.two_stage().window(sliding(millis(size), millis(slide)));
            in_two_stages(windows.allow_late(millis(lateness)), with_late, name, outs)
        }
        Keyed::Sorted { with_late } => {
            let (sorted, late) = stream.sorted(name);
            if with_late {
                outs.add(late);
            }
            // In the order of time now, so that an order of its own kind can be told from another.
            let chained = sorted.fold(&format!("{name}-chain"), || 0, |kept, r| chain(kept, &r));
            chained.to_stream().map(|(key, h)| rec(key, 1, h))
        }
        Keyed::Process { size } => {
            let size = i64::from(size);
            let make = move |states: &mut States<'_, Group>| Buckets {
                size,
                sums: states.map("sums"),
                fired: states.value("fired"),
            };
            stream.process(name, make).values()
        }
        Keyed::Whole(what) => whole::apply(stream, what, name),
        Keyed::Search(search) => patterns::apply(stream, search, name, outs),
        Keyed::Typed { within } => patterns::apply_typed(stream, within, name, outs),
        other => apply_kept(stream, other, name),
    }
}

/// Operators that keep more than a sum.
fn apply_kept(stream: Grouped, keyed: Keyed, name: &str) -> Stream<Rec> {
    match keyed {
        Keyed::Apply { size } => kept::apply(stream.window(tumbling(millis(size))), name),
        Keyed::Custom { size } => {
            let windows = stream.window(Uneven(i64::from(size)));
            windows.aggregate(name, |a| a.sum(|r: &Rec| r.value)).map(of_window)
        }
        Keyed::Ttl { ttl } => {
            stream.process(name, move |states| Dying { last: states.ttl(millis(ttl)).value("last") }).values()
        }
        Keyed::Latest => {
            let latest = stream.filter(|_, rec| rec.value % 7 != 0).latest(name);
            let latest = latest.filter(|_, rec| rec.value % 3 != 0).map_values(|rec: Rec| rec.value + 1);
            latest.to_stream().map(|(key, value)| rec(key, 3, value))
        }
        Keyed::Upsert(divisor) => kept::upsert(stream, divisor, name),
        Keyed::Sourced => kept::sourced(stream, name),
        Keyed::Sagas => kept::sagas(stream, name),
        other => unreachable!("{other:?} is dealt with before"),
    }
}

pub fn millis(n: u16) -> Duration {
    Duration::from_millis(u64::from(n))
}

fn of_window(w: Windowed<Group, i64>) -> Rec {
    rec(w.key, w.window.start.as_millis(), w.value + w.window.end.as_millis() + w.timing as i64)
}

fn with<V>(w: Windowed<Group, V>, value: impl FnOnce(V) -> i64) -> Windowed<Group, i64> {
    Windowed { key: w.key, window: w.window, value: value(w.value), timing: w.timing }
}

fn in_two_stages(
    mut windows: TwoStageWindows<Group, Rec, highwater::operators::window::Sliding>,
    with_late: bool,
    name: &str,
    outs: &mut Outs,
) -> Stream<Rec> {
    if with_late {
        let (kept, late) = windows.with_late();
        outs.add(late);
        windows = kept;
    }
    let sums = windows.aggregate(name, |a| (a.count(), a.sum(|r: &Rec| r.value), a.max(|r| r.value)));
    sums.map(|w| {
        let (count, sum, max) = w.value;
        rec(w.key, w.window.start.as_millis(), count as i64 + sum * 3 + max)
    })
}

type Windows<W> = WindowedStream<Group, Rec, W>;

fn told_late<W: highwater::operators::window::Windows>(
    windows: Windows<W>,
    with_late: bool,
    outs: &mut Outs,
) -> Windows<W> {
    if !with_late {
        return windows;
    }
    let (windows, late) = windows.with_late();
    outs.add(late);
    windows
}

fn merged_windows<W: highwater::operators::window::Windows>(
    windows: Windows<W>,
    with_late: bool,
    of: WindowOf,
    name: &str,
    outs: &mut Outs,
) -> Stream<Rec> {
    let windows = told_late(windows, with_late, outs);
    match of {
        WindowOf::Count => {
            let counts = windows.count(name).filter(|w| w.timing != Timing::Early);
            counts.map(|w| of_window(with(w, |count| count as i64)))
        }
        WindowOf::Aggregate => windows
            .aggregate(name, |a| (a.sum(|r: &Rec| r.value), a.max(|r| r.value)))
            .filter(|w| w.timing != Timing::Early)
            .map(|w| of_window(with(w, |(sum, max)| sum * 3 + max))),
        WindowOf::Reduce | WindowOf::Fold => {
            let reduced = windows.reduce(name, first_and_last).filter(|w| w.timing != Timing::Early);
            reduced.map(|w| of_window(with(w, |r: Rec| r.at * 7 + r.value)))
        }
    }
}

/// Sums per bucket of event time, emitted by a timer at the bucket's end. A record that comes after its bucket's
/// end sets a timer that is due at once.
struct Buckets {
    size: i64,
    sums: Map<i64, i64>,
    fired: Value<i64>,
}

impl KeyedOperator<Group, Rec> for Buckets {
    type Out = Rec;

    fn on_record(&mut self, record: Rec, context: &mut Context<'_, Group, Rec>) -> Result<(), Cause> {
        let time = context.time().as_millis();
        let end = time - time.rem_euclid(self.size) + self.size;
        *self.sums.get_mut(context)?.entry(end).or_insert(0) += record.value;
        context.set_timer(Timestamp::from_millis(end))?;
        Ok(())
    }

    fn on_timer(&mut self, at: Timestamp, context: &mut Context<'_, Group, Rec>) -> Result<(), Cause> {
        let sum = self.sums.get_mut(context)?.remove(&at.as_millis()).ok_or("a timer fired twice")?;
        let fired = self.fired.get(context)?.copied().unwrap_or(0) + 1;
        self.fired.set(context, fired)?;
        context.emit(rec(*context.key(), at.as_millis(), sum));
        Ok(())
    }
}
