//! `sink`: where a stream leaves the topology.

use std::sync::Arc;

use highwater_state::{Epoch, Timestamp};

use crate::batch::{Batch, SplitId};
use crate::data::Clock;
use crate::operator::{Fault, Operator, Progress};
use crate::signal::SplitStatus;
use crate::sink::{Publish, Sink, Writer};
use crate::stream::{Stream, add_node, here, set_operator};

impl<T: 'static, C: Clock> Stream<T, C> {
    /// Sends the records to a sink.
    ///
    /// What is visible there and when depends on the sink; those that stage show a record once its epoch is
    /// committed, and never twice. The name tells the sink apart in errors and on disk; no other sink,
    /// operator or source of the topology may have it.
    #[track_caller]
    pub fn sink<S: Sink<T>>(self, name: &str, sink: S) {
        let place = here("sink", Some(name));
        let graph = &self.wire.graph;
        let node = add_node(graph, place, vec![self.wire.port]);
        let sink = Arc::new(sink);
        let publish: Arc<dyn Publish> = Arc::clone(&sink) as _;
        let decider = publish.decider();
        let mut plan = graph.borrow_mut();
        plan.nodes[node].sink = Some(publish);
        plan.nodes[node].decider = decider;
        drop(plan);
        set_operator::<Batch<T>, ()>(graph, node, move |opening| {
            let writer = sink.open(opening.worker.worker).map_err(Fault::Failed)?;
            Ok(Box::new(WriteAll { writer }))
        });
    }
}

struct WriteAll<T> {
    writer: Box<dyn Writer<T>>,
}

impl<T: 'static> Operator<Batch<T>, ()> for WriteAll<T> {
    fn on_batch(&mut self, batch: &mut Batch<T>, _: &mut ()) -> Result<(), Fault> {
        self.writer.write(batch).map_err(Fault::Failed)?;
        batch.values.clear();
        batch.times.clear();
        Ok(())
    }

    fn on_watermark(&mut self, _: Timestamp, _: &mut ()) -> Result<Progress, Fault> {
        Ok(Progress::Done)
    }

    fn on_split(&mut self, _: SplitId, _: SplitStatus, _: &mut ()) -> Result<(), Fault> {
        Ok(())
    }

    fn ready(&mut self) -> bool {
        self.writer.ready()
    }

    fn stage(&mut self, epoch: Epoch) -> Result<Option<Vec<u8>>, Fault> {
        let receipt = self.writer.stage(epoch).map_err(Fault::Failed)?;
        Ok((!receipt.is_empty()).then_some(receipt))
    }
}
