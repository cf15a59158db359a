//! HW-1 with real processes: the program is killed at random, 420 times and more, and what it has published in the
//! end equals what an undisturbed run publishes, record for record.
//!
//! The program is `clickstream`, file in, file out, with late and bad lines in the input. If a test fails here, a
//! kill loses or repeats results, or a start after one cannot go on. The last tests take recovery away and see to
//! it that the comparison notices.

mod program;

use std::fs;
use std::ops::AddAssign;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use highwater_examples::clickstream::log_line;
use program::{Program, lines_of, same, wait_for_lines};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tempfile::{TempDir, tempdir};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// Starts after which an input that has not been dealt with never will be.
const MOST_STARTS: usize = 400;

/// An input, and what an undisturbed run makes of it.
struct Scene {
    directory: TempDir,
    logs: Vec<PathBuf>,
    lateness: &'static str,
    expected: Vec<String>,
    took: Duration,
}

impl Scene {
    /// One log, in which some lines are late.
    fn one_log() -> Scene {
        Scene::of(&[200_000], "30s")
    }

    /// Three logs, which are read by different workers; none of their lines is late, because which ones are would
    /// depend on how the logs are read side by side.
    fn three_logs() -> Scene {
        Scene::of(&[90_000, 60_000, 50_000], "15m")
    }

    fn of(lines: &[u64], lateness: &'static str) -> Scene {
        let directory = tempdir().expect("there is room");
        let mut logs = Vec::new();
        for (number, &lines) in lines.iter().enumerate() {
            let mut random = ChaCha8Rng::seed_from_u64(number as u64);
            let text: String = (0..lines).map(|line| log_line(&mut random, line * 4) + "\n").collect();
            let log = directory.path().join(format!("access-{number}.log"));
            fs::write(&log, text).expect("there is room");
            logs.push(log);
        }
        let mut scene = Scene { directory, logs, lateness, expected: Vec::new(), took: Duration::ZERO };
        let start = Instant::now();
        scene.program("undisturbed", "undisturbed", 1).succeeds();
        scene.took = start.elapsed();
        scene.expected = lines_of(&scene.output("undisturbed"));
        let kinds = ["page_views", "active_users", "bad"];
        let has = |kind: &str| scene.expected.iter().any(|line| line.contains(&format!("\"{kind}\"")));
        assert!(kinds.into_iter().all(has), "the input is worth the trouble");
        scene
    }

    fn output(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.jsonl"))
    }

    fn state(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.state"))
    }

    fn program(&self, output: &str, state: &str, workers: usize) -> Program {
        let program = self.logs.iter().fold(Program::new("clickstream"), |it, log| it.path("--input", log));
        let program = program.path("--output", &self.output(output)).path("--state-dir", &self.state(state));
        let program = program.with(["--epoch", "20ms", "--lateness", self.lateness]);
        program.with(["--workers".to_owned(), workers.to_string()])
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    starts: usize,
    kills: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.starts += other.starts;
        self.kills += other.kills;
    }
}

/// How a program ended that was signalled after a while.
enum Ended {
    /// By itself, before the signal.
    Finished,
    /// By the signal.
    Signalled,
}

/// Starts the program, lets it run for `life`, and sends the signal if it still runs. An error is what the program
/// must never do: fail.
fn live_for(program: &Program, life: Duration, signal: i32) -> Result<Ended, String> {
    let mut child = program.start();
    std::thread::sleep(life);
    if let Some(status) = child.try_wait().expect("the program was started") {
        return if status.success() { Ok(Ended::Finished) } else { Err(format!("it ended with {status}")) };
    }
    let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
    assert!(sent.expect("there is a `kill`").success());
    let status = child.wait().expect("the program was started");
    match (signal, status.signal()) {
        (_, Some(by)) if by == signal => Ok(Ended::Signalled),
        // It ended in a committed epoch, or had come to its end: the next start will tell.
        (SIGTERM, None) if status.success() => Ok(Ended::Signalled),
        (SIGKILL, None) if status.success() => Ok(Ended::Finished),
        _ => Err(format!("it ended with {status}")),
    }
}

/// One input from beginning to end with a signal at random times.
fn ordeal(
    scene: &Scene,
    name: &str,
    random: &mut ChaCha8Rng,
    signal: i32,
    workers: impl Fn(&mut ChaCha8Rng) -> usize,
) -> Result<Tally, String> {
    let mut tally = Tally::default();
    // Longer and longer lives, so that a machine with little to spare comes to the end, too.
    let mut most = scene.took.mul_f64(0.4);
    while tally.starts < MOST_STARTS {
        tally.starts += 1;
        let life = Duration::from_secs_f64(random.random_range(0.0..most.as_secs_f64()));
        match live_for(&scene.program(name, name, workers(random)), life, signal)? {
            Ended::Finished => return Ok(tally),
            Ended::Signalled => tally.kills += 1,
        }
        most = most.mul_f64(1.02);
    }
    Err(format!("it does not come to an end in {MOST_STARTS} starts"))
}

