//! `GET /metrics`: counts and gauges in the text form of Prometheus.
//!
//! What is counted is read as it is: nothing here is on the way of a record. Rates and quantiles are for who reads it:
//! `rate(highwater_records_in_total[1m])`, `histogram_quantile(0.99, rate(highwater_latency_seconds_bucket[1m]))`.

use std::fmt::{Display, Write};
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use highwater::prelude::{NodeReport, Timestamp};
use highwater::query::{Health, Queries, View};
use serde_json::Value;

use crate::failure::Failure;
use crate::server::Site;

pub(crate) async fn metrics(State(site): State<Site>) -> Result<Response, Failure> {
    let live = site.live.clone();
    // Without a view when the job has ended: its counts are still there.
    let text = site.read(move || Ok(write(&live.current(), live.view().ok().as_ref()))).await?;
    let form = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((form, text).into_response())
}

fn write(queries: &Queries, view: Option<&View>) -> String {
    let mut text = Exposition::default();
    of_job(&mut text, queries);
    let nodes = queries.counters();
    of_nodes(&mut text, &nodes);
    of_gauges(&mut text, queries, &nodes);
    if let Some(view) = view {
        of_sources(&mut text, view);
    }
    text.0
}

fn of_job(text: &mut Exposition, queries: &Queries) {
    let (health, epochs) = (queries.health(), queries.epochs());
    text.family("highwater_up", "gauge", "1 while the job runs.");
    let topology = queries.topology();
    text.sample("highwater_up", &[("topology", topology)], u8::from(health == Health::Running));
    text.one("highwater_epoch", "gauge", "The last epoch that ended.", epochs.last.0);
    text.one("highwater_epoch_age_seconds", "gauge", "Time since it ended.", seconds(epochs.age));
    text.one("highwater_epochs_total", "counter", "Epochs that have ended since the start.", epochs.count);
    let help = "How long epochs took from the order to end them until they were published.";
    text.family("highwater_epoch_seconds", "summary", help);
    text.sample("highwater_epoch_seconds_sum", &[], seconds(epochs.all_took));
    text.sample("highwater_epoch_seconds_count", &[], epochs.count);
    let took = seconds(epochs.last_took);
    text.one("highwater_epoch_last_seconds", "gauge", "How long the last one took.", took);
}

/// The labels by which an operator is told from the others.
fn labels<'l>(number: &'l str, node: &'l NodeReport) -> [(&'static str, &'l str); 3] {
    [("node", number), ("verb", node.verb), ("name", node.name.as_deref().unwrap_or_default())]
}

fn of_nodes(text: &mut Exposition, nodes: &[NodeReport]) {
    type Count = fn(&NodeReport) -> u64;
    let counts: [(&str, &str, Count); 4] = [
        ("highwater_records_in_total", "Records that went into an operator.", |node| node.records_in),
        ("highwater_records_out_total", "Records that came out of an operator.", |node| node.records_out),
        ("highwater_records_skipped_total", "Bad records that were skipped.", |node| node.skipped),
        (
            "highwater_runs_dropped_total",
            "Runs of a pattern that were dropped, too many for their key.",
            |node| node.runs_dropped,
        ),
    ];
    for (name, help, count) in counts {
        text.family(name, "counter", help);
        for (number, node) in nodes.iter().enumerate() {
            text.sample(name, &labels(&number.to_string(), node), count(node));
        }
    }
    let (name, help) = (
        "highwater_records_aside_total",
        "Records that went to a further output, taken or not: late ones, refused ones (dead letters), others.",
    );
    text.family(name, "counter", help);
    for (number, node) in nodes.iter().enumerate() {
        let number = number.to_string();
        let [node_label, verb, called] = labels(&number, node);
        text.sample(name, &[node_label, verb, called, ("kind", node.aside().name())], node.records_aside);
    }
}

