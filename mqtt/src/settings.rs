//! Who reads from which broker.

use std::fmt;
use std::time::Duration;

use highwater::operators::codec::Decode;
use rumqttc::MqttOptions;

use crate::error::MqttError;
use crate::limits::{KEEP_ALIVE, MESSAGE_BYTES_MAX, PATIENCE};
use crate::source::MqttSource;

/// A broker, and the client that reads from it.
///
/// The broker keeps messages for the client id while the job is away, from its first start on: another job needs
/// another id, and two that run with one put each other out. How much it keeps is the broker's setting; Mosquitto's are
/// 1000 messages (`max_queued_messages`), and 20 that are on their way at a time (`max_inflight_messages`), which
/// bounds what an epoch can hold: raise both.
///
/// Connections are not encrypted: the broker belongs on loopback, in a network of its own, or behind a tunnel.
///
/// ```
/// use highwater::prelude::*;
/// use highwater_mqtt::Mqtt;
/// # #[derive(Clone, serde::Deserialize)] struct Reading { celsius: f64 }
///
/// let topology = Topology::new("climate");
/// let broker = Mqtt::at("127.0.0.1:1883", "climate-1");
/// let (readings, bad) = topology
///     .try_source("sensors", broker.source(["sensors/+/temperature"], Json::<Reading>::new()))
///     .or_dead_letter();
/// # readings.sink("out", Blackhole::new()); bad.sink("bad", Blackhole::new());
/// ```
#[derive(Clone)]
pub struct Mqtt {
    pub(crate) broker: String,
    pub(crate) client: String,
    pub(crate) credentials: Option<(String, String)>,
    pub(crate) message_bytes: usize,
    pub(crate) patience: Duration,
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        f.debug_struct("Mqtt")
            .field("broker", &self.broker)
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl Mqtt {
    /// The broker at `HOST:PORT`, read under this client id.
    pub fn at(broker: impl Into<String>, client: impl Into<String>) -> Mqtt {
        Mqtt {
            broker: broker.into(),
            client: client.into(),
            credentials: None,
            message_bytes: MESSAGE_BYTES_MAX,
            patience: PATIENCE,
        }
    }

    /// The name and the password that the broker asks for.
    pub fn credentials(mut self, name: impl Into<String>, password: impl Into<String>) -> Mqtt {
        self.credentials = Some((name.into(), password.into()));
        self
    }

    /// How large a message may be; see [`MESSAGE_BYTES_MAX`].
    pub fn message_bytes(mut self, most: usize) -> Mqtt {
        self.message_bytes = most;
        self
    }

    /// For how long the broker may be away before the job ends with an error; see [`PATIENCE`].
    pub fn patience(mut self, patience: Duration) -> Mqtt {
        self.patience = patience;
        self
    }

    /// The messages of topics: of each filter, where `+` stands for any one level and `#` at the end for all that
    /// follow.
    pub fn source<T: Send + 'static>(
        &self,
        filters: impl IntoIterator<Item = impl Into<String>>,
        codec: impl Decode<T>,
    ) -> MqttSource<T> {
        MqttSource::new(self.clone(), filters.into_iter().map(Into::into).collect(), codec)
    }

    /// Whether this can be connected to at all, and how.
    pub(crate) fn options(&self) -> Result<MqttOptions, MqttError> {
        let address = || MqttError::Address(self.broker.clone());
        let (host, port) = self.broker.rsplit_once(':').ok_or_else(address)?;
        let port = port.parse().map_err(|_| address())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        if host.is_empty() {
            return Err(address());
        }
        if self.client.is_empty() || self.client.len() > 23 || !self.client.chars().all(is_plain) {
            return Err(MqttError::ClientId(self.client.clone()));
        }
        let mut options = MqttOptions::new(self.client.clone(), host, port);
        options
            .set_clean_session(false)
            .set_manual_acks(true)
            .set_keep_alive(KEEP_ALIVE)
            .set_max_packet_size(self.message_bytes, self.message_bytes);
        if let Some((name, password)) = &self.credentials {
            options.set_credentials(name, password);
        }
        Ok(options)
    }
}
