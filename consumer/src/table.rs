//! A target table as the database's catalogue describes it: its columns, their types, its key.
//!
//! Identifiers in SQL come from here, never from a record.

use write_behind_shared::key::KeyColumn;

/// A table that a route writes to.
#[derive(Clone, Debug)]
pub struct Table {
    /// The name as SQL must spell it: quoted, with its schema.
    pub sql_name: String,
    /// The columns a record may name, in the catalogue's order; without generated ones.
    pub columns: Vec<Column>,
    /// The key columns, in the key's order. Each is also one of `columns`.
    pub key: Vec<KeyColumn>,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name, unquoted.
    pub name: String,
    /// What JSON fits it.
    pub kind: ColumnKind,
    /// Its type as SQL must spell it in a cast.
    pub sql_type: String,
    /// A row can't be inserted without naming it: NOT NULL and without a default.
    pub required: bool,
}

/// What JSON fits a column, and in which text form the database takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// An integer in this range; a JSON integer or its text as a string.
    Integer(std::ops::RangeInclusive<i64>),
    /// An exact decimal: a JSON number or its text as a string.
    Numeric,
    /// A float: a JSON number.
    Float,
    /// true or false.
    Boolean,
    /// A string without NUL.
    Text,
    /// A string in the database's own notation of a type we do not parse: date, time, uuid, enum.
    Notation,
    /// An instant, as a string in RFC 3339.
    Instant,
    /// Any JSON; null is SQL's NULL.
    Json,
    /// A base64 string.
    Bytes,
    /// A JSON array of elements of this kind.
    Array(Box<ColumnKind>),
}

impl Table {
    /// The place of the column `name` in `columns`.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Whether the column `name` belongs to the key.
    #[must_use]
    pub fn is_key(&self, name: &str) -> bool {
        self.key.iter().any(|column| column.name == name)
    }
}