fn of_gauges(text: &mut Exposition, queries: &Queries, nodes: &[NodeReport]) {
    let gauges = queries.gauges();
    text.one("highwater_workers", "gauge", "Threads that run the topology.", gauges.workers);
    let help = "Bytes of the rows that operators have in memory.";
    text.one("highwater_table_bytes", "gauge", help, gauges.table_bytes);
    let help = "Rows of state that operators asked for.";
    text.one("highwater_rows_asked_total", "counter", help, gauges.rows_asked);
    let help = "Rows of them that were not in memory and were looked for on disk; the others are hits.";
    text.one("highwater_rows_read_total", "counter", help, gauges.rows_read);
    text.family("highwater_state_rows", "gauge", "About how many rows of state are committed.");
    for size in &gauges.families {
        text.sample("highwater_state_rows", &[("family", size.family.name())], size.rows);
    }
    text.family("highwater_state_bytes", "gauge", "About how many bytes they take.");
    for size in &gauges.families {
        let Some(bytes) = size.bytes else { continue };
        text.sample("highwater_state_bytes", &[("family", size.family.name())], bytes);
    }
    let name = "highwater_queue_batches";
    text.family(name, "gauge", "Batches that wait for an operator on their way from other workers.");
    for (number, waiting) in &gauges.queues {
        let Some(node) = nodes.get(*number) else { continue };
        text.sample(name, &labels(&number.to_string(), node), waiting);
    }
    let name = "highwater_consumer_lag";
    text.family(
        name,
        "gauge",
        "Records of a split that are still to be read, about, at the end of an epoch.",
    );
    for (source, split, lag) in &gauges.lags {
        text.sample(name, &[("source", source), ("split", split)], lag);
    }
    let name = "highwater_watermark_seconds";
    text.family(name, "gauge", "How far event time has come at an operator, in seconds since 1970.");
    for (number, (node, watermark)) in nodes.iter().zip(&gauges.watermarks).enumerate() {
        let Some(watermark) = watermark else { continue };
        text.sample(name, &labels(&number.to_string(), node), time(*watermark));
    }
    let name = "highwater_latency_seconds";
    text.family(name, "histogram", "Age of records by their event time when a sink takes them.");
    for (number, (node, latency)) in nodes.iter().zip(&gauges.latencies).enumerate() {
        if latency.count == 0 {
            continue;
        }
        let (number, mut below) = (number.to_string(), 0);
        let [node_label, verb, called] = labels(&number, node);
        for (end, count) in &latency.buckets {
            below += count;
            let end = end.map_or("+Inf".to_owned(), |end| seconds(end).to_string());
            let labels = [node_label, verb, called, ("le", end.as_str())];
            text.sample("highwater_latency_seconds_bucket", &labels, below);
        }
        let labels = [node_label, verb, called];
        text.sample("highwater_latency_seconds_sum", &labels, seconds(latency.sum));
        text.sample("highwater_latency_seconds_count", &labels, latency.count);
    }
}

fn of_sources(text: &mut Exposition, view: &View) {
    let name = "highwater_source_position";
    text.family(name, "gauge", "How far a split had been read in the last epoch: an offset or a count.");
    for at in view.positions().iter() {
        let position = serde_json::from_str(at.json).ok().as_ref().and_then(number);
        let Some(position) = position else { continue };
        text.sample(name, &[("source", at.source), ("split", at.split)], position);
    }
    let name = "highwater_split_watermark_seconds";
    text.family(
        name,
        "gauge",
        "Event time of a split in the last epoch; the least holds back the watermark.",
    );
    for split in view.split_watermarks().unwrap_or_default() {
        let labels = [("source", split.source.as_str()), ("split", split.split.as_str())];
        text.sample(name, &labels, time(split.watermark));
    }
}

/// The number in a position: itself, or the first one in what it is made of.
fn number(position: &Value) -> Option<f64> {
    match position {
        Value::Number(number) => number.as_f64(),
        Value::Object(fields) => fields.values().find_map(Value::as_f64),
        _ => None,
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn time(time: Timestamp) -> String {
    match time {
        Timestamp::MAX => "+Inf".to_owned(),
        Timestamp::MIN => "-Inf".to_owned(),
        time => (time.as_millis() as f64 / 1000.0).to_string(),
    }
}

/// Text in the form of Prometheus.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // A text takes whatever is written to it.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Exposition::default();
        text.family("m", "gauge", "A measure.");
        text.sample("m", &[("a", "x\"\\\ny"), ("b", "")], 1.5);
        assert_eq!(text.0, "# HELP m A measure.\n# TYPE m gauge\nm{a=\"x\\\"\\\\\\ny\",b=\"\"} 1.5\n");
    }

    #[test]
    fn a_position_of_several_parts_shows_its_first_number() {
        assert_eq!(number(&serde_json::json!({"next_offset": 9})), Some(9.0));
        assert_eq!(number(&serde_json::json!("x")), None);
        assert_eq!(time(Timestamp::MAX), "+Inf");
        assert_eq!(time(Timestamp::from_millis(1500)), "1.5");
    }
}
