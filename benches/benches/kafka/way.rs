//! The ways of doing the work, each in a process of its own so that its processor time can be told from the others'.
//!
//! A process prints one line, `measured RECORDS WALL CPU`, times in ns; it knows nothing of the other ways.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use highwater_benches::cpu::Taken;

use crate::{engine, hand};

/// What a process is to do: bring all records from one topic to the other.
pub struct Orders {
    pub brokers: String,
    pub input: String,
    pub output: String,
    pub records: u64,
}

/// One way to do it.
pub struct Way {
    pub name: &'static str,
    /// The way that it is compared with.
    pub beside: &'static str,
    run: Run,
}

enum Run {
    /// In a process of this program.
    Here(fn(&Orders) -> Taken),
    /// Kafka Streams: `plain`, or `tuned` to the client library's sizes.
    Streams(&'static str),
}

/// All ways, in the order in which they take turns.
pub const WAYS: [Way; 8] = [
    Way { name: "loop", beside: "loop", run: Run::Here(hand::bytes) },
    Way { name: "exactly-once", beside: "loop", run: Run::Here(engine::bytes_exactly_once) },
    Way { name: "at-least-once", beside: "loop", run: Run::Here(engine::bytes_at_least_once) },
    Way { name: "json/loop", beside: "json/loop", run: Run::Here(hand::json) },
    Way { name: "json/exactly-once", beside: "json/loop", run: Run::Here(engine::json_exactly_once) },
    Way { name: "json/at-least-once", beside: "json/loop", run: Run::Here(engine::json_at_least_once) },
    Way { name: "kafka-streams", beside: "loop", run: Run::Streams("plain") },
    Way { name: "kafka-streams/tuned", beside: "loop", run: Run::Streams("tuned") },
];

/// How many records pass before measuring begins: a quarter. By then clients have connected, queues have filled, and
/// a JVM has compiled what it runs.
pub fn warm(records: u64) -> u64 {
    records / 4
}

impl Way {
    pub fn named(name: &str) -> Result<&'static Way, String> {
        WAYS.iter().find(|way| way.name == name).ok_or(format!("there is no way `{name}`"))
    }

    /// Does the work in this process; gives the line that says what it took.
    pub fn run_here(&self, orders: &Orders) -> String {
        let Run::Here(run) = self.run else { return String::new() };
        let taken = run(orders);
        let records = orders.records - warm(orders.records);
        format!("measured {records} {} {}", taken.wall.as_nanos(), taken.cpu.as_nanos())
    }

    /// Does the work in a process of its own; `None`, and a word about it, if it cannot be had here.
    /// `under` is what goes before the command: a profiler.
    pub fn run_apart(&self, orders: &Orders, under: &str) -> Result<Option<Taken>, String> {
        let records = orders.records.to_string();
        let mut command = match self.run {
            Run::Here(_) => {
                let own = std::env::current_exe().map_err(|error| error.to_string())?;
                let mut words = under.split_whitespace();
                let mut command = match words.next() {
                    Some(first) => Command::new(first),
                    None => Command::new(&own),
                };
                if !under.trim().is_empty() {
                    command.args(words).arg(&own);
                }
                command.args(["--child", self.name, "--records", &records, "--broker", &orders.brokers]);
                command.args(["--input", &orders.input, "--output", &orders.output]);
                command
            }
            Run::Streams(tuning) => {
                let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kafka-streams/run");
                let mut command = Command::new(script);
                command.args([&orders.brokers, &orders.input, &orders.output, &records]);
                command.arg(warm(orders.records).to_string()).arg(tuning);
                command
            }
        };
        let output = command.stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| format!("{}: {error}", self.name))?;
        if output.status.code() == Some(3) && matches!(self.run, Run::Streams(_)) {
            println!("{} is skipped: it cannot be had here", self.name);
            return Ok(None);
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().find_map(|line| line.strip_prefix("measured "));
        let numbers: Vec<u64> =
            line.unwrap_or_default().split(' ').filter_map(|number| number.parse().ok()).collect();
        match (output.status.success(), numbers.as_slice()) {
            (true, &[_, wall, cpu]) => {
                Ok(Some(Taken { wall: Duration::from_nanos(wall), cpu: Duration::from_nanos(cpu) }))
            }
            _ => Err(format!("{}: {}, and said {said:?}", self.name, output.status)),
        }
    }
}
