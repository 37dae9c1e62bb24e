//! One write of one row, and what it makes of the row before it.

use std::sync::Arc;

use write_behind_shared::{Cell, Change, json, record};

use crate::core::versioned::Versioned;

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
    /// The same, unless the row has a newer version.
    Versioned(Box<Versioned>),
}

/// A change that is in the log.
#[derive(Clone, Debug)]
pub(crate) enum Alteration {
    Plain(Change),
    Versioned(Box<Versioned>),
}

impl Delta {
    /// A change of some columns; `version`: the column that holds the rows' versions.
    pub(crate) fn changes(change: Change, version: Option<&Arc<str>>) -> Self {
        match version {
            None => Delta::Change(Box::new(change)),
            Some(column) => {
                Delta::Versioned(Box::new(Versioned { column: Arc::clone(column), change }))
            }
        }
    }

    /// Whether the row before it must be known for sure.
    pub(crate) fn adds(&self) -> bool {
        match self {
            Delta::Put(_) | Delta::Delete => false,
            Delta::Change(change) => change.needs_earlier_value(),
            Delta::Versioned(versioned) => versioned.change.needs_earlier_value(),
        }
    }

    /// Whether the row before it does not matter.
    pub(crate) fn is_absolute(&self) -> bool {
        matches!(self, Delta::Put(_) | Delta::Delete)
    }

    /// The value and the `add` header of its record; `None`: it does not fit one.
    pub(crate) fn to_record(&self) -> Option<(Option<Row>, Option<String>)> {
        match self {
            Delta::Put(row) => Some((Some(Row::clone(row)), None)),
            Delta::Delete => Some((None, None)),
            Delta::Change(change) => record_of(change),
            Delta::Versioned(versioned) => record_of(&versioned.change),
        }
    }

    /// This write and `later` as one, if one record of at most `bytes_max` says both.
    pub(crate) fn joined_with(&self, later: &Delta, bytes_max: usize) -> Option<Delta> {
        let joined = match (self, later) {
            (_, Delta::Delete) => Delta::Delete,
            (Delta::Put(row), Delta::Put(later)) if has_columns_of(row, later) => {
                Delta::Put(Row::clone(later))
            }
            (Delta::Put(row), Delta::Put(later)) => {
                joined_row(row, record::decode(Some(later), None).ok()?)?
            }
            (Delta::Put(row), Delta::Change(change)) => joined_row(row, (**change).clone())?,
            (Delta::Change(change), Delta::Put(row)) => {
                let names = json::members(row).ok()?;
                let has = |name: &str| names.iter().any(|(other, _)| *other == name);
                change.cells().all(|(name, _)| has(name)).then(|| Delta::Put(Row::clone(row)))?
            }
            (Delta::Change(first), Delta::Change(second)) => {
                let mut change = (**first).clone();
                change.fold((**second).clone());
                Delta::Change(Box::new(in_one_record(&change)?))
            }
            (Delta::Versioned(first), Delta::Versioned(second)) => {
                Delta::Versioned(Box::new(first.joined_with(second)?))
            }
            // What was deleted has its defaults again, which no record of columns says. And a handle
            // has a version column or none.
            (Delta::Delete | Delta::Versioned(_), _) | (_, Delta::Versioned(_)) => return None,
        };
        (joined.bytes() <= bytes_max).then_some(joined)
    }

    /// An estimate of the memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Delta::Put(row) => row.len(),
            Delta::Delete => 0,
            Delta::Change(change) => change.bytes(),
            Delta::Versioned(versioned) => versioned.change.bytes(),
        }
    }

    /// The row after it was done to `row`.
    pub(crate) fn over(&self, row: Option<Row>) -> Option<Row> {
        match self {
            Delta::Put(row) => Some(Row::clone(row)),
            Delta::Delete => None,
            Delta::Change(change) => fold(row, change),
            Delta::Versioned(versioned) => fold_versioned(row, versioned),
        }
    }
}

impl Alteration {
    pub(crate) fn change(&self) -> &Change {
        match self {
            Alteration::Plain(change) => change,
            Alteration::Versioned(versioned) => &versioned.change,
        }
    }

    fn over(&self, row: Option<Row>) -> Option<Row> {
        match self {
            Alteration::Plain(change) => fold(row, change),
            Alteration::Versioned(versioned) => fold_versioned(row, versioned),
        }
    }
}

fn record_of(change: &Change) -> Option<(Option<Row>, Option<String>)> {
    let encoded = change.encode().ok()?;
    Some((encoded.value.map(Row::from), encoded.add))
}

/// A row written whole, and changed right after.
fn joined_row(row: &Row, later: Change) -> Option<Delta> {
    let mut change = record::decode(Some(row), None).ok()?;
    change.fold(later);
    Some(Delta::Put(change.to_row().ok()??.into()))
}

/// Whether `later` has every column of `row`, so that nothing of `row` is left after it.
fn has_columns_of(row: &Row, later: &Row) -> bool {
    let (Ok(row), Ok(later)) = (json::members(row), json::members(later)) else { return false };
    row.iter().all(|(name, _)| later.iter().any(|(other, _)| other == name))
}

/// What is set and then added to becomes what it comes to.
fn in_one_record(change: &Change) -> Option<Change> {
    let mut resolved = Change::new();
    for (name, cell) in change.cells() {
        let cell = match cell {
            Cell::SetThenAdd(..) => {
                Cell::Set(serde_json::value::RawValue::from_string(cell.value(name).ok()?).ok()?)
            }
            Cell::Set(_) | Cell::Add(_) => cell.clone(),
        };
        resolved.write(name, cell);
    }
    Some(resolved)
}

/// The row after `changes`.
pub(crate) fn fold_all<'c>(
    row: Option<Row>,
    changes: impl Iterator<Item = &'c Alteration>,
) -> Option<Row> {
    changes.fold(row, |row, change| change.over(row))
}

/// The row after a change. One that does not fit (something added to what is no number) is left
/// out, as the consumer will leave it out: it becomes a dead letter.
fn fold(row: Option<Row>, change: &Change) -> Option<Row> {
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
}

fn fold_versioned(row: Option<Row>, versioned: &Versioned) -> Option<Row> {
    // Without a version the consumer makes a dead letter of it.
    let is_refused = versioned.version().is_none();
    if is_refused || versioned.is_left_out(row.as_deref()) {
        row
    } else {
        fold(row, &versioned.change)
    }
}

#[cfg(test)]
#[path = "tests/delta.rs"]
mod tests;
