//! Queries 11, 17, 18 and 19 by hand: sessions of bidders, and tables of bids.
//!
//! Back of the envelope, for an event: a lookup by auction, or by bidder and auction, in a map that grows with the
//! input, 10 to 50 ns, and the change that is told. Query 18 and 19 keep whole bids.

use std::cmp::Reverse;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater::state::Timestamp;
use highwater_examples::nexmark::{Bid, Event};
use serde::{Deserialize, Serialize};

use super::feed::Needed;
use super::sums::{Change, Row};
use super::ways::Keyed;
use crate::engines::by_hand::{State, Timed};
use crate::work::session::Sessions;

const PAUSE: i64 = 10_000;
const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;
/// From here on a price is of the second level, and of the third.
const LEVELS: [u64; 2] = [10_000, 1_000_000];
const RANKS: usize = 10;

/// The numbers of a bid.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Numbers {
    auction: u64,
    bidder: u64,
    price: u64,
    at: i64,
}

impl Needed for Numbers {
    #[inline]
    fn lent(event: &Event) -> Option<Self> {
        let Bid { auction, bidder, price, date_time, .. } = event.bid()?;
        Some(Numbers { auction: *auction, bidder: *bidder, price: *price, at: date_time.as_millis() })
    }

    #[inline]
    fn owned(event: Event) -> Option<Self> {
        Numbers::lent(&event)
    }
}

impl Timed for Numbers {
    #[inline]
    fn at(&self) -> i64 {
        self.at
    }
}

/// Query 11: the sessions of each bidder.
#[derive(Clone, Default)]
pub(super) struct Q11(Sessions<PAUSE>);

/// A session, which ends when the pause after its last bid is over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Session {
    bidder: u64,
    bids: u64,
    start: i64,
    end: i64,
}

impl State for Q11 {
    type Record = Numbers;
    type Result = Row<Session>;

    #[inline]
    fn add(&mut self, bid: Numbers, _: impl FnMut(Row<Session>)) {
        self.0.add(bid.bidder, bid.at);
    }

    fn close(&mut self, watermark: i64, mut tell: impl FnMut(Row<Session>)) {
        self.0.close(watermark, |bidder, open| {
            tell(Row(Session { bidder, bids: open.count, start: open.first, end: open.last + PAUSE }));
        });
    }
}

impl Keyed for Q11 {
    #[inline]
    fn key(bid: &Numbers) -> u64 {
        bid.bidder
    }
}

/// Number of bids, of those at each level, the least and the greatest price, and the sum.
type Prices = (u64, [u64; 3], u64, u64, u64);

/// Query 17: the prices of each auction and day.
#[derive(Clone, Default)]
pub(super) struct Q17(HashMap<(u64, i64), Prices, RandomState>);

impl State for Q17 {
    type Record = Numbers;
    type Result = Change<(u64, i64), Prices>;

    #[inline]
    fn add(&mut self, bid: Numbers, mut tell: impl FnMut(Self::Result)) {
        let key = (bid.auction, bid.at.div_euclid(DAY_MILLIS));
        let (count, levels, least, greatest, sum) = self.0.entry(key).or_insert((0, [0; 3], u64::MAX, 0, 0));
        *count += 1;
        levels[LEVELS.iter().filter(|level| bid.price >= **level).count()] += 1;
        *least = bid.price.min(*least);
        *greatest = bid.price.max(*greatest);
        *sum += bid.price;
        tell(Change(key, (*count, *levels, *least, *greatest, *sum)));
    }

    fn close(&mut self, _: i64, _: impl FnMut(Self::Result)) {}
}

impl Keyed for Q17 {
    #[inline]
    fn key(bid: &Numbers) -> u64 {
        bid.auction
    }
}

/// A whole bid.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Whole(Bid);

impl Needed for Whole {
    #[inline]
    fn lent(event: &Event) -> Option<Self> {
        event.bid().cloned().map(Whole)
    }

    #[inline]
    fn owned(event: Event) -> Option<Self> {
        match event {
            Event::Bid(bid) => Some(Whole(bid)),
            _ => None,
        }
    }
}

impl Timed for Whole {
    #[inline]
    fn at(&self) -> i64 {
        self.0.date_time.as_millis()
    }
}

/// Query 18: the last bid of each bidder on each auction.
#[derive(Clone, Default)]
pub(super) struct Q18(HashMap<(u64, u64), Bid, RandomState>);

impl State for Q18 {
    type Record = Whole;
    type Result = Change<(u64, u64), Bid>;

    #[inline]
    fn add(&mut self, Whole(bid): Whole, mut tell: impl FnMut(Self::Result)) {
        fn order(bid: &Bid) -> (Timestamp, u64, &str, &str, &str) {
            (bid.date_time, bid.price, &bid.channel, &bid.url, &bid.extra)
        }
        let key = (bid.bidder, bid.auction);
        if self.0.get(&key).is_none_or(|last| order(&bid) > order(last)) {
            self.0.insert(key, bid.clone());
            tell(Change(key, bid));
        }
    }

    fn close(&mut self, _: i64, _: impl FnMut(Self::Result)) {}
}

impl Keyed for Q18 {
    #[inline]
    fn key(Whole(bid): &Whole) -> u64 {
        bid.bidder.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ bid.auction
    }
}

/// Query 19: the highest bids on each auction.
#[derive(Clone, Default)]
pub(super) struct Q19(HashMap<u64, Vec<Bid>, RandomState>);

impl State for Q19 {
    type Record = Whole;
    type Result = Change<(u64, u64), Bid>;

    #[inline]
    fn add(&mut self, Whole(bid): Whole, mut tell: impl FnMut(Self::Result)) {
        fn order(bid: &Bid) -> (Reverse<u64>, Timestamp, u64, &str, &str, &str) {
            (Reverse(bid.price), bid.date_time, bid.bidder, &bid.channel, &bid.url, &bid.extra)
        }
        let auction = bid.auction;
        let top = self.0.entry(auction).or_default();
        let place = top.partition_point(|other| order(&bid) >= order(other));
        if place < RANKS {
            top.insert(place, bid);
            top.truncate(RANKS);
            for (rank, bid) in (place as u64 + 1..).zip(&top[place..]) {
                tell(Change((auction, rank), bid.clone()));
            }
        }
    }

    fn close(&mut self, _: i64, _: impl FnMut(Self::Result)) {}
}

impl Keyed for Q19 {
    #[inline]
    fn key(Whole(bid): &Whole) -> u64 {
        bid.auction
    }
}
