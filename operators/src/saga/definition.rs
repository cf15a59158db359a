//! The steps of a saga, as a user writes them.

use std::time::Duration;

use crate::limits::{
    SAGA_BACKOFF, SAGA_BACKOFF_MOST, SAGA_COMPENSATION_RETRIES, SAGA_REMEMBERED, SAGA_RETRIES, SAGA_STEPS,
    SAGA_TIMEOUT,
};
use crate::saga::messages::Direction;

type Ask<D, R> = Box<dyn Fn(&D) -> R + Send + Sync>;
type Learn<D, A> = Box<dyn Fn(&mut D, A) + Send + Sync>;

/// How often something is asked for, and how long one waits in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) retries: u32,
    pub(crate) backoff: Duration,
}

impl Patience {
    /// The time between attempt number `made` and the next: it doubles from each to the next.
    pub(crate) fn pause(self, made: u32) -> Duration {
        let doubled = self.backoff.saturating_mul(2u32.saturating_pow(made.saturating_sub(1)));
        doubled.min(SAGA_BACKOFF_MOST.max(self.backoff))
    }
}

pub(crate) struct Step<D, R, A> {
    pub(crate) name: String,
    ask: Ask<D, R>,
    pub(crate) learn: Option<Learn<D, A>>,
    undo: Option<Ask<D, R>>,
    pub(crate) timeout: Duration,
    forth: Patience,
    back: Patience,
}

impl<D, R, A> Step<D, R, A> {
    pub(crate) fn can_be_undone(&self) -> bool {
        self.undo.is_some()
    }

    /// What is asked for; `None` to undo what cannot be.
    pub(crate) fn body(&self, direction: Direction, data: &D) -> Option<R> {
        match direction {
            Direction::Do => Some((self.ask)(data)),
            Direction::Undo => self.undo.as_ref().map(|undo| undo(data)),
        }
    }

    pub(crate) fn patience(&self, direction: Direction) -> Patience {
        match direction {
            Direction::Do => self.forth,
            Direction::Undo => self.back,
        }
    }
}

/// Steps that are done one after the other, or undone. `D` is what a saga is about, `R` what its participants are
/// asked, `A` what they answer.
///
/// ```
/// use highwater_operators::saga::Saga;
/// use std::time::Duration;
///
/// #[derive(Debug)]
/// enum Ask {
///     Reserve(u32),
///     Release(u32),
///     Pay(u64),
///     Ship,
/// }
/// struct Order {
///     pieces: u32,
///     cents: u64,
/// }
///
/// let saga = Saga::<Order, Ask, ()>::new("order")
///     .step("reserve", |order: &Order| Ask::Reserve(order.pieces))
///     .compensate(|order| Ask::Release(order.pieces))
///     .step("pay", |order| Ask::Pay(order.cents))
///     .timeout(Duration::from_secs(60))
///     .retries(4, Duration::from_secs(2))
///     .step("ship", |_| Ask::Ship);
/// assert!(saga.check().is_ok());
/// ```
pub struct Saga<D, R, A> {
    pub(crate) name: String,
    pub(crate) steps: Vec<Step<D, R, A>>,
    pub(crate) remembered: Duration,
    faults: Vec<String>,
}

impl<D, R, A> Saga<D, R, A> {
    /// A saga without steps. Its state is kept under the name.
    pub fn new(name: &str) -> Saga<D, R, A> {
        Saga { name: name.to_owned(), steps: Vec::new(), remembered: SAGA_REMEMBERED, faults: Vec::new() }
    }

    /// The next step: what its participant is asked to do.
    ///
    /// It has [`SAGA_TIMEOUT`] for each attempt and [`SAGA_RETRIES`] retries, its compensation
    /// [`SAGA_COMPENSATION_RETRIES`]. Sagas that run know their steps by name: a step may get other settings or a place
    /// further back at any time; one that a saga stands at must not go.
    pub fn step(mut self, name: &str, ask: impl Fn(&D) -> R + Send + Sync + 'static) -> Self {
        self.steps.push(Step {
            name: name.to_owned(),
            ask: Box::new(ask),
            learn: None,
            undo: None,
            timeout: SAGA_TIMEOUT,
            forth: Patience { retries: SAGA_RETRIES, backoff: SAGA_BACKOFF },
            back: Patience { retries: SAGA_COMPENSATION_RETRIES, backoff: SAGA_BACKOFF },
        });
        self
    }

    /// What undoes the step, when a later one is given up. A step without it is left as it is.
    ///
    /// A step that was given up without an answer may have been done: it is undone as well. So a participant must be
    /// able to undo what it never did.
    pub fn compensate(mut self, undo: impl Fn(&D) -> R + Send + Sync + 'static) -> Self {
        self.last("compensate", |step| step.undo = Some(Box::new(undo)));
        self
    }

    /// What the saga takes from the answer that the step is done, for later steps and compensations.
    pub fn learn(mut self, learn: impl Fn(&mut D, A) + Send + Sync + 'static) -> Self {
        self.last("learn", |step| step.learn = Some(Box::new(learn)));
        self
    }

    /// How long the step, and its compensation, waits for the answer to one attempt; at least 1 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        if timeout < Duration::from_millis(1) {
            self.faults.push("a timeout is less than a millisecond, which no answer can keep".to_owned());
        }
        self.last("timeout", |step| step.timeout = timeout);
        self
    }

    /// How often the step is asked for again when it fails or is not answered, and how long the saga waits before the
    /// first repetition; the time doubles from each to the next, up to [`SAGA_BACKOFF_MOST`].
    pub fn retries(mut self, retries: u32, backoff: Duration) -> Self {
        self.last("retries", |step| step.forth = Patience { retries, backoff });
        self
    }

    /// The same for its compensation. When that is given up, a person has to help.
    pub fn compensation_retries(mut self, retries: u32, backoff: Duration) -> Self {
        self.last("compensation_retries", |step| step.back = Patience { retries, backoff });
        self
    }

    /// How long a saga that has ended is remembered, in the time of the stream: for so long it does not begin again;
    /// [`SAGA_REMEMBERED`] unless said.
    pub fn remember(self, time: Duration) -> Self {
        Saga { remembered: time, ..self }
    }

    /// Looks at what can be known before it runs; the topology does so too.
    ///
    /// # Errors
    /// What cannot be worked with, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if let Some(fault) = self.faults.first() {
            return Err(fault.clone());
        }
        match self.steps.len() {
            0 => return Err("a saga without steps does nothing; add one with `step`".to_owned()),
            steps if steps > SAGA_STEPS => {
                return Err(format!(
                    "the saga has {steps} steps, the limit is {SAGA_STEPS}; let a step be a saga"
                ));
            }
            _ => {}
        }
        let mut names: Vec<_> = self.steps.iter().map(|step| step.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("two steps are called `{}`; a saga knows its steps by name", pair[0])),
            None if names[0].is_empty() => {
                Err("a step has no name; a saga knows its steps by name".to_owned())
            }
            None => Ok(()),
        }
    }

    /// The step of this name, and its number.
    pub(crate) fn find(&self, name: &str) -> Option<(usize, &Step<D, R, A>)> {
        self.steps.iter().enumerate().find(|(_, step)| step.name == name)
    }

    fn last(&mut self, verb: &str, change: impl FnOnce(&mut Step<D, R, A>)) {
        match self.steps.last_mut() {
            Some(step) => change(step),
            None => self.faults.push(format!("`{verb}` belongs to the step before it, and there is none")),
        }
    }
}
