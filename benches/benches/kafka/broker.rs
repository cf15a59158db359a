//! A broker for the benchmark, which `scripts/kafka` starts and which ends with this process; or one that runs
//! already.

use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

const PATIENCE: Duration = Duration::from_secs(60);

/// Where topics are made.
pub struct Broker {
    address: String,
    /// Of a broker that was started here.
    place: Option<tempfile::TempDir>,
}

impl Broker {
    pub fn at(address: &str) -> Broker {
        Broker { address: address.to_owned(), place: None }
    }

    /// A new broker; `None`, and a word about it, where none can be had.
    pub fn start() -> Option<Broker> {
        if std::env::var("HIGHWATER_KAFKA").is_ok_and(|wanted| wanted == "off") {
            println!("skipped: HIGHWATER_KAFKA is off");
            return None;
        }
        let place = tempfile::tempdir().expect("a directory for the broker can be made");
        let parent = std::process::id().to_string();
        let output = script().args(["start", "--parent", &parent]).arg(place.path()).output();
        let output = output.expect("scripts/kafka can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => {
                let address = String::from_utf8_lossy(&output.stdout);
                let address = address.trim().strip_prefix("bootstrap=").expect("it says where it is");
                Some(Broker { address: address.to_owned(), place: Some(place) })
            }
            Some(3) => {
                println!("skipped: {said}");
                None
            }
            code => panic!("scripts/kafka start: {code:?}: {said}"),
        }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let made = ClientConfig::new().set("bootstrap.servers", &self.address).create();
        made.expect("an address is all that a client needs")
    }

    /// Makes a topic and waits until the broker knows it.
    pub fn create(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        // A segment that is small is gone soon after its topic.
        let new = new.set("file.delete.delay.ms", "1000");
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let admin = self.admin();
        let made = wait(admin.create_topics([&new], &options)).expect("the broker answers");
        made.into_iter().for_each(|made| drop(made.expect("the topic can be made")));
        let ask = || admin.inner().fetch_metadata(Some(topic), PATIENCE).expect("the broker answers");
        while ask().topics()[0].partitions().len() < partitions as usize {
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn delete(&self, topic: &str) {
        let deleted = wait(self.admin().delete_topics(&[topic], &AdminOptions::new()));
        deleted.expect("the broker answers");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            let _ = script().arg("stop").arg(place.path()).output();
        }
    }
}

fn script() -> Command {
    Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka"))
}

fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park_timeout(Duration::from_secs(1)),
        }
    }
}
