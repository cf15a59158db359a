//! An account: what one may ask of it, what can happen to it, and what happened makes of it. Money is in cents.

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

/// A fee of one in so many cents is charged for a withdrawal, rounded down.
const FEE_ONE_IN: u64 = 100;

/// What an account is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Instruction {
    /// Open it for somebody.
    Open {
        /// Whose it is.
        owner: String,
    },
    /// Put money in.
    Deposit {
        /// How much.
        cents: u64,
    },
    /// Take money out; the bank charges a fee for it.
    Withdraw {
        /// How much, without the fee.
        cents: u64,
    },
}

/// What can happen to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// It was opened.
    Opened {
        /// Whose it is.
        owner: String,
    },
    /// Money was put in.
    Deposited {
        /// How much.
        cents: u64,
    },
    /// Money was taken out.
    Withdrawn {
        /// How much.
        cents: u64,
    },
    /// The bank charged a fee.
    FeeCharged {
        /// How much.
        cents: u64,
    },
}

/// Why an account does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// It is not open.
    NotOpen,
    /// It is open already.
    IsOpen,
    /// There is too little on it for the withdrawal and its fee.
    InsufficientFunds {
        /// What is on it.
        cents: u64,
    },
}

/// An account, as its entries have made it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Whose it is; nobody's before it is opened.
    pub owner: Option<String>,
    /// What is on it.
    pub cents: u64,
}

impl EventSourced for Account {
    type Command = Instruction;
    type Event = Entry;
    type Rejection = Refusal;

    fn decide(&self, instruction: Instruction) -> Result<Vec<Entry>, Refusal> {
        match (instruction, &self.owner) {
            (Instruction::Open { owner }, None) => Ok(vec![Entry::Opened { owner }]),
            (Instruction::Open { .. }, Some(_)) => Err(Refusal::IsOpen),
            (_, None) => Err(Refusal::NotOpen),
            (Instruction::Deposit { cents }, _) => Ok(vec![Entry::Deposited { cents }]),
            (Instruction::Withdraw { cents }, _) if cents + cents / FEE_ONE_IN > self.cents => {
                Err(Refusal::InsufficientFunds { cents: self.cents })
            }
            (Instruction::Withdraw { cents }, _) => {
                Ok(vec![Entry::Withdrawn { cents }, Entry::FeeCharged { cents: cents / FEE_ONE_IN }])
            }
        }
    }

    fn evolve(&mut self, entry: &Entry) {
        match entry {
            Entry::Opened { owner } => self.owner = Some(owner.clone()),
            Entry::Deposited { cents } => self.cents += cents,
            Entry::Withdrawn { cents } | Entry::FeeCharged { cents } => self.cents -= cents,
        }
    }
}

/// How accounts are kept: for the job, and for whoever reads what it keeps.
pub fn accounts() -> Sourcing<Account> {
    Sourcing::new().snapshot_every(100)
}
