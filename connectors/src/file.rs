//! Files: lines, JSON lines and CSV to read, and a file to write in which every record stands exactly once.
//!
//! [`File`] says which files and how long a line may be; its verbs make a source or a sink of it. A source has
//! one split for each file, named by its path as given, and reads a file that ends: at the end of the file its
//! split is finished. The sink stages what it takes beside its output and appends it when the epoch is committed.
//!
//! Invariant: a position of a file source stands at the beginning of a line (or row), so that reading from it
//! gives exactly what was not yet delivered; the output of a file sink holds exactly the committed records, apart
//! from the moments between an append and its marker, which the next start puts right.
//!
//! Files know nothing of event time, workers or topologies, and do not follow a file that grows.

use std::path::{Path, PathBuf};

use highwater_operators::codec::{Decode, Json};
use serde::de::DeserializeOwned;

mod csv;
mod error;
mod inputs;
mod position;
mod row;
pub(crate) mod scan;
mod sink;
pub(crate) mod source;
mod staging;

pub use csv::CsvSource;
pub use error::FileError;
pub use position::FilePosition;
pub use sink::FileSink;
pub use source::LineSource;

use inputs::Inputs;

/// The longest line, or CSV row over several lines, that is a record, in bytes without the line end: 1 MiB. It
/// bounds the memory of a reader when a file has no line ends (a binary file, a forgotten quote), and is far
/// above any record that belongs into a stream.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// Some files, to read or to write.
///
/// Reading without an engine:
///
/// ```
/// use highwater_connectors::file::File;
/// use highwater_operators::codec::Text;
/// use highwater_operators::source::{Poll, Polled, Source};
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("access.log");
/// std::fs::write(&path, "GET /\nGET /about\n")?;
///
/// let source = File::at(&path).lines(Text);
/// let splits = source.splits()?;
/// let mut reader = source.open(&splits[0], None)?;
/// let mut polled = Polled::<String>::default();
/// assert_eq!(reader.poll(100, &mut polled)?, Poll::Finished);
/// assert_eq!(polled.values, ["GET /", "GET /about"]);
/// assert_eq!(reader.position().offset, 17);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone, Debug)]
pub struct File {
    paths: Vec<PathBuf>,
    max_line_bytes: usize,
}

impl File {
    /// The files at `paths`: one path, or an array, slice or vector of paths. Nothing is opened yet.
    pub fn at(paths: impl IntoPaths) -> Self {
        File { paths: paths.into_paths(), max_line_bytes: MAX_LINE_BYTES }
    }

    /// The longest line (or CSV row) that is a record, in bytes without the line end; [`MAX_LINE_BYTES`] unless
    /// told. A longer line becomes one bad record with its first 4 KiB. A reader needs as much memory as the
    /// longest line it meets, up to this. Of no effect on a sink.
    #[must_use]
    pub fn max_line_bytes(mut self, bytes: usize) -> Self {
        self.max_line_bytes = bytes;
        self
    }

    /// A source of lines: each goes to the codec without its `\n` or `\r\n`, empty ones too. A last line without
    /// a line end counts; nothing behind a last line end is no line.
    ///
    /// What survives a restart: the byte offset and the line number of each file, see [`FilePosition`].
    pub fn lines<T, C: Decode<T>>(self, codec: C) -> LineSource<T, C> {
        LineSource::new(Inputs::new(self.paths, self.max_line_bytes), codec, false)
    }

    /// A source of one JSON value a line. Blank lines (nothing but spaces, tabs and `\r`) are no records.
    ///
    /// ```
    /// use highwater_connectors::file::File;
    /// use highwater_operators::source::{Polled, Source};
    ///
    /// let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("numbers.jsonl");
    /// std::fs::write(&path, "1\n\ntwo\n3\n")?;
    ///
    /// let source = File::at(&path).json_lines::<u32>();
    /// let mut reader = source.open(&source.splits()?[0], None)?;
    /// let mut polled = Polled::default();
    /// reader.poll(100, &mut polled)?;
    /// assert_eq!(polled.values, [1, 3]);
    /// assert!(polled.bad[0].1.origin.to_string().ends_with("numbers.jsonl line 3"));
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn json_lines<T: DeserializeOwned + Send + 'static>(self) -> LineSource<T, Json<T>> {
        LineSource::new(Inputs::new(self.paths, self.max_line_bytes), Json::new(), true)
    }

    /// A source of comma-separated rows; the first row of each file names the columns, which serde matches with
    /// the fields of `T`. Fields may be quoted by `"`, and then hold commas, line ends and doubled quotes.
    /// See [`CsvSource`] for what is a bad row.
    ///
    /// ```
    /// use highwater_connectors::file::File;
    /// use highwater_operators::source::{Polled, Source};
    ///
    /// #[derive(serde::Deserialize, Debug, PartialEq)]
    /// struct Trip { city: String, minutes: u32 }
    ///
    /// let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("trips.csv");
    /// std::fs::write(&path, "minutes,city\n17,\"Bern, CH\"\n")?;
    ///
    /// let source = File::at(&path).csv::<Trip>();
    /// let mut reader = source.open(&source.splits()?[0], None)?;
    /// let mut polled = Polled::default();
    /// reader.poll(100, &mut polled)?;
    /// assert_eq!(polled.values, [Trip { city: "Bern, CH".to_owned(), minutes: 17 }]);
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    /// ```
    pub fn csv<T: DeserializeOwned + Send + 'static>(self) -> CsvSource<T> {
        CsvSource::new(Inputs::new(self.paths, self.max_line_bytes))
    }

    /// A sink that writes one line for each record, exactly once; see [`FileSink`] for how. There must be one
    /// path, which is checked when the job starts.
    pub fn sink<C>(self, codec: C) -> FileSink<C> {
        FileSink::new(self.paths, codec)
    }
}

/// What names files: one path, or several.
pub trait IntoPaths {
    /// The paths, in order.
    fn into_paths(self) -> Vec<PathBuf>;
}

impl IntoPaths for &str {
    fn into_paths(self) -> Vec<PathBuf> {
        vec![self.into()]
    }
}

impl IntoPaths for String {
    fn into_paths(self) -> Vec<PathBuf> {
        vec![self.into()]
    }
}

impl IntoPaths for &String {
    fn into_paths(self) -> Vec<PathBuf> {
        vec![self.into()]
    }
}

impl IntoPaths for &Path {
    fn into_paths(self) -> Vec<PathBuf> {
        vec![self.into()]
    }
}

impl IntoPaths for PathBuf {
    fn into_paths(self) -> Vec<PathBuf> {
        vec![self]
    }
}

impl IntoPaths for &PathBuf {
    fn into_paths(self) -> Vec<PathBuf> {
        vec![self.clone()]
    }
}

impl<P: Into<PathBuf>, const N: usize> IntoPaths for [P; N] {
    fn into_paths(self) -> Vec<PathBuf> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<P: Into<PathBuf>> IntoPaths for Vec<P> {
    fn into_paths(self) -> Vec<PathBuf> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<P: Clone + Into<PathBuf>> IntoPaths for &[P] {
    fn into_paths(self) -> Vec<PathBuf> {
        self.iter().cloned().map(Into::into).collect()
    }
}
