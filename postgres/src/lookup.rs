//! A query that enriches records: for `map_async`.
//!
//! Invariants: no more connections are open than the limit says; whoever asks gets an answer or an error in time; an
//! answer is no older than the cache allows. Queries run on the runtime of their [`Postgres`], so a lookup works
//! wherever futures are driven, also in the interpreter.

use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use thiserror::Error;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, NoTls, Row};

use crate::cache::Cache;
use crate::connection::{Postgres, told};
use crate::error::Refusal;
use crate::limits::{CACHE_ENTRIES, CACHE_TIME, LOOKUP_CONNECTIONS, LOOKUP_TIMEOUT};

type Read<V> = Arc<dyn Fn(&Row) -> Result<V, tokio_postgres::Error> + Send + Sync>;

/// A query with one parameter, `$1`, that gives one row or none; made by [`Postgres::lookup`]. A clone shares
/// connections and cache.
///
/// Answers are kept, also that there is no row: 10 000 for a minute unless [`cache`](Lookup::cache) says otherwise. So
/// an answer may be as old as that. While one asks for a key, others who ask for it wait for the same answer. Errors
/// are not kept.
///
/// Memory: the cache's keys and answers. A key of several columns can be an array or a JSON document, taken apart in
/// the query.
///
/// ```no_run
/// # use highwater::prelude::*;
/// # use highwater_postgres::Postgres;
/// let postgres = Postgres::at("host=localhost dbname=shop")?;
/// let category = postgres
///     .lookup("select category from pages where url = $1", |row| row.try_get::<_, String>("category"))
///     .cache(50_000, Duration::from_secs(300))
///     .connections(8);
///
/// let topology = Topology::new("categories");
/// topology
///     .source("urls", File::at("urls.txt").lines(Text))
///     .map_async("category", move |url: String| {
///         let category = category.clone();
///         async move { category.get(url).await.map(|found| found.unwrap_or_else(|| "unknown".to_owned())) }
///     })
///     .or_fail()
///     .sink("categories", Stdout::lines(Text));
/// # Ok::<(), Cause>(())
/// ```
pub struct Lookup<K, V> {
    postgres: Postgres,
    query: Arc<str>,
    read: Read<V>,
    connections: usize,
    timeout: Duration,
    pool: Arc<OnceLock<Pool>>,
    cache: Arc<Mutex<Cache<K, Option<V>>>>,
}

impl<K, V> Clone for Lookup<K, V> {
    fn clone(&self) -> Self {
        Lookup {
            postgres: self.postgres.clone(),
            query: Arc::clone(&self.query),
            read: Arc::clone(&self.read),
            connections: self.connections,
            timeout: self.timeout,
            pool: Arc::clone(&self.pool),
            cache: Arc::clone(&self.cache),
        }
    }
}

impl<K, V> fmt::Debug for Lookup<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup")
            .field("postgres", &self.postgres)
            .field("query", &self.query)
            .finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LookupError {
    /// All connections are in use.
    #[error(
        "`{query}`: none of {connections} connections was free within {limit:?}; allow more with \
            `Lookup::connections`, or fewer requests at a time with `in_flight`"
    )]
    Busy {
        /// The query.
        query: String,
        /// How many there are.
        connections: usize,
        /// How long it waited.
        limit: Duration,
    },
    /// The answer did not come in time.
    #[error(
        "`{query}`: no answer within {limit:?}; see that it has an index to go by, or set `Lookup::timeout`"
    )]
    Timeout {
        /// The query.
        query: String,
        /// How long it waited.
        limit: Duration,
    },
    /// The server cannot be reached, or the connection is lost.
    #[error("{server}: {reason}; see that the server runs, and lets this user in")]
    Connection {
        /// The server.
        server: String,
        /// What happened.
        reason: String,
    },
    /// The server refuses the query.
    #[error("`{query}`: {server} refuses it: {refusal}")]
    Refused {
        /// The query.
        query: String,
        /// The server.
        server: String,
        /// What it said.
        refusal: Box<Refusal>,
    },
    /// The query does not fit the key.
    #[error("`{query}`: it has to have one parameter, `$1`, of the key's type: {reason}")]
    Key {
        /// The query.
        query: String,
        /// What does not fit.
        reason: String,
    },
    /// A row cannot be read as the program does.
    #[error("`{query}`: its row cannot be read: {reason}")]
    Row {
        /// The query.
        query: String,
        /// Why not.
        reason: String,
    },
}

