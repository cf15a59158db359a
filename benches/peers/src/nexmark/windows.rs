//! Queries 5, 7 and 8 by hand: windows of event time.
//!
//! Back of the envelope, for an event: query 5 counts bids by auction in slices of 2 s, and adds five slices up when
//! a window ends. An auction has its bids within a second or so, so that the map of a slice has some 1300 entries and
//! lies in the first- or second-level cache: 5 ns a bid. Query 7 compares prices, 1 ns, and seldom keeps a bid. Query
//! 8 needs one event in twelve.

use std::collections::BTreeMap;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater_benches::tally::Tally;
use highwater_examples::nexmark::{Bid, Event, Person, Text};
use serde::{Deserialize, Serialize};

use super::feed::{Needed, Pool, Way};
use super::sums::{Row, Told};
use super::ways::{self, ByHand, Keyed, Then};
use crate::engines::by_hand::{ByEnd, State, Timed};

const PERIOD: i64 = 10_000;
const EVERY: i64 = 2_000;

/// The end of the window of this length that a time is in.
#[inline]
fn end(at: i64, length: i64) -> i64 {
    at - at.rem_euclid(length) + length
}

/// Query 5.
pub(super) fn q5() -> ByHand {
    ways::keyed_twice::<Counting, Most>()
}

/// The auction of a bid.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct BidOn {
    auction: u64,
    at: i64,
}

impl Needed for BidOn {
    #[inline]
    fn lent(event: &Event) -> Option<Self> {
        let bid = event.bid()?;
        Some(BidOn { auction: bid.auction, at: bid.date_time.as_millis() })
    }

    #[inline]
    fn owned(event: Event) -> Option<Self> {
        BidOn::lent(&event)
    }
}

impl Timed for BidOn {
    #[inline]
    fn at(&self) -> i64 {
        self.at
    }
}

type Counts = HashMap<u64, u64, RandomState>;

/// Counts the bids on each auction in slices.
#[derive(Clone, Default)]
pub(super) struct Counting {
    open: ByEnd<Counts>,
    /// The slices that are closed, by their ends, as long as they are part of a window that is not.
    closed: BTreeMap<i64, Counts>,
    /// The windows that end up to here have been told.
    told: i64,
}

/// The bids on an auction in a window.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Counted {
    auction: u64,
    num: u64,
    end: i64,
}

impl State for Counting {
    type Record = BidOn;
    type Result = Counted;

    #[inline]
    fn add(&mut self, bid: BidOn, _: impl FnMut(Counted)) {
        *self.open.at(end(bid.at, EVERY)).entry(bid.auction).or_default() += 1;
    }

    fn close(&mut self, watermark: i64, mut tell: impl FnMut(Counted)) {
        let Counting { open, closed, told } = self;
        open.close(watermark, |end, counts| drop(closed.insert(end, std::mem::take(counts))));
        while let Some((&first, _)) = closed.first_key_value() {
            // The next window, or the first one that has the first slice in it.
            let end = first.max(*told + EVERY);
            if end > watermark {
                return;
            }
            let mut counts = Counts::default();
            for (auction, num) in closed.range(..=end).flat_map(|(_, slice)| slice) {
                *counts.entry(*auction).or_default() += num;
            }
            counts.drain().for_each(|(auction, num)| tell(Counted { auction, num, end }));
            *told = end;
            // The next window has no slice that ends where it begins.
            closed.retain(|slice, _| *slice > end + EVERY - PERIOD);
        }
    }
}

impl Keyed for Counting {
    #[inline]
    fn key(bid: &BidOn) -> u64 {
        bid.auction
    }
}

/// The auctions with the most bids of each window.
#[derive(Clone, Default)]
pub(super) struct Most(BTreeMap<i64, (u64, Vec<u64>)>);

/// One of them.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct HotItem {
    auction: u64,
    num: u64,
}

impl State for Most {
    type Record = Counted;
    type Result = Row<HotItem>;

