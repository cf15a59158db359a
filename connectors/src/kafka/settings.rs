//! The settings of a client: the user's, ours, and those that must not be touched.
//!
//! Invariant: what a guarantee rests on has the value it needs, whatever the user set. Values never leave this
//! file except into the client.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::types::RDKafkaConfRes;

use super::secrets::{HIDDEN, Secrets};
use super::{
    Kafka, KafkaError, LINGER_MS, METADATA_REFRESH_MS, PREFETCH_KIB, PREFETCH_LOOK_MS, PRODUCER_QUEUE_KIB,
    STATISTICS_MS,
};

/// A setting that a guarantee rests on.
struct Needed {
    /// Its name and the other names librdkafka has for it; the first is the one that is set.
    names: &'static [&'static str],
    /// The value it has to have, and others that mean the same. Without one it must not be set at all.
    values: &'static [&'static str],
    /// What it would break.
    why: &'static str,
}

const FOR_BOTH: [Needed; 2] = [
    Needed {
        names: &["bootstrap.servers", "metadata.broker.list"],
        values: &[],
        why: "the brokers are given by `Kafka::at`",
    },
    Needed { names: &["group.id"], values: &[], why: "the group is given by `Kafka::group`" },
];

const FOR_SOURCES: [Needed; 7] = [
    Needed {
        names: &["enable.auto.commit", "auto.commit.enable"],
        values: &["false"],
        why: "offsets are committed after an epoch, never by a timer",
    },
    Needed {
        names: &["enable.auto.offset.store"],
        values: &["false"],
        why: "offsets are committed after an epoch, never by a timer",
    },
    Needed {
        names: &["auto.offset.reset"],
        values: &["error"],
        why: "an offset that is gone must stop the job and not skip records; where a new job begins is said by \
        `from_earliest` and `from_latest`",
    },
    Needed {
        names: &["isolation.level"],
        values: &["read_committed"],
        why: "records of aborted transactions must not be read",
    },
    Needed {
        names: &["enable.partition.eof"],
        values: &["true"],
        why: "readers find the end of a partition by it",
    },
    Needed {
        names: &["group.protocol"],
        values: &["classic"],
        why: "instances that share their input hand over all partitions at the end of an epoch",
    },
    Needed {
        names: &["partition.assignment.strategy"],
        values: &["range,roundrobin", "range", "roundrobin"],
        why: "instances that share their input hand over all partitions at the end of an epoch",
    },
];

const FOR_SINKS: [Needed; 5] = [
    Needed {
        names: &["enable.idempotence"],
        values: &["true"],
        why: "a repeated request must not write a record twice or out of order",
    },
    Needed {
        names: &["acks", "request.required.acks"],
        values: &["all", "-1"],
        why: "a record is durable when all replicas in sync have it",
    },
    Needed {
        names: &["delivery.report.only.error"],
        values: &["false"],
        why: "every acknowledgement is counted",
    },
    Needed {
        names: &["transactional.id"],
        values: &[],
        why: "transactions are named by `Kafka::exactly_once`; sinks without it write without transactions",
    },
    Needed { names: &["transaction.timeout.ms"], values: &[], why: "it follows from `Job::epoch_interval`" },
];

/// The group of clients without one of the user's: librdkafka assigns no partition without a group id. Nothing
/// joins it and nothing is committed to it.
const NO_GROUP: &str = "highwater-without-group";

impl Kafka {
    /// The settings of a consumer.
    pub(super) fn consumer_settings(&self) -> Result<ClientConfig, KafkaError> {
        let prefetch = PREFETCH_KIB.to_string();
        let look = PREFETCH_LOOK_MS.to_string();
        let refresh = METADATA_REFRESH_MS.to_string();
        let statistics = STATISTICS_MS.to_string();
        let habits = [
            ("queued.max.messages.kbytes", prefetch.as_str()),
            ("fetch.queue.backoff.ms", look.as_str()),
            ("topic.metadata.refresh.interval.ms", refresh.as_str()),
            ("statistics.interval.ms", statistics.as_str()),
            ("allow.auto.create.topics", "false"),
        ];
        let mut settings = self.settings_for(&FOR_SOURCES, &habits)?;
        settings.set("group.id", self.group.as_deref().unwrap_or(NO_GROUP));
        Ok(settings)
    }

