//! A table as a sink: every epoch once, also when the process or the server is killed.
//!
//! Writers put rows into a table beside the sink's own, `highwater_staged_<name>`; a receipt says which; when the epoch
//! is committed, one transaction moves them over and notes the epoch
//! (`docs/decisions/0023-rows-wait-in-the-database.md`). Invariants: publishing an epoch twice gives the same as
//! publishing it once; rows that were staged and not committed are never in the table; an instance that another has
//! taken over from changes nothing any more. It does not know rows.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use highwater::operators::error::Cause;
use highwater::operators::sink::{Publish, Sink, Writer};
use highwater::state::Epoch;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use crate::column::Column;
use crate::connection::Postgres;
use crate::error::PostgresError;
use crate::ledger::{Check, Ledger};
use crate::plan::{Plan, Receipt};
use crate::writer::PostgresWriter;

/// Writes rows to a table, exactly once; made by [`Table::upsert`](crate::Table::upsert) and
/// [`Table::append`](crate::Table::append).
///
/// Whoever reads the table sees whole epochs, each once. Rows of one worker are written in their order; within an epoch
/// the workers follow each other.
///
/// What survives a restart is which epoch was published last, in the table `highwater_sinks`; it belongs to the job's
/// state. A job that begins anew, without state, takes nothing away: `append` then adds its rows once more. A job whose
/// state is older than what it has published is refused, and so is an instance that another has taken over from.
///
/// **Rows that the table does not take.** What can be said of one row is found before the epoch is committed: types,
/// lengths, NOT NULL, CHECK. The job ends, and nothing is lost. What depends on other rows is found when the epoch is
/// published: unique constraints other than the key, foreign keys, triggers. The job ends too; the epoch is committed,
/// and its rows wait in `highwater_staged_<name>`, where they can be corrected or marked with `highwater_skip`. A start
/// publishes them again.
///
/// Cost: every row is written twice in the database and removed once; of rows of one key that follow each other within
/// a piece of 1 MiB, `upsert` sends the last. An epoch with rows costs a commit for each worker
/// that has some, and one more. Memory: two pieces of 1 MiB for each worker.
pub struct PostgresSink<T> {
    shared: Arc<Shared>,
    columns: Arc<Vec<Column<T>>>,
}

impl<T> Clone for PostgresSink<T> {
    fn clone(&self) -> Self {
        PostgresSink { shared: Arc::clone(&self.shared), columns: Arc::clone(&self.columns) }
    }
}

impl<T> fmt::Debug for PostgresSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { sink, table, columns, .. } = &self.shared.ledger.plan;
        f.debug_struct("PostgresSink")
            .field("sink", sink)
            .field("table", table)
            .field("columns", columns)
            .finish_non_exhaustive()
    }
}

/// What the committing thread and the writers share.
pub(crate) struct Shared {
    pub(crate) ledger: Ledger,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Which start of the sink this is; 0 before the first.
    instance: i64,
    /// What was published last.
    published: Epoch,
    /// The types of the columns.
    types: Vec<Type>,
    /// The connection that publishes.
    client: Option<Client>,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was published last.
    pub(crate) fn published(&self) -> Epoch {
        self.state().published
    }

    fn read(&self, receipts: &[Vec<u8>]) -> Result<Vec<Receipt>, PostgresError> {
        let given = receipts.iter().filter(|bytes| !bytes.is_empty());
        let read = given.map(|bytes| {
            serde_json::from_slice(bytes).map_err(|error| PostgresError::Damaged {
                sink: self.ledger.plan.sink.clone(),
                reason: error.to_string(),
            })
        });
        read.collect()
    }
}

impl<T: 'static> PostgresSink<T> {
    pub(crate) fn new(postgres: Postgres, plan: Plan, columns: Vec<Column<T>>) -> Self {
        let ledger = Ledger { postgres, plan };
        let shared = Shared { ledger, state: Mutex::new(State::default()) };
        PostgresSink { shared: Arc::new(shared), columns: Arc::new(columns) }
    }

    fn recover_at(&self, last: Epoch, receipts: &[Vec<u8>]) -> Result<(), PostgresError> {
        let receipts = self.shared.read(receipts)?;
        let ledger = self.shared.ledger.clone();
        if let Some(fault) = ledger.plan.fault() {
            return Err(ledger.unfit(fault));
        }
        let checks = self.columns.iter().map(|column| Check {
            column: column.name.clone(),
            given: column.given,
            accepts: column.accepts,
        });
        let checks: Vec<Check> = checks.collect();
        let mut state = self.shared.state();
        state.client = None;
        let own = state.instance;
        let recovering = async move {
            let client = ledger.connect().await?;
            let mut taken = ledger.take_over(&client, own, last).await?;
            if !receipts.is_empty() {
                // The columns may have been others then.
                let mut earlier = ledger.clone();
                let columns = ledger.staged_columns(&client).await?;
                if !columns.is_empty() {
                    earlier.plan.columns = columns;
                }
                earlier.publish(&client, taken.instance, last, &receipts).await?;
                taken.published = last;
            }
            let types = ledger.prepare(&client, &checks).await?;
            let (instance, published) = (taken.instance, taken.published);
            Ok(State { instance, published, types, client: Some(client) })
        };
        *state = self.shared.ledger.postgres.wait(recovering)?;
        Ok(())
    }

    fn publish_at(&self, epoch: Epoch, receipts: &[Vec<u8>]) -> Result<(), PostgresError> {
        let receipts = self.shared.read(receipts)?;
        let mut state = self.shared.state();
        let (ledger, instance, kept) = (self.shared.ledger.clone(), state.instance, state.client.take());
        let publishing = async move {
            let client = match kept.filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => ledger.connect().await?,
            };
            ledger.publish(&client, instance, epoch, &receipts).await?;
            Ok(client)
        };
        state.client = Some(self.shared.ledger.postgres.wait(publishing)?);
        state.published = state.published.max(epoch);
        Ok(())
    }
}

impl<T: 'static> Publish for PostgresSink<T> {
    fn recover(&self, last: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        self.recover_at(last, receipts).map_err(PostgresError::into_cause)
    }

    fn publish(&self, epoch: Epoch, receipts: &[Vec<u8>]) -> Result<(), Cause> {
        self.publish_at(epoch, receipts).map_err(PostgresError::into_cause)
    }
}

impl<T: 'static> Sink<T> for PostgresSink<T> {
    fn open(&self, worker: usize) -> Result<Box<dyn Writer<T>>, Cause> {
        let (instance, types) = {
            let state = self.shared.state();
            (state.instance, state.types.clone())
        };
        let (shared, columns) = (Arc::clone(&self.shared), Arc::clone(&self.columns));
        let writer = PostgresWriter::open(shared, columns, types, instance, worker);
        Ok(Box::new(writer.map_err(PostgresError::into_cause)?))
    }
}
