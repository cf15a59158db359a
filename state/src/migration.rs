//! State of one type becomes state of another, once.
//!
//! A program declares how a value of the old type becomes one of the new type. When an operator asks for a state
//! that was kept as the old one, the [`catalog`](crate::catalog) runs what is declared: new rows are written in
//! chunks under a new number, which nothing reads yet; then one commit gives the name the new number and the new
//! shape, and deletes the old rows. Invariants: a crash leaves the old state or the new one, never some of each,
//! and the state is never changed into a type that nobody asks for. What a crash leaves of the new rows is named
//! by a row `migrating/<name>`, and is deleted at the next start. It does not know operators; it knows shapes.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::backend::Backend;
use crate::delta::{Delta, Family};
use crate::error::{Result, StateError};
use crate::id::StoreId;
use crate::layout::{after_prefix, store_range};
use crate::persist::{Persist, decode, encode};
use crate::shape::{RowShape, shape_of};

const PREFIX: &[u8] = b"migrating/";
/// How many bytes of rows are in memory at once, beside one row: 4 MiB, so that a commit's sync is worth it.
const CHUNK_BYTES: usize = 4 << 20;
/// How many rows are in memory at once: of small ones, 4 MiB would be too many to hold back the others' commits.
const CHUNK_ROWS: usize = 64 * 1024;

/// How the values of one state change from a type to another.
#[derive(Clone)]
pub struct Migration {
    state: String,
    old: String,
    new: String,
    convert: Arc<dyn Convert>,
}

trait Convert: Send + Sync {
    /// Appends the new value, encoded, for the old one; `name` is the state's, for errors.
    fn convert(&self, name: &str, old: &[u8], into: &mut Vec<u8>) -> Result<()>;
}

struct With<Old, New, F> {
    f: F,
    types: PhantomData<fn(Old) -> New>,
}

impl<Old: Persist, New: Persist, F: Fn(Old) -> New + Send + Sync> Convert for With<Old, New, F> {
    fn convert(&self, name: &str, old: &[u8], into: &mut Vec<u8>) -> Result<()> {
        encode("value", &(self.f)(decode(name, old)?), into)
    }
}

impl fmt::Debug for Migration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Migration { state, old, new, .. } = self;
        f.debug_struct("Migration").field("state", state).field("old", old).field("new", new).finish()
    }
}

impl Migration {
    /// Every value of type `Old` in the state with this name becomes one of type `New`.
    ///
    /// `Old` is the type of what is kept, or, if it is a struct or an enum, of a part of it: so the type of a
    /// user is found also inside the lists, sessions and joins that an operator keeps. Keys are never changed,
    /// because they say where a row is filed. Types are told apart by [`shape_of`], so two of the same shape
    /// cannot be migrated one to the other: give the new one another name or field.
    pub fn new<Old: Persist, New: Persist>(
        state: &str,
        f: impl Fn(Old) -> New + Send + Sync + 'static,
    ) -> Migration {
        let (old, new) = (shape_of::<Old>(), shape_of::<New>());
        Migration { state: state.to_owned(), old, new, convert: Arc::new(With { f, types: PhantomData }) }
    }

    /// The name of the state.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// What it does to rows of this shape; `None` if they hold nothing of its old type.
    fn step(&self, kept: &str) -> Option<Step<'_>> {
        let shape = RowShape::parse(kept)?;
        let mut places = shape.places(&self.old);
        let is_whole = shape.is_value(&places);
        places.retain(|(_, id)| is_whole || shape.is_named(*id));
        if places.is_empty() || self.old == self.new {
            return None;
        }
        let mut leads_to = kept.to_owned();
        for (place, _) in places.iter().rev() {
            leads_to.replace_range(place.clone(), &self.new);
        }
        let wanted = places.into_iter().map(|(_, id)| id).collect();
        Some(Step { migration: self, shape, wanted, is_whole, leads_to })
    }
}

/// One migration of rows of one shape.
struct Step<'m> {
    migration: &'m Migration,
    shape: RowShape,
    /// The types that are changed, by their numbers in the shape.
    wanted: Vec<usize>,
    /// Whether the value as a whole is changed.
    is_whole: bool,
    leads_to: String,
}

impl Step<'_> {
    fn convert(&self, value: &[u8], into: &mut Vec<u8>) -> Result<()> {
        let Migration { state, convert, .. } = self.migration;
        if self.is_whole {
            return convert.convert(state, value, into);
        }
        let parts = self.shape.parts_of(&self.wanted, value);
        let parts = parts.map_err(|reason| StateError::Row { name: state.clone(), reason })?;
        let mut done = 0;
        for part in parts {
            into.extend_from_slice(&value[done..part.start]);
            convert.convert(state, &value[part.clone()], into)?;
            done = part.end;
        }
        into.extend_from_slice(&value[done..]);
        Ok(())
    }
}

