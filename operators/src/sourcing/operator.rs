//! `event_sourced`: commands become events and replies.
//!
//! The present state of an aggregate is a row like that of any keyed operator: in memory while it is in use, found by
//! one look-up otherwise. Its events are added to a journal and not looked at again, but where the state is not there
//! although events are: it is made anew from the last snapshot and what followed. Invariants: the state row of an
//! aggregate, its events and its snapshots change in one epoch, so that the row says how many events there are; a
//! command sees the state after all commands of its aggregate before it. Memory: a row per aggregate in the shared
//! table budget, on disk beyond it; the events and snapshots of one epoch, encoded.

use std::ops::ControlFlow;

use highwater_state::delta::Family;
use highwater_state::journal::{Appender, Journal};
use highwater_state::persist::encode;
use highwater_state::table::{Place, RowRef, Slot, Table};
use highwater_state::{Delta, Epoch, Key, Timestamp};

use crate::batch::KeyedBatch;
use crate::data::HasEventTime;
use crate::keyed::KeyedStream;
use crate::opening::{NodeOpening, OpenError};
use crate::operator::{Fault, Operator};
use crate::outbox::{Outbox, Outputs};
use crate::sourcing::codec::{Codec, Written, shape_row};
use crate::sourcing::command::{Accepted, Command, Conflict, Denial, Reply};
use crate::sourcing::envelope::{Envelope, EventId};
use crate::sourcing::error::SourcingError;
use crate::sourcing::row::{EventRow, Number, StateRow, snapshot_number};
use crate::sourcing::store::{Past, SNAPSHOTS_FILED};
use crate::sourcing::{EventSourced, Sourcing};
use crate::stream::{EventTime, here};

/// How events are filed, beside their shape: who looks for one must know of which key the key group is.
pub(crate) const EVENTS_FILED: &str = ", filed by the first part of the key";

impl<K: Key, B, C> KeyedStream<K, Command<B>, C> {
    /// Runs an aggregate for each key: it decides what a command makes happen, and is changed by it.
    ///
    /// The first stream has every event in the order of its aggregate's versions, the second one a reply for each
    /// command. The events are kept for good under the name, and read by an
    /// [`EventStore`](crate::sourcing::EventStore); events, replies and what is kept belong to one epoch. A job without
    /// a state directory keeps the state of its aggregates and no events: they only go out.
    ///
    /// Commands of one key are obeyed in the order in which they come, also those that are late by their event time;
    /// put [`sorted`](KeyedStream::sorted) before where that must not be. A command that comes twice is obeyed twice:
    /// say which version it [expects](Command::expecting), or `dedup` commands by their ids.
    ///
    /// ```
    /// # use highwater_operators::sourcing::{Command, EventSourced, Sourcing};
    /// # use highwater_operators::testkit::timed_output_of;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Default, Serialize, Deserialize)]
    /// struct Account {
    ///     balance: u64,
    /// }
    ///
    /// #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    /// enum Entry {
    ///     Deposited(u64),
    ///     Withdrawn(u64),
    /// }
    ///
    /// impl EventSourced for Account {
    ///     type Command = i64;
    ///     type Event = Entry;
    ///     type Rejection = &'static str;
    ///
    ///     fn decide(&self, amount: i64) -> Result<Vec<Entry>, &'static str> {
    ///         match u64::try_from(amount) {
    ///             Ok(amount) => Ok(vec![Entry::Deposited(amount)]),
    ///             Err(_) if self.balance < amount.unsigned_abs() => Err("insufficient funds"),
    ///             Err(_) => Ok(vec![Entry::Withdrawn(amount.unsigned_abs())]),
    ///         }
    ///     }
    ///
    ///     fn evolve(&mut self, entry: &Entry) {
    ///         match entry {
    ///             Entry::Deposited(amount) => self.balance += amount,
    ///             Entry::Withdrawn(amount) => self.balance -= amount,
    ///         }
    ///     }
    /// }
    ///
    /// let told = timed_output_of([(1, 70), (2, -50), (3, -50)], |amounts| {
    ///     let commands = amounts.map(|amount| Command::new(format!("c{amount}"), amount));
    ///     let commands = commands.key_by(|_| "ada".to_owned());
    ///     let (events, replies) = commands.event_sourced("accounts", Sourcing::<Account>::new());
    ///     let denied = replies.values().filter(|reply| reply.outcome.is_err());
    ///     let events = events.values().map(|event| format!("{} {:?}", event.version, event.event));
    ///     events.merge(denied.map(|reply| format!("{} is denied", reply.command)))
    /// });
    /// let expected = [(1, "1 Deposited(70)"), (2, "2 Withdrawn(50)"), (3, "c-50 is denied")];
    /// assert_eq!(told, expected.map(|(time, text)| (time, text.to_owned())));
    /// ```
    ///
    /// Costs a look-up and a row for each aggregate and epoch, and a row for each event.
    #[track_caller]
    pub fn event_sourced<A>(
        self,
        name: &str,
        sourcing: Sourcing<A>,
    ) -> (EventStream<K, A, C>, ReplyStream<K, A, C>)
    where
        A: EventSourced<Command = B>,
        B: 'static,
        C: HasEventTime,
    {
        let place = here("event_sourced", Some(name));
        if let Err(reason) = sourcing.check() {
            self.wire.refuse(&place, reason);
        }
        let wire = self.wire.then::<KeyedBatch<K, Command<B>>, Out<K, A>>(place, move |opening| {
            Ok(Box::new(Aggregates::<K, A>::open(&sourcing, opening)?))
        });
        let replies = wire.output(1);
        (KeyedStream::at(wire), KeyedStream::at(replies))
    }
}

