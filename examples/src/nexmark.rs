//! The parts of the example `nexmark`: an auction house's events, and the queries of the Nexmark benchmark
//! over them.
//!
//! Each query is a file: what it looks at in an event, a function from that to its results, and the columns
//! of a result. Their meaning is that of the benchmark's SQL (nexmark/nexmark,
//! `nexmark-flink/src/main/resources/queries`). Where that leaves the order of equal rows open, the file says
//! which comes first: results are the same for any number of workers.

mod arrival;
mod day;
mod event;
mod events;
mod generator;
mod levels;
mod query;
mod resolve;
mod results;
mod text;
mod winning;
mod words;

mod q0_pass_through;
mod q11_sessions;
mod q12_processing_time;
mod q15_bidding_statistics;
mod q16_channel_statistics;
mod q17_auction_statistics;
mod q18_last_bid;
mod q19_top_bids;
mod q1_currency;
mod q20_bids_with_auction;
mod q22_directories;
mod q2_selection;
mod q3_local_items;
mod q4_category_average;
mod q5_hot_items;
mod q6_seller_average;
mod q7_highest_bid;
mod q8_new_sellers;
mod q9_winning_bid;

pub use event::{Auction, Bid, Event, Person};
pub use events::Events;
pub use generator::Nexmark;
pub use query::Query;
pub use results::{Outlet, Results};
pub use text::Text;
