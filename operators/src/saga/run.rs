//! One saga that runs: where it stands, and what a start, a reply or a time that has come does to it.
//!
//! Pure: what is to be sent and told is returned as effects. Invariants: while it waits there is a time at which
//! it stops waiting; what is to be undone is in the order in which it was done; a reply that it does not wait for
//! changes nothing.

use highwater_state::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::saga::definition::{Saga, Step};
use crate::saga::messages::{Direction, SagaAnswer, SagaOutcome, SagaReply};

/// A saga stands at a step that the program does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "a saga of `{saga}` has yet to do or undo its step `{step}`, and the program has no such step: bring it back until \
        these sagas have ended, or rename the saga to begin with none"
)]
pub struct UnknownStep {
    /// The name of the saga.
    pub saga: String,
    /// The step that is gone.
    pub step: String,
}

/// Something that a saga wants.
pub(crate) enum Effect<D, R> {
    Ask { step: String, direction: Direction, attempt: u32, body: R },
    End { data: D, outcome: SagaOutcome },
}

/// Where a saga stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run<D> {
    /// What it is about; handed out at its end.
    data: Option<D>,
    /// The steps that are done, or may be, and not undone; those that cannot be undone are not here.
    done: Vec<String>,
    stage: Stage,
    /// The greatest time that it has seen.
    clock: Timestamp,
    /// When it stops waiting for what it waits for.
    due: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// It waits for a step to be done.
    Forth(Asked),
    /// It waits for a step to be undone, because another one was given up.
    Back(Asked, GivenUp),
    /// It is over, and remembered.
    Over,
}

/// A step that was given up, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct GivenUp {
    step: String,
    reason: String,
}

/// What was asked for last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    step: String,
    attempt: u32,
    /// The attempt has failed; the next one waits.
    pauses: bool,
    /// An attempt was not answered in time: it may have been done.
    unanswered: bool,
}

/// Effects, each with its time.
pub(crate) type Told<D, R> = Vec<(Timestamp, Effect<D, R>)>;

impl<D> Run<D> {
    /// A saga that begins, before its first step.
    pub(crate) fn start<R, A>(
        saga: &Saga<D, R, A>,
        data: D,
        now: Timestamp,
        told: &mut Told<D, R>,
    ) -> Result<Run<D>, UnknownStep> {
        let (data, due) = (Some(data), Timestamp::MAX);
        let mut run = Run { data, done: Vec::new(), stage: Stage::Over, clock: now, due };
        run.forth(saga, 0, told)?;
        Ok(run)
    }

    /// When the saga wants to be called.
    pub(crate) fn due(&self) -> Timestamp {
        self.due
    }

    /// It has seen this time; never goes back. Says whether the saga is over and need not be remembered any more.
    pub(crate) fn reach<R, A>(
        &mut self,
        saga: &Saga<D, R, A>,
        now: Timestamp,
        told: &mut Told<D, R>,
    ) -> Result<bool, UnknownStep> {
        while self.due <= now {
            if self.stage == Stage::Over {
                return Ok(true);
            }
            self.clock = self.clock.max(self.due);
            self.time_out(saga, told)?;
        }
        self.clock = self.clock.max(now);
        Ok(false)
    }

    /// A reply comes; says whether the saga waited for it.
    pub(crate) fn reply<K, R, A>(
        &mut self,
        saga: &Saga<D, R, A>,
        reply: SagaReply<K, A>,
        told: &mut Told<D, R>,
    ) -> Result<Result<(), SagaReply<K, A>>, UnknownStep> {
        let Some((direction, asked)) = self.asked() else { return Ok(Err(reply)) };
        let is_its = asked.step == reply.step && direction == reply.direction;
        let is_current = asked.attempt == reply.attempt;
        // What is done is done, by whichever attempt; that it is not counts only for the last one.
        let counts = match &reply.answer {
            SagaAnswer::Done(_) => (1..=asked.attempt).contains(&reply.attempt),
            SagaAnswer::Refused(_) => is_current,
            SagaAnswer::Failed(_) => is_current && !asked.pauses,
        };
        if !is_its || !counts {
            return Ok(Err(reply));
        }
        match reply.answer {
            SagaAnswer::Done(answer) => self.is_done(saga, answer, told)?,
            SagaAnswer::Refused(reason) => self.give_up(saga, false, reason, told)?,
            SagaAnswer::Failed(reason) => self.has_failed(saga, reason, told)?,
        }
        Ok(Ok(()))
    }

    fn asked(&self) -> Option<(Direction, &Asked)> {
        match &self.stage {
            Stage::Forth(asked) => Some((Direction::Do, asked)),
            Stage::Back(asked, _) => Some((Direction::Undo, asked)),
            Stage::Over => None,
        }
    }

    fn asked_mut(&mut self) -> Option<&mut Asked> {
        match &mut self.stage {
            Stage::Forth(asked) | Stage::Back(asked, _) => Some(asked),
            Stage::Over => None,
        }
    }

