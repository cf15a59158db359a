//! Records that could not be decoded, as records of a topic.
//!
//! The payload is the bytes that were read, unchanged, so that they can be sent again when the program has learnt to
//! read them; why and where from stand in the headers. It knows nothing of how a topic is written: with
//! [`exactly_once`](Kafka::exactly_once) each bad record is in the topic once, as every other record of a sink.

use highwater_operators::codec::Encode;
use highwater_operators::source::{BadRecord, Origin};

use super::sink::Headers;
use super::{Kafka, KafkaSink};

/// The payload is the record's bytes as they were read.
struct AsItWas;

impl Encode<BadRecord> for AsItWas {
    fn encode(&self, bad: &BadRecord, into: &mut Vec<u8>) -> Result<(), String> {
        into.extend_from_slice(&bad.raw);
        Ok(())
    }
}

impl Kafka {
    /// Writes bad records to a topic, which must exist: the bytes as they were read as payload, and as headers
    ///
    /// - `reason`: why they are no record;
    /// - `topic`, `partition` and `offset`, or `file` and `line`, or `origin`: where they came from. Numbers are
    ///   decimal text.
    ///
    /// ```no_run
    /// use highwater_connectors::kafka::Kafka;
    /// use highwater_operators::codec::Json;
    /// use highwater_operators::topology::Topology;
    ///
    /// let kafka = Kafka::at("localhost:9092").exactly_once("views");
    /// let topology = Topology::new("views");
    /// let clicks = topology.try_source("clicks", kafka.source("clicks", Json::<u64>::new()));
    /// let (clicks, bad) = clicks.or_dead_letter();
    /// bad.sink("bad clicks", kafka.dead_letters("clicks-bad"));
    /// clicks.sink("views", kafka.sink("views", Json::<u64>::new()));
    /// ```
    pub fn dead_letters(&self, topic: impl Into<String>) -> KafkaSink<BadRecord> {
        self.sink(topic, AsItWas).headers(headers)
    }
}

fn headers(bad: &BadRecord) -> Headers {
    let mut headers: Headers = vec![("reason", bad.reason.clone().into_bytes())];
    let mut add = |name, text: String| headers.push((name, text.into_bytes()));
    match &bad.origin {
        Origin::Topic { topic, partition, offset } => {
            add("topic", topic.clone());
            add("partition", partition.to_string());
            add("offset", offset.to_string());
        }
        Origin::File { file, line } => {
            add("file", file.clone());
            add("line", line.to_string());
        }
        other => add("origin", other.to_string()),
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(origin: Origin) -> Vec<(&'static str, String)> {
        let bad = BadRecord { raw: vec![0xff], reason: "not UTF-8".to_owned(), origin };
        let shown = |(name, value)| (name, String::from_utf8(value).expect("headers are text"));
        headers(&bad).into_iter().map(shown).collect()
    }

    #[test]
    fn headers_say_why_and_where_from() {
        let from_topic = of(Origin::Topic { topic: "t".to_owned(), partition: 3, offset: 9001 });
        let meant = [("reason", "not UTF-8"), ("topic", "t"), ("partition", "3"), ("offset", "9001")];
        assert_eq!(from_topic, meant.map(|(name, value)| (name, value.to_owned())));
        let from_file = of(Origin::File { file: "a.log".to_owned(), line: 17 });
        let meant = [("reason", "not UTF-8"), ("file", "a.log"), ("line", "17")];
        assert_eq!(from_file, meant.map(|(name, value)| (name, value.to_owned())));
        let from_elsewhere = of(Origin::Text("a queue".to_owned()));
        assert_eq!(from_elsewhere[1], ("origin", "a queue".to_owned()));
    }
}
