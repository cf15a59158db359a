//! The source of comma-separated rows: each row of a file is one record for serde.
//!
//! The first row names the columns; it is read again at every start, and is no record. Invariant: every other row
//! is delivered once, in order, as a record or as a bad one, and a position stands behind a whole row, so that
//! a restart sees the same rows. A forgotten quote cannot swallow the file: see [`CsvSource`].

use std::fs;
use std::marker::PhantomData;
use std::path::PathBuf;

use csv::{ByteRecord, ErrorKind};
use highwater_operators::error::Cause;
use highwater_operators::source::{BadRecord, Origin, Poll, Polled, Reader, Source};
use serde::de::DeserializeOwned;

use super::error::FileError;
use super::inputs::Inputs;
use super::position::{FilePosition, resume};
use super::row::Row;
use super::scan::{Line, Scanner, too_long, without_line_end};

/// Reads the rows of CSV files; made by [`File::csv`](super::File::csv).
///
/// A row is a bad record, with its raw bytes and the line that it begins at, if
///
/// - it has more or fewer fields than the first row,
/// - serde cannot make a `T` of it (a field is missing, is no number, is not UTF-8),
/// - one of its lines is longer than [`max_line_bytes`](super::File::max_line_bytes); its first 4 KiB are kept,
/// - it opens a quote that is not closed within `max_line_bytes` or before the end of the file: then its first
///   line is the bad record, and reading goes on with the line after it.
///
/// Empty lines are no rows. A mark of byte order at the beginning of the file is passed over. Lines end by `\n`
/// or `\r\n`.
///
/// Errors: those of every file source, and a first row that is too long or leaves a quote open; see
/// [`FileError`].
pub struct CsvSource<T> {
    inputs: Inputs,
    item: PhantomData<fn() -> T>,
}

impl<T> CsvSource<T> {
    pub(super) fn new(inputs: Inputs) -> Self {
        CsvSource { inputs, item: PhantomData }
    }
}

impl<T: DeserializeOwned + Send + 'static> Source for CsvSource<T> {
    type Item = T;
    type Position = FilePosition;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok(self.inputs.splits()?)
    }

    fn open(
        &self,
        split: &str,
        from: Option<FilePosition>,
    ) -> Result<Box<dyn Reader<Item = T, Position = FilePosition>>, Cause> {
        let (path, scanner) = self.inputs.scanner(split)?;
        let mut rows = Rows { scanner, row: Row::default(), joined: Vec::new() };
        let header = rows.header(&path)?;
        if let Some(position) = from
            && position.offset > rows.scanner.position().offset
        {
            resume(&mut rows.scanner, &path, position)?;
        }
        let file = split.to_owned();
        Ok(Box::new(CsvReader { rows, header, path, file, finished: false, item: PhantomData }))
    }
}

/// Finds the rows of one file.
struct Rows {
    scanner: Scanner<fs::File>,
    row: Row,
    /// The raw bytes of a row over several lines.
    joined: Vec<u8>,
}

/// One row, or why there is none.
enum Found<'a> {
    End,
    Blank,
    Row { fields: &'a ByteRecord, raw: &'a [u8] },
    Bad { raw: &'a [u8], reason: String },
}

impl Rows {
    /// The names of the columns; none if the file is empty.
    fn header(&mut self, path: &PathBuf) -> Result<ByteRecord, FileError> {
        loop {
            match self.next_row().map_err(FileError::system("read", path))? {
                Found::End => return Ok(ByteRecord::new()),
                Found::Blank => {}
                Found::Bad { reason, .. } => return Err(FileError::Header { path: path.clone(), reason }),
                Found::Row { fields, .. } => return Ok(without_byte_order_mark(fields)),
            }
        }
    }

    fn next_row(&mut self) -> std::io::Result<Found<'_>> {
        let longest = self.scanner.limit();
        let line = match self.scanner.next_line()? {
            None => return Ok(Found::End),
            Some(Line::TooLong { start, bytes }) => {
                let reason = too_long(bytes, longest);
                self.joined.clear();
                self.joined.extend_from_slice(start);
                return Ok(Found::Bad { raw: &self.joined, reason });
            }
            Some(Line::Whole(line)) => line,
        };
        let content = without_line_end(line);
        if content.is_empty() {
            return Ok(Found::Blank);
        }
        self.row.begin();
        self.row.take(content);
        self.joined.clear();
        if self.row.open() {
            self.row.take(&line[content.len()..]);
            self.joined.extend_from_slice(line);
            return self.rest_of_row();
        }
        self.joined.extend_from_slice(content);
        Ok(Found::Row { fields: self.row.end(), raw: &self.joined })
    }

    /// The further lines of a row whose first line leaves a quote open.
    fn rest_of_row(&mut self) -> std::io::Result<Found<'_>> {
        let longest = self.scanner.limit();
        let first_line = self.joined.len();
        let behind_first_line = self.scanner.position();
        while let Some(Line::Whole(line)) = self.scanner.next_line()? {
            let content = without_line_end(line);
            if self.joined.len() + content.len() > longest {
                break;
            }
            self.row.take(content);
            self.joined.extend_from_slice(line);
            if !self.row.open() {
                return Ok(Found::Row { fields: self.row.end(), raw: without_line_end(&self.joined) });
            }
            self.row.take(&line[content.len()..]);
        }
        self.scanner.go_to(behind_first_line)?;
        let reason = format!(
            "it opens a quote that is not closed before the end of the file or within the {longest} bytes of \
             max_line_bytes; reading goes on with the next line"
        );
        Ok(Found::Bad { raw: without_line_end(&self.joined[..first_line]), reason })
    }
}

