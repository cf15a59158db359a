//! `event_time`: from records without time to records with it, and the watermark.
//!
//! The watermark is kept per split: the largest event time seen in it minus the allowed out-of-orderness; the
//! stream's is the minimum over the splits that are being read. A split that is idle leaves the minimum, one
//! that has delivered nothing yet holds it at the beginning of time, one that has ended does not count.
//!
//! Invariants: HW-3, the watermark never falls, also over a restart, because each split's is kept with the
//! epoch; and a record at or behind the watermark meets exactly the watermark that all records before it make:
//! the batch is cut there. Records ahead of it may meet an older one, which makes no difference to any operator.

use std::sync::Arc;
use std::time::Duration;

use highwater_state::delta::Family;
use highwater_state::time::duration_millis;
use highwater_state::{Delta, Epoch, Timestamp, layout, persist};

use crate::batch::{Batch, SplitId};
use crate::data::{Data, PointInTime};
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Operator};
use crate::outbox::{Outbox, Outputs};
use crate::signal::SplitStatus;
use crate::stream::{Stream, Untimed, here};

impl<T: Data> Stream<T, Untimed> {
    /// Gives each record the event time that `at` reads from it.
    ///
    /// `out_of_orderness` is how far behind the largest event time of its split a record may come and still be
    /// on time: the watermark is that much behind. A larger one makes results later and fewer records late.
    ///
    /// The watermark of every split of a source survives a restart; it is kept under the names of the sources above
    /// and the verb's place among those over the same sources. Stand it before the first `key_by`: behind one, each
    /// worker sees a part of a split only, and which records are late depends on how the parts fall.
    ///
    /// ```
    /// use highwater_operators::{interpret::interpret, memory::Memory, topology::Topology};
    /// use highwater_state::Timestamp;
    /// use std::time::Duration;
    ///
    /// let topology = Topology::new("readings");
    /// topology
    ///     .source("readings", Memory::source([(1_000, 20.5), (2_000, 21.0)]))
    ///     .event_time(|reading| Timestamp::from_millis(reading.0), Duration::from_secs(5))
    ///     .sink("out", Memory::sink());
    /// interpret(topology).expect("runs");
    /// ```
    #[track_caller]
    pub fn event_time<W: PointInTime>(
        self,
        at: impl Fn(&T) -> W + Send + Sync + 'static,
        out_of_orderness: Duration,
    ) -> Stream<T> {
        let at = Arc::new(at);
        let wire = self.wire.then::<Batch<T>, Outbox<Batch<T>>>(here("event_time", None), move |opening| {
            Ok(Box::new(AssignTime {
                at: Arc::clone(&at),
                clock: SplitClock::open(out_of_orderness, opening)?,
            }))
        });
        Stream::at(wire)
    }
}

struct SplitWatermark {
    id: SplitId,
    status: SplitStatus,
    watermark: Timestamp,
    frozen: Timestamp,
}

/// The watermarks of all splits, and their minimum.
struct SplitClock {
    lag_millis: i64,
    splits: Vec<SplitWatermark>,
    /// Splits that have not been announced yet; until they are, the minimum is unknown.
    silent: Vec<SplitId>,
    emitted: Timestamp,
    /// All splits that are being read are idle, and that has been said.
    idle: bool,
    kept: Vec<(SplitId, Timestamp)>,
    names: Vec<(SplitId, Vec<u8>)>,
}

impl SplitClock {
    fn open(lag: Duration, opening: &NodeOpening<'_>) -> Result<Self, OpenError> {
        let graph = opening.graph;
        let above = graph.origins_above(opening.number);
        let same_above =
            |node: usize| graph.nodes[node].place.verb == "event_time" && graph.origins_above(node) == above;
        let ordinal = (0..opening.number).filter(|&node| same_above(node)).count();
        let (mut names, mut kept) = (Vec::new(), Vec::new());
        for &origin in &above {
            let source = graph.nodes[origin].place.name.clone().unwrap_or_default();
            let splits = opening.worker.splits.get(&origin).map(Vec::as_slice).unwrap_or_default();
            for (index, split) in splits.iter().enumerate() {
                let id = SplitId { source: origin as u32, index: index as u32 };
                let key = layout::watermark_key(&format!("event_time/{source}/{ordinal}/{split}"));
                if let Some(watermark) = opening.meta::<Timestamp>(&key)? {
                    kept.push((id, watermark));
                }
                names.push((id, key));
            }
        }
        let silent = opening.splits_heard_of(&above);
        let lag_millis = duration_millis(lag);
        Ok(SplitClock {
            lag_millis,
            splits: Vec::new(),
            silent,
            emitted: Timestamp::MIN,
            idle: false,
            kept,
            names,
        })
    }

    fn split(&mut self, id: SplitId) -> &mut SplitWatermark {
        let position = self.splits.iter().position(|split| split.id == id);
        let position = position.unwrap_or_else(|| {
            let kept = self.kept.iter().find(|(kept, _)| *kept == id);
            let watermark = kept.map_or(Timestamp::MIN, |&(_, watermark)| watermark);
            self.splits.push(SplitWatermark {
                id,
                status: SplitStatus::Active,
                watermark,
                frozen: watermark,
            });
            self.splits.len() - 1
        });
        &mut self.splits[position]
    }