    #[inline]
    fn add(&mut self, Counted { auction, num, end }: Counted, _: impl FnMut(Row<HotItem>)) {
        let (most, auctions) = self.0.entry(end).or_default();
        if num > *most {
            *most = num;
            auctions.clear();
        }
        if num == *most {
            auctions.push(auction);
        }
    }

    fn close(&mut self, watermark: i64, mut tell: impl FnMut(Row<HotItem>)) {
        while let Some(first) = self.0.first_entry().filter(|first| *first.key() <= watermark) {
            let (num, auctions) = first.remove();
            auctions.into_iter().for_each(|auction| tell(Row(HotItem { auction, num })));
        }
    }
}

impl Then for Most {
    #[inline]
    fn key(counted: &Counted) -> u64 {
        counted.end as u64 / EVERY as u64
    }
}

/// Query 7; a loop over lent bids copies those that are the highest so far, and no others.
pub(super) fn q7() -> ByHand {
    ByHand { hand: q7_in_a_loop, ..ways::local_then_keyed::<Highest, AlsoAtEnd>() }
}

/// A bid as query 7 tells it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct HighBid {
    auction: u64,
    bidder: u64,
    price: u64,
    at: i64,
    extra: Text,
}

impl Needed for HighBid {
    #[inline]
    fn lent(event: &Event) -> Option<Self> {
        event.bid().map(HighBid::of)
    }

    #[inline]
    fn owned(event: Event) -> Option<Self> {
        let Event::Bid(Bid { auction, bidder, price, date_time, extra, .. }) = event else { return None };
        Some(HighBid { auction, bidder, price, at: date_time.as_millis(), extra })
    }
}

impl Timed for HighBid {
    #[inline]
    fn at(&self) -> i64 {
        self.at
    }
}

impl HighBid {
    fn of(bid: &Bid) -> HighBid {
        HighBid {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            at: bid.date_time.as_millis(),
            extra: bid.extra.clone(),
        }
    }
}

/// The highest bids of a window, and those of its first moment, which the window before may want.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct High {
    end: i64,
    highest: Vec<HighBid>,
    first: Vec<HighBid>,
}

impl High {
    fn price(&self) -> Option<u64> {
        Some(self.highest.first()?.price)
    }

    /// Adds a bid of this price and time, if it is one to be kept.
    #[inline]
    fn add(&mut self, price: u64, at: i64, bid: impl Fn() -> HighBid) {
        if self.price() < Some(price) {
            self.highest.clear();
        }
        if self.price().is_none_or(|highest| highest == price) {
            self.highest.push(bid());
        }
        if at.rem_euclid(PERIOD) == 0 {
            self.first.push(bid());
        }
    }
}

/// The highest bids of each window.
#[derive(Clone, Default)]
pub(super) struct Highest(ByEnd<High>);

impl Highest {
    #[inline]
    fn consider(&mut self, price: u64, at: i64, bid: impl Fn() -> HighBid) {
        self.0.at(end(at, PERIOD)).add(price, at, bid);
    }
}

impl State for Highest {
    type Record = HighBid;
    type Result = High;

    #[inline]
    fn add(&mut self, bid: HighBid, _: impl FnMut(High)) {
        self.consider(bid.price, bid.at, || bid.clone());
    }

    fn close(&mut self, watermark: i64, mut tell: impl FnMut(High)) {
        self.0.close(watermark, |end, high| tell(High { end, ..std::mem::take(high) }));
    }
}

impl Keyed for Highest {
    fn key(_: &HighBid) -> u64 {
        0
    }
}

/// Adds to the highest bids of a window those of the next one's first moment that are as high.
#[derive(Clone, Default)]
pub(super) struct AlsoAtEnd {
    windows: BTreeMap<i64, High>,
    /// The end of the window before, and its highest price.
    before: Option<(i64, u64)>,
}

impl State for AlsoAtEnd {
    type Record = High;
    type Result = Row<HighBid>;

    fn add(&mut self, high: High, _: impl FnMut(Row<HighBid>)) {
        let kept = self.windows.entry(high.end).or_default();
        for bid in high.highest {
            if kept.price() < Some(bid.price) {
                kept.highest.clear();
            }
            if kept.price().is_none_or(|highest| highest == bid.price) {
                kept.highest.push(bid);
            }
        }
        kept.first.extend(high.first);
    }

