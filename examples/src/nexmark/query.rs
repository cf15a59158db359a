//! The queries by their numbers: what each looks at, what it does, and where its results go.

use std::borrow::Borrow;

use clap::ValueEnum;

use super::{
    Event, Events, Outlet, q0_pass_through as q0, q1_currency as q1, q2_selection as q2,
    q3_local_items as q3, q4_category_average as q4, q5_hot_items as q5, q6_seller_average as q6,
    q7_highest_bid as q7, q8_new_sellers as q8, q9_winning_bid as q9, q11_sessions as q11,
    q12_processing_time as q12, q15_bidding_statistics as q15, q16_channel_statistics as q16,
    q17_auction_statistics as q17, q18_last_bid as q18, q19_top_bids as q19, q20_bids_with_auction as q20,
    q22_directories as q22,
};

/// A query of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Query {
    /// Pass through: every bid
    Q0,
    /// Currency conversion: every bid in euros
    Q1,
    /// Selection: the bids on every 123rd auction
    Q2,
    /// Local item suggestion: who sells in three states in category 10
    Q3,
    /// Average price for a category: of the winning bids; a table
    Q4,
    /// Hot items: the auctions with the most bids in 10 seconds, every 2 seconds
    Q5,
    /// Average selling price by seller: of the last winning bids; a table
    Q6,
    /// Highest bid: of every 10 seconds
    Q7,
    /// Monitor new users: who came and began an auction within 10 seconds
    Q8,
    /// Winning bids: every auction with its winner; a table
    Q9,
    /// User sessions: the bids of a bidder up to a pause of 10 seconds
    Q11,
    /// Processing time windows: the bids of a bidder in 10 seconds on the wall clock
    Q12,
    /// Bidding statistics report: bids, bidders and auctions of each day by price; a table
    Q15,
    /// Channel statistics report: the same of each channel and day; a table
    Q16,
    /// Auction statistics report: the bids on each auction and day; a table
    Q17,
    /// Find last bid: of each bidder on each auction; a table
    Q18,
    /// Auction top 10: the highest bids on each auction with their ranks; a table
    Q19,
    /// Expand bid with auction: bids on auctions in category 10 with the auction
    Q20,
    /// Get URL directories: three parts of every bid's url
    Q22,
}

impl Query {
    /// Puts the query between events and results.
    pub fn over<E: Borrow<Event> + Send + 'static>(self, events: Events<E>, results: &impl Outlet) {
        match self {
            Query::Q0 => results.rows(q0::pass_through(events.of(q0::Passed::of))),
            Query::Q1 => results.rows(q1::in_euros(events.of(q1::InDollars::of))),
            Query::Q2 => results.rows(q2::selection(events.of(q2::Price::of))),
            Query::Q3 => results.rows(q3::local_items(events.of(q3::part))),
            Query::Q4 => results.table(q4::category_averages(events.of(q4::sale)), q4::CategoryAverage::new),
            Query::Q5 => results.rows(q5::hot_items(events.of(q5::auction))),
            Query::Q6 => results.table(q6::seller_averages(events.of(q6::sale)), |_, average| average),
            Query::Q7 => results.rows(q7::highest_bids(events.kept(q7::is_bid))),
            Query::Q8 => results.rows(q8::new_sellers(events.of(q8::Act::of))),
            Query::Q9 => results.table(q9::winning_bids(events.of(q9::sale)), q9::WinningBid::new),
            Query::Q11 => results.rows(q11::sessions(events.of(q11::bidder))),
            Query::Q12 => results.rows(q12::busy_bidders(events.untimed(q12::bidder))),
            Query::Q15 => results.table(q15::bidding_statistics(events.of(q15::priced)), q15::DayReport::new),
            Query::Q16 => {
                results.table(q16::channel_statistics(events.of(q16::priced)), q16::ChannelReport::new)
            }
            Query::Q17 => {
                results.table(q17::auction_statistics(events.of(q17::Price::of)), q17::AuctionReport::new)
            }
            Query::Q18 => results.table(q18::last_bids(events.of(q18::bid)), |_, bid| bid),
            Query::Q19 => results.table(q19::top_bids(events.of(q19::bid)), q19::RankedBid::new),
            Query::Q20 => results.rows(q20::bids_with_auctions(events.of(q20::part))),
            Query::Q22 => results.rows(q22::directories(events.of(q22::Visited::of))),
        }
    }

    /// Its number: `q5`.
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}
