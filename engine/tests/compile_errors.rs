//! What the compiler says to a user who makes a mistake, held word for word.
//!
//! Each file in `compile_errors/` is a program with a mistake, and beside it what rustc says to it. To write the
//! latter anew: `HIGHWATER_BLESS=1 cargo test --release --workspace --test compile_errors`; then read the
//! difference as a user would.
//!
//! Other compilers word their errors differently. So the first line of an expectation names the compiler, and
//! with any other only our own sentences are looked for: the lines `//~ text` of the program.
//!
//! Neither cargo nor a build takes part: rustc checks the programs against the library that cargo has just built
//! for this test.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library that this test was built with, as a program would have it.
struct Library {
    rlib: PathBuf,
    deps: PathBuf,
}

impl Library {
    /// Of several builds the last one: cargo has brought one up to date for this test, so a later one has the
    /// same source.
    fn find() -> Library {
        let test = std::env::current_exe().expect("a test knows where it is");
        let deps = test.parent().expect("a test is in a folder").to_owned();
        let entries = fs::read_dir(&deps).expect("the folder of the test can be listed");
        let built = entries.filter_map(|entry| {
            let entry = entry.expect("an entry of the folder of the test can be read");
            let name = entry.file_name().into_string().ok()?;
            let is_library = name.starts_with("libhighwater-") && name.ends_with(".rlib");
            let time = entry.metadata().ok()?.modified().ok()?;
            is_library.then(|| (time, entry.path()))
        });
        let (_, rlib) =
            built.max().unwrap_or_else(|| panic!("no library beside the test in {}", deps.display()));
        Library { rlib, deps }
    }

    /// Checks a program; gives whether it is right, and what the compiler says.
    fn check(&self, program: &str) -> (bool, String) {
        let mut library = OsString::from("highwater=");
        library.push(&self.rlib);
        let mut deps = OsString::from("dependency=");
        deps.push(&self.deps);
        let out = tempfile::tempdir().expect("a temporary folder");
        let output = rustc()
            .current_dir(folder())
            .args([
                "--edition",
                "2024",
                "--crate-name",
                "program",
                "--crate-type",
                "bin",
                "--emit",
                "metadata",
            ])
            .args(["--color", "never", "--out-dir"])
            .arg(out.path())
            .arg("--extern")
            .arg(library)
            .arg("-L")
            .arg(deps)
            .arg(format!("{program}.rs"))
            .output()
            .expect("rustc runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// `rustc 1.95`
fn compiler() -> String {
    let output = rustc().arg("--version").output().expect("rustc runs");
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    version.rsplit_once('.').expect("a version has three parts; the last is left out").0.to_owned()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compile_errors")
}

/// The names of the files with this extension, without it.
fn names(extension: &str) -> Vec<String> {
    let entries = fs::read_dir(folder()).expect("the programs can be listed");
    let paths = entries.map(|entry| entry.expect("an entry can be read").path());
    let of_kind = paths.filter(|path| path.extension().is_some_and(|found| found == extension));
    let mut names: Vec<String> =
        of_kind.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    names
}

/// Leaves out what changes without the message changing: lines of the library, places on this machine, files
/// with long names of types, the count of errors.
fn settled(said: &str) -> String {
    let passing = [
        "error: aborting due to",
        "Some errors have detailed explanations",
        "For more information about",
        "= note: the full name for the type has been written to",
        "= note: consider using `--verbose`",
    ];
    let kept = said.lines().filter(|line| !passing.iter().any(|start| line.trim_start().starts_with(start)));
    let mut text = String::new();
    for line in kept.map(without_place_in_library) {
        // What is left out leaves empty lines behind.
        if !(line.is_empty() && text.ends_with("\n\n")) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    text.trim_end().to_owned() + "\n"
}

/// `--> /any/where/operators/src/window.rs:52:4` as `--> operators/src/window.rs`.
fn without_place_in_library(line: &str) -> String {
    let crates = ["state/src/", "operators/src/", "connectors/src/", "engine/src/"];
    // Where there are several places, those behind the first begin with dots.
    let arrow = line.find("--> ").or_else(|| line.find("::: "));
    let (Some(arrow), Some(end)) = (arrow, line.find(".rs:")) else { return line.to_owned() };
    let Some(start) = crates.iter().filter_map(|name| line.find(name)).min() else { return line.to_owned() };
    format!("{}{}", &line[..arrow + 4], &line[start..end + 3])
}

/// What is wrong with what the compiler says to this program.
fn offence(library: &Library, compiler: &str, name: &str) -> Option<String> {
    let source =
        fs::read_to_string(folder().join(name).with_extension("rs")).expect("the program can be read");
    let expected = folder().join(name).with_extension("stderr");
    let (is_right, said) = library.check(name);
    if is_right {
        return Some(format!("{name}.rs compiles, and should not"));
    }
    let said = settled(&said);
    let sentences = source.lines().filter_map(|line| line.strip_prefix("//~ "));
    let missing: Vec<&str> = sentences.filter(|sentence| !said.contains(sentence)).collect();
    if !missing.is_empty() {
        return Some(format!("{name}.rs: the compiler does not say {missing:?}, but:\n{said}"));
    }
    let text = format!("{compiler}\n\n{said}");
    if std::env::var_os("HIGHWATER_BLESS").is_some() {
        fs::write(expected, text).expect("an expectation can be written");
        return None;
    }
    let Ok(expected) = fs::read_to_string(expected) else {
        return Some(format!("{name}.stderr is missing; HIGHWATER_BLESS=1 writes it:\n{text}"));
    };
    let is_same_compiler = expected.lines().next() == Some(compiler);
    if !is_same_compiler || expected == text {
        return None;
    }
    let same = expected.lines().zip(text.lines()).take_while(|(wanted, found)| wanted == found).count();
    Some(format!("{name}.stderr:{}: expected\n{expected}\nbut the compiler says\n{text}", same + 1))
}

#[test]
fn the_compiler_says_what_is_wrong() {
    let library = Library::find();
    let compiler = compiler();
    let programs: Vec<String> = names("rs").into_iter().filter(|name| name != "good").collect();
    let offences: Vec<String> =
        programs.iter().filter_map(|name| offence(&library, &compiler, name)).collect();
    assert!(offences.is_empty(), "{}", offences.join("\n\n"));
    assert_eq!(names("stderr"), programs, "each program with a mistake has an expectation, and no other has");
}

#[test]
fn a_program_without_a_mistake_compiles() {
    let (is_right, said) = Library::find().check("good");
    assert!(is_right && said.is_empty(), "{said}");
}

#[test]
fn places_in_the_library_are_left_out_and_those_in_the_program_stay() {
    let said = "error: no\n  --> a.rs:12:10\n  --> /somewhere/operators/src/window.rs:52:4\n  \
                ::: state/src/id.rs:3:1\n\nerror: aborting due to 1 previous error\n\n\
                For more information about this error\n";
    assert_eq!(
        settled(said),
        "error: no\n  --> a.rs:12:10\n  --> operators/src/window.rs\n  ::: state/src/id.rs\n"
    );
}
