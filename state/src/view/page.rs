//! Rows a page at a time, and the place where the next page goes on.
//!
//! A state that is not ordered by time has its rows in the order in which they are kept, by key group and the bytes of
//! their keys, which costs what the page has; or, where keys are asked for from one to another, in the order of the
//! keys, which costs a read of all rows. A state that is ordered by time is shown in the order of time. Invariant: a
//! cursor names a row by its place in that order, and not by a count: pages of a state that changes show every row
//! that stays exactly once, whatever was added or removed before it, also over restarts with other workers.

use std::fmt;
use std::ops::{ControlFlow, Range, RangeBounds};
use std::str::FromStr;

use serde_json::Value;

use super::sorted::{JsonOrder, Smallest};
use super::timed::InOrderOfTime;
use super::{JsonRow, Kept, Row, StateView};
use crate::delta::Family;
use crate::error::{Result, StateError};
use crate::id::{KEY_GROUPS, KeyGroup};
use crate::layout::{self, VALUE_PREFIX_LEN, store_range};
use crate::persist::{Key, Persist, decode};
use crate::shape::{RowShape, hex, unhex};
use crate::time::Timestamp;

/// How many rows a page has at most. 10 000: rows of a hundred bytes make a megabyte.
pub const PAGE_ROWS_MAX: usize = 10_000;
/// From how many bytes on a page is not made longer: 4 MiB, so that pages of large rows are bounded, too.
pub const PAGE_BYTES_MAX: usize = 4 << 20;

/// The part of a row's key that names the store; cursors do without, because a state may get another number.
const STORE_LEN: usize = 2;

/// Some rows, and where the next ones are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<R> {
    /// The rows, in order.
    pub rows: Vec<R>,
    /// Where the next page goes on; `None` if this is the last one.
    pub next: Option<Cursor>,
}

/// The place behind a row; as text it is hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    order: Order,
    /// The row's key, without the store.
    row: Vec<u8>,
}

/// In which order the rows of a page are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Kept,
    Time,
    Key,
}

impl Order {
    const ALL: [Order; 3] = [Order::Kept, Order::Time, Order::Key];
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.order as u8, hex(&self.row))
    }
}

impl FromStr for Cursor {
    type Err = StateError;

    fn from_str(text: &str) -> Result<Cursor> {
        let refused =
            || StateError::Cursor { cursor: text.to_owned(), reason: "it is none that a page has named" };
        let order = Order::ALL.into_iter().find(|order| text.starts_with(char::from(b'0' + *order as u8)));
        let order = order.ok_or_else(refused)?;
        let row = unhex(&text[1..]).ok_or_else(refused)?;
        let prefix = if order == Order::Time { layout::TIME_PREFIX_LEN } else { VALUE_PREFIX_LEN };
        let group = row.first_chunk().map(|group| u16::from_be_bytes(*group));
        let fits = row.len() + STORE_LEN >= prefix && group.is_some_and(|group| group < KEY_GROUPS);
        fits.then_some(Cursor { order, row }).ok_or_else(refused)
    }
}

impl Cursor {
    fn behind(order: Order, row: &[u8]) -> Cursor {
        Cursor { order, row: row[STORE_LEN..].to_vec() }
    }

    /// The whole key of the row, if the cursor is one of pages in this order.
    fn row_in(cursor: Option<&Cursor>, order: Order, kept: &Kept) -> Result<Option<Vec<u8>>> {
        let Some(cursor) = cursor else { return Ok(None) };
        if cursor.order != order {
            let reason = "it belongs to pages in another order";
            return Err(StateError::Cursor { cursor: cursor.to_string(), reason });
        }
        Ok(Some([&kept.id.0.to_be_bytes()[..], &cursor.row].concat()))
    }
}

/// Which rows are shown as JSON; all of them unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Those of one key, as JSON; what is none, or fits no key of the state, is taken for a text.
    pub key: Option<String>,
    /// Those from this key on, or from this time on in a state that is ordered by time: RFC 3339, or milliseconds since
    /// 1970.
    pub from: Option<String>,
    /// Those before this key or time.
    pub to: Option<String>,
}

type Raw = (Vec<u8>, Vec<u8>);

