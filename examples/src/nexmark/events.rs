//! Where a query's records come from: of every event a function makes what the query needs, or nothing.
//!
//! An event is looked at and not taken, so that a query copies what it needs of it and no more. Whoever has the
//! events may hand them over or lend them: where they stay in memory anyway, a record is a reference, and of an
//! event nothing is moved or counted that no query asks for. It knows no query, and a query does not know how its
//! records are made.

use std::borrow::Borrow;

use highwater::prelude::*;

use super::Event;

/// The events that a query is about, before anything is done with them: `Event`, or `&'static Event`.
pub struct Events<E = Event> {
    events: Stream<E, Untimed>,
    lateness: Duration,
}

impl<E: Borrow<Event> + Send + 'static> Events<E> {
    /// Events that come up to `lateness` after later ones of their split.
    pub fn new(events: Stream<E, Untimed>, lateness: Duration) -> Events<E> {
        Events { events, lateness }
    }

    /// What a query needs of them, in event time. The watermark is that of all events.
    pub fn of<T: Send + 'static>(self, needed: fn(&Event) -> Option<T>) -> Stream<T> {
        let events = self.events.event_time(|event| event.borrow().time(), self.lateness);
        events.fused(move |events| events.filter_map(move |event| needed(event.borrow())))
    }

    /// Those that a query wants, as they are, in event time: for one that copies nothing of most of them.
    pub fn kept(self, wanted: fn(&Event) -> bool) -> Stream<E> {
        let events = self.events.event_time(|event| event.borrow().time(), self.lateness);
        events.filter(move |event| wanted(event.borrow()))
    }

    /// What a query needs of them, without a time.
    pub fn untimed<T: Send + 'static>(self, needed: fn(&Event) -> Option<T>) -> Stream<T, Untimed> {
        self.events.fused(move |events| events.filter_map(move |event| needed(event.borrow())))
    }
}