    /// The minimum over the splits that are being read, without `besides`. `None` if there are none.
    fn minimum(&self, besides: Option<SplitId>) -> Option<Timestamp> {
        if !self.silent.is_empty() {
            return Some(Timestamp::MIN);
        }
        let active = self.splits.iter().filter(|split| split.status == SplitStatus::Active);
        active.filter(|split| Some(split.id) != besides).map(|split| split.watermark).min()
    }

    fn advance<T: 'static>(&mut self, out: &mut Outbox<Batch<T>>) {
        match self.minimum(None) {
            Some(watermark) => {
                if std::mem::take(&mut self.idle) {
                    out.active();
                }
                self.emit(watermark, out);
            }
            None if self.splits.iter().any(|split| split.status == SplitStatus::Idle) => {
                if !std::mem::replace(&mut self.idle, true) {
                    out.idle();
                }
            }
            None => self.emit(Timestamp::MAX, out),
        }
    }

    fn emit<T: 'static>(&mut self, watermark: Timestamp, out: &mut Outbox<Batch<T>>) {
        if watermark > self.emitted {
            self.emitted = watermark;
            out.watermark(watermark);
        }
    }
}

struct AssignTime<F> {
    at: Arc<F>,
    clock: SplitClock,
}

impl<T: 'static, W: Into<Timestamp>, F: Fn(&T) -> W> Operator<Batch<T>, Outbox<Batch<T>>> for AssignTime<F> {
    fn on_batch(&mut self, batch: &mut Batch<T>, out: &mut Outbox<Batch<T>>) -> Result<(), Fault> {
        let others = self.clock.minimum(Some(batch.split)).unwrap_or(Timestamp::MAX).as_millis();
        let (lag, mut emitted) = (self.clock.lag_millis, self.clock.emitted.as_millis());
        let mut own = self.clock.split(batch.split).watermark.as_millis();
        let mut times = Vec::with_capacity(batch.values.len());
        let mut cuts = Vec::new();
        for value in &batch.values {
            let time: Timestamp = (self.at)(value).into();
            times.push(time);
            let (time, met) = (time.as_millis(), own.min(others));
            // Not `&&`: what comes first is as often true as not, and a branch would be guessed wrong.
            if (time <= met) & (met > emitted) {
                emitted = met;
                cuts.push((times.len() - 1, Timestamp::from_millis(met)));
            }
            own = own.max(time.saturating_sub(lag));
        }
        let own = Timestamp::from_millis(own);
        let mut taken = 0;
        for (at, met) in cuts {
            let values = batch.values.drain(..at - taken).collect();
            out.send(Batch { values, times: times.drain(..at - taken).collect(), split: SplitId::default() });
            self.clock.emit(met, out);
            taken = at;
        }
        let values = std::mem::take(&mut batch.values);
        out.send(Batch { values, times, split: SplitId::default() });
        self.clock.split(batch.split).watermark = own;
        self.clock.advance(out);
        Ok(())
    }

    fn on_split(
        &mut self,
        split: SplitId,
        status: SplitStatus,
        out: &mut Outbox<Batch<T>>,
    ) -> Result<(), Fault> {
        self.clock.split(split).status = status;
        self.clock.silent.retain(|&silent| silent != split);
        self.clock.advance(out);
        Ok(())
    }

    fn freeze(&mut self, _: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        for split in self.clock.splits.iter_mut().filter(|split| split.watermark != split.frozen) {
            let Some((_, key)) = self.clock.names.iter().find(|(id, _)| *id == split.id) else { continue };
            let mut bytes = Vec::new();
            persist::encode("watermark", &split.watermark, &mut bytes)?;
            delta.put(Family::Meta, key, &bytes);
            split.frozen = split.watermark;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::at;

    fn clock(splits: &[(u32, SplitStatus, i64)]) -> SplitClock {
        let splits = splits.iter().map(|&(index, status, watermark)| SplitWatermark {
            id: SplitId { source: 0, index },
            status,
            watermark: at(watermark),
            frozen: Timestamp::MIN,
        });
        SplitClock {
            lag_millis: 0,
            splits: splits.collect(),
            silent: Vec::new(),
            emitted: Timestamp::MIN,
            idle: false,
            kept: Vec::new(),
            names: Vec::new(),
        }
    }

    #[test]
    fn only_splits_that_are_read_count_in_the_minimum() {
        use SplitStatus::{Active, Finished, Idle};
        let clock = clock(&[(0, Active, 30), (1, Idle, 10), (2, Finished, 5), (3, Active, 20)]);
        assert_eq!(clock.minimum(None), Some(at(20)));
        assert_eq!(clock.minimum(Some(SplitId { source: 0, index: 3 })), Some(at(30)));
    }

    #[test]
    fn a_split_that_has_not_spoken_holds_the_beginning_of_time() {
        let mut clock = clock(&[(0, SplitStatus::Active, 30)]);
        clock.silent.push(SplitId { source: 0, index: 1 });
        assert_eq!(clock.minimum(None), Some(Timestamp::MIN));
    }

    #[test]
    fn a_split_that_comes_back_after_a_restart_has_its_watermark() {
        let mut clock = clock(&[]);
        let id = SplitId { source: 0, index: 1 };
        clock.kept.push((id, at(77)));
        assert_eq!(clock.split(id).watermark, at(77));
    }
}
