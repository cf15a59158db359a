//! Finds the lines of a byte stream: fast, without an allocation for each line, in bounded memory.
//!
//! Invariant: the position is behind the last line that was given out, and every byte before it was in one of
//! the lines given out. A read that would block or fails loses nothing: the line that was begun is kept, and the
//! next call goes on with it.
//!
//! It knows lines only: neither what a record is nor whether bytes are text.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use super::position::FilePosition;

/// How many bytes are read at once: 256 KiB, as much as the second-level cache holds beside the batch, and few
/// enough system calls to vanish.
const BUFFER_BYTES: usize = 256 << 10;

/// How many bytes of a line that is too long are kept: 4 KiB, enough to see what it is.
pub(crate) const START_BYTES: usize = 4 << 10;

/// One line.
pub(crate) enum Line<'a> {
    /// All of it, with its line end if it has one.
    Whole(&'a [u8]),
    /// A line above the limit: its first [`START_BYTES`] bytes and how long it is with its line end.
    TooLong { start: &'a [u8], bytes: u64 },
}

/// The line without its `\n` or `\r\n`.
pub(crate) fn without_line_end(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    }
}

/// Why a line above the limit is a bad record.
pub(crate) fn too_long(bytes: u64, limit: usize) -> String {
    format!(
        "the line has {bytes} bytes with its line end, more than the {limit} that max_line_bytes allows; its \
        first {START_BYTES} \
         bytes at most are kept"
    )
}

/// Gives out the lines of a stream one after the other.
pub(crate) struct Scanner<R> {
    input: BufReader<R>,
    limit: usize,
    position: FilePosition,
    /// Bytes of the buffer that were given out by the last call and not yet passed over.
    given: usize,
    /// The beginning of a line that is longer than what the buffer held, and how many bytes it has so far.
    begun: Vec<u8>,
    begun_bytes: u64,
    /// Whether `begun` was given out by the last call.
    begun_given: bool,
}

impl<R: Read> Scanner<R> {
    /// Reads from where `input` stands, which is counted as the beginning.
    pub(crate) fn new(input: R, limit: usize) -> Self {
        Scanner {
            input: BufReader::with_capacity(BUFFER_BYTES, input),
            limit,
            position: FilePosition::default(),
            given: 0,
            begun: Vec::new(),
            begun_bytes: 0,
            begun_given: false,
        }
    }

    /// Behind the last line.
    pub(crate) fn position(&self) -> FilePosition {
        self.position
    }

    /// The longest line that is given out whole, in bytes without the line end.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The next line, or `None` at the end.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        self.pass_over();
        let (taken, ended) = line_in(self.input.fill_buf()?)?;
        if self.begun_bytes > 0 || !ended {
            return self.long_line();
        }
        self.given = taken;
        self.advance(taken as u64);
        let line = &self.input.buffer()[..taken];
        Ok(Some(judge(line, taken as u64, self.limit)))
    }

    /// A line that is not in the buffer as a whole is put together in `begun`.
    fn long_line(&mut self) -> io::Result<Option<Line<'_>>> {
        let kept = self.limit.saturating_add(2).max(START_BYTES);
        loop {
            let buffered = self.input.fill_buf()?;
            let (taken, ended) = line_in(buffered)?;
            let room = kept - self.begun.len();
            self.begun.extend_from_slice(&buffered[..taken.min(room)]);
            self.begun_bytes += taken as u64;
            self.input.consume(taken);
            if ended || taken == 0 {
                break;
            }
        }
        if self.begun_bytes == 0 {
            return Ok(None);
        }
        self.begun_given = true;
        self.advance(self.begun_bytes);
        Ok(Some(judge(&self.begun, self.begun_bytes, self.limit)))
    }

    fn pass_over(&mut self) {
        self.input.consume(self.given);
        self.given = 0;
        if self.begun_given {
            self.begun.clear();
            self.begun_bytes = 0;
            self.begun_given = false;
        }
    }

    fn advance(&mut self, bytes: u64) {
        self.position.offset += bytes;
        self.position.line += 1;
    }
}

