//! Query 20, expand bid with auction: every bid on an auction in category 10, with the auction.
//!
//! A bid may come before its auction, and after its end; it counts all the same.

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

use super::resolve::{Part, Resolve};
use super::{Auction, Bid, Event, Text};

const CATEGORY: u64 = 10;

/// An auction, or a bid with the auction's id.
pub(super) type Part20 = Part<Auction, BidOn>;

/// What is told of a bid.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BidOn {
    bidder: u64,
    price: u64,
    channel: Text,
    url: Text,
    at: Timestamp,
    extra: Text,
}

/// A bid with its auction.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BidWithAuction {
    auction: u64,
    bidder: u64,
    price: u64,
    channel: Text,
    url: Text,
    #[serde(rename = "bid_dateTime")]
    bid_date_time: Timestamp,
    #[serde(rename = "bid_extra")]
    bid_extra: Text,
    item_name: Text,
    description: Text,
    initial_bid: u64,
    reserve: u64,
    #[serde(rename = "auction_dateTime")]
    auction_date_time: Timestamp,
    expires: Timestamp,
    seller: u64,
    category: u64,
    #[serde(rename = "auction_extra")]
    auction_extra: Text,
}

/// All auctions, those of other categories without what is not told, and all bids.
pub(super) fn part(event: &Event) -> Option<Part20> {
    match event {
        Event::Person(_) => None,
        Event::Auction(auction) => {
            let target = (auction.category == CATEGORY).then(|| auction.clone());
            Some(Part::Target { id: auction.id, target })
        }
        Event::Bid(bid) => Some(Part::Reference { id: bid.auction, record: BidOn::of(bid) }),
    }
}

/// Each bid with its auction.
pub(super) fn bids_with_auctions(parts: Stream<Part20>) -> Stream<BidWithAuction> {
    parts
        .key_by(Part::id)
        .process("auctions", Resolve::new)
        .values()
        .map(|(auction, bid)| BidWithAuction::new(auction, bid))
}

impl BidOn {
    fn of(bid: &Bid) -> BidOn {
        BidOn {
            bidder: bid.bidder,
            price: bid.price,
            channel: bid.channel.clone(),
            url: bid.url.clone(),
            at: bid.date_time,
            extra: bid.extra.clone(),
        }
    }
}

impl BidWithAuction {
    fn new(auction: Auction, bid: BidOn) -> BidWithAuction {
        BidWithAuction {
            auction: auction.id,
            bidder: bid.bidder,
            price: bid.price,
            channel: bid.channel,
            url: bid.url,
            bid_date_time: bid.at,
            bid_extra: bid.extra,
            item_name: auction.item_name,
            description: auction.description,
            initial_bid: auction.initial_bid,
            reserve: auction.reserve,
            auction_date_time: auction.date_time,
            expires: auction.expires,
            seller: auction.seller,
            category: auction.category,
            auction_extra: auction.extra,
        }
    }
}
