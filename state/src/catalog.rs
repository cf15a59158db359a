//! Which name has which number on disk.
//!
//! A user names a state; its rows are filed under a [`StoreId`]. The catalog keeps the pair, with the family and
//! the shape of the type, in rows `catalog/<name>` of the family `meta`, and in the row `used` which names the
//! program that ran last had. Invariants: a name keeps its number, also when the program no longer has it, until
//! it is dropped or its rows are migrated to another; a number never gets a second name; and, HW-9, a name that
//! is asked for as another type than it was kept as is [migrated](crate::migration) or refused. It does not know
//! what a name may look like. Its rows travel in the next epoch's delta; only migrations and drops commit by
//! themselves.

mod orphans;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::delta::{Delta, Family};
use crate::error::{Result, StateError};
use crate::id::StoreId;
use crate::layout::after_prefix;
use crate::migration::{self, Migration, Move};
use crate::persist::{decode, encode};

pub use orphans::drop_orphans;

const PREFIX: &[u8] = b"catalog/";
const USED_KEY: &[u8] = b"used";
/// The last number: the one above would make prefixes of 0xff bytes, behind which no key lies.
const LAST: u16 = u16::MAX - 1;

/// A row as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    number: u16,
    family: String,
    shape: String,
}

/// The row `used`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Used {
    /// The last number that was given to a name, also if that is gone.
    last: u16,
    names: BTreeSet<String>,
}

#[derive(Debug)]
struct Entry {
    id: StoreId,
    family: Family,
    shape: String,
}

#[derive(Debug)]
struct Registered {
    key: Vec<u8>,
    row: Vec<u8>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: BTreeMap<String, Entry>,
    last: u16,
    registered: Vec<Registered>,
    /// How many of `registered`, from the front, have been taken.
    taken: usize,
    /// What the row `used` says, or will with the next epoch; `None` if there is none.
    used: Option<Used>,
    /// The names that this program has asked for.
    asked: BTreeSet<String>,
    migrated: Vec<String>,
}

/// The migrations that a program declares, and where they are to be run.
#[derive(Default)]
struct Migrations {
    declared: Vec<Migration>,
    backend: Option<Arc<dyn Backend>>,
}

impl fmt::Debug for Migrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.declared.fmt(f)
    }
}

/// The names of all states in a directory; shared by the workers.
#[derive(Debug, Default)]
pub struct Catalog {
    inner: Mutex<Inner>,
    migrations: Migrations,
}

impl Catalog {
    /// Reads the catalog; costs one short scan.
    ///
    /// # Errors
    /// [`StateError::Row`] if a row is damaged or two names have one number; what the backend reports.
    pub fn open(backend: &dyn Backend) -> Result<Catalog> {
        let mut rows = Vec::new();
        backend.scan(Family::Meta, PREFIX, &after_prefix(PREFIX), &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        let mut inner = Inner::default();
        let mut owners = BTreeMap::new();
        for (key, value) in rows {
            let name = String::from_utf8_lossy(&key[PREFIX.len()..]).into_owned();
            let damaged = |reason: String| StateError::Row { name: name.clone(), reason };
            if name.as_bytes() != &key[PREFIX.len()..] {
                return Err(damaged("the name is no text".to_owned()));
            }
            let row: Row = decode(&name, &value)?;
            let family = Family::ALL.into_iter().find(|family| family.name() == row.family);
            let family = family.ok_or_else(|| damaged(format!("there is no family `{}`", row.family)))?;
            if let Some(other) = owners.insert(row.number, name.clone()) {
                return Err(damaged(format!("its number {} is also that of `{other}`", row.number)));
            }
            inner.last = inner.last.max(row.number);
            inner.entries.insert(name, Entry { id: StoreId(row.number), family, shape: row.shape });
        }
        if let Some(row) = backend.get(Family::Meta, USED_KEY)? {
            let used: Used = decode("used", &row)?;
            inner.last = inner.last.max(used.last);
            inner.used = Some(used);
        }
        Ok(Catalog { inner: Mutex::new(inner), migrations: Migrations::default() })
    }

    /// Reads the catalog for a program that declares these migrations. Each is run when its state is asked for,
    /// if that was kept as the old type; see [`migration`]. Deletes what an earlier one that
    /// was interrupted left.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn with_migrations(backend: Arc<dyn Backend>, declared: Vec<Migration>) -> Result<Catalog> {
        migration::sweep(&*backend)?;
        let catalog = Catalog::open(&*backend)?;
        Ok(Catalog { migrations: Migrations { declared, backend: Some(backend) }, ..catalog })
    }

