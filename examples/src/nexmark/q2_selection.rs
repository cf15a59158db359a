//! Query 2, selection: the bids on every 123rd auction.

use highwater::prelude::*;
use serde::Serialize;

use super::Event;

/// Of so many auctions one is looked at.
const ONE_IN: u64 = 123;

/// What was bid on an auction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Price {
    auction: u64,
    price: u64,
}

impl Price {
    pub(super) fn of(event: &Event) -> Option<Price> {
        let bid = event.bid()?;
        Some(Price { auction: bid.auction, price: bid.price })
    }
}

/// The bids on the auctions that are looked at.
pub(super) fn selection(bids: Stream<Price>) -> Stream<Price> {
    bids.filter(|bid| bid.auction % ONE_IN == 0)
}