impl StateView {
    /// The rows behind `after`, at most `limit`: in the order of time in a state that is ordered by time, by key group
    /// and the bytes of their keys in any other. Costs what the page has, and in the first case a seek in each of the
    /// 128 key groups.
    ///
    /// # Errors
    /// [`StateError::Unknown`] if there is no such state; [`StateError::Shape`] if it was kept as other types;
    /// [`StateError::Limit`] if `limit` is 0 or more than [`PAGE_ROWS_MAX`]; [`StateError::Cursor`] if `after` is of
    /// pages in another order.
    pub fn page<K: Key, V: Persist>(
        &self,
        state: &str,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Row<K, V>>> {
        let kept = self.typed::<K, V>(state)?;
        let page = match kept.family {
            Family::Values => self.page_as_kept(&kept, after, limit)?,
            _ => self.page_in_time(&kept, (Timestamp::MIN, None), None, after, limit)?,
        };
        typed_page(state, &kept, page)
    }

    /// The rows of a state that is ordered by time whose times are in `times`, in the order of time.
    ///
    /// # Errors
    /// As [`page`](Self::page); [`StateError::Shape`] if the state is not ordered by time.
    pub fn page_of_times<K: Key, V: Persist>(
        &self,
        state: &str,
        times: Range<Timestamp>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Row<K, V>>> {
        let kept = self.typed::<K, V>(state)?;
        self.refuse_untimed(state, &kept)?;
        let times = (times.start, Some(times.end));
        typed_page(state, &kept, self.page_in_time(&kept, times, None, after, limit)?)
    }

    /// The rows of a state that is not ordered by time whose keys are in `keys`, in the order of their keys. Costs a
    /// read of all rows of the state for each page, because they are kept by the hash of their keys.
    ///
    /// # Errors
    /// As [`page`](Self::page); [`StateError::Shape`] if the state is ordered by time.
    pub fn page_of_keys<K: Key + Ord, V: Persist>(
        &self,
        state: &str,
        keys: impl RangeBounds<K>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Row<K, V>>> {
        let kept = self.typed::<K, V>(state)?;
        self.refuse_timed(state, &kept)?;
        let after = match Cursor::row_in(after, Order::Key, &kept)? {
            Some(row) => Some(decode::<K>(state, &row[VALUE_PREFIX_LEN..])?),
            None => None,
        };
        let page = self.page_sorted(&kept, limit, |key| {
            let key = decode::<K>(state, key)?;
            let is_in = keys.contains(&key) && after.as_ref().is_none_or(|after| key > *after);
            Ok(is_in.then_some(key))
        })?;
        typed_page(state, &kept, page)
    }

    /// As [`page`](Self::page), as JSON and of a part of the rows; see [`json_rows`](Self::json_rows) for how rows are
    /// written. Where one key is asked for it costs a lookup in each key group, or a read of all rows in a state that
    /// is ordered by time; `from` and `to` in any other state cost that, too.
    ///
    /// # Errors
    /// As `page`; [`StateError::Key`] if a key or time of `part` is none.
    pub fn json_page(
        &self,
        state: &str,
        part: &Part,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<JsonRow>> {
        let kept = self.find(state)?;
        let shape = RowShape::parse(&kept.shape).filter(|shape| !shape.is_opaque());
        let key = part.key.as_deref().map(|key| key_bytes(state, &kept, shape.as_ref(), key)).transpose()?;
        let page = match (kept.family, key) {
            (Family::Values, Some(key)) => self.rows_of_key(&kept, &key)?,
            (Family::Values, None) if part.from.is_some() || part.to.is_some() => {
                self.page_by_json(state, &kept, shape.as_ref(), part, after, limit)?
            }
            (Family::Values, None) => self.page_as_kept(&kept, after, limit)?,
            (_, key) => {
                let time = |text: &Option<String>| text.as_deref().map(|text| time(state, text)).transpose();
                let times = (time(&part.from)?.unwrap_or(Timestamp::MIN), time(&part.to)?);
                self.page_in_time(&kept, times, key.as_deref(), after, limit)?
            }
        };
        let writer = super::JsonWriter { name: state, family: kept.family, shape: shape.as_ref() };
        let rows = page.rows.iter().map(|(key, value)| writer.row(key, value)).collect::<Result<_>>()?;
        Ok(Page { rows, next: page.next })
    }

    fn page_as_kept(&self, kept: &Kept, after: Option<&Cursor>, limit: usize) -> Result<Page<Raw>> {
        check(limit)?;
        let (from, to) = store_range(kept.id);
        // The smallest key behind a row is the row's with a zero byte.
        let behind = |row: Vec<u8>| [&row[..], &[0]].concat();
        let from = Cursor::row_in(after, Order::Kept, kept)?.map_or(from, behind);
        let mut filling = Filling::new(limit, Order::Kept);
        self.rows.scan(kept.family, &from, &to, &mut |key, value| filling.take(key, value))?;
        Ok(filling.page)
    }

    fn page_in_time(
        &self,
        kept: &Kept,
        (from, to): (Timestamp, Option<Timestamp>),
        of_key: Option<&[u8]>,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Raw>> {
        check(limit)?;
        let after = Cursor::row_in(after, Order::Time, kept)?;
        let mut rows = InOrderOfTime::new(&*self.rows, kept, from, to, after.as_deref())?;
        let mut filling = Filling::new(limit, Order::Time);
        while let Some((key, value)) = rows.next()? {
            let is_wanted = of_key.is_none_or(|wanted| key[layout::TIME_PREFIX_LEN..] == *wanted);
            if is_wanted && filling.take(&key, &value).is_break() {
                break;
            }
        }
        Ok(filling.page)
    }

    /// The least rows in the order that `order` gives them by their keys; those that it gives none are left out.
    fn page_sorted<O: Ord>(
        &self,
        kept: &Kept,
        limit: usize,
        mut order: impl FnMut(&[u8]) -> Result<Option<O>>,
    ) -> Result<Page<Raw>> {
        check(limit)?;
        // One more than the page has says whether there is a next one.
        let mut smallest = Smallest::new(limit + 1);
        let ((from, to), mut failed) = (store_range(kept.id), None);
        self.rows.scan(kept.family, &from, &to, &mut |key, value| {
            match order(key.get(VALUE_PREFIX_LEN..).unwrap_or_default()) {
                Ok(Some(order)) => smallest.offer(order, key, value),
                Ok(None) => {}
                Err(error) => {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let mut filling = Filling::new(limit, Order::Key);
        for (key, value) in smallest.in_order() {
            if filling.take(&key, &value).is_break() {
                break;
            }
        }
        Ok(filling.page)
    }

    fn page_by_json(
        &self,
        state: &str,
        kept: &Kept,
        shape: Option<&RowShape>,
        part: &Part,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<Page<Raw>> {
        let damaged = |reason| StateError::Row { name: state.to_owned(), reason };
        let order = |key: &[u8]| -> Result<JsonOrder> {
            let shown = match shape {
                Some(shape) => shape.key_json(key).map_err(damaged)?,
                None => format!("\"{}\"", hex(key)),
            };
            serde_json::from_str(&shown).map(JsonOrder).map_err(|error| damaged(error.to_string()))
        };
        let bound = |text: &Option<String>| -> Result<Option<JsonOrder>> {
            let Some(text) = text else { return Ok(None) };
            order(&key_bytes(state, kept, shape, text)?).map(Some)
        };
        let (from, to) = (bound(&part.from)?, bound(&part.to)?);
        let after = match Cursor::row_in(after, Order::Key, kept)? {
            Some(row) => Some(order(&row[VALUE_PREFIX_LEN..])?),
            None => None,
        };
        self.page_sorted(kept, limit, |key| {
            let key = order(key)?;
            let is_in = from.as_ref().is_none_or(|from| key >= *from)
                && to.as_ref().is_none_or(|to| key < *to)
                && after.as_ref().is_none_or(|after| key > *after);
            Ok(is_in.then_some(key))
        })
    }

    /// The row of a key whose type is not at hand, so that its group is not known: it is looked for in all of them.
    fn rows_of_key(&self, kept: &Kept, key: &[u8]) -> Result<Page<Raw>> {
        let row = |group| {
            let mut row = Vec::new();
            layout::value_prefix(kept.id, KeyGroup::new(group), &mut row);
            row.extend_from_slice(key);
            row
        };
        let rows: Vec<Vec<u8>> = (0..KEY_GROUPS).map(row).collect();
        let keys: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
        let values = self.rows.get_many(kept.family, &keys)?;
        let found = rows.into_iter().zip(values).filter_map(|(row, value)| Some((row, value?)));
        Ok(Page { rows: found.collect(), next: None })
    }

    fn refuse_untimed(&self, state: &str, kept: &Kept) -> Result<()> {
        let (kept_as, asked) = (format!("{} in the family values", kept.shape), "a state ordered by time");
        match kept.family {
            Family::Values => {
                Err(StateError::Shape { name: state.to_owned(), kept: kept_as, asked: asked.to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn refuse_timed(&self, state: &str, kept: &Kept) -> Result<()> {
        let kept_as = format!("{} in the family {}", kept.shape, kept.family.name());
        let asked = "a state in the family values".to_owned();
        match kept.family {
            Family::Values => Ok(()),
            _ => Err(StateError::Shape { name: state.to_owned(), kept: kept_as, asked }),
        }
    }
}

/// A page that is being filled.
struct Filling {
    page: Page<Raw>,
    limit: usize,
    bytes: usize,
    order: Order,
}

impl Filling {
    fn new(limit: usize, order: Order) -> Filling {
        Filling { page: Page { rows: Vec::new(), next: None }, limit, bytes: 0, order }
    }

    /// Takes a row; a page that is full takes none, and says where the next one goes on.
    fn take(&mut self, key: &[u8], value: &[u8]) -> ControlFlow<()> {
        if self.page.rows.len() == self.limit || self.bytes >= PAGE_BYTES_MAX {
            self.page.next = self.page.rows.last().map(|(key, _)| Cursor::behind(self.order, key));
            return ControlFlow::Break(());
        }
        self.bytes += key.len() + value.len();
        self.page.rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    }
}

fn typed_page<K: Key, V: Persist>(state: &str, kept: &Kept, page: Page<Raw>) -> Result<Page<Row<K, V>>> {
    let typed = |(key, value): &Raw| {
        let (time, key) = super::split_row(state, kept.family, key)?;
        Ok(Row { time, key: decode(state, key)?, value: decode(state, value)? })
    };
    Ok(Page { rows: page.rows.iter().map(typed).collect::<Result<_>>()?, next: page.next })
}

fn check(limit: usize) -> Result<()> {
    if (1..=PAGE_ROWS_MAX).contains(&limit) {
        return Ok(());
    }
    Err(StateError::Limit {
        what: "the number of rows of a page",
        found: limit as u64,
        limit: PAGE_ROWS_MAX as u64,
        advice: "ask for at least one row and at most that many, and go on with the cursor of the page",
    })
}

/// The bytes of a key that was given as text.
fn key_bytes(state: &str, kept: &Kept, shape: Option<&RowShape>, key: &str) -> Result<Vec<u8>> {
    let keys = kept.shape.split(" -> ").next().unwrap_or_default();
    let refused = |reason: String| StateError::Key {
        name: state.into(),
        key: key.into(),
        shape: keys.into(),
        reason: reason.into(),
    };
    let Some(shape) = shape else {
        return unhex(key).ok_or_else(|| refused("its bytes are expected, as hexadecimal digits".to_owned()));
    };
    let as_json = serde_json::from_str(key).map_err(|error| error.to_string());
    let found = as_json.and_then(|json: Value| shape.key_bytes(&json));
    found.or_else(|reason| shape.key_bytes(&Value::from(key)).map_err(|_| refused(reason)))
}

/// A time that was given as text.
fn time(state: &str, text: &str) -> Result<Timestamp> {
    if let Ok(millis) = text.parse() {
        return Ok(Timestamp::from_millis(millis));
    }
    let time = chrono::DateTime::parse_from_rfc3339(text);
    time.map(|time| Timestamp::from_millis(time.timestamp_millis())).map_err(|error| StateError::Key {
        name: state.into(),
        key: text.into(),
        shape: "times: 2015-05-17T10:05:00Z, or milliseconds since 1970".into(),
        reason: error.to_string().into(),
    })
}
