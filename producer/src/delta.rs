//! One write of one row, and what it makes of the row before it.
//!
//! Pure: no clock, no task, no Kafka.

use std::sync::Arc;

use write_behind_shared::{Change, record};

/// A row as a JSON object.
pub(crate) type Row = Arc<[u8]>;

/// One write of a row.
#[derive(Clone, Debug)]
pub(crate) enum Delta {
    /// Every column takes a new value.
    Put(Row),
    /// The row is deleted.
    Delete,
    /// Some columns are set or added to.
    Change(Box<Change>),
}

impl Delta {
    /// Whether the row before it must be known for sure.
    pub(crate) fn adds(&self) -> bool {
        matches!(self, Delta::Change(change) if change.needs_earlier_value())
    }

    /// Whether the row before it does not matter.
    pub(crate) fn is_absolute(&self) -> bool {
        !matches!(self, Delta::Change(_))
    }

    /// An estimate of the memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Delta::Put(row) => row.len(),
            Delta::Delete => 0,
            Delta::Change(change) => change.bytes(),
        }
    }
    /// The row after it was done to `row`.
    pub(crate) fn over(&self, row: Option<Row>) -> Option<Row> {
        match self {
            Delta::Put(row) => Some(Row::clone(row)),
            Delta::Delete => None,
            Delta::Change(change) => fold_all(row, std::iter::once(&**change)),
        }
    }
}

/// The row after `changes`. A change that does not fit (something added to what is no number) is
/// left out, as the consumer will leave it out: it becomes a dead letter.
pub(crate) fn fold_all<'c>(
    row: Option<Row>,
    changes: impl Iterator<Item = &'c Change>,
) -> Option<Row> {
    changes.fold(row, |row, change| {
        let earlier = match &row {
            Some(row) => record::decode(Some(row), None),
            None => Ok(Change::delete()),
        };
        let Ok(mut folded) = earlier else { return row };
        folded.fold(change.clone());
        match folded.to_row() {
            Ok(after) => after.map(Row::from),
            Err(_) => row,
        }
    })
}
