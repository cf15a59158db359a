//! What a sink is, as far as the database is concerned, and the SQL for it.
//!
//! Invariant: every name that comes from outside is quoted; besides them only numbers are written into a text. It does
//! not know records.

use highwater::state::Epoch;

use crate::column::repeated;
use crate::limits::{COLUMNS_MAX, NAME_CHARS_MAX};

/// A sink, without its types.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) sink: String,
    /// The table, quoted.
    pub(crate) table: String,
    /// The table in which rows wait, quoted.
    pub(crate) staged: String,
    /// The table of what sinks have published, quoted.
    pub(crate) ledger: String,
    pub(crate) columns: Vec<String>,
    keys: Vec<String>,
    upsert: bool,
}

/// What a writer staged for one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Receipt {
    /// Which start of the sink.
    pub(crate) instance: i64,
    pub(crate) worker: i32,
    /// Which of the writer's parts.
    pub(crate) part: i64,
    pub(crate) rows: u64,
    /// What the sink had published before.
    pub(crate) after: Epoch,
}

impl Plan {
    pub(crate) fn new(
        sink: &str,
        table: &str,
        schema: Option<&str>,
        columns: Vec<String>,
        keys: Vec<String>,
        upsert: bool,
    ) -> Plan {
        let own = |name: &str| match schema {
            Some(schema) => format!("{}.{}", quoted(schema), quoted(name)),
            None => quoted(name),
        };
        let table = table.split('.').map(quoted).collect::<Vec<_>>().join(".");
        let staged = own(&format!("highwater_staged_{sink}"));
        Plan { sink: sink.to_owned(), table, staged, ledger: own("highwater_sinks"), columns, keys, upsert }
    }

    /// What is wrong with it that can be seen without the database.
    pub(crate) fn fault(&self) -> Option<String> {
        let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-');
        if self.sink.is_empty() || self.sink.len() > NAME_CHARS_MAX || !self.sink.chars().all(allowed) {
            return Some(format!(
                "its name has to have 1 to {NAME_CHARS_MAX} of the characters A-Z a-z 0-9 . _ -"
            ));
        }
        if self.columns.is_empty() || self.columns.len() > COLUMNS_MAX {
            return Some(format!("it has to name 1 to {COLUMNS_MAX} columns, with `column`"));
        }
        if let Some(column) = repeated(&self.columns).or(repeated(&self.keys)) {
            return Some(format!("the column `{column}` is named twice"));
        }
        if self.upsert && self.keys.is_empty() {
            return Some("an upsert needs the columns of its key".to_owned());
        }
        if let Some(key) = self.keys.iter().find(|key| !self.columns.contains(key)) {
            return Some(format!("the key column `{key}` is none of its columns; make it with `column`"));
        }
        self.columns.iter().find(|column| column.starts_with("highwater_")).map(|column| {
            format!("the column `{column}` has a name that is kept for the sink's own; rename it")
        })
    }

    /// Whether the column is part of the key.
    pub(crate) fn is_key(&self, column: &str) -> bool {
        self.keys.iter().any(|key| key == column)
    }

    /// Which columns are the key.
    pub(crate) fn key_places(&self) -> Vec<usize> {
        let places = self.columns.iter().enumerate().filter(|(_, column)| self.is_key(column));
        places.map(|(place, _)| place).collect()
    }

    /// What `pg_stat_activity` calls the connections of the sink.
    pub(crate) fn application(&self) -> String {
        format!("highwater sink {}", self.sink)
    }

    /// Brings the table of what sinks have published into being.
    pub(crate) fn make_ledger(&self) -> String {
        // Two that make one table at a time would meet in the catalog.
        format!(
            "BEGIN; SELECT pg_advisory_xact_lock(7381240923); \
             CREATE TABLE IF NOT EXISTS {ledger} (sink text PRIMARY KEY, target text NOT NULL, \
             instance bigint NOT NULL, epoch bigint NOT NULL, published timestamptz NOT NULL); \
             COMMENT ON TABLE {ledger} IS 'Highwater: which epoch each sink has published'; \
             INSERT INTO {ledger} VALUES ({sink}, {target}, 0, 0, now()) ON CONFLICT DO NOTHING; COMMIT",
            ledger = self.ledger,
            sink = literal(&self.sink),
            target = literal(&self.table),
        )
    }

