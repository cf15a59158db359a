//! Another process: this test program, started again with its orders in the environment.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{PATIENCE, clock, poison, slow_sink, two_processes};

const ORDERS: &str = "HIGHWATER_TEST_FAULT";

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Orders {
    /// Reads what never ends, on a state directory.
    Hold { state: PathBuf },
    /// Counts by its clock.
    Clock { state: PathBuf, output: PathBuf },
    /// Writes to a sink that does not come back for so long.
    SlowSink { how: slow_sink::How, seconds: u64 },
    /// Puts what it cannot read into a topic of its own; dies where it is told to.
    Poison { brokers: String, name: String, state: PathBuf, dies_at: Option<(usize, bool, usize)> },
}

/// The program that other tests start; not a test of its own.
#[test]
fn child() {
    let Ok(orders) = std::env::var(ORDERS) else { return };
    match serde_json::from_str(&orders).expect("orders are plain data") {
        Orders::Hold { state } => two_processes::hold(&state),
        Orders::Clock { state, output } => clock::count(&state, &output),
        Orders::SlowSink { how, seconds } => slow_sink::write(how, Duration::from_secs(seconds)),
        Orders::Poison { brokers, name, state, dies_at } => poison::run(&brokers, &name, &state, dies_at),
    }
}

impl Orders {
    /// The command that follows them.
    pub fn command(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().expect("a test has a path"));
        command.args(["child::child", "--exact", "--nocapture"]);
        command.env(ORDERS, serde_json::to_string(self).expect("orders are plain data"));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    pub fn start(&self) -> Running {
        Running(self.command().spawn().expect("the program starts"))
    }
}

/// A process that ends with its test.
pub struct Running(pub Child);

impl Running {
    /// Waits for its end: whether it ended by itself. One that fails by itself fails the test.
    pub fn ends(mut self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        let end = Instant::now() + 2 * PATIENCE;
        let status = loop {
            if let Some(status) = self.0.try_wait().expect("it is our child") {
                break status;
            }
            assert!(Instant::now() < end, "the program does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success() || status.signal().is_some(), "the program failed: {}", self.said());
        status.success()
    }

    pub fn kill(mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("it is our child");
    }

    fn said(&mut self) -> String {
        let mut said = String::new();
        if let Some(mut stderr) = self.0.stderr.take() {
            let _ = stderr.read_to_string(&mut said);
        }
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
