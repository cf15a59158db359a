//! The sinks of a simulation: into the transactions of the simulated brokers, or staged as files are.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use highwater_operators::batch::Batch;
use highwater_operators::decide::Decide;
use highwater_operators::error::Cause;
use highwater_operators::sink::{Publish, Sink, Writer};
use highwater_state::Epoch;

use super::broker::Written;
use super::staged::{Staging, StagingWriter};
use super::transactions::{TransactionalWriter, Transactions, written};

/// What the sinks of a topology take, by their names.
pub(super) type Taken = BTreeMap<String, Vec<Written>>;

/// Where the records of a sink go.
#[derive(Clone)]
pub(super) enum Way {
    /// Into the interpreter's hands.
    Meaning(Arc<Mutex<Taken>>),
    /// Into the brokers' transactions.
    Transactions(Arc<Transactions>),
    /// Into a directory.
    Staging(Staging),
}

/// A sink of a simulation; made by [`World::transactional_sink`](super::World::transactional_sink) and
/// [`World::sink`](super::World::sink).
pub struct SimulatedSink<T> {
    pub(super) name: String,
    pub(super) way: Way,
    pub(super) of: PhantomData<fn(T)>,
}

impl<T> Clone for SimulatedSink<T> {
    fn clone(&self) -> Self {
        SimulatedSink { name: self.name.clone(), way: self.way.clone(), of: PhantomData }
    }
}

impl<T: 'static> Publish for SimulatedSink<T> {
    fn recover(&self, last: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        match &self.way {
            Way::Staging(staging) => staging.recover(last, receipts),
            Way::Meaning(_) | Way::Transactions(_) => Ok(()),
        }
    }

    fn publish(&self, _: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        match &self.way {
            Way::Staging(staging) => staging.publish(receipts),
            Way::Meaning(_) | Way::Transactions(_) => Ok(()),
        }
    }

    fn decider(&self) -> Option<Arc<dyn Decide>> {
        match &self.way {
            Way::Transactions(transactions) => Some(Arc::clone(transactions) as _),
            Way::Meaning(_) | Way::Staging(_) => None,
        }
    }
}

impl<T: Clone + Debug + Send + 'static> Sink<T> for SimulatedSink<T> {
    fn open(&self, worker: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        Ok(match &self.way {
            Way::Meaning(taken) => Box::new(Meaning { name: self.name.clone(), taken: Arc::clone(taken) }),
            Way::Transactions(transactions) => {
                Box::new(TransactionalWriter::new(Arc::clone(transactions), self.name.clone()))
            }
            Way::Staging(staging) => Box::new(StagingWriter::new(staging.clone(), worker)),
        })
    }
}

/// Takes what the interpreter emits.
struct Meaning {
    name: String,
    taken: Arc<Mutex<Taken>>,
}

impl<T: Clone + Debug + Send + 'static> Writer<T> for Meaning {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.entry(self.name.clone()).or_default().extend(batch.values.drain(..).map(written));
        Ok(())
    }

    fn stage(&mut self, _: Epoch) -> Result<Vec<u8>, Cause> {
        Ok(Vec::new())
    }
}
