//! Two-stage aggregation on several workers: the results are those of a count by hand, and of a key that holds half
//! of all records, only parts cross. If a test fails here, combining before the exchange loses or repeats records,
//! hides late ones, or does not combine (HW-1, HW-6, HW-8).

use std::collections::BTreeMap;

use highwater::prelude::*;

const SPLITS: u64 = 4;
const RECORDS: u64 = 20_000;
const WINDOW: i64 = 1_000;

/// A key, a value, and the time in milliseconds. Half of all records have the key 0.
type Rec = (u64, i64, i64);

/// Each split is in the order of its times, but that every thousandth record comes far too late.
fn splits() -> Vec<Vec<Rec>> {
    let record = |split: u64, n: u64| {
        let mixed = (split * RECORDS + n).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let key = if mixed.is_multiple_of(2) { 0 } else { 1 + mixed / 2 % 500 };
        let late = if n % 1000 == 999 { 8_000 } else { 0 };
        (key, (mixed % 97) as i64 - 40, n as i64 - 500 - late)
    };
    (0..SPLITS).map(|split| (0..RECORDS).map(|n| record(split, n)).collect()).collect()
}

fn keyed(topology: &Topology, splits: Vec<Vec<Rec>>) -> KeyedStream<u64, Rec> {
    let records = topology.source("records", Memory::splits(splits));
    let timed = records.event_time(|record| Timestamp::from_millis(record.2), Duration::ZERO);
    timed.key_by(|record| record.0)
}

fn run(topology: Topology, workers: usize) -> Report {
    let report = Job::new(topology).workers(workers).memory(64 << 20).run().expect("the job runs");
    assert!(report.finished);
    report
}

fn records_into(report: &Report, name: &str) -> u64 {
    let node = report.nodes.iter().find(|node| node.name.as_deref() == Some(name));
    node.expect("the node is reported").records_in
}

#[test]
fn a_hot_key_crosses_once_a_batch_and_every_window_is_right() {
    for workers in [1, 2, 4] {
        let topology = Topology::new("windows");
        let sink = Memory::sink();
        let size = Duration::from_millis(WINDOW as u64);
        // One split: what is late does not depend on how splits are read in turn.
        let records = splits().swap_remove(0);
        let (windows, late) =
            keyed(&topology, vec![records.clone()]).two_stage().window(tumbling(size)).with_late();
        let sums = windows.aggregate("sums", |a| (a.count(), a.sum(|r: &Rec| r.1), a.last(|r| r.2)));
        sums.map(|w| (w.key, w.window.start.as_millis(), w.value)).sink("sink", sink.clone());
        let late_sink = Memory::sink();
        late.sink("late", late_sink.clone());
        let report = run(topology, workers);

        let mut expected: BTreeMap<(u64, i64), (u64, i64, i64)> = BTreeMap::new();
        let (mut expected_late, mut watermark) = (Vec::new(), i64::MIN);
        for record in &records {
            let start = record.2.div_euclid(WINDOW) * WINDOW;
            if start + WINDOW <= watermark {
                expected_late.push(*record);
                continue;
            }
            let window = expected.entry((record.0, start)).or_insert((0, 0, i64::MIN));
            *window = (window.0 + 1, window.1 + record.1, window.2.max(record.2));
            watermark = watermark.max(record.2);
        }
        assert!(expected_late.len() >= 10);
        let found: BTreeMap<_, _> =
            sink.take().into_iter().map(|(key, start, value)| ((key, start), value)).collect();
        assert_eq!(found, expected, "{workers} workers");
        let (mut found_late, mut expected_late) = (late_sink.take(), expected_late);
        found_late.sort_unstable();
        expected_late.sort_unstable();
        assert_eq!(found_late, expected_late, "{workers} workers");

        let (crossed, hot) = (records_into(&report, "sums"), RECORDS / 2);
        if workers > 1 {
            assert!(crossed < RECORDS - hot + hot / 20, "{crossed} records and parts of {RECORDS} crossed");
        }
    }
}

#[test]
fn a_running_count_of_a_hot_key_ends_at_the_right_number() {
    let mut expected: BTreeMap<u64, (u64, i64)> = BTreeMap::new();
    for record in splits().iter().flatten() {
        let kept = expected.entry(record.0).or_default();
        *kept = (kept.0 + 1, kept.1 + record.1);
    }
    for workers in [1, 2, 4] {
        let topology = Topology::new("running");
        let sink = Memory::sink();
        let sums =
            keyed(&topology, splits()).two_stage().aggregate("sums", |a| (a.count(), a.sum(|r: &Rec| r.1)));
        sums.to_stream().sink("sink", sink.clone());
        let report = run(topology, workers);
        let found: BTreeMap<u64, (u64, i64)> = sink.take().into_iter().collect();
        assert_eq!(found, expected, "{workers} workers");
        let (all, crossed) = (SPLITS * RECORDS, records_into(&report, "sums"));
        if workers == 1 {
            assert_eq!(crossed, all);
        } else {
            assert!(crossed < all / 2 + all / 40, "{crossed} records and parts of {all} crossed");
        }
    }
}
