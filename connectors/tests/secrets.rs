//! No secret is told: not in a log of any level, not in an error, not in `Debug`.
//!
//! Settings that let somebody in get values that occur nowhere else, canaries; then everything is made to fail that can
//! fail without a broker, with librdkafka at its most talkative, and what was said is searched for them.

mod captured;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use highwater_connectors::kafka::{Kafka, KafkaSink, KafkaSource};
use highwater_operators::codec::Raw;
use highwater_operators::decide::Terms;
use highwater_operators::error::Cause;
use highwater_operators::sink::{Publish, Sink};
use highwater_operators::source::Source;
use highwater_state::Epoch;

/// What every canary begins with.
const CANARY: &str = "canary-";

/// Settings that are secret, with a canary each.
const SECRET: [(&str, &str); 4] = [
    ("sasl.username", "canary-username"),
    ("sasl.password", "canary-password"),
    ("ssl.key.password", "canary-key-password"),
    ("ssl.keystore.password", "canary-keystore-password"),
];

/// No PEM, but in the form of one.
const KEY: &str = "-----BEGIN PRIVATE KEY-----\ncanary-line-1\ncanary-line-2\n-----END PRIVATE KEY-----\n";

fn kafka(brokers: &str) -> Kafka {
    let talkative = Kafka::at(brokers).setting("debug", "all").setting("statistics.interval.ms", "100");
    SECRET.into_iter().fold(talkative, |kafka, (name, value)| kafka.setting(name, value))
}

/// All that can be asked of a cluster, and what is said when it fails.
fn failures(kafka: &Kafka) -> Vec<String> {
    let source: KafkaSource<Vec<u8>> = kafka.source("topic", Raw);
    let sink: KafkaSink<Vec<u8>> = kafka.sink("topic", Raw);
    let exactly_once: KafkaSink<Vec<u8>> = kafka.clone().exactly_once("name").sink("topic", Raw);
    let mut said = vec![format!("{kafka:?} {source:?} {sink:?} {exactly_once:?}")];
    let terms = Terms { epoch_interval: Duration::from_secs(1), epoch_timeout: Duration::from_secs(1) };
    let decider = exactly_once.decider().expect("it has transactions");
    said.push(decider.describe());
    let failed: Vec<Option<Cause>> = thread::scope(|scope| {
        let tries: [Box<dyn FnOnce() -> Option<Cause> + Send>; 4] = [
            Box::new(|| source.splits().err()),
            Box::new(|| sink.recover(Epoch(0), &[]).err()),
            Box::new(|| sink.open(0).err()),
            Box::new(|| decider.look(&terms).err()),
        ];
        let threads = tries.map(|one| scope.spawn(one));
        threads.into_iter().map(|thread| thread.join().expect("nothing panics")).collect()
    });
    said.extend(failed.iter().flatten().map(|cause| format!("{cause} {cause:?}")));
    said
}

/// Asserts that it failed, with a word that helps, and that nothing said holds a canary.
fn failed_with(kafka: &Kafka, word: &str) {
    let said = failures(kafka);
    assert!(said.iter().any(|said| said.contains(word)), "nobody said `{word}`: {said:#?}");
    for said in said {
        assert!(!said.contains(CANARY), "a secret is told: {said}");
    }
}

/// Accepts connections and answers with what is no answer.
fn nonsense() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let answer = |mut connection: TcpStream| -> std::io::Result<()> {
                let mut request = [0; 512];
                while connection.read(&mut request)? > 0 {
                    connection.write_all(b"\0\0\0\x10HTTP/1.1 400 Bad")?;
                }
                Ok(())
            };
            let _ = answer(connection);
        }
    });
    address
}

#[test]
fn no_secret_is_told() {
    captured::begin();
    let nobody = "127.0.0.1:1";
    let somebody = nonsense();
    thread::scope(|scope| {
        // Nobody answers, in each way of coming in.
        for (protocol, mechanism) in [
            ("sasl_plaintext", "PLAIN"),
            ("sasl_ssl", "SCRAM-SHA-512"),
            ("ssl", "PLAIN"),
            ("plaintext", "PLAIN"),
        ] {
            for address in [nobody, &somebody] {
                let kafka = kafka(address).setting("security.protocol", protocol);
                let kafka = kafka.setting("sasl.mechanism", mechanism);
                scope.spawn(move || failed_with(&kafka, "gave no answer"));
            }
        }
    });
    // What is refused before anything is asked.
    let refused = [
        ("sasl.mechanism", "canary-mechanism", "sasl.mechanism"),
        ("security.protocol", "canary-protocol", "security.protocol"),
        ("canary.setting.password", "canary-value", "no setting of this name"),
        ("isolation.level", "canary-level", "isolation.level"),
        ("group.id", "canary-group", "group.id"),
        ("acks", "canary-acks", "acks"),
        ("sasl.password", "canary\0password", "NUL"),
        ("ssl.ca.location", "/canary-place/ca.pem", "no client"),
        ("ssl.certificate.location", "/canary-place/certificate.pem", "no client"),
        ("ssl.key.pem", KEY, "no client"),
        ("ssl.certificate.pem", KEY, "no client"),
        ("ssl.keystore.location", "/canary-place/keystore.p12", "no client"),
    ];
    for (name, value, word) in refused {
        let kafka = kafka(nobody).setting("security.protocol", "sasl_ssl").setting("sasl.mechanism", "PLAIN");
        let kafka = kafka.setting(name, value);
        let said = failures(&kafka).join("\n");
        assert!(said.contains(word), "nobody said `{word}` of {name}: {said}");
        assert!(!said.replace("canary.setting", "").contains("canary"), "a secret is told: {said}");
    }
    // In the address.
    for brokers in
        ["canary-user:canary-password@127.0.0.1:1", "a:1,SASL_SSL://canary-user:can@ry@127.0.0.1:1"]
    {
        failed_with(&kafka(brokers), "`sasl.username` and `sasl.password`");
    }
    let logged = captured::logged();
    assert!(
        logged.contains("librdkafka") && logged.contains("TRACE"),
        "the logs were not captured: {logged}"
    );
    let told: Vec<_> = logged.lines().filter(|line| line.contains(CANARY)).take(5).collect();
    assert!(told.is_empty(), "a secret is logged: {told:#?}");
    assert!(logged.contains("sasl.password ="), "librdkafka was to log its settings");
}
