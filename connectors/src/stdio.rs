//! Standard input as a source of lines, and standard output as a sink of lines: for small programs and pipes.
//!
//! Neither can be exactly once. Standard input cannot be read again, so lines that were read and belong to an epoch
//! that was not committed are lost with the process. Standard output cannot be taken back, so lines are printed
//! only after their epoch is committed, and those of the last epoch may be printed twice. Where that matters, use
//! files or Kafka.
//!
//! Invariant: a reader of standard input never waits; a thread does that for it.

use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use highwater_operators::batch::Batch;
use highwater_operators::codec::{Decode, Encode};
use highwater_operators::error::Cause;
use highwater_operators::sink::{Publish, Sink, Writer};
use highwater_operators::source::{Poll, Polled, Reader, Source};
use highwater_state::Epoch;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::file::MAX_LINE_BYTES;
use crate::file::scan::Scanner;
use crate::file::source::Lines;

/// How many bytes the thread reads at once: 64 KiB, what a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;

/// How many chunks wait between the thread and the reader: 16, which is 1 MiB at most.
const CHUNKS: usize = 16;

/// The name of the only split.
const SPLIT: &str = "stdin";

/// Standard input or output that cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StdioError {
    /// There is one standard input, and it is being read already.
    #[error("standard input is already read by another source of this job; it can be read by one only")]
    Taken,
    /// A split that is not `stdin`.
    #[error("standard input has one split, `stdin`, and no `{split}`")]
    UnknownSplit {
        /// The name.
        split: String,
    },
    /// Reading failed.
    #[error("standard input cannot be read: {cause}")]
    Read {
        /// What the system said.
        cause: io::Error,
    },
    /// Printing failed.
    #[error("standard output cannot be written: {cause}")]
    Write {
        /// What the system said; a broken pipe means that the reader has gone.
        cause: io::Error,
    },
    /// A record that has no bytes.
    #[error("record {number} of worker {worker} cannot be encoded for standard output: {reason}")]
    Encode {
        /// The worker that had the record.
        worker: usize,
        /// Which record of the worker since it started, counted from 1.
        number: u64,
        /// What the codec said.
        reason: String,
    },
}

/// How far standard input was read. It is kept in every epoch, and of no use after a restart: what was read is
/// gone, and reading goes on with what arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StdinPosition {
    /// How many lines the present process has read.
    pub line: u64,
}

/// The lines of standard input, decoded by a codec; ends when the input is closed.
///
/// Lines are as in [`File::lines`](crate::file::File::lines), at most [`MAX_LINE_BYTES`] long; a bad one came from
/// `stdin line 17`. There is one split, `stdin`, that can be opened once in a process: its thread may wait for
/// input for as long as the process lives. Memory: 1 MiB of input waits at most.
///
/// **After a restart nothing is read again**: each line counts at most once.
pub struct Stdin<T, C> {
    codec: Arc<C>,
    input: Mutex<Option<Box<dyn Read + Send>>>,
    item: PhantomData<fn() -> T>,
}

/// Whether standard input was given to a reader.
static TAKEN: Mutex<bool> = Mutex::new(false);

impl<T, C: Decode<T>> Stdin<T, C> {
    /// The source; nothing is read before it is opened.
    ///
    /// ```
    /// use highwater_connectors::stdio::Stdin;
    /// use highwater_operators::codec::Text;
    /// use highwater_operators::source::Source;
    ///
    /// let lines = Stdin::<String, _>::lines(Text);
    /// assert_eq!(lines.splits()?, ["stdin"]);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn lines(codec: C) -> Self {
        Stdin { codec: Arc::new(codec), input: Mutex::new(None), item: PhantomData }
    }

    /// What is read: standard input, once in a process, unless a test has put something else in its place.
    fn take_input(&self) -> Result<Box<dyn Read + Send>, StdioError> {
        if let Some(input) = self.input.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Ok(input);
        }
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *taken, true) {
            return Err(StdioError::Taken);
        }
        Ok(Box::new(io::stdin()))
    }
}

