//! What happens in an auction house: persons come, auctions begin, bids are made.
//!
//! In JSON an event is `{"person":{...}}`, `{"auction":{...}}` or `{"bid":{...}}`, with the benchmark's field
//! names; times are milliseconds since 1970.

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

use super::Text;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// A person has come.
    Person(Person),
    /// An auction has begun.
    Auction(Auction),
    /// A bid was made.
    Bid(Bid),
}

/// Somebody who may sell and bid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// Whose number is the person's own.
    pub id: u64,
    /// First and last name.
    pub name: Text,
    /// Where to write to.
    pub email_address: Text,
    /// Four groups of four digits.
    pub credit_card: Text,
    /// A city in the United States.
    pub city: Text,
    /// A state, in two letters.
    pub state: Text,
    /// When the person came.
    pub date_time: Timestamp,
    /// What nobody looks at.
    pub extra: Text,
}

/// Something that is sold to who bids most.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Auction {
    /// The auction's own number.
    pub id: u64,
    /// What is sold.
    pub item_name: Text,
    /// The same, in more words.
    pub description: Text,
    /// The price to begin with, in cents.
    pub initial_bid: u64,
    /// The price below which it is not sold, in cents.
    pub reserve: u64,
    /// When it began.
    pub date_time: Timestamp,
    /// The last moment for a bid.
    pub expires: Timestamp,
    /// The person who sells.
    pub seller: u64,
    /// What kind of thing it is.
    pub category: u64,
    /// What nobody looks at.
    pub extra: Text,
}

/// What somebody would pay.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bid {
    /// For which auction.
    pub auction: u64,
    /// The person who bids.
    pub bidder: u64,
    /// How much, in cents.
    pub price: u64,
    /// Where the bidder came from.
    pub channel: Text,
    /// The address of the page.
    pub url: Text,
    /// When the bid was made.
    pub date_time: Timestamp,
    /// What nobody looks at.
    pub extra: Text,
}

impl Event {
    /// When it happened.
    pub fn time(&self) -> Timestamp {
        match self {
            Event::Person(person) => person.date_time,
            Event::Auction(auction) => auction.date_time,
            Event::Bid(bid) => bid.date_time,
        }
    }

    /// The bid, if it is one.
    pub fn bid(&self) -> Option<&Bid> {
        match self {
            Event::Bid(bid) => Some(bid),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_in_json_has_the_field_names_of_the_benchmark() {
        let lines = [
            concat!(
                r#"{"person":{"id":1000,"name":"Ada Noris","emailAddress":"a@b.com","creditCard":"1 2","#,
                r#""city":"Kent","state":"WA","dateTime":1436918400000,"extra":"x"}}"#
            ),
            concat!(
                r#"{"auction":{"id":1001,"itemName":"tea","description":"green","initialBid":5,"reserve":7,"#,
                r#""dateTime":1436918400001,"expires":1436918400009,"seller":1000,"category":10,"extra":""}}"#
            ),
            concat!(
                r#"{"bid":{"auction":1001,"bidder":1002,"price":6,"channel":"Apple","url":"https://a/b","#,
                r#""dateTime":1436918400002,"extra":"z"}}"#
            ),
        ];
        for line in lines {
            let event: Event = serde_json::from_str(line).expect("an event");
            assert_eq!(serde_json::to_string(&event).expect("is written"), line);
        }
    }
}
