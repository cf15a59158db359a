//! `untimed`: forgets event time, so that results of different streams can go to one sink.

use highwater_state::Timestamp;

use crate::batch::{Batch, SplitId};
use crate::data::Data;
use crate::operator::{Fault, Operator, Progress};
use crate::outbox::{Outbox, Outputs};
use crate::signal::SplitStatus;
use crate::stream::{Stream, Untimed, here};

impl<T: Data> Stream<T> {
    /// Forgets the event times and the watermark.
    #[track_caller]
    pub fn untimed(self) -> Stream<T, Untimed> {
        let wire = self.wire.then::<Batch<T>, Outbox<Batch<T>>>(here("untimed", None), |opening| {
            let split = SplitId { source: opening.number as u32, index: opening.worker.worker as u32 };
            Ok(Box::new(Forget { split, announced: false }))
        });
        wire.graph.borrow_mut().nodes[wire.port.node].origin = true;
        Stream::at(wire)
    }
}

/// To an `event_time` further down, what comes out of here is one split.
struct Forget {
    split: SplitId,
    announced: bool,
}

impl Forget {
    fn announce(&mut self, out: &mut dyn Outputs, status: SplitStatus) {
        if !self.announced || status == SplitStatus::Finished {
            self.announced = true;
            out.split(self.split, status);
        }
    }
}

impl<T: 'static> Operator<Batch<T>, Outbox<Batch<T>>> for Forget {
    fn on_batch(&mut self, batch: &mut Batch<T>, out: &mut Outbox<Batch<T>>) -> Result<(), Fault> {
        self.announce(out, SplitStatus::Active);
        let values = std::mem::take(&mut batch.values);
        batch.times.clear();
        out.send(Batch { values, times: Vec::new(), split: self.split });
        Ok(())
    }

    fn on_watermark(&mut self, watermark: Timestamp, out: &mut Outbox<Batch<T>>) -> Result<Progress, Fault> {
        let finished = watermark == Timestamp::MAX;
        self.announce(out, if finished { SplitStatus::Finished } else { SplitStatus::Active });
        Ok(Progress::Done)
    }

    fn on_idle(&mut self, idle: bool, out: &mut Outbox<Batch<T>>) {
        self.announced = true;
        out.split(self.split, if idle { SplitStatus::Idle } else { SplitStatus::Active });
    }

    fn passes_watermarks(&self) -> bool {
        false
    }
}