/// What happens to the aggregates `A` with ids `K`.
pub type EventStream<K, A, C = EventTime> = KeyedStream<K, Envelope<K, <A as EventSourced>::Event>, C>;

/// What the aggregates `A` with ids `K` answer.
pub type ReplyStream<K, A, C = EventTime> =
    KeyedStream<K, Reply<K, <A as EventSourced>::Event, <A as EventSourced>::Rejection>, C>;

type Events<K, A> = KeyedBatch<K, Envelope<K, <A as EventSourced>::Event>>;
type Replies<K, A> = KeyedBatch<K, Reply<K, <A as EventSourced>::Event, <A as EventSourced>::Rejection>>;
type Out<K, A> = (Outbox<Events<K, A>>, Outbox<Replies<K, A>>);

/// A command, and where it came from.
struct Asked<'k, K, C> {
    key: &'k K,
    hash: u64,
    slot: Slot,
    at: Timestamp,
    command: Command<C>,
}

struct Aggregates<K, A: EventSourced> {
    name: String,
    sourcing: Sourcing<A>,
    codec: Codec<A::Event>,
    states: Table<K, StateRow<A>>,
    events: Appender,
    snapshots: Appender,
    /// Where the events and snapshots of earlier runs are; `None` if there are none.
    earlier: Option<(Place, Place)>,
    slots: Vec<Slot>,
}

impl<K: Key, A: EventSourced> Aggregates<K, A> {
    fn open(sourcing: &Sourcing<A>, opening: &NodeOpening<'_>) -> Result<Self, OpenError> {
        let name = opening.name().to_owned();
        let codec = sourcing.codec().map_err(|reason| failed(SourcingError::Definition(reason)))?;
        let catalog = &opening.worker.catalog;
        let kept = || catalog.names().into_iter().map(|(name, _, shape)| (name, shape));
        codec.compare(&name, kept()).map_err(failed)?;
        sourcing.compare(&name, kept()).map_err(failed)?;
        for (part, payload) in codec.shapes() {
            catalog.store(&format!("{name}/{part}"), Family::Values, &shape_row(payload))?;
        }
        let (state, snapshots) = (sourcing.part("state"), sourcing.part("snapshots"));
        let state = opening.store::<K, StateRow<A>>(Some(&state), Family::Values)?;
        let events =
            opening.store_filed::<(K, Number), EventRow>(Some("events"), Family::Values, EVENTS_FILED)?;
        let snapshots = opening.store_filed::<(K, Number), StateRow<A>>(
            Some(&snapshots),
            Family::Values,
            SNAPSHOTS_FILED,
        )?;
        let is_new = Journal::new(&*events.backend, events.store, &events.name).is_empty()?;
        Ok(Aggregates {
            name,
            sourcing: sourcing.clone(),
            codec,
            states: Table::open(state, opening.committed())?,
            events: Appender::new(&events),
            snapshots: Appender::new(&snapshots),
            earlier: (!is_new).then_some((events, snapshots)),
            slots: Vec::new(),
        })
    }

    /// The state of an aggregate without a row, made from what earlier runs kept of it; `None` if that is nothing.
    fn rebuild(&self, key: &K) -> Result<Option<StateRow<A>>, Fault> {
        let Some((events, snapshots)) = &self.earlier else { return Ok(None) };
        let past = Past {
            operator: &self.name,
            codec: &self.codec,
            events: Journal::new(&*events.backend, events.store, &events.name),
            snapshots: Some(Journal::new(&*snapshots.backend, snapshots.store, &snapshots.name)),
        };
        let (row, _) = past.state(key, u64::MAX, |_| ControlFlow::Continue(())).map_err(failed)?;
        Ok(Some(row).filter(|row| row.version > 0))
    }

