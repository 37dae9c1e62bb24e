//! The statements that write a set of rows, in order: deletes first, then one group per set of
//! columns.
//!
//! Rows arrive sorted by key and stay sorted within a statement, so that two transactions on the
//! same rows lock them in the same order.

use std::collections::BTreeMap;

use crate::core::table::Table;
use crate::core::table::row::{Row, RowCell};

/// The columns that a row writes, by index, and whether each is an increment.
pub(crate) type ColumnSet = Vec<(usize, bool)>;

/// Rows grouped by statement: all rows of one statement write the same columns in the same way.
#[derive(Debug)]
pub(crate) struct Writes<'a> {
    deletes: Vec<&'a Row<'a>>,
    by_shape: BTreeMap<ColumnSet, Vec<&'a Row<'a>>>,
}

/// One statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteStatement<'w> {
    /// What the statement does.
    pub(crate) kind: WriteKind,
    /// The columns that it writes, key columns excluded.
    pub(crate) shape: &'w [(usize, bool)],
    /// Its rows.
    pub(crate) rows: &'w [&'w Row<'w>],
}

/// What a statement does with its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WriteKind {
    /// Deletes the rows.
    Delete,
    /// Inserts the rows, or updates those that exist.
    Upsert,
    /// Updates the rows that exist, then inserts the others.
    UpdateThenInsert,
}

impl<'a> Writes<'a> {
    /// Groups `rows` by statement.
    pub(crate) fn of(rows: &[&'a Row<'a>]) -> Self {
        let mut writes = Self { deletes: Vec::new(), by_shape: BTreeMap::new() };
        // Most rows have the shape of the row before, and a comparison is cheaper than a lookup.
        let (mut shape, mut alike) = (ColumnSet::new(), Vec::new());
        for row in rows {
            if row.delete {
                writes.deletes.push(*row);
            }
            let Some(cells) = &row.write else { continue };
            let is_add = |cell: &RowCell<'_>| matches!(cell, RowCell::Add(_));
            let of_row = cells.iter().map(|(at, cell)| (*at, is_add(cell)));
            if !shape.iter().copied().eq(of_row.clone()) {
                writes.add(shape, alike);
                (shape, alike) = (of_row.collect(), Vec::new());
            }
            alike.push(*row);
        }
        writes.add(shape, alike);
        writes
    }

    fn add(&mut self, shape: ColumnSet, mut rows: Vec<&'a Row<'a>>) {
        if !rows.is_empty() {
            self.by_shape.entry(shape).or_default().append(&mut rows);
        }
    }

    /// The statements, each of at most `rows_max` rows.
    pub(crate) fn statements(
        &self,
        table: &Table,
        rows_max: usize,
    ) -> impl Iterator<Item = WriteStatement<'_>> {
        let size = rows_max.max(1);
        // A row that is deleted and written again starts from nothing: the delete comes first.
        let deletes = self.deletes.chunks(size);
        let delete = |rows| WriteStatement { kind: WriteKind::Delete, shape: &[], rows };
        let writes = self.by_shape.iter().flat_map(move |(shape, rows)| {
            let first = updates_first(table, shape);
            let kind = if first { WriteKind::UpdateThenInsert } else { WriteKind::Upsert };
            rows.chunks(size).map(move |rows| WriteStatement { kind, shape, rows })
        });
        deletes.map(delete).chain(writes)
    }
}

impl WriteStatement<'_> {
    /// How many rows the statement left out because the table has newer versions of them, given
    /// that it wrote `written` rows.
    pub(crate) fn left_out(&self, table: &Table, written: u64) -> u64 {
        match self.kind {
            WriteKind::Upsert | WriteKind::UpdateThenInsert if table.version.is_some() => {
                (self.rows.len() as u64).saturating_sub(written)
            }
            _ => 0,
        }
    }
}

/// Whether rows of this shape must be updated where they exist before any are inserted.
///
/// A database checks NOT NULL and CHECK on the row to insert before it checks whether the row
/// exists. So it would refuse a partial update, or an increment of -1 under `CHECK (stock >= 0)`,
/// although the existing row would be fine. The same holds for an older version, which must be left
/// out rather than refused.
fn updates_first(table: &Table, shape: &[(usize, bool)]) -> bool {
    let named = |at: usize| shape.iter().any(|(place, _)| *place == at);
    let lacks_a_required = table
        .columns
        .iter()
        .enumerate()
        .any(|(at, column)| column.required && !table.is_key(&column.name) && !named(at));
    table.update_before_insert || table.version.is_some() || lacks_a_required
}

#[cfg(test)]
#[path = "tests/writes.rs"]
mod tests;
