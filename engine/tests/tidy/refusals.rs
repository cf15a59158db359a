//! Each check refuses what it is there to refuse, and lets the rightful neighbour of it pass.

use super::checks;
use super::tree::Tree;

/// Holds that `check` finds exactly the offences that begin with `expected` in these files.
#[track_caller]
fn refuses(check: fn(&Tree) -> Vec<String>, files: &[(&str, &str)], expected: &[&str]) {
    let offences = check(&Tree::of(files));
    let matches = offences.len() == expected.len()
        && offences.iter().zip(expected).all(|(offence, start)| offence.starts_with(start));
    assert!(matches, "expected {expected:#?}\nfound {offences:#?}");
}

/// Manifests of the members, with the text given in place of one of them.
fn manifests(folder: &'static str, text: &'static str) -> Vec<(&'static str, &'static str)> {
    let names = [
        ("state", "state/Cargo.toml"),
        ("operators", "operators/Cargo.toml"),
        ("connectors", "connectors/Cargo.toml"),
        ("engine", "engine/Cargo.toml"),
        ("http", "http/Cargo.toml"),
        ("mqtt", "mqtt/Cargo.toml"),
        ("parquet", "parquet/Cargo.toml"),
        ("postgres", "postgres/Cargo.toml"),
        ("examples", "examples/Cargo.toml"),
        ("benches", "benches/Cargo.toml"),
    ];
    let lints = "[lints]\nworkspace = true\n";
    names.map(|(name, path)| (path, if name == folder { text } else { lints })).to_vec()
}

#[test]
fn a_dependency_to_the_right() {
    let refuses =
        |folder, text, expected: &[&str]| refuses(checks::crate_order, &manifests(folder, text), expected);
    refuses(
        "state",
        "[dependencies]\nhighwater-operators.workspace = true\n",
        &["state/Cargo.toml:2: state"],
    );
    refuses(
        "operators",
        "[dependencies]\nhighwater = { path = \"../engine\" }\n",
        &["operators/Cargo.toml:2: "],
    );
    refuses(
        "operators",
        "[dependencies]\nx = { package = \"highwater\" } # y\n",
        &["operators/Cargo.toml:2: "],
    );
    refuses("connectors", "[dependencies.highwater]\nworkspace = true\n", &["connectors/Cargo.toml:1: "]);
    refuses(
        "connectors",
        "[target.'cfg(unix)'.dependencies]\nhighwater = \"1\"\n",
        &["connectors/Cargo.toml:2: "],
    );
    refuses("state", "[build-dependencies]\nhighwater = \"1\"\n", &["state/Cargo.toml:2: "]);
    refuses("engine", "[dependencies]\nhighwater-state = \"1\"\nserde = \"1\"\n", &[]);
    refuses("operators", "[dev-dependencies]\nhighwater = \"1\"\n", &[]);
}

#[test]
fn an_example_that_knows_more_than_the_facade() {
    let text = "[dependencies]\nhighwater = \"1\"\n[dev-dependencies]\nhighwater-state = \"1\"\n";
    refuses(
        checks::crate_order,
        &manifests("examples", text),
        &["examples/Cargo.toml:4: examples depends on"],
    );
    refuses(
        checks::crate_order,
        &[],
        &[
            "state/",
            "operators/",
            "connectors/",
            "engine/",
            "http/",
            "mqtt/",
            "parquet/",
            "postgres/",
            "examples/",
            "benches/",
        ],
    );
}

#[test]
fn a_file_of_601_lines() {
    let (long, rightful) = ("\n".repeat(601), "\n".repeat(600));
    refuses(
        checks::file_length,
        &[("a.rs", &long), ("b.rs", &rightful), ("c.md", &long)],
        &["a.rs:600: 601 lines"],
    );
}

#[test]
fn a_function_of_71_lines() {
    let body = |lines: usize| format!("{{{}}}", "\n".repeat(lines - 1));
    let check = checks::function_length;
    refuses(check, &[("a.rs", &format!("\nfn f() {}", body(71)))], &["a.rs:2: `f` has 71 lines"]);
    refuses(
        check,
        &[("a.rs", &format!("impl A {{ fn f(&self) -> [u8; 4] {} }}", body(71)))],
        &["a.rs:1: `f`"],
    );
    refuses(check, &[("a.rs", &format!("proptest! {{ fn f(x in 0..9) {} }}", body(71)))], &["a.rs:1: `f`"]);
    refuses(check, &[("a.rs", &format!("fn f() {{ let g = || {}; }}", body(71)))], &["a.rs:1: `f`"]);
    refuses(check, &[("a.rs", &format!("fn f() {}", body(70)))], &[]);
    refuses(check, &[("a.rs", &format!("trait T {{ fn f(); }} mod m {}", body(71)))], &[]);
    refuses(check, &[("a.rs", &format!("struct S {{ f: fn() }} mod m {}", body(71)))], &[]);
}

