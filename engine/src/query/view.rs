//! The tables of one epoch.

use std::ops::{Range, RangeBounds};
use std::sync::Arc;

use highwater_state::delta::Family;
use highwater_state::view::{Cursor, JsonRow, Page, Part, Row, SplitWatermark};
use highwater_state::{Epoch, Key, Persist, StateView, Timestamp};

use super::{Positions, QueryError, Result, Shared};

/// What was asked for, and what it reflects.
#[derive(Clone, Debug)]
pub struct Answer<T> {
    /// What was asked for.
    pub value: T,
    /// The last epoch in it in which anything changed.
    pub epoch: Epoch,
    /// How far the sources had been read in it.
    pub positions: Positions,
}

/// What is known of a table without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name: the operator's, and the part's behind a slash.
    pub name: String,
    /// The kind of its rows: `values`, or `windows` and `timers`, which are ordered by time.
    pub family: &'static str,
    /// The shapes of its keys and values, as `keys -> values`.
    pub shape: String,
    /// Whether its rows can be read.
    pub readable: bool,
}

/// All tables of one committed epoch; made by [`Queries::view`](super::Queries::view).
pub struct View {
    state: StateView,
    positions: Positions,
    shared: Arc<Shared>,
}

impl View {
    pub(super) fn new(state: StateView, positions: Positions, shared: Arc<Shared>) -> View {
        View { state, positions, shared }
    }

    /// The last epoch in it in which anything changed: views that name the same epoch show the same rows.
    pub fn epoch(&self) -> Epoch {
        self.state.epoch()
    }

    /// How far the sources had been read in it.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// How far event time had come in every split of a source; the one that is furthest behind holds the others back.
    ///
    /// # Errors
    /// [`QueryError::State`] if the state cannot be read.
    pub fn split_watermarks(&self) -> Result<Vec<SplitWatermark>> {
        Ok(self.state.split_watermarks()?)
    }

    /// The tables there are, in the order of their names; also those that the topology does not have any more.
    pub fn tables(&self) -> Vec<TableInfo> {
        let names = self.state.catalog().names().into_iter();
        let table = |(name, family, shape): (String, Family, String)| TableInfo {
            name,
            family: family.name(),
            shape,
            readable: self.state.keeps(family),
        };
        names.map(table).collect()
    }

    /// The value of one key in a table that is not ordered by time. Costs one lookup.
    ///
    /// # Errors
    /// [`QueryError::Unknown`], [`QueryError::NothingYet`] or [`QueryError::NotKept`] if there is no such table to be
    /// read; [`QueryError::State`] with [`StateError::Shape`](highwater_state::StateError::Shape) if it has other types
    /// or is ordered by time.
    pub fn get<K: Key, V: Persist>(&self, table: &str, key: &K) -> Result<Option<V>> {
        self.find(table)?;
        Ok(self.state.get(table, key)?)
    }

    /// The value of one key and time in a table that is ordered by time: for windows, the time is their end.
    ///
    /// # Errors
    /// As for [`get`](Self::get), with the order the other way round.
    pub fn get_at<K: Key, V: Persist>(&self, table: &str, time: Timestamp, key: &K) -> Result<Option<V>> {
        self.find(table)?;
        Ok(self.state.get_at(table, time, key)?)
    }

    /// The rows behind `after`, at most `limit`: in the order of time in a table that is ordered by time, in an order
    /// that does not change in any other. Pages of different views show every row that stays in the table once.
    ///
    /// # Errors
    /// As for [`get`](Self::get), and those of [`StateView::page`].
    pub fn page<K: Key, V: Persist>(
        &self,
        table: &str,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Row<K, V>>> {
        self.find(table)?;
        Ok(self.state.page(table, after, limit)?)
    }

    /// As [`page`](Self::page), of the rows of a table ordered by time whose times are in `times`.
    ///
    /// # Errors
    /// As for `page`.
    pub fn page_of_times<K: Key, V: Persist>(
        &self,
        table: &str,
        times: Range<Timestamp>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Row<K, V>>> {
        self.find(table)?;
        Ok(self.state.page_of_times(table, times, after, limit)?)
    }

    /// As [`page`](Self::page), of the rows whose keys are in `keys`, in the order of the keys. Costs a read of all
    /// rows of the table for each page.
    ///
    /// # Errors
    /// As for `page`.
    pub fn page_of_keys<K: Key + Ord, V: Persist>(
        &self,
        table: &str,
        keys: impl RangeBounds<K>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Row<K, V>>> {
        self.find(table)?;
        Ok(self.state.page_of_keys(table, keys, after, limit)?)
    }

    /// As [`page`](Self::page), as JSON and of a part of the rows; see [`StateView::json_page`].
    ///
    /// # Errors
    /// As for `page`.
    pub fn json_page(
        &self,
        table: &str,
        part: &Part,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<JsonRow>> {
        self.find(table)?;
        Ok(self.state.json_page(table, part, after, limit)?)
    }

    /// Calls `visit` with every row of a table, in the order of [`page`](Self::page) for tables that are not ordered by
    /// time; reads them in chunks. Returns what `visit` made of them.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub fn fold<K: Key, V: Persist, A>(
        &self,
        table: &str,
        start: A,
        mut visit: impl FnMut(A, Row<K, V>) -> A,
    ) -> Result<A> {
        self.find(table)?;
        let mut folded = start;
        for row in self.state.rows::<K, V>(table)? {
            folded = visit(folded, row?);
        }
        Ok(folded)
    }

    /// What `ask` finds, with what it reflects.
    pub(super) fn answer<T>(&self, ask: impl FnOnce(&View) -> Result<T>) -> Result<Answer<T>> {
        Ok(Answer { value: ask(self)?, epoch: self.epoch(), positions: self.positions.clone() })
    }

    /// Refuses a table that cannot be read.
    fn find(&self, table: &str) -> Result<()> {
        let found = self.state.catalog().find(table);
        match found {
            Some((_, family, _)) if self.state.keeps(family) => return Ok(()),
            Some(_) => return Err(QueryError::NotKept { table: table.to_owned() }),
            None => {}
        }
        let graph = &self.shared.graph;
        let mut known: Vec<String> =
            self.state.catalog().names().into_iter().map(|(name, ..)| name).collect();
        let operator = table.split('/').next().unwrap_or_default();
        let is_there = |name: &str| {
            known.iter().any(|known| {
                known.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let mut to_come = graph.with_state().filter_map(|place| place.name.as_deref());
        if to_come.any(|name| name == operator && !is_there(name)) {
            return Err(QueryError::NothingYet { table: table.to_owned() });
        }
        if known.is_empty() {
            known = graph.with_state().filter_map(|place| place.name.clone()).collect();
        }
        let topology = graph.name().to_owned();
        Err(QueryError::Unknown { table: table.to_owned(), topology, known: known.into() })
    }
}
