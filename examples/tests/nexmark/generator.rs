//! What the events that are made up must be, whatever the seed: facts of the published generator.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highwater::operators::source::{Poll, Polled, Source};
use highwater_examples::nexmark::{Auction, Bid, Event, Nexmark, Person};

/// So many events a second happen where nothing is said.
const PER_SECOND: u64 = 10_000;

fn all(nexmark: &Nexmark) -> Vec<Event> {
    nexmark.events().collect()
}

/// The same events apart from each other.
fn kinds(events: &[Event]) -> (Vec<&Person>, Vec<&Auction>, Vec<&Bid>) {
    let (mut persons, mut auctions, mut bids) = (Vec::new(), Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Person(person) => persons.push(person),
            Event::Auction(auction) => auctions.push(auction),
            Event::Bid(bid) => bids.push(bid),
        }
    }
    (persons, auctions, bids)
}

/// What a split delivers, a few events at a time.
fn read(nexmark: &Nexmark, splits: u32, split: &str) -> Vec<Event> {
    let source = nexmark.source(splits);
    let mut polled = Polled::default();
    let mut reader = source.open(split, None).expect("a split");
    while reader.poll(7, &mut polled).expect("events") != Poll::Finished {}
    polled.values
}

/// The share of those that satisfy a condition, in percent, rounded.
fn percent<T>(all: &[T], condition: impl Fn(&T) -> bool) -> usize {
    (all.iter().filter(|one| condition(one)).count() * 100 + all.len() / 2) / all.len()
}

#[test]
fn of_fifty_events_one_is_a_person_and_three_are_auctions() {
    for seed in 0..5 {
        let events = all(&Nexmark::new(seed, 5_000));
        for turn in events.chunks(50) {
            let (persons, auctions, bids) = kinds(turn);
            assert_eq!((persons.len(), auctions.len(), bids.len()), (1, 3, 46));
        }
        let (persons, auctions, _) = kinds(&events);
        assert!(persons.iter().map(|person| person.id).eq(1000..1100), "persons are numbered from 1000 on");
        assert!(auctions.iter().map(|auction| auction.id).eq(1000..1300), "so are auctions");
    }
}

#[test]
fn the_same_seed_gives_the_same_events_and_another_one_others() {
    let events = |seed| all(&Nexmark::new(seed, 2_000));
    assert_eq!(events(7), events(7));
    assert_ne!(events(7), events(8));
    // More events begin with the same.
    assert_eq!(all(&Nexmark::new(7, 3_000))[..2_000], events(7));
}

#[test]
fn events_come_in_the_order_of_their_times() {
    for per_second in [1, 3, PER_SECOND] {
        let events = all(&Nexmark::new(1, 10_001).per_second(per_second));
        assert!(events.is_sorted_by_key(Event::time), "{per_second} a second");
        let span = events[10_000].time().as_millis() - events[0].time().as_millis();
        assert_eq!(span as u64, 10_000 * 1000 / per_second);
    }
}

#[test]
fn events_out_of_order_are_the_same_and_never_later_than_the_disorder() {
    for (events, millis) in [(30_000, 1), (30_000, 400), (30_011, 999), (4_000, 4_000), (9_530, 953), (1, 50)]
    {
        let nexmark = Nexmark::new(3, events);
        let disorder = Duration::from_millis(millis);
        let mut disordered = all(&nexmark.clone().disorder(disorder));
        let (mut latest, mut most) = (disordered[0].time(), 0);
        for event in &disordered {
            most = most.max(latest.as_millis() - event.time().as_millis());
            latest = latest.max(event.time());
        }
        assert!(most as u64 <= millis, "{most} ms behind with {millis} ms of disorder");
        let possible = millis.min(events * 1000 / PER_SECOND);
        assert!(most as u64 >= possible / 2, "only {most} of {possible} ms behind");
        disordered.sort();
        let mut ordered = all(&nexmark);
        ordered.sort();
        assert_eq!(disordered, ordered);
    }
}

