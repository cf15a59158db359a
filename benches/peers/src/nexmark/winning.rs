//! Queries 4 and 9 by hand: the winning bid of every auction, and what is told of it.
//!
//! Back of the envelope, for an event: a lookup in a map of all auctions, 5 to 20 ns with their number, and one bid in
//! some five is a better one. Each of those changes an average of query 4, or a row of query 9 with eight texts.

use std::cmp::Reverse;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use highwater_examples::nexmark::{Auction, Bid, Event, Text};
use serde::{Deserialize, Serialize};

use super::feed::Needed;
use super::sums::Change;
use super::ways::{self, ByHand, Keyed, Then};
use crate::engines::by_hand::{State, Timed};

/// Query 4.
pub(super) fn q4() -> ByHand {
    ways::keyed_twice::<Winning<Category>, Averages>()
}

/// Query 9.
pub(super) fn q9() -> ByHand {
    ways::keyed::<Winning<Whole>>()
}

/// What a query needs of auctions and bids, and what it tells of a winning bid.
pub(super) trait Wanted: Clone + Send + 'static {
    /// What it needs of an auction.
    type About: Clone + Send + 'static;
    /// What it needs of a bid.
    type Bid: Clone + Send + 'static;
    /// What it tells.
    type Told: Clone + Send + 'static;

    /// Of an auction.
    fn about(auction: Auction) -> Self::About;
    /// Of an auction that is somebody else's.
    fn about_lent(auction: &Auction) -> Self::About;
    /// Of a bid.
    fn bid(bid: Bid) -> Self::Bid;
    /// Of a bid that is somebody else's.
    fn bid_lent(bid: &Bid) -> Self::Bid;
    /// When a bid was made.
    fn at(bid: &Self::Bid) -> i64;
    /// Whether a bid wins against another.
    fn beats(bid: &Self::Bid, other: &Self::Bid) -> bool;
    /// An auction has a winning bid, or a better one than before.
    fn told(auction: u64, about: &Self::About, bid: Self::Bid, before: Option<Self::Bid>) -> Self::Told;
}

/// An auction or a bid.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Sale<A, B> {
    Auction { id: u64, opens: i64, closes: i64, about: A },
    Bid { auction: u64, at: i64, bid: B },
}

impl<A: Send + 'static, B: Send + 'static> Timed for Sale<A, B> {
    #[inline]
    fn at(&self) -> i64 {
        match self {
            Sale::Auction { opens: at, .. } | Sale::Bid { at, .. } => *at,
        }
    }
}

macro_rules! needed {
    ($($wanted:ty),*) => {
        $(impl Needed for Sale<<$wanted as Wanted>::About, <$wanted as Wanted>::Bid> {
            #[inline]
            fn lent(event: &Event) -> Option<Self> {
                match event {
                    Event::Person(_) => None,
                    Event::Auction(auction) => {
                        let (opens, closes) = (auction.date_time.as_millis(), auction.expires.as_millis());
                        let about = <$wanted>::about_lent(auction);
                        Some(Sale::Auction { id: auction.id, opens, closes, about })
                    }
                    Event::Bid(bid) => {
                        let (auction, at) = (bid.auction, bid.date_time.as_millis());
                        Some(Sale::Bid { auction, at, bid: <$wanted>::bid_lent(bid) })
                    }
                }
            }

            #[inline]
            fn owned(event: Event) -> Option<Self> {
                match event {
                    Event::Person(_) => None,
                    Event::Auction(auction) => {
                        let (opens, closes) = (auction.date_time.as_millis(), auction.expires.as_millis());
                        Some(Sale::Auction { id: auction.id, opens, closes, about: <$wanted>::about(auction) })
                    }
                    Event::Bid(bid) => {
                        let (auction, at) = (bid.auction, bid.date_time.as_millis());
                        Some(Sale::Bid { auction, at, bid: <$wanted>::bid(bid) })
                    }
                }
            }
        })*
    };
}

needed!(Category, Whole);

/// What is kept of an auction.
#[derive(Clone)]
enum Kept<A, B> {
    Expected(Vec<B>),
    Open { opens: i64, closes: i64, about: A, winner: Option<B> },
}

/// The winning bids.
#[derive(Clone)]
pub(super) struct Winning<W: Wanted> {
    kept: HashMap<u64, Kept<W::About, W::Bid>, RandomState>,
}

impl<W: Wanted> Default for Winning<W> {
    fn default() -> Winning<W> {
        Winning { kept: HashMap::default() }
    }
}

impl<W: Wanted> State for Winning<W> {
    type Record = Sale<W::About, W::Bid>;
    type Result = W::Told;

