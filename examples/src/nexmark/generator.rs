//! Events by chance, as the benchmark's generator draws them: of 50 events one is a person, three are
//! auctions and the rest are bids; half of the bids are on one hot auction in a hundred, three in four by a
//! hot bidder, and three in four auctions are a hot seller's.
//!
//! Invariant: an event follows from the seed and its number alone. So the events are the same however they
//! are split over workers, wherever a split begins, and in whatever order they come. Unlike in the published
//! generator a bidder's number is that of a person; there it is 1000 too large.

use std::sync::Arc;

use highwater::connectors::generator::RngExt;
use highwater::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::arrival::Arrival;
use super::words::{self, Words};
use super::{Auction, Bid, Event, Person};

/// Of so many events in a row, the first one is a person and the next ones are auctions.
const TURN: u64 = 50;
const AUCTIONS: u64 = 3;

/// The first number of persons and auctions, and the first category.
const FIRST_ID: u64 = 1000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u64 = 5;

/// One person in so many sells, and another bids, more than all others; so with auctions.
const HOT_EVERY: u64 = 100;
/// One bid in so many is on any auction, the others are on the hot one.
const ANY_AUCTION: u64 = 2;
/// One auction in so many is any seller's.
const ANY_SELLER: u64 = 4;
/// One bid in so many is any bidder's.
const ANY_BIDDER: u64 = 4;
/// How many of the last persons still do something.
const ACTIVE_PERSONS: u64 = 1000;
/// How many of the last auctions still get bids, and how many begin in the time that one lasts on average.
const OPEN_AUCTIONS: u64 = 100;
/// So many persons and auctions are spoken of before they come.
const AHEAD: u64 = 10;

/// The size of an event in bytes, on average.
const PERSON_BYTES: usize = 200;
const AUCTION_BYTES: usize = 500;
const BID_BYTES: usize = 100;

/// 2015-07-15T00:00:00Z, when the first event happens.
const START_MILLIS: i64 = 1_436_918_400_000;

/// Events of an auction house, made up.
///
/// ```
/// use highwater_examples::nexmark::{Event, Nexmark};
///
/// let nexmark = Nexmark::new(1, 50);
/// let bids = nexmark.events().filter(|event| matches!(event, Event::Bid(_)));
/// assert_eq!(bids.count(), 46);
/// ```
#[derive(Clone)]
pub struct Nexmark {
    seed: u64,
    events: u64,
    per_second: u64,
    disorder: Duration,
    words: Arc<Words>,
}

impl Nexmark {
    /// So many events, in the order of their times, 10 000 a second.
    pub fn new(seed: u64, events: u64) -> Nexmark {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        // No event has this number.
        random.set_stream(u64::MAX);
        let words = Arc::new(Words::new(&mut random));
        Nexmark { seed, events, per_second: 10_000, disorder: Duration::ZERO, words }
    }

    /// So many events happen in a second of event time; at least one.
    #[must_use]
    pub fn per_second(mut self, events: u64) -> Nexmark {
        self.per_second = events.max(1);
        self
    }

    /// Events come up to this time after later ones.
    #[must_use]
    pub fn disorder(mut self, disorder: Duration) -> Nexmark {
        self.disorder = disorder;
        self
    }

