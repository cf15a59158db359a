//! Where in a file a reader stands, and how a restart gets there again.
//!
//! Invariant: a position is the beginning of a line, or the end of the file. A file in which it is not has been
//! changed since, and is refused: reading on would deliver a torn record or skip some.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::error::FileError;
use super::scan::Scanner;

/// Where in a file a reader stands: behind the last record it delivered. Kept in every epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FilePosition {
    /// How many bytes lie before it.
    pub offset: u64,
    /// How many lines lie before it; the next line has the number `line + 1`.
    pub line: u64,
}

/// Makes `scanner` go on from `position`; costs one small read and a seek, however far it is.
///
/// If the last line had no line end when it was read and has one now, that line end is passed over.
pub(super) fn resume(
    scanner: &mut Scanner<fs::File>,
    path: &Path,
    position: FilePosition,
) -> Result<(), FileError> {
    let mut position = position;
    let offset = position.offset;
    let input = scanner.input();
    let bytes = input.metadata().map_err(FileError::system("look at", path))?.len();
    if bytes < offset {
        return Err(FileError::Shorter { path: path.to_owned(), bytes, offset });
    }
    if offset > 0 {
        let mut around = Vec::with_capacity(3);
        input.seek(SeekFrom::Start(offset - 1)).map_err(FileError::system("seek in", path))?;
        input.take(3).read_to_end(&mut around).map_err(FileError::system("read", path))?;
        match around.as_slice() {
            [b'\n', ..] | [_] => {}
            [_, b'\n', ..] => position.offset += 1,
            [_, b'\r', b'\n'] => position.offset += 2,
            _ => return Err(FileError::InsideLine { path: path.to_owned(), offset }),
        }
    }
    scanner.go_to(position).map_err(FileError::system("seek in", path))
}

#[cfg(test)]
mod tests {
    use highwater_operators::codec::Text;
    use highwater_operators::error::Cause;
    use highwater_operators::source::{Polled, Source};

    use crate::file::{File, FilePosition};

    /// What is read from `after` when `before` had been read to its end.
    fn resumed(before: &str, after: &str) -> Result<Vec<String>, Cause> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("log");
        std::fs::write(&path, before)?;
        let source = File::at(&path).lines(Text);
        let split = source.splits()?.remove(0);
        let mut polled = Polled::<String>::default();
        let mut reader = source.open(&split, None)?;
        reader.poll(100, &mut polled)?;
        std::fs::write(&path, after)?;
        let mut rest = Polled::default();
        source.open(&split, Some(reader.position()))?.poll(100, &mut rest)?;
        Ok(rest.values)
    }

    #[test]
    fn a_file_that_grew_is_read_on() -> Result<(), Cause> {
        assert_eq!(resumed("a\n", "a\nb\n")?, ["b"]);
        assert_eq!(resumed("", "a\n")?, ["a"]);
        assert_eq!(resumed("a", "a\nb\n")?, ["b"]);
        assert_eq!(resumed("a", "a\r\nb\n")?, ["b"]);
        assert!(resumed("a", "a")?.is_empty());
        Ok(())
    }

    #[test]
    fn a_file_that_was_replaced_is_refused() {
        let shorter = resumed("aaa\nbbb\n", "aaa\n").expect_err("it is shorter").to_string();
        assert!(shorter.contains("has 4 bytes, but 8 were read before"), "{shorter}");
        let inside = resumed("a\nb\n", "abcdefgh\n").expect_err("byte 4 is inside a line").to_string();
        assert!(inside.contains("byte 4, which is now inside a line"), "{inside}");
        assert!(resumed("a", "ab\n").is_err());
    }

    #[test]
    fn a_position_is_ordered_by_where_it_is() {
        assert!(FilePosition { offset: 1, line: 1 } < FilePosition { offset: 2, line: 1 });
    }
}
