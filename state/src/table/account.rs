//! What a table tells the shared budget: how much it holds, and how much of that was changed since a commit.
//!
//! A changed row is counted by an average until it is encoded: what it holds outside itself is not known before.

use std::sync::Arc;

use crate::budget::TableBudget;
use crate::id::Epoch;

/// What an encoded row is taken to have, in bytes, before any has been encoded.
const UNKNOWN_ROW_BYTES: usize = 128;

/// What a row costs on its way into the backend beside its bytes: where they begin and end in the delta, its place in
/// their order, its head in the backend's write. Half of it is counted, as of the bytes: there are two copies of them.
const DELTA_ROW_BYTES: usize = 72 / 2;

pub(super) struct Account {
    budget: Arc<TableBudget>,
    held: usize,
    changed: usize,
    /// What the frozen epochs changed that are not applied.
    frozen: Vec<(Epoch, usize)>,
    /// What a row of the last frozen epoch had, encoded.
    row_bytes: usize,
    /// Rows that were asked for, and those of them that were not in memory, since the budget was told.
    asked: u64,
    read: u64,
}

impl Account {
    pub(super) fn new(budget: Arc<TableBudget>) -> Self {
        let row_bytes = UNKNOWN_ROW_BYTES;
        Account { budget, held: 0, changed: 0, frozen: Vec::new(), row_bytes, asked: 0, read: 0 }
    }

    /// So many rows are asked for.
    pub(super) fn asked(&mut self, rows: usize) {
        self.asked += rows as u64;
    }

    /// So many of them are looked for in the backend.
    pub(super) fn read(&mut self, rows: usize) {
        self.read += rows as u64;
    }

    /// The table holds `bytes` bytes and `dirty` rows that are changed and not encoded; `encoded` bytes are, of an
    /// epoch that is not encoded as a whole.
    pub(super) fn settle(&mut self, bytes: usize, dirty: usize, encoded: usize) {
        let not_encoded = dirty * self.row_bytes;
        let frozen: usize = self.frozen.iter().map(|(_, bytes)| bytes).sum();
        let (held, changed) = (bytes + not_encoded, frozen + encoded + not_encoded);
        if held > self.held {
            self.budget.charge(held - self.held);
        } else if held < self.held {
            self.budget.release(self.held - held);
        }
        if changed > self.changed {
            self.budget.charge_changed(changed - self.changed);
        } else if changed < self.changed {
            self.budget.release_changed(self.changed - changed);
        }
        (self.held, self.changed) = (held, changed);
        if self.asked > 0 {
            self.budget.note_rows(std::mem::take(&mut self.asked), std::mem::take(&mut self.read));
        }
    }

    /// The epoch changed `rows` rows of `bytes` bytes, encoded.
    pub(super) fn freeze(&mut self, epoch: Epoch, rows: usize, bytes: usize) {
        let bytes = bytes + rows * DELTA_ROW_BYTES;
        if let Some(average) = bytes.checked_div(rows) {
            self.row_bytes = average;
            self.frozen.push((epoch, bytes));
        }
    }

    /// The backend has applied everything up to `epoch`.
    pub(super) fn applied(&mut self, epoch: Epoch) {
        self.frozen.retain(|(frozen, _)| *frozen > epoch);
    }

    /// How many bytes all tables hold above their limit.
    pub(super) fn over(&self) -> usize {
        self.budget.over()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.frozen.clear();
        self.settle(0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_changed_counts_until_its_epoch_is_applied_and_nothing_is_left_behind() {
        let budget = Arc::new(TableBudget::new(4000));
        let mut account = Account::new(Arc::clone(&budget));
        account.freeze(Epoch(1), 5, 600 - 5 * DELTA_ROW_BYTES);
        account.settle(1000, 0, 0);
        assert!(budget.is_short() && !budget.is_exhausted(), "600 of 1000 are changed");
        account.settle(1000, 4, 0);
        assert!(budget.is_exhausted(), "four more rows of 120");
        account.applied(Epoch(1));
        account.settle(1000, 0, 0);
        assert!(!budget.is_short());
        drop(account);
        assert_eq!(budget.used(), 0);
    }
}