    /// The number of the state with this name, which gets the next free one if it has none.
    ///
    /// The same for every worker that asks. It survives a restart once a delta with the rows of
    /// [`take_changes`](Self::take_changes) is committed, which must not be later than the first row filed under
    /// the number.
    ///
    /// If it was kept as another shape from which the declared migrations lead to this one, they are run first:
    /// that takes as long as all rows of the state take to be read and written.
    ///
    /// # Errors
    /// [`StateError::Shape`] if the name was kept, or asked for before, as another shape or in another family;
    /// [`StateError::Migration`] if its migrations do not lead to this shape; [`StateError::Limit`] if all 65 534
    /// numbers are taken; what the backend reports, if it is migrated.
    pub fn store(&self, name: &str, family: Family, shape: &str) -> Result<StoreId> {
        let mut inner = self.lock();
        let id = match inner.entries.get(name) {
            None => inner.register(name, family, shape)?,
            Some(entry) => match entry.check(name, family, shape) {
                Err(refused) if entry.family == family && !inner.asked.contains(name) => {
                    self.migrate(&mut inner, name, shape).unwrap_or(Err(refused))?
                }
                checked => checked?,
            },
        };
        inner.asked.insert(name.to_owned());
        Ok(id)
    }

    /// `None` if no migration is declared for the state.
    fn migrate(&self, inner: &mut Inner, name: &str, shape: &str) -> Option<Result<StoreId>> {
        let backend = self.migrations.backend.as_ref()?;
        let entry = inner.entries.get(name)?;
        let (from, family) = (entry.id, entry.family);
        let path = match migration::path(&self.migrations.declared, name, &entry.shape, shape)? {
            Ok(path) => path,
            Err(error) => return Some(Err(error)),
        };
        let migrated = inner.number(family, shape).and_then(|(to, row)| {
            let key = [PREFIX, name.as_bytes()].concat();
            path.run(&**backend, &Move { name, family, from, to, catalog: (&key, &row) })?;
            Ok(to)
        });
        if let Ok(id) = migrated {
            inner.entries.insert(name.to_owned(), Entry { id, family, shape: shape.to_owned() });
            inner.migrated.push(name.to_owned());
        }
        Some(migrated)
    }

    /// The states that were migrated since the catalog was opened.
    pub fn migrated(&self) -> Vec<String> {
        self.lock().migrated.clone()
    }

    /// Puts the rows of names that are new since the last call, and which names the program has, if it has others
    /// than the one before; they survive a restart once `into` is committed. To be called when every operator has
    /// asked.
    ///
    /// If `into` is dropped instead and the job goes on, call [`offer_again`](Self::offer_again).
    pub fn take_changes(&self, into: &mut Delta) {
        let mut inner = self.lock();
        for registered in &inner.registered[inner.taken..] {
            into.put(Family::Meta, &registered.key, &registered.row);
        }
        inner.taken = inner.registered.len();
        let used = Used { last: inner.last, names: inner.asked.clone() };
        if inner.used.as_ref() != Some(&used) && !(inner.used.is_none() && used == Used::default()) {
            into.put(Family::Meta, USED_KEY, &used.row());
            inner.used = Some(used);
        }
    }

    /// Lets the next [`take_changes`](Self::take_changes) put every row that is new since the catalog was
    /// opened: for an epoch that was not committed. Rows that are on disk already are put a second time, which
    /// changes nothing.
    pub fn offer_again(&self) {
        let mut inner = self.lock();
        inner.taken = 0;
        inner.used = None;
    }

    /// The number, the family and the shape of a name, if it is there; that is no asking for it.
    pub fn find(&self, name: &str) -> Option<(StoreId, Family, String)> {
        self.lock().entries.get(name).map(|entry| (entry.id, entry.family, entry.shape.clone()))
    }