    /// Makes the table in which rows wait, empty: as the sink's table, with its rules for single rows, but only with
    /// the columns that the sink writes.
    pub(crate) fn make_staged(&self, others: &[String]) -> String {
        let dropped: String =
            others.iter().map(|column| format!(" DROP COLUMN {} CASCADE,", quoted(column))).collect();
        format!(
            "DROP TABLE IF EXISTS {staged}; CREATE TABLE {staged} (LIKE {table} INCLUDING CONSTRAINTS); \
             ALTER TABLE {staged}{dropped} ADD COLUMN highwater_instance bigint NOT NULL, \
             ADD COLUMN highwater_worker integer NOT NULL, ADD COLUMN highwater_part bigint NOT NULL, \
             ADD COLUMN highwater_number bigint NOT NULL, \
             ADD COLUMN highwater_skip boolean NOT NULL DEFAULT false; \
             CREATE INDEX ON {staged} (highwater_instance, highwater_worker, highwater_part); \
             ALTER TABLE {staged} SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000); \
             COMMENT ON TABLE {staged} IS 'Highwater: rows that wait for their epoch'",
            staged = self.staged,
            table = self.table,
        )
    }

    /// Takes rows in.
    pub(crate) fn copy(&self) -> String {
        format!(
            "COPY {} (highwater_instance, highwater_worker, highwater_part, highwater_number, {}) \
             FROM STDIN (FORMAT binary)",
            self.staged,
            self.listed()
        )
    }

    /// Moves what a receipt names into the table.
    pub(crate) fn publish(&self, receipt: &Receipt) -> String {
        let (columns, rows) = (self.listed(), of_receipt(receipt));
        let from = format!("FROM {} WHERE {rows} AND NOT highwater_skip", self.staged);
        if !self.upsert {
            return format!(
                "INSERT INTO {} ({columns}) SELECT {columns} {from} ORDER BY highwater_number",
                self.table
            );
        }
        let keys = self.keys.iter().map(|key| quoted(key)).collect::<Vec<_>>().join(", ");
        let others = self.columns.iter().filter(|column| !self.is_key(column));
        let set = others.map(|column| format!("{0} = EXCLUDED.{0}", quoted(column))).collect::<Vec<_>>();
        let then =
            if set.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", set.join(", ")) };
        format!(
            "INSERT INTO {} ({columns}) SELECT DISTINCT ON ({keys}) {columns} {from} \
             ORDER BY {keys}, highwater_number DESC ON CONFLICT ({keys}) DO {then}",
            self.table
        )
    }

    /// Removes what a receipt names.
    pub(crate) fn forget(&self, receipt: &Receipt) -> String {
        format!("DELETE FROM {} WHERE {}", self.staged, of_receipt(receipt))
    }

    fn listed(&self) -> String {
        self.columns.iter().map(|column| quoted(column)).collect::<Vec<_>>().join(", ")
    }
}

fn of_receipt(receipt: &Receipt) -> String {
    format!(
        "highwater_instance = {} AND highwater_worker = {} AND highwater_part = {}",
        receipt.instance, receipt.worker, receipt.part
    )
}

/// A name, as SQL takes it whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, as SQL takes it whatever is in it.
pub(crate) fn literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{escaped}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(columns: &[&str], keys: &[&str], upsert: bool) -> Plan {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Plan::new("views", "shop.vi\"ews", Some("own"), owned(columns), owned(keys), upsert)
    }

    const RECEIPT: Receipt = Receipt { instance: 3, worker: 1, part: 7, rows: 9, after: Epoch(4) };

    #[test]
    fn names_are_quoted_and_a_key_alone_updates_nothing() {
        let upsert = plan(&["a", "b\"; DROP"], &["a"], true).publish(&RECEIPT);
        assert!(
            upsert.starts_with("INSERT INTO \"shop\".\"vi\"\"ews\" (\"a\", \"b\"\"; DROP\")"),
            "{upsert}"
        );
        let set = "DO UPDATE SET \"b\"\"; DROP\" = EXCLUDED.\"b\"\"; DROP\"";
        assert!(upsert.ends_with(set), "{upsert}");
        assert!(plan(&["a"], &["a"], true).publish(&RECEIPT).ends_with("ON CONFLICT (\"a\") DO NOTHING"));
        assert!(plan(&["a"], &[], false).publish(&RECEIPT).ends_with("ORDER BY highwater_number"));
        assert_eq!(literal("a'b\\"), "E'a''b\\\\'");
    }

    #[test]
    fn a_sink_that_cannot_work_is_refused() {
        assert_eq!(plan(&["a", "b"], &["a"], true).fault(), None);
        for (columns, keys, upsert) in [
            (&[][..], &[][..], false),
            (&["a", "a"], &[], false),
            (&["a"], &[], true),
            (&["a"], &["b"], true),
            (&["a"], &["a", "a"], true),
            (&["highwater_part"], &[], false),
        ] {
            assert!(plan(columns, keys, upsert).fault().is_some(), "{columns:?} {keys:?}");
        }
        for name in ["", "ä", "a b", &"x".repeat(41)] {
            let plan = Plan::new(name, "t", None, vec!["a".to_owned()], Vec::new(), false);
            assert!(plan.fault().is_some(), "{name}");
        }
    }
}