    /// The step that it stands at.
    fn step<'s, R, A>(
        &self,
        saga: &'s Saga<D, R, A>,
    ) -> Result<Option<(usize, Direction, &'s Step<D, R, A>)>, UnknownStep> {
        let Some((direction, asked)) = self.asked() else { return Ok(None) };
        let (number, step) = found(saga, &asked.step)?;
        Ok(Some((number, direction, step)))
    }

    /// Asks for what it stands at, once more.
    fn ask<R, A>(&mut self, saga: &Saga<D, R, A>, told: &mut Told<D, R>) -> Result<(), UnknownStep> {
        let Some((_, direction, step)) = self.step(saga)? else { return Ok(()) };
        let body = self.data.as_ref().and_then(|data| step.body(direction, data));
        let (clock, due) = (self.clock, self.clock + step.timeout);
        if let (Some(asked), Some(body)) = (self.asked_mut(), body) {
            asked.attempt += 1;
            asked.pauses = false;
            let (step, attempt) = (asked.step.clone(), asked.attempt);
            told.push((clock, Effect::Ask { step, direction, attempt, body }));
        }
        self.due = due;
        Ok(())
    }

    /// Goes on with the step of this number, or ends behind the last.
    fn forth<R, A>(
        &mut self,
        saga: &Saga<D, R, A>,
        number: usize,
        told: &mut Told<D, R>,
    ) -> Result<(), UnknownStep> {
        match saga.steps.get(number) {
            Some(step) => {
                self.stage = Stage::Forth(Asked::of(&step.name));
                self.ask(saga, told)
            }
            None => {
                self.end(saga, SagaOutcome::Completed, told);
                Ok(())
            }
        }
    }

    /// Undoes what was done last, or ends if that is nothing.
    fn back<R, A>(
        &mut self,
        saga: &Saga<D, R, A>,
        given_up: GivenUp,
        told: &mut Told<D, R>,
    ) -> Result<(), UnknownStep> {
        while let Some(step) = self.done.last() {
            if !found(saga, step)?.1.can_be_undone() {
                // Its compensation was taken out of the program since.
                self.done.pop();
                continue;
            }
            self.stage = Stage::Back(Asked::of(step), given_up);
            return self.ask(saga, told);
        }
        let GivenUp { step: failed, reason } = given_up;
        self.end(saga, SagaOutcome::Compensated { failed, reason }, told);
        Ok(())
    }

    /// What it stands at is done.
    fn is_done<R, A>(
        &mut self,
        saga: &Saga<D, R, A>,
        answer: A,
        told: &mut Told<D, R>,
    ) -> Result<(), UnknownStep> {
        let Some((number, direction, step)) = self.step(saga)? else { return Ok(()) };
        if direction == Direction::Do {
            if let (Some(learn), Some(data)) = (&step.learn, &mut self.data) {
                learn(data, answer);
            }
            if step.can_be_undone() {
                self.done.push(step.name.clone());
            }
            return self.forth(saga, number + 1, told);
        }
        self.done.pop();
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Back(_, given_up) => self.back(saga, given_up, told),
            Stage::Forth(_) | Stage::Over => Ok(()),
        }
    }

    /// The time for what it waits for is over.
    fn time_out<R, A>(&mut self, saga: &Saga<D, R, A>, told: &mut Told<D, R>) -> Result<(), UnknownStep> {
        let Some(asked) = self.asked_mut() else { return Ok(()) };
        if asked.pauses {
            return self.ask(saga, told);
        }
        asked.unanswered = true;
        self.has_failed(saga, "no answer in time".to_owned(), told)
    }

    /// An attempt has failed: another one follows after a pause, or it is given up.
    fn has_failed<R, A>(
        &mut self,
        saga: &Saga<D, R, A>,
        reason: String,
        told: &mut Told<D, R>,
    ) -> Result<(), UnknownStep> {
        let Some((_, direction, step)) = self.step(saga)? else { return Ok(()) };
        let (patience, clock) = (step.patience(direction), self.clock);
        let Some(asked) = self.asked_mut() else { return Ok(()) };
        if asked.attempt > patience.retries {
            let maybe_done = asked.unanswered;
            return self.give_up(saga, maybe_done, reason, told);
        }
        asked.pauses = true;
        self.due = clock + patience.pause(asked.attempt);
        // Without a pause it is asked at once.
        if self.due <= clock { self.ask(saga, told) } else { Ok(()) }
    }

    /// What it stands at will not be done.
    fn give_up<R, A>(
        &mut self,
        saga: &Saga<D, R, A>,
        maybe_done: bool,
        reason: String,
        told: &mut Told<D, R>,
    ) -> Result<(), UnknownStep> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Forth(asked) => {
                if maybe_done && found(saga, &asked.step)?.1.can_be_undone() {
                    self.done.push(asked.step.clone());
                }
                self.back(saga, GivenUp { step: asked.step, reason }, told)
            }
            Stage::Back(_, GivenUp { step: failed, reason: why }) => {
                let not_undone = self.done.drain(..).rev().collect();
                let outcome = SagaOutcome::NeedsHelp { failed, reason: why, not_undone, because: reason };
                self.end(saga, outcome, told);
                Ok(())
            }
            Stage::Over => Ok(()),
        }
    }

    fn end<R, A>(&mut self, saga: &Saga<D, R, A>, outcome: SagaOutcome, told: &mut Told<D, R>) {
        self.stage = Stage::Over;
        self.due = self.clock + saga.remembered;
        if let Some(data) = self.data.take() {
            told.push((self.clock, Effect::End { data, outcome }));
        }
    }
}

impl Asked {
    /// A step that has not been asked for.
    fn of(step: &str) -> Asked {
        Asked { step: step.to_owned(), attempt: 0, pauses: false, unanswered: false }
    }
}

fn found<'s, D, R, A>(
    saga: &'s Saga<D, R, A>,
    name: &str,
) -> Result<(usize, &'s Step<D, R, A>), UnknownStep> {
    saga.find(name).ok_or_else(|| UnknownStep { saga: saga.name.clone(), step: name.to_owned() })
}
