//! An account for the tests, and the chain that runs it.

use highwater_operators::sourcing::{Command, EventSourced, Sourcing};
use highwater_operators::stream::Stream;
use serde::{Deserialize, Serialize};

use super::Told;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Account {
    pub(super) is_open: bool,
    pub(super) balance: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Do {
    Open,
    Deposit(u64),
    Withdraw(u64),
    /// Many events at once.
    Fees(usize),
    /// Accepted, and nothing happens.
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Entry {
    Opened,
    Deposited {
        amount: u64,
    },
    Withdrawn {
        amount: u64,
    },
    #[serde(rename = "fee")]
    Fee,
}

impl Entry {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Entry::Opened => "Opened",
            Entry::Deposited { .. } => "Deposited",
            Entry::Withdrawn { .. } => "Withdrawn",
            Entry::Fee => "fee",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Rejected {
    NotOpen,
    IsOpen,
    Insufficient { balance: u64 },
}

impl EventSourced for Account {
    type Command = Do;
    type Event = Entry;
    type Rejection = Rejected;

    fn decide(&self, command: Do) -> Result<Vec<Entry>, Rejected> {
        match command {
            Do::Nothing => Ok(Vec::new()),
            Do::Open if self.is_open => Err(Rejected::IsOpen),
            Do::Open => Ok(vec![Entry::Opened]),
            _ if !self.is_open => Err(Rejected::NotOpen),
            Do::Deposit(amount) => Ok(vec![Entry::Deposited { amount }]),
            Do::Withdraw(amount) if amount > self.balance => {
                Err(Rejected::Insufficient { balance: self.balance })
            }
            Do::Withdraw(amount) => Ok(vec![Entry::Withdrawn { amount }]),
            Do::Fees(count) => Ok(vec![Entry::Fee; count]),
        }
    }

    fn evolve(&mut self, entry: &Entry) {
        match entry {
            Entry::Opened => self.is_open = true,
            Entry::Deposited { amount } => self.balance += amount,
            Entry::Withdrawn { amount } => self.balance -= amount,
            Entry::Fee => self.balance = self.balance.saturating_sub(1),
        }
    }
}

pub(super) fn chain(stream: Stream<(String, Command<Do>)>, sourcing: Sourcing<Account>) -> Stream<Told> {
    let commands = stream.key_by(|(account, _)| account.clone()).map_values(|(_, command)| command);
    let (events, replies) = commands.event_sourced("accounts", sourcing);
    events.values().map(Told::Event).merge(replies.values().map(Told::Reply))
}
