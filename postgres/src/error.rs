//! What goes wrong with a database, for the person who runs the job: the table, the column, what the server said, and
//! what to do next.
//!
//! Invariant: no text holds a password. [`PostgresError::into_cause`] says which errors may pass: those of the
//! connection and of load. The epoch is done again then.

use std::fmt;
use std::time::Duration;

use highwater::operators::error::{Cause, TryAgain};
use highwater::state::Epoch;
use thiserror::Error;
use tokio_postgres::error::SqlState;

/// What the server said when it refused something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// SQLSTATE, five characters, as in the appendix "Error Codes" of PostgreSQL's manual.
    pub code: String,
    /// What happened.
    pub message: String,
    /// The column, if the server named one.
    pub column: Option<String>,
    /// The constraint, if the server named one.
    pub constraint: Option<String>,
    /// The rest: the key or the row, as far as the server tells, and where it found it.
    pub detail: Vec<String>,
}

impl Refusal {
    pub(crate) fn of(error: &tokio_postgres::Error) -> Option<Box<Refusal>> {
        let said = error.as_db_error()?;
        let detail = [said.detail(), said.hint(), said.where_()];
        Some(Box::new(Refusal {
            code: said.code().code().to_owned(),
            message: said.message().to_owned(),
            column: said.column().map(str::to_owned),
            constraint: said.constraint().map(str::to_owned),
            detail: detail.into_iter().flatten().map(str::to_owned).collect(),
        }))
    }

