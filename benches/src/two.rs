//! A feed as a source with two splits, so that two workers can read it.

use highwater::operators::error::Cause;
use highwater::operators::source::{Reader, Source};

use crate::feed::{Feed, Repeat};

/// The records of a feed, the first half and the second as splits of their own.
pub struct Two<T>(pub Feed<T>);

impl<T: Repeat> Source for Two<T> {
    type Item = T;
    type Position = u64;

    fn splits(&self) -> Result<Vec<String>, Cause> {
        Ok(vec!["first".to_owned(), "second".to_owned()])
    }

    fn open(
        &self,
        split: &str,
        from: Option<u64>,
    ) -> Result<Box<dyn Reader<Item = T, Position = u64>>, Cause> {
        let half = self.0.half(split == "second");
        match from {
            None => Ok(Box::new(half)),
            Some(from) => half.open(split, Some(from)),
        }
    }
}
