//! Query 4, average price for a category: the average of the winning bids of all auctions in each category,
//! in whole cents, the rest cut off.

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

use super::Event;
use super::winning::{Offer, Sale, Winning, Won};

/// An auction's category, or a bid.
pub(super) type CategorySale = Sale<u64, Offer>;

/// What winning bids in a category are on average.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct CategoryAverage {
    id: u64,
    #[serde(rename = "final")]
    average: u64,
}

/// All auctions and bids.
pub(super) fn sale(event: &Event) -> Option<CategorySale> {
    Sale::of(event, |auction| auction.category)
}

/// The average of each category, whenever it changes.
pub(super) fn category_averages(sales: Stream<CategorySale>) -> Stream<(u64, u64)> {
    sales
        .key_by(Sale::auction)
        .process("winning-bids", Winning::new)
        .values()
        .key_by(|won| won.about)
        .two_stage()
        .aggregate("averages", |_| AverageWinner)
        .to_stream()
}

impl CategoryAverage {
    pub(super) fn new(id: u64, average: u64) -> CategoryAverage {
        CategoryAverage { id, average }
    }
}

/// The average of winning bids, of which a better one takes the place of the one before.
struct AverageWinner;

/// The sum of winning bids, and how many there are.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Winners {
    sum: i128,
    count: u64,
}

impl Aggregate<Won<u64, Offer>> for AverageWinner {
    type Acc = Winners;
    type Out = u64;

    fn start(&self) -> Winners {
        Winners::default()
    }

    fn add(&self, kept: &mut Winners, won: &Won<u64, Offer>, _: Timestamp) {
        kept.sum += i128::from(won.bid.price) - won.before.map_or(0, |before| i128::from(before.price));
        kept.count += u64::from(won.before.is_none());
    }

    fn merge(&self, kept: &mut Winners, later: Winners) {
        kept.sum += later.sum;
        kept.count += later.count;
    }

    fn finish(&self, kept: &Winners) -> u64 {
        // A better bid never comes before the first one, so that there is one.
        (kept.sum / i128::from(kept.count.max(1))) as u64
    }
}