impl<T: Send + 'static, C: Decode<T>> Source for Stdin<T, C> {
    type Item = T;
    type Position = StdinPosition;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok(vec![SPLIT.to_owned()])
    }

    fn open(
        &self,
        split: &str,
        _from: Option<StdinPosition>,
    ) -> Result<Box<dyn Reader<Item = T, Position = StdinPosition>>, Cause> {
        if split != SPLIT {
            return Err(StdioError::UnknownSplit { split: split.to_owned() }.into());
        }
        let input = self.take_input()?;
        let (sender, receiver) = sync_channel(CHUNKS);
        let thread = thread::Builder::new().name("stdin".to_owned());
        thread.spawn(move || read_chunks(input, &sender)).map_err(|cause| StdioError::Read { cause })?;
        Ok(Box::new(StdinReader {
            lines: Lines { file: SPLIT.to_owned(), codec: Arc::clone(&self.codec), skip_blank: false },
            scanner: Scanner::new(Chunks { receiver, chunk: Vec::new(), read: 0 }, MAX_LINE_BYTES),
            finished: false,
            item: PhantomData,
        }))
    }
}

/// What the thread does: waits for input and hands it on, until the input ends or the reader has gone.
fn read_chunks(mut input: Box<dyn Read + Send>, to: &SyncSender<io::Result<Vec<u8>>>) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let chunk = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(bytes) => Ok(buffer[..bytes].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        if to.send(chunk).is_err() || failed {
            return;
        }
    }
}

/// The reader's side of the queue: a read that would wait says so.
struct Chunks {
    receiver: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    /// How much of the chunk was read.
    read: usize,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.read == self.chunk.len() {
            self.chunk = match self.receiver.try_recv() {
                Ok(chunk) => chunk?,
                Err(TryRecvError::Empty) => return Err(io::ErrorKind::WouldBlock.into()),
                Err(TryRecvError::Disconnected) => return Ok(0),
            };
            self.read = 0;
        }
        let rest = &self.chunk[self.read..];
        let bytes = rest.len().min(into.len());
        into[..bytes].copy_from_slice(&rest[..bytes]);
        self.read += bytes;
        Ok(bytes)
    }
}

struct StdinReader<T, C> {
    lines: Lines<C>,
    scanner: Scanner<Chunks>,
    finished: bool,
    item: PhantomData<fn() -> T>,
}

impl<T, C: Decode<T>> Reader for StdinReader<T, C> {
    type Item = T;
    type Position = StdinPosition;

    fn poll(&mut self, limit: usize, into: &mut Polled<T>) -> Result<Poll, Cause> {
        if self.finished {
            return Ok(Poll::Finished);
        }
        match self.lines.poll(&mut self.scanner, limit, into) {
            Ok(true) => Ok(Poll::Ready),
            Ok(false) => {
                self.finished = true;
                Ok(Poll::Finished)
            }
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => Ok(Poll::Pending),
            Err(cause) => Err(StdioError::Read { cause }.into()),
        }
    }

    fn position(&self) -> StdinPosition {
        StdinPosition { line: self.scanner.position().line }
    }
}

/// Prints one line for each record to standard output, when its epoch is committed.
///
/// **At least once**: the lines are kept with the committed epoch, and a start prints those of the last committed
/// epoch again, because it cannot know whether they were printed. Lines of one worker are in their order.
///
/// Cost: an epoch's lines are held in memory and written to the job's state, so this is for small outputs. A record
/// may hold line ends.
///
/// Errors: a reader that has gone (broken pipe) stops the job.
///
/// ```
/// use highwater_connectors::stdio::Stdout;
/// use highwater_operators::batch::Batch;
/// use highwater_operators::codec::Text;
/// use highwater_operators::sink::{Publish, Sink};
/// use highwater_state::Epoch;
///
/// let stdout = Stdout::lines(Text);
/// stdout.recover(Epoch(0), &[])?;
/// let mut writer = stdout.open(0)?;
/// writer.write(&mut Batch::untimed(vec!["hello".to_owned()]))?;
/// let receipt = writer.stage(Epoch(1))?;
/// stdout.publish(Epoch(1), &[receipt])?; // now it is printed
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct Stdout<C> {
    codec: Arc<C>,
    printer: Mutex<Printer>,
}

/// What prints, and the last epoch that was printed by this process.
struct Printer {
    output: Box<dyn Write + Send>,
    last: Epoch,
}

impl<C> Stdout<C> {
    /// The sink.
    pub fn lines(codec: C) -> Self {
        Stdout::to(codec, Box::new(io::stdout()))
    }

    fn to(codec: C, output: Box<dyn Write + Send>) -> Self {
        Stdout { codec: Arc::new(codec), printer: Mutex::new(Printer { output, last: Epoch(0) }) }
    }
}

