//! The check of writes against the table: what it can't hold would become a dead letter.

use std::sync::atomic::{AtomicBool, Ordering};

use ahash::HashSet;
use write_behind_shared::key::{self, KeyColumn};
use write_behind_shared::{Change, json};

use crate::core::columns::Columns;
use crate::error::{BuildError, Refusal};
use crate::load::TableShape;

/// What the table takes.
#[derive(Debug)]
pub(crate) struct TableCheck {
    columns: HashSet<Box<str>>,
    key: Vec<KeyColumn>,
    /// The row type does not say its columns, so each row is looked at.
    looks_at_rows: bool,
    /// A key of several columns fitted the table, so its struct has the names and types.
    composite_fits: AtomicBool,
}

impl TableCheck {
    /// Fails if the table has no column for a field of the row type.
    pub(crate) fn new(shape: TableShape, row_type: Columns) -> Result<Self, BuildError> {
        let TableShape { columns, key } = shape;
        let is_missing = |field: &&&str| !columns.iter().any(|column| **column == ***field);
        let fields = row_type.names();
        if let Some(field) = fields.and_then(|fields| fields.iter().find(is_missing)) {
            let columns = columns.join(", ");
            return Err(BuildError::NoSuchColumn { field: (*field).to_owned(), columns });
        }
        Ok(Self {
            columns: columns.into_iter().collect(),
            key,
            looks_at_rows: fields.is_none(),
            composite_fits: AtomicBool::new(false),
        })
    }

    /// Refuses a row that names a column which the table does not have.
    pub(crate) fn row(&self, document: &[u8]) -> Result<(), Refusal> {
        if self.looks_at_rows {
            let members = json::members(document).unwrap_or_default();
            members.iter().try_for_each(|(name, _)| self.column(name))?;
        }
        Ok(())
    }

    /// The same of a change.
    pub(crate) fn change(&self, change: &Change) -> Result<(), Refusal> {
        change.cells().try_for_each(|(name, _)| self.column(name))
    }

    /// Refuses a key that no row of the table has.
    pub(crate) fn key(&self, text: &[u8]) -> Result<(), Refusal> {
        if let [_] = &*self.key {
            key::texts(text, &self.key)?;
        } else if !self.key.is_empty() && !self.composite_fits.load(Ordering::Relaxed) {
            // To take one apart costs as much as a write, so the first stands for all.
            key::texts(text, &self.key)?;
            self.composite_fits.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn column(&self, name: &str) -> Result<(), Refusal> {
        if self.columns.contains(name) {
            Ok(())
        } else {
            Err(Refusal::NoSuchColumn(name.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use write_behind_shared::key::{KeyError, KeyKind};

    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its fields' names matter")]
    struct Score {
        name: String,
        points: i64,
    }

    fn key_column(name: &str, kind: KeyKind) -> KeyColumn {
        KeyColumn { name: name.to_owned(), kind }
    }

    fn check(columns: &[&str], key: Vec<KeyColumn>) -> Result<TableCheck, BuildError> {
        let shape = TableShape::new(columns.iter().copied(), key);
        TableCheck::new(shape, Columns::of::<Score>())
    }

    #[test]
    fn a_row_type_with_a_field_that_the_table_lacks_is_refused_and_both_are_named() {
        let error = check(&["id", "name", "pionts"], Vec::new()).unwrap_err().to_string();
        assert!(error.contains("\"points\"") && error.contains("id, name, pionts"), "{error}");
        assert!(check(&["id", "name", "points"], Vec::new()).is_ok());
    }

    #[test]
    fn a_change_of_a_column_that_the_table_lacks_is_refused() {
        let check = check(&["id", "name", "points"], Vec::new()).unwrap();
        assert!(check.change(&Change::new().add("points", 1)).is_ok());
        let refused = check.change(&Change::new().add("pionts", 1));
        assert_eq!(refused, Err(Refusal::NoSuchColumn("pionts".to_owned())));
        assert_eq!(check.row(br#"{"any":1}"#), Ok(()), "its type was looked at");
    }

    #[test]
    fn a_row_whose_type_names_no_fields_is_looked_at_itself() {
        let shape = TableShape::new(["id", "n"], []);
        let check = TableCheck::new(shape, Columns::of::<serde_json::Value>()).unwrap();
        assert_eq!(check.row(br#"{"n":1}"#), Ok(()));
        let refused = check.row(br#"{"n":1,"m":2}"#);
        assert_eq!(refused, Err(Refusal::NoSuchColumn("m".to_owned())));
    }

    #[test]
    fn a_key_beyond_its_column_or_in_another_notation_is_refused() {
        let columns = ["id", "name", "points"];
        let id = check(&columns, vec![key_column("id", KeyKind::Integer(0..=9))]).unwrap();
        assert_eq!(id.key(b"7"), Ok(()));
        let is_refused = |check: &TableCheck, key: &str| {
            matches!(check.key(key.as_bytes()), Err(Refusal::Key(KeyError::NotCanonical { .. })))
        };
        assert!(is_refused(&id, "10") && is_refused(&id, "x"));
        let uuid = check(&columns, vec![key_column("id", KeyKind::Uuid)]).unwrap();
        assert!(is_refused(&uuid, "0011AABB-2233-4455-8677-8899aabbccdd"));
        let two = ["id", "name"].map(|name| key_column(name, KeyKind::Text)).into();
        let two = check(&columns, two).unwrap();
        assert!(matches!(two.key(br#"{"id":"a"}"#), Err(Refusal::Key(_))));
        assert_eq!(two.key(br#"{"id":"a","name":"b"}"#), Ok(()));
    }
}