    /// Whether the same may go well later: the connection, the load, a lock, a server that stops or starts.
    pub(crate) fn may_pass(&self) -> bool {
        let passing = [
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::LOCK_NOT_AVAILABLE,
            SqlState::QUERY_CANCELED,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ];
        // 08: connections; 53: no room for connections, memory or disk.
        let class = self.code.get(..2).unwrap_or_default();
        class == "08" || class == "53" || passing.iter().any(|state| state.code() == self.code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SQLSTATE {}: {}", self.code, self.message)?;
        if let Some(column) = &self.column {
            write!(f, "; column `{column}`")?;
        }
        if let Some(constraint) = &self.constraint {
            write!(f, "; constraint `{constraint}`")?;
        }
        self.detail.iter().try_for_each(|detail| write!(f, "; {detail}"))
    }
}

/// An error of a sink.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// What was said about the server cannot be read.
    #[error(
        "the connection parameters cannot be read: {reason}; write `host=… port=… user=… password=… dbname=…` or \
            `postgresql://user:password@host:port/database`"
    )]
    Parameters {
        /// Why not.
        reason: String,
    },
    /// The parameters ask for an encrypted connection.
    #[error(
        "the connection parameters ask for TLS (`sslmode=require`), which this crate does not speak: use \
            `sslmode=prefer` on a network that is trusted, or a tunnel"
    )]
    Tls,
    /// The threads that talk to the server cannot be started.
    #[error("the threads that talk to PostgreSQL cannot be started: {reason}")]
    Threads {
        /// Why not.
        reason: String,
    },
    /// The server cannot be reached, or the connection is lost.
    #[error(
        "{server}: {reason}; see that the server runs, can be reached from here, and lets this user in \
            (pg_hba.conf)"
    )]
    Connection {
        /// The server.
        server: String,
        /// What happened.
        reason: String,
    },
    /// The server does not answer.
    #[error(
        "{server} took longer than {limit:?} for {what}; see what it is waiting for (pg_stat_activity), or allow it \
            more time with `Postgres::timeout`"
    )]
    Timeout {
        /// The server.
        server: String,
        /// What it was asked for.
        what: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// A sink that cannot work, found when the job starts.
    #[error("the sink `{sink}` cannot write to the table {table}: {reason}")]
    Unfit {
        /// The sink.
        sink: String,
        /// Its table.
        table: String,
        /// What does not fit, and what would.
        reason: String,
    },
    /// A value of the program cannot be one of the column.
    #[error(
        "record {record} of worker {worker} cannot be a row of the table {table}: column `{column}`: {reason}; the \
            epoch is not committed: correct the record before the sink, with `filter` or `map`, and start again"
    )]
    Record {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The worker.
        worker: usize,
        /// Which of its records, from 1, since the start.
        record: u64,
        /// Why not.
        reason: String,
    },
    /// The table does not take a row. The epoch is not committed.
    #[error(
        "rows of worker {worker} are no rows of the table {table}: {refusal}; the epoch is not committed: correct the \
            records before the sink, with `filter` or `map`, or the table, and start again"
    )]
    Row {
        /// The table.
        table: String,
        /// The worker.
        worker: usize,
        /// What the server said; a line that it names counts the rows of the last piece.
        refusal: Box<Refusal>,
    },
    /// The table does not take a row of an epoch that is committed.
    #[error(
        "the table {table} does not take the rows of {epoch}: {refusal}; the epoch is committed, and its rows wait in \
            {staged}: correct the table or the rows there, or leave a row out with `UPDATE {staged} SET \
            highwater_skip = true WHERE …`, and start again"
    )]
    Unpublished {
        /// The table.
        table: String,
        /// The epoch.
        epoch: Epoch,
        /// The table in which they wait.
        staged: String,
        /// What the server said.
        refusal: Box<Refusal>,
    },
    /// The server refuses something else.
    #[error("the sink `{sink}`: {server} refuses {what}: {refusal}")]
    Refused {
        /// The sink.
        sink: String,
        /// The server.
        server: String,
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        refusal: Box<Refusal>,
    },
    /// Another instance has taken over.
    #[error(
        "another instance has taken over the sink `{sink}` of the table {table}: either this job was started again \
            elsewhere, and this instance is over; or two jobs have a sink of this name, then give one another"
    )]
    Fenced {
        /// The sink.
        sink: String,
        /// Its table.
        table: String,
    },
    /// The database is ahead of the state.
    #[error(
        "the sink `{sink}` has written the table {table} up to {published}, but the job's state is at {last}: it was \
            restored from an older copy; start from the newest state, or give the sink another name, and what followed \
            {last} is written once more"
    )]
    Ahead {
        /// The sink.
        sink: String,
        /// Its table.
        table: String,
        /// What the database says.
        published: Epoch,
        /// What the state says.
        last: Epoch,
    },
    /// What was staged is not there.
    #[error(
        "the rows of {epoch} of the sink `{sink}` are not in the database: {reason}; it was restored from an older \
            copy, or {staged} was changed. The job's state counts these rows as written: restore a newer copy of the \
            database, or give the sink another name and accept that they are missing from the table {table}"
    )]
    Lost {
        /// The sink.
        sink: String,
        /// Its table.
        table: String,
        /// The epoch.
        epoch: Epoch,
        /// The table in which they were.
        staged: String,
        /// What was found.
        reason: String,
    },
    /// A receipt cannot be read.
    #[error("a receipt of the sink `{sink}` is damaged: {reason}; the state directory is")]
    Damaged {
        /// The sink.
        sink: String,
        /// Why it is none.
        reason: String,
    },
}

impl PostgresError {
    /// Whether doing the epoch again may help.
    pub fn may_pass(&self) -> bool {
        match self {
            PostgresError::Connection { .. } | PostgresError::Timeout { .. } => true,
            PostgresError::Row { refusal, .. }
            | PostgresError::Unpublished { refusal, .. }
            | PostgresError::Refused { refusal, .. } => refusal.may_pass(),
            _ => false,
        }
    }

    /// As the engine takes it.
    pub(crate) fn into_cause(self) -> Cause {
        if self.may_pass() { Box::new(TryAgain(Box::new(self))) } else { Box::new(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_tried_again_and_what_a_row_is_to_blame_for_is_not() {
        let of = |code: &str| Refusal {
            code: code.to_owned(),
            message: String::new(),
            column: None,
            constraint: None,
            detail: Vec::new(),
        };
        for code in ["08006", "53300", "57P01", "57P03", "40001", "40P01", "55P03", "57014"] {
            assert!(of(code).may_pass(), "{code}");
        }
        for code in ["23505", "23503", "23502", "22001", "42P01", "42501", "28P01"] {
            assert!(!of(code).may_pass(), "{code}");
        }
    }
}
