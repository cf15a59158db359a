//! Queries 3 and 20 by hand: what refers to something, with what it refers to, whichever comes first.
//!
//! Back of the envelope, for an event: query 3 needs one in thirty, and of the others no more than what they are;
//! that is some 2 ns lent. Query 20 needs every bid and three of its texts, and one bid in five finds its auction: a
//! lookup in a map of all auctions, 10 ns and more with their number, and a row of 200 bytes with seven counters.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use highwater_examples::nexmark::{Auction, Bid, Event, Person, Text};
use serde::{Deserialize, Serialize};

use super::feed::Needed;
use super::sums::Row;
use super::ways::Keyed;
use crate::engines::by_hand::{State, Timed};

const STATES: [&str; 3] = ["OR", "ID", "CA"];
const CATEGORY: u64 = 10;

/// What is referred to, if it is of interest, or what refers to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Part<T, R> {
    Target { id: u64, at: i64, target: Option<T> },
    Reference { id: u64, at: i64, record: R },
}

impl<T: Send + 'static, R: Send + 'static> Timed for Part<T, R> {
    #[inline]
    fn at(&self) -> i64 {
        match self {
            Part::Target { at, .. } | Part::Reference { at, .. } => *at,
        }
    }
}

/// A row of what is referred to and what refers to it.
pub(super) trait Pair: Serialize + Clone + Send + 'static {
    /// What is referred to.
    type Target: Clone + Send + 'static;
    /// What refers to it.
    type Record: Clone + Send + 'static;

    /// The row.
    fn of(target: Self::Target, record: Self::Record) -> Self;
}

/// What is kept for an id.
#[derive(Clone)]
enum Kept<T, R> {
    Target(Option<T>),
    Waiting(Vec<R>),
}

/// Brings both together.
#[derive(Clone)]
pub(super) struct Resolve<P: Pair> {
    kept: HashMap<u64, Kept<P::Target, P::Record>, RandomState>,
}

impl<P: Pair> Default for Resolve<P> {
    fn default() -> Resolve<P> {
        Resolve { kept: HashMap::default() }
    }
}

impl<P: Pair> State for Resolve<P> {
    type Record = Part<P::Target, P::Record>;
    type Result = Row<P>;

    #[inline]
    fn add(&mut self, part: Self::Record, mut tell: impl FnMut(Row<P>)) {
        match part {
            Part::Reference { id, record, .. } => match self.kept.entry(id) {
                Entry::Vacant(place) => drop(place.insert(Kept::Waiting(vec![record]))),
                Entry::Occupied(mut place) => match place.get_mut() {
                    Kept::Waiting(waiting) => waiting.push(record),
                    Kept::Target(None) => {}
                    Kept::Target(Some(target)) => tell(Row(P::of(target.clone(), record))),
                },
            },
            Part::Target { id, target, .. } => {
                let kept = self.kept.entry(id).or_insert_with(|| Kept::Waiting(Vec::new()));
                if let Kept::Waiting(waiting) = kept {
                    let waiting = std::mem::take(waiting);
                    if let Some(target) = &target {
                        waiting.into_iter().for_each(|record| tell(Row(P::of(target.clone(), record))));
                    }
                    *kept = Kept::Target(target);
                }
            }
        }
    }

    fn close(&mut self, _: i64, _: impl FnMut(Row<P>)) {}
}

impl<P: Pair> Keyed for Resolve<P>
where
    Part<P::Target, P::Record>: Needed + ::renoir::operator::ExchangeData + ::timely::ExchangeData,
{
    #[inline]
    fn key(part: &Self::Record) -> u64 {
        match part {
            Part::Target { id, .. } | Part::Reference { id, .. } => *id,
        }
    }
}

/// What is told of a seller.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Seller {
    name: Text,
    city: Text,
    state: Text,
}

impl Needed for Part<Seller, u64> {
    #[inline]
    fn lent(event: &Event) -> Option<Self> {
        match event {
            Event::Person(person) => {
                let target = STATES.contains(&&*person.state).then(|| Seller {
                    name: person.name.clone(),
                    city: person.city.clone(),
                    state: person.state.clone(),
                });
                Some(Part::Target { id: person.id, at: person.date_time.as_millis(), target })
            }
            Event::Auction(auction) if auction.category == CATEGORY => {
                let (id, at) = (auction.seller, auction.date_time.as_millis());
                Some(Part::Reference { id, at, record: auction.id })
            }
            _ => None,
        }
    }

    #[inline]
    fn owned(event: Event) -> Option<Self> {
        match event {
            Event::Person(Person { id, name, city, state, date_time, .. }) => {
                let target = STATES.contains(&&*state).then_some(Seller { name, city, state });
                Some(Part::Target { id, at: date_time.as_millis(), target })
            }
            event => Part::lent(&event),
        }
    }
}

/// Query 3: an auction of a seller in one of three states.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LocalItem {
    seller: Seller,
    id: u64,
}

impl Pair for LocalItem {
    type Target = Seller;
    type Record = u64;

    #[inline]
    fn of(seller: Seller, id: u64) -> LocalItem {
        LocalItem { seller, id }
    }
}

impl Needed for Part<Auction, Bid> {
    #[inline]
    fn lent(event: &Event) -> Option<Self> {
        match event {
            Event::Person(_) => None,
            Event::Auction(auction) => {
                let target = (auction.category == CATEGORY).then(|| auction.clone());
                Some(Part::Target { id: auction.id, at: auction.date_time.as_millis(), target })
            }
            Event::Bid(bid) => {
                Some(Part::Reference { id: bid.auction, at: bid.date_time.as_millis(), record: bid.clone() })
            }
        }
    }

    #[inline]
    fn owned(event: Event) -> Option<Self> {
        match event {
            Event::Person(_) => None,
            Event::Auction(auction) => {
                let (id, at) = (auction.id, auction.date_time.as_millis());
                Some(Part::Target { id, at, target: (auction.category == CATEGORY).then_some(auction) })
            }
            Event::Bid(bid) => {
                Some(Part::Reference { id: bid.auction, at: bid.date_time.as_millis(), record: bid })
            }
        }
    }
}

/// Query 20: a bid with its auction.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BidWithAuction {
    bid: Bid,
    item_name: Text,
    description: Text,
    initial_bid: u64,
    reserve: u64,
    at: i64,
    expires: i64,
    seller: u64,
    category: u64,
    extra: Text,
}

impl Pair for BidWithAuction {
    type Target = Auction;
    type Record = Bid;

    #[inline]
    fn of(auction: Auction, bid: Bid) -> BidWithAuction {
        BidWithAuction {
            bid,
            item_name: auction.item_name,
            description: auction.description,
            initial_bid: auction.initial_bid,
            reserve: auction.reserve,
            at: auction.date_time.as_millis(),
            expires: auction.expires.as_millis(),
            seller: auction.seller,
            category: auction.category,
            extra: auction.extra,
        }
    }
}
