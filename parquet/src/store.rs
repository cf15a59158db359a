//! Where files go: a directory, or an object store.
//!
//! Invariants: an object under its name is complete, as stores give it; in a directory it is put aside, synced and
//! renamed. It does not know what is in an object.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error as Said, ObjectStore, PutPayload};
use tokio::runtime::{Builder, Runtime};

use crate::column::Rows;
use crate::error::ParquetError;
use crate::limits::{FILE_BYTES, ROLL_AFTER, THREADS};

/// What the sink's own objects begin with: readers pass over names with an underscore.
pub(crate) const STAGED: &str = "_staged";

/// Where files go, and how large they get. A clone is the same place.
#[derive(Clone)]
pub struct Parquet {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    place: String,
    /// The directory, where it is one.
    directory: Option<PathBuf>,
    pub(crate) file_bytes: usize,
    pub(crate) roll_after: Duration,
    runtime: Arc<Running>,
}

impl Parquet {
    /// A directory of this machine; it is created if need be.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn directory(path: impl Into<PathBuf>) -> Result<Parquet, ParquetError> {
        let directory: PathBuf = path.into();
        let failed = |reason: String| ParquetError::Place { place: directory.display().to_string(), reason };
        std::fs::create_dir_all(&directory).map_err(|error| failed(error.to_string()))?;
        let directory = directory.canonicalize().map_err(|error| failed(error.to_string()))?;
        let store =
            LocalFileSystem::new_with_prefix(&directory).map_err(|error| failed(error.to_string()))?;
        let place = directory.display().to_string();
        Parquet::made(Arc::new(store), Path::default(), place, Some(directory))
    }

    /// What begins with `prefix` on a store: [`object_store`](crate::object_store) has those of the large clouds, and
    /// one in memory.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn on(store: Arc<dyn ObjectStore>, prefix: &str) -> Result<Parquet, ParquetError> {
        let place = format!("{store}/{prefix}");
        Parquet::made(store, Path::from(prefix), place, None)
    }

    /// A bucket of Amazon S3, or of what speaks as it does: `s3://bucket/prefix`. Who asks, the region and the endpoint
    /// come from the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`.
    ///
    /// # Errors
    /// If the address or the environment does not say enough.
    #[cfg(feature = "s3")]
    pub fn s3(address: &str) -> Result<Parquet, ParquetError> {
        let failed = |reason: String| ParquetError::Place { place: address.to_owned(), reason };
        let rest =
            address.strip_prefix("s3://").ok_or_else(|| failed("write `s3://bucket/prefix`".to_owned()))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let store = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket).build();
        Parquet::on(Arc::new(store.map_err(|error| failed(error.to_string()))?), prefix)
    }

    fn made(
        store: Arc<dyn ObjectStore>,
        prefix: Path,
        place: String,
        directory: Option<PathBuf>,
    ) -> Result<Parquet, ParquetError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("parquet")
            .enable_all()
            .build()
            .map_err(|error| ParquetError::Place { place: place.clone(), reason: error.to_string() })?;
        let runtime = Arc::new(Running(Some(runtime)));
        Ok(Parquet {
            store,
            prefix,
            place,
            directory,
            file_bytes: FILE_BYTES,
            roll_after: ROLL_AFTER,
            runtime,
        })
    }

    /// How many bytes of values, before they are encoded, a file holds; 64 MiB unless said, at least one epoch's.
    pub fn file_bytes(mut self, bytes: usize) -> Parquet {
        self.file_bytes = bytes.max(1);
        self
    }

    /// How long rows of committed epochs wait for a file to fill; 1 min unless said. Zero makes files of every epoch.
    pub fn roll_after(mut self, time: Duration) -> Parquet {
        self.roll_after = time;
        self
    }

    /// What records become.
    pub fn rows<T: 'static>(&self) -> Rows<T> {
        Rows::new(self.clone())
    }

    /// The place, for errors.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    fn path(&self, object: &str) -> Path {
        object.split('/').fold(self.prefix.clone(), |path, part| path.child(part))
    }

    /// Puts an object, durably.
    pub(crate) fn put(&self, object: &str, bytes: Vec<u8>) -> Result<(), ParquetError> {
        let (store, path) = (Arc::clone(&self.store), self.path(object));
        let payload = PutPayload::from(Bytes::from(bytes));
        let Some(directory) = &self.directory else {
            return self.wait("write", object, async move { store.put(&path, payload).await.map(|_| ()) });
        };
        // Synced before it gets its name, and the name synced too.
        let aside = format!("{STAGED}/{}.part", object.replace('/', "-"));
        let (from, written, parent) = (self.path(&aside), directory.join(&aside), directory.join(object));
        let sync = move |path: PathBuf| {
            let synced = std::fs::File::open(&path).and_then(|file| file.sync_all());
            synced.map_err(|error| Said::Generic { store: "directory", source: Box::new(error) })
        };
        self.wait("write", object, async move {
            store.put(&from, payload).await?;
            sync(written)?;
            store.rename(&from, &path).await?;
            sync(parent.parent().map(PathBuf::from).unwrap_or_default())
        })
    }

    /// The bytes of an object; `None` if there is none.
    pub(crate) fn get(&self, object: &str) -> Result<Option<Bytes>, ParquetError> {
        let (store, path) = (Arc::clone(&self.store), self.path(object));
        self.wait("read", object, async move {
            match store.get(&path).await {
                Ok(found) => found.bytes().await.map(Some),
                Err(Said::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// Whether there is such an object.
    pub(crate) fn has(&self, object: &str) -> Result<bool, ParquetError> {
        let (store, path) = (Arc::clone(&self.store), self.path(object));
        self.wait("find", object, async move {
            match store.head(&path).await {
                Ok(_) => Ok(true),
                Err(Said::NotFound { .. }) => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    /// Removes an object, if it is there.
    pub(crate) fn remove(&self, object: &str) -> Result<(), ParquetError> {
        let (store, path) = (Arc::clone(&self.store), self.path(object));
        self.wait("remove", object, async move {
            match store.delete(&path).await {
                Ok(()) | Err(Said::NotFound { .. }) => Ok(()),
                Err(error) => Err(error),
            }
        })
    }

    /// The names of the sink's own objects, without [`STAGED`].
    pub(crate) fn staged(&self) -> Result<Vec<String>, ParquetError> {
        let (store, path) = (Arc::clone(&self.store), self.path(STAGED));
        self.wait("list", STAGED, async move {
            let listed: Vec<_> = store.list(Some(&path)).try_collect().await?;
            Ok(listed.into_iter().filter_map(|meta| meta.location.filename().map(str::to_owned)).collect())
        })
    }

    /// The files of a run.
    pub(crate) fn files(&self, run: &str) -> Result<Vec<String>, ParquetError> {
        let (store, offset, beginning) = (Arc::clone(&self.store), self.path(run), format!("{run}-"));
        let prefix = (!self.prefix.as_ref().is_empty()).then(|| self.prefix.clone());
        self.wait("list", run, async move {
            let listed: Vec<_> = store.list_with_offset(prefix.as_ref(), &offset).try_collect().await?;
            let names = listed.iter().filter_map(|meta| meta.location.filename());
            Ok(names.filter(|name| name.starts_with(&beginning)).map(str::to_owned).collect())
        })
    }

    /// Runs on the runtime of this place, and holds this thread until it is done.
    fn wait<T: Send + 'static>(
        &self,
        what: &'static str,
        object: &str,
        future: impl Future<Output = Result<T, Said>> + Send + 'static,
    ) -> Result<T, ParquetError> {
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        let runtime = self.runtime.0.as_ref().expect("it is taken when it is dropped");
        runtime.spawn(async move {
            let _ = send.send(future.await.map_err(|error| error.to_string()));
        });
        let done = receive.recv().unwrap_or_else(|_| Err("the task that talks to it has ended".to_owned()));
        done.map_err(|reason| ParquetError::Store {
            place: self.place.clone(),
            what,
            object: object.to_owned(),
            reason,
            remote: self.directory.is_none(),
        })
    }
}

impl fmt::Debug for Parquet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parquet").field(&self.place).finish()
    }
}

/// A runtime that may be dropped anywhere, also where futures are driven.
struct Running(Option<Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
