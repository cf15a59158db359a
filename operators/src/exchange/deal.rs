//! Deals the rows of a batch out to their owners, column by column.
//!
//! Whose row is whose is decided once, as a list of row numbers for each owner; then every column is gathered by these
//! lists. A loop that pushes each value to the vector of its owner must write back how long that vector is before it can
//! push the next, which costs twice as much as deciding first (`docs/performance.md`, exchange).
//!
//! Invariant: every row number below the number of rows is in exactly one list, once. It does not know key groups.

#![allow(unsafe_code, reason = "a gather moves values out of the middle of a vector; see `Deal::column`")]

/// Which rows go to which owner, in the order of the batch.
pub(super) struct Deal {
    rows: usize,
    owned: Vec<Vec<u32>>,
}

impl Deal {
    /// Deals rows, each of which `owner_of` gives to one of `owners`.
    ///
    /// # Panics
    /// If an owner is not below `owners`, or there are more than 2^32 rows.
    pub(super) fn new(owners: usize, owner_of: impl ExactSizeIterator<Item = usize>) -> Deal {
        let expected = owner_of.len() / owners + owner_of.len() / 8 + 1;
        let mut owned: Vec<Vec<u32>> = (0..owners).map(|_| Vec::with_capacity(expected)).collect();
        let mut rows = 0;
        for owner in owner_of {
            owned[owner].push(rows);
            rows = rows.checked_add(1).expect("a batch has fewer than 2^32 rows");
        }
        Deal { rows: rows as usize, owned }
    }

    /// The parts of one column, for each owner one; without values if the column has none.
    ///
    /// # Panics
    /// If the column has neither no values nor one for each row.
    pub(super) fn column<V>(&self, mut values: Vec<V>) -> Vec<Vec<V>> {
        if values.is_empty() {
            return self.owned.iter().map(|_| Vec::new()).collect();
        }
        assert_eq!(values.len(), self.rows, "a column has a value for each row");
        // SAFETY: the length 0 is not above the capacity, and no value is dropped through `values` from here on. If
        // something below panics (only an allocation could), the values that were not dealt are leaked.
        unsafe { values.set_len(0) };
        let first = values.as_ptr();
        let parts = self.owned.iter().map(|rows| {
            // SAFETY: every number in the lists is below `self.rows`, which is how many values there were, and each is
            // in one list once (the invariant of `Deal`, whose lists only `new` writes): so each read is of a value
            // that was there, and none is read twice. The allocation lives as long as `values`.
            rows.iter().map(|&row| unsafe { first.add(row as usize).read() }).collect()
        });
        parts.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn each_value_goes_to_its_owner_in_order_and_is_dropped_once() {
        let marks: Vec<Rc<()>> = (0..7).map(|_| Rc::new(())).collect();
        let column: Vec<(usize, Rc<()>)> = marks.iter().cloned().enumerate().collect();
        let deal = Deal::new(3, [2, 0, 2, 2, 0, 2, 0].into_iter());
        let parts = deal.column(column);
        let numbers = |part: &Vec<(usize, Rc<()>)>| part.iter().map(|(row, _)| *row).collect::<Vec<_>>();
        assert_eq!(parts.iter().map(numbers).collect::<Vec<_>>(), [vec![1, 4, 6], vec![], vec![0, 2, 3, 5]]);
        assert!(marks.iter().all(|mark| Rc::strong_count(mark) == 2), "each value is there once");
        drop(parts);
        assert!(marks.iter().all(|mark| Rc::strong_count(mark) == 1), "and dropped once");
    }

    #[test]
    fn a_column_of_no_values_gives_every_owner_none() {
        let deal = Deal::new(2, [0, 1].into_iter());
        assert_eq!(deal.column(Vec::<u8>::new()), [Vec::<u8>::new(), Vec::new()]);
    }

    #[test]
    #[should_panic(expected = "a value for each row")]
    fn a_column_that_is_too_short_is_refused() {
        Deal::new(2, [0, 1].into_iter()).column(vec!['a']);
    }
}
