//! One run of the program under test: its topics, its directories, its deaths.

use std::io::Read;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use highwater::step::Moment;
use tempfile::TempDir;

use crate::broker::{Broker, PARTITIONS};
use crate::child::{Failpoint, Orders, was_killed};
use crate::pipeline::{RECORDS, input, lines_of, meaning, sorted, stateless_meaning};

/// How long a process may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(120);
/// Records a second, so that a run takes long enough to be killed often.
const RATE: u64 = 4_000;

/// A run from its input to its end.
pub struct Run<'a> {
    broker: &'a Broker,
    name: String,
    directory: TempDir,
    workers: usize,
    shares: bool,
    /// Records a second.
    rate: u64,
}

impl<'a> Run<'a> {
    /// Makes the topics and fills the one that is read.
    pub fn new(broker: &'a Broker, name: &str, workers: usize) -> Run<'a> {
        let name = format!("{name}-{}", std::process::id());
        broker.create(&format!("{name}-in"));
        broker.create(&format!("{name}-out"));
        broker.fill(&format!("{name}-in"), input(PARTITIONS as usize));
        Run {
            broker,
            name,
            directory: tempfile::tempdir().expect("a directory"),
            workers,
            shares: false,
            rate: RATE,
        }
    }

    /// A run that takes ten seconds and more.
    pub fn slow(broker: &'a Broker, name: &str) -> Run<'a> {
        Run { rate: RATE / 5, ..Run::new(broker, name, 1) }
    }

    /// A run of instances that keep no state and share the input.
    pub fn sharing(broker: &'a Broker, name: &str) -> Run<'a> {
        Run { shares: true, rate: RATE / 4, ..Run::new(broker, name, 1) }
    }

    /// The same program on a copy of its directories, as they are now.
    pub fn on_a_copy_of_its_directories(&self) -> Run<'a> {
        let copy = self.with_directories_of_its_own();
        let from = format!("{}/.", self.directory.path().display());
        let copied = Command::new("cp").arg("-a").arg(from).arg(copy.directory.path()).status();
        assert!(copied.expect("there is cp").success());
        copy
    }

    /// The same program with empty directories.
    pub fn with_directories_of_its_own(&self) -> Run<'a> {
        let directory = tempfile::tempdir().expect("a directory");
        let (broker, name) = (self.broker, self.name.clone());
        Run { broker, name, directory, workers: 1, shares: self.shares, rate: self.rate }
    }

    /// How many records can be seen so far.
    pub fn written(&self) -> usize {
        self.broker.committed(&format!("{}-out", self.name)).len()
    }

    /// Waits until more records can be seen than `before`.
    pub fn writes_more_than(&self, before: usize) {
        let until = Instant::now() + PATIENCE;
        while self.written() <= before {
            assert!(Instant::now() < until, "{}: nothing is written", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts the program, which dies where it is told to.
    pub fn start(&self, dies_at: Option<Failpoint>) -> Running {
        let path = |name: &str| self.directory.path().join(name);
        let orders = Orders {
            brokers: self.broker.address.clone(),
            name: self.name.clone(),
            state: (!self.shares).then(|| path("state")),
            file: path("file"),
            workers: self.workers,
            rate: self.rate,
            dies_at: dies_at.map(|at| (at.step.number(), at.moment == Moment::After, at.hit)),
        };
        Running(orders.start())
    }

    /// Lets the program die where it is told to; `false` if it never came there.
    pub fn dies_at(&self, failpoint: Failpoint) -> bool {
        self.start(Some(failpoint)).ends_by_a_kill(PATIENCE)
    }

    /// Kills the program after a while; `false` if it had ended by then.
    pub fn is_killed_after(&self, time: Duration) -> bool {
        let mut running = self.start(None);
        std::thread::sleep(time);
        let _ = running.0.kill();
        running.ends_by_a_kill(PATIENCE)
    }

    /// Lets the program run to its end and compares what is visible with what the topology means.
    pub fn finishes_and_is_right(&self) {
        self.start(None).ends_well();
        self.is_right();
    }

    pub fn is_right(&self) {
        if self.shares {
            let seen = sorted(self.broker.committed(&format!("{}-out", self.name)));
            let meant = stateless_meaning(PARTITIONS as usize);
            assert_eq!(differences(&seen, &meant), Vec::<String>::new(), "{}: on Kafka", self.name);
            return;
        }
        let (out, file) = meaning(PARTITIONS as usize);
        assert!(out.len() > RECORDS / 10 && file.len() == out.len(), "the topology means something");
        let seen = sorted(self.broker.committed(&format!("{}-out", self.name)));
        assert_eq!(differences(&seen, &out), Vec::<String>::new(), "{}: on Kafka", self.name);
        let seen = lines_of(&self.directory.path().join("file"));
        assert_eq!(differences(&seen, &file), Vec::<String>::new(), "{}: in the file", self.name);
    }
}

/// The first lines that are in one of two sorted lists only.
fn differences(seen: &[String], meant: &[String]) -> Vec<String> {
    let (mut at, mut meant_at, mut found) = (0, 0, Vec::new());
    while (at < seen.len() || meant_at < meant.len()) && found.len() < 10 {
        match (seen.get(at), meant.get(meant_at)) {
            (Some(one), Some(other)) if one == other => (at, meant_at) = (at + 1, meant_at + 1),
            (Some(one), other) if other.is_none_or(|other| one < other) => {
                found.push(format!("too many: {one}"));
                at += 1;
            }
            (_, other) => {
                found.push(format!("missing: {}", other.map(String::as_str).unwrap_or_default()));
                meant_at += 1;
            }
        }
    }
    found
}

/// The program while it runs.
pub struct Running(Child);

impl Running {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.0.id().to_string()]).status();
        assert!(sent.expect("there is kill").success());
    }

    /// Holds the process, as a machine does that is paused.
    pub fn stops(&self) {
        self.signal("-STOP");
    }

    /// Lets a process go on that was held.
    pub fn goes_on(&self) {
        self.signal("-CONT");
    }

    /// Kills the process.
    pub fn dies(self) {
        self.signal("-KILL");
        assert!(self.ends_by_a_kill(PATIENCE));
    }

    /// Asks the job to end in a committed epoch, and waits until it has.
    pub fn stops_when_asked(self) {
        self.signal("-TERM");
        self.ends_well();
    }

    /// Waits for its end; whether it was killed. A program that fails by itself fails the test.
    pub fn ends_by_a_kill(mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let status = loop {
            if let Some(status) = self.0.try_wait().expect("it is our child") {
                break status;
            }
            if Instant::now() > until {
                let _ = self.0.kill();
                let _ = self.0.wait();
                panic!("the program does not end: {}", self.said());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success() || was_killed(status), "the program failed: {}", self.said());
        !status.success()
    }

    pub fn ends_well(self) {
        assert!(!self.ends_by_a_kill(PATIENCE), "somebody killed the program");
    }

    /// Waits for its end and says what it complained of.
    pub fn fails(mut self) -> String {
        let status = self.0.wait().expect("it is our child");
        assert!(!status.success(), "the program ended well");
        self.said()
    }

    fn said(&mut self) -> String {
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        said
    }
}

/// Numbers that differ from run to run.
pub struct Dice(u64);

impl Dice {
    /// The seed is printed, so that a run can be told.
    pub fn new() -> Dice {
        use std::hash::{BuildHasher, RandomState};
        let seed = RandomState::new().hash_one(1);
        println!("seed {seed}");
        Dice(seed)
    }

    pub fn below(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}
