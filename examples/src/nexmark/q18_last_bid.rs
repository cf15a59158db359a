//! Query 18, find last bid: the last bid of each bidder on each auction.
//!
//! Of bids of one moment, which the benchmark leaves open, the higher one is the last; of equal ones the one
//! whose channel, url and `extra` come later in the alphabet.

use highwater::prelude::*;

use super::{Bid, Event};

/// A bidder, and an auction.
pub(super) type Pair = (u64, u64);

/// The whole bid.
pub(super) fn bid(event: &Event) -> Option<Bid> {
    event.bid().cloned()
}

/// The last bid of each bidder on each auction, whenever there is a later one.
pub(super) fn last_bids(bids: Stream<Bid>) -> Stream<(Pair, Bid)> {
    bids.key_by(|bid| (bid.bidder, bid.auction))
        .process("last-bids", |states| Last { bid: states.value("bid") })
        .entries()
}

/// Passes bids on that are later than all before.
struct Last {
    bid: Value<Bid>,
}

impl KeyedOperator<Pair, Bid> for Last {
    type Out = Bid;

    fn on_record(&mut self, bid: Bid, context: &mut Context<'_, Pair, Bid>) -> Result<(), Cause> {
        if self.bid.get(context)?.is_none_or(|last| is_later(&bid, last)) {
            self.bid.set(context, bid.clone())?;
            context.emit(bid);
        }
        Ok(())
    }
}

fn is_later(bid: &Bid, last: &Bid) -> bool {
    fn order(bid: &Bid) -> (Timestamp, u64, &str, &str, &str) {
        (bid.date_time, bid.price, &bid.channel, &bid.url, &bid.extra)
    }
    order(bid) > order(last)
}
