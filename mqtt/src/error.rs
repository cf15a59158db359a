//! What can be wrong with a broker.

use std::time::Duration;

use thiserror::Error;

/// Why messages cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MqttError {
    /// The address is none.
    #[error("`{0}` is no address of a broker; write HOST:PORT, such as 127.0.0.1:1883")]
    Address(String),
    /// The client has no name that lasts.
    #[error(
        "an MQTT source needs a client id from 1 to 23 letters and digits (`-` and `_` as well), not `{0}`: the broker \
         keeps messages for it"
    )]
    ClientId(String),
    /// There is nothing to read.
    #[error("an MQTT source needs at least one topic filter, such as `sensors/+/temperature`; `{0}` is none")]
    Filter(String),
    /// The broker does not let the client in.
    #[error("the MQTT broker {broker} refuses the client `{client}`: {reason}; check its name and password")]
    Refused {
        /// The broker.
        broker: String,
        /// The client.
        client: String,
        /// What it said.
        reason: String,
    },
    /// The broker does not let the client read what it asks for.
    #[error("the MQTT broker {broker} does not let `{client}` read `{filter}`; check what it may read")]
    Forbidden {
        /// The broker.
        broker: String,
        /// The client.
        client: String,
        /// What it asked for.
        filter: String,
    },
    /// The broker cannot be reached.
    #[error(
        "no connection to the MQTT broker {broker} for {since:?}: {reason}; messages wait there meanwhile"
    )]
    Away {
        /// The broker.
        broker: String,
        /// For how long.
        since: Duration,
        /// Why, the last time.
        reason: String,
    },
    /// A message is larger than it may be, and would come again and again.
    #[error(
        "the MQTT broker {broker} has a message of {bytes} bytes, and {limit} are allowed: allow more by \
         `message_bytes`, or let the broker take none of that size (`message_size_limit` of Mosquitto)"
    )]
    TooLarge {
        /// The broker.
        broker: String,
        /// What it has, about.
        bytes: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The source has one split.
    #[error(
        "the MQTT source has one split, `{client}`, and not `{split}`: was its client id another one before?"
    )]
    Split {
        /// The name of the split.
        client: String,
        /// The one that was asked for.
        split: String,
    },
}
