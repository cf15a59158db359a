//! The thread that talks to the broker: connects, subscribes, passes on what comes, connects again.
//!
//! Invariant: messages are passed on in the order in which they came, each with the number of the session that it
//! belongs to, because a packet's number means something in its session only. Acknowledgements go through
//! [`Connected::client`]; this thread makes up none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded};
use rumqttc::{
    Client, ConnectReturnCode, Connection, ConnectionError, Event, MqttOptions, Outgoing, Packet, Publish,
    QoS, RecvTimeoutError, StateError, SubscribeFilter, SubscribeReasonCode,
};

use crate::error::MqttError;
use crate::limits::{FAREWELL, PAUSE_FIRST, PAUSE_LONGEST, QUEUE_MESSAGES};
use crate::settings::Mqtt;

/// Requests that wait for the connection: acknowledgements; more wait at the reader.
const REQUESTS: usize = 256;

/// How long the thread waits at most before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// What the thread passes on.
pub(crate) enum News {
    /// A message, and the session in which it came.
    Message { session: u64, publish: Publish },
    /// There will be nothing more.
    Failed(MqttError),
}

/// A connection that is kept up by a thread.
pub(crate) struct Connected {
    pub(crate) client: Client,
    pub(crate) news: Receiver<News>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Connected {
    pub(crate) fn open(mqtt: &Mqtt, filters: &[String]) -> Result<Connected, MqttError> {
        let (client, connection) = Client::new(with_window(mqtt.options()?), REQUESTS);
        let (out, news) = bounded(QUEUE_MESSAGES);
        let ending = Arc::new(AtomicBool::new(false));
        let keeping = Keeping {
            client: client.clone(),
            mqtt: mqtt.clone(),
            filters: filters.to_vec(),
            out,
            ending: Arc::clone(&ending),
            session: 0,
            away_since: Some(Instant::now()),
            subscribes: false,
            leaves: false,
            pause: PAUSE_FIRST,
        };
        let thread =
            std::thread::Builder::new().name("mqtt".to_owned()).spawn(move || keeping.keep(connection));
        let failed = |error: std::io::Error| MqttError::Away {
            broker: mqtt.broker.clone(),
            since: Duration::ZERO,
            reason: format!("there is no thread for it: {error}"),
        };
        Ok(Connected { client, news, ending, thread: Some(thread.map_err(failed)?) })
    }
}

/// Nothing is ever published, so that the window of what is on its way out does not matter; it must not be zero.
fn with_window(mut options: MqttOptions) -> MqttOptions {
    options.set_inflight(1);
    options
}

impl Drop for Connected {
    fn drop(&mut self) {
        // Behind the acknowledgements that were sent before.
        let is_asked = self.client.try_disconnect().is_ok();
        let since = Instant::now();
        let Some(thread) = self.thread.take() else { return };
        while is_asked && !thread.is_finished() && since.elapsed() < FAREWELL {
            // Nobody wants what still comes; it was not acknowledged.
            while self.news.try_recv().is_ok() {}
            std::thread::sleep(Duration::from_millis(1));
        }
        self.ending.store(true, Ordering::Relaxed);
        while !thread.is_finished() && since.elapsed() < 2 * FAREWELL {
            while self.news.try_recv().is_ok() {}
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

struct Keeping {
    client: Client,
    mqtt: Mqtt,
    filters: Vec<String>,
    out: Sender<News>,
    ending: Arc<AtomicBool>,
    session: u64,
    /// Since when there is no connection, if there is none.
    away_since: Option<Instant>,
    /// The filters are still to be said.
    subscribes: bool,
    /// The broker has been told that nobody reads any more.
    leaves: bool,
    pause: Duration,
}

/// Why the thread ends.
enum Over {
    Asked,
    Failed(MqttError),
}

impl Keeping {
    fn keep(mut self, mut connection: Connection) {
        loop {
            self.subscribe();
            let over = match connection.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => Err(Over::Asked),
                Ok(Ok(event)) => self.happens(event),
                Ok(Err(error)) => self.breaks(error),
            };
            match over {
                Ok(()) => {}
                Err(Over::Asked) => return,
                Err(Over::Failed(error)) => {
                    let _ = self.pass(News::Failed(error));
                    return;
                }
            }
        }
    }

    fn look(&self) -> Result<(), Over> {
        if self.ending.load(Ordering::Relaxed) { Err(Over::Asked) } else { Ok(()) }
    }

    /// Waits until there is room: the broker keeps what is not read.
    fn pass(&self, news: News) -> Result<(), Over> {
        let mut news = news;
        loop {
            match self.out.send_timeout(news, LOOK) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Disconnected(_)) => return Err(Over::Asked),
                Err(SendTimeoutError::Timeout(back)) => news = back,
            }
            self.look()?;
        }
    }

