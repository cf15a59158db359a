//! The file sink: one line for each record, each exactly once, also when the process is killed.
//!
//! A writer fills a part in the staging directory; at a barrier the part is synced and named after its epoch; when
//! the epoch is committed, the parts of all workers are appended to the output and a marker says so. Invariant:
//! publishing an epoch twice gives the same as publishing it once, and a start brings the output to exactly the
//! lines of the committed epochs. It does not know what is in a line, beyond that a line has one line end.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use highwater_operators::batch::Batch;
use highwater_operators::codec::Encode;
use highwater_operators::error::Cause;
use highwater_operators::sink::{Publish, Sink, Writer};
use highwater_state::Epoch;

use super::error::FileError;
use super::staging::{Receipt, Staging};

/// How many bytes a writer gathers before it writes to its part: 64 KiB, from where on larger writes gain nothing.
const BUFFER_BYTES: usize = 64 << 10;

/// How many bytes of a refused record are shown.
const SHOWN_BYTES: usize = 200;

/// Writes one line for each record to a file; made by [`File::sink`](super::File::sink).
///
/// Exactly once: what is taken waits in `.<name>.staged` beside the output and is appended when its epoch is
/// committed. Whoever reads the output while the job runs sees committed lines only, apart from a torn end while
/// an epoch is being appended or after a crash until the next start. Lines of one worker are in their order;
/// within an epoch the workers follow each other.
///
/// What survives a restart: the output and the staging directory, which belong together and to the job's state. A
/// job that begins anew (without state) **empties the output**. The output must not be edited by others while
/// the job is to go on: what is behind the published end is cut off, and a file that became shorter is refused.
///
/// The staging directory is its owner's only (mode 0700), whatever the output's permissions are.
///
/// Cost: every byte is written twice (part and output); an epoch with records costs two syncs for each worker
/// that has some, and three more. Memory: 64 KiB for each worker.
///
/// Errors: see [`FileError`]; in particular a record whose bytes hold a line end, and two sinks on one file.
#[derive(Debug)]
pub struct FileSink<C> {
    paths: Vec<PathBuf>,
    staging: Option<Arc<Staging>>,
    codec: Arc<C>,
}

impl<C> FileSink<C> {
    pub(super) fn new(paths: Vec<PathBuf>, codec: C) -> Self {
        let staging = match paths.as_slice() {
            [path] => Staging::of(path.clone()).ok().map(Arc::new),
            _ => None,
        };
        FileSink { paths, staging, codec: Arc::new(codec) }
    }

    fn staging(&self) -> Result<&Arc<Staging>, FileError> {
        match (&self.staging, self.paths.as_slice()) {
            (Some(staging), _) => Ok(staging),
            (None, [path]) => Err(FileError::NotAFile { path: path.clone() }),
            (None, paths) => Err(FileError::NotOnePath { count: paths.len() }),
        }
    }
}

impl<C: Send + Sync + 'static> Publish for FileSink<C> {
    fn recover(&self, last: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(self.staging()?.recover(last, &read(receipts)?)?)
    }

    fn publish(&self, epoch: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        Ok(self.staging()?.publish(epoch, &read(receipts)?)?)
    }
}

/// Receipts from their bytes; empty ones stand for nothing staged. Each names a part of its own.
fn read(receipts: &[Vec<u8>]) -> Result<Vec<Receipt>, FileError> {
    let mut parts: Vec<Receipt> = Vec::new();
    for bytes in receipts.iter().filter(|bytes| !bytes.is_empty()) {
        let damaged = |reason| FileError::Damaged {
            what: format!("the receipt `{}`", String::from_utf8_lossy(bytes).escape_debug()),
            reason,
        };
        let receipt: Receipt = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if !receipt.names_a_part() {
            return Err(damaged("what it names is no part of this sink".to_owned()));
        }
        if parts.iter().any(|other| other.part == receipt.part) {
            return Err(damaged("another one names the same part".to_owned()));
        }
        parts.push(receipt);
    }
    Ok(parts)
}

impl<T: 'static, C: Encode<T>> Sink<T> for FileSink<C> {
    fn open(&self, worker: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        let staging = Arc::clone(self.staging()?);
        let codec = Arc::clone(&self.codec);
        Ok(Box::new(FileWriter {
            staging,
            codec,
            worker,
            parts: 0,
            records: 0,
            part: None,
            line: Vec::new(),
        }))
    }
}

/// The writer of one worker.
struct FileWriter<C> {
    staging: Arc<Staging>,
    codec: Arc<C>,
    worker: usize,
    /// How many parts were begun.
    parts: u64,
    /// How many records were taken.
    records: u64,
    part: Option<OpenPart>,
    line: Vec<u8>,
}

/// The part being filled.
struct OpenPart {
    path: PathBuf,
    file: BufWriter<fs::File>,
    bytes: u64,
}

impl<C> FileWriter<C> {
    /// Encodes one record into `self.line`.
    fn encode<T>(&mut self, value: &T) -> Result<(), FileError>
    where
        C: Encode<T>,
    {
        self.line.clear();
        self.records += 1;
        let (worker, number) = (self.worker, self.records);
        if let Err(reason) = self.codec.encode(value, &mut self.line) {
            return Err(FileError::Encode { path: self.staging.output.clone(), worker, number, reason });
        }
        if self.line.contains(&b'\n') {
            let start = &self.line[..self.line.len().min(SHOWN_BYTES)];
            let start = String::from_utf8_lossy(start).escape_debug().to_string();
            return Err(FileError::LineEnd { path: self.staging.output.clone(), worker, number, start });
        }
        self.line.push(b'\n');
        Ok(())
    }

    /// The part being filled, begun if there is none.
    fn part(&mut self) -> Result<&mut OpenPart, FileError> {
        if self.part.is_none() {
            self.parts += 1;
            let path = self.staging.file(&format!("open-{}-{}", self.worker, self.parts));
            let file = fs::File::create(&path).map_err(FileError::system("create", &path))?;
            self.part = Some(OpenPart { path, file: BufWriter::with_capacity(BUFFER_BYTES, file), bytes: 0 });
        }
        Ok(self.part.as_mut().expect("it was begun above"))
    }
}

impl<T, C: Encode<T>> Writer<T> for FileWriter<C> {
    fn write(&mut self, batch: &mut Batch<T>) -> Result<(), Cause> {
        for value in &batch.values {
            self.encode(value)?;
            let line = std::mem::take(&mut self.line);
            let part = self.part()?;
            part.file.write_all(&line).map_err(FileError::system("write", &part.path))?;
            part.bytes += line.len() as u64;
            self.line = line;
        }
        batch.values.clear();
        batch.times.clear();
        Ok(())
    }

    fn stage(&mut self, epoch: Epoch) -> Result<Vec<u8>, Cause> {
        let Some(mut part) = self.part.take() else {
            return Ok(Vec::new());
        };
        part.file.flush().map_err(FileError::system("write", &part.path))?;
        part.file.get_ref().sync_all().map_err(FileError::system("sync", &part.path))?;
        let receipt = Receipt::of(epoch, self.worker, part.bytes);
        let path = self.staging.file(&receipt.part);
        fs::rename(&part.path, path).map_err(FileError::system("rename", &part.path))?;
        self.staging.sync()?;
        Ok(serde_json::to_vec(&receipt).expect("a receipt is a name and a number"))
    }
}
