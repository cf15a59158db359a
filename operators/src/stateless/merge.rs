//! `merge`: several streams of one type into one.

use crate::batch::Batch;
use crate::data::Clock;
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{Stream, add_node, here, set_operator};

impl<T: 'static, C: Clock> Stream<T, C> {
    /// The records of both streams, each in its own order; the watermark is the smaller of the two.
    #[track_caller]
    pub fn merge(self, other: Stream<T, C>) -> Stream<T, C> {
        let place = here("merge", None);
        if !std::rc::Rc::ptr_eq(&self.wire.graph, &other.wire.graph) {
            self.wire.refuse(&place, "the two streams belong to different topologies");
            return self;
        }
        let node = add_node(&self.wire.graph, place, vec![self.wire.port, other.wire.port]);
        set_operator::<Batch<T>, Outbox<Batch<T>>>(&self.wire.graph, node, |_| Ok(Box::new(PassOn)));
        Stream::at(self.wire.output_of(node, 0))
    }
}

/// Passes every batch on; the node before it does the joining.
struct PassOn;

impl<T: 'static> Operator<Batch<T>, Outbox<Batch<T>>> for PassOn {
    fn on_batch(&mut self, batch: &mut Batch<T>, out: &mut Outbox<Batch<T>>) -> Result<(), Fault> {
        out.send(std::mem::take(batch));
        Ok(())
    }
}
