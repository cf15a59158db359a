//! Who drives the futures that operators make: the engine's runtime, or the caller's thread.
//!
//! An operator knows no thread and no runtime (HW-7): it hands a future over and picks up later what came of it.
//! Invariant: a future that was handed over is polled to its end, or dropped.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::thread::Thread;

/// A future that tells those who wait for it by itself.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Drives futures.
pub trait Executor: Send + Sync {
    /// Takes a future and sees to it that it is driven. May drive it to its end before it returns.
    fn spawn(&self, work: Work);

    /// Whether time goes by while futures are driven. If it does not, nothing is to be waited for: a pause before
    /// the next attempt would never end.
    fn keeps_time(&self) -> bool {
        true
    }
}

/// Drives each future to its end in the caller's thread, and keeps no time: for the interpreter and for tests.
///
/// A future that waits for what only a runtime brings, such as tokio's sockets and timers, must find that runtime
/// by itself: the caller enters it (`Runtime::enter`) before it interprets.
#[derive(Clone, Copy, Debug, Default)]
pub struct InPlace;

impl Executor for InPlace {
    fn spawn(&self, mut work: Work) {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        while work.as_mut().poll(&mut context).is_pending() {
            std::thread::park();
        }
    }

    fn keeps_time(&self) -> bool {
        false
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Poll;

    use super::*;

    #[test]
    fn a_future_that_is_woken_by_another_thread_is_driven_to_its_end() {
        let done = Arc::new(AtomicBool::new(false));
        let (seen, mut polls) = (Arc::clone(&done), 0);
        InPlace.spawn(Box::pin(std::future::poll_fn(move |context| {
            polls += 1;
            if polls == 3 {
                seen.store(true, Ordering::SeqCst);
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            std::thread::spawn(move || waker.wake());
            Poll::Pending
        })));
        assert!(done.load(Ordering::SeqCst));
    }
}