    #[inline]
    fn add(&mut self, sale: Self::Record, mut tell: impl FnMut(W::Told)) {
        match sale {
            Sale::Bid { auction, at, bid } => {
                match self.kept.entry(auction).or_insert_with(|| Kept::Expected(Vec::new())) {
                    Kept::Expected(bids) => bids.push(bid),
                    Kept::Open { opens, closes, about, winner } => {
                        let is_in_time = (*opens..=*closes).contains(&at);
                        if is_in_time && winner.as_ref().is_none_or(|winner| W::beats(&bid, winner)) {
                            let before = winner.replace(bid.clone());
                            tell(W::told(auction, about, bid, before));
                        }
                    }
                }
            }
            Sale::Auction { id, opens, closes, about } => {
                let kept = self.kept.entry(id).or_insert_with(|| Kept::Expected(Vec::new()));
                if let Kept::Expected(bids) = kept {
                    let in_time = std::mem::take(bids).into_iter();
                    let in_time = in_time.filter(|bid| (opens..=closes).contains(&W::at(bid)));
                    let winner = in_time.reduce(|best, bid| if W::beats(&bid, &best) { bid } else { best });
                    if let Some(bid) = winner.clone() {
                        tell(W::told(id, &about, bid, None));
                    }
                    *kept = Kept::Open { opens, closes, about, winner };
                }
            }
        }
    }

    fn close(&mut self, _: i64, _: impl FnMut(W::Told)) {}
}

impl<W: Wanted> Keyed for Winning<W>
where
    Sale<W::About, W::Bid>: Needed + ::renoir::operator::ExchangeData + ::timely::ExchangeData,
{
    #[inline]
    fn key(sale: &Self::Record) -> u64 {
        match sale {
            Sale::Auction { id, .. } => *id,
            Sale::Bid { auction, .. } => *auction,
        }
    }
}

/// What query 4 wants: the category, and the price.
#[derive(Clone)]
pub(super) struct Category;

/// A bid of which the price counts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    price: u64,
    at: i64,
}

/// A winning bid in a category, and the price of the one before.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Won {
    category: u64,
    price: u64,
    before: Option<u64>,
}

impl Wanted for Category {
    type About = u64;
    type Bid = Offer;
    type Told = Won;

    fn about(auction: Auction) -> u64 {
        auction.category
    }

    fn about_lent(auction: &Auction) -> u64 {
        auction.category
    }

    #[inline]
    fn bid(bid: Bid) -> Offer {
        Category::bid_lent(&bid)
    }

    #[inline]
    fn bid_lent(bid: &Bid) -> Offer {
        Offer { price: bid.price, at: bid.date_time.as_millis() }
    }

    fn at(bid: &Offer) -> i64 {
        bid.at
    }

    #[inline]
    fn beats(bid: &Offer, other: &Offer) -> bool {
        (other.price, bid.at) < (bid.price, other.at)
    }

    fn told(_: u64, category: &u64, bid: Offer, before: Option<Offer>) -> Won {
        Won { category: *category, price: bid.price, before: before.map(|before| before.price) }
    }
}

/// The sum and the number of the winning bids of each category.
#[derive(Clone, Default)]
pub(super) struct Averages(HashMap<u64, (i128, u64), RandomState>);

impl State for Averages {
    type Record = Won;
    type Result = Change<u64, u64>;

    #[inline]
    fn add(&mut self, won: Won, mut tell: impl FnMut(Change<u64, u64>)) {
        let (sum, count) = self.0.entry(won.category).or_default();
        *sum += i128::from(won.price) - won.before.map_or(0, i128::from);
        *count += u64::from(won.before.is_none());
        tell(Change(won.category, (*sum / i128::from((*count).max(1))) as u64));
    }

    fn close(&mut self, _: i64, _: impl FnMut(Change<u64, u64>)) {}
}

impl Then for Averages {
    fn key(won: &Won) -> u64 {
        won.category
    }
}

/// What query 9 wants: the whole auction, and who bid.
#[derive(Clone)]
pub(super) struct Whole;

/// What is told of a winning bid.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Winner {
    bidder: u64,
    price: u64,
    at: i64,
    extra: Text,
}

impl Wanted for Whole {
    type About = Auction;
    type Bid = Winner;
    type Told = Change<u64, (Auction, Winner)>;

    fn about(auction: Auction) -> Auction {
        auction
    }

    fn about_lent(auction: &Auction) -> Auction {
        auction.clone()
    }

    #[inline]
    fn bid(bid: Bid) -> Winner {
        let Bid { bidder, price, date_time, extra, .. } = bid;
        Winner { bidder, price, at: date_time.as_millis(), extra }
    }

    #[inline]
    fn bid_lent(bid: &Bid) -> Winner {
        let at = bid.date_time.as_millis();
        Winner { bidder: bid.bidder, price: bid.price, at, extra: bid.extra.clone() }
    }

    fn at(bid: &Winner) -> i64 {
        bid.at
    }

    #[inline]
    fn beats(bid: &Winner, other: &Winner) -> bool {
        fn order(bid: &Winner) -> (Reverse<u64>, i64, u64, &str) {
            (Reverse(bid.price), bid.at, bid.bidder, &bid.extra)
        }
        order(bid) < order(other)
    }

    fn told(id: u64, auction: &Auction, bid: Winner, _: Option<Winner>) -> Self::Told {
        Change(id, (auction.clone(), bid))
    }
}
