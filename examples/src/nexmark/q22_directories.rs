//! Query 22, get URL directories: the three parts of a bid's url behind the name of the host.

use highwater::prelude::*;
use serde::Serialize;

use super::{Event, Text};

/// The first part behind the host, of what stands between slashes: `https:`, nothing, the host.
const FIRST: usize = 3;

/// A bid with its url.
pub(super) struct Visited {
    auction: u64,
    bidder: u64,
    price: u64,
    channel: Text,
    url: Text,
}

/// A bid with the directories of its url.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Directories {
    auction: u64,
    bidder: u64,
    price: u64,
    channel: Text,
    /// `None` where the url has no such part, as the other two.
    dir1: Option<Text>,
    dir2: Option<Text>,
    dir3: Option<Text>,
}

impl Visited {
    pub(super) fn of(event: &Event) -> Option<Visited> {
        let bid = event.bid()?;
        Some(Visited {
            auction: bid.auction,
            bidder: bid.bidder,
            price: bid.price,
            channel: bid.channel.clone(),
            url: bid.url.clone(),
        })
    }
}

/// The directories of each bid.
pub(super) fn directories(bids: Stream<Visited>) -> Stream<Directories> {
    bids.map(|Visited { auction, bidder, price, channel, url }| {
        let mut parts = url.split('/').skip(FIRST).map(Text::from);
        let (dir1, dir2, dir3) = (parts.next(), parts.next(), parts.next());
        Directories { auction, bidder, price, channel, dir1, dir2, dir3 }
    })
}
