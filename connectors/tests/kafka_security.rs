//! Brokers that want to know who comes: TLS and SASL against a real one, which `scripts/kafka` starts with a user, a
//! password and certificates that are made for it.
//!
//! Where the broker cannot be had (no Java, no Maven, no jars) the test says so and passes.

#![allow(clippy::unwrap_used)]

mod captured;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use highwater_connectors::kafka::Kafka;
use highwater_operators::batch::Batch;
use highwater_operators::codec::Text;
use highwater_operators::decide::{Marker, Terms};
use highwater_operators::sink::{Publish, Sink};
use highwater_operators::source::{Poll, Polled, Source};
use highwater_state::Epoch;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer};

const PATIENCE: Duration = Duration::from_secs(60);

/// What `scripts/kafka start --secure` says: where the listeners are, and what they want.
type Broker = BTreeMap<String, String>;

fn start() -> Option<Broker> {
    if std::env::var("HIGHWATER_KAFKA").is_ok_and(|wanted| wanted == "off") {
        println!("skipped: HIGHWATER_KAFKA is off");
        return None;
    }
    let directory = format!("{}/kafka-security-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka");
    let parent = std::process::id().to_string();
    let arguments = ["start", "--secure", "--parent", &parent, "--lifetime", "600", &directory];
    let output = Command::new(script).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => {
            let lines = String::from_utf8(output.stdout).unwrap();
            let pair =
                |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
            Some(lines.lines().filter_map(pair).collect())
        }
        Some(3) => {
            println!("skipped: {said}");
            None
        }
        code => panic!("scripts/kafka start --secure: {code:?}: {said}"),
    }
}

fn password(broker: &Broker) -> String {
    std::fs::read_to_string(&broker["password_file"]).unwrap()
}

/// Comes in with user and password.
fn with_password(broker: &Broker, protocol: &str, mechanism: &str) -> Kafka {
    let kafka = Kafka::at(&broker[protocol]).setting("security.protocol", protocol);
    let kafka = kafka.setting("sasl.mechanism", mechanism);
    let kafka = kafka.setting("sasl.username", &broker["user"]).setting("sasl.password", password(broker));
    if protocol == "sasl_ssl" { kafka.setting("ssl.ca.location", &broker["ca_file"]) } else { kafka }
}

/// Comes in with a certificate.
fn with_certificate(broker: &Broker) -> Kafka {
    let kafka = Kafka::at(&broker["ssl"]).setting("security.protocol", "ssl");
    let kafka = kafka.setting("ssl.ca.location", &broker["ca_file"]);
    let kafka = kafka.setting("ssl.keystore.location", &broker["client_keystore"]);
    kafka.setting("ssl.keystore.password", password(broker))
}

