//! A broker of one's own: Mosquitto on a free port of loopback, with its messages in a temporary directory.
//!
//! Invariant: it ends with the test, also with one that fails.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use tempfile::TempDir;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Broker {
    directory: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Broker {
    /// A broker that runs; `None`, and a line that says so, where none is installed.
    pub fn start() -> Option<Broker> {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut broker = Broker { directory, port, process: None };
        if !broker.run() {
            println!("skipped: there is no mosquitto; scripts/servers installs it");
            return None;
        }
        Some(broker)
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts it on its directory, and waits until it listens.
    pub fn run(&mut self) -> bool {
        let place = self.directory.path();
        // As the superuser it would become another user, who may not write to the directory.
        let user = if std::fs::metadata("/proc/self").unwrap().uid() == 0 { "user root\n" } else { "" };
        let settings = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\n{user}persistence true\npersistence_location {}/\n\
             max_inflight_messages 0\nmax_queued_messages 0\n",
            self.port,
            place.display()
        );
        let file = place.join("mosquitto.conf");
        std::fs::write(&file, settings).unwrap();
        let spawned = ["mosquitto", "/usr/sbin/mosquitto"].iter().find_map(|name| {
            let mut command = Command::new(name);
            command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().ok()
        });
        let Some(process) = spawned else { return false };
        self.process = Some(process);
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && since.elapsed() < PATIENCE, "mosquitto does not listen: {ended:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// Ends it as a restart of its machine would; it writes down what it has.
    pub fn end(&mut self) {
        let mut process = self.process.take().unwrap();
        let ended = Command::new("kill").args(["-TERM", &process.id().to_string()]).status().unwrap();
        assert!(ended.success());
        process.wait().unwrap();
    }

    /// Publishes with QoS 1, and waits until the broker has all of them.
    pub fn publish(&self, messages: impl IntoIterator<Item = (String, String)>) {
        let mut options = MqttOptions::new("publisher", "127.0.0.1", self.port);
        options.set_clean_session(true);
        let (client, mut connection) = Client::new(options, 10);
        let messages: Vec<(String, String)> = messages.into_iter().collect();
        let mut left = messages.len();
        let sending = std::thread::spawn(move || {
            for (topic, payload) in messages {
                client.publish(topic, QoS::AtLeastOnce, false, payload).unwrap();
            }
            client
        });
        let since = Instant::now();
        while left > 0 {
            assert!(since.elapsed() < PATIENCE, "{left} messages are not acknowledged");
            if let Ok(Ok(Event::Incoming(Packet::PubAck(_)))) =
                connection.recv_timeout(Duration::from_millis(100))
            {
                left -= 1;
            }
        }
        drop(sending.join().unwrap());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let _ = process.kill();
        let _ = process.wait();
    }
}

/// A port that nobody has now.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
