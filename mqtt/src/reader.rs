//! Reads the one split: hands messages to the job, and acknowledges those that are committed.
//!
//! Invariants: a message is acknowledged only when the epoch that holds it is committed, and only in the session in
//! which it came; a message that comes again in its session before that is delivered once.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crossbeam_channel::TryRecvError;
use highwater::operators::codec::Decode;
use highwater::operators::error::Cause;
use highwater::operators::source::{Poll, Polled, Reader};
use highwater::prelude::Origin;
use rumqttc::{Publish, QoS};

use crate::connection::{Connected, News};
use crate::error::MqttError;
use crate::source::{Message, MqttPosition};

/// A message that waits for its epoch.
struct Awaited {
    /// How many had been received with it.
    received: u64,
    packet: Packet,
}

/// What a broker knows a message by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Packet {
    session: u64,
    number: u16,
}

pub(crate) struct MqttReader<T> {
    connected: Connected,
    codec: Arc<dyn Decode<T>>,
    received: u64,
    /// The session of the last message.
    session: u64,
    awaited: VecDeque<Awaited>,
    /// The packets among them.
    known: HashMap<Packet, ()>,
    /// What is committed, and not acknowledged yet.
    committed: VecDeque<Packet>,
    failed: Option<MqttError>,
}

impl<T: 'static> MqttReader<T> {
    pub(crate) fn new(connected: Connected, codec: Arc<dyn Decode<T>>, from: MqttPosition) -> MqttReader<T> {
        MqttReader {
            connected,
            codec,
            received: from.received,
            session: 0,
            awaited: VecDeque::new(),
            known: HashMap::new(),
            committed: VecDeque::new(),
            failed: None,
        }
    }

    /// Sends acknowledgements, as many as the connection takes without waiting.
    fn acknowledge(&mut self) {
        while let Some(packet) = self.committed.front() {
            // A session that is over has forgotten its packets, and a new one may have given their numbers to others.
            if packet.session == self.session {
                let mut publish = Publish::new("", QoS::AtLeastOnce, Vec::new());
                publish.pkid = packet.number;
                if self.connected.client.try_ack(&publish).is_err() {
                    return;
                }
            }
            let packet = self.committed.pop_front().expect("it has a first");
            // From here on the broker may give its number to another message.
            self.known.remove(&packet);
        }
    }

    fn take(&mut self, session: u64, publish: &Publish, into: &mut Polled<Message<T>>) {
        if session != self.session {
            self.session = session;
            self.known.clear();
        }
        if publish.qos != QoS::AtMostOnce {
            let packet = Packet { session, number: publish.pkid };
            if self.known.insert(packet, ()).is_some() {
                // The connection was lost before it could be acknowledged; that will come with its epoch.
                return;
            }
            self.awaited.push_back(Awaited { received: self.received + 1, packet });
        }
        self.received += 1;
        let topic = String::from_utf8_lossy(publish.topic.as_bytes()).into_owned();
        let origin = || Origin::Text(format!("the MQTT topic {topic}"));
        let decoded = self.codec.decode(&publish.payload);
        let decoded = decoded.map(|value| Message { topic: topic.clone(), value });
        into.push(decoded, &publish.payload, origin);
    }
}

impl<T: Send + 'static> Reader for MqttReader<T> {
    type Item = Message<T>;
    type Position = MqttPosition;

    fn poll(&mut self, limit: usize, into: &mut Polled<Message<T>>) -> Result<Poll, Cause> {
        self.acknowledge();
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        for _ in 0..limit {
            match self.connected.news.try_recv() {
                Ok(News::Message { session, publish }) => self.take(session, &publish, into),
                // What has come before it is delivered first.
                Ok(News::Failed(error)) if into.is_empty() => return Err(error.into()),
                Ok(News::Failed(error)) => {
                    self.failed = Some(error);
                    return Ok(Poll::Ready);
                }
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(Poll::Pending),
            }
        }
        Ok(Poll::Ready)
    }

    fn position(&self) -> MqttPosition {
        MqttPosition { received: self.received }
    }

    fn committed(&mut self, position: MqttPosition) {
        while self.awaited.front().is_some_and(|awaited| awaited.received <= position.received) {
            self.committed.extend(self.awaited.pop_front().map(|awaited| awaited.packet));
        }
        self.acknowledge();
    }
}
