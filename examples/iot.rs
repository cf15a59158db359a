//! Sensors and when to worry about them: hourly figures, readings that stick out, limits, low batteries.
//!
//! The readings come from CSV files, one sensor a file, or are made up. What is told goes to one output.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use highwater::prelude::*;
use highwater_examples::iot::{Kind, Outcome, READING_SPLITS, Reading, Row, by_sensor, reading, source_name};
use highwater_examples::live::Live;
use highwater_examples::options::{RunOptions, exit_code, log_warnings};

/// How many of a sensor's readings say what is usual, and from how many on they say anything.
const RECENT: usize = 20;
const ENOUGH: usize = 10;

/// Hourly figures and alerts out of sensor readings
///
/// Reads CSV files with the columns timestamp (YYYY-MM-DD HH:MM:SS, UTC) and value; the sensor is called like its
/// file. Without files it makes readings up. A reading sticks out (anomaly) when it is more than 2 standard
/// deviations away from the mean of its sensor's last 20 readings, itself included, once there are 10, in the order
/// of their times. A reading is out of its limits (threshold) outside 10 to 40 for temperature, 20 to 90 for
/// humidity, 990 to 1030 for pressure; a battery is low under 0.2.
#[derive(Parser)]
#[command(name = "iot", after_long_help = FORMATS)]
struct Options {
    /// Read this CSV file; may be given several times
    #[arg(long, value_name = "FILE")]
    input: Vec<PathBuf>,
    /// What the sensors of the files measure; without it they have no limits
    #[arg(long, value_name = "TYPE", requires = "input")]
    sensor_type: Option<Kind>,
    /// Without files: how many readings to make up
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    events: u64,
    /// Without files: what chance begins with; the same seed gives the same readings
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The length of a window
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = humantime::parse_duration)]
    window: Duration,
    #[command(flatten)]
    run: RunOptions,
}

const FORMATS: &str = r#"Output, one JSON object a line, times in UTC:
  {"kind":"hourly","sensor","window_start","window_end","count","min","max","mean"}
  {"kind":"anomaly","sensor","timestamp","value","mean","stddev"}
  {"kind":"threshold","sensor","timestamp","value","low","high"}
  {"kind":"low_battery","sensor","timestamp","value"}
  {"kind":"late","sensor","timestamp","value"}   came when later readings had been dealt with: left out of the
                                                 anomalies, and of its hour if that was closed
  {"kind":"bad","line","reason"}                 a row that is no reading"#;

fn main() -> ExitCode {
    log_warnings();
    // Sensors buffer and clocks are put back: an hour loses nothing, and costs an hour of readings.
    let command = Options::command().mut_arg("lateness", |lateness| lateness.default_value("1h"));
    let options = Options::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    exit_code("iot", run(&options))
}

fn run(options: &Options) -> Result<(), Cause> {
    options.run.check(&options.input)?;
    let topology = Topology::new("iot");
    let live = Live::new();

    let (readings, bad) = readings(&topology, options);
    let readings = readings.inspect(live.count()).event_time(|reading| reading.at, options.run.lateness);

    // What one reading says by itself.
    let alerts = readings.clone().flat_map(|reading| Outcome::of_limits(&reading));

    let by_sensor = readings.clone().key_by(|reading| reading.sensor.clone());
    let hourly = by_sensor
        .window(tumbling(options.window))
        .aggregate("hourly", |a| (a.count(), a.min(|r| r.value), a.max(|r| r.value), a.mean(|r| r.value)))
        .map(Outcome::hourly);

    // Whoever is late for the order is late once; it may still be in time for its hour.
    let (in_order, late) = readings.key_by(|reading| reading.sensor.clone()).sorted("by-time");
    let anomalies =
        in_order.process("anomalies", |states| Anomalies { recent: states.list("recent") }).values();

    let outcomes = hourly.merge(anomalies).merge(alerts).merge(late.map(Outcome::late)).untimed().merge(bad);
    options.run.deliver(outcomes, None, &live);
    Ok(options.run.run(topology, &live)?)
}

/// Tells the readings that stick out from the recent ones of their sensor.
struct Anomalies {
    recent: List<f64>,
}

impl KeyedOperator<String, Reading> for Anomalies {
    type Out = Outcome;

    fn on_record(
        &mut self,
        reading: Reading,
        context: &mut Context<'_, String, Outcome>,
    ) -> Result<(), Cause> {
        let recent = self.recent.get_mut(context)?;
        if recent.len() == RECENT {
            recent.remove(0);
        }
        recent.push(reading.value);
        if recent.len() < ENOUGH {
            return Ok(());
        }
        let count = recent.len() as f64;
        let mean = recent.iter().sum::<f64>() / count;
        let variance = recent.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        let stddev = variance.sqrt();
        if (reading.value - mean).abs() > 2.0 * stddev {
            context.emit(Outcome::anomaly(&reading, mean, stddev));
        }
        Ok(())
    }
}

/// The readings, and what is none.
fn readings(topology: &Topology, options: &Options) -> (Stream<Reading, Untimed>, Stream<Outcome, Untimed>) {
    let kind = options.sensor_type;
    let files = by_sensor(&options.input).into_iter().map(|(sensor, paths)| {
        let rows = topology.try_source(&source_name(&sensor), File::at(paths).csv::<Row>());
        let (rows, bad) = rows.or_dead_letter();
        (rows.map(move |row| Reading::new(&sensor, kind, row)), bad.map(Outcome::bad))
    });
    if let Some(all) = files.reduce(|(rows, bad), (more, more_bad)| (rows.merge(more), bad.merge(more_bad))) {
        return all;
    }
    let made_up = Generator::new(options.seed, READING_SPLITS, reading).count(options.events);
    let readings = topology.source("generator", made_up);
    let nothing = topology.source("nothing", Memory::source([]));
    (readings, nothing)
}
