//! The messages of a broker as a source.

use std::fmt;
use std::sync::Arc;

use highwater::operators::codec::Decode;
use highwater::operators::error::Cause;
use highwater::operators::source::{Reader, Source};
use serde::{Deserialize, Serialize};

use crate::connection::Connected;
use crate::error::MqttError;
use crate::reader::MqttReader;
use crate::settings::Mqtt;

/// A message, and where it was published.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message<T> {
    /// The topic: `sensors/attic/temperature`.
    pub topic: String,
    /// What was said.
    pub value: T,
}

/// How many messages were received; kept in every epoch, to know which ones it holds. It is no place in a topic: what a
/// restart continues with is what the broker has no acknowledgement of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MqttPosition {
    /// How many, good and bad ones.
    pub received: u64,
}

/// Reads messages, at least once; made by [`Mqtt::source`].
///
/// The session is kept by the broker, under the client id. A message of QoS 1 is acknowledged when the epoch that holds
/// it is committed, and stays with the broker until then: a crash loses nothing. What was not acknowledged comes again:
/// after a crash the messages of the epoch that was not committed, which count once, and those of the last committed
/// ones whose acknowledgements had not arrived, which would count twice. A connection that is lost and found again
/// brings back only the latter. Where that matters, sensors put an id into their messages, and the job drops
/// repetitions:
/// `.key_by(|message| message.value.id).dedup("seen", ttl)`. Publishers that send with QoS 0 may lose messages on
/// either side of the broker.
///
/// One connection reads for one worker; more workers share what follows it. A broker has a bound for messages that are
/// not acknowledged, 65 535 by the protocol, 20 unless Mosquitto is told another (`max_inflight_messages`): that many
/// messages, and no more, come in one epoch. Messages in order within a topic stay so, but for repetitions.
///
/// The job ends with an error when the broker refuses it, or is away for longer than [`Mqtt::patience`]; meanwhile it
/// connects again, after 100 ms first and 10 seconds at most.
pub struct MqttSource<T> {
    mqtt: Mqtt,
    filters: Vec<String>,
    codec: Arc<dyn Decode<T>>,
}

impl<T> fmt::Debug for MqttSource<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttSource")
            .field("mqtt", &self.mqtt)
            .field("filters", &self.filters)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static> MqttSource<T> {
    pub(crate) fn new(mqtt: Mqtt, filters: Vec<String>, codec: impl Decode<T>) -> MqttSource<T> {
        MqttSource { mqtt, filters, codec: Arc::new(codec) }
    }
}

impl<T: Send + 'static> Source for MqttSource<T> {
    type Item = Message<T>;
    type Position = MqttPosition;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        self.mqtt.options()?;
        if self.filters.is_empty() {
            return Err(MqttError::Filter(String::new()).into());
        }
        if let Some(filter) = self.filters.iter().find(|filter| !rumqttc::valid_filter(filter)) {
            return Err(MqttError::Filter(filter.clone()).into());
        }
        Ok(vec![self.mqtt.client.clone()])
    }

    fn open(
        &self,
        split: &str,
        from: Option<MqttPosition>,
    ) -> Result<Box<dyn Reader<Item = Message<T>, Position = MqttPosition>>, Cause> {
        if split != self.mqtt.client {
            let (client, split) = (self.mqtt.client.clone(), split.to_owned());
            return Err(MqttError::Split { client, split }.into());
        }
        let connected = Connected::open(&self.mqtt, &self.filters)?;
        let from = from.unwrap_or(MqttPosition { received: 0 });
        Ok(Box::new(MqttReader::new(connected, Arc::clone(&self.codec), from)))
    }
}
