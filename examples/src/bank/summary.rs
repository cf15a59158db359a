//! The bank's summary of all accounts: a projection of their entries.
//!
//! It notes how far it has come with each account, so that an entry which comes from two sides, from the kept events
//! and from the job that goes on, counts once.

use std::collections::HashMap;

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

use super::Entry;

/// The figures of the bank, in cents where they are money.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// How many accounts there are.
    pub accounts: u64,
    /// What customers put in.
    pub deposited: u64,
    /// What customers took out.
    pub paid_out: u64,
    /// What the bank earned.
    pub fees: u64,
}

/// How an entry changes the figures.
pub type Edition = fn(&mut Figures, &Entry);

/// The figures as they were first meant: it takes a fee for money that a customer took out.
pub fn first_edition(figures: &mut Figures, entry: &Entry) {
    match entry {
        Entry::Opened { .. } => figures.accounts += 1,
        Entry::Deposited { cents } => figures.deposited += cents,
        Entry::Withdrawn { cents } | Entry::FeeCharged { cents } => figures.paid_out += cents,
    }
}

/// The figures with that put right.
pub fn second_edition(figures: &mut Figures, entry: &Entry) {
    match entry {
        Entry::FeeCharged { cents } => figures.fees += cents,
        other => first_edition(figures, other),
    }
}

/// The figures, and the entries that they are made of.
#[derive(Clone, Debug)]
pub struct Summary {
    edition: Edition,
    figures: Figures,
    versions: HashMap<String, u64>,
}

impl Summary {
    /// A summary of nothing.
    pub fn new(edition: Edition) -> Summary {
        Summary { edition, figures: Figures::default(), versions: HashMap::new() }
    }

    /// Takes an entry, unless it has it.
    pub fn apply(&mut self, entry: &Envelope<String, Entry>) {
        let seen = self.versions.entry(entry.aggregate.clone()).or_default();
        if entry.version == *seen + 1 {
            *seen = entry.version;
            (self.edition)(&mut self.figures, &entry.event);
        }
    }

    /// The figures.
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// How many entries it is made of.
    pub fn entries(&self) -> u64 {
        self.versions.values().sum()
    }
}
