//! Accumulators that a run keeps in the place of the records that a stage took.
//!
//! An accumulator belongs to one run; where a run becomes two it is copied. Invariant: an accumulator that was read
//! back is decoded before the run goes on, so nobody else ever sees the bytes.

use std::any::Any;
use std::marker::PhantomData;

use highwater_state::error::Result;
use highwater_state::shape::shape_of;
use highwater_state::{Persist, persist};

/// What a stage folds its records into, with the types left out.
pub trait FoldOf<T>: Send + Sync {
    /// The accumulator before the first record.
    fn start(&self) -> Box<dyn Accumulator>;
    /// Adds a record.
    fn add(&self, accumulator: &mut dyn Accumulator, record: &T);
    /// Reads an accumulator back.
    ///
    /// # Errors
    /// If the bytes are none.
    fn decode(&self, name: &str, bytes: &[u8]) -> Result<Box<dyn Accumulator>>;
    /// What an accumulator looks like when it is kept.
    fn shape(&self) -> String;
}

/// An accumulator, with its type left out.
pub trait Accumulator: Send {
    /// Its bytes.
    ///
    /// # Errors
    /// If it cannot be encoded.
    fn encode(&self) -> Result<Vec<u8>>;
    /// Another one that is equal.
    fn copied(&self) -> Box<dyn Accumulator>;
    /// The value.
    fn value(&self) -> &dyn Any;
    /// The value, to be changed.
    fn value_mut(&mut self) -> &mut dyn Any;
}

impl<A: Persist + Clone> Accumulator for A {
    fn encode(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        persist::encode("accumulator", self, &mut bytes)?;
        Ok(bytes)
    }

    fn copied(&self) -> Box<dyn Accumulator> {
        Box::new(self.clone())
    }

    fn value(&self) -> &dyn Any {
        self
    }

    fn value_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// A fold by two closures.
pub(super) struct Folding<A, I, F> {
    pub(super) initial: I,
    pub(super) add: F,
    pub(super) marker: PhantomData<fn() -> A>,
}

impl<T, A, I, F> FoldOf<T> for Folding<A, I, F>
where
    A: Persist + Clone,
    I: Fn() -> A + Send + Sync,
    F: Fn(&mut A, &T) + Send + Sync,
{
    fn start(&self) -> Box<dyn Accumulator> {
        Box::new((self.initial)())
    }

    fn add(&self, accumulator: &mut dyn Accumulator, record: &T) {
        let value = accumulator.value_mut().downcast_mut::<A>();
        (self.add)(value.expect("an accumulator is of its stage's type"), record);
    }

    fn decode(&self, name: &str, bytes: &[u8]) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(persist::decode::<A>(name, bytes)?))
    }

    fn shape(&self) -> String {
        shape_of::<A>().to_string()
    }
}
