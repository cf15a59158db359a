//! What is kept of aggregates, to be read: from a version on, as of a version or a time, or all of it.
//!
//! An [`EventStore`] reads whatever shows a committed epoch ([`Committed`]): the state directory of a job that does not
//! run, or a savepoint of one that does. Invariants: it gives the events in the order of their versions, each brought
//! up to the present type; one that is missing, broken or unknown is an error with its place. It changes nothing, and
//! knows no operator but by its name.

use std::ops::ControlFlow;

use highwater_state::delta::Family;
use highwater_state::hash::key_hash;
use highwater_state::journal::Journal;
use highwater_state::layout::value_prefix;
use highwater_state::persist::{decode, encode};
use highwater_state::shape::shape_of;
use highwater_state::{Committed, Epoch, Key, KeyGroup, Persist, StateError, StoreId, Timestamp};

use crate::sourcing::codec::{Codec, Spot, events_of, told};
use crate::sourcing::envelope::Envelope;
use crate::sourcing::error::SourcingError;
use crate::sourcing::operator::EVENTS_FILED;
use crate::sourcing::row::{EventRow, Number, StateRow, snapshot_number};
use crate::sourcing::{EventSourced, Sourcing};

/// How snapshots are filed, beside their shape.
pub(crate) const SNAPSHOTS_FILED: &str = ", filed by the first part of the key, the latest first";

/// A state, and how many events made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versioned<A> {
    /// How many events made it.
    pub version: u64,
    /// The state.
    pub state: A,
}

/// A moment in the life of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After this many of its events.
    Version(u64),
    /// At this event time: after the events before the first one that has a later time. Where an aggregate's commands
    /// come in the order of event time, these are all events up to that time.
    Time(Timestamp),
}

impl From<u64> for Moment {
    fn from(version: u64) -> Moment {
        Moment::Version(version)
    }
}

impl From<Timestamp> for Moment {
    fn from(time: Timestamp) -> Moment {
        Moment::Time(time)
    }
}

/// The events of the aggregates `A` with ids `K`, as of one committed epoch.
///
/// ```no_run
/// # use highwater_operators::sourcing::{EventSourced, EventStore, Sourcing, SourcingError};
/// # use highwater_state::{StateReader, Timestamp};
/// # fn look<Account: EventSourced>(sourcing: Sourcing<Account>) -> Result<(), SourcingError> {
/// let reader = StateReader::open("/var/lib/bank".as_ref())?;
/// let accounts = EventStore::<String, Account>::open(&reader, "accounts", sourcing)?;
/// let now = accounts.state(&"ada".to_owned())?;
/// let then = accounts.as_of(&"ada".to_owned(), Timestamp::from_millis(1_700_000_000_000))?;
/// let how = accounts.load(&"ada".to_owned(), then.version + 1)?;
/// # Ok(())
/// # }
/// ```
pub struct EventStore<'v, K, A: EventSourced> {
    name: String,
    view: &'v dyn Committed,
    codec: Codec<A::Event>,
    events: Journal<'v>,
    snapshots: Option<Journal<'v>>,
    /// `None` if this edition of the state was never kept.
    states: Option<(String, StoreId)>,
    of: std::marker::PhantomData<fn() -> K>,
}

