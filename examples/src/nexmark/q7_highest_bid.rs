//! Query 7, highest bid: the highest bids of every 10 seconds, all of them if several are as high.
//!
//! The benchmark's SQL also takes bids of the moment at which a window ends, which is the first of the next,
//! if they are as high as the highest of the window: [`AlsoAtEnd`].

use std::borrow::Borrow;

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Bid, Event, Text};

const PERIOD: Duration = Duration::from_secs(10);
const PERIOD_MILLIS: i64 = 10_000;

/// A bid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HighBid {
    auction: u64,
    bidder: u64,
    price: u64,
    date_time: Timestamp,
    extra: Text,
}

impl HighBid {
    fn of(bid: &Bid) -> HighBid {
        HighBid {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            date_time: bid.date_time,
            extra: bid.extra.clone(),
        }
    }
}

pub(super) fn is_bid(event: &Event) -> bool {
    event.bid().is_some()
}

/// The highest bids of each period. Of all others nothing but the price is looked at.
pub(super) fn highest_bids<E: Borrow<Event> + Send + 'static>(bids: Stream<E>) -> Stream<HighBid> {
    bids.key_by(|_| ())
        .two_stage()
        .window(tumbling(PERIOD))
        .aggregate("highest", |_| Highest)
        .key_by(|_| ())
        .process("at-the-end", |states| AlsoAtEnd { before: states.value("before") })
        .values()
}

/// The highest bids, and those of the first moment of the window.
struct Highest;

/// What is kept of a window's bids.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct High {
    /// The highest bids.
    highest: Vec<HighBid>,
    /// All bids of the first moment.
    first: Vec<HighBid>,
}

impl High {
    fn price(&self) -> Option<u64> {
        Some(self.highest.first()?.price)
    }

    /// Whether a bid of this price is among the highest; lower ones go.
    fn admits(&mut self, price: u64) -> bool {
        if self.price() < Some(price) {
            self.highest.clear();
        }
        self.price().is_none_or(|highest| highest == price)
    }
}

impl<E: Borrow<Event> + 'static> Aggregate<E> for Highest {
    type Acc = High;
    type Out = High;

    fn start(&self) -> High {
        High::default()
    }

    fn add(&self, kept: &mut High, event: &E, time: Timestamp) {
        let Some(bid) = event.borrow().bid() else { return };
        if kept.admits(bid.price) {
            kept.highest.push(HighBid::of(bid));
        }
        if time.as_millis() % PERIOD_MILLIS == 0 {
            kept.first.push(HighBid::of(bid));
        }
    }

    fn merge(&self, kept: &mut High, mut later: High) {
        if later.price().is_some_and(|price| kept.admits(price)) {
            kept.highest.append(&mut later.highest);
        }
        kept.first.append(&mut later.first);
    }

    fn finish(&self, kept: &High) -> High {
        kept.clone()
    }
}

/// Adds to the highest bids of a window those of the next one's first moment that are as high.
struct AlsoAtEnd {
    /// The end of the window before, and its highest price.
    before: Value<(Timestamp, u64)>,
}

impl KeyedOperator<(), Windowed<(), High>> for AlsoAtEnd {
    type Out = HighBid;

    fn on_record(
        &mut self,
        high: Windowed<(), High>,
        context: &mut Context<'_, (), HighBid>,
    ) -> Result<(), Cause> {
        let before = self.before.get(context)?.copied();
        if let Some(price) = high.value.price() {
            self.before.set(context, (high.window.end, price))?;
        }
        let High { highest, first } = high.value;
        if let Some((end, price)) = before {
            let also = first.into_iter().filter(|bid| bid.date_time == end && bid.price == price);
            also.for_each(|bid| context.emit(bid));
        }
        highest.into_iter().for_each(|bid| context.emit(bid));
        Ok(())
    }
}
