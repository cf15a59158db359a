//! The operator behind `map_async`.
//!
//! It takes no more records than it may hold, hands a request for each to the executor, and looks at every step of
//! its node for what came back and what the clock says. Invariants:
//!
//! - a record is in the lineup from when it is taken until its result leaves; when an epoch ends, every record in it
//!   has a row, so a result is emitted exactly once, however often its request is made;
//! - what was kept is requested before new records are taken;
//! - HW-3: no watermark leaves before what came before it, and no record behind it leaves before it.
//!
//! Memory: at most `in_flight` records twice (one copy with its request) and their answers. A job that is stopped keeps
//! what stands on the way to the operator too, which the limits of edges bound; so after a restart, and after one with
//! fewer workers, there may be more until it has left.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::{Delta, Epoch, Key, KeyGroup, Persist, Timestamp};

use crate::batch::{Batch, KeyedBatch, Records, SplitId};
use crate::error::Cause;
use crate::executor::Executor;
use crate::map_async::attempt::{Abort, Answer, Attempt, Inbox, Outcome, Ticket};
use crate::map_async::lineup::{Control, Leaving, Lineup};
use crate::map_async::rows::{Kept, RowId, Rows};
use crate::map_async::settings::Settings;
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::{Outbox, Outputs};
use crate::signal::SplitStatus;
use crate::stateless::tried::{OnBad, Refused};

/// What is taken from a batch: key, record, event time, split.
pub(crate) type Taken<K, T> = (K, T, Option<Timestamp>, SplitId);

/// How records come in and results go out: with a key, or without.
pub(crate) trait Form<T, U>: 'static {
    type In: Records;
    type Results: Records;
    type Key: Persist;

    /// Takes the first records out of a batch.
    fn take(batch: &mut Self::In, count: usize) -> Vec<Taken<Self::Key, T>>;

    /// The hash of the key, where there is one.
    fn hash(key: &Self::Key) -> Option<u64>;

    fn emit(
        out: &mut Outbox<Self::Results>,
        key: Self::Key,
        result: U,
        time: Option<Timestamp>,
        split: SplitId,
    );
}

/// Records without keys.
pub(crate) enum Plain {}

impl<T: 'static, U: 'static> Form<T, U> for Plain {
    type In = Batch<T>;
    type Results = Batch<U>;
    type Key = ();

    fn take(batch: &mut Batch<T>, count: usize) -> Vec<Taken<(), T>> {
        let split = batch.split;
        let mut times = batch.times.drain(..count.min(batch.times.len()));
        batch.values.drain(..count).map(|record| ((), record, times.next(), split)).collect()
    }

    fn hash((): &()) -> Option<u64> {
        None
    }

    fn emit(out: &mut Outbox<Batch<U>>, (): (), result: U, time: Option<Timestamp>, split: SplitId) {
        out.push_like(result, time, split);
    }
}

/// Records with keys.
pub(crate) struct Keyed<K>(PhantomData<K>);

impl<K: Key, T: 'static, U: 'static> Form<T, U> for Keyed<K> {
    type In = KeyedBatch<K, T>;
    type Results = KeyedBatch<K, U>;
    type Key = K;

    fn take(batch: &mut KeyedBatch<K, T>, count: usize) -> Vec<Taken<K, T>> {
        batch.hashes.drain(..count);
        let records = <Plain as Form<T, U>>::take(&mut batch.records, count);
        let keys = batch.keys.drain(..count);
        keys.zip(records).map(|(key, ((), record, time, split))| (key, record, time, split)).collect()
    }

    fn hash(key: &K) -> Option<u64> {
        Some(key_hash(key))
    }

    fn emit(out: &mut Outbox<KeyedBatch<K, U>>, key: K, result: U, time: Option<Timestamp>, split: SplitId) {
        let hash = key_hash(&key);
        out.push_keyed_like(key, hash, result, time, split);
    }
}

/// Makes the future of one attempt.
pub(crate) type Request<T, U> = Arc<dyn Fn(T) -> Answer<U> + Send + Sync>;
type Out<F, T, U> = (Outbox<<F as Form<T, U>>::Results>, Outbox<Batch<Refused<T>>>);

enum Stage<U> {
    /// Not requested yet.
    Waiting,
    Running {
        deadline: Timestamp,
        _abort: Abort,
    },
    /// The last attempt failed.
    Pausing {
        until: Timestamp,
    },
    /// It leaves when it is its turn.
    Answered(Result<U, Cause>),
}