    /// Lets an aggregate decide about a command, and tells what came of it.
    fn obey(&mut self, asked: Asked<'_, K, A::Command>, out: &mut Out<K, A>) -> Result<(), Fault> {
        let Asked { key, hash, slot, at, command } = asked;
        if self.states.value(slot).is_none() {
            // Noted as changed, or a row that is looked for in vain would stay in memory for ever.
            *self.states.value_mut(slot) = self.rebuild(key)?;
        }
        let Command { id, correlation, expected, body } = command;
        let outcome = match self.states.value(slot) {
            Some(kept) => decide(kept, expected, body, self.sourcing.events_per_command),
            None => decide(&StateRow::<A>::new(), expected, body, self.sourcing.events_per_command),
        };
        let outcome = match outcome {
            Ok(events) => {
                for event in &events {
                    let written = Written { event, at, correlation: &correlation, causation: &id };
                    self.happen((key, hash, slot), &written, out)?;
                }
                let version = self.states.value(slot).map_or(0, |kept| kept.version);
                Ok(Accepted { version, events })
            }
            Err(denial) => Err(denial),
        };
        if out.1.is_taken() {
            let reply = Reply { aggregate: key.clone(), command: id, correlation, at, outcome };
            out.1.push_keyed(key.clone(), hash, reply, at);
        }
        Ok(())
    }

    /// An event happens to an aggregate: it changes the state, is kept, and goes out.
    fn happen(
        &mut self,
        (key, hash, slot): (&K, u64, Slot),
        written: &Written<'_, A::Event>,
        out: &mut Out<K, A>,
    ) -> Result<(), Fault> {
        let kept = self.states.value_mut(slot).get_or_insert_with(StateRow::new);
        kept.version = kept.version.saturating_add(1);
        kept.reached = kept.reached.max(written.at);
        kept.state.evolve(written.event);
        let version = kept.version;
        let (kind, schema, row) = self.codec.write(written).map_err(failed)?;
        self.events.add((key, hash), version, |into| encode("event", &row, into))?;
        if version.is_multiple_of(self.sourcing.snapshot_every) {
            let snapshot = |into: &mut Vec<u8>| encode("snapshot", &*kept, into);
            self.snapshots.add((key, hash), snapshot_number(version), snapshot)?;
        }
        if out.0.is_taken() {
            let envelope = Envelope {
                id: EventId::of(&self.name, key, version)?,
                aggregate: key.clone(),
                version,
                kind: kind.into(),
                schema,
                at: written.at,
                correlation: row.correlation,
                causation: row.causation,
                event: written.event.clone(),
            };
            out.0.push_keyed(key.clone(), hash, envelope, written.at);
        }
        Ok(())
    }
}

fn decide<A: EventSourced>(
    kept: &StateRow<A>,
    expected: Option<u64>,
    command: A::Command,
    limit: usize,
) -> Result<Vec<A::Event>, Denial<A::Rejection>> {
    if let Some(expected) = expected.filter(|&expected| expected != kept.version) {
        return Err(Conflict { expected, found: kept.version }.into());
    }
    let events = kept.state.decide(command).map_err(Denial::Rejected)?;
    match events.len() {
        events if events > limit => Err(Denial::TooMany { events, limit }),
        _ => Ok(events),
    }
}

fn failed(error: SourcingError) -> Fault {
    match error {
        SourcingError::State(error) => Fault::State(error),
        other => Fault::Failed(Box::new(other)),
    }
}

impl<K: Key, A: EventSourced> Operator<KeyedBatch<K, Command<A::Command>>, Out<K, A>> for Aggregates<K, A> {
    fn on_batch(
        &mut self,
        batch: &mut KeyedBatch<K, Command<A::Command>>,
        out: &mut Out<K, A>,
    ) -> Result<(), Fault> {
        let KeyedBatch { mut keys, mut hashes, mut records } = std::mem::take(batch);
        let row = |index: usize| RowRef { hash: hashes[index], time: Timestamp::MIN, key: &keys[index] };
        self.states.resolve(keys.len(), row, &mut self.slots)?;
        let slots = std::mem::take(&mut self.slots);
        let mut commands = std::mem::take(&mut records.values).into_iter();
        let mut done = 0;
        while out.has_room() {
            let Some(command) = commands.next() else { break };
            let (key, hash, slot, at) = (&keys[done], hashes[done], slots[done], records.times[done]);
            self.obey(Asked { key, hash, slot, at, command }, out)?;
            done += 1;
        }
        self.slots = slots;
        if commands.len() > 0 {
            keys.drain(..done);
            hashes.drain(..done);
            records.times.drain(..done);
            records.values = commands.collect();
            *batch = KeyedBatch { keys, hashes, records };
        }
        Ok(())
    }

    fn freeze(&mut self, epoch: Epoch, delta: &mut Delta) -> Result<(), Fault> {
        self.states.freeze(epoch, delta)?;
        self.events.freeze(epoch, delta);
        self.snapshots.freeze(epoch, delta);
        Ok(())
    }

    fn applied(&mut self, epoch: Epoch) {
        self.states.applied(epoch);
        self.events.applied(epoch);
        self.snapshots.applied(epoch);
    }
}
