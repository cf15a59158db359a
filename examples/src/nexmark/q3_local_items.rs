//! Query 3, local item suggestion: who sells in Oregon, Idaho or California in category 10, and in which
//! auctions.
//!
//! An auction may come before its seller.

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

use super::resolve::{Part, Resolve};
use super::{Event, Text};

const STATES: [&str; 3] = ["OR", "ID", "CA"];
const CATEGORY: u64 = 10;

/// What is told of a seller.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Seller {
    name: Text,
    city: Text,
    state: Text,
}

/// A seller, or the id of an auction with that of its seller.
pub(super) type Part3 = Part<Seller, u64>;

/// An auction of such a seller.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct LocalItem {
    name: Text,
    city: Text,
    state: Text,
    id: u64,
}

/// All persons, those of other states without what is not told; the auctions of the category.
pub(super) fn part(event: &Event) -> Option<Part3> {
    match event {
        Event::Person(person) => {
            let is_local = STATES.contains(&&*person.state);
            let target = is_local.then(|| Seller {
                name: person.name.clone(),
                city: person.city.clone(),
                state: person.state.clone(),
            });
            Some(Part::Target { id: person.id, target })
        }
        Event::Auction(auction) if auction.category == CATEGORY => {
            Some(Part::Reference { id: auction.seller, record: auction.id })
        }
        _ => None,
    }
}

/// Each auction with its seller.
pub(super) fn local_items(parts: Stream<Part3>) -> Stream<LocalItem> {
    parts
        .key_by(Part::id)
        .process("sellers", Resolve::new)
        .values()
        .map(|(Seller { name, city, state }, id)| LocalItem { name, city, state, id })
}
