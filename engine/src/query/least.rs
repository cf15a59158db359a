//! What an answer is to cover at the least, so that who has written something reads it.
//!
//! Invariant: positions are compared as the type that their source has, and never by their bytes.

use std::any::type_name;
use std::fmt;

use highwater_operators::graph::Graph;
use highwater_operators::position::PositionType;
use highwater_state::{Epoch, Persist, persist};

use super::{Positions, QueryError};

/// What an answer is to cover at the least: an epoch, positions of splits, or all of these.
///
/// ```
/// use highwater::query::AtLeast;
///
/// // The record with offset 41 was written, so that the next one to read is 42.
/// let written = AtLeast::nothing().position("clicks", "0", 42u64);
/// ```
#[derive(Clone, Debug, Default)]
pub struct AtLeast {
    epoch: Epoch,
    positions: Vec<Wanted>,
}

/// A split is to be read at least so far.
#[derive(Clone, Debug)]
struct Wanted {
    source: String,
    split: String,
    position: Given,
}

#[derive(Clone, Debug)]
enum Given {
    Encoded { bytes: Vec<u8>, is: fn(&PositionType) -> bool, called: &'static str },
    Json(String),
}

impl AtLeast {
    /// Whatever is committed.
    pub fn nothing() -> AtLeast {
        AtLeast::default()
    }

    /// This epoch, whether or not anything happened in it.
    pub fn epoch(mut self, epoch: Epoch) -> AtLeast {
        self.epoch = self.epoch.max(epoch);
        self
    }

    /// All records of a split before this position. It is of the source's type: of a topic
    /// [`KafkaPosition`](crate::connectors::kafka::KafkaPosition), whose `next_offset` is one more than the offset of
    /// the record that was written.
    pub fn position<P: Persist + PartialOrd>(mut self, source: &str, split: &str, position: P) -> AtLeast {
        let mut bytes = Vec::new();
        // What cannot be encoded is refused where it is read back.
        let _ = persist::encode("position", &position, &mut bytes);
        let position = Given::Encoded { bytes, is: PositionType::is::<P>, called: type_name::<P>() };
        self.positions.push(Wanted { source: source.to_owned(), split: split.to_owned(), position });
        self
    }

    /// As [`position`](Self::position), with the position as JSON: as [`Positions`] shows it.
    pub fn position_json(mut self, source: &str, split: &str, json: &str) -> AtLeast {
        let position = Given::Json(json.to_owned());
        self.positions.push(Wanted { source: source.to_owned(), split: split.to_owned(), position });
        self
    }

    /// All that an answer with these positions covers.
    pub fn positions(mut self, positions: &Positions) -> AtLeast {
        for at in positions.iter() {
            self = self.position_json(at.source, at.split, at.json);
        }
        self
    }

    /// Reads the positions as those of a topology's sources.
    pub(super) fn in_topology(&self, graph: &Graph) -> Result<Reading, QueryError> {
        let splits = self.positions.iter().map(|wanted| {
            let of = graph.positions_of(&wanted.source).ok_or_else(|| unknown(graph, &wanted.source))?;
            let refused = |position: String, reason| QueryError::Position {
                name: wanted.source.clone(),
                position,
                reason,
            };
            let asked = match &wanted.position {
                Given::Encoded { bytes, is, .. } if is(&of) => bytes.clone(),
                Given::Encoded { called, .. } => {
                    let reason = "its positions are of another type".to_owned();
                    return Err(refused((*called).to_owned(), reason));
                }
                Given::Json(json) => {
                    of.from_json(json).map_err(|error| refused(json.clone(), error.to_string()))?
                }
            };
            Ok(Split { source: wanted.source.clone(), split: wanted.split.clone(), asked, of })
        });
        Ok(Reading { epoch: self.epoch, splits: splits.collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for AtLeast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.epoch > Epoch(0) || self.positions.is_empty() {
            write!(f, "{}", self.epoch)?;
        }
        for (number, wanted) in self.positions.iter().enumerate() {
            let separator = if number > 0 || self.epoch > Epoch(0) { ", " } else { "" };
            write!(
                f,
                "{separator}the position that was asked for in split `{}` of `{}`",
                wanted.split, wanted.source
            )?;
        }
        Ok(())
    }
}

/// What is asked for, of the sources of one topology.
pub(super) struct Reading {
    pub(super) epoch: Epoch,
    splits: Vec<Split>,
}

struct Split {
    source: String,
    split: String,
    asked: Vec<u8>,
    of: PositionType,
}

impl Reading {
    /// Whether positions that were reached cover what is asked for. A split that was never read covers nothing.
    pub(super) fn is_covered_by(&self, reached: &Positions) -> Result<bool, QueryError> {
        for split in &self.splits {
            let Some(bytes) = reached.bytes(&split.source, &split.split) else { return Ok(false) };
            if !split.of.covers(bytes, &split.asked)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn unknown(graph: &Graph, name: &str) -> QueryError {
    let known = graph.sources().filter_map(|(_, place, _)| place.name.clone()).collect();
    QueryError::UnknownSource { name: name.to_owned(), topology: graph.name().to_owned(), known }
}
