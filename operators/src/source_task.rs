//! Reads the splits of one source that belong to one worker.
//!
//! Splits are polled in turn, a batch at a time, and only while what they feed has room. At the end of an epoch
//! the positions go into the delta. Invariant: the position that is kept is behind exactly the records that were
//! delivered before the barrier.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use highwater_state::delta::Family;
use highwater_state::{Delta, Epoch, Persist, Timestamp, layout, persist};

use crate::batch::{Batch, NO_SPLIT, SplitId};
use crate::error::{Place, RunError};
use crate::graph::Counters;
use crate::node::at_place;
use crate::opening::{NodeOpening, OpenError};
use crate::operator::Fault;
use crate::outbox::{Outbox, Outputs};
use crate::portion::Portion;
use crate::signal::SplitStatus;
use crate::source::{BadRecord, Poll, Polled, Reader, Source};
use crate::stateless::tried::OnBad;
use crate::task::{StepContext, Task};

struct Split<T, P> {
    id: SplitId,
    name: String,
    reader: Box<dyn Reader<Item = T, Position = P>>,
    status: SplitStatus,
    /// Since when it has delivered nothing.
    silent_since: Option<Timestamp>,
    /// The position of the last frozen epoch, encoded.
    frozen: Vec<u8>,
}

type Out<T> = (Outbox<Batch<T>>, Outbox<Batch<BadRecord>>);

/// One source on one worker.
pub(crate) struct SourceTask<T, P> {
    place: Place,
    out: Out<T>,
    on_bad: OnBad,
    splits: Vec<Split<T, P>>,
    next: usize,
    polled: Polled<T>,
    portion: Portion,
    idle_after: Duration,
    announced: bool,
    last_epoch: Epoch,
    ended: bool,
    counters: Arc<Counters>,
    id: SplitId,
}

