//! Every limit of `map_async`, with its unit, default and reason.

use std::time::Duration;

/// How requests are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Records that an operator holds on one worker: requests on their way, and answers that wait for their turn.
    /// Default 100: with 10 ms a request it is 10 000 records a second and worker, and few services like to see more
    /// connections of one client.
    pub(crate) in_flight: usize,
    /// Time for one attempt, at least 1 ms. Default 30 s, as HTTP clients have it: longer than a slow answer takes,
    /// and better than to wait for ever for a connection that is dead.
    pub(crate) timeout: Duration,
    /// Requests for one record until it is given up, at least 1. Default 3: what two repetitions do not heal is
    /// no hiccup.
    pub(crate) attempts: u32,
    /// Time between the first attempt and the second; it doubles from each to the next. Default 100 ms: long enough
    /// for a connection to be made anew, and short beside the timeout.
    pub(crate) backoff: Duration,
    /// Whether answers leave in the order of their records. Default yes: whoever does not need it says so.
    pub(crate) ordered: bool,
}

/// The longest time between two attempts; doubling stops here, so that a service that comes back is asked again soon.
const BACKOFF_MOST: Duration = Duration::from_secs(60);

impl Default for Settings {
    fn default() -> Self {
        Settings {
            in_flight: 100,
            timeout: Duration::from_secs(30),
            attempts: 3,
            backoff: Duration::from_millis(100),
            ordered: true,
        }
    }
}

impl Settings {
    /// What no operator can work with, in words.
    pub(crate) fn faults(&self) -> Vec<&'static str> {
        let mut faults = Vec::new();
        if self.in_flight == 0 {
            faults.push("`in_flight` is 0, so that no request could ever be made; it must be at least 1");
        }
        if self.timeout < Duration::from_millis(1) {
            faults.push("the `timeout` is less than a millisecond, which no answer can keep; it must be at least 1 ms");
        }
        faults
    }

    /// The time between attempt number `made` and the next.
    pub(crate) fn pause(&self, made: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(2u32.saturating_pow(made.saturating_sub(1)));
        doubled.min(BACKOFF_MOST.max(self.backoff))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_one_unless_the_first_is_longer() {
        let of = |backoff| Settings { backoff: Duration::from_secs(backoff), ..Settings::default() };
        let pauses = [1, 2, 3, 7, 40, u32::MAX].map(|made| of(1).pause(made).as_secs());
        assert_eq!(pauses, [1, 2, 4, 60, 60, 60]);
        assert_eq!(of(90).pause(5), Duration::from_secs(90));
        assert_eq!(of(0).pause(5), Duration::ZERO);
    }
}
