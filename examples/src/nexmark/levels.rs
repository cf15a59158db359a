//! Bids, bidders and auctions by the level of the price: what two reports count.
//!
//! A bidder counts once for each level, however many bids there are, and so does an auction. Who has been
//! seen is kept for each of them, not in one row for the report: it lies on all workers, and an epoch writes
//! what has changed. Kept for ever, as the benchmark does.

use highwater::prelude::*;
use highwater::state::Key;
use serde::{Deserialize, Serialize};

use super::day::Minute;

/// From here on a price is of the second level, and of the third.
const SECOND_LEVEL: u64 = 10_000;
const THIRD_LEVEL: u64 = 1_000_000;

/// The level of a price: 0, 1 or 2.
pub(super) fn level(price: u64) -> usize {
    usize::from(price >= SECOND_LEVEL) + usize::from(price >= THIRD_LEVEL)
}

/// What a report needs of a bid; `G` is what there is a report for.
#[derive(Clone, Debug)]
pub(super) struct Priced<G> {
    /// Which report.
    pub group: G,
    /// When.
    pub minute: Minute,
    /// Who.
    pub bidder: u64,
    /// For what.
    pub auction: u64,
    /// How much.
    pub price: u64,
}

/// What a report says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Statistics {
    /// The last minute of the day in which there was a bid.
    pub last: Minute,
    bids: [u64; 3],
    bidders: Distinct,
    auctions: Distinct,
}

/// How many different ones there are, at all and at each level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Distinct {
    total: u64,
    levels: [u64; 3],
}

/// The report of each group, whenever it changes.
pub(super) fn statistics<G: Key>(bids: Stream<Priced<G>>) -> Stream<(G, Statistics)> {
    bids.flat_map(Sighting::both)
        .key_by(|sighting| (sighting.group.clone(), sighting.who))
        .process("seen", |states| Seen { levels: states.value("levels") })
        .values()
        .key_by(|news| news.group.clone())
        .two_stage()
        .aggregate("statistics", |_| Count)
        .to_stream()
}

/// A bidder or an auction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Who {
    Bidder(u64),
    Auction(u64),
}

/// A bidder or an auction is seen with a bid.
struct Sighting<G> {
    group: G,
    who: Who,
    minute: Minute,
    level: usize,
}

impl<G: Clone> Sighting<G> {
    /// Those of a bid.
    fn both(bid: Priced<G>) -> [Sighting<G>; 2] {
        let (minute, level) = (bid.minute, level(bid.price));
        let sighting = |group, who| Sighting { group, who, minute, level };
        [sighting(bid.group.clone(), Who::Bidder(bid.bidder)), sighting(bid.group, Who::Auction(bid.auction))]
    }
}

/// What a sighting adds to a report.
struct News<G> {
    group: G,
    who: Who,
    minute: Minute,
    level: usize,
    /// Whether it is the first one of all, and the first one at this level.
    first: bool,
    first_at_level: bool,
}

/// Remembers at which levels a bidder or an auction was seen.
struct Seen {
    /// A bit for each level.
    levels: Value<u8>,
}

impl<G: Key> KeyedOperator<(G, Who), Sighting<G>> for Seen {
    type Out = News<G>;

    fn on_record(
        &mut self,
        sighting: Sighting<G>,
        context: &mut Context<'_, (G, Who), News<G>>,
    ) -> Result<(), Cause> {
        let Sighting { group, who, minute, level } = sighting;
        let seen = self.levels.get(context)?.copied().unwrap_or_default();
        let now = seen | 1 << level;
        let (first, first_at_level) = (seen == 0, seen != now);
        if first_at_level {
            self.levels.set(context, now)?;
        }
        // Each bid is a bidder's, and counts; an auction counts when it is new.
        if first_at_level || matches!(who, Who::Bidder(_)) {
            context.emit(News { group, who, minute, level, first, first_at_level });
        }
        Ok(())
    }
}

/// Counts news.
struct Count;

impl<G: Key> Aggregate<News<G>> for Count {
    type Acc = Statistics;
    type Out = Statistics;

    fn start(&self) -> Statistics {
        Statistics::default()
    }

    fn add(&self, kept: &mut Statistics, news: &News<G>, _: Timestamp) {
        let distinct = match news.who {
            Who::Bidder(_) => {
                kept.bids[news.level] += 1;
                &mut kept.bidders
            }
            Who::Auction(_) => &mut kept.auctions,
        };
        distinct.total += u64::from(news.first);
        distinct.levels[news.level] += u64::from(news.first_at_level);
        kept.last = kept.last.max(news.minute);
    }

    fn merge(&self, kept: &mut Statistics, later: Statistics) {
        let add = |kept: &mut [u64; 3], later: [u64; 3]| {
            kept.iter_mut().zip(later).for_each(|(kept, later)| *kept += later);
        };
        add(&mut kept.bids, later.bids);
        for (kept, later) in [(&mut kept.bidders, later.bidders), (&mut kept.auctions, later.auctions)] {
            kept.total += later.total;
            add(&mut kept.levels, later.levels);
        }
        kept.last = kept.last.max(later.last);
    }

    fn finish(&self, kept: &Statistics) -> Statistics {
        *kept
    }
}

/// The columns of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Columns {
    total_bids: u64,
    rank1_bids: u64,
    rank2_bids: u64,
    rank3_bids: u64,
    total_bidders: u64,
    rank1_bidders: u64,
    rank2_bidders: u64,
    rank3_bidders: u64,
    total_auctions: u64,
    rank1_auctions: u64,
    rank2_auctions: u64,
    rank3_auctions: u64,
}

impl From<Statistics> for Columns {
    fn from(Statistics { bids, bidders, auctions, .. }: Statistics) -> Columns {
        let [rank1_bids, rank2_bids, rank3_bids] = bids;
        let [rank1_bidders, rank2_bidders, rank3_bidders] = bidders.levels;
        let [rank1_auctions, rank2_auctions, rank3_auctions] = auctions.levels;
        Columns {
            total_bids: rank1_bids + rank2_bids + rank3_bids,
            rank1_bids,
            rank2_bids,
            rank3_bids,
            total_bidders: bidders.total,
            rank1_bidders,
            rank2_bidders,
            rank3_bidders,
            total_auctions: auctions.total,
            rank1_auctions,
            rank2_auctions,
            rank3_auctions,
        }
    }
}