    /// The settings of a producer.
    pub(super) fn producer_settings(&self) -> Result<ClientConfig, KafkaError> {
        let queue = PRODUCER_QUEUE_KIB.to_string();
        // librdkafka has two names for one setting: whichever the user chose, ours does not stand beside it.
        let of_user = self.settings.get("queue.buffering.max.ms").or(self.settings.get("linger.ms"));
        let linger = of_user.cloned().unwrap_or(LINGER_MS.to_string());
        let habits = [
            ("queue.buffering.max.kbytes", queue.as_str()),
            ("linger.ms", linger.as_str()),
            ("allow.auto.create.topics", "false"),
            ("partitioner", "murmur2_random"),
        ];
        self.settings_for(&FOR_SINKS, &habits)
    }

    /// How much a producer queues.
    pub(super) fn queue_bytes(&self) -> u64 {
        let set = self.settings.get("queue.buffering.max.kbytes").and_then(|kib| kib.trim().parse().ok());
        set.unwrap_or(u64::from(PRODUCER_QUEUE_KIB)) * 1024
    }

    /// The settings of the producer of transactions.
    pub(super) fn transaction_settings(
        &self,
        id: &str,
        timeout: Duration,
    ) -> Result<ClientConfig, KafkaError> {
        let mut settings = self.producer_settings()?;
        settings.set("transactional.id", id);
        settings.set("transaction.timeout.ms", timeout.as_millis().to_string());
        Ok(settings)
    }

    /// What must not be told of these settings.
    pub(super) fn secrets(&self) -> Secrets {
        Secrets::of(&self.settings)
    }

    fn settings_for(&self, needed: &[Needed], habits: &[(&str, &str)]) -> Result<ClientConfig, KafkaError> {
        if self.brokers.contains('@') {
            return Err(KafkaError::Setting {
                setting: "bootstrap.servers".to_owned(),
                reason: format!(
                    "`{}`: the address of a broker is `host:port`; give user and password by the settings \
                     `sasl.username` and `sasl.password`",
                    self.brokers
                ),
            });
        }
        let mut settings = ClientConfig::new();
        for (name, value) in habits {
            settings.set(*name, *value);
        }
        for (name, value) in &self.settings {
            settings.set(name, value);
        }
        for need in FOR_BOTH.iter().chain(needed) {
            for name in need.names {
                let Some(value) = self.settings.get(*name) else { continue };
                if !need.values.iter().any(|allowed| value.trim().eq_ignore_ascii_case(allowed)) {
                    let reason = match need.values.first() {
                        Some(value) => format!("it has to be `{value}`: {}", need.why),
                        None => need.why.to_owned(),
                    };
                    return Err(KafkaError::Setting { setting: (*name).to_owned(), reason });
                }
                settings.remove(name);
            }
            if let Some(value) = need.values.first() {
                settings.set(need.names[0], *value);
            }
        }
        settings.set("bootstrap.servers", &self.brokers);
        // The context passes what is worth knowing on to `tracing`.
        let all = self.settings.contains_key("debug");
        settings.set_log_level(if all { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Warning });
        Ok(settings)
    }

    /// What a refused client means for the user; librdkafka's own text may contain a setting's value.
    pub(super) fn refused(&self, error: ClientError) -> KafkaError {
        match error {
            ClientError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, _, setting, _) => {
                KafkaError::Setting { setting, reason: "librdkafka has no setting of this name".into() }
            }
            ClientError::ClientConfig(_, _, setting, _) => {
                KafkaError::Setting { setting, reason: "its value is none that librdkafka takes".into() }
            }
            ClientError::Nul(_) => KafkaError::Client {
                brokers: self.brokers.clone(),
                reason: "a setting contains a NUL character".into(),
            },
            ClientError::ClientCreation(reason) => {
                // Which setting it is about is not known, and any could hold something that is nobody's affair.
                let mut reason = self.secrets().hidden(&reason).into_owned();
                for value in self.settings.values().filter(|value| value.len() > 3) {
                    reason = reason.replace(value.as_str(), HIDDEN);
                }
                KafkaError::Client { brokers: self.brokers.clone(), reason }
            }
            other => KafkaError::Client { brokers: self.brokers.clone(), reason: other.to_string() },
        }
    }
}
