//! `processing_time`: the time of a record is the moment at which this verb meets it.
//!
//! The clock is the worker's, and comes from the engine with every step. Each time it has moved by a millisecond the
//! watermark moves with it, also when no records come; records get the watermark that was sent last, so that none is
//! ever behind it.
//!
//! Invariant HW-3: the watermark never falls, also over a restart with a clock that has been set back, or with another
//! number of workers: each worker keeps what it has sent in a row of its own, and all begin at the greatest of all
//! rows. Until the clock has come there, time stands still. Memory: none.

use std::ops::ControlFlow;

use highwater_state::delta::Family;
use highwater_state::{Delta, Epoch, Timestamp, layout, persist};

use crate::batch::{Batch, SplitId};
use crate::data::Data;
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Operator};
use crate::outbox::{Outbox, Outputs};
use crate::signal::SplitStatus;
use crate::stream::{Stream, Untimed, here};

impl<T: Data> Stream<T, Untimed> {
    /// Gives each record the moment at which this verb meets it as its event time, in milliseconds by the clock of
    /// its worker; the watermark follows the clock, also when no records come.
    ///
    /// So every kind of window, session and timer works in processing time: a window fires when the clock has passed
    /// its end, and no record is late. What was open when a job was stopped fires after the restart, as soon as the
    /// clock has passed its end. If the clock has been set back, time stands still until it has come where it was.
    /// When the source ends, so does time, and for good: if it goes on in a later run on the same state, what it
    /// delivers is late.
    ///
    /// Results depend on when records come and how fast they are read: they are not the same in every run, and a
    /// record that is read again after a crash gets another time. Use
    /// [`event_time`](Stream::event_time) where that must not be.
    ///
    /// The watermark moves at most once a millisecond, over every edge down to what uses it, and is kept with every
    /// epoch, so that a job with nothing to read still commits some bytes an epoch. With
    /// [`interpret`](crate::interpret::interpret) the clock stands still at the beginning of 1970, with
    /// [`Harness`](crate::testkit::Harness) it is moved by hand.
    ///
    /// ```
    /// use highwater_operators::{memory::Memory, topology::Topology, window::tumbling};
    /// use std::time::Duration;
    ///
    /// let topology = Topology::new("load");
    /// topology
    ///     .source("requests", Memory::source(["/a", "/b", "/a"]))
    ///     .processing_time()
    ///     .key_by(|path| path.to_string())
    ///     .window(tumbling(Duration::from_secs(1)))
    ///     .count("per-second")
    ///     .sink("out", Memory::sink());
    /// ```
    #[track_caller]
    pub fn processing_time(self) -> Stream<T> {
        let wire = self.wire.then::<Batch<T>, Outbox<Batch<T>>>(here("processing_time", None), |opening| {
            Ok(Box::new(ByClock::open(opening)?))
        });
        Stream::at(wire)
    }
}

/// The rows in which all workers of a job keep what they have sent; any of them is a bound for all.
const ROWS: &str = "processing_time/";

struct ByClock {
    /// No watermark is before it: what was sent before the last restart.
    floor: Timestamp,
    /// The last watermark, except for that of the end.
    sent: Timestamp,
    key: Vec<u8>,
    frozen: Timestamp,
    /// The splits that have not ended.
    unfinished: Vec<SplitId>,
    finished: bool,
}

impl ByClock {
    fn open(opening: &NodeOpening<'_>) -> Result<Self, OpenError> {
        let own = format!("{ROWS}{}/{}", opening.number, opening.worker.worker);
        Ok(ByClock {
            floor: greatest_kept(opening)?,
            sent: Timestamp::MIN,
            key: layout::watermark_key(&own),
            frozen: Timestamp::MIN,
            unfinished: opening.splits_heard_of(&opening.graph.origins_above(opening.number)),
            finished: false,
        })
    }
}

