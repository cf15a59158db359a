//! Query 0, pass through: every bid. It measures what a record costs that nothing is done with.

use highwater::prelude::*;
use serde::Serialize;

use super::{Event, Text};

/// A bid, but for where it was made.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Passed {
    auction: u64,
    bidder: u64,
    price: u64,
    date_time: Timestamp,
    extra: Text,
}

impl Passed {
    pub(super) fn of(event: &Event) -> Option<Passed> {
        let bid = event.bid()?;
        Some(Passed {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            date_time: bid.date_time,
            extra: bid.extra.clone(),
        })
    }
}

/// All of them.
pub(super) fn pass_through(bids: Stream<Passed>) -> Stream<Passed> {
    bids
}