    fn happens(&mut self, event: Event) -> Result<(), Over> {
        match event {
            Event::Incoming(Packet::ConnAck(answer)) => {
                if answer.code != ConnectReturnCode::Success {
                    return Err(self.refused(answer.code));
                }
                self.pause = PAUSE_FIRST;
                if !answer.session_present {
                    self.session += 1;
                }
                tracing::info!(broker = self.mqtt.broker, kept = answer.session_present, "connected");
                // Also where the session was kept: the filters may be others than before.
                (self.away_since, self.subscribes) = (None, true);
                Ok(())
            }
            Event::Incoming(Packet::SubAck(answer)) => {
                let of = answer.return_codes.iter().zip(&self.filters);
                for (code, filter) in of {
                    if *code == SubscribeReasonCode::Failure {
                        let (broker, client) = (self.mqtt.broker.clone(), self.mqtt.client.clone());
                        let filter = filter.clone();
                        return Err(Over::Failed(MqttError::Forbidden { broker, client, filter }));
                    }
                }
                Ok(())
            }
            Event::Incoming(Packet::Publish(publish)) => {
                self.pass(News::Message { session: self.session, publish })
            }
            // The broker hangs up when it has read this, and with it every acknowledgement before it.
            Event::Outgoing(Outgoing::Disconnect) => {
                self.leaves = true;
                Ok(())
            }
            Event::Incoming(_) | Event::Outgoing(_) => Ok(()),
        }
    }

    /// Says the filters as soon as there is room between the acknowledgements.
    fn subscribe(&mut self) {
        if self.subscribes {
            let filters = self.filters.iter();
            let filters = filters.map(|filter| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce));
            self.subscribes = self.client.try_subscribe_many(filters).is_err();
        }
    }

    fn refused(&self, code: ConnectReturnCode) -> Over {
        let (broker, client) = (self.mqtt.broker.clone(), self.mqtt.client.clone());
        Over::Failed(MqttError::Refused { broker, client, reason: format!("{code:?}") })
    }

    /// The connection is no more: waits a little, and longer each time; the next call connects.
    fn breaks(&mut self, error: ConnectionError) -> Result<(), Over> {
        self.look()?;
        if self.leaves {
            return Err(Over::Asked);
        }
        if let ConnectionError::ConnectionRefused(
            code @ (ConnectReturnCode::BadUserNamePassword
            | ConnectReturnCode::NotAuthorized
            | ConnectReturnCode::BadClientId
            | ConnectReturnCode::RefusedProtocolVersion),
        ) = error
        {
            return Err(self.refused(code));
        }
        if let ConnectionError::MqttState(StateError::Deserialization(
            rumqttc::mqttbytes::Error::PayloadSizeLimitExceeded(bytes),
        )) = error
        {
            // It would come again and again.
            let (broker, limit) = (self.mqtt.broker.clone(), self.mqtt.message_bytes);
            return Err(Over::Failed(MqttError::TooLarge { broker, bytes, limit }));
        }
        self.subscribes = false;
        let since = self.away_since.get_or_insert_with(Instant::now).elapsed();
        tracing::warn!(broker = self.mqtt.broker, ?since, "no connection: {error}; tries again");
        if since >= self.mqtt.patience {
            let (broker, reason) = (self.mqtt.broker.clone(), error.to_string());
            return Err(Over::Failed(MqttError::Away { broker, since, reason }));
        }
        let until = Instant::now() + self.pause;
        while Instant::now() < until {
            std::thread::sleep(LOOK.min(self.pause));
            self.look()?;
        }
        self.pause = (self.pause * 2).min(PAUSE_LONGEST);
        Ok(())
    }
}
