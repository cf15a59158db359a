//! Queries 0, 1, 2 and 22 by hand: each bid by itself.
//!
//! Back of the envelope, for an event: an owned bid is a hundred bytes copied and three counters of shared text up
//! and down, each in a line of its own that comes from memory, 10 to 20 ns each. A lent one of query 0 is one
//! counter, and of query 2 the two numbers that it looks at. Query 22 makes three texts of a bid's url: three
//! allocations, 20 ns each.

use highwater_examples::nexmark::{Bid, Event, Text};
use serde::{Deserialize, Serialize};

use super::feed::Needed;
use super::sums::Row;
use super::ways::Step;

/// Of so many auctions query 2 looks at one.
const ONE_IN: u64 = 123;
/// A dollar in thousandths of a euro.
const EUROS_PER_1000_DOLLARS: u64 = 908;

/// A bid with its price in dollars, or in euros.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Passed<P> {
    auction: u64,
    bidder: u64,
    price: P,
    at: i64,
    extra: Text,
}

impl Needed for Passed<u64> {
    #[inline]
    fn lent(event: &Event) -> Option<Self> {
        let Bid { auction, bidder, price, .. } = *event.bid()?;
        let (at, extra) = (event.time().as_millis(), event.bid()?.extra.clone());
        Some(Passed { auction, bidder, price, at, extra })
    }

    #[inline]
    fn owned(event: Event) -> Option<Self> {
        let Event::Bid(Bid { auction, bidder, price, date_time, extra, .. }) = event else { return None };
        Some(Passed { auction, bidder, price, at: date_time.as_millis(), extra })
    }
}

/// Pass through.
pub(super) struct Q0;

impl Step for Q0 {
    type Record = Passed<u64>;
    type Told = Row<Passed<u64>>;

    #[inline]
    fn step(bid: Passed<u64>) -> Option<Row<Passed<u64>>> {
        Some(Row(bid))
    }
}

/// Currency conversion.
pub(super) struct Q1;

impl Step for Q1 {
    type Record = Passed<u64>;
    type Told = Row<Passed<f64>>;

    #[inline]
    fn step(Passed { auction, bidder, price, at, extra }: Passed<u64>) -> Option<Row<Passed<f64>>> {
        let price = price.saturating_mul(EUROS_PER_1000_DOLLARS) as f64 / 1000.0;
        Some(Row(Passed { auction, bidder, price, at, extra }))
    }
}

/// What was bid on an auction.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Price {
    auction: u64,
    price: u64,
}

impl Needed for Price {
    #[inline]
    fn lent(event: &Event) -> Option<Self> {
        let bid = event.bid()?;
        Some(Price { auction: bid.auction, price: bid.price })
    }

    #[inline]
    fn owned(event: Event) -> Option<Self> {
        Price::lent(&event)
    }
}

/// Selection.
pub(super) struct Q2;

impl Step for Q2 {
    type Record = Price;
    type Told = Row<Price>;

    #[inline]
    fn step(bid: Price) -> Option<Row<Price>> {
        bid.auction.is_multiple_of(ONE_IN).then_some(Row(bid))
    }
}

/// A bid with its url.
#[derive(Clone, Debug)]
pub(super) struct Visited {
    auction: u64,
    bidder: u64,
    price: u64,
    channel: Text,
    url: Text,
}

impl Needed for Visited {
    #[inline]
    fn lent(event: &Event) -> Option<Self> {
        let bid = event.bid()?;
        let (channel, url) = (bid.channel.clone(), bid.url.clone());
        Some(Visited { auction: bid.auction, bidder: bid.bidder, price: bid.price, channel, url })
    }

    #[inline]
    fn owned(event: Event) -> Option<Self> {
        let Event::Bid(Bid { auction, bidder, price, channel, url, .. }) = event else { return None };
        Some(Visited { auction, bidder, price, channel, url })
    }
}

/// A bid with the directories of its url.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Directories {
    auction: u64,
    bidder: u64,
    price: u64,
    channel: Text,
    directories: [Option<Text>; 3],
}

/// Get URL directories.
pub(super) struct Q22;

impl Step for Q22 {
    type Record = Visited;
    type Told = Row<Directories>;

    #[inline]
    fn step(Visited { auction, bidder, price, channel, url }: Visited) -> Option<Row<Directories>> {
        let mut parts = url.split('/').skip(3).map(Text::from);
        let directories = std::array::from_fn(|_| parts.next());
        Some(Row(Directories { auction, bidder, price, channel, directories }))
    }
}
