//! Versioned change: one that is left out where its row has a newer version, as the consumer does
//! on a route with `version`.
//!
//! Whether it is left out depends on the row beneath it, so two of them are not folded into one
//! before that row is known.

use std::sync::Arc;

use write_behind_shared::{Cell, Change, Number, json};

/// A change of a row whose versions stand in one column.
#[derive(Clone, Debug)]
pub(crate) struct Versioned {
    pub(crate) column: Arc<str>,
    pub(crate) change: Change,
}

impl Versioned {
    /// The version that it sets, if that is a number: other versions are ordered by the type of
    /// their column, which is not known here.
    pub(crate) fn number(&self) -> Option<Number> {
        json::unquoted(self.version()?).parse().ok()
    }

    /// The version that it sets, as JSON. Without one the database refuses it.
    pub(crate) fn version(&self) -> Option<&str> {
        match self.change.cells().find(|(name, _)| *name == &*self.column)?.1 {
            Cell::Set(value) if value.get() != "null" => Some(value.get()),
            _ => None,
        }
    }

    /// Whether it leaves `row` as it is.
    pub(crate) fn is_left_out(&self, row: Option<&[u8]>) -> bool {
        let of_row = |row: &[u8]| {
            let members = json::members(row).ok()?;
            let (_, value) = members.into_iter().find(|(name, _)| *name == *self.column)?;
            json::unquoted(value.get()).parse::<Number>().ok()
        };
        let Some(of_row) = row.and_then(of_row) else { return false };
        self.number().is_some_and(|version| version.is_less_than(&of_row))
    }

    /// This and `later` as one change, if that is the same whatever row is beneath them.
    pub(crate) fn joined_with(&self, later: &Versioned) -> Option<Versioned> {
        let sets = |name: &str| later.change.cells().any(|(other, _)| other == name);
        let replaces = self.change.cells().all(|(name, _)| sets(name))
            && later.change.cells().all(|(_, cell)| matches!(cell, Cell::Set(_)));
        let is_older = later.number()?.is_less_than(&self.number()?);
        (replaces && !is_older).then(|| later.clone())
    }
}
