//! Many records handed to a producer in one call.
//!
//! librdkafka's batch call looks up the topic, takes its lock and reads the clock once for all of them. The crate
//! `rdkafka` has no name for it. Invariant: each record that was taken has one reference to its writer's flight,
//! which its delivery report gives back; a record that was not taken has none. Headers cannot be sent in this way.

#![allow(unsafe_code, reason = "rd_kafka_produce_batch, which rdkafka does not wrap")]

use std::ffi::{CString, c_int};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rdkafka::bindings::{
    RD_KAFKA_MSG_F_COPY, rd_kafka_message_t, rd_kafka_produce_batch, rd_kafka_resp_err_t,
    rd_kafka_topic_destroy, rd_kafka_topic_new, rd_kafka_topic_t,
};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::util::IntoOpaque;

use super::delivery::{Flight, ProducerReports};

/// The producer chooses a record's partition; `RD_KAFKA_PARTITION_UA` in C, a macro that has no binding.
const ANY_PARTITION: i32 = -1;

/// How many records one call takes at most: as many as a batch usually has; one with more takes more calls.
const RECORDS_PER_CALL: usize = 1024;

/// What became of records that were handed over.
pub(super) struct Outcome {
    /// How many were taken, from the first on.
    pub(super) taken: usize,
    /// Why the next one was not. If it is [`Code::QueueFull`], none behind it was taken either.
    pub(super) refused: Option<Code>,
}

/// A topic as one producer knows it.
pub(super) struct Topic {
    native: NonNull<rd_kafka_topic_t>,
    /// What one call hands over; empty between calls.
    messages: Vec<rd_kafka_message_t>,
    /// Keeps the client alive that the topic is of.
    producer: Arc<BaseProducer<ProducerReports>>,
}

impl Topic {
    /// `None` if a topic cannot have this name.
    pub(super) fn of(producer: &Arc<BaseProducer<ProducerReports>>, name: &str) -> Option<Self> {
        let name = CString::new(name).ok()?;
        let client = producer.client().native_ptr();
        // SAFETY: the client lives as long as `producer`, the name until the call is over, and no settings means
        // those of the client. What is given is a reference of ours, counted by librdkafka, or null.
        let native = unsafe { rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()) };
        Some(Topic { native: NonNull::new(native)?, messages: Vec::new(), producer: Arc::clone(producer) })
    }

    /// Whether it is a topic of this producer.
    pub(super) fn is_of(&self, producer: &Arc<BaseProducer<ProducerReports>>) -> bool {
        Arc::ptr_eq(&self.producer, producer)
    }

    /// Hands over records, each a key and a payload, in order; what is taken is counted in `flight`.
    pub(super) fn send<'a>(
        &mut self,
        records: impl Iterator<Item = (Option<&'a [u8]>, &'a [u8])>,
        flight: &Arc<Flight>,
    ) -> Outcome {
        let mut records = records.fuse();
        let mut taken = 0;
        loop {
            self.messages.clear();
            let next = records.by_ref().take(RECORDS_PER_CALL);
            self.messages.extend(next.map(|(key, payload)| message(key, payload, flight)));
            if self.messages.is_empty() {
                return Outcome { taken, refused: None };
            }
            flight.add(self.messages.len());
            // SAFETY: the topic is ours until `drop`; `messages` has as many as are announced, at most
            // `RECORDS_PER_CALL`. Keys and payloads are borrowed for `'a`, longer than this call, which copies them
            // and writes nothing into them.
            unsafe {
                rd_kafka_produce_batch(
                    self.native.as_ptr(),
                    ANY_PARTITION,
                    RD_KAFKA_MSG_F_COPY,
                    self.messages.as_mut_ptr(),
                    self.messages.len() as c_int,
                );
            }
            let refused = self.take_back(flight);
            let (before, code) = refused.map_or((self.messages.len(), None), |(at, code)| (at, Some(code)));
            taken += before;
            if code.is_some() {
                return Outcome { taken, refused: code };
            }
        }
    }

    /// Takes back what belongs to messages that were not taken; gives the first of them, and why.
    fn take_back(&self, flight: &Flight) -> Option<(usize, Code)> {
        let mut first = None;
        for (at, message) in self.messages.iter().enumerate() {
            if message.err != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                // SAFETY: `message` has made the pointer of a reference, and librdkafka forgets it with a message
                // that it does not take: there will be no delivery report.
                drop(unsafe { Arc::<Flight>::from_ptr(message._private) });
                flight.remove(1);
                first = first.or(Some((at, message.err.into())));
            }
        }
        first
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, this is the end of it, and the producer is still there.
        unsafe { rd_kafka_topic_destroy(self.native.as_ptr()) };
    }
}

/// A message as librdkafka wants it, with a reference to the flight.
fn message(key: Option<&[u8]>, payload: &[u8], flight: &Arc<Flight>) -> rd_kafka_message_t {
    rd_kafka_message_t {
        err: rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR,
        rkt: ptr::null_mut(),
        partition: ANY_PARTITION,
        // Not null where there are no bytes: that would be a tombstone.
        payload: payload.as_ptr().cast_mut().cast(),
        len: payload.len(),
        key: key.map_or(ptr::null_mut(), |key| key.as_ptr().cast_mut().cast()),
        key_len: key.map_or(0, <[u8]>::len),
        offset: 0,
        _private: Arc::clone(flight).into_ptr(),
    }
}
