//! What comes out of a query, summed up: rows, or the last value of each key of a table.
//!
//! Some queries give rows that stay: all of them count, in any order. Others give a table and tell each change, and how
//! many changes there are between two batches or two workers is the engine's own affair; of those only the table counts
//! that is there in the end. The map that it takes is everybody's cost, the loops' too.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::operators::batch::Batch;
use highwater::operators::error::Cause;
use highwater::operators::sink::{Publish, Sink, Writer};
use highwater::state::Epoch;
use serde::Serialize;

use super::digest::digest;
use crate::total::{Part, Total};

/// A part of what came out; a clone is another part.
pub struct Sums {
    part: Part,
    /// Of each key of a table, by its number, the number of its last row.
    last: HashMap<u64, u64, RandomState>,
}

impl Sums {
    /// Nothing yet, and where it is added up in the end.
    pub fn new(part: Part) -> Sums {
        Sums { part, last: HashMap::default() }
    }

    fn row(&mut self, row: u64) {
        self.part.count(1, row);
    }

    /// The table's row of a key changes: what stood there before is taken out of the sum.
    fn change(&mut self, key: u64, row: u64) {
        match self.last.insert(key, row) {
            None => self.part.count(1, row),
            Some(before) => self.part.count(0, row.wrapping_sub(before)),
        }
    }
}

impl Clone for Sums {
    fn clone(&self) -> Sums {
        Sums::new(self.part.clone())
    }
}

/// Something that a query tells.
pub trait Told: Clone + Send + 'static {
    /// Adds it.
    fn add_to(&self, sums: &mut Sums);
}

/// A row that stays.
#[derive(Clone, Debug, Serialize, serde::Deserialize)]
pub struct Row<T>(pub T);

impl<T: Serialize + Clone + Send + 'static> Told for Row<T> {
    #[inline]
    fn add_to(&self, sums: &mut Sums) {
        sums.row(digest(&self.0));
    }
}

/// A key of a table and its new value.
#[derive(Clone, Debug, Serialize, serde::Deserialize)]
pub struct Change<K, V>(pub K, pub V);

impl<K, V> Told for Change<K, V>
where
    K: Serialize + Clone + Send + 'static,
    V: Serialize + Clone + Send + 'static,
{
    #[inline]
    fn add_to(&self, sums: &mut Sums) {
        let key = digest(&self.0);
        sums.change(key, key.rotate_left(7) ^ digest(&self.1));
    }
}

/// A sink of Highwater that adds up what `add` makes of a record.
pub struct SumsSink<T> {
    total: Total,
    add: fn(&T, &mut Sums),
}

impl<T: Serialize> SumsSink<T> {
    /// Takes rows that stay.
    pub fn rows(total: &Total) -> SumsSink<T> {
        SumsSink { total: total.clone(), add: |row, sums| sums.row(digest(row)) }
    }
}

impl<K: Serialize, V: Serialize> SumsSink<(K, V)> {
    /// Takes the changes of a table.
    pub fn table(total: &Total) -> SumsSink<(K, V)> {
        let add = |(key, value): &(K, V), sums: &mut Sums| {
            let key = digest(key);
            sums.change(key, key.rotate_left(7) ^ digest(value));
        };
        SumsSink { total: total.clone(), add }
    }
}

impl<T: 'static> Publish for SumsSink<T> {
    fn recover(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }

    fn publish(&self, _: Epoch, _: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(())
    }
}

impl<T: 'static> Sink<T> for SumsSink<T> {
    fn open(&self, _: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        Ok(Box::new(SumsWriter { sums: Sums::new(self.total.part()), add: self.add }))
    }
}

struct SumsWriter<T> {
    sums: Sums,
    add: fn(&T, &mut Sums),
}

impl<T> Writer<T> for SumsWriter<T> {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        batch.values.iter().for_each(|record| (self.add)(record, &mut self.sums));
        Ok(())
    }

    fn stage(&mut self, _: Epoch) -> Result<Vec<u8>, Cause> {
        self.sums.part.flush();
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_table_the_last_row_of_each_key_counts() {
        let sum = |changes: &[(u64, &'static str)]| {
            let total = Total::default();
            let mut sums = Sums::new(total.part());
            changes.iter().for_each(|&(key, value)| Change(key, value.to_owned()).add_to(&mut sums));
            drop(sums);
            total.tally()
        };
        assert_eq!(sum(&[(1, "a"), (2, "b"), (1, "c")]), sum(&[(1, "c"), (2, "a"), (2, "b")]));
        assert_ne!(sum(&[(1, "a"), (2, "b")]), sum(&[(1, "b"), (2, "a")]));
        assert_eq!(sum(&[(1, "a"), (2, "b"), (1, "c")]).count, 2);
    }
}
