//! One attempt at one record's answer, from the future that the user made to the operator that waits for it.
//!
//! Invariants: every attempt that is not aborted tells its inbox what came of it, once, also when the future panics
//! or the executor drops it; one that is aborted is dropped as soon as it is polled, and tells nothing.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::Cause;

/// What the user's closure gives, with its types erased.
pub(crate) type Answer<U> = Pin<Box<dyn Future<Output = Result<U, Cause>> + Send>>;

/// What came of an attempt.
pub(crate) enum Outcome<U> {
    /// The user's future has come to its end.
    Answer(Result<U, Cause>),
    /// It panicked, and said this.
    Panicked(String),
    /// Nobody drives it any more.
    Dropped,
}

/// Which attempt at which record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) number: u64,
    pub(crate) attempt: u32,
}

/// Where attempts leave what came of them. It holds no more than one outcome for each attempt that runs.
pub(crate) struct Inbox<U> {
    /// Looked at in every step: asking costs no lock.
    arrived: AtomicBool,
    outcomes: Mutex<Vec<(Ticket, Outcome<U>)>>,
}

impl<U> Inbox<U> {
    pub(crate) fn new() -> Self {
        Inbox { arrived: AtomicBool::new(false), outcomes: Mutex::new(Vec::new()) }
    }

    fn put(&self, ticket: Ticket, outcome: Outcome<U>) {
        lock(&self.outcomes).push((ticket, outcome));
        self.arrived.store(true, Ordering::Release);
    }

    /// What has arrived since the last call, in the order in which it came.
    pub(crate) fn take(&self) -> Vec<(Ticket, Outcome<U>)> {
        if !self.arrived.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut lock(&self.outcomes))
    }
}

/// What a panicking thread left behind is whole: every change under these locks is one call.
fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Control {
    aborted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// Aborts its attempt when it is dropped.
pub(crate) struct Abort(Arc<Control>);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.aborted.store(true, Ordering::SeqCst);
        let waker = lock(&self.0.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A future that drives the user's, and tells the inbox what came of it.
pub(crate) struct Attempt<U> {
    answer: Option<Answer<U>>,
    ticket: Ticket,
    inbox: Arc<Inbox<U>>,
    control: Arc<Control>,
}

impl<U> Attempt<U> {
    pub(crate) fn new(answer: Answer<U>, ticket: Ticket, inbox: &Arc<Inbox<U>>) -> (Self, Abort) {
        let control = Arc::new(Control::default());
        let abort = Abort(Arc::clone(&control));
        (Attempt { answer: Some(answer), ticket, inbox: Arc::clone(inbox), control }, abort)
    }

    fn is_aborted(&self) -> bool {
        self.control.aborted.load(Ordering::SeqCst)
    }
}

impl<U> Future for Attempt<U> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Before the look at the flag: whoever raises it after that finds the waker.
        *lock(&self.control.waker) = Some(context.waker().clone());
        if self.is_aborted() {
            self.answer = None;
        }
        let Some(answer) = self.answer.as_mut() else { return Poll::Ready(()) };
        let outcome = match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(answer)) => Outcome::Answer(answer),
            Err(panic) => Outcome::Panicked(message_of(&*panic)),
        };
        self.answer = None;
        self.inbox.put(self.ticket, outcome);
        Poll::Ready(())
    }
}

impl<U> Drop for Attempt<U> {
    fn drop(&mut self) {
        if self.answer.take().is_some() && !self.is_aborted() {
            self.inbox.put(self.ticket, Outcome::Dropped);
        }
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::{Executor, InPlace};

    const TICKET: Ticket = Ticket { number: 7, attempt: 1 };

    fn outcome_of(answer: Answer<u8>) -> Vec<String> {
        let inbox = Arc::new(Inbox::new());
        let (attempt, _abort) = Attempt::new(answer, TICKET, &inbox);
        InPlace.spawn(Box::pin(attempt));
        told(&inbox)
    }

    fn told(inbox: &Inbox<u8>) -> Vec<String> {
        let outcomes = inbox.take().into_iter().map(|(ticket, outcome)| {
            assert_eq!(ticket, TICKET);
            match outcome {
                Outcome::Answer(Ok(answer)) => format!("{answer}"),
                Outcome::Answer(Err(cause)) => format!("failed: {cause}"),
                Outcome::Panicked(message) => format!("panicked: {message}"),
                Outcome::Dropped => "dropped".to_owned(),
            }
        });
        outcomes.collect()
    }

    #[test]
    fn an_attempt_tells_once_what_came_of_it() {
        assert_eq!(outcome_of(Box::pin(async { Ok(3) })), ["3"]);
        assert_eq!(outcome_of(Box::pin(async { Err("no such host".into()) })), ["failed: no such host"]);
        assert_eq!(outcome_of(Box::pin(async { panic!("seven is {}", 7) })), ["panicked: seven is 7"]);
    }

    #[test]
    fn one_that_the_executor_drops_says_so_and_one_that_is_aborted_says_nothing() {
        let inbox = Arc::new(Inbox::new());
        let never = || -> Answer<u8> { Box::pin(std::future::pending()) };
        let (attempt, abort) = Attempt::new(never(), TICKET, &inbox);
        drop(attempt);
        drop(abort);
        assert_eq!(told(&inbox), ["dropped"]);
        let held = Arc::new(());
        let kept = Arc::clone(&held);
        let (attempt, abort) = Attempt::new(
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(kept);
                Ok(1)
            }),
            TICKET,
            &inbox,
        );
        drop(abort);
        InPlace.spawn(Box::pin(attempt));
        assert_eq!((told(&inbox), Arc::strong_count(&held)), (vec![], 1));
    }
}
