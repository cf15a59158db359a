//! Where the partitions of a topic end, as librdkafka says of itself now and then.
//!
//! Invariant: nobody is asked and nothing waits for it; where nothing has been said yet, nothing is known. What is
//! known is as old as the interval of the statistics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

/// The ends that were told last.
#[derive(Default)]
pub(super) struct Ends(Mutex<BTreeMap<i32, i64>>);

/// What of the statistics is read.
#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    topics: BTreeMap<String, Topic>,
}

#[derive(Deserialize)]
struct Topic {
    #[serde(default)]
    partitions: BTreeMap<String, Partition>,
}

#[derive(Deserialize)]
struct Partition {
    /// The offset behind the last record that can be read; negative where it is not known.
    ls_offset: i64,
}

impl Ends {
    /// Reads the statistics; those that cannot be read say nothing.
    pub(super) fn hear(&self, statistics: &[u8], topic: &str) {
        let Ok(mut heard) = serde_json::from_slice::<Statistics>(statistics) else { return };
        let Some(topic) = heard.topics.remove(topic) else { return };
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (number, Partition { ls_offset }) in topic.partitions {
            if let Some(number) = number.parse().ok().filter(|_| ls_offset >= 0) {
                ends.insert(number, ls_offset);
            }
        }
    }

    /// How many offsets lie between one and the end of its partition.
    pub(super) fn behind(&self, partition: i32, next: i64) -> Option<u64> {
        let ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ends.get(&partition).map(|end| u64::try_from(end - next).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_partition_gives_its_lag() {
        let ends = Ends::default();
        let statistics = br#"{"name":"x","brokers":{},"topics":{"clicks":{"topic":"clicks","partitions":{
            "0":{"partition":0,"hi_offset":120,"ls_offset":100},"1":{"ls_offset":-1001},"-1":{"ls_offset":0}}}}}"#;
        ends.hear(statistics, "other");
        assert_eq!(ends.behind(0, 90), None);
        ends.hear(statistics, "clicks");
        ends.hear(b"{", "clicks");
        assert_eq!((ends.behind(0, 90), ends.behind(0, 101)), (Some(10), Some(0)));
        assert_eq!(ends.behind(1, 0), None, "it is not known yet");
    }
}
