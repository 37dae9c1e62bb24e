//! The change of one row, and the fold of two changes into one.
//!
//! A change first *resets* the row (deletes it) or does not; then it *writes* the row or does not:
//! inserts it if it is missing, sets some columns and adds to others. Folding is associative, so a
//! log folds to the same in any grouping: record by record, batch by batch, or all at once.
//! Property tests hold it to that.
//!
//! Values are the JSON text they were written in. The fold does not know column types, so it never
//! fails: that a delta was added to something that is not a number is found when the cell's value
//! is asked for.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::increments::Increments;
use crate::number::Number;
use crate::{finite, json, json_write};

/// What a write, or several folded into one, does to one row.
#[derive(Clone, Debug, Default)]
pub struct Change {
    reset: bool,
    /// The columns, sorted by name, each name once. `None`: the row is not written.
    written: Option<Vec<(Box<str>, Cell)>>,
}

/// What a change does to one column.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Sets the column to this value, given as JSON.
    Set(Box<RawValue>),
    /// Adds to what the column holds; a missing or NULL column counts as 0.
    Add(Increments),
    /// Sets the column to this value, then adds to it. The value stays: increments build on it, so
    /// what is wrong with it must still be found.
    SetThenAdd(Box<RawValue>, Increments),
}

/// A column was set to something that is not a number, and a delta was added to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column:?} is incremented but holds {value}, which is not a number")]
pub struct NotNumeric {
    /// The column.
    pub column: String,
    /// The start of the value it was set to, as JSON.
    pub value: String,
}

/// Why a Rust value cannot be a row or a column's value.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// serde could not write it as JSON.
    #[error("the value cannot be written as JSON: {0}")]
    NotJson(serde_json::Error),
    /// It is neither a struct nor a map.
    #[error("a row must be a struct or a map of columns: {0}")]
    NotAnObject(json::JsonError),
    /// A float is NaN or infinite, and JSON would turn it into null.
    #[error("a number is not finite")]
    NotFinite,
}

// The texts hold their causes' texts, so the causes are no sources.
impl From<serde_json::Error> for ChangeError {
    fn from(error: serde_json::Error) -> Self {
        Self::NotJson(error)
    }
}

impl From<json::JsonError> for ChangeError {
    fn from(error: json::JsonError) -> Self {
        Self::NotAnObject(error)
    }
}

impl Change {
    /// Deletes the row.
    #[must_use]
    pub fn delete() -> Self {
        Self { reset: true, written: None }
    }

    /// Writes the row without any column: inserts it if it is missing.
    #[must_use]
    pub fn new() -> Self {
        Self { reset: false, written: Some(Vec::new()) }
    }

    /// Sets the columns that `row`, a struct or a map, has.
    ///
    /// # Errors
    /// [`ChangeError`]: `row` cannot be written as an object of JSON.
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

    /// Then sets `column` to `value`.
    ///
    /// # Errors
    /// [`ChangeError`]: `value` cannot be written as JSON.
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

    /// Then adds `delta` to `column`.
    #[must_use]
    pub fn add(mut self, column: &str, delta: impl Into<Number>) -> Self {
        if let Some(columns) = &mut self.written
            && columns.is_empty()
        {
            // Most have this column alone, and many wait in memory.
            columns.reserve_exact(1);
        }
        self.write(column, Cell::add(delta.into()));
        self
    }

    /// Applies `cell` to `column`, after what this change does to it already.
    pub fn write(&mut self, column: &str, cell: Cell) {
        let columns = self.written.get_or_insert_with(Vec::new);
        match columns.binary_search_by(|(name, _)| (**name).cmp(column)) {
            Ok(at) => columns[at].1.fold(cell),
            Err(at) => columns.insert(at, (column.into(), cell)),
        }
    }

    /// Makes this change do what it does and then what `later` does.
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

    /// Whether it first deletes the row.
    #[must_use]
    pub fn resets(&self) -> bool {
        self.reset
    }

    /// Whether the row exists after this change whether or not it did before.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.written.is_some()
    }

    /// Whether it adds to a column whose earlier value it does not know.
    #[must_use]
    pub fn needs_earlier_value(&self) -> bool {
        !self.reset && self.cells().any(|(_, cell)| matches!(cell, Cell::Add(_)))
    }

    /// The columns it writes, sorted by name.
    pub fn cells(&self) -> impl ExactSizeIterator<Item = (&str, &Cell)> {
        self.written.as_deref().unwrap_or_default().iter().map(|(name, cell)| (&**name, cell))
    }

    /// The row that this change makes of a missing row, as a JSON object. `None`: there is no row.
    ///
    /// # Errors
    /// [`NotNumeric`]: a delta was added to a value that is not a number.
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

    /// An estimate of the memory this change holds, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.cells().map(|(name, cell)| name.len() + cell.bytes()).sum::<usize>()
    }
}

impl Cell {
    /// Adds `delta`.
    #[must_use]
    pub fn add(delta: Number) -> Self {
        Cell::Add(delta.into())
    }

    /// Makes this cell do what it does and then what `later` does to the same column.
    pub fn fold(&mut self, later: Cell) {
        match (&mut *self, later) {
            (Cell::Add(sum) | Cell::SetThenAdd(_, sum), Cell::Add(later)) => sum.add(&later),
            (Cell::Set(_), Cell::Add(delta)) => {
                if let Cell::Set(value) = std::mem::replace(self, Cell::add(Number::Integer(0))) {
                    *self = Cell::SetThenAdd(value, delta);
                }
            }
            (_, set) => *self = set,
        }
    }

    /// The value, as JSON, that this cell gives a column that held nothing.
    ///
    /// # Errors
    /// [`NotNumeric`]: a delta was added to a value that is not a number.
    pub fn value(&self, column: &str) -> Result<String, NotNumeric> {
        match self {
            Cell::Set(value) => Ok(value.get().to_owned()),
            Cell::Add(delta) => Ok(delta.to_string()),
            Cell::SetThenAdd(value, sum) => {
                let delta = sum.total();
                let not_numeric =
                    || NotNumeric { column: column.to_owned(), value: json::excerpt(value.get()) };
                let base = numeric_value(value).ok_or_else(not_numeric)?;
                Ok(base.map_or_else(|| delta.to_string(), |base| base.plus(delta).to_string()))
            }
        }
    }

    fn bytes(&self) -> usize {
        let heap = match self {
            Cell::Set(value) => value.get().len(),
            Cell::Add(delta) => delta.heap_bytes(),
            Cell::SetThenAdd(value, delta) => {
                value.get().len() + size_of::<Increments>() + delta.heap_bytes()
            }
        };
        size_of::<Self>() + heap
    }
}

/// The number that `value` is. `Some(None)`: it is `null`. `None`: it is not a number.
#[expect(clippy::option_option, reason = "null and not a number are two answers")]
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
