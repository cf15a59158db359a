//! Query 15, bidding statistics report: bids, bidders and auctions of each day, at three levels of the price.

use highwater::prelude::*;
use serde::Serialize;

use super::Event;
use super::day::{Day, Minute};
use super::levels::{Columns, Priced, Statistics, statistics};

/// A row of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct DayReport {
    #[serde(serialize_with = "Day::as_text")]
    day: Day,
    #[serde(flatten)]
    columns: Columns,
}

/// What the report needs of a bid.
pub(super) fn priced(event: &Event) -> Option<Priced<Day>> {
    let bid = event.bid()?;
    Some(Priced {
        group: Day::of(bid.date_time),
        minute: Minute::of(bid.date_time),
        bidder: bid.bidder,
        auction: bid.auction,
        price: bid.price,
    })
}

/// The statistics of each day, whenever they change.
pub(super) fn bidding_statistics(bids: Stream<Priced<Day>>) -> Stream<(Day, Statistics)> {
    statistics(bids)
}

impl DayReport {
    pub(super) fn new(day: Day, statistics: Statistics) -> DayReport {
        DayReport { day, columns: statistics.into() }
    }
}
