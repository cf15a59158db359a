//! Query 9, winning bids: every auction with its winning bid.
//!
//! The highest bid wins, of equal ones the earliest; of those, which the benchmark leaves open, that of the
//! bidder with the smallest id, and then the one whose `extra` comes first in the alphabet.

use std::cmp::Reverse;

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

use super::winning::{Bidding, Sale, Winning, Won};
use super::{Auction, Event, Text};

/// What is told of a winning bid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Winner {
    bidder: u64,
    price: u64,
    at: Timestamp,
    extra: Text,
}

impl Bidding for Winner {
    fn at(&self) -> Timestamp {
        self.at
    }

    fn beats(&self, other: &Winner) -> bool {
        fn order(bid: &Winner) -> (Reverse<u64>, Timestamp, u64, &str) {
            (Reverse(bid.price), bid.at, bid.bidder, &bid.extra)
        }
        order(self) < order(other)
    }
}

/// A whole auction, or a bid.
pub(super) type WholeSale = Sale<Auction, Winner>;

/// An auction and its winning bid.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WinningBid {
    id: u64,
    item_name: Text,
    description: Text,
    initial_bid: u64,
    reserve: u64,
    date_time: Timestamp,
    expires: Timestamp,
    seller: u64,
    category: u64,
    extra: Text,
    auction: u64,
    bidder: u64,
    price: u64,
    #[serde(rename = "bid_dateTime")]
    bid_date_time: Timestamp,
    #[serde(rename = "bid_extra")]
    bid_extra: Text,
}

/// All auctions and bids.
pub(super) fn sale(event: &Event) -> Option<WholeSale> {
    match event {
        Event::Person(_) => None,
        Event::Auction(auction) => Some(Sale::Auction {
            id: auction.id,
            opens: auction.date_time,
            closes: auction.expires,
            about: auction.clone(),
        }),
        Event::Bid(bid) => {
            let (bidder, price, at, extra) = (bid.bidder, bid.price, bid.date_time, bid.extra.clone());
            Some(Sale::Bid { auction: bid.auction, bid: Winner { bidder, price, at, extra } })
        }
    }
}

/// The auction of each id with its winning bid, whenever there is a better one.
pub(super) fn winning_bids(sales: Stream<WholeSale>) -> Stream<(u64, (Auction, Winner))> {
    sales
        .key_by(Sale::auction)
        .process("winning-bids", Winning::new)
        .map_values(|Won { about, bid, .. }| (about, bid))
        .entries()
}

impl WinningBid {
    pub(super) fn new(_: u64, (auction, bid): (Auction, Winner)) -> WinningBid {
        WinningBid {
            id: auction.id,
            item_name: auction.item_name,
            description: auction.description,
            initial_bid: auction.initial_bid,
            reserve: auction.reserve,
            date_time: auction.date_time,
            expires: auction.expires,
            seller: auction.seller,
            category: auction.category,
            extra: auction.extra,
            auction: auction.id,
            bidder: bid.bidder,
            price: bid.price,
            bid_date_time: bid.at,
            bid_extra: bid.extra,
        }
    }
}
