//! The same by Highwater, with a state directory, one worker and epochs of 100 ms.

use highwater::prelude::*;
use highwater_benches::compare::run;
use highwater_benches::cpu::Taken;

use crate::mark::{Mark, Marked};
use crate::records::Visit;
use crate::way::{Orders, warm};

const EPOCH: Duration = Duration::from_millis(100);

pub fn bytes_exactly_once(orders: &Orders) -> Taken {
    copy::<Vec<u8>, Raw>(&Kafka::at(&orders.brokers).exactly_once(&orders.output), orders, Raw, Raw)
}

pub fn bytes_at_least_once(orders: &Orders) -> Taken {
    copy::<Vec<u8>, Raw>(&Kafka::at(&orders.brokers), orders, Raw, Raw)
}

pub fn json_exactly_once(orders: &Orders) -> Taken {
    let json = Json::<Visit>::new();
    copy(&Kafka::at(&orders.brokers).exactly_once(&orders.output), orders, json.clone(), json)
}

pub fn json_at_least_once(orders: &Orders) -> Taken {
    let json = Json::<Visit>::new();
    copy(&Kafka::at(&orders.brokers), orders, json.clone(), json)
}

fn copy<T, C>(kafka: &Kafka, orders: &Orders, read: C, write: C) -> Taken
where
    T: Send + 'static,
    C: Decode<T> + Encode<T>,
{
    let mark = Mark::behind(warm(orders.records));
    let state = tempfile::tempdir().expect("a directory for the state can be made");
    let topology = Topology::new("copy");
    let input = kafka.source(&orders.input, Marked(read, mark.clone())).until_end();
    topology.source("input", input).sink("output", kafka.sink(&orders.output, write));
    let taken = run(Job::new(topology).state(state.path()).epoch_interval(EPOCH));
    assert_eq!(taken, orders.records, "not all records were read");
    mark.taken()
}
