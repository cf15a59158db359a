//! Where results go: every one as it comes, or what is left of them at the end.
//!
//! Some queries give rows that stay; others give a table whose rows change, and tell each change as the new
//! row. With the final table asked for, the last value of each key is kept as state, and told when the input
//! has ended.

use std::path::PathBuf;

use highwater::prelude::*;
use highwater::state::{Key, Persist};
use serde::Serialize;

/// What becomes of a query's results, whatever they are.
pub trait Outlet {
    /// Takes rows that stay.
    fn rows<T: Serialize + Send + 'static>(&self, rows: Stream<T>);

    /// Takes a table: its changes, each a key and its new value, and what row both make.
    fn table<K, V, R>(&self, changes: Stream<(K, V)>, row: fn(K, V) -> R)
    where
        K: Key,
        V: Persist + Clone,
        R: Serialize + Send + 'static;
}

/// Results that go to a file, to standard output or nowhere.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// The file that they go to, one JSON object a line.
    pub output: Option<PathBuf>,
    /// Whether the final table is told, and not each change; on standard output where there is no file.
    pub final_table: bool,
}

impl Outlet for Results {
    fn rows<T: Serialize + Send + 'static>(&self, rows: Stream<T>) {
        match &self.output {
            Some(file) => rows.sink("results", File::at(file).sink(Json::new())),
            None if self.final_table => rows.sink("results", Stdout::lines(Json::new())),
            None => rows.sink("results", Blackhole::new()),
        }
    }

    fn table<K, V, R>(&self, changes: Stream<(K, V)>, row: fn(K, V) -> R)
    where
        K: Key,
        V: Persist + Clone,
        R: Serialize + Send + 'static,
    {
        let changes = if self.final_table { last_of_each(changes) } else { changes };
        self.rows(changes.map(move |(key, value)| row(key, value)));
    }
}

/// The last change of each key, at the end.
fn last_of_each<K: Key, V: Persist + Clone>(changes: Stream<(K, V)>) -> Stream<(K, V)> {
    changes
        .key_by(|(key, _)| key.clone())
        .process("final-table", |states| FinalTable { value: states.value("value") })
        .entries()
}

/// Keeps the last value of each key until the end.
struct FinalTable<V> {
    value: Value<V>,
}

impl<K: Key, V: Persist + Clone> KeyedOperator<K, (K, V)> for FinalTable<V> {
    type Out = V;

    fn on_record(&mut self, (_, value): (K, V), context: &mut Context<'_, K, V>) -> Result<(), Cause> {
        let is_new = self.value.get_mut(context)?.replace(value).is_none();
        if is_new {
            // The watermark gets there when the input has ended, and not before.
            context.set_timer(Timestamp::MAX)?;
        }
        Ok(())
    }

    fn on_timer(&mut self, _: Timestamp, context: &mut Context<'_, K, V>) -> Result<(), Cause> {
        if let Some(value) = self.value.get(context)?.cloned() {
            context.emit(value);
        }
        Ok(())
    }
}
