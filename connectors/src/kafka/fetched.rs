//! What was fetched of one partition, taken many records at a time.
//!
//! librdkafka's batch call takes a record out of the queue for a third of what one `poll` a record costs, and the
//! crate `rdkafka` has no name for it. Invariant: a queue is made before its partition is assigned and gone before
//! its consumer is; each message that librdkafka gave is given back once, after the last look at it. Nothing but
//! pointers is known here: what offsets and errors mean is the reader's part.
//!
//! One error does not come out of the batch call: that a partition is gone. librdkafka logs it in its place, see
//! [`Gone`].

#![allow(unsafe_code, reason = "rd_kafka_consume_batch_queue, which rdkafka does not wrap")]

use std::collections::BTreeSet;
use std::ffi::CString;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::bindings::{
    rd_kafka_consume_batch_queue, rd_kafka_message_destroy, rd_kafka_message_t, rd_kafka_queue_destroy,
    rd_kafka_queue_forward, rd_kafka_queue_get_partition, rd_kafka_queue_t, rd_kafka_resp_err_t,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::client::ConsumerReports;

/// One thing out of a partition's queue.
pub(super) enum Fetched<'a> {
    /// A record.
    Record {
        offset: i64,
        /// Its bytes; `None` where there are none, which is not the same as no bytes.
        payload: Option<&'a [u8]>,
    },
    /// The partition ends here, for now: there is no record before this offset that was not given.
    End { offset: i64 },
    /// What else the client reports in place of a record: a leader that is gone.
    Report(Code),
}

/// The partitions that are gone: their topic was deleted.
///
/// librdkafka puts this error into the partition's queue as one for a call-back. The batch call finds no call-back
/// and logs the error, with a facility that nothing else has. So it is heard of after the records that were before
/// it, once the client's reports are served.
#[derive(Default)]
pub(super) struct Gone {
    any: AtomicBool,
    /// Without a number: one that was not understood, which may be any.
    partitions: Mutex<BTreeSet<Option<i32>>>,
}

impl Gone {
    /// Listens to what is logged: `[thrd:app]: NAME: TOPIC [PARTITION]: topic does not exist (...)`.
    pub(super) fn hear(&self, facility: &str, message: &str, topic: &str) {
        if facility != "ERROR" {
            return;
        }
        let behind =
            message.split_once(&format!(": {topic} [")).and_then(|(_, behind)| behind.split_once(']'));
        let partition = behind.and_then(|(number, _)| number.parse().ok());
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).insert(partition);
        self.any.store(true, Ordering::Release);
    }

    pub(super) fn has(&self, partition: i32) -> bool {
        self.any.load(Ordering::Acquire) && {
            let gone = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
            gone.contains(&Some(partition)) || gone.contains(&None)
        }
    }

    /// The partition is begun anew.
    pub(super) fn forget(&self, partition: i32) {
        let mut gone = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        gone.retain(|of| of.is_some_and(|of| of != partition));
        self.any.store(!gone.is_empty(), Ordering::Release);
    }
}

/// The queue of one partition.
pub(super) struct Queue {
    native: NonNull<rd_kafka_queue_t>,
    /// Room for what one call takes out; empty between calls.
    taken: Vec<*mut rd_kafka_message_t>,
    /// Keeps the client alive that the queue is of.
    _consumer: Arc<BaseConsumer<ConsumerReports>>,
}

impl Queue {
    /// Takes the queue of a partition out of the consumer's common one. `None` if there can be no such partition.
    pub(super) fn of(
        consumer: &Arc<BaseConsumer<ConsumerReports>>,
        topic: &str,
        partition: i32,
    ) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        let client = consumer.client().native_ptr();
        // SAFETY: the client lives as long as `consumer`, the name until the call is over. What is given is a
        // reference of ours, counted by librdkafka, or null.
        let native = unsafe { rd_kafka_queue_get_partition(client, topic.as_ptr(), partition) };
        let native = NonNull::new(native)?;
        // SAFETY: the queue was just given to us; no destination means that it is forwarded no more.
        unsafe { rd_kafka_queue_forward(native.as_ptr(), ptr::null_mut()) };
        Some(Queue { native, taken: Vec::new(), _consumer: Arc::clone(consumer) })
    }

    /// Takes up to `limit` records and reports out of the queue without waiting, and shows them to `each` in order,
    /// until it says `false` or fails; what is behind is let go then.
    pub(super) fn take<E>(
        &mut self,
        limit: usize,
        mut each: impl FnMut(Fetched<'_>) -> Result<bool, E>,
    ) -> Result<(), E> {
        self.taken.clear();
        self.taken.reserve(limit);
        // SAFETY: the queue is ours until `drop`, and the vector has room for `limit` pointers. Of those the call
        // writes as many as it says, each to a message that belongs to us from then on.
        unsafe {
            let count = rd_kafka_consume_batch_queue(self.native.as_ptr(), 0, self.taken.as_mut_ptr(), limit);
            let count = usize::try_from(count).unwrap_or(0);
            self.taken.set_len(count);
        }
        let mut messages = Messages(self.taken.drain(..));
        while let Some(message) = messages.next() {
            if !each(message.fetched())? {
                break;
            }
        }
        Ok(())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, this is the end of it, and the consumer is still there.
        unsafe { rd_kafka_queue_destroy(self.native.as_ptr()) };
    }
}

/// Messages that were taken out; those that nobody looks at are given back, too.
struct Messages<'a>(std::vec::Drain<'a, *mut rd_kafka_message_t>);

impl Messages<'_> {
    fn next(&mut self) -> Option<Message> {
        self.0.next().map(Message)
    }
}

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        while self.next().is_some() {}
    }
}

/// A message that is ours.
struct Message(*mut rd_kafka_message_t);

impl Message {
    /// What it is; for as long as it is ours.
    fn fetched(&self) -> Fetched<'_> {
        // SAFETY: librdkafka gave the pointer, and neither changes nor frees the message before it is given back in
        // `drop`, which cannot be while it is borrowed here.
        let message = unsafe { &*self.0 };
        match message.err {
            rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                return Fetched::End { offset: message.offset };
            }
            code => return Fetched::Report(code.into()),
        }
        let payload = NonNull::new(message.payload.cast::<u8>());
        // SAFETY: a payload that is not null is `len` bytes in a buffer that the message keeps alive.
        let payload =
            payload.map(|payload| unsafe { std::slice::from_raw_parts(payload.as_ptr(), message.len) });
        Fetched::Record { offset: message.offset, payload }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: the message is ours, and nothing that was borrowed of it is left.
        unsafe { rd_kafka_message_destroy(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_gone_that_the_log_names_until_it_is_begun_anew() {
        let gone = Gone::default();
        gone.hear("FAIL", "[thrd:app]: rdkafka#consumer-1: clicks [2]: Connection refused", "clicks");
        assert!(!gone.has(2));
        let error =
            "[thrd:app]: rdkafka#consumer-1: clicks [2]: topic does not exist (Broker: Unknown topic)";
        gone.hear("ERROR", error, "clicks");
        assert!(gone.has(2) && !gone.has(1));
        gone.forget(2);
        assert!(!gone.has(2));
    }

    #[test]
    fn an_error_that_is_not_understood_is_about_every_partition() {
        let gone = Gone::default();
        gone.hear("ERROR", "rdkafka#consumer-1: something else", "clicks");
        assert!(gone.has(0) && gone.has(7));
    }
}
