//! Query 1, currency conversion: every bid, its price in euros.

use highwater::prelude::*;
use serde::Serialize;

use super::{Event, Text};

/// A dollar in thousandths of a euro.
const EUROS_PER_1000_DOLLARS: u64 = 908;

/// A bid in dollars.
pub(super) struct InDollars {
    auction: u64,
    bidder: u64,
    price: u64,
    date_time: Timestamp,
    extra: Text,
}

/// A bid in euros.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InEuros {
    auction: u64,
    bidder: u64,
    /// A decimal number with three places; as written exact up to 9 007 199 254 740, which is 15 digits.
    price: f64,
    date_time: Timestamp,
    extra: Text,
}

impl InDollars {
    pub(super) fn of(event: &Event) -> Option<InDollars> {
        let bid = event.bid()?;
        Some(InDollars {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            date_time: bid.date_time,
            extra: bid.extra.clone(),
        })
    }
}

/// Every bid in euros.
pub(super) fn in_euros(bids: Stream<InDollars>) -> Stream<InEuros> {
    bids.map(|InDollars { auction, bidder, price, date_time, extra }| {
        // Whole thousandths, divided once: that is the number nearest to the decimal one.
        let thousandths = price.saturating_mul(EUROS_PER_1000_DOLLARS);
        InEuros { auction, bidder, price: thousandths as f64 / 1000.0, date_time, extra }
    })
}