impl<T: Send + 'static, P: Persist> SourceTask<T, P> {
    pub(crate) fn open<S>(source: &S, on_bad: OnBad, opening: &mut NodeOpening<'_>) -> Result<Self, OpenError>
    where
        S: Source<Item = T, Position = P> + ?Sized,
    {
        let out = Out::<T>::open(opening)?;
        let worker = opening.worker;
        let node = u32::try_from(opening.number).expect("a plan has fewer than 2^32 nodes");
        let all = worker.splits.get(&opening.number).map(Vec::as_slice).unwrap_or_default();
        let mut splits = Vec::new();
        let mut read_before = false;
        for name in all {
            read_before |= opening.meta::<P>(&layout::position_key(opening.name(), name))?.is_some();
        }
        for (index, name) in
            all.iter().enumerate().filter(|(index, _)| index % worker.workers == worker.worker)
        {
            let key = layout::position_key(opening.name(), name);
            let from = opening.meta::<P>(&key)?;
            let reader = match from {
                None if read_before => source.open_added(name),
                from => source.open(name, from),
            };
            let reader = reader.map_err(Fault::Failed)?;
            let id = SplitId { source: node, index: index as u32 };
            let status = SplitStatus::Active;
            splits.push(Split {
                id,
                name: name.clone(),
                reader,
                status,
                silent_since: None,
                frozen: Vec::new(),
            });
        }
        Ok(SourceTask {
            place: opening.place().clone(),
            out,
            on_bad,
            splits,
            next: 0,
            polled: Polled::default(),
            portion: Portion::of(opening.batch_records(), worker.limits.batch_bytes),
            idle_after: worker.idle_after,
            announced: false,
            last_epoch: opening.committed(),
            ended: false,
            counters: opening.counters(),
            id: SplitId { source: node, index: NO_SPLIT },
        })
    }

    /// Says which splits are read here, so that those that follow wait for all of them.
    fn announce(&mut self) {
        self.announced = true;
        for split in &self.splits {
            self.out.split(split.id, SplitStatus::Active);
        }
        if self.splits.is_empty() {
            self.out.split(self.id, SplitStatus::Finished);
        }
    }

    fn end_epoch(&mut self, epoch: Epoch, context: &mut StepContext<'_>) -> Result<(), Fault> {
        self.last_epoch = epoch;
        self.freeze_positions(epoch, &mut context.contribution.delta)?;
        self.out.barrier(epoch);
        context.contribution.passed += 1;
        if context.last {
            self.out.end();
            self.ended = true;
        }
        Ok(())
    }

    fn freeze_positions(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        let name = self.place.name.as_deref().unwrap_or_default();
        for split in &mut self.splits {
            split.reader.ends_epoch(epoch);
            self.counters.lags.set(&split.name, split.reader.lag());
            let mut bytes = Vec::new();
            persist::encode("position", &split.reader.position(), &mut bytes)?;
            if bytes != split.frozen {
                delta.put(Family::Meta, &layout::position_key(name, &split.name), &bytes);
                split.frozen = bytes;
            }
        }
        Ok(())
    }

    fn poll_next(&mut self, context: &mut StepContext<'_>) -> Result<bool, Fault> {
        for _ in 0..self.splits.len() {
            let number = self.next;
            self.next = (self.next + 1) % self.splits.len();
            if self.splits[number].status == SplitStatus::Finished {
                continue;
            }
            let allowed = context.pace.take(self.portion.records());
            if allowed == 0 {
                self.excuse();
                return Ok(false);
            }
            let poll = self.splits[number].reader.poll(allowed, &mut self.polled).map_err(Fault::Failed)?;
            context.pace.give_back(allowed.saturating_sub(self.polled.len()));
            self.portion.was_read(self.polled.len(), self.polled.take_bytes());
            // Bad records move no time: a split that brings nothing else is idle.
            let any_good = !self.polled.values.is_empty();
            let delivered = self.deliver(number)?;
            self.note(number, poll, any_good, context.now);
            if delivered || poll == Poll::Finished {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn deliver(&mut self, number: usize) -> Result<bool, Fault> {
        if self.polled.is_empty() {
            return Ok(false);
        }
        let split = self.splits[number].id;
        self.counters.records_in.fetch_add(self.polled.len() as u64, Ordering::Relaxed);
        if self.splits[number].status == SplitStatus::Idle && !self.polled.values.is_empty() {
            self.splits[number].status = SplitStatus::Active;
            self.out.split(split, SplitStatus::Active);
        }
        for (_, bad) in self.polled.bad.drain(..) {
            match self.on_bad {
                OnBad::Fail => return Err(Fault::BadRecord(bad)),
                OnBad::DeadLetter => self.out.1.push_untimed(bad, split),
                OnBad::Skip => {
                    let (origin, reason) = (&bad.origin, &bad.reason);
                    tracing::warn!(source = %self.place, %origin, reason, "bad record skipped");
                    self.counters.skipped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        self.out.1.flush();
        let values = std::mem::take(&mut self.polled.values);
        self.out.0.send(Batch { values, times: Vec::new(), split });
        Ok(true)
    }

    /// Notes that a split has ended, or that it has been silent for long enough to be idle.
    fn note(&mut self, number: usize, poll: Poll, any_good: bool, now: Timestamp) {
        let idle_after = self.idle_after;
        let split = &mut self.splits[number];
        if poll == Poll::Finished {
            split.status = SplitStatus::Finished;
            self.out.split(split.id, SplitStatus::Finished);
        } else if any_good {
            split.silent_since = None;
        } else {
            let since = *split.silent_since.get_or_insert(now);
            if split.status == SplitStatus::Active && now >= since + idle_after {
                split.status = SplitStatus::Idle;
                self.out.split(split.id, SplitStatus::Idle);
            }
        }
    }

    /// A split that is not asked is not silent.
    fn excuse(&mut self) {
        self.splits.iter_mut().for_each(|split| split.silent_since = None);
    }

    fn step_source(&mut self, context: &mut StepContext<'_>) -> Result<bool, Fault> {
        if self.ended {
            return Ok(false);
        }
        if !self.announced {
            self.announce();
        }
        if let Some(epoch) = context.ending.filter(|&epoch| epoch > self.last_epoch) {
            self.end_epoch(epoch, context)?;
            return Ok(true);
        }
        if !self.out.has_room() {
            self.excuse();
            return Ok(false);
        }
        self.poll_next(context)
    }
}

impl<T: Send + 'static, P: Persist> Task for SourceTask<T, P> {
    fn step(&mut self, context: &mut StepContext<'_>) -> Result<bool, RunError> {
        self.step_source(context).map_err(|fault| at_place(&self.place, fault))
    }

    fn applied(&mut self, _: Epoch) {
        for split in &mut self.splits {
            // The engine has one epoch on its way at a time, so the frozen position is the committed one.
            if let Ok(position) = persist::decode(&split.name, &split.frozen) {
                split.reader.committed(position);
            }
        }
    }

    fn is_exhausted(&self) -> bool {
        self.splits.iter().all(|split| split.status == SplitStatus::Finished)
    }

    fn has_ended(&self) -> bool {
        self.ended
    }
}
