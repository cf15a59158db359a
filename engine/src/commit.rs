//! Making an epoch durable and visible, step by step.
//!
//! Without a decider the synced write of one epoch's delta is the decision: before it the epoch has not happened,
//! after it it has (`docs/decisions/0003-the-commit-is-one-write.md`). With one the delta is prepared as redo, the
//! decider decides, and the delta is applied (`docs/decisions/0012-kafka-decides-redo-follows.md`). Then the sinks
//! publish; a crash in between repeats the publishing at the next start.
//!
//! [`Committing`] is stepped, so that a simulation can put anything between two steps; what a crash there leaves is
//! for [`recovery`](crate::recovery) to judge.

use highwater_operators::decide::Marker;
use highwater_operators::error::RunError;
use highwater_operators::graph::Graph;
use highwater_operators::task::Contribution;
use highwater_state::catalog::Catalog;
use highwater_state::delta::Family;
use highwater_state::redo::{self, Pieces};
use highwater_state::{Backend, Delta, Epoch, layout, persist};

use crate::error::JobError;
use crate::parts::Parts;
use crate::recovery::{FINISHED_KEY, Receipts, of_sink};
use crate::step::{Step, watched};

/// An epoch that all workers have ended and that is being committed.
pub(crate) struct Committing {
    marker: Marker,
    delta: Delta,
    receipts: Vec<(String, Vec<u8>)>,
    /// The next step; `None` when all are done.
    next: Option<Step>,
    pieces: Option<Pieces>,
}

impl Committing {
    /// Puts together what the workers contributed. `finished` says that all input has been dealt with; `kept` are
    /// the receipts on disk, which become those of this epoch.
    pub(crate) fn gather(
        parts: &Parts,
        catalog: &Catalog,
        marker: Marker,
        contributions: Vec<Contribution>,
        finished: bool,
        kept: &mut Receipts,
    ) -> Result<Committing, JobError> {
        let mut delta = Delta::default();
        let mut receipts = Vec::new();
        for (worker, contribution) in contributions.into_iter().enumerate() {
            delta.append(contribution.delta);
            receipts.extend(contribution.receipts.into_iter().map(|(sink, receipt)| (worker, sink, receipt)));
        }
        assert!(!delta.is_awaited(), "a worker contributed before it had written all that was frozen");
        delta.sort();
        catalog.take_changes(&mut delta);
        let decided = parts.decider.is_some();
        let mut next = Some(if decided { Step::Prepare } else { Step::Write });
        if delta.is_empty() && receipts.is_empty() && !finished {
            // Nothing has happened, so there is nothing that a restart would have to know.
            next = None;
            if let Some(decider) = &parts.decider {
                decider.pass_over(marker.epoch);
            }
        } else {
            complete(&mut delta, marker.epoch, &receipts, finished, kept)?;
            if parts.config.again && !finished {
                delta.delete(Family::Meta, FINISHED_KEY);
            }
        }
        let receipts = receipts.into_iter().map(|(_, sink, receipt)| (sink, receipt)).collect();
        Ok(Committing { marker, delta, receipts, next, pieces: None })
    }

    /// Whether every step is done.
    pub(crate) fn is_done(&self) -> bool {
        self.next.is_none()
    }

    /// Does the next step. After an error the epoch is in doubt, and only a recovery can tell.
    pub(crate) fn step(&mut self, parts: &Parts) -> Result<(), JobError> {
        let Some(step) = self.next else { return Ok(()) };
        watched(&parts.watch, step, || self.run(step, parts))?;
        self.next = match step {
            Step::Prepare => Some(Step::Stage),
            Step::Stage => Some(Step::Decide),
            Step::Decide => Some(Step::Apply),
            Step::Apply | Step::Write => Some(Step::Publish),
            _ => None,
        };
        Ok(())
    }

    fn run(&mut self, step: Step, parts: &Parts) -> Result<(), JobError> {
        let backend = &*parts.backend;
        match (step, &parts.decider) {
            (Step::Prepare, _) => {
                self.pieces =
                    Some(redo::prepare(backend, self.marker.epoch, self.marker.instance, &self.delta)?);
                Ok(())
            }
            (Step::Stage, Some(decider)) => {
                decider.stage(&self.marker).map_err(|cause| parts.undecided(cause))
            }
            (Step::Decide, Some(decider)) => {
                decider.decide(self.marker.epoch).map_err(|cause| parts.undecided(cause))
            }
            (Step::Apply, _) => self.apply(backend),
            (Step::Write, _) => Ok(backend.commit(&self.delta)?),
            (Step::Publish, _) => publish(&parts.graph, self.marker.epoch, &self.receipts),
            (step, _) => unreachable!("{step} is no step of a commit"),
        }
    }

    fn apply(&mut self, backend: &dyn Backend) -> Result<(), JobError> {
        if let Some(pieces) = self.pieces {
            redo::forget(pieces, &mut self.delta);
        }
        tracing::debug!(
            epoch = %self.marker.epoch, changes = self.delta.len(), bytes = self.delta.bytes(), "decided"
        );
        Ok(backend.apply(&self.delta)?)
    }
}

/// Adds to the delta what every epoch changes: its number, its receipts, and whether it is the last.
fn complete(
    delta: &mut Delta,
    epoch: Epoch,
    receipts: &[(usize, String, Vec<u8>)],
    finished: bool,
    kept: &mut Receipts,
) -> Result<(), JobError> {
    let mut number = Vec::new();
    persist::encode("epoch", &epoch, &mut number)?;
    delta.put(Family::Meta, layout::EPOCH_KEY, &number);
    std::mem::take(kept).iter().for_each(|key| delta.delete(Family::Meta, key));
    for (worker, sink, receipt) in receipts {
        let key = layout::receipt_key(sink, *worker);
        delta.put(Family::Meta, &key, receipt);
        kept.insert(key);
    }
    if finished {
        delta.put(Family::Meta, FINISHED_KEY, &number);
    }
    Ok(())
}

fn publish(graph: &Graph, epoch: Epoch, receipts: &[(String, Vec<u8>)]) -> Result<(), JobError> {
    for (place, sink) in graph.sinks() {
        let own = of_sink(receipts, place);
        if !own.is_empty() {
            sink.publish(epoch, &own).map_err(|cause| RunError::Sink { place: place.clone(), cause })?;
        }
    }
    Ok(())
}
