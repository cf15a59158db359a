//! Query 16, channel statistics report: the same of each channel and day, with the last minute of a bid.

use highwater::prelude::*;
use serde::Serialize;

use super::day::{Day, Minute};
use super::levels::{Columns, Priced, Statistics, statistics};
use super::{Event, Text};

/// A channel on a day.
pub(super) type ChannelDay = (Text, Day);

/// A row of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ChannelReport {
    channel: Text,
    #[serde(serialize_with = "Day::as_text")]
    day: Day,
    #[serde(serialize_with = "Minute::as_text")]
    minute: Minute,
    #[serde(flatten)]
    columns: Columns,
}

/// What the report needs of a bid.
pub(super) fn priced(event: &Event) -> Option<Priced<ChannelDay>> {
    let bid = event.bid()?;
    Some(Priced {
        group: (bid.channel.clone(), Day::of(bid.date_time)),
        minute: Minute::of(bid.date_time),
        bidder: bid.bidder,
        auction: bid.auction,
        price: bid.price,
    })
}

/// The statistics of each channel and day, whenever they change.
pub(super) fn channel_statistics(bids: Stream<Priced<ChannelDay>>) -> Stream<(ChannelDay, Statistics)> {
    statistics(bids)
}

impl ChannelReport {
    pub(super) fn new((channel, day): ChannelDay, statistics: Statistics) -> ChannelReport {
        ChannelReport { channel, day, minute: statistics.last, columns: statistics.into() }
    }
}
