//! Bringing records together with the one that they refer to, whichever comes first.
//!
//! Invariant: whatever the order of arrival, each record that refers to a target meets it once. Kept for each
//! id: the target, for ever, or the records that came before it. A target's id is its own: of several with
//! one id the first counts.

use highwater::prelude::*;
use highwater::state::Persist;
use serde::{Deserialize, Serialize};

/// One of two kinds of records that belong together by an id.
#[derive(Clone, Debug)]
pub(super) enum Part<T, R> {
    /// What is referred to; nothing, where it is not of interest, and so nor is what refers to it.
    Target {
        /// Its own id.
        id: u64,
        /// What is of interest in it.
        target: Option<T>,
    },
    /// What refers to a target.
    Reference {
        /// The target's id.
        id: u64,
        /// The record.
        record: R,
    },
}

impl<T, R> Part<T, R> {
    /// What brings both kinds together.
    pub(super) fn id(&self) -> u64 {
        match self {
            Part::Target { id, .. } | Part::Reference { id, .. } => *id,
        }
    }
}

/// What is kept for an id.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Kept<T, R> {
    Target(Option<T>),
    Waiting(Vec<R>),
}

/// Gives each record with its target.
pub(super) struct Resolve<T, R> {
    kept: Value<Kept<T, R>>,
}

impl<T: Persist, R: Persist> Resolve<T, R> {
    /// For `process`.
    pub(super) fn new(states: &mut States<'_, u64>) -> Resolve<T, R> {
        Resolve { kept: states.value("kept") }
    }
}

impl<T: Persist + Clone, R: Persist> KeyedOperator<u64, Part<T, R>> for Resolve<T, R> {
    type Out = (T, R);

    fn on_record(&mut self, part: Part<T, R>, context: &mut Context<'_, u64, (T, R)>) -> Result<(), Cause> {
        match part {
            Part::Reference { record, .. } => self.refers(record, context),
            Part::Target { target, .. } => self.is_there(target, context),
        }
    }
}

impl<T: Persist + Clone, R: Persist> Resolve<T, R> {
    fn refers(&self, record: R, context: &mut Context<'_, u64, (T, R)>) -> Result<(), Cause> {
        if let Some(Kept::Target(target)) = self.kept.get(context)? {
            if let Some(target) = target.clone() {
                context.emit((target, record));
            }
            return Ok(());
        }
        match self.kept.get_mut(context)? {
            Some(Kept::Waiting(waiting)) => waiting.push(record),
            kept => *kept = Some(Kept::Waiting(vec![record])),
        }
        Ok(())
    }

    fn is_there(&self, target: Option<T>, context: &mut Context<'_, u64, (T, R)>) -> Result<(), Cause> {
        if let Some(Kept::Target(_)) = self.kept.get(context)? {
            return Ok(());
        }
        let before = self.kept.get_mut(context)?.replace(Kept::Target(target.clone()));
        if let (Some(target), Some(Kept::Waiting(waiting))) = (target, before) {
            waiting.into_iter().for_each(|record| context.emit((target.clone(), record)));
        }
        Ok(())
    }
}