fn greatest_kept(opening: &NodeOpening<'_>) -> Result<Timestamp, OpenError> {
    let from = layout::watermark_key(ROWS);
    let (mut greatest, mut failed) = (Timestamp::MIN, None);
    opening.worker.backend.scan(Family::Meta, &from, &layout::after_prefix(&from), &mut |_, row| {
        match persist::decode::<Timestamp>("watermark", row) {
            Ok(kept) => {
                greatest = greatest.max(kept);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(greatest), |error| Err(error.into()))
}

impl<T: 'static> Operator<Batch<T>, Outbox<Batch<T>>> for ByClock {
    fn on_batch(&mut self, batch: &mut Batch<T>, out: &mut Outbox<Batch<T>>) -> Result<(), Fault> {
        // The clock has been seen in this step; where there was no room for a watermark then, a moment ago.
        let values = std::mem::take(&mut batch.values);
        let times = vec![self.sent; values.len()];
        out.send(Batch { values, times, split: SplitId::default() });
        Ok(())
    }

    fn on_clock(&mut self, now: Timestamp, out: &mut Outbox<Batch<T>>) -> Result<bool, Fault> {
        let now = now.max(self.floor);
        if self.finished || now <= self.sent {
            return Ok(false);
        }
        self.sent = now;
        out.watermark(now);
        Ok(true)
    }

    fn on_split(
        &mut self,
        split: SplitId,
        status: SplitStatus,
        out: &mut Outbox<Batch<T>>,
    ) -> Result<(), Fault> {
        // A split that is idle or comes back changes nothing: the clock goes on without records.
        if status == SplitStatus::Finished {
            self.unfinished.retain(|&unfinished| unfinished != split);
        }
        if self.unfinished.is_empty() && !std::mem::replace(&mut self.finished, true) {
            out.watermark(Timestamp::MAX);
        }
        Ok(())
    }

    fn freeze(&mut self, _: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        if self.sent != self.frozen {
            let mut bytes = Vec::new();
            persist::encode("watermark", &self.sent, &mut bytes)?;
            delta.put(Family::Meta, &self.key, &bytes);
            self.frozen = self.sent;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use highwater_state::backend::memory::MemoryBackend;
    use highwater_state::{Backend, Epoch};

    use crate::interpret::{end_epoch_at, interpret, open};
    use crate::limits::Limits;
    use crate::memory::Memory;
    use crate::task::FullSpeed;
    use crate::testkit::{Harness, at};
    use crate::topology::Topology;
    use crate::window::tumbling;

    /// Counts of ten milliseconds: start, count; late records with no count.
    fn counts() -> Harness<char, (i64, u64)> {
        Harness::new(|stream| {
            let keyed = stream.untimed().processing_time().key_by(|letter: &char| *letter);
            let (windows, late) = keyed.window(tumbling(Duration::from_millis(10))).with_late();
            let counts = windows.count("counts").map(|count| (count.window.start.as_millis(), count.value));
            counts.merge(late.map(|_| (0, 0)))
        })
    }

    #[test]
    fn a_window_fires_when_the_clock_passes_its_end_and_nothing_else_comes() {
        let mut harness = counts();
        harness.clock(at(101));
        // The event times of what comes before `untimed` do not matter.
        harness.record('a', at(999));
        harness.clock(at(109));
        harness.record('a', at(-5));
        assert_eq!(harness.take(), []);
        harness.clock(at(110));
        assert_eq!(harness.take(), [((100, 2), at(109))]);
        harness.clock(at(119));
        harness.record('a', at(0));
        harness.clock(at(500));
        assert_eq!(harness.take(), [((110, 1), at(119))]);
    }

    #[test]
    fn time_stands_still_while_a_clock_that_was_set_back_is_behind() {
        let mut harness = counts();
        harness.clock(at(105));
        harness.record('a', at(0));
        harness.clock(at(7));
        harness.record('a', at(0));
        harness.clock(at(105));
        harness.record('a', at(0));
        assert_eq!(harness.take(), []);
        harness.clock(at(110));
        assert_eq!(harness.take(), [((100, 3), at(109))]);
    }

    #[test]
    fn the_end_of_the_source_is_the_end_of_time_also_where_the_clock_stands() {
        let topology = Topology::new("ends");
        let sink = Memory::sink();
        topology
            .source("letters", Memory::splits([vec!['a', 'b'], vec!['a']]))
            .processing_time()
            .key_by(|letter| *letter)
            .window(tumbling(Duration::from_millis(10)))
            .count("counts")
            .map(|count| (count.key, count.window.start.as_millis(), count.value))
            .sink("sink", sink.clone());
        interpret(topology).expect("runs");
        let mut found = sink.take();
        found.sort_unstable();
        assert_eq!(found, [('a', 0, 2), ('b', 0, 1)]);
    }

    #[test]
    fn the_clock_moves_nothing_after_the_last_barrier() {
        let topology = Topology::new("stopped");
        let letters = topology.source("letters", Memory::source(['a']).unending());
        letters.processing_time().sink("sink", Memory::sink());
        let graph = topology.finish().expect("a topology");
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
        let mut flow = open(&graph, &backend, Epoch(0), Limits::default()).expect("opens");
        assert!(flow.step(at(1), &FullSpeed).expect("runs"));
        end_epoch_at(at(2), &mut flow, Epoch(1), true).expect("ends");
        assert!(flow.has_ended());
        assert!(!flow.step(at(3), &FullSpeed).expect("runs"), "a watermark would follow the end");
    }
}
