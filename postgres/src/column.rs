//! Which columns are made of a record.
//!
//! A record becomes a row in PostgreSQL's binary form, column by column; whether a column's type fits the program's is
//! found out once, at the start. It does not know where rows go.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{IsNull, ToSql, Type};

use crate::connection::Postgres;
use crate::limits::ROW_BYTES_MAX;
use crate::plan::Plan;
use crate::sink::PostgresSink;

type Encode<T> = Arc<dyn Fn(&T, &Type, &mut BytesMut) -> Result<IsNull, String> + Send + Sync>;

/// One column: its name, what the program gives for it, and how.
pub(crate) struct Column<T> {
    pub(crate) name: String,
    /// What the program gives, for errors.
    pub(crate) given: &'static str,
    pub(crate) accepts: fn(&Type) -> bool,
    encode: Encode<T>,
}

/// A table that records go to, and the columns that are made of them; made by [`Postgres::table`].
///
/// Columns that are not named get their defaults. The value of a column is anything that is
/// [`ToSql`](tokio_postgres::types::ToSql) for its type: `i16`, `i32`, `i64` for `smallint`, `integer`, `bigint`; `f32`
/// and `f64` for `real` and `double precision`; `bool`; `String` and `&str` for text, and for enumerations; `Vec<u8>`
/// for `bytea`; `serde_json::Value` for `json` and `jsonb`; `chrono::DateTime<Utc>` for `timestamptz`, `SystemTime`
/// too; `Vec` of these for arrays; `Option` of these for columns that may be null.
pub struct Table<T> {
    postgres: Postgres,
    name: String,
    columns: Vec<Column<T>>,
}

impl<T: 'static> Table<T> {
    pub(crate) fn new(postgres: Postgres, name: &str) -> Table<T> {
        Table { postgres, name: name.to_owned(), columns: Vec::new() }
    }

    /// Makes the column `name` of each record.
    pub fn column<V: ToSql + 'static>(
        mut self,
        name: &str,
        value: impl Fn(&T) -> V + Send + Sync + 'static,
    ) -> Table<T> {
        let encode: Encode<T> = Arc::new(move |record, kind, row| {
            value(record).to_sql(kind, row).map_err(|error| error.to_string())
        });
        let given = std::any::type_name::<V>();
        self.columns.push(Column { name: name.to_owned(), given, accepts: V::accepts, encode });
        self
    }

    /// A sink that keeps one row for each key: a record replaces the columns of the row that has its `keys`, or adds
    /// it. There must be a unique index or a primary key on just these columns, and none of them may be null.
    ///
    /// `name` says which sink it is after a restart: 1 to 40 of the characters `A-Z a-z 0-9 . _ -`, and only one
    /// running job has a sink of this name in a database.
    ///
    /// Records of one key replace each other in their order, if they come from one worker: `key_by` the same key
    /// before the sink. Of those that different workers deliver in one epoch, the last of the highest worker stays.
    pub fn upsert<const N: usize>(self, name: &str, keys: [&str; N]) -> PostgresSink<T> {
        let keys = keys.map(str::to_owned).to_vec();
        let plan = self.plan(name, keys, true);
        PostgresSink::new(self.postgres, plan, self.columns)
    }

    /// A sink that adds a row for each record. `name` as for [`upsert`](Table::upsert).
    pub fn append(self, name: &str) -> PostgresSink<T> {
        let plan = self.plan(name, Vec::new(), false);
        PostgresSink::new(self.postgres, plan, self.columns)
    }

    fn plan(&self, sink: &str, keys: Vec<String>, upsert: bool) -> Plan {
        let columns = self.columns.iter().map(|column| column.name.clone()).collect();
        Plan::new(sink, &self.name, self.postgres.schema.as_deref(), columns, keys, upsert)
    }
}

/// What a record cannot be a row for.
pub(crate) struct Unencodable {
    pub(crate) column: String,
    pub(crate) reason: String,
}

/// Adds the columns of a record to a row.
pub(crate) fn encode_columns<T>(
    columns: &[Column<T>],
    types: &[Type],
    record: &T,
    row: &mut BytesMut,
) -> Result<(), Unencodable> {
    let start = row.len();
    for (column, kind) in columns.iter().zip(types) {
        let failed = |reason: String| Unencodable { column: column.name.clone(), reason };
        let place = row.len();
        row.put_i32(-1);
        if let IsNull::No = (column.encode)(record, kind, row).map_err(failed)? {
            let bytes = row.len() - place - 4;
            if row.len() - start > ROW_BYTES_MAX {
                return Err(failed(format!("the row has more than {ROW_BYTES_MAX} bytes")));
            }
            let bytes = i32::try_from(bytes).expect("a row is not longer than its limit");
            row[place..place + 4].copy_from_slice(&bytes.to_be_bytes());
        } else {
            row.truncate(place + 4);
        }
    }
    Ok(())
}

/// The first name that is there twice.
pub(crate) fn repeated(names: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(name.as_str()))
}