    fn close(&mut self, watermark: i64, mut tell: impl FnMut(Row<HighBid>)) {
        while let Some(first) = self.windows.first_entry().filter(|first| *first.key() <= watermark) {
            let (end, high) = first.remove_entry();
            let before = self.before;
            let also = high.first.iter().filter(|bid| Some((bid.at, bid.price)) == before);
            also.for_each(|bid| tell(Row(bid.clone())));
            self.before = high.price().map(|price| (end, price)).or(before);
            high.highest.into_iter().for_each(|bid| tell(Row(bid)));
        }
    }
}

impl Then for AlsoAtEnd {
    fn key(_: &High) -> u64 {
        0
    }
}

fn q7_in_a_loop(pool: Pool, way: Way, workers: usize) -> Tally {
    if way == Way::Owned {
        return (ways::local_then_keyed::<Highest, AlsoAtEnd>().hand)(pool, way, workers);
    }
    ways::summed(|sums| {
        let (mut highest, mut also) = (Highest::default(), AlsoAtEnd::default());
        let mut watermark = crate::pool::Watermark::default();
        for events in pool.chunks(highwater_benches::feed::BATCH_RECORDS) {
            for bid in events.iter().filter_map(Event::bid) {
                let at = bid.date_time.as_millis();
                watermark.see(at);
                highest.consider(bid.price, at, || HighBid::of(bid));
            }
            highest.close(watermark.now(), |high| also.add(high, |_| ()));
            also.close(watermark.now(), |told| told.add_to(sums));
        }
        highest.close(i64::MAX, |high| also.add(high, |_| ()));
        also.close(i64::MAX, |told| told.add_to(sums));
    })
}

/// Query 8.
pub(super) fn q8() -> ByHand {
    ways::keyed::<NewSellers>()
}

/// Somebody came, or sold something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Act {
    id: u64,
    at: i64,
    /// The name of who came.
    name: Option<Text>,
}

impl Needed for Act {
    #[inline]
    fn lent(event: &Event) -> Option<Self> {
        let (id, name) = match event {
            Event::Person(person) => (person.id, Some(person.name.clone())),
            Event::Auction(auction) => (auction.seller, None),
            Event::Bid(_) => return None,
        };
        Some(Act { id, at: event.time().as_millis(), name })
    }

    #[inline]
    fn owned(event: Event) -> Option<Self> {
        match event {
            Event::Person(Person { id, name, date_time, .. }) => {
                Some(Act { id, at: date_time.as_millis(), name: Some(name) })
            }
            event => Act::lent(&event),
        }
    }
}

impl Timed for Act {
    #[inline]
    fn at(&self) -> i64 {
        self.at
    }
}

/// What a person did in a window.
#[derive(Clone, Default)]
struct Did {
    came: Option<Text>,
    sold: bool,
}

/// What everybody did in each window.
#[derive(Clone, Default)]
pub(super) struct NewSellers(ByEnd<HashMap<u64, Did, RandomState>>);

/// Who came and sold in one window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct NewSeller {
    id: u64,
    name: Text,
    start: i64,
}

impl State for NewSellers {
    type Record = Act;
    type Result = Row<NewSeller>;

    #[inline]
    fn add(&mut self, Act { id, at, name }: Act, _: impl FnMut(Row<NewSeller>)) {
        let did = self.0.at(end(at, PERIOD)).entry(id).or_default();
        if name.is_some() {
            did.came = name;
        } else {
            did.sold = true;
        }
    }

    fn close(&mut self, watermark: i64, mut tell: impl FnMut(Row<NewSeller>)) {
        self.0.close(watermark, |end, window| {
            for (id, Did { came, sold }) in window.drain() {
                if let Some(name) = came.filter(|_| sold) {
                    tell(Row(NewSeller { id, name, start: end - PERIOD }));
                }
            }
        });
    }
}

impl Keyed for NewSellers {
    #[inline]
    fn key(act: &Act) -> u64 {
        act.id
    }
}
