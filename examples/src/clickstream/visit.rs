//! What is told of a session: how many requests it has, and on how many pages.

use std::collections::BTreeSet;

use highwater::prelude::*;

use super::Hit;

/// Counts a session's requests and the different pages that were viewed; keeps the paths of these pages.
pub struct Visit;

impl Aggregate<Hit> for Visit {
    type Acc = (u64, BTreeSet<String>);
    type Out = (u64, u64);

    fn start(&self) -> Self::Acc {
        (0, BTreeSet::new())
    }

    fn add(&self, (requests, pages): &mut Self::Acc, hit: &Hit, _: Timestamp) {
        *requests += 1;
        if let Some(url) = hit.url().filter(|&url| !pages.contains(url)) {
            pages.insert(url.to_owned());
        }
    }

    fn merge(&self, (requests, pages): &mut Self::Acc, later: Self::Acc) {
        *requests += later.0;
        pages.extend(later.1);
    }

    fn finish(&self, (requests, pages): &Self::Acc) -> (u64, u64) {
        (*requests, pages.len() as u64)
    }
}