impl<C: Send + Sync + 'static> Publish for Stdout<C> {
    fn recover(&self, last: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        self.publish(last, receipts)
    }

    fn publish(&self, epoch: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        let mut printer = self.printer.lock().unwrap_or_else(PoisonError::into_inner);
        if printer.last >= epoch {
            return Ok(());
        }
        for lines in receipts {
            printer.output.write_all(lines).map_err(|cause| StdioError::Write { cause })?;
        }
        printer.output.flush().map_err(|cause| StdioError::Write { cause })?;
        printer.last = epoch;
        Ok(())
    }
}

impl<T: 'static, C: Encode<T>> Sink<T> for Stdout<C> {
    fn open(&self, worker: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        Ok(Box::new(StdoutWriter { codec: Arc::clone(&self.codec), worker, records: 0, lines: Vec::new() }))
    }
}

struct StdoutWriter<C> {
    codec: Arc<C>,
    worker: usize,
    records: u64,
    lines: Vec<u8>,
}

impl<T, C: Encode<T>> Writer<T> for StdoutWriter<C> {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        for value in &batch.values {
            self.records += 1;
            let (worker, number) = (self.worker, self.records);
            let encoded = self.codec.encode(value, &mut self.lines);
            encoded.map_err(|reason| StdioError::Encode { worker, number, reason })?;
            self.lines.push(b'\n');
        }
        batch.values.clear();
        batch.times.clear();
        Ok(())
    }

    fn stage(&mut self, _epoch: Epoch) -> Result<Vec<u8>, Cause> {
        Ok(std::mem::take(&mut self.lines))
    }
}

#[cfg(test)]
mod tests {
    use highwater_operators::codec::Text;

    use super::*;

    fn stdin(input: impl Read + Send + 'static) -> Stdin<String, Text> {
        let stdin = Stdin::lines(Text);
        *stdin.input.lock().expect("nobody panicked") = Some(Box::new(input));
        stdin
    }

    #[test]
    fn lines_arrive_without_waiting_and_end_once() -> Result<(), Cause> {
        let (ours, theirs) = io::pipe()?;
        let mut theirs = theirs;
        let mut reader = stdin(ours).open("stdin", None)?;
        let mut polled = Polled::default();
        assert_eq!(reader.poll(10, &mut polled)?, Poll::Pending);
        theirs.write_all(b"one\ntw")?;
        while polled.values.is_empty() {
            reader.poll(10, &mut polled)?;
            thread::yield_now();
        }
        assert_eq!((reader.poll(10, &mut polled)?, reader.position().line), (Poll::Pending, 1));
        theirs.write_all(b"o\n\xFF\nthree")?;
        drop(theirs);
        while reader.poll(10, &mut polled)? != Poll::Finished {
            thread::yield_now();
        }
        assert_eq!(polled.values, ["one", "two", "three"]);
        assert_eq!((polled.bad[0].0, polled.bad[0].1.origin.to_string()), (2, "stdin line 3".to_owned()));
        assert_eq!(reader.poll(10, &mut polled)?, Poll::Finished);
        assert_eq!(reader.position().line, 4);
        Ok(())
    }

    #[test]
    fn a_queue_that_is_full_loses_nothing() -> Result<(), Cause> {
        let text: String = (0..400_000).map(|number| format!("{number}\n")).collect();
        let mut reader = stdin(io::Cursor::new(text)).open("stdin", None)?;
        let mut polled = Polled::default();
        while reader.poll(1000, &mut polled)? != Poll::Finished {}
        assert!(polled.values.iter().enumerate().all(|(number, line)| *line == number.to_string()));
        assert_eq!(polled.values.len(), 400_000);
        Ok(())
    }

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_are_printed_after_the_commit_and_again_after_a_restart() -> Result<(), Cause> {
        let screen = Screen::default();
        let shown = || String::from_utf8_lossy(&screen.0.lock().expect("nobody panicked")).into_owned();
        let stdout = Stdout::to(Text, Box::new(screen.clone()));
        stdout.recover(Epoch(0), &[])?;
        let mut writer = stdout.open(0)?;
        writer.write(&mut Batch::untimed(vec!["a".to_owned()]))?;
        let receipts = [writer.stage(Epoch(1))?];
        writer.write(&mut Batch::untimed(vec!["b".to_owned()]))?;
        assert_eq!(shown(), "");
        stdout.publish(Epoch(1), &receipts)?;
        stdout.publish(Epoch(1), &receipts)?;
        assert_eq!(shown(), "a\n");
        let restarted = Stdout::to(Text, Box::new(screen.clone()));
        restarted.recover(Epoch(1), &receipts)?;
        assert_eq!(shown(), "a\na\n");
        Ok(())
    }
}