    /// Every name with its family and shape, in the order of names; also those the program no longer has.
    pub fn names(&self) -> Vec<(String, Family, String)> {
        let inner = self.lock();
        inner.entries.iter().map(|(name, entry)| (name.clone(), entry.family, entry.shape.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The next free number, and the catalog's row for a name that gets it.
    fn number(&mut self, family: Family, shape: &str) -> Result<(StoreId, Vec<u8>)> {
        if self.last >= LAST {
            return Err(StateError::Limit {
                what: "the number of names ever used in the state directory",
                found: u64::from(self.last) + 1,
                limit: u64::from(LAST),
                advice: "start with a new state directory",
            });
        }
        let number = self.last + 1;
        let mut row = Vec::new();
        encode(
            "value",
            &Row { number, family: family.name().to_owned(), shape: shape.to_owned() },
            &mut row,
        )?;
        self.last = number;
        Ok((StoreId(number), row))
    }

    fn register(&mut self, name: &str, family: Family, shape: &str) -> Result<StoreId> {
        let (id, row) = self.number(family, shape)?;
        self.registered.push(Registered { key: [PREFIX, name.as_bytes()].concat(), row });
        self.entries.insert(name.to_owned(), Entry { id, family, shape: shape.to_owned() });
        Ok(id)
    }
}

impl Used {
    fn row(&self) -> Vec<u8> {
        let mut row = Vec::new();
        encode("value", self, &mut row).expect("names and a number can be encoded");
        row
    }
}

impl Entry {
    fn check(&self, name: &str, family: Family, shape: &str) -> Result<StoreId> {
        if self.family != family {
            return Err(StateError::Shape {
                name: name.to_owned(),
                kept: format!("{} in the family {}", self.shape, self.family.name()),
                asked: format!("{shape} in the family {}", family.name()),
            });
        }
        if self.shape != shape {
            let (kept, asked) = (self.shape.clone(), shape.to_owned());
            return Err(StateError::Shape { name: name.to_owned(), kept, asked });
        }
        Ok(self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::MemoryBackend;

    fn commit(catalog: &Catalog, backend: &MemoryBackend) -> usize {
        let mut delta = Delta::default();
        catalog.take_changes(&mut delta);
        backend.commit(&delta).expect("commits");
        delta.len()
    }

    #[test]
    fn a_name_keeps_its_number_and_a_number_its_name() {
        let backend = MemoryBackend::new();
        let catalog = Catalog::open(&backend).expect("opens");
        let views = catalog.store("views", Family::Values, "u64").expect("is new");
        let pages = catalog.store("pages", Family::Windows, "u64").expect("is new");
        assert_ne!(views, pages);
        assert_eq!(catalog.store("views", Family::Values, "u64").expect("same"), views);
        assert_eq!((commit(&catalog, &backend), commit(&catalog, &backend)), (3, 0), "and the row `used`");

        // The program dropped `pages` and has a new state: it must not get the rows of the dropped one.
        let catalog = Catalog::open(&backend).expect("opens");
        let users = catalog.store("users", Family::Windows, "u64").expect("is new");
        assert!(users != views && users != pages);
        assert_eq!(catalog.store("pages", Family::Windows, "u64").expect("kept"), pages);
        assert_eq!(commit(&catalog, &backend), 2);
        let names: Vec<_> = catalog.names().into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["pages", "users", "views"]);
    }

    #[test]
    fn another_shape_or_family_is_refused_naming_both() {
        let backend = MemoryBackend::new();
        let catalog = Catalog::open(&backend).expect("opens");
        catalog.store("views", Family::Values, "u64").expect("is new");
        let again = catalog.store("views", Family::Values, "u32").expect_err("another worker, another type");
        assert!(matches!(again, StateError::Shape { .. }));
        commit(&catalog, &backend);
        let catalog = Catalog::open(&backend).expect("opens");
        let text = catalog.store("views", Family::Values, "u32").expect_err("another type").to_string();
        assert!(text.contains("views") && text.contains("u64") && text.contains("u32"), "{text}");
        let text = catalog.store("views", Family::Timers, "u64").expect_err("another family").to_string();
        assert!(text.contains("values") && text.contains("timers"), "{text}");
    }

    #[test]
    fn rows_of_an_epoch_that_was_dropped_are_offered_again() {
        let backend = MemoryBackend::new();
        let catalog = Catalog::open(&backend).expect("opens");
        catalog.store("views", Family::Values, "u64").expect("is new");
        catalog.take_changes(&mut Delta::default());
        catalog.offer_again();
        assert_eq!(commit(&catalog, &backend), 2);
        assert_eq!(Catalog::open(&backend).expect("opens").names().len(), 1);
    }

    #[test]
    fn damaged_rows_are_refused() {
        let row = |number, family: &str| {
            let mut bytes = Vec::new();
            encode("value", &Row { number, family: family.to_owned(), shape: "u64".to_owned() }, &mut bytes)
                .expect("encodes");
            bytes
        };
        for (first, second) in [
            (row(1, "values"), row(1, "values")),
            (row(1, "values"), row(2, "nothing")),
            (row(1, "values"), vec![1]),
        ] {
            let backend = MemoryBackend::new();
            let mut delta = Delta::default();
            delta.put(Family::Meta, b"catalog/a", &first);
            delta.put(Family::Meta, b"catalog/b", &second);
            backend.commit(&delta).expect("commits");
            let refused = Catalog::open(&backend).expect_err("is damaged");
            assert!(matches!(&refused, StateError::Row { name, .. } if name == "b"), "{refused}");
        }
    }

    #[test]
    fn numbers_end_before_they_wrap() {
        let catalog = Catalog::default();
        catalog.lock().last = LAST - 1;
        assert_eq!(catalog.store("last", Family::Values, "u8").expect("fits"), StoreId(LAST));
        let refused = catalog.store("one more", Family::Values, "u8").expect_err("no number is left");
        assert!(matches!(refused, StateError::Limit { .. }));
    }

    #[test]
    fn workers_agree_on_numbers() {
        let catalog = Catalog::default();
        let names: Vec<String> = (0..50).map(|number| format!("state-{number}")).collect();
        let ask = || -> Vec<StoreId> {
            names.iter().map(|name| catalog.store(name, Family::Values, "u8").expect("same shape")).collect()
        };
        let found: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            workers.into_iter().map(|worker| worker.join().expect("no panic")).collect()
        });
        assert!(found.iter().all(|ids| *ids == found[0]));
    }
}