/// A topic, made by the listener without a password.
fn create(broker: &Broker, topic: &str) {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &broker["bootstrap"]).set("allow.auto.create.topics", "true");
    let admin: rdkafka::admin::AdminClient<_> = settings.create().unwrap();
    let made = futures_free(admin.create_topics(
        [&rdkafka::admin::NewTopic::new(topic, 1, rdkafka::admin::TopicReplication::Fixed(1))],
        &rdkafka::admin::AdminOptions::new().operation_timeout(Some(PATIENCE)),
    ));
    made.unwrap().into_iter().for_each(|made| drop(made.unwrap()));
    let client: BaseProducer = settings.create().unwrap();
    let end = Instant::now() + PATIENCE;
    let has_leader = || {
        let found = client.client().fetch_metadata(Some(topic), PATIENCE).unwrap();
        found.topics()[0].partitions().first().is_some_and(|partition| partition.leader() >= 0)
    };
    while !has_leader() {
        assert!(Instant::now() < end, "the topic gets no leader");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Drives a future in this thread.
fn futures_free<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn batch(text: &str) -> Batch<String> {
    Batch::untimed(vec![text.to_owned()])
}

fn write(kafka: &Kafka, topic: &str, text: &str) {
    let sink = kafka.sink(topic, Text);
    sink.recover(Epoch(0), &[]).unwrap();
    let mut writer = sink.open(0).unwrap();
    writer.write(&mut batch(text)).unwrap();
    writer.stage(Epoch(1)).unwrap();
}

/// The same in a transaction.
fn write_exactly_once(kafka: &Kafka, topic: &str, text: &str) {
    let sink = kafka.clone().exactly_once(topic).sink(topic, Text);
    let decider = sink.decider().unwrap();
    let terms = Terms { epoch_interval: Duration::from_secs(1), epoch_timeout: PATIENCE };
    assert_eq!(decider.look(&terms).unwrap(), None);
    assert_eq!(decider.take_over(&terms).unwrap(), None);
    let mut writer = sink.open(0).unwrap();
    writer.write(&mut batch(text)).unwrap();
    writer.stage(Epoch(1)).unwrap();
    decider.stage(&Marker { epoch: Epoch(1), state: 7, instance: 8 }).unwrap();
    decider.decide(Epoch(1)).unwrap();
    decider.leave();
}

fn read(kafka: &Kafka, topic: &str) -> Vec<String> {
    let source = kafka.source(topic, Text).until_end();
    let mut reader = source.open(&source.splits().unwrap()[0], None).unwrap();
    let mut polled = Polled::default();
    let end = Instant::now() + PATIENCE;
    while reader.poll(100, &mut polled).unwrap() != Poll::Finished {
        assert!(Instant::now() < end, "the end of the topic is not reached");
        thread::sleep(Duration::from_millis(5));
    }
    polled.values
}

/// What is said when the topic is asked for.
fn refusal(kafka: &Kafka) -> String {
    kafka.source("topic", Text).splits().expect_err("it must not be let in").to_string()
}

/// What is said when transactions are to be taken over.
fn transactions_refused(kafka: &Kafka) -> String {
    let sink = kafka.clone().exactly_once("once").sink("once", Text);
    let terms = Terms { epoch_interval: Duration::from_secs(1), epoch_timeout: PATIENCE };
    let decider = sink.decider().unwrap();
    let said = decider.take_over(&terms).expect_err("it must not be let in");
    format!("{said} {said:?} {}", decider.describe())
}

/// Settings that are wrong in one thing, and what must be said.
fn refused(broker: &Broker) -> Vec<(Kafka, &'static str)> {
    let scram = with_password(broker, "sasl_ssl", "SCRAM-SHA-512");
    // librdkafka at its most talkative: what it sends and gets is in the logs then.
    let scram = scram.setting("debug", "all");
    let plain = with_password(broker, "sasl_plaintext", "PLAIN").setting("debug", "all");
    let nobody = std::env::temp_dir().join("no-authority.pem").display().to_string();
    let stranger = Kafka::at(&broker["sasl_ssl"]).setting("security.protocol", "sasl_ssl");
    let stranger = stranger.setting("sasl.mechanism", "PLAIN").setting("sasl.username", &broker["user"]);
    let nameless = Kafka::at(&broker["ssl"]).setting("security.protocol", "ssl");
    vec![
        (scram.clone().setting("sasl.password", "canary-password"), "Authentication failed"),
        (plain.clone().setting("sasl.password", "canary-password"), "Authentication failed"),
        (plain.setting("sasl.username", "canary-username"), "Authentication failed"),
        (scram.clone().setting("ssl.ca.location", nobody), "no client"),
        // The certificate is not one that this machine trusts.
        (stranger.setting("sasl.password", password(broker)), "certificate verify failed"),
        (nameless.setting("ssl.ca.location", &broker["ca_file"]), "certificate"),
    ]
}

#[test]
fn brokers_let_in_who_they_know_and_say_why_they_do_not() {
    captured::begin();
    let Some(broker) = start() else { return };
    create(&broker, "topic");
    let clients = [
        with_password(&broker, "sasl_plaintext", "PLAIN"),
        with_password(&broker, "sasl_plaintext", "SCRAM-SHA-512"),
        with_password(&broker, "sasl_ssl", "PLAIN"),
        with_password(&broker, "sasl_ssl", "SCRAM-SHA-512"),
        with_certificate(&broker),
    ];
    let mut expected = Vec::new();
    for (number, kafka) in clients.iter().enumerate() {
        write(kafka, "topic", &format!("record {number}"));
        expected.push(format!("record {number}"));
        assert_eq!(read(kafka, "topic"), expected);
    }
    create(&broker, "once");
    write_exactly_once(&clients[3], "once", "record");
    assert_eq!(read(&clients[4], "once"), ["record"]);

    let said: Vec<_> = thread::scope(|scope| {
        let tries = refused(&broker).into_iter();
        let mut threads: Vec<_> =
            tries.map(|(kafka, word)| (scope.spawn(move || refusal(&kafka)), word)).collect();
        let stranger = clients[3].clone().setting("sasl.password", "canary-password");
        threads.push((scope.spawn(move || transactions_refused(&stranger)), "Authentication failed"));
        threads.into_iter().map(|(thread, word)| (thread.join().unwrap(), word)).collect()
    });
    let logged = captured::logged();
    let secrets = [password(&broker), broker["user"].clone(), "canary-".to_owned()];
    for (said, word) in &said {
        println!("{said}");
        assert!(said.contains(word), "nobody said `{word}`: {said}");
        assert!(secrets.iter().all(|secret| !said.contains(secret.as_str())), "a secret is told: {said}");
    }
    for secret in secrets {
        let told: Vec<_> = logged.lines().filter(|line| line.contains(&secret)).take(3).collect();
        assert!(told.is_empty(), "a secret is logged: {told:#?}");
    }
}
