//! The change of one row, and the fold of two changes into one.
//!
//! A change may first *reset* the row (a delete), and may then *write* it: insert it if it is
//! missing, and set some columns and add to others. Folding is associative, so a log may be folded
//! in any grouping: record by record, batch by batch, or all at once; the property tests below
//! hold it to that.
//!
//! Values are the JSON text they were written in. The fold does not know column types, so it never
//! fails: a set value that an increment cannot be added to is found when the cell is resolved.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::number::Number;
use crate::{finite, json, json_write};

/// What is to be done to one row.
#[derive(Clone, Debug, Default)]
pub struct Change {
    reset: bool,
    /// `None`: the row is not written. Sorted by column name, each name once.
    written: Option<Vec<(Box<str>, Cell)>>,
}

/// What is to be done to one column.
#[derive(Clone, Debug)]
pub enum Cell {
    /// The column takes this value, as JSON.
    Set(Box<RawValue>),
    /// The delta is added to what the column holds; a missing or NULL column starts from nothing.
    Add(Number),
    /// The column takes this value, then the delta is added to it.
    SetThenAdd(Box<RawValue>, Number),
}

/// A set value that is no number although something was added to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column:?} is incremented but holds {value}, which is not a number")]
pub struct NotNumeric {
    /// The column.
    pub column: String,
    /// What it was set to, as JSON.
    pub value: String,
}

/// Why a Rust value cannot be a column's value.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// serde could not write it as JSON.
    #[error("the value cannot be written as JSON: {0}")]
    NotJson(#[from] serde_json::Error),
    /// It is not a struct or a map.
    #[error("a row must be a struct or a map of columns: {0}")]
    NotAnObject(#[from] json::JsonError),
    /// A float is NaN or infinite, which JSON would turn into null.
    #[error("a number is not finite")]
    NotFinite,
}

impl Change {
    /// Deletes the row.
    #[must_use]
    pub fn delete() -> Self {
        Self { reset: true, written: None }
    }

    /// Writes the row without naming a column: inserts it if it is missing.
    #[must_use]
    pub fn new() -> Self {
        Self { reset: false, written: Some(Vec::new()) }
    }

    /// Sets every column that `row` (a struct or a map) has.
    pub fn of<T: Serialize + ?Sized>(row: &T) -> Result<Self, ChangeError> {
        let mut document = Vec::with_capacity(64);
        if json_write::write(row, &mut document)?.not_finite {
            return Err(ChangeError::NotFinite);
        }
        let mut change = Self::new();
        for (name, value) in json::members(&document)? {
            change.write(&name, Cell::Set(value.to_owned()));
        }
        Ok(change)
    }

    /// Also sets `column` to `value`.
    pub fn set<T: Serialize + ?Sized>(
        mut self,
        column: &str,
        value: &T,
    ) -> Result<Self, ChangeError> {
        let text = serde_json::value::to_raw_value(value)?;
        if text.get().contains("null") && finite::loses_a_float(value) {
            return Err(ChangeError::NotFinite);
        }
        self.write(column, Cell::Set(text));
        Ok(self)
    }

    /// Also adds `delta` to `column`.
    #[must_use]
    pub fn add(mut self, column: &str, delta: impl Into<Number>) -> Self {
        self.write(column, Cell::Add(delta.into()));
        self
    }

    /// Does `cell` to `column`, after whatever this change does to it already.
    pub fn write(&mut self, column: &str, cell: Cell) {
        let columns = self.written.get_or_insert_with(Vec::new);
        match columns.binary_search_by(|(name, _)| (**name).cmp(column)) {
            Ok(at) => columns[at].1.fold(cell),
            Err(at) => columns.insert(at, (column.into(), cell)),
        }
    }

    /// Does `later` after this change.
    pub fn fold(&mut self, later: Change) {
        if later.reset {
            *self = later;
        } else if let Some(columns) = later.written {
            let _ = self.written.get_or_insert_with(Vec::new);
            for (name, cell) in columns {
                self.write(&name, cell);
            }
        }
    }

    /// Whether the row is deleted first.
    #[must_use]
    pub fn resets(&self) -> bool {
        self.reset
    }

    /// Whether the row exists afterwards because of this change.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.written.is_some()
    }

    /// Whether anything is added to a column whose earlier value this change does not know.
    #[must_use]
    pub fn needs_earlier_value(&self) -> bool {
        !self.reset && self.cells().any(|(_, cell)| matches!(cell, Cell::Add(_)))
    }

    /// The columns written, sorted by name.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = (&str, &Cell)> {
        self.written.as_deref().unwrap_or_default().iter().map(|(name, cell)| (&**name, cell))
    }

    /// The row after this change was done to a missing row, as a JSON object; `None`: no row.
    ///
    /// # Errors
    /// [`NotNumeric`], when something was added to a value that is no number.
    pub fn to_row(&self) -> Result<Option<Vec<u8>>, NotNumeric> {
        let Some(columns) = &self.written else { return Ok(None) };
        let mut row = Vec::with_capacity(64);
        row.push(b'{');
        for (place, (name, cell)) in columns.iter().enumerate() {
            if place > 0 {
                row.push(b',');
            }
            push_name(&mut row, name);
            row.extend_from_slice(cell.value(name)?.as_bytes());
        }
        row.push(b'}');
        Ok(Some(row))
    }

    /// An estimate of the memory this change takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.cells().map(|(name, cell)| name.len() + cell.bytes()).sum::<usize>()
    }
}

