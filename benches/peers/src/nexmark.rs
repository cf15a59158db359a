//! Nexmark: the queries of the example `nexmark`, beside the same written by hand for a loop, Renoir and Timely.
//!
//! Highwater runs the very topologies of the example, whose results are held to DuckDB's there; only the source and the
//! sink are others. All get the same events, generated once. Each engine gets them in two ways (`feed`): *owned*, as
//! copies, or *lent*, as references, out of which it takes what the query needs. The first row of a query is the loop
//! over owned events, which all are compared with.
//!
//! **What is compared.** Windowed queries and those whose rows stay (0, 1, 2, 3, 5, 7, 8, 11, 20, 22): all rows, in
//! any order. Queries that change a table (4, 9, 17, 18, 19): the table at the end, which is the last change of each
//! key; how many changes are told is each engine's own affair. Columns count as they are before they are written:
//! averages and days as numbers. Of text its length and its first eight bytes count.
//!
//! Not here: query 6, whose SQL no other engine runs as it stands, 12, which counts by the clock on the wall, and 15
//! and 16, which count different bidders and auctions of three levels.

use highwater_examples::nexmark::Query;

use crate::compare::Comparison;
use ways::{keyed, steps};

mod digest;
mod feed;
mod highwater;
mod resolve;
mod steps;
mod sums;
mod tables;
mod ways;
mod windows;
mod winning;

/// Events of a run, if nothing else is asked for.
pub const EVENTS: u64 = 1_000_000;

/// The comparisons of all queries over so many events, which are generated now, and whose name has `only` in it.
pub fn comparisons(events: u64, only: &str) -> Vec<Comparison> {
    let pool = feed::made_up(events);
    let all = QUERIES.iter().filter(|(query, ..)| only.is_empty() || query.name() == only);
    all.map(|(query, what, by_hand)| by_hand().compared(*query, what, pool)).collect()
}

/// The names of the queries.
pub fn names() -> impl Iterator<Item = String> {
    QUERIES.iter().map(|(query, ..)| query.name())
}

const QUERIES: &[(Query, &str, fn() -> ways::ByHand)] = &[
    (Query::Q0, "q0: every bid", steps::<steps::Q0>),
    (Query::Q1, "q1: every bid in euros", steps::<steps::Q1>),
    (Query::Q2, "q2: bids on every 123rd auction", steps::<steps::Q2>),
    (Query::Q3, "q3: who sells in three states", keyed::<resolve::Resolve<resolve::LocalItem>>),
    (Query::Q4, "q4: average of winning bids", winning::q4),
    (Query::Q5, "q5: hot items", windows::q5),
    (Query::Q7, "q7: highest bids", windows::q7),
    (Query::Q8, "q8: new sellers", windows::q8),
    (Query::Q9, "q9: winning bids", winning::q9),
    (Query::Q11, "q11: sessions", keyed::<tables::Q11>),
    (Query::Q17, "q17: statistics of auctions", keyed::<tables::Q17>),
    (Query::Q18, "q18: last bids", keyed::<tables::Q18>),
    (Query::Q19, "q19: ten highest bids", keyed::<tables::Q19>),
    (Query::Q20, "q20: bids with auctions", keyed::<resolve::Resolve<resolve::BidWithAuction>>),
    (Query::Q22, "q22: directories of urls", steps::<steps::Q22>),
];
