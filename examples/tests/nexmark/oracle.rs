//! What DuckDB says that a query gives over a dump: independent of Highwater and of the example's code.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A row: its columns in the order of the alphabet.
pub type Row = BTreeMap<String, Value>;

/// The rows of each query over a dump; `None` where DuckDB cannot be had, after saying why.
pub fn rows_of_queries(dump: &Path, directory: &Path) -> Option<BTreeMap<String, Vec<Row>>> {
    if std::env::var("HIGHWATER_DUCKDB").is_ok_and(|wanted| wanted == "off") {
        println!("skipped: HIGHWATER_DUCKDB is off");
        return None;
    }
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(here.join("../scripts/duckdb"));
    command.arg("run").arg(here.join("tests/nexmark/oracle.py")).arg(dump).arg(directory);
    let output = command.output().expect("bash is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => {}
        Some(3) => {
            println!("skipped: {said}");
            return None;
        }
        code => panic!("scripts/duckdb run: {code:?}: {said}"),
    }
    Some(rows_in_all(directory))
}

/// The rows in every file of a directory, by the files' names.
pub fn rows_in_all(directory: &Path) -> BTreeMap<String, Vec<Row>> {
    let files =
        fs::read_dir(directory).expect("the directory is there").map(|file| file.expect("a file").path());
    let rows = files.map(|file| {
        let query = file.file_stem().expect("a name").to_string_lossy().into_owned();
        (query, rows_in(&file))
    });
    rows.collect()
}

/// The rows in a file, in its order.
pub fn rows_in(file: &Path) -> Vec<Row> {
    rows_of(&fs::read_to_string(file).expect("the file is there"))
}

/// The rows in a text of JSON lines.
pub fn rows_of(text: &str) -> Vec<Row> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is torn");
    text.lines().map(|line| serde_json::from_str(line).expect("a row is a JSON object")).collect()
}
