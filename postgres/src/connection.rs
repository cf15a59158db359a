//! Where a database is, and the way there.
//!
//! A [`Postgres`] has a small runtime of its own: connections live on it, whoever asks. Invariants: nothing waits
//! longer than the limit that it was given; a connection whose step failed or took too long is dropped, and with it
//! what it had open. It does not know what is asked.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};

use crate::column::Table;
use crate::error::{PostgresError, Refusal};
use crate::limits::{CONNECT_TIMEOUT, LOCK_TIMEOUT, THREADS, TIMEOUT_DEFAULT};
use crate::lookup::Lookup;

/// A database of a PostgreSQL server, 12 or newer. A clone is the same.
#[derive(Clone)]
pub struct Postgres {
    pub(crate) config: Config,
    /// The schema of the sinks' own tables; `None`: the first of the search path.
    pub(crate) schema: Option<String>,
    pub(crate) timeout: Duration,
    runtime: Arc<Running>,
}

impl Postgres {
    /// The database at these parameters: `host=localhost user=shop dbname=shop` or
    /// `postgresql://shop@localhost/shop`, as `psql` takes them. Nothing is connected yet.
    ///
    /// Connections are not encrypted. A pooler between this program and the server has to keep sessions (`session`
    /// mode).
    ///
    /// # Errors
    /// If the parameters cannot be read, ask for TLS, or no thread can be started.
    pub fn at(parameters: &str) -> Result<Postgres, PostgresError> {
        let config: Config = parameters.parse().map_err(|error: tokio_postgres::Error| {
            // What the parser says names options, never values.
            let reason = std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string);
            PostgresError::Parameters { reason }
        })?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(PostgresError::Tls);
        }
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("postgres")
            .enable_all()
            .build()
            .map_err(|error| PostgresError::Threads { reason: error.to_string() })?;
        let runtime = Arc::new(Running(Some(runtime)));
        Ok(Postgres { config, schema: None, timeout: TIMEOUT_DEFAULT, runtime })
    }

    /// Keeps the tables that belong to sinks, `highwater_…`, in this schema, which must be there; in the first of the
    /// search path unless said. The user needs the right to make tables in it.
    pub fn schema(mut self, schema: impl Into<String>) -> Postgres {
        self.schema = Some(schema.into());
        self
    }

    /// How long the server may take for one step of a sink: a piece of rows, or publishing an epoch; 1 min unless
    /// said. What takes longer is given up, and the epoch is done again.
    pub fn timeout(mut self, timeout: Duration) -> Postgres {
        self.timeout = timeout.max(Duration::from_millis(10));
        self
    }

    /// A table that records go to, as `name` or `schema.name`.
    pub fn table<T: 'static>(&self, name: &str) -> Table<T> {
        Table::new(self.clone(), name)
    }

    /// A query for single records: `$1` is the key, `read` makes a value of the row that it gives. See [`Lookup`].
    pub fn lookup<K, V>(
        &self,
        query: &str,
        read: impl Fn(&tokio_postgres::Row) -> Result<V, tokio_postgres::Error> + Send + Sync + 'static,
    ) -> Lookup<K, V> {
        Lookup::new(self.clone(), query, read)
    }

    /// The server and the database, for errors.
    pub(crate) fn describe(&self) -> String {
        let hosts = self.config.get_hosts().iter().enumerate().map(|(number, host)| {
            let ports = self.config.get_ports();
            let port = ports.get(number).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        });
        let hosts: Vec<String> = hosts.collect();
        let database = self.config.get_dbname().or(self.config.get_user()).unwrap_or("?");
        format!("PostgreSQL at {}/{database}", hosts.join(","))
    }

    /// A connection under this name, which `pg_stat_activity` shows.
    pub(crate) async fn connect(&self, name: &str) -> Result<Client, PostgresError> {
        let mut config = self.config.clone();
        config.application_name(name);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        let connecting = async {
            let (client, connection) = config.connect(NoTls).await.map_err(|error| self.lost(&error))?;
            self.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!("a connection to PostgreSQL ended: {error}");
                }
            });
            let settings = format!(
                "SET lock_timeout = {}; SET statement_timeout = {timeout}; \
                 SET idle_in_transaction_session_timeout = {timeout}; SET synchronous_commit = on; \
                 SET client_min_messages = warning",
                LOCK_TIMEOUT.as_millis(),
                timeout = self.timeout.as_millis(),
            );
            client.batch_execute(&settings).await.map_err(|error| self.lost(&error))?;
            Ok(client)
        };
        within(self, CONNECT_TIMEOUT * 2, "a connection", connecting).await
    }

    /// Runs on the runtime of this database.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.0.as_ref().expect("it is taken when it is dropped").spawn(future)
    }

    /// Runs there, and holds this thread until it is done: also one that itself drives futures.
    pub(crate) fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T, PostgresError>> + Send + 'static,
    ) -> Result<T, PostgresError> {
        let (send, receive) = std::sync::mpsc::sync_channel(1);
        self.spawn(async move {
            let _ = send.send(future.await);
        });
        receive.recv().unwrap_or_else(|_| Err(self.gone("the task that talks to it has ended")))
    }

    /// An error that is no refusal is one of the connection.
    pub(crate) fn lost(&self, error: &tokio_postgres::Error) -> PostgresError {
        self.gone(&told(error))
    }

    fn gone(&self, reason: &str) -> PostgresError {
        PostgresError::Connection { server: self.describe(), reason: reason.to_owned() }
    }

    /// A refusal, or the loss of the connection.
    pub(crate) fn failed(
        &self,
        error: &tokio_postgres::Error,
        refused: impl FnOnce(Box<Refusal>) -> PostgresError,
    ) -> PostgresError {
        Refusal::of(error).map_or_else(|| self.lost(error), refused)
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Postgres").field(&self.describe()).finish()
    }
}

/// An error with its causes, in one line.
pub(crate) fn told(error: &tokio_postgres::Error) -> String {
    if let Some(refusal) = Refusal::of(error) {
        return refusal.to_string();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}

/// What the future gives, if it does so in time.
pub(crate) async fn within<T>(
    postgres: &Postgres,
    limit: Duration,
    what: &'static str,
    future: impl Future<Output = Result<T, PostgresError>>,
) -> Result<T, PostgresError> {
    match tokio::time::timeout(limit, future).await {
        Ok(done) => done,
        Err(_) => Err(PostgresError::Timeout { server: postgres.describe(), what, limit }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_in_no_text() {
        let postgres = Postgres::at("postgresql://shop:geheim@db.example:5433/shop");
        let postgres = postgres.expect("the parameters can be read");
        assert_eq!(postgres.describe(), "PostgreSQL at db.example:5433/shop");
        assert!(!format!("{postgres:?}").contains("geheim"));
        let refused = [
            "postgresql://shop:geheim@db.example:port/shop",
            "host=x password=geheim port=y",
            "host=x password='geheim",
            "host=x password=geheim sslmode=require",
            "host=x password geheim",
        ];
        for parameters in refused {
            let error = Postgres::at(parameters).expect_err("it is refused");
            assert!(!format!("{error} {error:?}").contains("geheim"), "{error}");
        }
    }
}