struct Entry<K, T, U> {
    kept: Kept<K, T>,
    row: RowId,
    /// The backend holds the row, or will when the epoch is committed.
    written: bool,
    attempts: u32,
    stage: Stage<U>,
}

pub(crate) struct MapAsync<F: Form<T, U>, T, U> {
    settings: Settings,
    on_bad: OnBad,
    request: Request<T, U>,
    executor: Arc<dyn Executor>,
    inbox: Arc<Inbox<U>>,
    lineup: Lineup<Entry<F::Key, T, U>>,
    /// The job is to stop: records are taken to be kept, and no more requests are made.
    making_way: bool,
    /// Records that are kept and not requested yet.
    to_start: VecDeque<u64>,
    rows: Rows,
    workers: u32,
    now: Timestamp,
    /// When the clock has to be looked at: nothing times out and no pause ends before.
    wake: Timestamp,
    /// The last watermark of the input.
    watermark: Timestamp,
    /// What stands for splits that another worker reads now, with how many of their records are kept here.
    foreign: BTreeMap<SplitId, usize>,
    skipped: Arc<AtomicU64>,
    place: String,
}

impl<F, T, U> MapAsync<F, T, U>
where
    F: Form<T, U>,
    T: Persist + Clone,
    U: Send + 'static,
{
    pub(crate) fn open(
        settings: Settings,
        on_bad: OnBad,
        request: Request<T, U>,
        opening: &NodeOpening<'_>,
    ) -> Result<Self, OpenError> {
        let rows = Rows::new(opening.store::<(), Kept<F::Key, T>>(None, Family::Timers)?);
        let mut opened = MapAsync {
            settings,
            on_bad,
            request,
            executor: Arc::clone(&opening.worker.executor),
            inbox: Arc::new(Inbox::new()),
            lineup: Lineup::new(),
            making_way: false,
            to_start: VecDeque::new(),
            rows,
            workers: opening.worker.workers as u32,
            now: Timestamp::MIN,
            wake: Timestamp::MAX,
            watermark: Timestamp::MIN,
            foreign: BTreeMap::new(),
            skipped: Arc::clone(&opening.counters().skipped),
            place: opening.place().to_string(),
        };
        let heard_of = opening.splits_heard_of(&opening.graph.origins_above(opening.number));
        let own = SplitId { source: opening.number as u32, index: opening.worker.worker as u32 };
        opened.take_kept(&heard_of.into_iter().collect(), own)?;
        Ok(opened)
    }

    /// Lines up what was kept, each record behind the watermark that it met.
    ///
    /// Records of a split that another worker reads now go on as those of a split of their own, which ends with them:
    /// behind an exchange, the end of the split that they are from would be taken for that of all its records. `own` is
    /// the first name of such splits.
    fn take_kept(&mut self, heard_of: &BTreeSet<SplitId>, own: SplitId) -> Result<(), OpenError> {
        let mut names: BTreeMap<SplitId, SplitId> = BTreeMap::new();
        let kept = self.rows.load::<F::Key, T>()?;
        // With another number of workers, some are another worker's, which knew another watermark.
        let same_workers = kept.iter().all(|(_, kept)| kept.workers == self.workers);
        for (row, mut kept) in kept {
            if same_workers {
                self.rise(kept.met);
            }
            let split = split_of(&kept);
            if kept.time.is_none() && !heard_of.contains(&split) {
                let index = own.index + names.len() as u32 * self.workers;
                let name = *names.entry(split).or_insert(SplitId { index, ..own });
                kept.split = (name.source, name.index);
                *self.foreign.entry(name).or_default() += 1;
            }
            let lane = self.lane(&kept.key);
            let entry = Entry { kept, row, written: true, attempts: 0, stage: Stage::Waiting };
            self.to_start.push_back(self.lineup.push(lane, entry));
            // Rows of several workers may have one number; that of a new row is greater than all of them.
            self.lineup.skip_to(row.number + 1);
        }
        Ok(())
    }

    fn lane(&self, key: &F::Key) -> u64 {
        match F::hash(key) {
            _ if self.settings.ordered => 0,
            Some(hash) => hash,
            None => self.lineup.next_number(),
        }
    }

    /// A watermark that does not rise has been sent on before the restart.
    fn rise(&mut self, watermark: Timestamp) {
        if watermark > self.watermark {
            self.watermark = watermark;
            self.lineup.signal(Control::Watermark(watermark));
        }
    }

    fn take_record(&mut self, (key, record, time, split): Taken<F::Key, T>) {
        let (met, workers) = (self.watermark, self.workers);
        let group = F::hash(&key).map(|hash| KeyGroup::of_hash(hash).number());
        let group = group.unwrap_or_else(|| self.rows.own_group());
        let row = RowId { number: self.lineup.next_number(), group };
        let lane = self.lane(&key);
        let kept = Kept { key, record, time, split: (split.source, split.index), met, workers };
        let entry = Entry { kept, row, written: false, attempts: 0, stage: Stage::Waiting };
        let number = self.lineup.push(lane, entry);
        if self.making_way {
            self.to_start.push_back(number);
        } else {
            self.start(number);
        }
    }

    /// Makes the next attempt at a record.
    fn start(&mut self, number: u64) {
        let Some(entry) = self.lineup.get_mut(number) else { return };
        entry.attempts += 1;
        let answer = (self.request)(entry.kept.record.clone());
        let ticket = Ticket { number, attempt: entry.attempts };
        let (attempt, abort) = Attempt::new(answer, ticket, &self.inbox);
        let deadline = self.now + self.settings.timeout;
        entry.stage = Stage::Running { deadline, _abort: abort };
        self.wake = self.wake.min(deadline);
        self.executor.spawn(Box::pin(attempt));
    }

    /// Requests what is kept, as far as the bound allows.
    fn start_kept(&mut self) -> bool {
        let mut any = false;
        if self.making_way {
            return false;
        }
        while !self.to_start.is_empty() && self.lineup.len() - self.to_start.len() < self.settings.in_flight {
            let next = self.to_start.pop_front();
            next.into_iter().for_each(|number| self.start(number));
            any = true;
        }
        any
    }

    /// Takes note of what came of an attempt, unless it has timed out.
    fn note(&mut self, ticket: Ticket, outcome: Outcome<U>) -> Result<(), Fault> {
        let Some(entry) = self.lineup.get_mut(ticket.number) else { return Ok(()) };
        if entry.attempts != ticket.attempt || !matches!(entry.stage, Stage::Running { .. }) {
            return Ok(());
        }
        match outcome {
            Outcome::Answer(Ok(answer)) => {
                entry.stage = Stage::Answered(Ok(answer));
                self.lineup.done(ticket.number);
                Ok(())
            }
            Outcome::Answer(Err(cause)) => self.failed(ticket.number, cause),
            Outcome::Panicked(message) => {
                Err(Fault::Failed(format!("its closure or future panicked: {message}").into()))
            }
            Outcome::Dropped => {
                Err(Fault::Failed("the executor dropped its future before it had come to its end".into()))
            }
        }
    }

    /// An attempt failed: there is another, or the policy decides.
    fn failed(&mut self, number: u64, cause: Cause) -> Result<(), Fault> {
        let Some(entry) = self.lineup.get_mut(number) else { return Ok(()) };
        let made = entry.attempts;
        if made < self.settings.attempts {
            if !self.executor.keeps_time() {
                self.start(number);
                return Ok(());
            }
            let until = self.now + self.settings.pause(made);
            entry.stage = Stage::Pausing { until };
            self.wake = self.wake.min(until);
            return Ok(());
        }
        let cause: Cause = match made {
            1 => cause,
            _ => format!("{cause} (attempt {made} of {made})").into(),
        };
        if self.on_bad == OnBad::Fail {
            return Err(Fault::Failed(cause));
        }
        entry.stage = Stage::Answered(Err(cause));
        self.lineup.done(number);
        Ok(())
    }

    /// Aborts what has timed out, repeats what has paused for long enough, and says when to look again.
    fn look_at_clock(&mut self) -> Result<(), Fault> {
        let (now, mut wake) = (self.now, Timestamp::MAX);
        let (mut late, mut paused) = (Vec::new(), Vec::new());
        for (number, entry) in self.lineup.iter_mut() {
            match entry.stage {
                Stage::Running { deadline, .. } if deadline <= now => late.push(number),
                Stage::Pausing { until } if until <= now => paused.push(number),
                Stage::Running { deadline: at, .. } | Stage::Pausing { until: at } => wake = wake.min(at),
                Stage::Waiting | Stage::Answered(_) => {}
            }
        }
        self.wake = wake;
        paused.into_iter().for_each(|number| self.start(number));
        for number in late {
            let timeout = self.settings.timeout;
            self.failed(number, format!("there was no answer within {timeout:?}").into())?;
        }
        Ok(())
    }

    fn leave(&mut self, out: &mut Out<F, T, U>) -> bool {
        let mut any = false;
        while out.has_room() {
            match self.lineup.leave() {
                None => break,
                Some(Leaving::Record(entry)) => self.emit(entry, out),
                Some(Leaving::Signal(Control::Watermark(watermark))) => out.watermark(watermark),
                Some(Leaving::Signal(Control::Idle(true))) => out.idle(),
                Some(Leaving::Signal(Control::Idle(false))) => out.active(),
                Some(Leaving::Signal(Control::Split(split, status))) => out.split(split, status),
            }
            any = true;
        }
        if any {
            out.flush();
        }
        any
    }

    fn emit(&mut self, entry: Entry<F::Key, T, U>, out: &mut Out<F, T, U>) {
        let Entry { kept, row, written, stage, .. } = entry;
        let (split, time) = (split_of(&kept), kept.time);
        match stage {
            Stage::Answered(Ok(result)) => F::emit(&mut out.0, kept.key, result, time, split),
            Stage::Answered(Err(cause)) if self.on_bad == OnBad::DeadLetter => {
                let refused = Refused { record: kept.record, reason: cause.to_string() };
                out.1.push_like(refused, time, split);
            }
            Stage::Answered(Err(cause)) => {
                tracing::warn!(operator = %self.place, reason = %cause, "record skipped");
                self.skipped.fetch_add(1, Ordering::Relaxed);
            }
            Stage::Waiting | Stage::Running { .. } | Stage::Pausing { .. } => {
                unreachable!("a record leaves when it has its answer")
            }
        }
        if written {
            self.rows.leave(row);
        }
        // Nothing more comes of such a split: nothing here is to wait for it.
        if let Some(left) = self.foreign.get_mut(&split).filter(|_| time.is_none()) {
            *left -= 1;
            if *left == 0 {
                self.foreign.remove(&split);
                out.split(split, SplitStatus::Finished);
            }
        }
    }
}

