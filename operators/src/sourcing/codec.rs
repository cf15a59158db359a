//! Events to rows and back: kinds, their versions, and the steps from old ones to the present.
//!
//! Invariants: what is read is of the kind that was written, brought up to date step by step; whatever cannot be read
//! is an error that says where it stands; and, HW-9, a program that would read a kind as something else than was
//! written is refused when it starts, by the shapes that are kept of every kind and version.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_state::persist::{decode, encode};
use highwater_state::shape::Variants;
use highwater_state::{Key, Persist};

use crate::sourcing::envelope::{Envelope, EventId};
use crate::sourcing::error::{Fault, SourcingError};
use crate::sourcing::row::{EventRow, Payload};
use crate::sourcing::upcast::{Named, Upcast};
use crate::sourcing::{EventSourced, Sourcing};

/// What the names of the states begin with that keep the shape of each kind and version.
const EVENT: &str = "event.";

/// One kind of event.
struct Kind<E> {
    /// Its variant in the present type; `None` if it has none any more.
    variant: Option<usize>,
    /// The version that is written.
    version: u32,
    /// The shape of what the present version holds, if there is one.
    payload: Option<String>,
    /// The steps from version 1 on.
    steps: Vec<Arc<Upcast<E>>>,
}

/// Writes and reads events of a type.
pub(crate) struct Codec<E> {
    variants: Variants<E>,
    kinds: BTreeMap<String, Kind<E>>,
    /// By variant: the version that is written.
    versions: Vec<u32>,
}

/// An event that is to be written.
pub(crate) struct Written<'a, E> {
    pub(crate) event: &'a E,
    pub(crate) at: highwater_state::Timestamp,
    pub(crate) correlation: &'a str,
    pub(crate) causation: &'a str,
}

/// Where an event stands.
pub(crate) struct Spot<'a, K> {
    /// The name of the operator.
    pub(crate) operator: &'a str,
    pub(crate) aggregate: &'a K,
    pub(crate) version: u64,
}

impl<A: EventSourced> Sourcing<A> {
    pub(crate) fn codec(&self) -> Result<Codec<A::Event>, String> {
        let variants = Variants::<A::Event>::find().ok_or_else(|| {
            format!(
                "`{}` cannot be the type of events: make it an enum, or a struct with named fields, that derives \
                    `Serialize` and `Deserialize`",
                std::any::type_name::<A::Event>()
            )
        })?;
        let mut kinds: BTreeMap<String, Kind<A::Event>> = BTreeMap::new();
        for (number, variant) in variants.list().iter().enumerate() {
            let payload = Some(variant.payload.clone());
            let kind = Kind { variant: Some(number), version: 1, payload, steps: Vec::new() };
            kinds.insert(variant.name.to_owned(), kind);
        }
        let mut upcasts = self.upcasts.clone();
        upcasts.sort_by_key(|upcast| upcast.from);
        for upcast in upcasts {
            let none = || Kind { variant: None, version: 1, payload: None, steps: Vec::new() };
            let kind = kinds.entry(upcast.kind.clone()).or_insert_with(none);
            kind.add(upcast)?;
        }
        for (name, kind) in &kinds {
            kind.check(name)?;
        }
        let versions = variants.list().iter().map(|variant| kinds[variant.name].version).collect();
        Ok(Codec { variants, kinds, versions })
    }
}

impl<E: 'static> Kind<E> {
    fn add(&mut self, upcast: Arc<Upcast<E>>) -> Result<(), String> {
        let (name, from, next) = (&upcast.kind, upcast.from, self.version);
        if from != next {
            return Err(match from < next {
                true => format!("two steps lead from version {from} of the event `{name}`; keep one of them"),
                false => format!(
                    "no step leads from version {next} of the event `{name}`, and one does from version {from}: add \
                        `upcast(\"{name}\", {next}, ..)`"
                ),
            });
        }
        if let Some(before) = self.steps.last().filter(|before| !before.gives.is(&upcast.takes)) {
            return Err(format!(
                "the step from version {} of the event `{name}` gives `{}`, and the one from version {from} takes \
                    `{}`; make these one type",
                before.from, before.gives.name, upcast.takes.name
            ));
        }
        self.version += 1;
        self.steps.push(upcast);
        Ok(())
    }

    fn check(&self, name: &str) -> Result<(), String> {
        let Some(last) = self.steps.last() else { return Ok(()) };
        if last.gives.is(&Named::of::<E>()) {
            return Ok(());
        }
        Err(format!(
            "the last step of the event `{name}`, from version {}, gives `{}`; it must give the event as it is today, \
                `{}`, or another step must follow",
            last.from,
            last.gives.name,
            Named::of::<E>().name
        ))
    }

    /// The shape of what each version holds.
    fn payloads(&self) -> impl Iterator<Item = (u32, &str)> {
        let old = self.steps.iter().map(|step| (step.from, step.payload.as_str()));
        old.chain(self.payload.as_deref().map(|payload| (self.version, payload)))
    }
}

impl<E: Persist> Codec<E> {
    /// The kind of an event, the version of it that is written, and the event's bytes.
    pub(crate) fn write(
        &self,
        written: &Written<'_, E>,
    ) -> Result<(&'static str, u32, EventRow), SourcingError> {
        let (variant, payload) = self.variants.encode(written.event)?;
        let (kind, schema) = (self.variants.list()[variant].name, self.versions[variant]);
        let row = EventRow {
            kind: kind.to_owned(),
            schema,
            at: written.at,
            correlation: written.correlation.to_owned(),
            causation: written.causation.to_owned(),
            payload: Payload(payload),
        };
        Ok((kind, schema, row))
    }

