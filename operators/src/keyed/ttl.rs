//! For how long what was written at a point in event time lives.
//!
//! It lives up to and with its time plus the time to live. Arithmetic does not wrap: what would outlive the end of
//! time lives for ever.

use std::time::Duration;

use highwater_state::Timestamp;

/// A time to live, in whole milliseconds; may be zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ttl(u64);

impl Ttl {
    /// Parts of a millisecond are dropped.
    pub(crate) fn new(ttl: Duration) -> Self {
        Ttl(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
    }

    /// The first point in time at which what was written at `written` is dead; `None` if time ends before.
    #[inline]
    pub(crate) fn expiry(self, written: Timestamp) -> Option<Timestamp> {
        let after = i128::from(written.as_millis()) + i128::from(self.0) + 1;
        i64::try_from(after).ok().map(Timestamp::from_millis)
    }

    /// Whether two points in time lie at most the time to live apart.
    #[inline]
    pub(crate) fn spans(self, one: Timestamp, other: Timestamp) -> bool {
        one.as_millis().abs_diff(other.as_millis()) <= self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::at;

    #[test]
    fn nothing_wraps_at_the_ends_of_time() {
        let ttl = |millis| Ttl::new(Duration::from_millis(millis));
        assert_eq!(ttl(0).expiry(at(-5)), Some(at(-4)));
        assert_eq!(ttl(9).expiry(at(i64::MAX - 10)), Some(Timestamp::MAX));
        assert_eq!(ttl(10).expiry(at(i64::MAX - 10)), None);
        assert_eq!(Ttl::new(Duration::MAX).expiry(Timestamp::MIN), None);
        assert!(Ttl::new(Duration::MAX).spans(Timestamp::MIN, Timestamp::MAX));
        assert!(!ttl(u64::MAX - 1).spans(Timestamp::MAX, Timestamp::MIN));
        assert!(ttl(3).spans(at(-1), at(2)) && !ttl(2).spans(at(2), at(-1)));
    }
}
