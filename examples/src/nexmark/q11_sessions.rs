//! Query 11, user sessions: how many bids each bidder makes with no longer pause between them than 10
//! seconds.

use highwater::prelude::*;
use serde::Serialize;

use super::Event;

const PAUSE: Duration = Duration::from_secs(10);

/// A session; it ends when the pause after its last bid is over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Session {
    bidder: u64,
    bid_count: u64,
    starttime: Timestamp,
    endtime: Timestamp,
}

/// The bidder of every bid.
pub(super) fn bidder(event: &Event) -> Option<u64> {
    Some(event.bid()?.bidder)
}

/// The sessions of each bidder.
pub(super) fn sessions(bidders: Stream<u64>) -> Stream<Session> {
    bidders.key_by(|bidder| *bidder).window(session(PAUSE)).count("sessions").map(|session| Session {
        bidder: session.key,
        bid_count: session.value,
        starttime: session.window.start,
        endtime: session.window.end,
    })
}
