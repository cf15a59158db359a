//! Query 5, hot items: the auctions with the most bids in the last 10 seconds, every 2 seconds.

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

use super::Event;

const PERIOD: Duration = Duration::from_secs(10);
const EVERY: Duration = Duration::from_secs(2);

/// An auction with the most bids of a period.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct HotItem {
    auction: u64,
    num: u64,
}

/// The auction of every bid.
pub(super) fn auction(event: &Event) -> Option<u64> {
    Some(event.bid()?.auction)
}

/// Counts the bids on each auction; of the counts of one period, which all have the time of its end, the
/// highest ones.
pub(super) fn hot_items(auctions: Stream<u64>) -> Stream<HotItem> {
    auctions
        .key_by(|auction| *auction)
        .window(sliding(PERIOD, EVERY))
        .count("bids-on-auction")
        .key_by(|_| ())
        .two_stage()
        .window(tumbling(EVERY))
        .aggregate("most-bids", |_| Most)
        .flat_map(|most| {
            let Hottest { num, auctions } = most.value;
            auctions.into_iter().map(move |auction| HotItem { auction, num })
        })
}

/// The largest of several counts, and all who have it.
struct Most;

/// The auctions with the largest count so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Hottest {
    num: u64,
    auctions: Vec<u64>,
}

impl Aggregate<Windowed<u64, u64>> for Most {
    type Acc = Hottest;
    type Out = Hottest;

    fn start(&self) -> Hottest {
        Hottest::default()
    }

    fn add(&self, kept: &mut Hottest, counted: &Windowed<u64, u64>, _: Timestamp) {
        if counted.value > kept.num {
            kept.num = counted.value;
            kept.auctions.clear();
        }
        if counted.value == kept.num {
            kept.auctions.push(counted.key);
        }
    }

    fn merge(&self, kept: &mut Hottest, mut later: Hottest) {
        if later.num > kept.num {
            *kept = later;
        } else if later.num == kept.num {
            kept.auctions.append(&mut later.auctions);
        }
    }

    fn finish(&self, kept: &Hottest) -> Hottest {
        kept.clone()
    }
}
