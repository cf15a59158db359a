//! The rules. Each function lists what breaks one of them.

use super::manifest;
use super::tree::{Code, File, Tree};

/// The crates from left to right: folder and package.
const CRATES: [(&str, &str); 4] = [
    ("state", "highwater-state"),
    ("operators", "highwater-operators"),
    ("connectors", "highwater-connectors"),
    ("engine", "highwater"),
];
/// The members that use the facade only.
const USERS: [&str; 6] = ["http", "mqtt", "parquet", "postgres", "examples", "benches"];
const LIBRARIES: [&str; 8] =
    ["state", "operators", "connectors", "engine", "http", "mqtt", "parquet", "postgres"];
const MEMBERS: [&str; 10] = [
    "state",
    "operators",
    "connectors",
    "engine",
    "http",
    "mqtt",
    "parquet",
    "postgres",
    "examples",
    "benches",
];

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 120;
const RECORD_LINES_MAX: usize = 60;

/// A dependency goes to the left; the other members know the facade only.
pub fn crate_order(tree: &Tree) -> Vec<String> {
    let mut offences = Vec::new();
    for folder in MEMBERS {
        let path = format!("{folder}/Cargo.toml");
        let Some(file) = tree.get(&path) else {
            offences.push(format!("{path}:1: missing; every member has a manifest"));
            continue;
        };
        let place = CRATES.iter().position(|(name, _)| *name == folder);
        for dependency in manifest::dependencies(file) {
            let Some(target) = CRATES.iter().position(|(_, package)| *package == dependency.package) else {
                continue;
            };
            let (line, package) = (dependency.line, &dependency.package);
            let to = CRATES[target].0;
            match place {
                Some(place) if target >= place && !dependency.dev => offences.push(format!(
                    "{path}:{line}: {folder} depends on {to}, which is not to its left (state < operators < \
                     connectors < engine); move what it needs to the left, or the code that needs it to the right"
                )),
                None if USERS.contains(&folder) && to != "engine" => offences
                    .push(format!("{path}:{line}: {folder} depends on `{package}`; use it through `highwater`")),
                _ => {}
            }
        }
    }
    offences
}

pub fn file_length(tree: &Tree) -> Vec<String> {
    let long = tree.rust().filter(|file| file.text.lines().count() > FILE_LINES_MAX);
    long.map(|file| {
        let lines = file.text.lines().count();
        format!("{}:{FILE_LINES_MAX}: {lines} lines; split it: a file is one concept", file.path)
    })
    .collect()
}

pub fn function_length(tree: &Tree) -> Vec<String> {
    let mut offences = Vec::new();
    for file in tree.rust() {
        for (name, line, lines) in Code::of(file).functions() {
            if lines > FUNCTION_LINES_MAX {
                offences.push(format!(
                    "{}:{line}: `{name}` has {lines} lines; at most {FUNCTION_LINES_MAX}: split it",
                    file.path
                ));
            }
        }
    }
    offences
}

pub fn line_length(tree: &Tree) -> Vec<String> {
    each_line(tree.rust(), |line| {
        let chars = line.chars().count();
        (chars > LINE_CHARS_MAX)
            .then(|| format!("{chars} characters; break it at {LINE_CHARS_MAX} or before"))
    })
}

/// `#[ignore = "why"]` is the only form, also inside `cfg_attr`.
pub fn ignored_tests(tree: &Tree) -> Vec<String> {
    let mut offences = Vec::new();
    for file in tree.rust() {
        let code = Code::of(file);
        for attribute in code.attributes() {
            for at in attribute.clone().filter(|at| code.text(*at) == "ignore") {
                let names_it = at == attribute.start || code.text(attribute.start) == "cfg_attr";
                let reason = code.text(at + 2).trim_matches('"').trim();
                let says_why = code.text(at + 1) == "=" && reason.split_whitespace().count() >= 2;
                if names_it && !says_why {
                    offences.push(format!(
                        "{}:{}: a test is ignored without a reason; write #[ignore = \"why, and until when\"]",
                        file.path,
                        code.line(at)
                    ));
                }
            }
        }
    }
    offences
}

pub fn commented_out_tests(tree: &Tree) -> Vec<String> {
    let mut offences = Vec::new();
    for file in tree.rust() {
        for (line, text) in Code::of(file).comments(&file.text) {
            let attribute =
                ["#[test]", "#[ignore", "#[should_panic"].iter().any(|start| text.starts_with(start));
            let function = text.starts_with("fn ") && text.contains("()") && text.ends_with('{');
            if attribute || function {
                offences.push(format!(
                    "{}:{line}: a test is commented out; run it, delete it, or ignore it with a reason",
                    file.path
                ));
            }
        }
    }
    offences
}

/// A module says what it is for before anything else.
pub fn module_prose(tree: &Tree) -> Vec<String> {
    let opens = |file: &&File| {
        let lines = file.text.lines().take_while(|line| line.starts_with("//!"));
        let prose: Vec<&str> =
            lines.flat_map(|line| line.trim_start_matches("//!").split_whitespace()).collect();
        prose.len() >= 3 && prose[..3] != ["To", "be", "written."]
    };
    let silent = tree.sources(&MEMBERS).filter(|file| !opens(file));
    silent
        .map(|file| {
            let path = &file.path;
            format!("{path}:1: opens without prose; begin with `//!`: what it is for, what it keeps, what it knows not")
        })
        .collect()
}

