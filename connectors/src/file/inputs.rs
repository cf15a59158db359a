//! The files of a source: one split each, named by the path as given.
//!
//! Invariant: the names are unique, also when two of them lead to one file. It knows no format.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::FileError;
use super::scan::Scanner;

/// The paths of a source.
#[derive(Clone, Debug)]
pub(super) struct Inputs {
    paths: Vec<PathBuf>,
    max_line_bytes: usize,
}

impl Inputs {
    pub(super) fn new(paths: Vec<PathBuf>, max_line_bytes: usize) -> Self {
        Inputs { paths, max_line_bytes }
    }

    /// The name of each file, after a check that each can be read.
    pub(super) fn splits(&self) -> Result<Vec<String>, FileError> {
        if self.paths.is_empty() {
            return Err(FileError::NoPath);
        }
        let mut names = Vec::with_capacity(self.paths.len());
        let mut files: HashMap<PathBuf, String> = HashMap::new();
        for path in &self.paths {
            let name = path.to_string_lossy().into_owned();
            open(path)?;
            let file = fs::canonicalize(path).map_err(FileError::system("find", path))?;
            if let Some(first) = files.insert(file, name.clone()) {
                return Err(FileError::Duplicate { first, second: name });
            }
            if names.contains(&name) {
                return Err(FileError::Duplicate { first: name.clone(), second: name }); // not UTF-8, and alike
            }
            names.push(name);
        }
        Ok(names)
    }

    /// The file called `split`, from its beginning.
    pub(super) fn scanner(&self, split: &str) -> Result<(PathBuf, Scanner<fs::File>), FileError> {
        let path = self.paths.iter().find(|path| path.to_string_lossy() == split);
        let path = path.ok_or_else(|| FileError::UnknownSplit { split: split.to_owned() })?;
        Ok((path.clone(), Scanner::new(open(path)?, self.max_line_bytes)))
    }
}

fn open(path: &Path) -> Result<fs::File, FileError> {
    let found = fs::metadata(path).map_err(FileError::system("open", path))?;
    if !found.is_file() {
        return Err(FileError::NotAFile { path: path.to_owned() }); // opening a pipe would wait for its writer
    }
    fs::File::open(path).map_err(FileError::system("open", path))
}

#[cfg(test)]
mod tests {
    use highwater_operators::error::Cause;

    use super::*;

    #[test]
    fn files_that_cannot_be_read_are_named() -> Result<(), Cause> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("a.log");
        fs::write(&file, "a\n")?;
        let missing = directory.path().join("missing.log");
        let again = directory.path().join(".").join("a.log");
        let cases = [
            (vec![], "has no path".to_owned()),
            (vec![missing], "cannot open".to_owned()),
            (vec![directory.path().to_owned()], "is not a regular file".to_owned()),
            (vec![file.clone(), file.clone()], format!("{0} and {0} are the same file", file.display())),
            (vec![file.clone(), again], "are the same file".to_owned()),
        ];
        for (paths, message) in cases {
            let error = Inputs::new(paths, 10).splits().expect_err("it cannot be read").to_string();
            assert!(error.contains(&message), "{error}");
        }
        let inputs = Inputs::new(vec![file.clone()], 10);
        assert_eq!(inputs.splits()?, [file.to_string_lossy()]);
        assert!(matches!(inputs.scanner("other"), Err(FileError::UnknownSplit { .. })));
        Ok(())
    }
}
