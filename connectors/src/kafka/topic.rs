//! Making a topic, for programs that bring their own.
//!
//! Invariant: a topic that is there is left as it is, and when the call returns, the topic has as many partitions as
//! were asked for, or an error says what is in the way. Sources and sinks never make a topic.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode as Code};

use super::client::{Troubles, partitions_of, passes};
use super::{ANSWER_TIMEOUT, Kafka, KafkaError};

/// How long to wait between two looks whether the brokers know the topic.
const LOOK: Duration = Duration::from_millis(50);

/// Passes on what the client reports.
struct AdminReports(Troubles);

impl ClientContext for AdminReports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.0.error(&error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.0.statistics(statistics);
    }
}

impl Kafka {
    /// Makes a topic with as many partitions, and as many copies of each as the brokers' default says, unless it is
    /// there. Waits up to [`ANSWER_TIMEOUT`] for the brokers to make it, and as long until they know it.
    ///
    /// # Errors
    /// If it is there with another number of partitions, if the brokers refuse, and if they give no answer.
    pub fn topic(&self, name: &str, partitions: u32) -> Result<(), KafkaError> {
        let troubles = Troubles::new(self, name, false);
        let settings = self.producer_settings()?;
        let admin = AdminClient::from_config_and_context(&settings, AdminReports(troubles));
        let admin = admin.map_err(|error| self.refused(error))?;
        let troubles = &admin.inner().context().0;
        let copies = TopicReplication::Fixed(-1);
        let new = NewTopic::new(name, i32::try_from(partitions).unwrap_or(i32::MAX), copies);
        let within = Some(ANSWER_TIMEOUT);
        let options = AdminOptions::new().operation_timeout(within).request_timeout(within);
        let answer = wait(admin.create_topics([&new], &options));
        let code = |error: &ClientError| error.rdkafka_error_code();
        let made = answer.map_err(|error| troubles.explain(code(&error), &error.to_string()))?;
        match made.into_iter().next() {
            Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => {}
            Some(Err((_, code))) if passes(code) => {
                return Err(troubles.explain(Some(code), &code.to_string()));
            }
            Some(Err((_, code))) => return Err(self.not_made(name, code.to_string())),
            None => return Err(self.not_made(name, "the brokers said nothing about it".to_owned())),
        }
        self.wait_until_known(&admin, name, partitions)
    }

    /// A broker hears of what its controller has made a moment later.
    fn wait_until_known(
        &self,
        admin: &AdminClient<AdminReports>,
        name: &str,
        partitions: u32,
    ) -> Result<(), KafkaError> {
        let end = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let found = partitions_of(admin.inner(), name, ANSWER_TIMEOUT);
            match found {
                Ok(found) if found.len() == partitions as usize => return Ok(()),
                Ok(found) if Instant::now() >= end => {
                    return Err(
                        self.not_made(name, format!("it has {} partitions, not {partitions}", found.len()))
                    );
                }
                Err(code) if Instant::now() >= end => {
                    return Err(admin.inner().context().0.explain(Some(code), &code.to_string()));
                }
                _ => std::thread::sleep(LOOK),
            }
        }
    }

    fn not_made(&self, topic: &str, reason: String) -> KafkaError {
        KafkaError::NotMade { topic: topic.to_owned(), brokers: self.brokers.clone(), reason }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits in this thread; the client has one of its own that brings the answer.
fn wait<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return done;
        }
        std::thread::park_timeout(LOOK);
    }
}
