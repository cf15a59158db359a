//! The server: its threads, its routes, and its end.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query};
use axum::routing::get;
use highwater::query::{Health, Live, QueryError};
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::failure::Failure;
use crate::limits::{END_LOOK, GRACE, READERS_MAX, THREADS, WAITING_MAX};
use crate::{health, metrics, tables, topology};

/// The parameters of a request, or why they are none.
pub(crate) type Parsed<P> = Result<Query<P>, QueryRejection>;

/// Why a server does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is it in use? port 0 chooses one that is free")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The operating system refused the threads.
    #[error("cannot start the threads of the server: {0}")]
    Threads(io::Error),
}

/// A server that is to be started, for the job that a [`Live`] asks, or that a
/// [`Queries`](highwater::query::Queries) does.
///
/// `GET /tables/{name}` gives rows in pages, with the epoch and the positions that they reflect:
/// `{"table":"counts","epoch":7,"positions":{"words":{"0":3}},"rows":[{"key":"a","value":2}],"next":null}`. A name with
/// a slash in it is written with `%2F`.
///
/// | parameter | |
/// | --- | --- |
/// | `key` | rows of this key, as JSON; what is none is taken for a text |
/// | `from`, `to` | rows from one key or time on and before another |
/// | `after` | the page behind the one whose `next` this is |
/// | `limit` | rows of the page, 100 unless said, at most 10 000 |
/// | `min_epoch`, `min_position` | waits for this epoch, or these positions: `{"words":{"0":3}}` |
/// | `timeout_ms` | how long it waits, 5 000 unless said, at most 30 000 |
///
/// ```
/// use std::io::{Read, Write};
/// use highwater::prelude::*;
/// use highwater_http::Server;
///
/// let topology = Topology::new("words");
/// let words = topology.source("words", Memory::source(["a", "b", "a"]).unending());
/// words.key_by(|word| word.to_string()).count("counts").keep();
/// let running = Job::new(topology).queryable().start()?;
/// let server = Server::new(running.queries()).start().expect("loopback has a free port");
///
/// let mut client = std::net::TcpStream::connect(server.address()).expect("it listens");
/// let query = "key=a&min_position={%22words%22:{%220%22:3}}";
/// let request = format!("GET /tables/counts?{query} HTTP/1.0\r\n\r\n");
/// client.write_all(request.as_bytes()).expect("is sent");
/// let mut answer = String::new();
/// client.read_to_string(&mut answer).expect("is answered");
/// assert!(answer.contains(r#""rows":[{"key":"a","value":2}],"next":null"#), "{answer}");
/// # Ok::<(), JobError>(())
/// ```
#[must_use = "a server does nothing until it is started"]
pub struct Server {
    live: Live,
    address: SocketAddr,
    routes: Router,
}

impl Server {
    /// A server on a free port of loopback.
    pub fn new(live: impl Into<Live>) -> Server {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Server { live: live.into(), address, routes: Router::new() }
    }

    /// Listens on this address; port 0 chooses one that is free. Whoever can reach it can read every table.
    pub fn listen(mut self, address: SocketAddr) -> Server {
        self.address = address;
        self
    }

    /// Adds routes of the program: commands, pages, sockets.
    ///
    /// # Panics
    /// If one of them is there already.
    pub fn routes(mut self, routes: Router) -> Server {
        self.routes = self.routes.merge(routes);
        self
    }

    /// Starts the server, with threads of its own.
    ///
    /// # Errors
    /// If the address cannot be listened on, or there are no threads.
    pub fn start(self) -> Result<Serving, ServerError> {
        let failed = |source| ServerError::Listen { address: self.address, source };
        let listener = TcpListener::bind(self.address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).max_blocking_threads(READERS_MAX).thread_name("http").enable_all();
        let runtime = builder.build().map_err(ServerError::Threads)?;
        let site = Site {
            live: self.live,
            stopping: Arc::default(),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        };
        let stopping = Arc::clone(&site.stopping);
        let ending = Ending(Arc::new(watch::channel(Course::Running).0));
        runtime.spawn(ending.clone().follow(site.live.clone()));
        let routes = Router::new()
            .route("/tables", get(tables::list))
            .route("/tables/{name}", get(tables::rows))
            .route("/health", get(health::health))
            .route("/topology", get(topology::topology))
            .route("/metrics", get(metrics::metrics))
            .with_state(site)
            .merge(self.routes.layer(Extension(ending.clone())));
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = std::sync::mpsc::channel();
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(failed)?
        };
        let sockets = ending.clone();
        runtime.spawn(async move {
            let until = async move {
                let _ = stopped.await;
                ending.0.send_replace(Course::Stopping);
            };
            if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(until).await {
                tracing::error!(%address, "the server has ended: {error}");
            }
            // Sockets are no requests any more: they end by themselves, having said so.
            sockets.0.closed().await;
            let _ = end.send(());
        });
        tracing::info!(%address, "answers over HTTP");
        Ok(Serving { address, stopping, stop: Some(stop), ended, runtime: Some(runtime) })
    }
}

/// A server that runs; dropping it stops it.
pub struct Serving {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    stop: Option<oneshot::Sender<()>>,
    ended: Receiver<()>,
    runtime: Option<Runtime>,
}

impl Serving {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, and waits for those that it has, [`GRACE`] at most.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Dropping it is the signal.
        self.stop.take();
        let Some(runtime) = self.runtime.take() else { return };
        // Not by the runtime: a program may drop the server inside a runtime of its own.
        let _ = self.ended.recv_timeout(GRACE);
        runtime.shutdown_background();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end();
    }
}

/// What becomes of the job and the server, for connections that last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// The job runs.
    Running,
    /// The job has ended; what it has published can still be had.
    Ended,
    /// The server is about to stop.
    Stopping,
}

/// Tells connections that last of the course; each of them holds a receiver for as long as it has something to say.
#[derive(Clone)]
pub(crate) struct Ending(pub(crate) Arc<watch::Sender<Course>>);

impl Ending {
    /// Looks now and then whether the job runs, until the server is about to stop.
    async fn follow(self, live: Live) {
        loop {
            let course = match live.current().health() {
                Health::Running => Course::Running,
                _ => Course::Ended,
            };
            let change = |now: &mut Course| {
                let is_new = *now != course && *now != Course::Stopping;
                if is_new {
                    *now = course;
                }
                is_new
            };
            self.0.send_if_modified(change);
            if *self.0.borrow() == Course::Stopping {
                return;
            }
            tokio::time::sleep(END_LOOK).await;
        }
    }
}

/// What every request can use.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) live: Live,
    stopping: Arc<AtomicBool>,
    readers: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Site {
    /// Reads on a thread that may wait for a disk.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let turn = Arc::clone(&self.readers).acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let read = read();
            drop(turn);
            read
        });
        done.await.unwrap_or_else(|failed| match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that ends drops what it was given.
            Err(_) => Err(QueryError::Ended { topology: self.live.current().topology().to_owned() }),
        })
    }

    /// Room for one more request that waits.
    pub(crate) fn waits(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let room = Arc::clone(&self.waiting).try_acquire_owned();
        room.map_err(|_| Failure::busy("too many requests wait; ask again later"))
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}
