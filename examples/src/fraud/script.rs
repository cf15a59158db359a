//! Writing down what happens in a scene, before its events have numbers.
//!
//! What a rule must find is written down beside the events when they are planted. Nothing here runs a rule.

use std::collections::HashSet;

use highwater::connectors::generator::{ChaCha8Rng, RngExt};
use highwater::prelude::*;

use super::{
    Alert, Call, Cart, CartStep, ErrorRate, Event, Fraud, Login, Noted, Price, Response, Rule, Server,
    Transaction,
};

pub(super) const SECOND: i64 = 1_000;
pub(super) const MINUTE: i64 = 60 * SECOND;
pub(super) const HOUR: i64 = 60 * MINUTE;

/// A place: its country, latitude and longitude.
pub(super) type Place = (&'static str, f64, f64);

const HOMES: [Place; 5] =
    [("DE", 50.1, 8.7), ("FR", 48.9, 2.3), ("ES", 40.4, -3.7), ("PL", 52.2, 21.0), ("SE", 59.3, 18.1)];

/// Where a user lives.
pub(super) fn home(user: u64) -> Place {
    HOMES[user as usize % HOMES.len()]
}

/// From where a user logs in.
pub(super) fn own_address(user: u64) -> String {
    format!("203.0.113.{}", user % 250)
}

/// What has been written down. Until the end the number of an event is its place here.
#[derive(Default)]
pub(super) struct Draft {
    pub events: Vec<Event>,
    pub alerts: Vec<Alert>,
    pub frauds: Vec<Fraud>,
    /// Which client had an ordinary failure in which third of a minute.
    pub failures: HashSet<(u64, i64)>,
}

impl Draft {
    /// Writes an event down that is made from its number; gives the number.
    pub fn note(&mut self, event: impl FnOnce(u64) -> Event) -> u64 {
        let id = self.events.len() as u64;
        self.events.push(event(id));
        id
    }

    /// Gives events their last numbers, in the order of their times and counted on from `first`.
    pub fn number_from(&mut self, first: u64) {
        self.events.sort_by_key(|event| event.time());
        let mut last = vec![0; self.events.len()];
        for (number, event) in (first..).zip(&mut self.events) {
            last[event.id() as usize] = number;
            event.renumber(number);
        }
        for id in self.alerts.iter_mut().flat_map(|alert| &mut alert.events) {
            *id = last[*id as usize];
        }
    }
}

/// What happens to one user, client, server, product or service. All times are milliseconds after its beginning.
pub(super) struct Script<'a> {
    pub draft: &'a mut Draft,
    pub random: &'a mut ChaCha8Rng,
    pub start: Timestamp,
    /// Its number among its like.
    pub number: u64,
    pub about: String,
}

impl Script<'_> {
    fn time(&self, at: i64) -> Timestamp {
        Timestamp::from_millis(self.start.as_millis() + at)
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        self.random.random_range(low..=high)
    }

    /// Times from `first` to `last`, and between them ascending ones by chance.
    pub fn times<const N: usize>(&mut self, first: i64, last: i64) -> [i64; N] {
        // Steps of 1 to 99 hundredths of an even one keep the order, whatever is drawn.
        let even = (last - first) / (N as i64 - 1);
        let mut times = [first; N];
        for (step, time) in (0..).zip(&mut times) {
            *time += step * even - if step == 0 { 0 } else { self.between(even / 100, even * 99 / 100) };
        }
        times[N - 1] = last;
        times
    }

    /// A transaction at home.
    pub fn pay(&mut self, at: i64, amount: i64) -> u64 {
        self.pay_in(at, amount, home(self.number))
    }

    /// A transaction in a place.
    pub fn pay_in(&mut self, at: i64, amount: i64, (country, lat, lon): Place) -> u64 {
        let (time, user, country) = (self.time(at), self.about.clone(), country.to_owned());
        let amount = amount as f64;
        self.draft.note(|id| Event::Transaction(Transaction { id, time, user, amount, country, lat, lon }))
    }

    /// A login from an address.
    pub fn login(&mut self, at: i64, ok: bool, address: &str) -> u64 {
        let (time, user, address) = (self.time(at), self.about.clone(), address.to_owned());
        self.draft.note(|id| Event::Login(Login { id, time, user, ok, address }))
    }

    /// Something is put into the cart.
    pub fn fill_cart(&mut self, at: i64) -> u64 {
        self.cart(at, CartStep::Filled)
    }

    /// The cart is bought.
    pub fn purchase(&mut self, at: i64) -> u64 {
        self.cart(at, CartStep::Purchased)
    }

    fn cart(&mut self, at: i64, step: CartStep) -> u64 {
        let (time, user) = (self.time(at), self.about.clone());
        self.draft.note(|id| Event::Cart(Cart { id, time, user, step }))
    }

    /// A call of the API.
    pub fn call(&mut self, at: i64, ok: bool) -> u64 {
        let (time, client) = (self.time(at), self.about.clone());
        self.draft.note(|id| Event::Call(Call { id, time, client, ok }))
    }

    /// A response that took so long.
    pub fn respond(&mut self, at: i64, millis: i64) -> u64 {
        let (time, server, millis) = (self.time(at), self.about.clone(), millis as u64);
        self.draft.note(|id| Event::Response(Response { id, time, server, millis }))
    }

    /// A price.
    pub fn price(&mut self, at: i64, price: i64) -> u64 {
        let (time, product, price) = (self.time(at), self.about.clone(), price as f64);
        self.draft.note(|id| Event::Price(Price { id, time, product, price }))
    }

    /// So many of 1024 calls fail.
    pub fn fail(&mut self, at: i64, of_1024: i64) -> u64 {
        let (time, service, rate) = (self.time(at), self.about.clone(), of_1024 as f64 / 1024.0);
        self.draft.note(|id| Event::ErrorRate(ErrorRate { id, time, service, rate }))
    }

    /// The server goes down.
    pub fn down(&mut self, at: i64) -> u64 {
        self.server(at, false)
    }

    /// The server comes up.
    pub fn up(&mut self, at: i64) -> u64 {
        self.server(at, true)
    }

    fn server(&mut self, at: i64, up: bool) -> u64 {
        let (time, server) = (self.time(at), self.about.clone());
        self.draft.note(|id| Event::Server(Server { id, time, server, up }))
    }

    /// A rule must find these events, at this time.
    pub fn alert(&mut self, rule: Rule, at: i64, events: &[u64]) {
        let (time, about) = (self.time(at), self.about.clone());
        self.draft.alerts.push(Alert { rule, about, time, events: events.to_vec() });
    }

    /// With the alert that was planted last, the score of the user is too high, made of these rules.
    pub fn fraud(&mut self, rules: &[Rule]) {
        let Some(last) = self.draft.alerts.last() else { return };
        let hundredths: u32 = rules.iter().map(|rule| rule.weight()).sum();
        let (user, score, rules) = (self.about.clone(), f64::from(hundredths) / 100.0, rules.to_vec());
        self.draft.frauds.push(Fraud { user, time: last.time, score, rules });
    }
}
