//! Query 8, monitor new users: who has come and begun an auction within the same 10 seconds.

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Event, Text};

const PERIOD: Duration = Duration::from_secs(10);

/// What somebody did.
pub(super) enum Act {
    /// Came.
    Came {
        /// The person.
        id: u64,
        /// The person's name.
        name: Text,
    },
    /// Began an auction.
    Sold {
        /// The seller.
        id: u64,
    },
}

/// A person who is new and sells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct NewSeller {
    id: u64,
    name: Text,
    stime: Timestamp,
}

impl Act {
    pub(super) fn of(event: &Event) -> Option<Act> {
        match event {
            Event::Person(person) => Some(Act::Came { id: person.id, name: person.name.clone() }),
            Event::Auction(auction) => Some(Act::Sold { id: auction.seller }),
            Event::Bid(_) => None,
        }
    }

    fn person(&self) -> u64 {
        match self {
            Act::Came { id, .. } | Act::Sold { id } => *id,
        }
    }
}

/// Everybody who did both in a period.
pub(super) fn new_sellers(acts: Stream<Act>) -> Stream<NewSeller> {
    acts.key_by(Act::person).window(tumbling(PERIOD)).aggregate("new-sellers", |_| Both).flat_map(|did| {
        let (id, stime) = (did.key, did.window.start);
        did.value.map(|name| NewSeller { id, name, stime })
    })
}

/// Whether a person did both; then the name.
struct Both;

/// What a person did so far.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Did {
    came: Option<Text>,
    sold: bool,
}

impl Aggregate<Act> for Both {
    type Acc = Did;
    type Out = Option<Text>;

    fn start(&self) -> Did {
        Did::default()
    }

    fn add(&self, kept: &mut Did, act: &Act, _: Timestamp) {
        match act {
            Act::Came { name, .. } => kept.came = Some(name.clone()),
            Act::Sold { .. } => kept.sold = true,
        }
    }

    fn merge(&self, kept: &mut Did, later: Did) {
        kept.came = later.came.or(kept.came.take());
        kept.sold |= later.sold;
    }

    fn finish(&self, kept: &Did) -> Option<Text> {
        kept.came.clone().filter(|_| kept.sold)
    }
}