    /// All events in the order in which they come.
    pub fn events(&self) -> impl Iterator<Item = Event> + '_ {
        let (seeded, arrival) = (ChaCha8Rng::seed_from_u64(self.seed), self.arrival());
        (0..self.events).map(move |position| self.at(&mut seeded.clone(), arrival.number(position)))
    }

    /// All events as a source of so many splits.
    pub fn source(&self, splits: u32) -> Generator<Event> {
        let (nexmark, arrival) = (self.clone(), self.arrival());
        let make = move |random: &mut ChaCha8Rng, position| nexmark.at(random, arrival.number(position));
        Generator::new(self.seed, splits, make).count(self.events)
    }

    fn arrival(&self) -> Arrival {
        Arrival::new(self.events, self.per_second, self.disorder)
    }

    /// The event of a number; of `random`, which nothing was drawn from, the seed counts.
    fn at(&self, random: &mut ChaCha8Rng, number: u64) -> Event {
        random.set_stream(number);
        match number % TURN {
            0 => Event::Person(self.person(random, number)),
            1..=AUCTIONS => Event::Auction(self.auction(random, number)),
            _ => Event::Bid(self.bid(random, number)),
        }
    }

    fn time(&self, number: u64) -> Timestamp {
        let millis = u128::from(number) * 1000 / u128::from(self.per_second);
        Timestamp::from_millis(START_MILLIS.saturating_add(i64::try_from(millis).unwrap_or(i64::MAX)))
    }

    fn person(&self, random: &mut ChaCha8Rng, number: u64) -> Person {
        let (name, email_address) = (words::name(random), words::email(random));
        let (credit_card, city, state) =
            (words::credit_card(random), words::city(random), words::state(random));
        let size = 8 + name.len() + email_address.len() + credit_card.len() + city.len() + state.len();
        Person {
            id: FIRST_ID + last_person(number),
            name: name.into(),
            email_address: email_address.into(),
            credit_card: credit_card.into(),
            city: city.into(),
            state: state.into(),
            date_time: self.time(number),
            extra: self.words.extra(random, size, PERSON_BYTES),
        }
    }

    fn auction(&self, random: &mut ChaCha8Rng, number: u64) -> Auction {
        let is_hot = random.random_range(0..ANY_SELLER) > 0;
        let seller = if is_hot { hot(last_person(number)) } else { any_person(random, number) };
        let category = FIRST_CATEGORY + random.random_range(0..CATEGORIES);
        let initial_bid = price(random);
        let date_time = self.time(number);
        let expires = date_time + self.length(random, number);
        let (item_name, description) = (words::word(random, 20, ' '), words::word(random, 100, ' '));
        let reserve = initial_bid + price(random);
        let size = 8 + item_name.len() + description.len() + 5 * 8;
        Auction {
            id: FIRST_ID + last_auction(number),
            item_name: item_name.into(),
            description: description.into(),
            initial_bid,
            reserve,
            date_time,
            expires,
            seller: FIRST_ID + seller,
            category,
            extra: self.words.extra(random, size, AUCTION_BYTES),
        }
    }

    fn bid(&self, random: &mut ChaCha8Rng, number: u64) -> Bid {
        let is_hot = random.random_range(0..ANY_AUCTION) > 0;
        let auction = if is_hot { hot(last_auction(number)) } else { any_auction(random, number) };
        let is_hot = random.random_range(0..ANY_BIDDER) > 0;
        // Another one than the hot seller.
        let bidder = if is_hot { hot(last_person(number)) + 1 } else { any_person(random, number) };
        let price = price(random);
        let (channel, url) = self.words.channel(random);
        Bid {
            auction: FIRST_ID + auction,
            bidder: FIRST_ID + bidder,
            price,
            channel,
            url,
            date_time: self.time(number),
            extra: self.words.extra(random, 4 * 8, BID_BYTES),
        }
    }

    /// How long the auction of an event lasts: up to twice the time in which as many begin as are open.
    fn length(&self, random: &mut ChaCha8Rng, number: u64) -> Duration {
        let later = self.time(number + OPEN_AUCTIONS * TURN / AUCTIONS);
        let average = later.as_millis() - self.time(number).as_millis();
        Duration::from_millis(1 + random.random_range(0..(average as u64 * 2).max(1)))
    }
}

/// The last person who has come when the event of a number happens, counted from 0.
fn last_person(number: u64) -> u64 {
    number / TURN
}

/// The last auction that has begun when the event of a number happens, which is no person, counted from 0.
fn last_auction(number: u64) -> u64 {
    number / TURN * AUCTIONS + (number % TURN).min(AUCTIONS) - 1
}

/// The first of the hundred that a person or an auction is one of.
fn hot(last: u64) -> u64 {
    last / HOT_EVERY * HOT_EVERY
}

/// A person who is active, or is about to come.
fn any_person(random: &mut ChaCha8Rng, number: u64) -> u64 {
    let persons = last_person(number) + 1;
    let active = persons.min(ACTIVE_PERSONS);
    persons - active + random.random_range(0..active + AHEAD)
}

/// An auction that is likely to be open, or is about to begin.
fn any_auction(random: &mut ChaCha8Rng, number: u64) -> u64 {
    let last = last_auction(number);
    let first = last.saturating_sub(OPEN_AUCTIONS);
    first + random.random_range(0..last - first + 1 + AHEAD)
}

/// From 1 to a million, in cents; as many below a thousand as above.
fn price(random: &mut ChaCha8Rng) -> u64 {
    let orders_of_magnitude = random.random_range(0.0..6.0);
    (10f64.powf(orders_of_magnitude) * 100.0).round() as u64
}
