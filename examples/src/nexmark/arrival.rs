//! In which order events come: that of their times, or out of order within groups of the same length.
//!
//! Within a group the place of an event is a multiple of a prime number, so that neighbours come far apart.
//! It is a permutation of each group, the last and shorter one included: the same events come, whatever the
//! disorder. The number of the event at a position is computed, not remembered, so that any split can begin
//! anywhere.

use highwater::prelude::*;

/// Prime numbers to step by: the first one that does not divide the length of a group.
const STEPS: [u64; 3] = [953, 967, 971];

/// The order in which a number of events comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// How many events there are.
    events: u64,
    /// How many of them change places among each other.
    group: u64,
}

impl Arrival {
    /// Events of which there are so many a second come up to `disorder` after later ones.
    pub(super) fn new(events: u64, per_second: u64, disorder: Duration) -> Arrival {
        let group = u128::from(per_second) * disorder.as_millis() / 1000;
        Arrival { events, group: u64::try_from(group).unwrap_or(u64::MAX).max(1) }
    }

    /// The number of the event that comes at a position; both count from 0.
    pub(super) fn number(&self, position: u64) -> u64 {
        if self.group == 1 {
            return position;
        }
        let first = position / self.group * self.group;
        let length = self.group.min(self.events.saturating_sub(first)).max(1);
        let step = STEPS.into_iter().find(|step| !length.is_multiple_of(*step)).unwrap_or(1);
        let place = u128::from(position - first) * u128::from(step) % u128::from(length);
        first + place as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_comes_once_whatever_the_disorder() {
        for (events, millis) in
            [(1, 4), (10_000, 0), (10_000, 1), (10_001, 95), (9_530, 953), (953_000, 95_300)]
        {
            let arrival = Arrival::new(events, 10_000, Duration::from_millis(millis));
            let mut numbers: Vec<u64> = (0..events).map(|position| arrival.number(position)).collect();
            let in_order = numbers.is_sorted();
            assert_eq!(in_order, events == 1 || millis == 0, "{events} events, {millis} ms");
            numbers.sort_unstable();
            assert!(numbers.into_iter().eq(0..events), "{events} events, {millis} ms");
        }
    }
}
