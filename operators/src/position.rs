//! Positions of sources, for who does not know their type: whoever asks how far a job has read.
//!
//! Invariant: it is made where the source's type is known, so bytes are read as the type they were written as. It does
//! not know sources, and whether a position lies behind the end of a split.

use std::any::TypeId;
use std::cmp::Ordering;

use highwater_state::error::Result;
use highwater_state::{Persist, StateError, persist};

/// What can be done with the encoded positions of one source.
#[derive(Clone, Copy)]
pub struct PositionType {
    id: TypeId,
    covers: fn(&[u8], &[u8]) -> Result<bool>,
    to_json: fn(&[u8]) -> Result<String>,
    from_json: fn(&str) -> Result<Vec<u8>>,
}

impl PositionType {
    /// That of the type `P`.
    pub(crate) fn of<P: Persist + PartialOrd>() -> PositionType {
        PositionType {
            id: TypeId::of::<P>(),
            covers: |reached, asked| {
                let (reached, asked) = (position::<P>(reached)?, position::<P>(asked)?);
                Ok(matches!(reached.partial_cmp(&asked), Some(Ordering::Greater | Ordering::Equal)))
            },
            to_json: |bytes| serde_json::to_string(&position::<P>(bytes)?).map_err(unwritten),
            from_json: |text| {
                let mut bytes = Vec::new();
                persist::encode(
                    "position",
                    &serde_json::from_str::<P>(text).map_err(unwritten)?,
                    &mut bytes,
                )?;
                Ok(bytes)
            },
        }
    }

    /// Whether the positions are of the type `P`.
    pub fn is<P: 'static>(&self) -> bool {
        self.id == TypeId::of::<P>()
    }

    /// Whether the positions of two sources are of one type.
    pub fn is_that_of(&self, other: &PositionType) -> bool {
        self.id == other.id
    }

    /// Whether a split that was read up to `reached` was read up to `asked`, too.
    ///
    /// # Errors
    /// [`StateError::Row`] if one of them is no position of this type.
    pub fn covers(&self, reached: &[u8], asked: &[u8]) -> Result<bool> {
        (self.covers)(reached, asked)
    }

    /// The position as JSON.
    ///
    /// # Errors
    /// [`StateError::Row`] if it is no position of this type.
    pub fn to_json(&self, position: &[u8]) -> Result<String> {
        (self.to_json)(position)
    }

    /// The position that is written as this JSON, encoded.
    ///
    /// # Errors
    /// [`StateError::Encode`] if it is none.
    pub fn from_json(&self, json: &str) -> Result<Vec<u8>> {
        (self.from_json)(json)
    }
}

fn position<P: Persist>(bytes: &[u8]) -> Result<P> {
    persist::decode("position", bytes)
}

fn unwritten(error: serde_json::Error) -> StateError {
    StateError::Encode { what: "position", reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_compared_as_their_type_and_not_as_their_bytes() {
        let positions = PositionType::of::<u64>();
        let [low, high] = ["200", "70000"].map(|json| positions.from_json(json).expect("is a number"));
        assert!(positions.covers(&high, &low).expect("are positions"));
        assert!(positions.covers(&low, &low).expect("are positions"));
        assert!(!positions.covers(&low, &high).expect("are positions"));
        assert_eq!(positions.to_json(&high).expect("is a position"), "70000");
        assert!(positions.from_json("{}").is_err());
        assert!(positions.covers(&[], &low).is_err());
        assert!(positions.is::<u64>() && !positions.is::<i64>());
    }
}
