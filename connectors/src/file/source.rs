//! The source of lines: each line of a file is one record's bytes for a codec.
//!
//! Invariant: every line is delivered once, in order, as a record or as a bad one; only blank lines are passed
//! over, and only where the format says so. It knows no format: the codec does.

use std::fs;
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

use highwater_operators::codec::Decode;
use highwater_operators::error::Cause;
use highwater_operators::source::{BadRecord, Origin, Poll, Polled, Reader, Source};

use super::error::FileError;
use super::inputs::Inputs;
use super::position::{FilePosition, resume};
use super::scan::{Line, Scanner, too_long, without_line_end};

/// Reads the lines of files; made by [`File::lines`](super::File::lines) and
/// [`File::json_lines`](super::File::json_lines).
///
/// A line that the codec refuses, or one above
/// [`max_line_bytes`](super::File::max_line_bytes), is a bad record that came from `access.log line 17`. A poll
/// looks at up to `limit` lines and allocates nothing of its own for each.
///
/// Errors: a file that is missing, no file, named twice or changed since the position was taken; see
/// [`FileError`].
pub struct LineSource<T, C> {
    inputs: Inputs,
    codec: Arc<C>,
    skip_blank: bool,
    item: PhantomData<fn() -> T>,
}

impl<T, C> LineSource<T, C> {
    pub(super) fn new(inputs: Inputs, codec: C, skip_blank: bool) -> Self {
        LineSource { inputs, codec: Arc::new(codec), skip_blank, item: PhantomData }
    }
}

impl<T: Send + 'static, C: Decode<T>> Source for LineSource<T, C> {
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
        let (path, mut scanner) = self.inputs.scanner(split)?;
        if let Some(position) = from {
            resume(&mut scanner, &path, position)?;
        }
        let lines =
            Lines { file: split.to_owned(), codec: Arc::clone(&self.codec), skip_blank: self.skip_blank };
        Ok(Box::new(LineReader { lines, path, scanner, finished: false, item: PhantomData }))
    }
}

/// Turns the lines of a scanner into records.
pub(crate) struct Lines<C> {
    /// Where they come from: a path, `stdin`.
    pub(crate) file: String,
    pub(crate) codec: Arc<C>,
    pub(crate) skip_blank: bool,
}

impl<C> Lines<C> {
    /// Looks at up to `limit` lines; whether there may be more.
    pub(crate) fn poll<T, R: io::Read>(
        &self,
        scanner: &mut Scanner<R>,
        limit: usize,
        into: &mut Polled<T>,
    ) -> io::Result<bool>
    where
        C: Decode<T>,
    {
        let longest = scanner.limit();
        let at = |line| Origin::File { file: self.file.clone(), line };
        for _ in 0..limit {
            let number = scanner.position().line + 1;
            match scanner.next_line()? {
                None => return Ok(false),
                Some(Line::TooLong { start, bytes }) => {
                    let reason = too_long(bytes, longest);
                    let bad = BadRecord { raw: start.to_vec(), reason, origin: at(number) };
                    into.bad.push((into.values.len(), bad));
                }
                Some(Line::Whole(line)) => {
                    let line = without_line_end(line);
                    if !(self.skip_blank && line.trim_ascii().is_empty()) {
                        into.push(self.codec.decode(line), line, || at(number));
                    }
                }
            }
        }
        Ok(true)
    }
}

struct LineReader<T, C> {
    lines: Lines<C>,
    path: PathBuf,
    scanner: Scanner<fs::File>,
    finished: bool,
    item: PhantomData<fn() -> T>,
}

impl<T, C: Decode<T>> Reader for LineReader<T, C> {
    type Item = T;
    type Position = FilePosition;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        if self.finished {
            return Ok(Poll::Finished);
        }
        let more = self.lines.poll(&mut self.scanner, limit, into);
        self.finished = !more.map_err(FileError::system("read", &self.path))?;
        Ok(if self.finished { Poll::Finished } else { Poll::Ready })
    }

    fn position(&self) -> FilePosition {
        self.scanner.position()
    }
}
