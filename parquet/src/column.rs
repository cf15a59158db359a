//! Which columns are made of a record, and their values side by side.
//!
//! Values of a column stand together from the start, as in the file. Invariant: all columns of a set of [`Cells`] have
//! the same number of rows. It does not know files.

use std::collections::BTreeSet;
use std::sync::Arc;

use highwater::state::Timestamp;
use parquet::data_type::ByteArray;

use crate::sink::ParquetSink;
use crate::store::Parquet;

/// What a column holds, and as what it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `BOOLEAN`.
    Bool,
    /// `INT32`.
    I32,
    /// `INT64`.
    I64,
    /// `INT64`, shown as a time: milliseconds since 1970, UTC.
    Time,
    /// `FLOAT`.
    F32,
    /// `DOUBLE`.
    F64,
    /// `BYTE_ARRAY`, shown as text: UTF-8.
    Text,
    /// `BYTE_ARRAY`.
    Bytes,
}

/// Something that a column can hold: `bool`, `i32`, `i64`, [`Timestamp`], `f32`, `f64`, `String`, `Vec<u8>`; or an
/// `Option` of one of them, for a column that may be null.
pub trait Field: 'static {
    /// What it is in a file.
    const KIND: Kind;
    /// Whether it may be null.
    const OPTIONAL: bool = false;

    /// Adds it to the values of its column.
    fn put(self, cells: &mut Cells);
}

/// The values of one column, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells {
    /// For a column that may be null: 1 for a value, 0 for none.
    pub(crate) levels: Option<Vec<i16>>,
    /// Those that are there.
    pub(crate) values: Values,
    /// Bytes of the values.
    pub(crate) bytes: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    Bool(Vec<bool>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bytes(Vec<ByteArray>),
}

impl Cells {
    pub(crate) fn of(kind: Kind, optional: bool) -> Cells {
        let values = match kind {
            Kind::Bool => Values::Bool(Vec::new()),
            Kind::I32 => Values::I32(Vec::new()),
            Kind::I64 | Kind::Time => Values::I64(Vec::new()),
            Kind::F32 => Values::F32(Vec::new()),
            Kind::F64 => Values::F64(Vec::new()),
            Kind::Text | Kind::Bytes => Values::Bytes(Vec::new()),
        };
        Cells { levels: optional.then(Vec::new), values, bytes: 0 }
    }

    fn null(&mut self) {
        self.levels.as_mut().expect("only an `Option` has no value, and its column has levels").push(0);
    }
}

macro_rules! field {
    ($type:ty, $kind:ident, $values:ident, $bytes:expr, $value:expr) => {
        impl Field for $type {
            const KIND: Kind = Kind::$kind;

            fn put(self, cells: &mut Cells) {
                let Values::$values(values) = &mut cells.values else {
                    unreachable!("the values of a column are of its kind")
                };
                cells.bytes += ($bytes)(&self);
                values.push(($value)(self));
                if let Some(levels) = &mut cells.levels {
                    levels.push(1);
                }
            }
        }
    };
}

field!(bool, Bool, Bool, |_: &bool| 1, |value| value);
field!(i32, I32, I32, |_: &i32| 4, |value| value);
field!(i64, I64, I64, |_: &i64| 8, |value| value);
field!(Timestamp, Time, I64, |_: &Timestamp| 8, |time: Timestamp| time.as_millis());
field!(f32, F32, F32, |_: &f32| 4, |value| value);
field!(f64, F64, F64, |_: &f64| 8, |value| value);
field!(String, Text, Bytes, |text: &String| 16 + text.len(), |text: String| ByteArray::from(
    text.into_bytes()
));
field!(Vec<u8>, Bytes, Bytes, |bytes: &Vec<u8>| 16 + bytes.len(), ByteArray::from);

impl<F: Field> Field for Option<F> {
    const KIND: Kind = F::KIND;
    const OPTIONAL: bool = true;

    fn put(self, cells: &mut Cells) {
        match self {
            Some(value) => value.put(cells),
            None => cells.null(),
        }
    }
}

type Push<T> = Arc<dyn Fn(&T, &mut Cells) + Send + Sync>;

/// A column, as a file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) optional: bool,
}

/// Which columns are made of a record; made by [`Parquet::rows`].
pub struct Rows<T> {
    place: Parquet,
    columns: Vec<Column>,
    push: Vec<Push<T>>,
}

impl<T: 'static> Rows<T> {
    pub(crate) fn new(place: Parquet) -> Rows<T> {
        Rows { place, columns: Vec::new(), push: Vec::new() }
    }

    /// Makes the column `name` of each record.
    pub fn column<F: Field>(
        mut self,
        name: &str,
        value: impl Fn(&T) -> F + Send + Sync + 'static,
    ) -> Rows<T> {
        self.columns.push(Column { name: name.to_owned(), kind: F::KIND, optional: F::OPTIONAL });
        self.push.push(Arc::new(move |record, cells| value(record).put(cells)));
        self
    }

    /// The sink. There is one in each place: what it finds in `_staged` there is its own.
    pub fn sink(self) -> ParquetSink<T> {
        ParquetSink::new(self.place, self.columns, self.push)
    }
}

/// Puts the columns of records side by side.
pub(crate) struct Gathering<T> {
    columns: Arc<Vec<Column>>,
    push: Arc<Vec<Push<T>>>,
    pub(crate) cells: Vec<Cells>,
    pub(crate) rows: usize,
}

impl<T> Gathering<T> {
    pub(crate) fn new(columns: Arc<Vec<Column>>, push: Arc<Vec<Push<T>>>) -> Self {
        let cells = empty(&columns);
        Gathering { columns, push, cells, rows: 0 }
    }

    pub(crate) fn take(&mut self, record: &T) {
        self.push.iter().zip(&mut self.cells).for_each(|(push, cells)| push(record, cells));
        self.rows += 1;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.cells.iter().map(|cells| cells.bytes).sum()
    }

    /// Takes out what was gathered.
    pub(crate) fn split_off(&mut self) -> (Vec<Cells>, usize) {
        (std::mem::replace(&mut self.cells, empty(&self.columns)), std::mem::take(&mut self.rows))
    }
}

pub(crate) fn empty(columns: &[Column]) -> Vec<Cells> {
    columns.iter().map(|column| Cells::of(column.kind, column.optional)).collect()
}

/// What is wrong with the columns.
pub(crate) fn fault(columns: &[Column]) -> Option<String> {
    let most = crate::limits::COLUMNS_MAX;
    if columns.is_empty() || columns.len() > most {
        return Some(format!("the sink has to name 1 to {most} columns, with `column`"));
    }
    let mut seen = BTreeSet::new();
    let twice = columns.iter().find(|column| !seen.insert(&column.name));
    twice.map(|column| format!("the column `{}` is named twice", column.name))
}

pub(crate) type Pushes<T> = Vec<Push<T>>;