#[test]
fn a_line_of_121_characters() {
    let (long, rightful) = (format!("\n{}", "ä".repeat(121)), "ä".repeat(120));
    refuses(
        checks::line_length,
        &[("a.rs", &long), ("b.rs", &rightful), ("c.md", &long)],
        &["a.rs:2: 121 characters"],
    );
}

#[test]
fn an_ignored_test_without_a_reason() {
    let refuses = |text, expected: &[&str]| refuses(checks::ignored_tests, &[("a.rs", text)], expected);
    refuses("#[test]\n#[ignore]\nfn a() {}", &["a.rs:2: "]);
    refuses("#[test]\n#[ignore = \"\"]\nfn a() {}", &["a.rs:2: "]);
    refuses("#[cfg_attr(windows, ignore)] fn a() {}", &["a.rs:1: "]);
    refuses("#[ignore = \"takes an hour\"] fn a() {}", &[]);
    refuses("#[cfg_attr(windows, ignore = \"no signals there\")] fn a() {}", &[]);
    refuses("#[doc(ignore)] fn a() {}", &[]);
}

#[test]
fn a_test_in_a_comment() {
    let refuses = |text, expected: &[&str]| refuses(checks::commented_out_tests, &[("a.rs", text)], expected);
    refuses("fn ä() { \"ä\" } // ä\n// #[test]\nfn b() {}", &["a.rs:2: "]);
    refuses("fn a() {}\n// #[test]\n// fn b() {\n// }\n", &["a.rs:2: ", "a.rs:3: "]);
    refuses("fn a() {\n    //fn b() {\n}\n", &["a.rs:2: "]);
    refuses("/*\n * #[test]\n */\nfn a() {}", &["a.rs:2: "]);
    refuses(
        "/// Like `#[test]`:\n/// fn x() {\nfn a() { let s = \"// #[test]\"; }\n// A `#[test]` runs.\n",
        &[],
    );
}

#[test]
fn a_module_without_prose() {
    let refuses = |path, text, expected: &[&str]| refuses(checks::module_prose, &[(path, text)], expected);
    refuses("state/src/a.rs", "use b;\n//! Too late, and no good.\n", &["state/src/a.rs:1: "]);
    refuses("benches/src/lib.rs", "//! To be written.\n", &["benches/src/lib.rs:1: "]);
    refuses("engine/src/a/b.rs", "//!\n//! Queue.\n", &["engine/src/a/b.rs:1: "]);
    refuses("state/src/a.rs", "//! Keys and their bytes.\nuse b;\n", &[]);
    refuses("state/tests/a.rs", "use b;\n", &[]);
}

#[test]
fn a_member_without_lints() {
    let root = "[workspace]\nmembers = [\n  \"state\",\n  \"operators\", \"connectors\",\n  \"engine\", \"http\", \
                \"mqtt\", \"parquet\", \"postgres\", \"examples\", \"benches\"\n]\n[workspace.lints.rust]\n\
                missing_docs = \"deny\"\n\
                [workspace.lints.clippy]\n\
                unwrap_used = \"deny\"\n";
    let with = |root, text| [manifests("engine", text), vec![("Cargo.toml", root)]].concat();
    let lints = "[lints]\nworkspace = true\n";
    refuses(checks::lints, &with(root, lints), &[]);
    refuses(checks::lints, &with(root, "[package]\nworkspace = true\n"), &["engine/Cargo.toml:1: "]);
    let warned = root.replace("missing_docs = \"deny\"", "missing_docs = \"warn\"").leak();
    refuses(checks::lints, &with(warned, lints), &["Cargo.toml:1: `missing_docs`"]);
    let alone = root.replace(" \"examples\",", "").leak();
    refuses(checks::lints, &with(alone, lints), &["Cargo.toml:1: `examples`"]);
}

#[test]
fn what_is_left_to_do() {
    let text = "fn a() { todo!() }\nfn b() { unimplemented!(\"x\") }\nfn c() { dbg!(1); }";
    refuses(checks::left_to_do, &[("a.rs", text)], &["a.rs:1: todo", "a.rs:2: unimpl", "a.rs:3: dbg"]);
    refuses(checks::left_to_do, &[("a.rs", "// todo!()\nfn a() { b(\"dbg!\"); let todo = 1; }")], &[]);
}

