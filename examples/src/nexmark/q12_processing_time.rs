//! Query 12, processing time windows: how many bids each bidder makes in 10 seconds of the clock on the wall.
//!
//! The results depend on when the program runs. What can be checked: the windows begin at multiples of 10
//! seconds within the time of the run, and the counts of each bidder add up to that bidder's bids.

use highwater::prelude::*;
use serde::Serialize;

use super::Event;

const PERIOD: Duration = Duration::from_secs(10);

/// The bids of a bidder in a window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Busy {
    bidder: u64,
    bid_count: u64,
    starttime: Timestamp,
    endtime: Timestamp,
}

/// The bidder of every bid.
pub(super) fn bidder(event: &Event) -> Option<u64> {
    Some(event.bid()?.bidder)
}

/// The bids of each bidder and window.
pub(super) fn busy_bidders(bidders: Stream<u64, Untimed>) -> Stream<Busy> {
    let windows = bidders.processing_time().key_by(|bidder| *bidder).window(tumbling(PERIOD));
    windows.count("bids-by-bidder").map(|counted| Busy {
        bidder: counted.key,
        bid_count: counted.value,
        starttime: counted.window.start,
        endtime: counted.window.end,
    })
}