impl Cell {
    /// Does `later` to the same column afterwards.
    pub fn fold(&mut self, later: Cell) {
        *self = match (std::mem::replace(self, Cell::Add(Number::Integer(0))), later) {
            (_, set @ (Cell::Set(_) | Cell::SetThenAdd(..))) => set,
            (Cell::Set(value), Cell::Add(delta)) => Cell::SetThenAdd(value, delta),
            (Cell::Add(first), Cell::Add(second)) => Cell::Add(first.plus(&second)),
            (Cell::SetThenAdd(value, first), Cell::Add(second)) => {
                Cell::SetThenAdd(value, first.plus(&second))
            }
        };
    }

    /// The column's value, as JSON, if it held nothing before.
    ///
    /// # Errors
    /// [`NotNumeric`], when something was added to a value that is no number.
    pub fn value(&self, column: &str) -> Result<String, NotNumeric> {
        match self {
            Cell::Set(value) => Ok(value.get().to_owned()),
            Cell::Add(delta) => Ok(delta.to_string()),
            Cell::SetThenAdd(value, delta) => {
                let not_numeric =
                    || NotNumeric { column: column.to_owned(), value: value.get().to_owned() };
                let base = numeric_value(value).ok_or_else(not_numeric)?;
                Ok(base.map_or_else(|| delta.to_string(), |base| base.plus(delta).to_string()))
            }
        }
    }

    fn bytes(&self) -> usize {
        const NUMBER: usize = size_of::<Number>();
        match self {
            Cell::Set(value) => value.get().len() + size_of::<Self>(),
            Cell::Add(_) => size_of::<Self>(),
            Cell::SetThenAdd(value, _) => value.get().len() + size_of::<Self>() + NUMBER,
        }
    }
}

/// The number that `value` is: `None` when no number, `Some(None)` when it is `null`.
#[expect(clippy::option_option, reason = "a null and a text that is no number are two answers")]
fn numeric_value(value: &RawValue) -> Option<Option<Number>> {
    let text = value.get();
    if text == "null" {
        return Some(None);
    }
    json::unquoted(text).parse().ok().map(Some)
}

pub(crate) fn push_name(document: &mut Vec<u8>, name: &str) {
    #[expect(clippy::expect_used, reason = "writing a string to memory cannot fail")]
    serde_json::to_writer(&mut *document, name).expect("a name is written");
    document.push(b':');
}

#[cfg(test)]
#[path = "tests/change.rs"]
mod tests;