    /// The event that a row holds.
    pub(crate) fn read<K: Key>(
        &self,
        spot: &Spot<'_, K>,
        bytes: &[u8],
    ) -> Result<Envelope<K, E>, SourcingError> {
        let store = events_of(spot.operator);
        let row: EventRow =
            decode(&store, bytes).map_err(|error| spot.fault("?", 0, Fault::Broken(reason_of(error))))?;
        let EventRow { kind, schema, at, correlation, causation, payload } = row;
        let event = self.event(&store, &kind, schema, &payload.0);
        let event = event.map_err(|fault| spot.fault(&kind, schema, fault))?;
        Ok(Envelope {
            id: EventId::of(spot.operator, spot.aggregate, spot.version)?,
            aggregate: spot.aggregate.clone(),
            version: spot.version,
            kind: Cow::Owned(kind),
            schema,
            at,
            correlation,
            causation,
            event,
        })
    }

    fn event(&self, store: &str, kind: &str, schema: u32, payload: &[u8]) -> Result<E, Fault> {
        let broken = |error| Fault::Broken(reason_of(error));
        let kind = self.kinds.get(kind).ok_or(Fault::UnknownKind)?;
        let steps = usize::try_from(schema).ok().and_then(|schema| kind.steps.get(schema.checked_sub(1)?..));
        let (first, others) = match steps.and_then(<[_]>::split_first) {
            Some(steps) => steps,
            None => {
                let known = kind.version - u32::from(kind.variant.is_none());
                let present = kind.variant.filter(|_| schema == kind.version);
                let variant = present.ok_or(Fault::UnknownVersion { known })?;
                return self.variants.decode(store, variant, payload).map_err(broken);
            }
        };
        let old: Box<dyn Any> = first.convert(first.decode(store, payload).map_err(broken)?);
        let event = others.iter().fold(old, |old, step| step.convert(old));
        Ok(*event.downcast::<E>().expect("the last step gives the event as it is today"))
    }

    /// What has to be kept of the kinds: the name of a state for each version, without the operator's, and its shape.
    pub(crate) fn shapes(&self) -> impl Iterator<Item = (String, &str)> {
        self.kinds.iter().flat_map(|(name, kind)| {
            kind.payloads().map(move |(version, payload)| (format!("{EVENT}{name}.v{version}"), payload))
        })
    }

    /// Compares the kinds with what is kept of them, HW-9: the names and shapes of the states of a directory.
    pub(crate) fn compare(
        &self,
        operator: &str,
        kept: impl Iterator<Item = (String, String)>,
    ) -> Result<(), SourcingError> {
        let shapes: BTreeMap<String, &str> = self.shapes().collect();
        let prefix = format!("{operator}/");
        for (name, shape) in kept {
            let Some(part) = name.strip_prefix(&prefix) else { continue };
            let Some((kind, schema)) = part.strip_prefix(EVENT).and_then(|part| part.rsplit_once(".v"))
            else {
                continue;
            };
            let Ok(schema) = schema.parse() else { continue };
            let reason = match shapes.get(part) {
                Some(payload) if shape_row(payload) == shape => continue,
                Some(payload) => format!(
                    "which were written as `{}` and would be read as `{payload}`: leave the old type as it was, and \
                        say what becomes of it with `upcast(\"{kind}\", {schema}, |old: ..| ..)`",
                    shape.trim_start_matches(KEYS)
                ),
                None => format!(
                    "`{}`, which the program does not know: bring the variant back, or say what becomes of it with \
                        `upcast(\"{kind}\", {schema}, |old: ..| ..)`",
                    shape.trim_start_matches(KEYS)
                ),
            };
            let store = events_of(operator);
            return Err(SourcingError::Unreadable { store, kind: kind.to_owned(), schema, reason });
        }
        Ok(())
    }
}

const KEYS: &str = "() -> ";

/// The shape of a state that only says what a kind holds.
pub(crate) fn shape_row(payload: &str) -> String {
    format!("{KEYS}{payload}")
}

/// The state that holds the events of an operator.
pub(crate) fn events_of(operator: &str) -> String {
    format!("{operator}/events")
}

impl<K: Key> Spot<'_, K> {
    fn fault(&self, kind: &str, schema: u32, fault: Fault) -> SourcingError {
        SourcingError::Event {
            store: events_of(self.operator),
            aggregate: told(self.aggregate),
            version: self.version,
            kind: kind.to_owned(),
            schema,
            fault,
        }
    }
}

/// A key as it is told to people.
pub(crate) fn told<K: Key>(key: &K) -> String {
    serde_json::to_string(key).unwrap_or_else(|_| {
        let mut bytes = Vec::new();
        match encode("key", key, &mut bytes) {
            Ok(()) => highwater_state::shape::hex(&bytes),
            Err(error) => error.to_string(),
        }
    })
}

/// The decoder's own words.
fn reason_of(error: highwater_state::StateError) -> String {
    match error {
        highwater_state::StateError::Row { reason, .. } => reason,
        other => other.to_string(),
    }
}
