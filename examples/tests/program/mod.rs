//! Running an example as its users do, and comparing what it wrote with what an oracle says.
//!
//! The program is the one that `cargo test` builds beside the tests. Nothing here, nor in the oracles, uses
//! Highwater.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::ffi::OsString;
use std::fs;
use std::io::PipeWriter;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a program may take to do what a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

/// An example and its arguments.
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// The example of this name.
    pub fn new(name: &str) -> Program {
        let own = std::env::current_exe().expect("a test has a path");
        let directory = own.ancestors().nth(2).expect("tests lie in the folder `deps` of a profile");
        let path = directory.join("examples").join(name);
        assert!(
            path.exists(),
            "there is no {}: build it with cargo build --release --examples",
            path.display()
        );
        Program { path, arguments: Vec::new() }
    }

    /// Adds arguments.
    pub fn with<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Program {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds a flag with a path.
    pub fn path(self, flag: &str, path: &Path) -> Program {
        self.with([flag.into(), path.as_os_str().to_owned()])
    }

    /// Runs to the end.
    pub fn run(&self) -> Output {
        self.command().output().expect("the program can be started")
    }

    /// Runs to the end; what it prints goes into a pipe.
    pub fn run_into(&self, pipe: PipeWriter) -> Output {
        let child = self.command().stdout(pipe).stderr(Stdio::piped()).spawn();
        child.and_then(Child::wait_with_output).expect("the program can be started")
    }

    /// Runs to the end, which must be a good one.
    #[track_caller]
    pub fn succeeds(&self) -> Output {
        let output = self.run();
        assert!(output.status.success(), "{:?} {:?}: {}", self.path, self.arguments, text(&output.stderr));
        output
    }

    /// Runs into an error; gives what is told about it.
    #[track_caller]
    pub fn fails(&self, code: i32) -> String {
        let output = self.run();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(!told.contains("panicked"), "{told}");
        told
    }

    /// Starts it, nobody looking at what it prints.
    pub fn start(&self) -> Child {
        self.command()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program can be started")
    }

    /// Starts it; what it prints goes there.
    pub fn start_with(&self, stdout: Stdio) -> Child {
        self.command().stdout(stdout).stderr(Stdio::null()).spawn().expect("the program can be started")
    }

    /// The command that runs it.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
        command
    }
}

/// Sends SIGTERM and waits; the program must end well, and soon.
pub fn terminate(mut child: Child) {
    let killed =
        Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("there is a `kill`");
    assert!(killed.success());
    let status = child.wait().expect("the program was started");
    assert!(status.success(), "{status}");
}

/// Waits until a file has at least so many lines; false if the program ends before.
pub fn wait_for_lines(child: &mut Child, file: &Path, count: usize) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if fs::read_to_string(file).is_ok_and(|text| text.lines().count() >= count) {
            return true;
        }
        if child.try_wait().expect("the program was started").is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{} does not get {count} lines", file.display());
}

/// The lines of an output, sorted; the reasons of bad ones, which are free, are checked and taken out.
pub fn lines_of(output: &Path) -> Vec<String> {
    let text = fs::read_to_string(output).expect("the output is there");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn");
    let mut lines: Vec<String> = text.lines().map(without_reason).collect();
    lines.sort();
    lines
}

fn without_reason(line: &str) -> String {
    if !line.starts_with(r#"{"kind":"bad","#) {
        return line.to_owned();
    }
    let fields: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
    assert!(fields["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{line}");
    assert_eq!(fields.as_object().expect("an object").len(), 3, "{line}");
    format!(r#"{{"kind":"bad","line":{}}}"#, fields["line"])
}

/// Compares two sorted lists of lines, and shows the first differences only.
#[track_caller]
pub fn same(found: &[String], expected: &[String], what: &str) {
    if found == expected {
        return;
    }
    let (missing, extra) = (missing(expected, found), missing(found, expected));
    panic!(
        "{what}: {} lines and not {}; {} missing, as {:#?}; {} too many, as {:#?}",
        found.len(),
        expected.len(),
        missing.len(),
        &missing[..missing.len().min(5)],
        extra.len(),
        &extra[..extra.len().min(5)],
    );
}

/// The lines of `of` that are not in `from`, each as often as it is missing; both are sorted.
fn missing(of: &[String], from: &[String]) -> Vec<String> {
    let mut from = from.iter().peekable();
    let mut missing = Vec::new();
    for line in of {
        while from.next_if(|other| *other < line).is_some() {}
        if from.next_if_eq(&line).is_none() {
            missing.push(line.clone());
        }
    }
    missing
}

/// Text as a JSON string, a number as a JSON number.
pub fn json(value: impl serde::Serialize) -> String {
    serde_json::to_string(&value).expect("text and finite numbers can be written")
}

/// RFC 3339 with seconds.
pub fn rfc3339(seconds: i64) -> String {
    let time = chrono::DateTime::from_timestamp(seconds, 0).expect("a time of the calendar");
    time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Recorded input that is not part of the project; says so where it is absent.
pub fn recorded(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(path);
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

/// What a program said.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
