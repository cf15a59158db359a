//! Rules over measures, as people write them: `consumer_lag > 10000`, `error_rate of payments > 1%`.

use std::str::FromStr;

use highwater_state::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::measures::{KNOWN, Measure};

/// When a measure is not as it should be.
///
/// Written as the measure, `of` and a name if it is meant of one operator, split or source only, one of `>`, `>=`, `<`,
/// `<=`, and a number, with `%` for a hundredth of it.
///
/// ```
/// use highwater::alert::Rule;
///
/// let rule: Rule = "error_rate of payments > 1%".parse()?;
/// assert!("error_rate".parse::<Rule>().is_err());
/// # Ok::<(), highwater::alert::RuleError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    text: String,
    measure: String,
    of: Option<String>,
    comparison: Comparison,
    threshold: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

impl Comparison {
    fn of(text: &str) -> Option<Comparison> {
        Some(match text {
            ">" => Comparison::Above,
            ">=" => Comparison::AtLeast,
            "<" => Comparison::Below,
            "<=" => Comparison::AtMost,
            _ => return None,
        })
    }

    fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Comparison::Above => value > threshold,
            Comparison::AtLeast => value >= threshold,
            Comparison::Below => value < threshold,
            Comparison::AtMost => value <= threshold,
        }
    }
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RuleError {
    /// It is not written as a rule is.
    #[error("`{0}` is no rule; one is written `consumer_lag > 10000`, or `error_rate of payments > 1%`")]
    Form(String),
    /// There is no such measure.
    #[error("there is no measure `{measure}` in the rule `{rule}`; there are: {}", KNOWN.join(", "))]
    Measure {
        /// The measure.
        measure: String,
        /// The rule.
        rule: String,
    },
}

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Rule, RuleError> {
        let form = || RuleError::Form(text.to_owned());
        let words: Vec<&str> = text.split_whitespace().collect();
        let (measure, of, comparison, threshold) = match words.as_slice() {
            [measure, comparison, threshold] => (measure, None, comparison, threshold),
            [measure, "of", of, comparison, threshold] => {
                (measure, Some((*of).to_owned()), comparison, threshold)
            }
            _ => return Err(form()),
        };
        if !KNOWN.contains(measure) {
            return Err(RuleError::Measure { measure: (*measure).to_owned(), rule: text.to_owned() });
        }
        let comparison = Comparison::of(comparison).ok_or_else(form)?;
        let (number, unit) = match threshold.strip_suffix('%') {
            Some(number) => (number, 100.0),
            None => (*threshold, 1.0),
        };
        let threshold =
            number.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(form)? / unit;
        Ok(Rule { text: words.join(" "), measure: (*measure).to_owned(), of, comparison, threshold })
    }
}

impl Rule {
    /// Whether the measure breaks the rule; `None` if the rule is not about it.
    pub fn judge(&self, measure: &Measure) -> Option<Verdict> {
        let is_meant = self.of.as_ref().is_none_or(|of| *of == measure.of);
        (measure.name == self.measure && is_meant).then(|| Verdict {
            rule: self.text.clone(),
            of: measure.of.clone(),
            broken: self.comparison.holds(measure.value, self.threshold),
            value: measure.value,
            at: measure.at,
        })
    }
}

/// What a rule says of one measure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The rule, as it was written.
    pub rule: String,
    /// What was measured: an operator, a split; empty for the job.
    pub of: String,
    /// Whether the rule is broken.
    pub broken: bool,
    /// What was measured.
    pub value: f64,
    /// When.
    pub at: Timestamp,
}

impl Verdict {
    /// The rule and the thing: what verdicts are grouped by.
    pub fn key(&self) -> (String, String) {
        (self.rule.clone(), self.of.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(name: &str, of: &str, value: f64) -> Measure {
        Measure { name: name.to_owned(), of: of.to_owned(), value, at: Timestamp::from_millis(5) }
    }

    #[test]
    fn a_rule_judges_the_measures_it_is_about() {
        let rule: Rule = "error_rate  of pay > 1%".parse().expect("is a rule");
        assert_eq!(rule.judge(&measure("error_rate", "other", 0.5)), None);
        assert_eq!(rule.judge(&measure("consumer_lag", "pay", 0.5)), None);
        let broken = |value| rule.judge(&measure("error_rate", "pay", value)).map(|verdict| verdict.broken);
        assert_eq!((broken(0.011), broken(0.01), broken(f64::NAN)), (Some(true), Some(false), Some(false)));
        let any: Rule = "consumer_lag >= 10000".parse().expect("is a rule");
        assert!(any.judge(&measure("consumer_lag", "clicks/0", 10_000.0)).expect("is meant").broken);
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["", "up", "up = 1", "up > one", "up > NaN%", "up of x", "up of x y > 1"] {
            assert!(matches!(text.parse::<Rule>(), Err(RuleError::Form(_))), "{text}");
        }
        let unknown = "lag > 1".parse::<Rule>().expect_err("there is no such measure");
        assert!(unknown.to_string().contains("consumer_lag"), "{unknown}");
    }
}
