//! The winning bid of every auction so far: the highest in the time of the auction; of equal ones the
//! earliest.
//!
//! Three queries are made of it. Bids may come before their auction, and late ones after better ones: what
//! has come of an auction gives the same winner in any order. Kept for each auction, for ever: its time, what
//! is told of it and its winner, or the bids that came before it. An auction's id is its own: of several with
//! one id the first counts.

use highwater::prelude::*;
use highwater::state::Persist;
use serde::{Deserialize, Serialize};

use super::Event;

/// What a query needs of a bid.
pub(super) trait Bidding: Persist + Clone {
    /// When it was made.
    fn at(&self) -> Timestamp;
    /// Whether it wins against another in the time of the auction; one of two different bids does.
    fn beats(&self, other: &Self) -> bool;
}

/// An auction or a bid, as much as a query needs of each.
#[derive(Clone, Debug)]
pub(super) enum Sale<A, B> {
    /// An auction begins.
    Auction {
        /// Its id.
        id: u64,
        /// Its first moment.
        opens: Timestamp,
        /// Its last moment.
        closes: Timestamp,
        /// What is told of it.
        about: A,
    },
    /// A bid is made.
    Bid {
        /// On which auction.
        auction: u64,
        /// What it is.
        bid: B,
    },
}

impl<A, B> Sale<A, B> {
    /// The auction that it is about.
    pub(super) fn auction(&self) -> u64 {
        match self {
            Sale::Auction { id, .. } => *id,
            Sale::Bid { auction, .. } => *auction,
        }
    }
}

/// An auction has a winning bid, or another one.
#[derive(Clone, Debug)]
pub(super) struct Won<A, B> {
    /// Which auction.
    pub auction: u64,
    /// What is told of it.
    pub about: A,
    /// The winning bid.
    pub bid: B,
    /// The one before.
    pub before: Option<B>,
}

/// What is kept of an auction.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Kept<A, B> {
    /// It has not come; these bids have.
    Expected(Vec<B>),
    /// It has come.
    Open { opens: Timestamp, closes: Timestamp, about: A, winner: Option<B> },
}

/// Tells each auction's winning bid whenever there is a better one.
pub(super) struct Winning<A, B> {
    kept: Value<Kept<A, B>>,
}

impl<A: Persist, B: Persist> Winning<A, B> {
    /// For `process`.
    pub(super) fn new(states: &mut States<'_, u64>) -> Winning<A, B> {
        Winning { kept: states.value("kept") }
    }
}

impl<A: Persist + Clone, B: Bidding> KeyedOperator<u64, Sale<A, B>> for Winning<A, B> {
    type Out = Won<A, B>;

    fn on_record(
        &mut self,
        sale: Sale<A, B>,
        context: &mut Context<'_, u64, Won<A, B>>,
    ) -> Result<(), Cause> {
        match sale {
            Sale::Bid { bid, .. } => self.bids(bid, context),
            Sale::Auction { opens, closes, about, .. } => self.opens(opens, closes, about, context),
        }
    }
}

impl<A: Persist + Clone, B: Bidding> Winning<A, B> {
    fn bids(&self, bid: B, context: &mut Context<'_, u64, Won<A, B>>) -> Result<(), Cause> {
        if let Some(Kept::Open { opens, closes, winner, .. }) = self.kept.get(context)? {
            let counts = (*opens..=*closes).contains(&bid.at());
            if !counts || winner.as_ref().is_some_and(|winner| !bid.beats(winner)) {
                return Ok(());
            }
        }
        let auction = *context.key();
        let won = match self.kept.get_mut(context)? {
            Some(Kept::Open { about, winner, .. }) => {
                let before = winner.replace(bid.clone());
                Won { auction, about: about.clone(), bid, before }
            }
            Some(Kept::Expected(bids)) => {
                bids.push(bid);
                return Ok(());
            }
            kept => {
                *kept = Some(Kept::Expected(vec![bid]));
                return Ok(());
            }
        };
        context.emit(won);
        Ok(())
    }

    fn opens(
        &self,
        opens: Timestamp,
        closes: Timestamp,
        about: A,
        context: &mut Context<'_, u64, Won<A, B>>,
    ) -> Result<(), Cause> {
        if let Some(Kept::Open { .. }) = self.kept.get(context)? {
            return Ok(());
        }
        let kept = self.kept.get_mut(context)?;
        let early = match kept.take() {
            Some(Kept::Expected(bids)) => bids,
            _ => Vec::new(),
        };
        let in_time = early.into_iter().filter(|bid| (opens..=closes).contains(&bid.at()));
        let winner = in_time.reduce(|winner, bid| if bid.beats(&winner) { bid } else { winner });
        *kept = Some(Kept::Open { opens, closes, about: about.clone(), winner: winner.clone() });
        if let Some(bid) = winner {
            let auction = *context.key();
            context.emit(Won { auction, about, bid, before: None });
        }
        Ok(())
    }
}

/// A bid of which only the price counts in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Offer {
    /// How much.
    pub price: u64,
    /// When.
    pub at: Timestamp,
}

impl Bidding for Offer {
    fn at(&self) -> Timestamp {
        self.at
    }

    fn beats(&self, other: &Offer) -> bool {
        (other.price, self.at) < (self.price, other.at)
    }
}

impl<A> Sale<A, Offer> {
    /// From an event: an auction with what `about` reads from it, or the price of a bid.
    pub(super) fn of(event: &Event, about: impl Fn(&super::Auction) -> A) -> Option<Sale<A, Offer>> {
        match event {
            Event::Person(_) => None,
            Event::Auction(auction) => Some(Sale::Auction {
                id: auction.id,
                opens: auction.date_time,
                closes: auction.expires,
                about: about(auction),
            }),
            Event::Bid(bid) => {
                let offer = Offer { price: bid.price, at: bid.date_time };
                Some(Sale::Bid { auction: bid.auction, bid: offer })
            }
        }
    }
}
