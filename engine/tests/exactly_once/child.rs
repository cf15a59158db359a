//! The process that is killed: this test program, started again with its orders in the environment.

use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use highwater::prelude::*;
use highwater::step::{Moment, Step};
use serde::{Deserialize, Serialize};

use crate::pipeline::{stateless, topology};

const ORDERS: &str = "HIGHWATER_TEST_CHILD";

/// Where a process ends itself, without unwinding: the `hit`-th time that it comes by.
#[derive(Clone, Copy, Debug)]
pub struct Failpoint {
    pub step: Step,
    pub moment: Moment,
    pub hit: usize,
}

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Orders {
    pub brokers: String,
    /// The name of the transactions and the beginning of the topics' names.
    pub name: String,
    /// None: the topology keeps no state, and shares its input.
    pub state: Option<PathBuf>,
    pub file: PathBuf,
    pub workers: usize,
    pub rate: u64,
    /// The failpoint: the step's number, whether after it, and the hit.
    pub dies_at: Option<(usize, bool, usize)>,
}

impl Orders {
    /// Starts a process that follows them.
    pub fn start(&self) -> Child {
        let own = std::env::current_exe().expect("a test has a path");
        let mut command = Command::new(own);
        command.args(["child", "--exact", "--nocapture"]);
        command.env(ORDERS, serde_json::to_string(self).expect("orders are plain data"));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    }
}

/// Whether a process ended because somebody killed it, itself or another.
pub fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal().is_some()
}

/// Does what the environment asks for; nothing if it asks for nothing.
pub fn run_if_asked() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    let orders: Orders = serde_json::from_str(&orders).expect("orders are plain data");
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    // A member that dies is missed soon.
    let kafka = Kafka::at(&orders.brokers).setting("session.timeout.ms", "6000").exactly_once(&orders.name);
    let readings = kafka.source(format!("{}-in", orders.name), Json::new()).until_end();
    let out = kafka.sink(format!("{}-out", orders.name), Text);
    let mut job = match &orders.state {
        Some(state) => Job::new(topology(readings, out, File::at(&orders.file).sink(Text))).state(state),
        None => Job::new(stateless(readings, out)),
    };
    job = job.workers(orders.workers).rate(orders.rate);
    if let Some((number, after, hit)) = orders.dies_at {
        let moment = if after { Moment::After } else { Moment::Before };
        let met = AtomicUsize::new(0);
        job = job.watch_steps(move |step, at| {
            let here = step.number() == number && at == moment;
            if here && met.fetch_add(1, Ordering::SeqCst) + 1 == hit {
                std::process::abort();
            }
        });
    }
    // Brokers keep a transaction open for as long as an epoch may take.
    job = job.epoch_timeout(Duration::from_secs(40)).epoch_interval(Duration::from_millis(60));
    // One that is asked to stop has not finished.
    job.run().expect("the job runs");
}