fn split_of<K, T>(kept: &Kept<K, T>) -> SplitId {
    SplitId { source: kept.split.0, index: kept.split.1 }
}

impl<F, T, U> Operator<F::In, Out<F, T, U>> for MapAsync<F, T, U>
where
    F: Form<T, U>,
    T: Persist + Clone,
    U: Send + 'static,
{
    fn on_batch(&mut self, batch: &mut F::In, _: &mut Out<F, T, U>) -> Result<(), Fault> {
        let room = match self.making_way {
            true => usize::MAX,
            false => self.settings.in_flight.saturating_sub(self.lineup.len()),
        };
        let count = room.min(batch.count());
        F::take(batch, count).into_iter().for_each(|taken| self.take_record(taken));
        Ok(())
    }

    fn ready(&mut self) -> bool {
        self.making_way || self.lineup.len() < self.settings.in_flight
    }

    fn make_way(&mut self) {
        self.making_way = true;
    }

    fn on_clock(&mut self, now: Timestamp, out: &mut Out<F, T, U>) -> Result<bool, Fault> {
        self.now = self.now.max(now);
        let mut moved = self.start_kept();
        for (ticket, outcome) in self.inbox.take() {
            self.note(ticket, outcome)?;
            moved = true;
        }
        if self.wake <= self.now {
            self.look_at_clock()?;
            moved = true;
        }
        Ok(self.leave(out) | moved)
    }

    fn on_watermark(&mut self, watermark: Timestamp, out: &mut Out<F, T, U>) -> Result<Progress, Fault> {
        self.rise(watermark);
        self.leave(out);
        Ok(Progress::Done)
    }

    fn on_idle(&mut self, idle: bool, out: &mut Out<F, T, U>) {
        self.lineup.signal(Control::Idle(idle));
        self.leave(out);
    }

    fn on_split(&mut self, split: SplitId, status: SplitStatus, out: &mut Out<F, T, U>) -> Result<(), Fault> {
        self.lineup.signal(Control::Split(split, status));
        self.leave(out);
        Ok(())
    }

    fn passes_watermarks(&self) -> bool {
        false
    }

    fn is_settled(&self) -> bool {
        self.lineup.is_empty()
    }

    fn freeze(&mut self, _: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        for (_, entry) in self.lineup.iter_mut().filter(|(_, entry)| !entry.written) {
            self.rows.write(entry.row, &entry.kept, delta)?;
            entry.written = true;
        }
        self.rows.delete_left(delta);
        Ok(())
    }
}