#[test]
fn any_number_of_splits_gives_the_same_events_and_each_begins_where_it_is_told() {
    for disorder in [0, 300] {
        let nexmark = Nexmark::new(11, 5_003).disorder(Duration::from_millis(disorder));
        let whole = all(&nexmark);
        for splits in [1, 2, 3, 8] {
            let parts: Vec<Vec<Event>> =
                (0..splits).map(|split| read(&nexmark, splits, &format!("split-{split}"))).collect();
            // Dealt out one by one.
            let dealt = (0..whole.len()).map(|at| &parts[at % splits as usize][at / splits as usize]);
            assert!(dealt.eq(&whole), "{splits} splits");
        }
        let source = nexmark.source(3);
        let mut reader = source.open("split-1", None).expect("a split");
        let mut first = Polled::default();
        reader.poll(100, &mut first).expect("events");
        let mut rest = Polled::default();
        let mut again = source.open("split-1", Some(reader.position())).expect("a split");
        while again.poll(64, &mut rest).expect("events") != Poll::Finished {}
        first.values.append(&mut rest.values);
        assert_eq!(first.values, read(&nexmark, 3, "split-1"));
    }
}

#[test]
fn half_of_the_bids_are_on_hot_auctions_and_three_in_four_by_hot_bidders() {
    let events = all(&Nexmark::new(5, 200_000));
    let (_, auctions, bids) = kinds(&events);
    // The hot one of a hundred is drawn among the others, too.
    assert_eq!(percent(&bids, |bid| bid.auction % 100 == 0), 50);
    assert_eq!(percent(&bids, |bid| bid.bidder % 100 == 1), 75);
    assert!((74..=76).contains(&percent(&auctions, |auction| auction.seller % 100 == 0)));
    assert_eq!(percent(&bids, |bid| ["Google", "Facebook", "Baidu", "Apple"].contains(&&*bid.channel)), 50);
    let categories: BTreeMap<u64, usize> = auctions.iter().fold(BTreeMap::new(), |mut counts, auction| {
        *counts.entry(auction.category).or_default() += 1;
        counts
    });
    assert!(categories.keys().copied().eq(10..15), "{categories:?}");
    assert!(categories.values().all(|count| (2_200..2_600).contains(count)), "{categories:?}");
}

#[test]
fn whom_and_what_an_event_is_about_is_there_or_about_to_come() {
    let (mut person, mut auction) = (999, 999);
    for event in Nexmark::new(6, 100_000).events() {
        match event {
            Event::Person(new) => person = new.id,
            Event::Auction(new) => {
                auction = new.id;
                assert!((person.saturating_sub(1_000)..=person + 10).contains(&new.seller), "{new:?}");
                let length = new.expires.as_millis() - new.date_time.as_millis();
                assert!((1..=334).contains(&length), "{length} ms");
                assert!(new.reserve > new.initial_bid);
            }
            Event::Bid(bid) => {
                assert!((auction.saturating_sub(200)..=auction + 10).contains(&bid.auction), "{bid:?}");
                assert!((person.saturating_sub(1_000)..=person + 10).contains(&bid.bidder), "{bid:?}");
            }
        }
    }
}

#[test]
fn prices_are_spread_evenly_over_six_orders_of_magnitude() {
    let events = all(&Nexmark::new(9, 200_000));
    let (_, _, bids) = kinds(&events);
    for order in 2..8 {
        let (low, high) = (10u64.pow(order), 10u64.pow(order + 1));
        let share = percent(&bids, |bid| (low..high).contains(&bid.price));
        assert!((16..=17).contains(&share), "{share} % from {low} to {high}");
    }
    assert!(bids.iter().all(|bid| (100..=100_000_000).contains(&bid.price)));
}

#[test]
fn texts_have_the_lengths_and_forms_of_the_published_ones() {
    let events = all(&Nexmark::new(4, 50_000));
    let (persons, auctions, bids) = kinds(&events);
    for bid in &bids {
        assert!((54..82).contains(&bid.extra.len()), "{bid:?}");
        let (page, _) = bid.url.split_once("/item.htm?query=1").expect("a page");
        assert_eq!(page.split('/').count(), 6, "{page}");
    }
    let channels: BTreeSet<&str> = bids.iter().map(|bid| &*bid.channel).collect();
    assert!((8_000..=10_004).contains(&channels.len()), "{}", channels.len());
    let with_channel = |bid: &&Bid| bid.url.contains("&channel_id=");
    let cold: Vec<&Bid> = bids.iter().copied().filter(|bid| bid.channel.starts_with("channel-")).collect();
    assert!((88..=92).contains(&percent(&cold, with_channel)));
    let size =
        |auction: &&Auction| 48 + auction.item_name.len() + auction.description.len() + auction.extra.len();
    assert!((490..=510).contains(&(auctions.iter().map(size).sum::<usize>() / auctions.len())));
    for person in &persons {
        assert!(["AZ", "CA", "ID", "OR", "WA", "WY"].contains(&&*person.state), "{person:?}");
        assert!(person.email_address.ends_with(".com") && person.credit_card.len() == 19, "{person:?}");
    }
}
