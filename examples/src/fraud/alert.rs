//! What the rules find, and how what they find about one user adds up.
//!
//! Scores are whole hundredths: sums of them are exact, and do not depend on the order in which rules fire.

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

use super::event::{Noted, rfc3339};

/// A score above this is fraud, in hundredths.
const FRAUD_ABOVE: u32 = 80;

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Three transactions over 1000 in 10 minutes.
    LargeTransactions,
    /// Transactions in three different countries in an hour.
    ThreeCountries,
    /// Two places further apart than 1000 km within an hour.
    FarApart,
    /// An amount over 5 times the average of the last ten.
    UnusualAmount,
    /// A cart without a purchase in 30 minutes.
    AbandonedCart,
    /// Five failed API calls in a minute.
    FailedCalls,
    /// Three slow responses in a row in 5 minutes.
    SlowResponses,
    /// Three failed logins, and then a success from another address, in 10 minutes.
    StolenAccount,
    /// A price that rises over 20 % in three steps within an hour.
    RisingPrice,
    /// An error rate that doubles, and then is five-fold, within 30 minutes.
    RisingErrors,
    /// A server that goes down and does not recover in 10 minutes.
    ServerDown,
}

impl Rule {
    /// What the rule looks for, in a few words.
    pub fn words(self) -> &'static str {
        match self {
            Rule::LargeTransactions => "three large transactions",
            Rule::ThreeCountries => "three countries in an hour",
            Rule::FarApart => "two places far apart",
            Rule::UnusualAmount => "an unusual amount",
            Rule::AbandonedCart => "a cart without a purchase",
            Rule::FailedCalls => "five failed calls",
            Rule::SlowResponses => "three slow responses",
            Rule::StolenAccount => "a stolen account",
            Rule::RisingPrice => "a price that rises",
            Rule::RisingErrors => "errors that rise",
            Rule::ServerDown => "a server that is down",
        }
    }

    /// What the rule adds to the score of a user, in hundredths; nothing if it is not about users.
    pub fn weight(self) -> u32 {
        match self {
            Rule::FarApart | Rule::StolenAccount => 50,
            Rule::LargeTransactions | Rule::ThreeCountries => 40,
            Rule::UnusualAmount => 30,
            Rule::AbandonedCart => 10,
            Rule::FailedCalls
            | Rule::SlowResponses
            | Rule::RisingPrice
            | Rule::RisingErrors
            | Rule::ServerDown => 0,
        }
    }
}

/// A rule that has found something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Which.
    pub rule: Rule,
    /// Whom it is about: a user, a client, a server, a product or a service.
    pub about: String,
    /// When it was found: the time of the last event, or when the time for another was over.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// The numbers of the events that were found, in the order of their times.
    pub events: Vec<u64>,
}

impl Alert {
    /// An alert about events in the order of their times, at the time of the last.
    pub fn new<E: Noted>(rule: Rule, about: &str, events: &[&E]) -> Alert {
        let time = events.last().map_or(Timestamp::MIN, |event| event.time());
        let events = events.iter().map(|event| event.id()).collect();
        Alert { rule, about: about.to_owned(), time, events }
    }

    /// An alert about one event behind which nothing came for so long.
    pub fn nothing_after<E: Noted>(rule: Rule, about: &str, event: &E, wait: Duration) -> Alert {
        Alert { time: event.time() + wait, ..Alert::new(rule, about, &[event]) }
    }
}

/// What several rules say about one user: the sum of their weights. A rule counts once, however often it fires.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    rules: Vec<Rule>,
}

impl Score {
    /// Adds what an alert says.
    pub fn add(&mut self, alert: &Alert) {
        if !self.rules.contains(&alert.rule) {
            self.rules.push(alert.rule);
        }
    }

    /// The score with an alert more.
    pub fn with(&self, alert: &Alert) -> Score {
        let mut score = self.clone();
        score.add(alert);
        score
    }

    /// Whether it is above 0.8.
    pub fn is_fraud(&self) -> bool {
        self.hundredths() > FRAUD_ABOVE
    }

    fn hundredths(&self) -> u32 {
        self.rules.iter().map(|rule| rule.weight()).sum()
    }
}

/// A user whose score is above 0.8.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fraud {
    /// Who.
    pub user: String,
    /// When: the time of the alert that made it so.
    #[serde(with = "rfc3339")]
    pub time: Timestamp,
    /// How much.
    pub score: f64,
    /// What it is made of, in the order in which the rules fired.
    pub rules: Vec<Rule>,
}

impl Fraud {
    /// From a score that is too high.
    pub fn new(user: &str, score: Score, time: Timestamp) -> Fraud {
        let hundredths = f64::from(score.hundredths());
        Fraud { user: user.to_owned(), time, score: hundredths / 100.0, rules: score.rules }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(rules: &[Rule]) -> Score {
        rules.iter().fold(Score::default(), |score, &rule| {
            let (about, time, events) = (String::new(), Timestamp::MIN, Vec::new());
            score.with(&Alert { rule, about, time, events })
        })
    }

    #[test]
    fn a_score_adds_up_rules_and_not_alerts() {
        use Rule::{AbandonedCart, FarApart, StolenAccount, UnusualAmount};
        assert_eq!(score(&[StolenAccount, StolenAccount, UnusualAmount]).hundredths(), 80);
        assert!(!score(&[UnusualAmount, FarApart]).is_fraud(), "0.8 is not above 0.8");
        assert!(score(&[UnusualAmount, AbandonedCart, FarApart]).is_fraud());
        assert_eq!(Fraud::new("a", score(&[FarApart, StolenAccount]), Timestamp::MIN).score, 1.0);
    }

    #[test]
    fn no_rule_alone_is_fraud() {
        use Rule::*;
        let all = [
            LargeTransactions,
            ThreeCountries,
            FarApart,
            UnusualAmount,
            AbandonedCart,
            FailedCalls,
            SlowResponses,
            StolenAccount,
            RisingPrice,
            RisingErrors,
            ServerDown,
        ];
        assert!(all.iter().all(|rule| !score(&[*rule]).is_fraud()));
    }
}
