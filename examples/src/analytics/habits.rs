//! What each user likes and does. Both take the events of a user in the order of their times.

use std::collections::BTreeSet;

use highwater::prelude::*;

use super::{Preferences, Seen, Summary};

/// How many categories a user's preferences name.
const FAVOURITES: usize = 3;
/// How many events are summarised together.
const SUMMARISED: u64 = 100;

/// Counts the categories of each user, and tells the first ones when they have changed.
pub struct Favourites {
    counts: Map<String, u64>,
    told: Value<Vec<String>>,
}

impl Favourites {
    /// Declares its state.
    pub fn new(states: &mut States<'_, String>) -> Self {
        Favourites { counts: states.map("counts"), told: states.value("told") }
    }
}

impl KeyedOperator<String, Seen> for Favourites {
    type Out = Preferences;

    fn on_record(&mut self, seen: Seen, context: &mut Context<'_, String, Preferences>) -> Result<(), Cause> {
        let counts = self.counts.get_mut(context)?;
        *counts.entry(seen.category).or_default() += 1;
        let mut categories: Vec<(String, u64)> =
            counts.iter().map(|(category, count)| (category.clone(), *count)).collect();
        // A stable sort: equal ones stay in the order of their names.
        categories.sort_by(|(_, count), (_, than)| than.cmp(count));
        categories.truncate(FAVOURITES);
        let names: Vec<String> = categories.iter().map(|(category, _)| category.clone()).collect();
        if self.told.get(context)? != Some(&names) {
            self.told.set(context, names)?;
            context.emit(Preferences { user: context.key().clone(), categories });
        }
        Ok(())
    }
}

/// Summarises every hundred events of each user.
pub struct Summaries {
    /// How many events there were, and those that are not summarised yet.
    events: Value<u64>,
    recent: List<(Timestamp, u64, String)>,
}

impl Summaries {
    /// Declares its state.
    pub fn new(states: &mut States<'_, String>) -> Self {
        Summaries { events: states.value("events"), recent: states.list("recent") }
    }
}

impl KeyedOperator<String, Seen> for Summaries {
    type Out = Summary;

    fn on_record(&mut self, seen: Seen, context: &mut Context<'_, String, Summary>) -> Result<(), Cause> {
        let events = self.events.get(context)?.copied().unwrap_or(0) + 1;
        self.events.set(context, events)?;
        let recent = self.recent.get_mut(context)?;
        recent.push((seen.event.at, seen.event.seconds, seen.event.page));
        if events % SUMMARISED > 0 {
            return Ok(());
        }
        let recent = std::mem::take(recent);
        let pages: BTreeSet<&String> = recent.iter().map(|(_, _, page)| page).collect();
        context.emit(Summary {
            user: context.key().clone(),
            events,
            from: recent[0].0,
            to: recent[recent.len() - 1].0,
            seconds: recent.iter().map(|(_, seconds, _)| seconds).sum(),
            pages: pages.len() as u64,
        });
        Ok(())
    }
}
