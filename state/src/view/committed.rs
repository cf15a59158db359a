//! What is common to everything that shows named states at one committed epoch, for readers that know what the rows of
//! an operator mean: rows as bytes, and under which number and shape a state is kept.

use super::{Kept, StateView};
use crate::backend::Backend;
use crate::delta::Family;
use crate::error::Result;
use crate::id::{Epoch, StoreId};
use crate::reader::StateReader;

/// Whatever shows the rows of named states as they were at one committed epoch: a [`StateReader`], of a state directory
/// that no job works on and of a savepoint, or a [`StateView`], of a job that runs, too.
pub trait Committed {
    /// The rows.
    fn backend(&self) -> &dyn Backend;

    /// The epoch that they belong to.
    fn epoch(&self) -> Epoch;

    /// Under which number, in which family and as which shape a state is kept.
    ///
    /// # Errors
    /// [`StateError::Unknown`](crate::StateError::Unknown) if there is no such state.
    fn state(&self, name: &str) -> Result<(StoreId, Family, String)>;

    /// Every state's name and shape, in the order of names.
    fn states(&self) -> Vec<(String, String)>;
}

impl Committed for StateView {
    fn backend(&self) -> &dyn Backend {
        &*self.rows
    }

    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn state(&self, name: &str) -> Result<(StoreId, Family, String)> {
        let Kept { id, family, shape } = self.find(name)?;
        Ok((id, family, shape))
    }

    fn states(&self) -> Vec<(String, String)> {
        self.catalog.names().into_iter().map(|(name, _, shape)| (name, shape)).collect()
    }
}

impl Committed for StateReader {
    fn backend(&self) -> &dyn Backend {
        self.view().backend()
    }

    fn epoch(&self) -> Epoch {
        self.view().epoch()
    }

    fn state(&self, name: &str) -> Result<(StoreId, Family, String)> {
        self.view().state(name)
    }

    fn states(&self) -> Vec<(String, String)> {
        Committed::states(self.view())
    }
}
