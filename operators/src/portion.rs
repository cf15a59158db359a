//! How many records a source reads at once, so that what waits in queues stays within its part of the memory budget.
//!
//! What a record takes in memory is not known, but what it took when it was read is: the bytes that it was decoded
//! from, or its own size where it comes decoded. Invariant: a batch of records like those of the last one has at most
//! so many bytes as the job allows, or one record. It begins small, and grows by at most twice from one read to the
//! next, so that large records are seen before many are read. It does not know queues.

/// Records of the first read, where bytes are limited.
const FIRST_RECORDS: usize = 16;

/// The size of the next read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portion {
    records: usize,
    records_max: usize,
    bytes_max: usize,
}

impl Portion {
    /// At most so many records and, if there is a limit of them, so many bytes.
    pub(crate) fn of(records_max: usize, bytes_max: usize) -> Portion {
        let records = if bytes_max == usize::MAX { records_max } else { records_max.min(FIRST_RECORDS) };
        Portion { records, records_max, bytes_max }
    }

    /// How many records may be read.
    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// So many records of so many bytes were read.
    pub(crate) fn was_read(&mut self, records: usize, bytes: usize) {
        if records == 0 || self.bytes_max == usize::MAX {
            return;
        }
        let fit = self.bytes_max / bytes.div_ceil(records).max(1);
        self.records = fit.min(2 * self.records).clamp(1, self.records_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_what_fits_and_falls_at_once_when_records_get_larger() {
        let mut portion = Portion::of(1024, 100_000);
        let mut sizes = Vec::new();
        for _ in 0..8 {
            sizes.push(portion.records());
            portion.was_read(portion.records(), portion.records() * 200);
        }
        assert_eq!(sizes, [16, 32, 64, 128, 256, 500, 500, 500]);
        portion.was_read(500, 500 * 50_000);
        assert_eq!(portion.records(), 2);
        portion.was_read(2, 2_000_000);
        assert_eq!(portion.records(), 1, "a record is read whatever its size");
        portion.was_read(0, 0);
        assert_eq!(portion.records(), 1);
    }

    #[test]
    fn without_a_limit_of_bytes_it_is_the_limit_of_records() {
        let mut portion = Portion::of(1024, usize::MAX);
        portion.was_read(1024, usize::MAX);
        assert_eq!(portion.records(), 1024);
        assert_eq!(Portion::of(1, 10).records(), 1);
    }
}
