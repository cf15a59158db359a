//! Query 19, auction top 10: the ten highest bids on each auction, with their ranks.
//!
//! Of equally high bids, which the benchmark leaves open, the earlier one comes first; of those of one moment
//! the one with the smaller bidder, and then with the channel, url and `extra` that come first in the
//! alphabet.

use std::cmp::Reverse;

use highwater::prelude::*;
use serde::Serialize;

use super::{Bid, Event};

/// How many ranks there are.
const RANKS: usize = 10;

/// An auction and a rank, counted from 1.
pub(super) type Rank = (u64, u64);

/// A bid with its rank.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct RankedBid {
    #[serde(flatten)]
    bid: Bid,
    rank_number: u64,
}

/// The whole bid.
pub(super) fn bid(event: &Event) -> Option<Bid> {
    event.bid().cloned()
}

/// The bid at each rank, whenever another one takes it.
pub(super) fn top_bids(bids: Stream<Bid>) -> Stream<(Rank, Bid)> {
    bids.key_by(|bid| bid.auction).process("top-bids", |states| Top { bids: states.list("bids") }).values()
}

/// Keeps the highest bids in order.
struct Top {
    bids: List<Bid>,
}

impl KeyedOperator<u64, Bid> for Top {
    type Out = (Rank, Bid);

    fn on_record(&mut self, bid: Bid, context: &mut Context<'_, u64, (Rank, Bid)>) -> Result<(), Cause> {
        let auction = *context.key();
        let top = self.bids.get(context)?;
        let place = top.partition_point(|other| !precedes(&bid, other));
        if place == RANKS {
            return Ok(());
        }
        let top = self.bids.get_mut(context)?;
        top.insert(place, bid);
        top.truncate(RANKS);
        let moved: Vec<Bid> = top[place..].to_vec();
        for (rank, bid) in (place as u64 + 1..).zip(moved) {
            context.emit(((auction, rank), bid));
        }
        Ok(())
    }
}

fn precedes(bid: &Bid, other: &Bid) -> bool {
    fn order(bid: &Bid) -> (Reverse<u64>, Timestamp, u64, &str, &str, &str) {
        (Reverse(bid.price), bid.date_time, bid.bidder, &bid.channel, &bid.url, &bid.extra)
    }
    order(bid) < order(other)
}

impl RankedBid {
    pub(super) fn new((_, rank_number): Rank, bid: Bid) -> RankedBid {
        RankedBid { bid, rank_number }
    }
}