/// Repeats the ordeal until so many signals have hit a running program.
fn ordeals(scene: &Scene, kills: usize, seed: u64, signal: i32, workers: fn(&mut ChaCha8Rng) -> usize) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut total = Tally::default();
    for round in 0.. {
        let name = format!("round-{round}");
        let tally = ordeal(scene, &name, &mut random, signal, workers);
        total += tally.unwrap_or_else(|error| panic!("seed {seed}, round {round}: {error}"));
        same(&lines_of(&scene.output(&name)), &scene.expected, &format!("seed {seed}, round {round}"));
        if total.kills >= kills {
            println!(
                "signal {signal}: {} of {} starts hit while running, {} rounds, 0 violations",
                total.kills,
                total.starts,
                round + 1
            );
            return;
        }
    }
}

#[test]
fn one_worker_publishes_each_result_once_through_many_kills() {
    ordeals(&Scene::one_log(), 150, 1, SIGKILL, |_| 1);
}

#[test]
fn two_workers_publish_each_result_once_through_many_kills() {
    ordeals(&Scene::three_logs(), 150, 2, SIGKILL, |_| 2);
}

#[test]
fn each_result_is_published_once_where_the_workers_change_between_kills() {
    ordeals(&Scene::one_log(), 60, 3, SIGKILL, |random| random.random_range(1..5));
    ordeals(&Scene::three_logs(), 60, 4, SIGKILL, |random| random.random_range(1..5));
}

#[test]
fn each_result_is_published_once_where_the_program_is_asked_to_stop() {
    ordeals(&Scene::three_logs(), 40, 5, SIGTERM, |random| random.random_range(1..3));
}

/// Kills the program when its output has grown by ten lines.
fn kill_after_ten_lines(scene: &Scene, name: &str) {
    let output = scene.output(name);
    let before = fs::read_to_string(&output).map_or(0, |text| text.lines().count());
    let mut child = scene.program(name, name, 1).start();
    wait_for_lines(&mut child, &output, before + 10);
    child.kill().expect("it was started");
    child.wait().expect("it was started");
}

/// Whether the program refuses to go on, or publishes something else than an undisturbed run.
fn is_noticed(scene: &Scene, name: &str) -> bool {
    let output = scene.program(name, name, 1).run();
    !output.status.success() || lines_of(&scene.output(name)) != scene.expected
}

#[test]
fn the_comparison_notices_starts_that_do_not_go_on_where_the_last_one_ended() {
    let scene = Scene::one_log();
    let mut all = Vec::new();
    for number in 0..3 {
        let name = format!("life-{number}");
        if number < 2 {
            kill_after_ten_lines(&scene, &name);
        } else {
            scene.program(&name, &name, 1).succeeds();
        }
        let published = fs::read_to_string(scene.output(&name)).unwrap_or_default();
        let whole = published.rfind('\n').map_or("", |end| &published[..end]);
        all.extend(whole.lines().map(str::to_owned));
    }
    all.sort();
    assert!(all.len() > scene.expected.len(), "results of lives without memory are repeated");
}

#[test]
fn results_that_are_taken_away_while_they_wait_are_noticed() {
    let scene = Scene::one_log();
    kill_after_ten_lines(&scene, "taken");
    fs::remove_dir_all(scene.directory.path().join(".taken.jsonl.staged")).expect("it is there");
    assert!(is_noticed(&scene, "taken"));
}

#[test]
fn state_that_is_older_than_the_output_is_noticed() {
    let scene = Scene::one_log();
    let (state, copy) = (scene.state("older"), scene.state("copy"));
    kill_after_ten_lines(&scene, "older");
    copy_directory(&state, &copy);
    // Twice: the first ten lines may be of an epoch that the copy has committed and not published.
    kill_after_ten_lines(&scene, "older");
    kill_after_ten_lines(&scene, "older");
    fs::remove_dir_all(&state).expect("the state is there");
    copy_directory(&copy, &state);
    assert!(is_noticed(&scene, "older"));
}

fn copy_directory(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("there is room");
    for entry in fs::read_dir(from).expect("it is a directory") {
        let entry = entry.expect("it can be read");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_directory(&from, &to);
        } else {
            fs::copy(&from, &to).expect("there is room");
        }
    }
}