#[test]
fn an_unwrap_in_library_code() {
    let refuses = |text, expected: &[&str]| refuses(checks::unwraps, &[("state/src/a.rs", text)], expected);
    refuses("fn a() {\n    b()\n        .unwrap();\n}", &["state/src/a.rs:3: "]);
    refuses("fn a() { m!(b().unwrap()); }", &["state/src/a.rs:1: "]);
    refuses(
        "#[cfg(test)] mod t { fn a() { b().unwrap() } }\nfn c() { b().unwrap() }",
        &["state/src/a.rs:2: "],
    );
    refuses("#[cfg(test)] use t::{a, b};\nfn c() { b().unwrap() }", &["state/src/a.rs:2: "]);
    refuses("struct A { #[cfg(test)] b: u8, c: u8 }\nfn c() { b().unwrap() }", &["state/src/a.rs:2: "]);
    refuses("#[cfg(any(test, unix))] fn c() { b().unwrap() }", &["state/src/a.rs:1: "]);
    refuses("#[cfg(not(test))] fn c() { b().unwrap() }", &["state/src/a.rs:1: "]);
    refuses("#[cfg(test)] fn c<A, B>() { b().unwrap() }", &[]);
    refuses("#[test] fn c() { b().unwrap() }", &[]);
    refuses("#![cfg(test)] fn c() { b().unwrap() }", &[]);
    refuses("/// a.unwrap()\nfn c() { b().unwrap_or(1); \".unwrap()\"; }", &[]);
}

#[test]
fn a_module_of_tests_in_a_file_of_its_own() {
    let body = "fn c() { b().unwrap() }";
    let tested = "#[cfg(test)] mod tests;";
    refuses(checks::unwraps, &[("state/src/a.rs", tested), ("state/src/a/tests.rs", body)], &[]);
    refuses(checks::unwraps, &[("state/src/lib.rs", tested), ("state/src/tests.rs", body)], &[]);
    let shipped = [("state/src/a.rs", "mod tests;"), ("state/src/a/tests.rs", body)];
    refuses(checks::unwraps, &shipped, &["state/src/a/tests.rs:1: "]);
    refuses(checks::unwraps, &[("engine/tests/a.rs", body), ("examples/src/lib.rs", body)], &[]);
}

#[test]
fn a_clock_or_a_thread_below_the_engine() {
    let text = "fn a() { std::time::Instant::now(); SystemTime::now(); }\nuse std::thread::spawn;";
    let starts =
        ["operators/src/a.rs:1: `Inst", "operators/src/a.rs:1: `Sys", "operators/src/a.rs:2: `thread"];
    refuses(checks::clocks_and_threads, &[("operators/src/a.rs", text)], &starts);
    refuses(checks::clocks_and_threads, &[("engine/src/a.rs", text), ("state/tests/a.rs", text)], &[]);
}

#[test]
fn a_drawer() {
    refuses(checks::drawers, &[("state/src/utils.rs", "")], &["state/src/utils.rs:1: "]);
    refuses(checks::drawers, &[("engine/tests/common/a.rs", "")], &["engine/tests/common/a.rs:1: "]);
    refuses(checks::drawers, &[("state/src/a.rs", "\nmod helpers { }")], &["state/src/a.rs:2: "]);
    refuses(checks::drawers, &[("state/src/uncommon.rs", "mod a;")], &[]);
}

#[test]
fn a_decision_record_without_its_parts() {
    let path = "docs/decisions/0001-a.md";
    let whole = "# 1. A\n\n## Context\n\n## Decision\n\n## Consequences\n";
    refuses(checks::decision_records, &[(path, whole), ("docs/decisions/README.md", "")], &[]);
    let without = whole.replace("## Decision\n", "Decision\n");
    refuses(
        checks::decision_records,
        &[(path, &without)],
        &["docs/decisions/0001-a.md:1: has no heading `Decision`"],
    );
    let long = format!("{whole}{}", "\n".repeat(54));
    refuses(checks::decision_records, &[(path, &long)], &["docs/decisions/0001-a.md:60: 61 lines"]);
}

#[test]
fn a_place_on_one_machine() {
    let place = ["", "work", "main"].join("/");
    let home = ["", "root", ".cargo"].join("/");
    let text = format!("cd {place}\n`{home}`\n");
    refuses(checks::machine_paths, &[("a.md", &text)], &["a.md:1: ", "a.md:2: "]);
    refuses(checks::machine_paths, &[("a.md", &format!("docs{place} https://example.org{home}\n"))], &[]);
}