impl<R: Read + Seek> Scanner<R> {
    /// Goes on from `position`, which must be the beginning of a line.
    pub(crate) fn go_to(&mut self, position: FilePosition) -> io::Result<()> {
        self.pass_over();
        self.input.seek(SeekFrom::Start(position.offset))?;
        self.position = position;
        Ok(())
    }

    /// What is read from; reading from it moves the scanner, so [`Scanner::go_to`] must follow.
    pub(crate) fn input(&mut self) -> &mut R {
        self.input.get_mut()
    }
}

/// How many bytes the first line in `buffered` has with its line end, and whether it has one.
fn line_in(buffered: &[u8]) -> io::Result<(usize, bool)> {
    let mut rest = buffered;
    let taken = rest.skip_until(b'\n')?; // the standard library's memchr; never fails on a slice
    Ok((taken, taken > 0 && buffered[taken - 1] == b'\n'))
}

/// `line` is all of a line of `bytes` bytes, or its beginning if that is longer than any line may be.
fn judge(line: &[u8], bytes: u64, limit: usize) -> Line<'_> {
    if line.len() as u64 == bytes {
        let content = without_line_end(line);
        if content.len() <= limit {
            return Line::Whole(line);
        }
        return Line::TooLong {
            start: &content[..content.len().min(START_BYTES)],
            bytes: content.len() as u64,
        };
    }
    Line::TooLong { start: &line[..line.len().min(START_BYTES)], bytes }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// Gives its pieces one by one; an empty piece would block.
    struct Pieces(VecDeque<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            match self.0.pop_front() {
                None => Ok(0),
                Some(piece) if piece.is_empty() => Err(io::ErrorKind::WouldBlock.into()),
                Some(piece) => {
                    into[..piece.len()].copy_from_slice(&piece);
                    Ok(piece.len())
                }
            }
        }
    }

    fn whole_lines(scanner: &mut Scanner<impl Read>) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        loop {
            match scanner.next_line() {
                Ok(Some(Line::Whole(line))) => lines.push(line.to_vec()),
                Ok(Some(Line::TooLong { .. })) => lines.push(b"too long".to_vec()),
                Ok(None) => return lines,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_bytes_arrive(
            pieces in proptest::collection::vec("[a\r\n]{0,5}", 0..20),
        ) {
            let bytes = pieces.concat().into_bytes();
            let expected: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            let pieces = pieces.into_iter().map(String::into_bytes).collect();
            let mut scanner = Scanner::new(Pieces(pieces), 100);
            prop_assert_eq!(whole_lines(&mut scanner), expected.clone());
            let position = FilePosition { offset: bytes.len() as u64, line: expected.len() as u64 };
            prop_assert_eq!(scanner.position(), position);
        }
    }

    #[test]
    fn the_limit_is_without_the_line_end() {
        let mut scanner = Scanner::new(&b"abc\r\nabcd\nabc"[..], 3);
        assert_eq!(whole_lines(&mut scanner), [&b"abc\r\n"[..], b"too long", b"abc"]);
    }

    #[test]
    fn a_line_far_above_the_limit_is_kept_in_part_and_the_next_is_whole() {
        let mut bytes = vec![b'x'; 3 * BUFFER_BYTES];
        bytes.extend_from_slice(b"\nnext\n");
        let mut scanner = Scanner::new(&bytes[..], 10_000);
        match scanner.next_line() {
            Ok(Some(Line::TooLong { start, bytes })) => {
                assert_eq!((start.len(), bytes), (START_BYTES, 3 * BUFFER_BYTES as u64 + 1));
            }
            _ => panic!("the line is too long"),
        }
        assert_eq!(whole_lines(&mut scanner), [b"next\n"]);
        assert_eq!(scanner.position(), FilePosition { offset: bytes.len() as u64, line: 2 });
        assert!(scanner.begun.capacity() < 2 * 10_002 + START_BYTES);
    }
}