fn without_byte_order_mark(header: &ByteRecord) -> ByteRecord {
    let mut names = ByteRecord::new();
    for (index, name) in header.iter().enumerate() {
        let marked = if index == 0 { name.strip_prefix(b"\xEF\xBB\xBF") } else { None };
        names.push_field(marked.unwrap_or(name));
    }
    names
}

struct CsvReader<T> {
    rows: Rows,
    header: ByteRecord,
    path: PathBuf,
    file: String,
    finished: bool,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Reader for CsvReader<T> {
    type Item = T;
    type Position = FilePosition;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        let limit = if self.finished { 0 } else { limit };
        for _ in 0..limit {
            let number = self.rows.scanner.position().line + 1;
            let found = self.rows.next_row().map_err(FileError::system("read", &self.path))?;
            let origin = || Origin::File { file: self.file.clone(), line: number };
            match found {
                Found::End => {
                    self.finished = true;
                    break;
                }
                Found::Blank => {}
                Found::Row { fields, raw } => into.push(decode(&self.header, fields), raw, origin),
                Found::Bad { raw, reason } => {
                    let bad = BadRecord { raw: raw.to_vec(), reason, origin: origin() };
                    into.bad.push((into.values.len(), bad));
                }
            }
        }
        Ok(if self.finished { Poll::Finished } else { Poll::Ready })
    }

    fn position(&self) -> FilePosition {
        self.rows.scanner.position()
    }
}

fn decode<T: DeserializeOwned>(header: &ByteRecord, row: &ByteRecord) -> Result<T, String> {
    if row.len() != header.len() {
        return Err(format!("it has {} fields, and the first row names {} columns", row.len(), header.len()));
    }
    row.deserialize(Some(header)).map_err(|error| match error.kind() {
        ErrorKind::Deserialize { err, .. } => {
            match err.field().and_then(|field| header.get(field as usize)) {
                Some(column) => format!("column `{}`: {}", String::from_utf8_lossy(column), err.kind()),
                None => err.kind().to_string(),
            }
        }
        _ => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::File;

    type Pair = (String, u32);

    fn read(text: &str, longest: usize) -> Result<Polled<Pair>, Cause> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("rows.csv");
        fs::write(&path, text)?;
        let source = File::at(&path).max_line_bytes(longest).csv::<Pair>();
        let mut reader = source.open(&source.splits()?[0], None)?;
        let mut polled = Polled::default();
        while reader.poll(3, &mut polled)? != Poll::Finished {}
        for (_, bad) in &mut polled.bad {
            if let Origin::File { file, .. } = &mut bad.origin {
                *file = file.replace(&path.display().to_string(), "rows.csv");
            }
        }
        Ok(polled)
    }

    fn pair(name: &str, number: u32) -> Pair {
        (name.to_owned(), number)
    }

    #[test]
    fn bad_rows_say_why_and_where() -> Result<(), Cause> {
        let polled = read("name,size\na,1\nb\n\"c\nd\",2\ne,x\nf,3,\n\ng,4", 1000)?;
        assert_eq!(polled.values, [pair("a", 1), pair("c\nd", 2), pair("g", 4)]);
        let bad: Vec<_> =
            polled.bad.iter().map(|(at, bad)| (*at, bad.origin.to_string(), bad.raw.as_slice())).collect();
        let expected: [(usize, &str, &[u8]); 3] =
            [(1, "rows.csv line 3", b"b"), (2, "rows.csv line 6", b"e,x"), (2, "rows.csv line 7", b"f,3,")];
        assert_eq!(bad, expected.map(|(at, origin, raw)| (at, origin.to_owned(), raw)));
        assert_eq!(polled.bad[1].1.reason, "column `size`: invalid digit found in string");
        assert_eq!(polled.bad[2].1.reason, "it has 3 fields, and the first row names 2 columns");
        Ok(())
    }

    #[test]
    fn an_open_quote_costs_one_line() -> Result<(), Cause> {
        for (text, longest) in [("n,s\na,1\n\"b,2\nc,3\nd,4\n", 1000), ("n,s\na,1\n\"b,2\nc,3\nd,4\n", 8)] {
            let polled = read(text, longest)?;
            assert_eq!(polled.values, [pair("a", 1), pair("c", 3), pair("d", 4)]);
            assert_eq!((polled.bad[0].0, polled.bad[0].1.raw.as_slice()), (1, &b"\"b,2"[..]));
        }
        Ok(())
    }

    #[test]
    fn line_ends_of_either_kind_and_a_byte_order_mark() -> Result<(), Cause> {
        let polled = read("\u{feff}n,s\r\na,1\r\n\"b\r\nb\",2\r\n", 1000)?;
        assert_eq!(polled.values, [pair("a", 1), pair("b\r\nb", 2)]);
        Ok(())
    }

    #[test]
    fn bytes_that_are_no_text_are_bad() -> Result<(), Cause> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("rows.csv");
        fs::write(&path, b"n,s\n\xFF,1\na,2\n")?;
        let source = File::at(&path).csv::<Pair>();
        let mut polled = Polled::default();
        source.open(&source.splits()?[0], None)?.poll(10, &mut polled)?;
        assert_eq!((polled.values, polled.bad[0].1.raw.as_slice()), (vec![pair("a", 2)], &b"\xFF,1"[..]));
        Ok(())
    }

    #[test]
    fn a_first_row_that_cannot_be_read_is_an_error() {
        let error = read("\"n,s\na,1\n", 1000).expect_err("the quote stays open").to_string();
        assert!(error.contains("line 1 does not name the columns"), "{error}");
        assert!(read("", 1000).expect("an empty file has no rows").is_empty());
    }
}
