//! The program `clickstream` against a naive count: line by line, everything kept, nothing clever.

mod program;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use program::{Program, json, lines_of, recorded, rfc3339, same, terminate, wait_for_lines};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tempfile::tempdir;

// --- the oracle --------------------------------------------------------------------------------------------------

struct Request {
    seconds: i64,
    address: String,
    page: Option<String>,
}

/// Takes a part in quotes from the front; gives what is in it and what is behind it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut escaped = false;
    for (at, char) in inside.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some((&inside[..at], &inside[at + 1..])),
            _ => {}
        }
    }
    None
}

fn request(line: &str) -> Option<Request> {
    let words: Vec<&str> = line.splitn(4, ' ').collect();
    let [address, ident, user, rest] = words[..] else { return None };
    let is_word = |word: &str| !word.is_empty() && !word.chars().any(|char| char.is_ascii_control());
    if ![address, ident, user].into_iter().all(is_word) {
        return None;
    }
    let (time, rest) = rest.strip_prefix('[')?.split_once("] ")?;
    let form = "%d/%b/%Y:%H:%M:%S %z";
    let exact = chrono::DateTime::parse_from_str(time, form).ok()?;
    if exact.format(form).to_string() != time || time.contains(":60 ") {
        return None;
    }
    let (asked, rest) = quoted(rest)?;
    let (status, rest) = rest.strip_prefix(' ')?.split_once(' ')?;
    if status.len() != 3 || !status.chars().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let (size, rest) = rest.split_once(' ').map_or((rest, None), |(size, rest)| (size, Some(rest)));
    if size != "-" && (size.is_empty() || !size.chars().all(|digit| digit.is_ascii_digit())) {
        return None;
    }
    if let Some(rest) = rest {
        let (_, rest) = quoted(rest)?;
        let (_, rest) = quoted(rest.strip_prefix(' ')?)?;
        if !rest.is_empty() {
            return None;
        }
    }
    Some(Request { seconds: exact.timestamp(), address: address.to_owned(), page: page(asked, status) })
}

fn page(asked: &str, status: &str) -> Option<String> {
    let target = asked.strip_prefix("GET ").filter(|_| status == "200" || status == "304")?;
    let protocol = target.rfind(" HTTP/").filter(|at| !target[at + 1..].contains(' '));
    let target = &target[..protocol.unwrap_or(target.len())];
    let path = target.split('?').next().filter(|_| !target.is_empty())?;
    let parts =
        [".css", ".js", ".png", ".jpg", ".jpeg", ".gif", ".ico", ".svg", ".woff", ".woff2", ".ttf", ".map"];
    let is_part = parts.iter().any(|ending| path.to_lowercase().ends_with(ending));
    (!is_part).then(|| path.to_owned())
}

