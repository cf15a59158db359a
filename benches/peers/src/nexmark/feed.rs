//! The events, generated once, and how each engine gets them: lent, or as its own.
//!
//! **Owned**: each event is copied out of the pool, as it comes from a decoder: its text is shared and not copied, so a
//! copy moves some hundred bytes and counts three references up, which are counted down when it is dropped.
//! **Lent**: the reader gets a reference into the pool and takes what its query needs.
//!
//! Events come in batches of 1024. Where there are several workers, each has one batch in as many as there are workers.

use highwater::operators::error::Cause;
use highwater::operators::source::{Poll, Polled, Reader, Source};
use highwater_benches::feed::BATCH_RECORDS;
use highwater_benches::input::JITTER_MILLIS;
use highwater_examples::nexmark::{Event, Nexmark};

/// All events; they stay until the program ends.
pub type Pool = &'static [Event];

/// Makes so many events up: 10 000 in a second of their own time, up to 100 ms out of order, as
/// [`Watermark`](crate::pool::Watermark) expects.
pub fn made_up(events: u64) -> Pool {
    let nexmark = Nexmark::new(1, events).disorder(std::time::Duration::from_millis(JITTER_MILLIS));
    nexmark.events().collect::<Vec<_>>().leak()
}

/// How events are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Each is a copy.
    Owned,
    /// Each is a reference.
    Lent,
}

/// What a query needs of an event, if it needs it.
pub trait Needed: Sized + Clone + Send + 'static {
    /// Copied out of an event that is somebody else's.
    fn lent(event: &Event) -> Option<Self>;
    /// Taken out of an event that is one's own.
    fn owned(event: Event) -> Option<Self>;
}

/// A worker's share of the events.
#[derive(Clone, Debug)]
pub struct Share {
    events: Pool,
    share: usize,
    shares: usize,
    /// How many events of this share are out.
    next: usize,
}

impl Share {
    /// The share number `share` of `shares`.
    pub fn new(events: Pool, share: usize, shares: usize) -> Share {
        Share { events, share, shares, next: 0 }
    }

    /// The next events, up to `limit` of one batch; none at the end.
    pub fn take(&mut self, limit: usize) -> Pool {
        let (number, offset) = (self.next / BATCH_RECORDS, self.next % BATCH_RECORDS);
        let from = (number * self.shares + self.share) * BATCH_RECORDS + offset;
        let left = self.events.get(from..).unwrap_or_default();
        let events = &left[..left.len().min(limit).min(BATCH_RECORDS - offset)];
        self.next += events.len();
        events
    }
}

/// What a query needs of a share, event by event: an iterator, or batches of it.
#[derive(Clone, Debug)]
pub struct Needs<R> {
    share: Share,
    way: Way,
    lent: std::slice::Iter<'static, Event>,
    owned: std::vec::IntoIter<Event>,
    needed: std::marker::PhantomData<fn() -> R>,
}

impl<R: Needed> Needs<R> {
    /// What is needed of a share.
    pub fn new(share: Share, way: Way) -> Needs<R> {
        Needs { share, way, lent: [].iter(), owned: Vec::new().into_iter(), needed: std::marker::PhantomData }
    }

    /// Appends what is needed of the next batch; says whether there was any batch.
    pub fn fill(&mut self, into: &mut Vec<R>) -> bool {
        let events = self.share.take(BATCH_RECORDS);
        match self.way {
            Way::Lent => into.extend(events.iter().filter_map(R::lent)),
            Way::Owned => into.extend(events.iter().cloned().filter_map(R::owned)),
        }
        !events.is_empty()
    }

    /// Takes the next batch in hand; says whether there was any.
    #[inline(never)]
    fn refill(&mut self) -> bool {
        let events = self.share.take(BATCH_RECORDS);
        match self.way {
            Way::Lent => self.lent = events.iter(),
            Way::Owned => self.owned = Vec::from(events).into_iter(),
        }
        !events.is_empty()
    }
}

impl<R: Needed> Iterator for Needs<R> {
    type Item = R;

    #[inline]
    fn next(&mut self) -> Option<R> {
        loop {
            let needed = match self.way {
                Way::Lent => self.lent.by_ref().find_map(R::lent),
                Way::Owned => self.owned.by_ref().find_map(R::owned),
            };
            if needed.is_some() || !self.refill() {
                return needed;
            }
        }
    }
}

/// An event as a reader of Highwater delivers it.
pub trait Handed: Send + Sized + 'static {
    /// Out of the pool.
    fn hand(event: &'static Event) -> Self;
}

impl Handed for Event {
    fn hand(event: &'static Event) -> Event {
        event.clone()
    }
}

impl Handed for &'static Event {
    fn hand(event: &'static Event) -> &'static Event {
        event
    }
}

/// A source of Highwater: a split for each of so many shares.
pub struct Splits<E> {
    events: Pool,
    shares: usize,
    handed: std::marker::PhantomData<fn() -> E>,
}

impl<E> Splits<E> {
    /// All events.
    pub fn new(events: Pool, shares: usize) -> Splits<E> {
        Splits { events, shares, handed: std::marker::PhantomData }
    }
}

impl<E: Handed> Source for Splits<E> {
    type Item = E;
    type Position = usize;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok((0..self.shares).map(|share| share.to_string()).collect())
    }

    fn open(
        &self,
        split: &str,
        from: Option<usize>,
    ) -> Result<Box<dyn Reader<Item = E, Position = usize>>, Cause> {
        let share = Share::new(self.events, split.parse()?, self.shares);
        Ok(Box::new(SplitReader {
            share: Share { next: from.unwrap_or(0), ..share },
            handed: std::marker::PhantomData,
        }))
    }
}

struct SplitReader<E> {
    share: Share,
    handed: std::marker::PhantomData<fn() -> E>,
}

impl<E: Handed> Reader for SplitReader<E> {
    type Item = E;
    type Position = usize;

    fn poll(&mut self, limit: usize, into: &mut Polled<E>) -> Result<Poll, Cause> {
        let events = self.share.take(limit);
        into.values.extend(events.iter().map(E::hand));
        Ok(if events.is_empty() { Poll::Finished } else { Poll::Ready })
    }

    fn position(&self) -> usize {
        self.share.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Anything(Event);

    impl Needed for Anything {
        fn lent(event: &Event) -> Option<Anything> {
            Some(Anything(event.clone()))
        }

        fn owned(event: Event) -> Option<Anything> {
            Some(Anything(event))
        }
    }

    #[test]
    fn shares_together_are_all_events_once_whichever_way_they_come() {
        let pool = made_up(5000);
        let mut expected: Vec<Event> = pool.to_vec();
        expected.sort();
        for way in [Way::Owned, Way::Lent] {
            let needs = |share| Needs::<Anything>::new(Share::new(pool, share, 3), way);
            let mut pulled: Vec<Event> = (0..3).flat_map(|share| needs(share).map(|event| event.0)).collect();
            pulled.sort();
            assert!(pulled == expected, "{way:?}");
            let (mut needs, mut filled) = (needs(1), Vec::new());
            while needs.fill(&mut filled) {}
            assert!(filled.into_iter().eq(Needs::new(Share::new(pool, 1, 3), way)), "{way:?}");
        }
    }
}
