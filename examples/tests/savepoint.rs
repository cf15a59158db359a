//! A program that is stopped with a savepoint and begun from it, as its users do. If this fails, an upgrade by
//! savepoint loses or repeats results.

mod program;

use std::fs;
use std::path::Path;

use highwater_examples::clickstream::log_line;
use program::{Program, lines_of, same, terminate, wait_for_lines};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

#[test]
fn what_a_stopped_program_wrote_and_what_one_from_its_savepoint_writes_is_the_whole() {
    let directory = tempfile::tempdir().expect("there is room");
    let at = |name: &str| directory.path().join(name);
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let log: String = (0..60_000).map(|line| log_line(&mut random, line * 4) + "\n").collect();
    fs::write(at("access.log"), log).expect("there is room");
    let program = |output: &str, state: &str| {
        let program =
            Program::new("clickstream").path("--input", &at("access.log")).with(["--epoch", "20ms"]);
        program.path("--output", &at(output)).path("--state-dir", &at(state))
    };
    program("whole.jsonl", "whole").succeeds();

    let first = program("first.jsonl", "first").with(["--savepoint-on-stop", "upgrade", "--rate", "30000"]);
    let mut child = first.start();
    assert!(wait_for_lines(&mut child, &at("first.jsonl"), 100), "it ends too soon");
    terminate(child);
    let savepoint = only_one_in(&at("first/savepoints"));
    let second =
        || program("second.jsonl", "second").path("--from-savepoint", &savepoint).with(["--workers", "3"]);
    second().succeeds();
    let told = second().fails(1);
    assert!(told.contains("has state already"), "{told}");

    let mut found = [lines_of(&at("first.jsonl")), lines_of(&at("second.jsonl"))].concat();
    found.sort();
    same(&found, &lines_of(&at("whole.jsonl")), "both parts");
    let told = program("first.jsonl", "third").path("--from-savepoint", &at("nowhere")).fails(1);
    assert!(told.contains("nowhere") && told.contains("savepoint"), "{told}");
    assert_eq!(Program::new("clickstream").with(["--from-savepoint", "x"]).run().status.code(), Some(2));
}

fn only_one_in(directory: &Path) -> std::path::PathBuf {
    let mut found =
        fs::read_dir(directory).expect("it was made").map(|entry| entry.expect("it is there").path());
    let one = found.next().expect("there is a savepoint");
    assert_eq!(found.next(), None);
    one
}
