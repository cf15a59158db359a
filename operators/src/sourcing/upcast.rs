//! One step on the way of an old event to the present: from one version of a kind to the next.
//!
//! Types are erased here, and checked when the steps are put together: a step whose result the next one does not take
//! is refused before anything runs.

use std::any::{Any, TypeId, type_name};
use std::marker::PhantomData;

use highwater_state::Persist;
use highwater_state::error::Result;
use highwater_state::persist::decode;
use highwater_state::shape::payload_shape;

type Decode = dyn Fn(&str, &[u8]) -> Result<Box<dyn Any>> + Send + Sync;
type Convert = dyn Fn(Box<dyn Any>) -> Box<dyn Any> + Send + Sync;

/// A type, and what it is called in messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    id: TypeId,
    pub(crate) name: &'static str,
}

impl Named {
    pub(crate) fn of<T: 'static>() -> Named {
        Named { id: TypeId::of::<T>(), name: type_name::<T>() }
    }

    pub(crate) fn is(&self, other: &Named) -> bool {
        self.id == other.id
    }
}

/// How the events of one version of a kind become those of the next.
pub(crate) struct Upcast<E> {
    pub(crate) kind: String,
    pub(crate) from: u32,
    pub(crate) takes: Named,
    pub(crate) gives: Named,
    /// The shape of what it takes.
    pub(crate) payload: String,
    decode: Box<Decode>,
    convert: Box<Convert>,
    marker: PhantomData<fn() -> E>,
}

impl<E> Upcast<E> {
    pub(crate) fn new<Old: Persist, New: 'static>(
        kind: &str,
        from: u32,
        f: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> Upcast<E> {
        Upcast {
            kind: kind.to_owned(),
            from,
            takes: Named::of::<Old>(),
            gives: Named::of::<New>(),
            payload: payload_shape::<Old>(),
            decode: Box::new(|name, bytes| Ok(Box::new(decode::<Old>(name, bytes)?))),
            convert: Box::new(move |old| {
                let old = old.downcast::<Old>().expect("steps are put together by their types");
                Box::new(f(*old))
            }),
            marker: PhantomData,
        }
    }

    /// What it takes, out of what was kept; `name` is the state's, for errors.
    pub(crate) fn decode(&self, name: &str, payload: &[u8]) -> Result<Box<dyn Any>> {
        (self.decode)(name, payload)
    }

    /// What it gives.
    pub(crate) fn convert(&self, old: Box<dyn Any>) -> Box<dyn Any> {
        (self.convert)(old)
    }
}