/// What the output must hold, sorted, if the files are read one after the other.
fn expected(files: &[&Path], window: i64, lateness: i64) -> Vec<String> {
    let mut out = Vec::new();
    let mut views: HashMap<(i64, String), u64> = HashMap::new();
    let mut users: HashMap<i64, HashSet<String>> = HashMap::new();
    for file in files {
        let mut watermark = i64::MIN;
        let bytes = fs::read(file).expect("the input is there");
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        for line in bytes.split(|byte| *byte == b'\n').filter(|_| !bytes.is_empty()) {
            let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
            let Some(request) = request(&line) else {
                out.push(format!(r#"{{"kind":"bad","line":{}}}"#, json(&line)));
                continue;
            };
            let start = request.seconds.div_euclid(window) * window;
            if start + window <= watermark {
                out.push(format!(r#"{{"kind":"late","line":{}}}"#, json(&line)));
            } else {
                users.entry(start).or_default().insert(request.address);
                if let Some(page) = request.page {
                    *views.entry((start, page)).or_default() += 1;
                }
            }
            watermark = watermark.max(request.seconds - lateness);
        }
    }
    let bounds = |start: i64| {
        format!(r#""window_start":"{}","window_end":"{}""#, rfc3339(start), rfc3339(start + window))
    };
    out.extend(users.iter().map(|(start, who)| {
        format!(r#"{{"kind":"active_users",{},"count":{}}}"#, bounds(*start), who.len())
    }));
    out.extend(views.iter().map(|((start, page), count)| {
        format!(r#"{{"kind":"page_views","url":{},{},"count":{count}}}"#, json(page), bounds(*start))
    }));
    out.sort();
    out
}

/// The lines about sessions that the output must hold beside those of [`expected`], sorted.
fn expected_sessions(file: &Path, gap: i64, window: i64, lateness: i64) -> Vec<String> {
    let mut out = Vec::new();
    // By address: all requests of every session that has not been told.
    let mut open: HashMap<String, Vec<Vec<Request>>> = HashMap::new();
    let mut watermark = i64::MIN;
    let bytes = fs::read(file).expect("the input is there");
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        let Some(request) = request(&line) else { continue };
        let at = request.seconds;
        let sessions = open.entry(request.address.clone()).or_default();
        let touches = |session: &Vec<Request>| session.iter().any(|other| (other.seconds - at).abs() <= gap);
        let (mut joined, others): (Vec<_>, Vec<_>) = sessions.drain(..).partition(touches);
        *sessions = others;
        joined.push(vec![request]);
        let joined: Vec<Request> = joined.into_iter().flatten().collect();
        if joined.iter().all(|request| request.seconds + gap <= watermark) {
            assert_eq!(joined.len(), 1, "what is open would have been told");
            if gap < window {
                out.push(format!(r#"{{"kind":"late_for_session","line":{}}}"#, json(&line)));
            }
        } else {
            sessions.push(joined);
        }
        watermark = watermark.max(at - lateness);
        for sessions in open.values_mut() {
            let over =
                |session: &Vec<Request>| session.iter().all(|request| request.seconds + gap <= watermark);
            let (ended, others) = sessions.drain(..).partition(over);
            *sessions = others;
            out.extend(Vec::into_iter(ended).map(told));
        }
    }
    out.extend(open.into_values().flatten().map(told));
    out.sort();
    out
}

fn told(session: Vec<Request>) -> String {
    let times = || session.iter().map(|request| request.seconds);
    let (start, end) = (times().min().expect("has a request"), times().max().expect("has a request"));
    let pages: HashSet<_> = session.iter().filter_map(|request| request.page.as_deref()).collect();
    format!(
        r#"{{"kind":"session","user":{},"start":"{}","end":"{}","events":{},"pages":{}}}"#,
        json(&session[0].address),
        rfc3339(start),
        rfc3339(end),
        session.len(),
        pages.len()
    )
}

// --- logs --------------------------------------------------------------------------------------------------------

const ODD: [&str; 16] = [
    "",
    " ",
    "-",
    "GET / HTTP/1.1",
    r#"1.2.3.4 - - [30/Feb/2024:10:00:00 +0000] "GET / HTTP/1.1" 200 1"#,
    r#"1.2.3.4 - - [29/Feb/2023:10:00:00 +0000] "GET / HTTP/1.1" 200 1"#,
    r#"1.2.3.4 - - [01/Mar/2024:24:00:00 +0000] "GET / HTTP/1.1" 200 1"#,
    r#"1.2.3.4 - - [01/Mar/2024:10:00:60 +0000] "GET / HTTP/1.1" 200 1"#,
    r#"1.2.3.4 - - [01/Mar/2024:10:00:00 +2500] "GET / HTTP/1.1" 200 1"#,
    r#"1.2.3.4 - - [01/mar/2024:10:00:00] "GET / HTTP/1.1" 200 1"#,
    r#"1.2.3.4 - - [01/Mar/2024:10:00:00 +0000] "GET / HTTP/1.1 200 1"#,
    r#"1.2.3.4 - - [01/Mar/2024:10:00:00 +0000] "GET / HTTP/1.1" 2OO 1"#,
    r#"1.2.3.4 - - [01/Mar/2024:10:00:00 +0000] "GET / HTTP/1.1" 200 1 "-""#,
    r#"1.2.3.4 - - [01/Mar/2024:10:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "a" "b""#,
    r#"1.2.3.4 - - [01/Mar/2024:10:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "cut off \""#,
    r#"1.2.3.4 - [01/Mar/2024:10:00:00 +0000] "GET / HTTP/1.1" 200 1 "-" "-""#,
];
const REQUESTS: [&str; 16] = [
    "GET / HTTP/1.1",
    "GET / HTTP/1.1",
    "GET /a HTTP/1.1",
    "GET /a?x=1 HTTP/1.1",
    "GET /A HTTP/2.0",
    "GET /style.CSS?v=2 HTTP/1.1",
    "GET /x.woff2 HTTP/1.1",
    "GET /x.css/ HTTP/1.1",
    "GET /?file=x.css HTTP/1.1",
    "GET /quote\\\"d\\\\ HTTP/1.1",
    "GET /ünï HTTP/1.1",
    "GET /http09",
    "POST /a HTTP/1.1",
    "HEAD / HTTP/1.1",
    "",
    "-",
];
const ZONES: [i64; 5] = [0, 0, 120, -330, 840];

/// A log of about `count` lines, ten in a second, beginning at `start`; some up to `disorder` seconds behind.
fn made_log(seed: u64, count: usize, start: i64, disorder: i64) -> Vec<u8> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut log = Vec::new();
    for number in 0..count {
        let end: &[u8] = if random.random_bool(0.1) { b"\r\n" } else { b"\n" };
        if random.random_bool(0.02) {
            match random.random_range(0..ODD.len() + 1) {
                at if at == ODD.len() => log.extend((0..30).map(|_| random.random_range(11..=255u8))),
                at => log.extend(ODD[at].bytes()),
            }
            log.extend(end);
            continue;
        }
        let behind = if random.random_bool(0.3) { random.random_range(0..=disorder) } else { 0 };
        let minutes = ZONES[random.random_range(0..ZONES.len())];
        let zone = chrono::FixedOffset::east_opt(minutes as i32 * 60).expect("is a zone");
        let time =
            chrono::DateTime::from_timestamp(start + number as i64 / 10 - behind, 0).expect("is a time");
        let time = time.with_timezone(&zone).format("%d/%b/%Y:%H:%M:%S %z");
        let address = match random.random_range(0..40) {
            0 => "2001:db8::1".to_owned(),
            1 => "crawler.example.org".to_owned(),
            host => format!("10.0.0.{host}"),
        };
        let request = REQUESTS[random.random_range(0..REQUESTS.len())];
        let status = [200, 200, 200, 304, 404][random.random_range(0..5)];
        let size = if random.random_bool(0.2) { "-".to_owned() } else { number.to_string() };
        log.extend(format!("{address} - joe [{time}] \"{request}\" {status} {size}").bytes());
        if random.random_bool(0.8) {
            log.extend(br#" "http://e.org/\"x\"" "Mozilla "#);
            log.extend(if random.random_bool(0.1) { &b"\xff\xfe\""[..] } else { &b"5.0\""[..] });
        }
        log.extend(end);
    }
    if seed % 2 == 1 {
        log.truncate(log.trim_ascii_end().len());
    }
    log
}

/// 2024-02-29T12:00:00Z
const START: i64 = 1_709_208_000;

fn program(files: &[&Path], output: &Path) -> Program {
    files.iter().fold(Program::new("clickstream").path("--output", output), |program, file| {
        program.path("--input", file)
    })
}

/// With 1 and 2 workers, with and without a state directory, the output is what is expected.
#[track_caller]
fn agrees(files: &[&Path], arguments: &[&str], expected: &[String]) {
    let directory = tempdir().expect("there is room");
    for workers in ["1", "2"] {
        for kept in [false, true] {
            let output = directory.path().join(format!("{workers}-{kept}.jsonl"));
            let mut program =
                program(files, &output).with(["--workers", workers]).with(arguments.iter().copied());
            if kept {
                program = program.path("--state-dir", &directory.path().join(workers));
            }
            program.succeeds();
            same(&lines_of(&output), expected, &format!("{workers} workers, state kept: {kept}"));
        }
    }
}

fn kinds(lines: &[String], kind: &str) -> usize {
    let start = format!(r#"{{"kind":"{kind}""#);
    lines.iter().filter(|line| line.starts_with(&start)).count()
}

fn file(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, bytes).expect("there is room");
    path
}

// --- the tests ---------------------------------------------------------------------------------------------------

#[test]
fn the_recorded_log() {
    let Some(log) = recorded("clickstream/access.log") else { return };
    let all = expected(&[&log], 60, 30);
    assert_eq!([kinds(&all, "page_views"), kinds(&all, "active_users"), kinds(&all, "bad")], [2622, 84, 1]);
    agrees(&[&log], &[], &all);
    let tight = expected(&[&log], 10, 0);
    assert!(kinds(&tight, "late") > 100, "{}", kinds(&tight, "late"));
    agrees(&[&log], &["--window", "10s", "--lateness", "0s"], &tight);
}

#[test]
fn made_logs_with_disorder_late_and_bad_lines() {
    let directory = tempdir().expect("there is room");
    for seed in 0..4 {
        let log = file(directory.path(), &format!("{seed}.log"), &made_log(seed, 6_000, START, 150));
        let all = expected(&[&log], 60, 30);
        assert!(kinds(&all, "late") > 50 && kinds(&all, "bad") > 50, "the log shows little");
        agrees(&[&log], &["--window", "1m", "--lateness", "30s", "--epoch", "50ms"], &all);
    }
}

#[test]
fn sessions_of_the_recorded_log() {
    let Some(log) = recorded("clickstream/access.log") else { return };
    let mut all = expected(&[&log], 60, 30);
    all.extend(expected_sessions(&log, 30 * 60, 60, 30));
    all.sort();
    assert!(kinds(&all, "session") > 1_000, "{}", kinds(&all, "session"));
    agrees(&[&log], &["--session-gap", "30m"], &all);
}

#[test]
fn sessions_with_disorder_merges_and_late_requests() {
    let directory = tempdir().expect("there is room");
    for (seed, gap) in [(0, 4), (1, 20), (2, 90)] {
        let log = file(directory.path(), &format!("{seed}.log"), &made_log(seed, 3_000, START, 150));
        let mut all = expected(&[&log], 60, 30);
        all.extend(expected_sessions(&log, gap, 60, 30));
        all.sort();
        assert!(kinds(&all, "session") > 20, "{}", kinds(&all, "session"));
        assert_eq!(kinds(&all, "late_for_session") > 0, gap < 60);
        agrees(&[&log], &["--session-gap", &format!("{gap}s"), "--epoch", "50ms"], &all);
    }
}

#[test]
fn several_logs_are_one() {
    let directory = tempdir().expect("there is room");
    let logs: Vec<_> = [(1, START), (2, START + 40), (3, START - 86_400)]
        .map(|(seed, start)| {
            file(directory.path(), &format!("{seed}.log"), &made_log(seed, 3_000, start, 60))
        })
        .into();
    let logs: Vec<&Path> = logs.iter().map(PathBuf::as_path).collect();
    // Which requests would be late depends on which file is read first; with this lateness none is.
    agrees(&logs, &["--lateness", "2days"], &expected(&logs, 60, 2 * 86_400));
}

#[test]
fn stopped_and_started_again() {
    let directory = tempdir().expect("there is room");
    let log = file(directory.path(), "access.log", &made_log(5, 9_000, START, 150));
    let output = directory.path().join("out.jsonl");
    let state = directory.path().join("state");
    let whole =
        program(&[&log], &output).path("--state-dir", &state).with(["--epoch", "100ms", "--workers", "2"]);
    let mut stops = 0;
    for _ in 0..3 {
        let slow = program(&[&log], &output).path("--state-dir", &state);
        let before = fs::read_to_string(&output).map_or(0, |text| text.lines().count());
        let mut child = slow.with(["--epoch", "100ms", "--workers", "2", "--rate", "4000"]).start();
        if wait_for_lines(&mut child, &output, before + 20) {
            stops += 1;
            terminate(child);
        } else {
            child.wait().expect("was started");
        }
    }
    let expected = expected(&[&log], 60, 30);
    assert!(stops > 1, "it was never stopped in the middle");
    whole.succeeds();
    same(&lines_of(&output), &expected, "after stops");
    whole.succeeds();
    same(&lines_of(&output), &expected, "started again after its end");
}

#[test]
fn inputs_that_are_none() {
    let directory = tempdir().expect("there is room");
    let output = directory.path().join("out.jsonl");
    let missing = directory.path().join("missing.log");
    let told = program(&[&missing], &output).fails(1);
    assert!(told.starts_with("clickstream: ") && told.contains("missing.log"), "{told}");
    assert!(told.contains("No such file"), "{told}");
    let told = program(&[directory.path()], &output).fails(1);
    assert!(told.contains("not a regular file"), "{told}");
    let log = file(directory.path(), "access.log", b"");
    let told = program(&[&log], &directory.path().join("no/such/out.jsonl")).fails(1);
    assert!(told.contains("out.jsonl"), "{told}");
    program(&[&log], &output).succeeds();
    assert!(lines_of(&output).is_empty());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&log, fs::Permissions::from_mode(0o000)).expect("is ours");
        if fs::read(&log).is_err() {
            let told = program(&[&log], &output).fails(1);
            assert!(told.contains("ermission denied"), "{told}");
        }
    }
}

#[test]
fn garbage_is_bad_line_by_line() {
    let directory = tempdir().expect("there is room");
    let garbage: Vec<u8> =
        (0..20_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let log = file(directory.path(), "garbage.log", &garbage);
    let all = expected(&[&log], 60, 30);
    assert_eq!(kinds(&all, "bad"), all.len());
    agrees(&[&log], &[], &all);
}

#[test]
fn the_command_line_is_checked() {
    let clickstream = || Program::new("clickstream");
    let help = program::text(&clickstream().with(["--help"]).succeeds().stdout);
    for flag in ["--input", "--brokers", "--topic", "--output", "--window", "--lateness", "--state-dir"] {
        assert!(help.contains(flag), "{flag}");
    }
    assert!(help.contains(r#""request":"#), "the form of JSON input is told");
    clickstream().with(["--brokers", "localhost:9092"]).fails(2);
    clickstream().with(["--window", "soon"]).fails(2);
    let told = clickstream().with(["--window", "0s"]).fails(1);
    assert!(told.contains("at least one millisecond"), "{told}");
    let told = clickstream().with(["--session-gap", "0s"]).fails(1);
    assert!(told.contains("gap") && told.contains("clickstream.rs:"), "{told}");
    let told = clickstream().with(["--workers", "0"]).fails(1);
    assert!(told.contains("workers"), "{told}");
}

#[test]
fn the_generator_is_the_same_for_every_number_of_workers() {
    let directory = tempdir().expect("there is room");
    let run = |workers: &str, seed: &str| {
        let output = directory.path().join(format!("{workers}-{seed}.jsonl"));
        let program = Program::new("clickstream").path("--output", &output);
        program.with(["--events", "50000", "--workers", workers, "--seed", seed]).succeeds();
        lines_of(&output)
    };
    let one = run("1", "7");
    assert!(["page_views", "active_users", "late", "bad"].iter().all(|kind| kinds(&one, kind) > 0));
    same(&run("2", "7"), &one, "2 workers");
    assert_ne!(run("1", "8"), one);
}

#[test]
fn a_pipe_gets_plain_lines_and_may_be_closed() {
    let output = Program::new("clickstream").with(["--events", "20000"]).succeeds();
    let shown = program::text(&output.stdout);
    assert!(shown.contains("page views") && shown.contains("most viewed"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no pictures in a pipe");

    let (reader, writer) = std::io::pipe().expect("there are pipes");
    drop(reader);
    let program = Program::new("clickstream").with(["--events", "20000"]);
    let output = program.run_into(writer);
    assert!(output.status.success() && !program::text(&output.stderr).contains("panicked"));
}

#[test]
fn an_output_is_not_emptied_for_an_input_that_is_wrong() {
    let directory = tempdir().expect("there is room");
    let (log, output) = (directory.path().join("access.log"), directory.path().join("out.jsonl"));
    fs::write(&log, "no request\n").expect("there is room");
    fs::write(&output, "results of yesterday\n").expect("there is room");
    let missing = directory.path().join("missing.log");
    let told = Program::new("clickstream").path("--input", &missing).path("--output", &output).fails(1);
    assert!(told.contains("missing.log"), "{told}");
    assert_eq!(fs::read_to_string(&output).expect("is there"), "results of yesterday\n");
    let told = Program::new("clickstream").path("--input", &log).path("--output", &log).fails(1);
    assert!(told.contains("the output is also an input"), "{told}");
    assert_eq!(fs::read_to_string(&log).expect("is there"), "no request\n");
}

#[test]
fn a_state_directory_whose_input_has_ended_takes_no_other() {
    let directory = tempdir().expect("there is room");
    let [first, second, output] = ["a.log", "b.log", "out.jsonl"].map(|name| directory.path().join(name));
    fs::write(&first, "no request\n").expect("there is room");
    fs::write(&second, "none either\n").expect("there is room");
    let program = || {
        let program = Program::new("clickstream").path("--input", &first).path("--output", &output);
        program.path("--state-dir", &directory.path().join("state"))
    };
    program().succeeds();
    let before = fs::read_to_string(&output).expect("is there");
    let told = program().path("--input", &second).fails(1);
    assert!(told.contains("b.log") && told.contains("new state directory"), "{told}");
    program().succeeds();
    assert_eq!(fs::read_to_string(&output).expect("is there"), before);
}
