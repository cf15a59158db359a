//! Records out of nothing: a source whose records are drawn from seeded random numbers.
//!
//! Invariant: a record depends on the seed and on its number only, not on what was drawn before, nor on the
//! number of splits. So any position is resumed at once, every run gives the same records, and more splits spread
//! the same records. It knows no rate: limiting that is the job's matter.
//!
//! The numbers are those of ChaCha with 8 rounds, the same on every machine and in every version.

use std::sync::Arc;

use highwater_operators::error::Cause;
use highwater_operators::source::{Poll, Polled, Reader, Source};
pub use rand::{Rng, RngExt};
pub use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};
use thiserror::Error;

type Make<T> = dyn Fn(&mut ChaCha8Rng, u64) -> T + Send + Sync;

/// A source of records made by a closure from random numbers; without end, unless [`count`](Generator::count)
/// gives it one.
///
/// The records are numbered from 0; with 4 splits, `split-1` has the numbers 1, 5, 9 and so on.
///
/// ```
/// use highwater_connectors::generator::{Generator, RngExt};
/// use highwater_operators::source::{Poll, Polled, Source};
///
/// let orders = Generator::new(7, 1, |random, number| (number, random.random_range(1..=6))).count(3);
/// let mut reader = orders.open("split-0", None)?;
/// let mut polled = Polled::<(u64, u32)>::default();
/// assert_eq!(reader.poll(100, &mut polled)?, Poll::Finished);
/// assert_eq!(polled.values, [(0, 1), (1, 4), (2, 4)]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct Generator<T> {
    seed: u64,
    splits: u32,
    count: Option<u64>,
    make: Arc<Make<T>>,
}

/// A generator that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GeneratorError {
    /// It has no splits.
    #[error("a generator needs at least one split; as many as there are workers is a good number")]
    NoSplits,
    /// It has no split of this name.
    #[error("a generator of {splits} splits has no `{split}`; give it as many splits as before")]
    UnknownSplit {
        /// The name.
        split: String,
        /// How many splits there are.
        splits: u32,
    },
    /// The state was written with another number of splits, hence with other numbers in each.
    #[error(
        "the state was written by a generator of {before} splits, and it has {now} now; use {before} again"
    )]
    Splits {
        /// How many there were.
        before: u32,
        /// How many there are.
        now: u32,
    },
}

/// Where in a split of a generator a reader stands; kept in every epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GeneratorPosition {
    /// How many records of the split were delivered, which is the index of the next.
    pub next: u64,
    /// How many splits the generator has; a position is refused by a generator that has another number.
    pub splits: u32,
}

impl<T: Send + 'static> Generator<T> {
    /// A generator without end. `make` gets the random numbers of one record and the record's number, unique over
    /// all splits and counted from 0; it must give the same record for the same arguments.
    ///
    /// Costs about 0.1 microseconds for each record that draws a number, beside what `make` does.
    pub fn new(
        seed: u64,
        splits: u32,
        make: impl Fn(&mut ChaCha8Rng, u64) -> T + Send + Sync + 'static,
    ) -> Self {
        Generator { seed, splits, count: None, make: Arc::new(make) }
    }

    /// Ends after `records` records, over all splits together. A restart with a larger number goes on to it.
    #[must_use]
    pub fn count(mut self, records: u64) -> Self {
        self.count = Some(records);
        self
    }
}

impl<T: Send + 'static> Source for Generator<T> {
    type Item = T;
    type Position = GeneratorPosition;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        if self.splits == 0 {
            return Err(GeneratorError::NoSplits.into());
        }
        Ok((0..self.splits).map(|split| format!("split-{split}")).collect())
    }

    fn open(
        &self,
        split: &str,
        from: Option<GeneratorPosition>,
    ) -> Result<Box<dyn Reader<Item = T, Position = GeneratorPosition>>, Cause> {
        let number = split.strip_prefix("split-").and_then(|number| number.parse::<u32>().ok());
        let Some(number) = number.filter(|number| *number < self.splits) else {
            return Err(GeneratorError::UnknownSplit { split: split.to_owned(), splits: self.splits }.into());
        };
        let position = from.unwrap_or(GeneratorPosition { next: 0, splits: self.splits });
        if position.splits != self.splits {
            return Err(GeneratorError::Splits { before: position.splits, now: self.splits }.into());
        }
        Ok(Box::new(GeneratorReader {
            seeded: ChaCha8Rng::seed_from_u64(self.seed),
            split: u64::from(number),
            count: self.count.unwrap_or(u64::MAX),
            position,
            make: Arc::clone(&self.make),
        }))
    }
}

struct GeneratorReader<T> {
    /// Nothing was drawn from it, so that a copy is cheap to move to the stream of a record.
    seeded: ChaCha8Rng,
    split: u64,
    count: u64,
    position: GeneratorPosition,
    make: Arc<Make<T>>,
}

impl<T> GeneratorReader<T> {
    /// The number of the next record, if there is one.
    fn number(&self) -> Option<u64> {
        let number =
            self.position.next.checked_mul(u64::from(self.position.splits))?.checked_add(self.split)?;
        (number < self.count).then_some(number)
    }
}

impl<T> Reader for GeneratorReader<T> {
    type Item = T;
    type Position = GeneratorPosition;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        for _ in 0..limit {
            let Some(number) = self.number() else {
                break;
            };
            let mut random = self.seeded.clone();
            random.set_stream(number);
            into.values.push((self.make)(&mut random, number));
            self.position.next += 1;
        }
        Ok(if self.number().is_none() { Poll::Finished } else { Poll::Ready })
    }

    fn position(&self) -> GeneratorPosition {
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(generator: &Generator<(u64, u32)>) -> Result<Vec<(u64, u32)>, Cause> {
        let mut polled = Polled::default();
        for split in generator.splits()? {
            let mut reader = generator.open(&split, None)?;
            while reader.poll(2, &mut polled)? != Poll::Finished {}
        }
        polled.values.sort_unstable();
        Ok(polled.values)
    }

    fn generator(splits: u32) -> Generator<(u64, u32)> {
        Generator::new(42, splits, |random, number| (number, random.next_u32())).count(5)
    }

    #[test]
    fn the_numbers_are_the_same_for_ever() -> Result<(), Cause> {
        let expected = [(0, 962419617), (1, 2378819728), (2, 350699519), (3, 2329827465), (4, 168402742)];
        assert_eq!(all(&generator(1))?, expected);
        Ok(())
    }

    #[test]
    fn more_splits_spread_the_same_records() -> Result<(), Cause> {
        for splits in [2, 3, 8] {
            assert_eq!(all(&generator(splits))?, all(&generator(1))?);
        }
        Ok(())
    }

    #[test]
    fn a_generator_with_other_splits_is_refused() {
        let position = GeneratorPosition { next: 3, splits: 2 };
        let error = generator(3).open("split-0", Some(position)).err().expect("2 are not 3").to_string();
        assert!(error.contains("2 splits, and it has 3 now"), "{error}");
        assert!(generator(3).open("split-3", None).is_err());
        assert!(generator(0).splits().is_err());
    }
}
