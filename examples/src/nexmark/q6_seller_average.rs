//! Query 6, average selling price by seller: for each auction with a winning bid, the average of it and of
//! the ten before it among the winning bids of its seller, in whole cents, the rest cut off.
//!
//! That is the benchmark's SQL: a row for each auction, winning bids in the order of their times. Of equal
//! times the auction with the smaller id comes first. A winner that changes its place changes the averages
//! behind both places.

use std::collections::BTreeMap;

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

use super::Event;
use super::winning::{Offer, Sale, Winning, Won};

/// How many winning bids an average is made of.
const LAST: usize = 11;

/// An auction's seller, or a bid.
pub(super) type SellerSale = Sale<u64, Offer>;

/// What a seller got on average, up to an auction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SellerAverage {
    seller: u64,
    avg_price: u64,
}

/// All auctions and bids.
pub(super) fn sale(event: &Event) -> Option<SellerSale> {
    Sale::of(event, |auction| auction.seller)
}

/// The average at each auction, whenever it changes, with the auction.
pub(super) fn seller_averages(sales: Stream<SellerSale>) -> Stream<(u64, SellerAverage)> {
    sales
        .key_by(Sale::auction)
        .process("winning-bids", Winning::new)
        .values()
        .key_by(|won| won.about)
        .process("sellers", |states| Averages { winners: states.map("winners") })
        .values()
}

/// When a winning bid was made, and the auction.
type Place = (Timestamp, u64);

/// Keeps the winning bids of each seller in order.
struct Averages {
    winners: Map<Place, u64>,
}

impl KeyedOperator<u64, Won<u64, Offer>> for Averages {
    type Out = (u64, SellerAverage);

    fn on_record(
        &mut self,
        won: Won<u64, Offer>,
        context: &mut Context<'_, u64, Self::Out>,
    ) -> Result<(), Cause> {
        let seller = *context.key();
        let winners = self.winners.get_mut(context)?;
        let place = (won.bid.at, won.auction);
        let left = won.before.map(|before| (before.at, won.auction));
        if let Some(left) = left {
            winners.remove(&left);
        }
        winners.insert(place, won.bid.price);
        // One of the two places may lie before the other by far: each has those behind it that change.
        let mut changed = BTreeMap::new();
        for from in [Some(place), left].into_iter().flatten() {
            changed.extend(averages_from(winners, from));
        }
        for ((_, auction), avg_price) in changed {
            context.emit((auction, SellerAverage { seller, avg_price }));
        }
        Ok(())
    }
}

/// The averages that a change at a place changes: those at it and at the ten places behind it.
fn averages_from(winners: &BTreeMap<Place, u64>, from: Place) -> Vec<(Place, u64)> {
    let mut last: Vec<u64> = winners.range(..from).rev().take(LAST - 1).map(|(_, price)| *price).collect();
    last.reverse();
    let behind = winners.range(from..).take(LAST);
    let averages = behind.map(|(&place, &price)| {
        last.push(price);
        let frame = &last[last.len().saturating_sub(LAST)..];
        let sum: u128 = frame.iter().map(|price| u128::from(*price)).sum();
        (place, (sum / frame.len() as u128) as u64)
    });
    averages.collect()
}