impl<K, V> Lookup<K, V> {
    pub(crate) fn new(
        postgres: Postgres,
        query: &str,
        read: impl Fn(&Row) -> Result<V, tokio_postgres::Error> + Send + Sync + 'static,
    ) -> Self {
        Lookup {
            postgres,
            query: query.into(),
            read: Arc::new(read),
            connections: LOOKUP_CONNECTIONS,
            timeout: LOOKUP_TIMEOUT,
            pool: Arc::new(OnceLock::new()),
            cache: Arc::new(Mutex::new(Cache::new(CACHE_ENTRIES, CACHE_TIME))),
        }
    }

    /// How many connections are open at most, at least 1; 4 unless said.
    pub fn connections(mut self, connections: usize) -> Self {
        (self.connections, self.pool) = (connections.max(1), Arc::new(OnceLock::new()));
        self
    }

    /// How long one [`get`](Lookup::get) may take, with the wait for a connection; 5 s unless said. The server gives
    /// the query up then, too.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        (self.timeout, self.pool) = (timeout.max(Duration::from_millis(1)), Arc::new(OnceLock::new()));
        self
    }

    /// How many answers are kept, and for how long; with 0 entries none.
    pub fn cache(mut self, entries: usize, time: Duration) -> Self {
        self.cache = Arc::new(Mutex::new(Cache::new(entries, time)));
        self
    }

    fn pool(&self) -> Pool {
        self.pool.get_or_init(|| self.build_pool()).clone()
    }

    fn build_pool(&self) -> Pool {
        let mut config: Config = self.postgres.config.clone();
        config.application_name("highwater lookup");
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let set = format!("SET statement_timeout = {}", self.timeout.as_millis());
        let hook = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
            let set = set.clone();
            Box::pin(async move { client.batch_execute(&set).await.map_err(HookError::Backend) })
        });
        let pool = Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(self.connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(self.timeout))
            .create_timeout(Some(self.timeout))
            .recycle_timeout(Some(self.timeout))
            .post_create(hook)
            .build();
        pool.expect("a pool with timeouts has a runtime")
    }
}

impl<K, V> Lookup<K, V>
where
    K: ToSql + Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The answer for a key, `None` where the query gives no row.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub async fn get(&self, key: K) -> Result<Option<V>, LookupError> {
        let place = {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.place(&key, Instant::now())
        };
        place.get_or_try_init(|| self.ask(key)).await.cloned()
    }

    async fn ask(&self, key: K) -> Result<Option<V>, LookupError> {
        let (lookup, limit) = (self.clone(), self.timeout);
        let asking = self.postgres.spawn(async move {
            match tokio::time::timeout(limit, lookup.query(&key)).await {
                Ok(answer) => answer,
                Err(_) => Err(LookupError::Timeout { query: lookup.query.to_string(), limit }),
            }
        });
        match asking.await {
            Ok(answer) => answer,
            Err(_) => Err(self.lost("the task that talks to it has ended".to_owned())),
        }
    }

    async fn query(&self, key: &K) -> Result<Option<V>, LookupError> {
        let client = self.pool().get().await.map_err(|error| self.no_connection(error))?;
        let statement = client.prepare_cached(&self.query).await.map_err(|error| self.failed(&error))?;
        let [parameter] = statement.params() else {
            let reason = format!("it has {}", statement.params().len());
            return Err(LookupError::Key { query: self.query.to_string(), reason });
        };
        if !K::accepts(parameter) {
            let reason = format!("`$1` is {parameter}, the key is {}", std::any::type_name::<K>());
            return Err(LookupError::Key { query: self.query.to_string(), reason });
        }
        let rows = client.query_opt(&statement, &[key]).await;
        let row = match rows {
            Err(error) if Refusal::of(&error).is_none() && !error.is_closed() => {
                return Err(LookupError::Row {
                    query: self.query.to_string(),
                    reason: format!("{}; end the query with `limit 1`", told(&error)),
                });
            }
            rows => rows.map_err(|error| self.failed(&error))?,
        };
        let read = row.as_ref().map(|row| (self.read)(row)).transpose();
        read.map_err(|error| LookupError::Row { query: self.query.to_string(), reason: told(&error) })
    }

    fn no_connection(&self, error: PoolError) -> LookupError {
        match error {
            PoolError::Timeout(TimeoutType::Wait) => LookupError::Busy {
                query: self.query.to_string(),
                connections: self.connections,
                limit: self.timeout,
            },
            PoolError::Backend(error) => self.failed(&error),
            error => self.lost(error.to_string()),
        }
    }

    fn failed(&self, error: &tokio_postgres::Error) -> LookupError {
        match Refusal::of(error) {
            Some(refusal) => {
                let (query, server) = (self.query.to_string(), self.postgres.describe());
                LookupError::Refused { query, server, refusal }
            }
            None => self.lost(told(error)),
        }
    }

    fn lost(&self, reason: String) -> LookupError {
        LookupError::Connection { server: self.postgres.describe(), reason }
    }
}
