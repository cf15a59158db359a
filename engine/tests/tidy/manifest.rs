//! What the checks need to know of a `Cargo.toml`: tables, keys and values, each with its line.
//!
//! It reads the part of TOML that this workspace uses: one key a line, arrays over one or several lines.

use super::tree::File;

/// One `key = value` of a manifest.
pub struct Entry {
    /// The table it stands in, as written between brackets.
    pub table: String,
    pub key: String,
    pub value: String,
    pub line: usize,
}

/// A dependency on a package.
pub struct Dependency {
    pub package: String,
    /// Only tests, examples and benchmarks of the package use it.
    pub dev: bool,
    pub line: usize,
}

/// All entries of a manifest.
pub fn entries(file: &File) -> Vec<Entry> {
    let mut table = String::new();
    let mut found: Vec<Entry> = Vec::new();
    let mut open = false;
    for (number, line) in file.text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if open {
            let entry = found.last_mut().expect("an array is open, so an entry was found");
            entry.value.push_str(line);
            open = !line.ends_with(']');
        } else if let Some(name) = line.strip_prefix('[') {
            table = name.trim_matches(['[', ']']).into();
            found.push(Entry {
                table: table.clone(),
                key: String::new(),
                value: String::new(),
                line: number + 1,
            });
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim().trim_matches('"').into(), value.trim().to_owned());
            open = value.starts_with('[') && !value.ends_with(']');
            found.push(Entry { table: table.clone(), key, value, line: number + 1 });
        }
    }
    found
}

/// The value of `table.key`, also when it is written `key.sub = value` or with the table's name in the key.
pub fn value(file: &File, table: &str, key: &str) -> Option<String> {
    let found = entries(file).into_iter().find(|entry| entry.table == table && entry.key == key);
    found.map(|entry| entry.value.trim_matches('"').to_owned())
}

/// The members of a workspace.
pub fn members(root: &File) -> Vec<String> {
    let list = value(root, "workspace", "members").unwrap_or_default();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every dependency of a member, renamed ones by their package.
pub fn dependencies(file: &File) -> Vec<Dependency> {
    let mut found: Vec<Dependency> = Vec::new();
    for entry in entries(file) {
        let Some((kind, rest)) = dependency_table(&entry.table) else { continue };
        let dev = kind == "dev-dependencies";
        match (rest, entry.key.as_str()) {
            ("", "") => {}
            ("", key) => {
                let name = key.split('.').next().unwrap_or(key);
                let package = if key.ends_with(".package") {
                    Some(entry.value.trim_matches('"'))
                } else {
                    entry.value.split_once("package").and_then(|(_, after)| after.split('"').nth(1))
                };
                found.push(Dependency { package: package.unwrap_or(name).into(), dev, line: entry.line });
            }
            (name, "") => {
                found.push(Dependency { package: name.trim_matches('"').into(), dev, line: entry.line })
            }
            (_, "package") => {
                let package = entry.value.trim_matches('"').into();
                found.push(Dependency { package, dev, line: entry.line });
            }
            _ => {}
        }
    }
    found
}

/// The kind of dependencies that a table lists, and the one dependency it describes, if it is about one.
fn dependency_table(table: &str) -> Option<(&'static str, &str)> {
    for kind in ["dev-dependencies", "build-dependencies", "dependencies"] {
        let Some(at) = table.find(kind) else { continue };
        let before = &table[..at];
        if before.is_empty() || before.starts_with("target.") {
            return Some((kind, table[at + kind.len()..].trim_start_matches('.')));
        }
    }
    None
}