pub fn lints(tree: &Tree) -> Vec<String> {
    let Some(root) = tree.get("Cargo.toml") else { return vec!["Cargo.toml:1: missing".into()] };
    let mut offences = Vec::new();
    for (table, lint) in [("workspace.lints.rust", "missing_docs"), ("workspace.lints.clippy", "unwrap_used")]
    {
        let level = manifest::value(root, table, lint);
        if !matches!(level.as_deref(), Some("deny" | "forbid")) {
            offences.push(format!(
                "Cargo.toml:1: `{lint}` is not denied; write {lint} = \"deny\" under [{table}]"
            ));
        }
    }
    let members = manifest::members(root);
    for folder in MEMBERS {
        if !members.iter().any(|member| member == folder) {
            offences
                .push(format!("Cargo.toml:1: `{folder}` is no member; members are {}", MEMBERS.join(", ")));
        }
    }
    for folder in members {
        let path = format!("{folder}/Cargo.toml");
        let takes = |file| manifest::value(file, "lints", "workspace").as_deref() == Some("true");
        if !tree.get(&path).is_some_and(takes) {
            offences.push(format!("{path}:1: takes no lints; write workspace = true under [lints]"));
        }
    }
    offences
}

pub fn left_to_do(tree: &Tree) -> Vec<String> {
    let mut offences = Vec::new();
    for file in tree.rust() {
        let code = Code::of(file);
        for name in ["todo", "unimplemented", "dbg"] {
            for at in code.find(&[name, "!"]) {
                offences.push(format!("{}:{}: {name}!; write it, or take it out", file.path, code.line(at)));
            }
        }
    }
    offences
}

pub fn unwraps(tree: &Tree) -> Vec<String> {
    let advice = "return the error, or state the invariant with expect";
    outside_tests(
        tree,
        &LIBRARIES,
        &[".unwrap()", ".unwrap_err()", "Option::unwrap", "Result::unwrap"],
        advice,
    )
}

/// HW-7: operators are deterministic.
pub fn clocks_and_threads(tree: &Tree) -> Vec<String> {
    let sources = [
        "Instant::now",
        "SystemTime::now",
        "Utc::now",
        "Local::now",
        "thread::spawn",
        "thread::scope",
        "thread::sleep",
        "thread::Builder",
    ];
    let advice =
        "HW-7: clocks and threads belong to the engine; take the time from the records or the context";
    outside_tests(tree, &["state", "operators"], &sources, advice)
}

pub fn drawers(tree: &Tree) -> Vec<String> {
    let drawers = ["utils", "util", "common", "helpers", "helper", "misc"];
    let advice = "name what is in it; a drawer collects what belongs nowhere";
    let mut offences = Vec::new();
    for file in tree.rust() {
        let path = &file.path;
        let code = Code::of(file);
        for name in drawers {
            if path.trim_end_matches(".rs").split('/').any(|part| part == name) {
                offences.push(format!("{path}:1: a file or folder called `{name}`; {advice}"));
            }
            for at in code.find(&["mod", name, "{"]) {
                offences.push(format!("{path}:{}: a module called `{name}`; {advice}", code.line(at)));
            }
        }
    }
    offences
}

pub fn decision_records(tree: &Tree) -> Vec<String> {
    let mut offences = Vec::new();
    for file in &tree.files {
        let path = &file.path;
        let Some(name) = path.strip_prefix("docs/decisions/").filter(|name| name.ends_with(".md")) else {
            continue;
        };
        if name == "README.md" {
            continue;
        }
        for heading in ["Context", "Decision", "Consequences"] {
            let is_heading =
                |line: &str| line.starts_with('#') && line.trim_start_matches('#').trim() == heading;
            if !file.text.lines().any(is_heading) {
                offences.push(format!("{path}:1: has no heading `{heading}`; write `## {heading}`"));
            }
        }
        let lines = file.text.lines().count();
        if lines > RECORD_LINES_MAX {
            offences.push(format!(
                "{path}:{RECORD_LINES_MAX}: {lines} lines; say it in at most {RECORD_LINES_MAX}"
            ));
        }
    }
    offences
}

pub fn machine_paths(tree: &Tree) -> Vec<String> {
    // Put together here, so that this file does not name them.
    let places = ["work", "root"].map(|folder| format!("/{folder}/"));
    each_line(tree.files.iter(), |line| {
        let place = places.iter().find(|place| starts_a_path(line, place))?;
        Some(format!("names `{place}`, which is a place on one machine; make it relative or a setting"))
    })
}

/// Whether a path in this line begins with `place`, and does not only go through it.
fn starts_a_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "_-.~/})*".contains(c))
    })
}

fn each_line<'a>(
    files: impl Iterator<Item = &'a File>,
    fault: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut offences = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(what) = fault(line) {
                offences.push(format!("{}:{}: {what}", file.path, number + 1));
            }
        }
    }
    offences
}

/// Where the library code of these crates says one of `sources`.
fn outside_tests(tree: &Tree, crates: &[&str], sources: &[&str], advice: &str) -> Vec<String> {
    let mut offences = Vec::new();
    for file in tree.sources(crates).filter(|file| !tree.is_test_module(file)) {
        let code = Code::of(file);
        for source in sources {
            for at in code.find_source(source).into_iter().filter(|at| !code.in_test(*at)) {
                offences.push(format!("{}:{}: `{source}`; {advice}", file.path, code.line(at)));
            }
        }
    }
    offences
}
