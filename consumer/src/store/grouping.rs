//! Rows grouped into statements: all rows of one statement write the same columns in the same way.
//!
//! Takes rows sorted by key and keeps that order within a group, so that two transactions that
//! meet lock their rows in the same order.

use std::collections::BTreeMap;

use write_behind_shared::table_name::quoted;

use crate::core::table::Table;
use crate::core::table::row::{Row, RowCell};

/// Which columns a row writes, by their place in the table, and whether each is added to.
pub(crate) type ColumnSet = Vec<(usize, bool)>;

/// The statements that write some rows.
#[derive(Debug)]
pub(crate) struct Groups<'a> {
    /// The rows to delete first.
    pub(crate) deletes: Vec<&'a Row<'a>>,
    /// The rows to write then, by shape.
    pub(crate) writes: BTreeMap<ColumnSet, Vec<&'a Row<'a>>>,
}

impl<'a> Groups<'a> {
    /// Groups `rows`.
    pub(crate) fn of(rows: impl Iterator<Item = &'a Row<'a>>) -> Self {
        let mut groups = Self { deletes: Vec::new(), writes: BTreeMap::new() };
        // Most rows have the shape of the one before, which is compared more quickly than looked up.
        let (mut shape, mut alike) = (ColumnSet::new(), Vec::new());
        for row in rows {
            if row.delete {
                groups.deletes.push(row);
            }
            let Some(cells) = &row.write else { continue };
            let is_add = |cell: &RowCell<'_>| matches!(cell, RowCell::Add(_));
            let of_row = cells.iter().map(|(at, cell)| (*at, is_add(cell)));
            if !shape.iter().copied().eq(of_row.clone()) {
                groups.add(shape, alike);
                (shape, alike) = (of_row.collect(), Vec::new());
            }
            alike.push(row);
        }
        groups.add(shape, alike);
        groups
    }

    fn add(&mut self, shape: ColumnSet, mut rows: Vec<&'a Row<'a>>) {
        if !rows.is_empty() {
            self.writes.entry(shape).or_default().append(&mut rows);
        }
    }
}

/// Whether rows of this shape must be updated where they exist before any is inserted.
///
/// A database checks NOT NULL and CHECK on the row it would insert before it checks whether that row
/// is there. So a partial update, or an increment of -1 under `CHECK (stock >= 0)`, would be refused
/// although the row it is meant for is there and would be fine. The same goes for a row of an older
/// version, which is to be left out and not to be refused.
pub(crate) fn updates_first(table: &Table, shape: &[(usize, bool)]) -> bool {
    let named = |at: usize| shape.iter().any(|(place, _)| *place == at);
    let lacks_a_required = table
        .columns
        .iter()
        .enumerate()
        .any(|(at, column)| column.required && !table.is_key(&column.name) && !named(at));
    table.update_before_insert || table.version.is_some() || lacks_a_required
}

/// The quoted name of the column that holds the rows' versions, where the route has one.
pub(crate) fn version(table: &Table) -> Option<String> {
    table.version.map(|place| quoted(&table.columns[place].name))
}

/// How many of `rows` were left out by statements that wrote so many of them.
pub(crate) fn left_out(table: &Table, rows: &[&Row<'_>], written: u64) -> u64 {
    if table.version.is_some() { (rows.len() as u64).saturating_sub(written) } else { 0 }
}

/// The places in the table of a statement's columns: the key's, then the shape's.
pub(crate) fn places(
    table: &Table,
    shape: &[(usize, bool)],
) -> impl Iterator<Item = (usize, bool)> {
    let key = table.key.iter().filter_map(|key| table.column(&key.name));
    key.map(|at| (at, false)).chain(shape.iter().copied())
}
