//! What is asked of the database for a sink: taking it over, making room for its rows, publishing an epoch.
//!
//! One row for each sink says which epoch it has published and which instance may publish. Invariants: rows and that
//! epoch change in one transaction, which holds the row locked from its first statement on; an instance publishes only
//! while the row names it; what a take-over has ended cannot come back. Whoever gets an error drops the connection, and
//! with it the transaction.

use highwater::state::Epoch;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::connection::{Postgres, within};
use crate::error::{PostgresError, Refusal};
use crate::plan::{Plan, Receipt, literal};

/// A sink and its database.
#[derive(Clone)]
pub(crate) struct Ledger {
    pub(crate) postgres: Postgres,
    pub(crate) plan: Plan,
}

/// What a take-over found and made.
pub(crate) struct Taken {
    /// Which start of the sink this is.
    pub(crate) instance: i64,
    /// The epoch that was published last.
    pub(crate) published: Epoch,
}

/// What a column takes.
pub(crate) struct Check {
    pub(crate) column: String,
    pub(crate) given: &'static str,
    pub(crate) accepts: fn(&Type) -> bool,
}

impl Ledger {
    pub(crate) async fn connect(&self) -> Result<Client, PostgresError> {
        self.postgres.connect(&self.plan.application()).await
    }

    /// Fences every earlier instance. `own` is the number of an earlier start of this one, or 0.
    pub(crate) async fn take_over(
        &self,
        client: &Client,
        own: i64,
        last: Epoch,
    ) -> Result<Taken, PostgresError> {
        self.run(client, &self.plan.make_ledger(), "the table of what sinks have published").await?;
        if own != 0 {
            // Before anything is ended: what runs now may be the successor's.
            self.check_instance(&self.ledger_row(client, "").await?, own)?;
        }
        // What an earlier instance has open may hold locks for as long as that instance sleeps.
        let ended = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = {} \
             AND datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()",
            literal(&self.plan.application())
        );
        self.run(client, &ended, "the end of earlier connections").await?;
        self.run(client, "BEGIN", "a transaction").await?;
        let row = self.ledger_row(client, "FOR UPDATE").await?;
        if own != 0 {
            self.check_instance(&row, own)?;
        }
        let (before, published) = (row.get::<_, i64>(0), epoch_of(row.get(1)));
        let Plan { sink, table, ledger, .. } = &self.plan;
        if published > last && last > Epoch(0) {
            let (sink, table) = (sink.clone(), table.clone());
            return Err(PostgresError::Ahead { sink, table, published, last });
        }
        let published = published.min(last);
        if last == Epoch(0) && row.get::<_, i64>(1) > 0 {
            tracing::warn!(%sink, %table, "the job begins anew: what it wrote before stays in the table");
        }
        let instance = before + 1;
        let update = format!(
            "UPDATE {ledger} SET instance = {instance}, epoch = {}, target = {}, published = now() \
             WHERE sink = {}; COMMIT",
            published.0,
            literal(table),
            literal(sink)
        );
        self.run(client, &update, "the take-over").await?;
        Ok(Taken { instance, published })
    }

    /// The columns in which rows of an earlier start wait; empty if there are none.
    pub(crate) async fn staged_columns(&self, client: &Client) -> Result<Vec<String>, PostgresError> {
        let columns = self.columns_of(client, &self.plan.staged).await?;
        let names = columns.into_iter().map(|row| row.get::<_, String>(0));
        Ok(names.filter(|name| !name.starts_with("highwater_")).collect())
    }

    /// Sees whether the table fits what the program gives, and makes room for rows. The types of the columns.
    pub(crate) async fn prepare(
        &self,
        client: &Client,
        checks: &[Check],
    ) -> Result<Vec<Type>, PostgresError> {
        let found = self.columns_of(client, &self.plan.table).await?;
        if found.is_empty() {
            return Err(
                self.unfit("there is no such table, or it has no columns; create it first".to_owned())
            );
        }
        let mut others = Vec::new();
        for row in found {
            let (name, required, filled): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
            if self.plan.is_key(&name) && !required {
                return Err(self.unfit(format!(
                    "the key column `{name}` may be null, and null is equal to nothing; make it NOT NULL"
                )));
            }
            if self.plan.columns.contains(&name) {
                continue;
            }
            if required && !filled {
                return Err(self.unfit(format!(
                    "the column `{name}` is NOT NULL without a default, and the sink makes none; add it with \
                     `column`, or give it a default"
                )));
            }
            others.push(name);
        }
        let types = self.types(client, checks).await?;
        let room = format!("BEGIN; {}; COMMIT", self.plan.make_staged(&others));
        self.run(client, &room, "room for rows that wait").await?;
        // The server looks at the whole statement: keys without an index, columns that cannot be written, rights.
        let nothing = Receipt { instance: 0, worker: 0, part: 0, rows: 0, after: Epoch(0) };
        let explained = format!("EXPLAIN {}", self.plan.publish(&nothing));
        client.batch_execute(&explained).await.map_err(|error| {
            self.postgres.failed(&error, |refusal| match refusal.may_pass() {
                true => self.refused("a look at the table", refusal),
                false => self.unfit(advice(&refusal)),
            })
        })?;
        Ok(types)
    }

    async fn types(&self, client: &Client, checks: &[Check]) -> Result<Vec<Type>, PostgresError> {
        let mut types = Vec::with_capacity(checks.len());
        let columns = self.plan.columns.iter().map(|column| crate::plan::quoted(column)).collect::<Vec<_>>();
        let select = format!("SELECT {} FROM {}", columns.join(", "), self.plan.table);
        let statement = client
            .prepare(&select)
            .await
            .map_err(|error| self.postgres.failed(&error, |refusal| self.unfit(refusal.to_string())))?;
        for (check, column) in checks.iter().zip(statement.columns()) {
            let kind = column.type_();
            if !(check.accepts)(kind) {
                return Err(self.unfit(format!(
                    "the column `{}` has the type {kind}, and the program gives `{}`; change one of the two",
                    check.column, check.given
                )));
            }
            types.push(kind.clone());
        }
        Ok(types)
    }

    /// Name, whether it must not be null, whether it fills itself; of each column.
    async fn columns_of(&self, client: &Client, table: &str) -> Result<Vec<Row>, PostgresError> {
        let query = "SELECT attname::text, attnotnull, atthasdef OR attidentity <> '' OR attgenerated <> '' \
                     FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped \
                     ORDER BY attnum";
        let rows = client.query(query, &[&table]).await;
        rows.map_err(|error| {
            self.postgres.failed(&error, |refusal| self.refused("the columns of a table", refusal))
        })
    }

    /// Makes an epoch visible, once.
    pub(crate) async fn publish(
        &self,
        client: &Client,
        instance: i64,
        epoch: Epoch,
        receipts: &[Receipt],
    ) -> Result<(), PostgresError> {
        let publishing = async {
            self.run(client, "BEGIN", "a transaction").await?;
            let row = self.ledger_row(client, "FOR UPDATE").await?;
            self.check_instance(&row, instance)?;
            let published = epoch_of(row.get(1));
            if published >= epoch {
                return self.run(client, "ROLLBACK", "the end of a transaction").await;
            }
            if let Some(receipt) = receipts.iter().find(|receipt| receipt.after != published) {
                let reason =
                    format!("the last epoch there is {published}, and it was {} before", receipt.after);
                return Err(self.lost(epoch, reason));
            }
            for receipt in receipts {
                self.publish_receipt(client, epoch, receipt).await?;
            }
            let Plan { sink, ledger, .. } = &self.plan;
            let done = format!(
                "UPDATE {ledger} SET epoch = {}, published = now() WHERE sink = {}; COMMIT",
                epoch.0,
                literal(sink)
            );
            client.batch_execute(&done).await.map_err(|error| self.unpublished(epoch, &error))
        };
        within(&self.postgres, self.postgres.timeout, "publishing an epoch", publishing).await
    }

    async fn publish_receipt(
        &self,
        client: &Client,
        epoch: Epoch,
        receipt: &Receipt,
    ) -> Result<(), PostgresError> {
        let insert = self.plan.publish(receipt);
        client.execute(&insert, &[]).await.map_err(|error| self.unpublished(epoch, &error))?;
        let forget = format!(
            "WITH gone AS ({} RETURNING highwater_skip) \
             SELECT count(*), count(*) FILTER (WHERE highwater_skip) FROM gone",
            self.plan.forget(receipt)
        );
        let row = client.query_one(&forget, &[]).await.map_err(|error| self.unpublished(epoch, &error))?;
        let (gone, skipped): (i64, i64) = (row.get(0), row.get(1));
        if gone as u64 != receipt.rows {
            let (worker, rows) = (receipt.worker, receipt.rows);
            return Err(self.lost(epoch, format!("worker {worker} staged {rows} rows, and {gone} are there")));
        }
        if skipped > 0 {
            let Plan { sink, table, .. } = &self.plan;
            tracing::warn!(%sink, %table, %epoch, skipped, "rows were left out, as `highwater_skip` says");
        }
        Ok(())
    }

    /// Instance and epoch.
    async fn ledger_row(&self, client: &Client, lock: &str) -> Result<Row, PostgresError> {
        let Plan { sink, ledger, .. } = &self.plan;
        let query = format!("SELECT instance, epoch FROM {ledger} WHERE sink = $1 {lock}");
        let row = client.query_opt(&query, &[sink]).await.map_err(|error| {
            self.postgres.failed(&error, |refusal| self.refused("what it has published", refusal))
        })?;
        row.ok_or_else(|| self.fenced())
    }

    fn check_instance(&self, row: &Row, own: i64) -> Result<(), PostgresError> {
        if row.get::<_, i64>(0) == own { Ok(()) } else { Err(self.fenced()) }
    }

    /// Runs statements that give nothing back.
    async fn run(&self, client: &Client, sql: &str, what: &'static str) -> Result<(), PostgresError> {
        let running = async {
            let done = client.batch_execute(sql).await;
            done.map_err(|error| self.postgres.failed(&error, |refusal| self.refused(what, refusal)))
        };
        within(&self.postgres, self.postgres.timeout, what, running).await
    }

    fn fenced(&self) -> PostgresError {
        PostgresError::Fenced { sink: self.plan.sink.clone(), table: self.plan.table.clone() }
    }

    fn lost(&self, epoch: Epoch, reason: String) -> PostgresError {
        let Plan { sink, table, staged, .. } = self.plan.clone();
        PostgresError::Lost { sink, table, epoch, staged, reason }
    }

    pub(crate) fn unfit(&self, reason: String) -> PostgresError {
        PostgresError::Unfit { sink: self.plan.sink.clone(), table: self.plan.table.clone(), reason }
    }

    pub(crate) fn refused(&self, what: &'static str, refusal: Box<Refusal>) -> PostgresError {
        let (sink, server) = (self.plan.sink.clone(), self.postgres.describe());
        PostgresError::Refused { sink, server, what, refusal }
    }

    fn unpublished(&self, epoch: Epoch, error: &tokio_postgres::Error) -> PostgresError {
        let Plan { table, staged, .. } = self.plan.clone();
        self.postgres.failed(error, |refusal| PostgresError::Unpublished { table, epoch, staged, refusal })
    }
}

/// What the server says about a statement that cannot work, and what to do.
fn advice(refusal: &Refusal) -> String {
    let next = match refusal.code.as_str() {
        "42P10" => "; create a unique index or a primary key on just the key columns",
        "42501" => "; grant this user the right to INSERT, SELECT and UPDATE",
        "428C9" => "; leave out the column that the server makes",
        _ => "",
    };
    format!("{refusal}{next}")
}

/// The database has signed numbers only.
fn epoch_of(number: i64) -> Epoch {
    Epoch(u64::try_from(number).unwrap_or(0))
}
