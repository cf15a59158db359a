//! The grammar of signals, asserted at the input of every operator.
//!
//! It costs a comparison per signal and nothing per record, so it is always on: what it finds is a bug of ours,
//! and a job that went on would compute wrongly.

use highwater_state::{Epoch, Timestamp};

use crate::signal::Signal;

/// What an input has seen so far.
#[derive(Debug, Default)]
pub struct Grammar {
    watermark: Option<Timestamp>,
    barrier: Option<Epoch>,
    ended: bool,
}

impl Grammar {
    /// Asserts that the signal may follow.
    ///
    /// # Panics
    /// If it may not: a watermark that does not rise, a barrier out of turn, anything after the end.
    pub fn check<B>(&mut self, signal: &Signal<B>) {
        assert!(!self.ended, "a signal follows the end");
        match signal {
            Signal::Watermark(watermark) => {
                let rises = self.watermark.is_none_or(|before| *watermark > before);
                assert!(rises, "the watermark {watermark:?} follows {:?}", self.watermark);
                self.watermark = Some(*watermark);
            }
            Signal::Barrier(epoch) => {
                let next = self.barrier.is_none_or(|before| *epoch == before.next());
                assert!(next, "the barrier of {epoch} follows that of {:?}", self.barrier);
                self.barrier = Some(*epoch);
            }
            Signal::End => self.ended = true,
            Signal::Batch(_) | Signal::Idle | Signal::Active | Signal::Split(..) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "follows")]
    fn a_watermark_that_stands_still_is_refused() {
        let mut grammar = Grammar::default();
        grammar.check(&Signal::<()>::Watermark(Timestamp::from_millis(1)));
        grammar.check(&Signal::<()>::Watermark(Timestamp::from_millis(1)));
    }

    #[test]
    #[should_panic(expected = "epoch 3")]
    fn a_skipped_barrier_is_refused() {
        let mut grammar = Grammar::default();
        grammar.check(&Signal::<()>::Barrier(Epoch(1)));
        grammar.check(&Signal::<()>::Barrier(Epoch(3)));
    }

    #[test]
    #[should_panic(expected = "end")]
    fn nothing_follows_the_end() {
        let mut grammar = Grammar::default();
        grammar.check(&Signal::<()>::End);
        grammar.check(&Signal::<()>::Idle);
    }
}
