//! The records that go in, generated once from a fixed seed.

use highwater::state::Timestamp;

use crate::feed::Repeat;

/// Records in the pools, which are handed out again and again. 2^20 clicks of 16 bytes stream through the caches
/// as input does.
pub const POOL_RECORDS: usize = 1 << 20;
/// Wide records in their pool: 1 MiB, which stays in the second-level cache, as what was just decoded would.
pub const WIDE_POOL_RECORDS: usize = 1 << 14;
/// Different keys of the clicks.
pub const KEYS: u64 = 100_000;
/// Clicks in a second of event time.
pub const CLICKS_PER_SECOND: i64 = 1_000_000;
/// How far a click may lie behind those before it, in ms of event time.
pub const JITTER_MILLIS: u64 = 100;

/// A record of 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wide {
    /// Which record it is.
    pub id: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What is filtered by: three of four pass.
    pub kind: u64,
    /// What is mapped.
    pub amount: u64,
    /// What is only carried along.
    pub rest: [u64; 4],
}

/// A record of 16 bytes: a page and when it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Click {
    /// One of [`KEYS`] pages; their numbers are scattered over 64 bits.
    pub page: u64,
    /// When it was seen.
    pub at: Timestamp,
}

impl Repeat for Wide {
    #[inline]
    fn repeated(self, _: u64) -> Self {
        self
    }
}

impl Repeat for Click {
    /// Time goes on from one repetition to the next.
    #[inline]
    fn repeated(self, round: u64) -> Self {
        let period = POOL_RECORDS as i64 * 1000 / CLICKS_PER_SECOND;
        Click { page: self.page, at: Timestamp::from_millis(self.at.as_millis() + round as i64 * period) }
    }
}

/// [`WIDE_POOL_RECORDS`] wide records.
pub fn wide() -> Vec<Wide> {
    let mut random = SplitMix(1);
    let record = |id| Wide {
        id,
        at: Timestamp::from_millis(id as i64),
        kind: random.next() % 4,
        amount: random.next(),
        rest: [random.next(); 4],
    };
    (0..WIDE_POOL_RECORDS as u64).map(record).collect()
}

/// [`POOL_RECORDS`] clicks, uniform over the pages, nearly in the order of time.
pub fn clicks() -> Vec<Click> {
    let mut random = SplitMix(2);
    let click = |number: i64| {
        let page = SplitMix(random.next() % KEYS).next();
        let jitter = (random.next() % JITTER_MILLIS) as i64;
        Click { page, at: Timestamp::from_millis(number * 1000 / CLICKS_PER_SECOND + 1000 - jitter) }
    };
    (0..POOL_RECORDS as i64).map(click).collect()
}

/// A small generator of good numbers (Steele, Lea and Flood 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_record_is_64_bytes_and_a_click_16() {
        assert_eq!((size_of::<Wide>(), size_of::<Click>()), (64, 16));
    }

    #[test]
    fn the_clicks_of_one_round_lie_behind_those_of_the_one_before_by_less_than_the_jitter() {
        let clicks = clicks();
        let mut latest = Timestamp::MIN;
        for click in clicks.iter().copied().chain(clicks.iter().map(|click| click.repeated(1))) {
            assert!(click.at.as_millis() > latest.as_millis().saturating_sub(JITTER_MILLIS as i64));
            latest = latest.max(click.at);
        }
    }
}
