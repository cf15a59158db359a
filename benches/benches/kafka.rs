//! From topic to topic: Highwater beside a loop of `poll` and `send` on the same client library, and beside Kafka
//! Streams, on one broker that this starts on the loopback interface.
//!
//! Every way of doing the work is a process of its own; all take the same input topic, one after the other, again and
//! again. What is measured is the processor time of that process for one record, and the time on the clock, from the
//! first record behind a warm-up to the last commit. The broker's own time is not in the first figure and in the
//! second. Every output is read back, committed records only, and its count and checksum are compared with the input.
//!
//! Back of the envelope, for a record of some 110 bytes: in `poll` and `send` librdkafka takes a lock or two, an
//! allocation and a free on each side, some 300 and 400 ns; its own threads parse, copy, sum up and write, some 300
//! ns; the copies themselves are 110 bytes at 10 bytes a ns. An epoch of 100 ms holds some 80 000 records, so that
//! a transaction may cost 1 ms of processor time and be 12 ns a record; on the clock it costs what the brokers take
//! to answer three requests, one after the other, while nothing is written.
//!
//! | command | what it shows |
//! | --- | --- |
//! | `cargo bench -p highwater-benches --bench kafka` | the table |
//! | `... --bench kafka -- --runs 9 --records 4000000 --only exactly-once,loop` | some of it |
//! | `... --bench kafka -- --only exactly-once --runs 1 --under 'perf record -g'` | one way, under a profiler |
//! | `... --bench kafka -- --broker 127.0.0.1:9092` | on a broker that runs already |
//!
//! Where there is no Java or no broker it says so, and measures nothing. `scripts/kafka` says what a broker needs.

#[path = "kafka/broker.rs"]
mod broker;
#[path = "kafka/engine.rs"]
mod engine;
#[path = "kafka/hand.rs"]
mod hand;
#[path = "kafka/mark.rs"]
mod mark;
#[path = "kafka/records.rs"]
mod records;
#[path = "kafka/way.rs"]
mod way;

use broker::Broker;
use highwater_benches::cpu::Taken;
use highwater_benches::spread::Spread;
use way::{Orders, WAYS, Way};

/// Partitions of every topic.
const PARTITIONS: i32 = 4;

/// Records that are copied where nothing is measured.
const RECORDS_TO_CHECK: u64 = 20_000;

struct Options {
    broker: Option<String>,
    only: Vec<String>,
    runs: usize,
    records: u64,
    under: String,
    child: Option<String>,
    input: String,
    output: String,
}

impl Options {
    fn read() -> Result<Options, String> {
        let mut options = Options {
            broker: None,
            only: Vec::new(),
            runs: 5,
            records: 3_000_000,
            under: String::new(),
            child: None,
            input: "input".to_owned(),
            output: String::new(),
        };
        let mut measures = false;
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("{arg} needs a value"));
            let wrong = |error: &dyn std::fmt::Display| format!("{arg}: {error}");
            match arg.as_str() {
                "--bench" => measures = true,
                "--test" => measures = false,
                "--broker" => options.broker = Some(value()?),
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--runs" => options.runs = value()?.parse().map_err(|error| wrong(&error))?,
                "--records" => options.records = value()?.parse().map_err(|error| wrong(&error))?,
                "--under" => options.under = value()?,
                "--child" => options.child = Some(value()?),
                "--input" => options.input = value()?,
                "--output" => options.output = value()?,
                _ => return Err(format!("{arg} is none of --broker --only --runs --records --under")),
            }
        }
        if !measures && options.child.is_none() {
            (options.runs, options.records) = (1, RECORDS_TO_CHECK);
        }
        options.runs = options.runs.max(1);
        Ok(options)
    }

    fn ways(&self) -> Vec<&'static Way> {
        let wanted = |way: &&Way| self.only.is_empty() || self.only.iter().any(|only| only == way.name);
        WAYS.iter().filter(wanted).collect()
    }
}

fn main() -> Result<(), String> {
    let options = Options::read()?;
    if let Some(name) = &options.child {
        let way = Way::named(name)?;
        let brokers = options.broker.unwrap_or_default();
        let (input, output, records) = (options.input, options.output, options.records);
        let orders = Orders { brokers, input, output, records };
        println!("{}", way.run_here(&orders));
        return Ok(());
    }
    let broker = match &options.broker {
        Some(address) => Broker::at(address),
        None => match Broker::start() {
            Some(broker) => broker,
            None => return Ok(()),
        },
    };
    let ways = options.ways();
    if ways.is_empty() {
        let names: Vec<_> = WAYS.iter().map(|way| way.name).collect();
        return Err(format!("--only: there are {}", names.join(" ")));
    }
    measure(&broker, &ways, &options)
}

/// Runs every way as often as wanted, in turn, and prints what they took.
fn measure(broker: &Broker, ways: &[&Way], options: &Options) -> Result<(), String> {
    let input = format!("input-{}", std::process::id());
    broker.create(&input, PARTITIONS);
    let expected = records::fill(broker.address(), &input, options.records);
    let expected = expected.map_err(|error| format!("the input cannot be written: {error}"))?;
    println!("{} records of {} bytes, {PARTITIONS} partitions", expected.count, expected.bytes_a_record());
    println!(
        "per record, from the {}th on: median of {} runs [least .. most]\n",
        way::warm(options.records),
        options.runs
    );
    let mut taken: Vec<Vec<Taken>> = vec![Vec::new(); ways.len()];
    for round in 0..options.runs {
        for (way, taken) in ways.iter().zip(&mut taken) {
            let output = format!("output-{}-{}-{round}", std::process::id(), way.name.replace('/', "-"));
            broker.create(&output, PARTITIONS);
            let brokers = broker.address().to_owned();
            let orders =
                Orders { brokers, input: input.clone(), output: output.clone(), records: options.records };
            let Some(measured) = way.run_apart(&orders, &options.under)? else { continue };
            let found = records::sum_up(broker.address(), &output, PARTITIONS);
            let found = found.map_err(|error| format!("{}: the output cannot be read: {error}", way.name))?;
            if found != expected {
                return Err(format!("{}: {found:?} arrived in place of {expected:?}", way.name));
            }
            taken.push(measured);
            broker.delete(&output);
        }
    }
    broker.delete(&input);
    print(ways, &taken, options.records - way::warm(options.records));
    Ok(())
}

fn print(ways: &[&Way], taken: &[Vec<Taken>], records: u64) {
    println!(
        "{:24} {:>26} {:>22} {:>26} {:>22}",
        "", "CPU ns", "times the loop", "wall ns", "times the loop"
    );
    let a_record = |nanos: u128| nanos as f64 / records as f64;
    let of = |name: &str, time: fn(&Taken) -> u128| -> Option<Vec<f64>> {
        let at = ways.iter().position(|way| way.name == name)?;
        Some(taken[at].iter().map(|taken| a_record(time(taken))).collect())
    };
    for way in ways {
        let mut line = format!("{:24}", way.name);
        for time in [(|taken| taken.cpu.as_nanos()) as fn(&Taken) -> u128, |taken| taken.wall.as_nanos()] {
            let own = of(way.name, time).unwrap_or_default();
            if own.is_empty() {
                continue;
            }
            let hand = of(way.beside, time).unwrap_or_default();
            let ratio = match hand.len() == own.len() {
                true => Spread::of(own.iter().zip(&hand).map(|(own, hand)| own / hand)).to_string(),
                false => String::new(),
            };
            line += &format!(" {:>26} {ratio:>22}", Spread::of(own).to_string());
        }
        println!("{line}");
    }
}
