//! Query 17, auction statistics report: the bids on each auction and day, and their prices; the average in
//! whole cents, the rest cut off.

use highwater::prelude::*;
use serde::Serialize;

use super::Event;
use super::day::Day;
use super::levels::level;

/// What the report needs of a bid.
pub(super) struct Price {
    auction: u64,
    day: Day,
    price: u64,
}

/// An auction on a day.
pub(super) type AuctionDay = (u64, Day);

/// How many bids, how many at each level, the least, the greatest, and the sum.
pub(super) type Prices = (u64, u64, u64, u64, u64, u64, u64);

/// A row of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct AuctionReport {
    auction: u64,
    #[serde(serialize_with = "Day::as_text")]
    day: Day,
    total_bids: u64,
    rank1_bids: u64,
    rank2_bids: u64,
    rank3_bids: u64,
    min_price: u64,
    max_price: u64,
    avg_price: u64,
    sum_price: u64,
}

impl Price {
    pub(super) fn of(event: &Event) -> Option<Price> {
        let bid = event.bid()?;
        Some(Price { auction: bid.auction, day: Day::of(bid.date_time), price: bid.price })
    }
}

/// The prices of each auction and day, whenever they change.
pub(super) fn auction_statistics(bids: Stream<Price>) -> Stream<(AuctionDay, Prices)> {
    let at = |wanted| move |bid: &Price| u64::from(level(bid.price) == wanted);
    let price = |bid: &Price| bid.price;
    bids.key_by(|bid| (bid.auction, bid.day))
        .aggregate("statistics", |a| {
            (a.count(), a.sum(at(0)), a.sum(at(1)), a.sum(at(2)), a.min(price), a.max(price), a.sum(price))
        })
        .to_stream()
}

impl AuctionReport {
    pub(super) fn new((auction, day): AuctionDay, prices: Prices) -> AuctionReport {
        let (total_bids, rank1_bids, rank2_bids, rank3_bids, min_price, max_price, sum_price) = prices;
        AuctionReport {
            auction,
            day,
            total_bids,
            rank1_bids,
            rank2_bids,
            rank3_bids,
            min_price,
            max_price,
            avg_price: sum_price / total_bids.max(1),
            sum_price,
        }
    }
}
