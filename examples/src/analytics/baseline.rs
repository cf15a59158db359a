//! What is usual for a category, and when it is exceeded.
//!
//! The baseline moves with every minute that has views: nine tenths of what it was, one tenth of what is new. A minute
//! is judged by the baseline before it, and moves it also if it is an anomaly, so that what stays becomes usual.

use highwater::prelude::*;

use super::{Anomaly, Minute};

/// A minute is an anomaly that has more than so many times the views of the baseline.
const FACTOR: f64 = 3.0;
/// How much of the baseline stays with each minute.
const STAYS: f64 = 0.9;

/// Keeps the baseline of each category.
pub struct Baseline {
    usual: Value<f64>,
}

impl Baseline {
    /// Declares its state.
    pub fn new(states: &mut States<'_, String>) -> Self {
        Baseline { usual: states.value("usual") }
    }
}

impl KeyedOperator<String, Minute> for Baseline {
    type Out = Anomaly;

    fn on_record(&mut self, minute: Minute, context: &mut Context<'_, String, Anomaly>) -> Result<(), Cause> {
        let views = minute.views as f64;
        let before = self.usual.get(context)?.copied();
        let next = before.map_or(views, |usual| STAYS * usual + (1.0 - STAYS) * views);
        self.usual.set(context, next)?;
        if let Some(usual) = before.filter(|usual| views > FACTOR * usual) {
            let Minute { category, minute, views, .. } = minute;
            context.emit(Anomaly { category, minute, views, usual });
        }
        Ok(())
    }
}
