//! Who else may get at the state: a job says so when it starts, and starts all the same.

#![cfg(unix)]

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use highwater::prelude::*;

#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no thread panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a job that keeps state in this directory warns of.
fn warnings(directory: &Path) -> String {
    let logged = Logged::default();
    let into = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_ansi(false);
    tracing::subscriber::with_default(subscriber.with_writer(move || into.clone()).finish(), || {
        let topology = Topology::new("counts");
        let words = topology.source("words", Memory::source(["a", "b"])).key_by(|word| word.to_string());
        words.count("counts").to_stream().sink("out", Blackhole::new());
        Job::new(topology).state(directory).run().expect("the job runs");
    });
    String::from_utf8(logged.0.lock().expect("no thread panics").clone()).expect("logs are text")
}

#[test]
fn a_state_directory_that_others_may_use_is_warned_of() {
    for (mode, word) in [(0o755, "may see that there is state"), (0o777, "may replace the state")] {
        let root = tempfile::tempdir().expect("a folder can be made");
        let directory = root.path().join("state");
        fs::create_dir(&directory).expect("a folder can be made");
        fs::set_permissions(&directory, Permissions::from_mode(mode)).expect("it is ours");
        let said = warnings(&directory);
        let place = directory.display().to_string();
        for part in [word, "chmod 700", &place, &format!("{mode:o}")] {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
    }
}

#[test]
fn a_state_directory_that_the_job_makes_is_not_warned_of() {
    let root = tempfile::tempdir().expect("a folder can be made");
    assert_eq!(warnings(&root.path().join("state")), "");
}