/// The steps from one shape to another.
pub(crate) struct Path<'m>(Vec<Step<'m>>);

/// The steps that lead from the shape that rows were kept in to the one that is asked for: the migrations of this
/// state in the order in which they were declared, without those that do not apply. `None` if no migration is
/// declared for it.
pub(crate) fn path<'m>(
    declared: &'m [Migration],
    name: &str,
    kept: &str,
    asked: &str,
) -> Option<Result<Path<'m>>> {
    let own = declared.iter().filter(|migration| migration.state == name);
    let (mut steps, mut reached, mut any) = (Vec::new(), kept.to_owned(), false);
    for migration in own {
        any = true;
        if let Some(step) = migration.step(&reached) {
            reached.clone_from(&step.leads_to);
            steps.push(step);
        }
    }
    if reached != asked && any {
        let (name, reached, asked) = (name.to_owned(), reached.into(), asked.into());
        return Some(Err(StateError::Migration { name, reached, asked }));
    }
    any.then_some(Ok(Path(steps)))
}

/// Where the rows of a state are, and where they go.
pub(crate) struct Move<'a> {
    pub(crate) name: &'a str,
    pub(crate) family: Family,
    pub(crate) from: StoreId,
    pub(crate) to: StoreId,
    /// The row of the catalog once they are there.
    pub(crate) catalog: (&'a [u8], &'a [u8]),
}

impl Path<'_> {
    /// Moves all rows, and the name with the last of them.
    pub(crate) fn run(&self, backend: &dyn Backend, rows: &Move<'_>) -> Result<()> {
        let marker = [PREFIX, rows.name.as_bytes()].concat();
        let (mut from, end) = store_range(rows.from);
        let (first_new, end_new) = store_range(rows.to);
        let mut chunk = Delta::default();
        chunk.put(Family::Meta, &marker, &rows.to.0.to_be_bytes());
        chunk.delete_range(rows.family, &first_new, &end_new);
        loop {
            let mut failed = None;
            let mut last = None;
            let (mut old, mut new) = (Vec::new(), Vec::new());
            let mut count = 0;
            backend.scan(rows.family, &from, &end, &mut |key, value| {
                old.clear();
                old.extend_from_slice(value);
                for step in &self.0 {
                    new.clear();
                    if let Err(error) = step.convert(&old, &mut new) {
                        failed = Some(error);
                        return ControlFlow::Break(());
                    }
                    std::mem::swap(&mut old, &mut new);
                }
                let to = [&rows.to.0.to_be_bytes(), &key[2..]].concat();
                chunk.put(rows.family, &to, &old);
                count += 1;
                if chunk.bytes() < CHUNK_BYTES && count < CHUNK_ROWS {
                    return ControlFlow::Continue(());
                }
                last = Some(key.to_vec());
                ControlFlow::Break(())
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
            let Some(mut last) = last else { break };
            backend.commit(&std::mem::take(&mut chunk))?;
            last.push(0);
            from = last;
        }
        let (first_old, _) = store_range(rows.from);
        chunk.delete_range(rows.family, &first_old, &end);
        chunk.put(Family::Meta, rows.catalog.0, rows.catalog.1);
        chunk.delete(Family::Meta, &marker);
        backend.commit(&chunk)
    }
}

/// Deletes what migrations left behind that did not come to their end.
pub(crate) fn sweep(backend: &dyn Backend) -> Result<()> {
    let mut left = Delta::default();
    let mut damaged = None;
    backend.scan(Family::Meta, PREFIX, &after_prefix(PREFIX), &mut |key, number| {
        match <[u8; 2]>::try_from(number) {
            Ok(number) => {
                let (from, to) = store_range(StoreId(u16::from_be_bytes(number)));
                for family in [Family::Values, Family::Windows, Family::Timers] {
                    left.delete_range(family, &from, &to);
                }
                left.delete(Family::Meta, key);
            }
            Err(error) => damaged = Some((key.to_vec(), error.to_string())),
        }
        ControlFlow::Continue(())
    })?;
    if let Some((key, reason)) = damaged {
        return Err(StateError::Row { name: String::from_utf8_lossy(&key).into_owned(), reason });
    }
    if left.is_empty() { Ok(()) } else { backend.commit(&left) }
}
