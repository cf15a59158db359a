//! Where a query's records come from: of every event a function makes what the query needs, or nothing.
//!
//! An event is looked at and not taken, so that a query copies what it needs of it and no more. It knows no
//! query, and a query does not know how its records are made.

use highwater::prelude::*;

use super::Event;

/// The events that a query is about, before anything is done with them.
pub struct Events {
    events: Stream<Event, Untimed>,
    lateness: Duration,
}

impl Events {
    /// Events that come up to `lateness` after later ones of their split.
    pub fn new(events: Stream<Event, Untimed>, lateness: Duration) -> Events {
        Events { events, lateness }
    }

    /// What a query needs of them, in event time. The watermark is that of all events.
    pub fn of<T: Send + 'static>(self, needed: fn(&Event) -> Option<T>) -> Stream<T> {
        let events = self.events.event_time(Event::time, self.lateness);
        events.fused(move |events| events.filter_map(move |event| needed(&event)))
    }

    /// What a query needs of them, without a time.
    pub fn untimed<T: Send + 'static>(self, needed: fn(&Event) -> Option<T>) -> Stream<T, Untimed> {
        self.events.fused(move |events| events.filter_map(move |event| needed(&event)))
    }
}
