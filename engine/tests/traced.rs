//! The way of one order through two topologies that talk through a log, as the lines of `tracing` tell it.
//!
//! If this fails, someone who looks for a correlation id in the logs misses a place that a record passed, or does not
//! see which topology it was.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use highwater::prelude::*;
use serde::{Deserialize, Serialize};

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Order {
    correlation: String,
    price: u64,
}

/// What was written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn one_search_finds_what_happened_to_an_order_in_every_topology() {
    let lines = Lines::default();
    let written = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || written.clone())
        .with_ansi(false)
        .init();

    let log = Log::in_memory();
    log.topic("priced", 1).expect("it is made");
    let ordering = Topology::new("ordering");
    let orders = (0..10).map(|n| Order { correlation: format!("c-{n}"), price: n });
    ordering
        .source("orders", Memory::source(orders))
        .event_time(|order| Timestamp::from_millis(order.price as i64), Duration::ZERO)
        .traced("ordered", |order| order.correlation.clone())
        .map(|order| Order { price: order.price * 2, ..order })
        .sink("priced", log.producer("ordering").sink("priced", Json::new()));
    Job::new(ordering).run().expect("it runs");

    let (shipping, shipped) = (Topology::new("shipping"), Memory::sink());
    shipping
        .source("priced", log.source("priced", Json::<Order>::new()))
        .traced("shipped", |order| order.correlation.clone())
        .sink("shipped", shipped.clone());
    let running = Job::new(shipping).epoch_interval(Duration::from_millis(10)).start().expect("it starts");
    let (since, mut count) = (Instant::now(), 0);
    while count < 10 {
        assert!(since.elapsed() < PATIENCE, "{count} orders are shipped");
        count += shipped.take().len();
        std::thread::sleep(Duration::from_millis(1));
    }
    running.stop();
    running.wait().expect("it stops");

    let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("it is text");
    let found: Vec<&str> = text.lines().filter(|line| line.contains("correlation_id=c-7")).collect();
    let [ordered, shipped] = found[..] else { panic!("{found:#?}") };
    for part in
        ["DEBUG", "worker{topology=\"ordering\"", "highwater::record", "at=\"ordered\"", "event_time=7"]
    {
        assert!(ordered.contains(part), "{part}: {ordered}");
    }
    for part in ["worker{topology=\"shipping\"", "at=\"shipped\""] {
        assert!(shipped.contains(part), "{part}: {shipped}");
    }
}