impl<'v, K: Key, A: EventSourced> EventStore<'v, K, A> {
    /// The events that the operator of this name keeps.
    ///
    /// # Errors
    /// [`StateError::Unknown`] if nothing is kept under the name; [`StateError::Shape`] if aggregates or states of
    /// other types are; [`SourcingError::Unreadable`] if events are of which `sourcing` does not say what they are.
    pub fn open(
        view: &'v dyn Committed,
        name: &str,
        sourcing: Sourcing<A>,
    ) -> Result<EventStore<'v, K, A>, SourcingError> {
        sourcing.check().map_err(SourcingError::Definition)?;
        let codec = sourcing.codec().map_err(SourcingError::Definition)?;
        let events = events_of(name);
        let store = kept::<(K, Number), EventRow>(view, &events, EVENTS_FILED)?;
        codec.compare(name, view.states().into_iter())?;
        sourcing.compare(name, view.states().into_iter())?;
        let part = |part: &str| format!("{name}/{}", sourcing.part(part));
        let (state, snapshots) = (part("state"), part("snapshots"));
        let states = if_kept::<K, StateRow<A>>(view, &state, "")?.map(|store| (state, store));
        let snapshots = if_kept::<(K, Number), StateRow<A>>(view, &snapshots, SNAPSHOTS_FILED)?
            .map(|store| Journal::new(view.backend(), store, &snapshots));
        let events = Journal::new(view.backend(), store, &events);
        let of = std::marker::PhantomData;
        Ok(EventStore { name: name.to_owned(), view, codec, events, snapshots, states, of })
    }

    /// The epoch as of which it is read.
    pub fn epoch(&self) -> Epoch {
        self.view.epoch()
    }

    /// The events of an aggregate from a version on, in order; all of them in memory. None if it has none.
    ///
    /// # Errors
    /// An event that cannot be read, or is missing; what the state store reports.
    pub fn load(&self, aggregate: &K, from: u64) -> Result<Vec<Envelope<K, A::Event>>, SourcingError> {
        let mut events = Vec::new();
        self.past().events(aggregate, (from.max(1), u64::MAX), |envelope| {
            events.push(envelope);
            ControlFlow::Continue(())
        })?;
        let last = events.last().map_or(from.saturating_sub(1), |event| event.version);
        self.compare_end(aggregate, last, u64::MAX)?;
        Ok(events)
    }

    /// The present state of an aggregate; the default one, at version 0, if it has no events. Costs one look-up.
    ///
    /// # Errors
    /// As for [`load`](Self::load), where the state has to be made anew.
    pub fn state(&self, aggregate: &K) -> Result<Versioned<A>, SourcingError> {
        match self.present(aggregate)? {
            Some(row) => Ok(versioned(row)),
            None => self.as_of(aggregate, u64::MAX),
        }
    }

    /// The state of an aggregate at a moment: what it was at a version or time, and how many events had made it by
    /// then. Reads the last snapshot before, and the events since.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn as_of(&self, aggregate: &K, moment: impl Into<Moment>) -> Result<Versioned<A>, SourcingError> {
        let moment = moment.into();
        let latest = if let Moment::Version(latest) = moment { latest } else { u64::MAX };
        let (row, has_ended) = self.past().state(aggregate, latest, |(version, reached)| {
            let is_over = match moment {
                Moment::Version(last) => version > last,
                Moment::Time(last) => reached > last,
            };
            if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if has_ended {
            self.compare_end(aggregate, row.version, latest)?;
        }
        Ok(versioned(row))
    }

    /// The versions of which a snapshot of an aggregate is kept, the latest first.
    ///
    /// # Errors
    /// What the state store reports.
    pub fn snapshots(&self, aggregate: &K) -> Result<Vec<u64>, SourcingError> {
        let mut versions = Vec::new();
        if let Some(snapshots) = &self.snapshots {
            snapshots.read(aggregate, 0, |number, _| {
                versions.push(snapshot_number(number));
                Ok::<_, SourcingError>(ControlFlow::Continue(()))
            })?;
        }
        Ok(versions)
    }

    /// Puts every event of every aggregate through a projection: all of one aggregate in order, then those of the next.
    /// The aggregates come in an order that is always the same and means nothing.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn replay<P>(
        &self,
        projection: P,
        mut project: impl FnMut(&mut P, Envelope<K, A::Event>),
    ) -> Result<P, SourcingError> {
        let mut projection = projection;
        let mut last: Option<(Vec<u8>, K, u64)> = None;
        self.events.all(|key, version, bytes| {
            let (key, aggregate, expected) = match last.take() {
                Some((before, aggregate, version)) if before == key => {
                    (before, aggregate, version.saturating_add(1))
                }
                before => {
                    self.compare_last(before)?;
                    (key.to_vec(), decode(&events_of(&self.name), key)?, 1)
                }
            };
            let envelope = self.past().event(&aggregate, version, expected, bytes)?;
            project(&mut projection, envelope);
            last = Some((key, aggregate, version));
            Ok::<_, SourcingError>(ControlFlow::Continue(()))
        })?;
        self.compare_last(last)?;
        Ok(projection)
    }

    fn compare_last(&self, last: Option<(Vec<u8>, K, u64)>) -> Result<(), SourcingError> {
        last.map_or(Ok(()), |(_, aggregate, version)| self.compare_end(&aggregate, version, u64::MAX))
    }

    /// The row of an aggregate's present state, if this edition of it is kept.
    fn present(&self, aggregate: &K) -> Result<Option<StateRow<A>>, SourcingError> {
        let Some((name, store)) = &self.states else { return Ok(None) };
        let mut row = Vec::new();
        value_prefix(*store, KeyGroup::of_hash(key_hash(aggregate)), &mut row);
        encode("key", aggregate, &mut row)?;
        let bytes = self.view.backend().get(Family::Values, &row)?;
        Ok(bytes.map(|bytes| decode(name, &bytes)).transpose()?)
    }

    /// The events of an aggregate end at `last`: its state must not be made of more, as far as versions up to `latest`
    /// were asked for.
    fn compare_end(&self, aggregate: &K, last: u64, latest: u64) -> Result<(), SourcingError> {
        let Some(present) = self.present(aggregate)? else { return Ok(()) };
        if last >= present.version.min(latest) {
            return Ok(());
        }
        let (store, aggregate) = (events_of(&self.name), told(aggregate));
        Err(SourcingError::Cut { store, aggregate, last, version: present.version })
    }

    fn past(&self) -> Past<'_, A::Event> {
        Past {
            operator: &self.name,
            codec: &self.codec,
            events: self.events.clone(),
            snapshots: self.snapshots.clone(),
        }
    }
}

