//! MQTT as a source of Highwater: sensors and other devices, by way of a broker.
//!
//! [`Mqtt`] names a broker and who is asking; [`Mqtt::source`] reads some of its topics. Delivery is at least once, by
//! design: messages of QoS 1 stay with the broker until the epoch that holds them is committed, and only then are they
//! acknowledged. Invariant: what was acknowledged is in a committed epoch. It does not know what is in a message; a
//! codec does.

mod connection;
mod error;
mod reader;
mod settings;
mod source;

pub use error::MqttError;
pub use settings::Mqtt;
pub use source::{Message, MqttPosition, MqttSource};

/// Every limit, with its reason.
pub mod limits {
    use std::time::Duration;

    /// Messages that have come and that the job has not taken yet. When there are so many nothing more is read from the
    /// broker, which keeps the rest.
    pub const QUEUE_MESSAGES: usize = 1024;

    /// Bytes of one message at most, unless said; a larger one ends the job with an error, because the broker would
    /// send it again and again. 1 MiB: what devices send has some hundred bytes.
    pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

    /// The pause before the first attempt to connect again; each further one is twice as long.
    pub const PAUSE_FIRST: Duration = Duration::from_millis(100);

    /// The longest pause between two attempts.
    pub const PAUSE_LONGEST: Duration = Duration::from_secs(10);

    /// For how long the broker may be away, unless said, before the job ends with an error: longer than it takes to
    /// restart.
    pub const PATIENCE: Duration = Duration::from_secs(300);

    /// How often the broker hears that the job is there, if there is nothing else to say.
    pub const KEEP_ALIVE: Duration = Duration::from_secs(30);

    /// For how long a reader that ends waits until its last acknowledgements are out.
    pub const FAREWELL: Duration = Duration::from_secs(2);
}