fn versioned<A>(row: StateRow<A>) -> Versioned<A> {
    Versioned { version: row.version, state: row.state }
}

/// The number of a state, HW-9: refused if it was kept as other types.
fn kept<K: Key, V: Persist>(view: &dyn Committed, name: &str, filed: &str) -> Result<StoreId, StateError> {
    let (id, family, kept) = view.state(name)?;
    let asked = format!("{} -> {}{filed}", shape_of::<K>(), shape_of::<V>());
    if family == Family::Values && kept == asked {
        return Ok(id);
    }
    Err(StateError::Shape { name: name.to_owned(), kept, asked })
}

fn if_kept<K: Key, V: Persist>(
    view: &dyn Committed,
    name: &str,
    filed: &str,
) -> Result<Option<StoreId>, StateError> {
    match kept::<K, V>(view, name, filed) {
        Err(StateError::Unknown { .. }) => Ok(None),
        found => found.map(Some),
    }
}

/// The past of aggregates: their events, and snapshots of what these made.
pub(crate) struct Past<'b, E> {
    /// The name of the operator.
    pub(crate) operator: &'b str,
    pub(crate) codec: &'b Codec<E>,
    pub(crate) events: Journal<'b>,
    pub(crate) snapshots: Option<Journal<'b>>,
}

impl<E: Persist> Past<'_, E> {
    /// The state of an aggregate after its events up to the first one that `go_on` refuses, which is asked with the
    /// version and the greatest event time so far; it refuses those behind the version `latest`. Says, too, whether it
    /// went through all events that are kept.
    pub(crate) fn state<K: Key, A: EventSourced<Event = E>>(
        &self,
        aggregate: &K,
        latest: u64,
        go_on: impl Fn((u64, Timestamp)) -> ControlFlow<()>,
    ) -> Result<(StateRow<A>, bool), SourcingError> {
        let mut row = StateRow::<A>::new();
        if let Some(snapshots) = &self.snapshots {
            // The latest one comes first.
            snapshots.read(aggregate, snapshot_number(latest), |number, bytes| {
                let found: StateRow<A> = decode(&format!("{}/snapshots", self.operator), bytes)?;
                self.compare(aggregate, snapshot_number(number), found.version)?;
                if go_on((found.version, found.reached)).is_break() {
                    return Ok(ControlFlow::Continue(()));
                }
                row = found;
                Ok::<_, SourcingError>(ControlFlow::Break(()))
            })?;
        }
        let has_ended = self.events(aggregate, (row.version.saturating_add(1), latest), |envelope| {
            let reached = row.reached.max(envelope.at);
            if go_on((envelope.version, reached)).is_break() {
                return ControlFlow::Break(());
            }
            row.state.evolve(&envelope.event);
            (row.version, row.reached) = (envelope.version, reached);
            ControlFlow::Continue(())
        })?;
        Ok((row, has_ended))
    }

    /// Visits the events of an aggregate from one version to another; what is behind is not looked at. Says whether
    /// it went through all that are kept.
    fn events<K: Key>(
        &self,
        aggregate: &K,
        (from, latest): (u64, u64),
        mut visit: impl FnMut(Envelope<K, E>) -> ControlFlow<()>,
    ) -> Result<bool, SourcingError> {
        let (mut expected, mut has_ended) = (from, true);
        self.events.read(aggregate, from, |version, bytes| {
            if expected > latest {
                has_ended = false;
                return Ok(ControlFlow::Break(()));
            }
            let envelope = self.event(aggregate, version, expected, bytes)?;
            expected = expected.saturating_add(1);
            let flow = visit(envelope);
            has_ended &= flow.is_continue();
            Ok::<_, SourcingError>(flow)
        })?;
        Ok(has_ended)
    }

    /// The event that a row holds, which must be that of the version `expected`.
    fn event<K: Key>(
        &self,
        aggregate: &K,
        version: u64,
        expected: u64,
        bytes: &[u8],
    ) -> Result<Envelope<K, E>, SourcingError> {
        self.compare(aggregate, expected, version)?;
        self.codec.read(&Spot { operator: self.operator, aggregate, version }, bytes)
    }

    fn compare<K: Key>(&self, aggregate: &K, expected: u64, found: u64) -> Result<(), SourcingError> {
        if expected == found {
            return Ok(());
        }
        let (store, aggregate) = (events_of(self.operator), told(aggregate));
        Err(SourcingError::Missing { store, aggregate, expected, found })
    }
}
