//! The statements that write a set of rows, in order: deletes first, then one group per set of
//! columns.
//!
//! Rows arrive sorted by key and stay sorted within a statement, so that two transactions on the
//! same rows lock them in the same order. Only rows of a table that refers to itself are ordered
//! by that: parents first.

use std::collections::{BTreeMap, HashSet};

use crate::core::parents_first::{Groups, parents_first};
use crate::core::table::row::{Row, RowCell};
use crate::core::table::{Column, Table};

/// The columns that a row writes, by index, and whether each is an increment.
pub(crate) type ColumnSet = Vec<(usize, bool)>;

/// Rows grouped by statement: all rows of one statement write the same columns in the same way.
#[derive(Debug)]
pub(crate) struct Writes<'a> {
    deletes: Vec<&'a Row<'a>>,
    written: Groups<'a, ColumnSet>,
}

/// One statement.
#[derive(Clone, Copy, Debug)]
pub struct WriteStatement<'w> {
    /// What the statement does.
    pub kind: WriteKind,
    /// The columns that it writes, key columns excluded.
    pub shape: &'w [(usize, bool)],
    /// Its rows.
    pub rows: &'w [&'w Row<'w>],
}

/// What a statement does with its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// Deletes the rows.
    Delete,
    /// Inserts the rows, or updates those that exist.
    Upsert,
    /// Updates the rows that exist, then inserts the others.
    UpdateThenInsert,
}

impl<'a> Writes<'a> {
    /// Groups `rows` of `table` by statement. No statement writes a row twice.
    pub(crate) fn of(table: &Table, rows: &[&'a Row<'a>]) -> Self {
        let (mut deletes, mut by_shape) = (Vec::new(), BTreeMap::new());
        let (mut before, mut again) = (None, Vec::new());
        // Most rows have the shape of the row before, and a comparison is cheaper than a lookup.
        let (mut shape, mut alike) = (ColumnSet::new(), Vec::new());
        for row in rows {
            // A batch may have records of one row from two partitions, and folds each by itself. In
            // one statement an UPDATE would apply only one of the two, without a word.
            if before == Some(&row.key) {
                again.push(*row);
                continue;
            }
            before = Some(&row.key);
            if row.delete {
                deletes.push(*row);
            }
            let Some(cells) = &row.write else { continue };
            let is_add = |cell: &RowCell<'_>| matches!(cell, RowCell::Add(_));
            let of_row = cells.iter().map(|(at, cell)| (*at, is_add(cell)));
            if !shape.iter().copied().eq(of_row.clone()) {
                add(&mut by_shape, shape, alike);
                (shape, alike) = (of_row.collect(), Vec::new());
            }
            alike.push(*row);
        }
        add(&mut by_shape, shape, alike);
        let mut written: Groups<'_, _> = by_shape.into_iter().collect();
        if !table.own_references.is_empty() {
            written = parents_first(table, &written);
        }
        if !again.is_empty() {
            let mut again = Self::of(table, &again);
            deletes.append(&mut again.deletes);
            written.append(&mut again.written);
        }
        Self { deletes, written }
    }

    /// The statements, each of at most `rows_max` rows.
    ///
    /// `updates_all`: rows that exist are updated whatever the table is. So a check on inserts that
    /// the catalogue does not show cannot refuse a row.
    pub(crate) fn statements(
        &self,
        table: &Table,
        rows_max: usize,
        updates_all: bool,
    ) -> impl Iterator<Item = WriteStatement<'_>> {
        let size = rows_max.max(1);
        // A row that is deleted and written again starts from nothing: the delete comes first.
        let deletes = self.deletes.chunks(size);
        let delete = |rows| WriteStatement { kind: WriteKind::Delete, shape: &[], rows };
        let writes = self.written.iter().flat_map(move |(shape, rows)| {
            let first = updates_all || updates_first(table, shape);
            let kind = if first { WriteKind::UpdateThenInsert } else { WriteKind::Upsert };
            rows.chunks(size).map(move |rows| WriteStatement { kind, shape, rows })
        });
        deletes.map(delete).chain(writes)
    }
}

fn add<'a>(
    by_shape: &mut BTreeMap<ColumnSet, Vec<&'a Row<'a>>>,
    shape: ColumnSet,
    mut rows: Vec<&'a Row<'a>>,
) {
    if !rows.is_empty() {
        by_shape.entry(shape).or_default().append(&mut rows);
    }
}

/// Cuts rows in log order into runs that may be written together and end as one by one: no row is
/// in a run twice, and deletes and writes are in runs of their own. By their places.
pub(crate) fn runs(rows: &[&Row<'_>]) -> Vec<Vec<usize>> {
    let (mut runs, mut keys) = (Vec::<Vec<usize>>::new(), HashSet::new());
    for (at, row) in rows.iter().enumerate() {
        let run = runs.last_mut().filter(|_| rows[at - 1].delete == row.delete);
        let run = run.filter(|_| keys.insert(&row.key) && !(row.delete && row.write.is_some()));
        if let Some(run) = run {
            run.push(at);
        } else {
            runs.push(vec![at]);
            keys = HashSet::from([&row.key]);
        }
    }
    runs
}

/// The rows that are in the table, as `there` says by their places, and those that are not.
pub(crate) fn old_and_new<'r, 'v>(
    rows: &[&'r Row<'v>],
    there: &[bool],
) -> (Vec<&'r Row<'v>>, Vec<&'r Row<'v>>) {
    let (mut old, mut new) = (Vec::new(), Vec::new());
    for (row, is_there) in rows.iter().zip(there) {
        if *is_there { old.push(*row) } else { new.push(*row) }
    }
    (old, new)
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

    /// Whether a row of the statement is written now, given that the database counted `written`. A
    /// delete proves nothing, nor do a row that was left out and one that exists and gets no column.
    pub(crate) fn has_written(&self, table: &Table, written: u64) -> bool {
        match self.kind {
            WriteKind::Delete => false,
            WriteKind::Upsert | WriteKind::UpdateThenInsert => {
                written > 0 || (!self.shape.is_empty() && table.version.is_none())
            }
        }
    }
}

/// Whether rows of this shape must be updated where they exist before any are inserted.
///
/// A database judges the row to insert, and lets triggers change it, before it looks whether the
/// row exists. So a plain upsert would refuse a partial update, or an increment of -1 under
/// `CHECK (stock >= 0)`, although the existing row would be fine; would add what a trigger made of
/// the increment; and would take a number of a sequence for each update. The same holds for an
/// older version, which must be left out rather than refused.
///
/// Where nothing can see the proposed row, one statement does both, which is faster.
fn updates_first(table: &Table, shape: &[(usize, bool)]) -> bool {
    let named = |at: usize| shape.iter().any(|(place, _)| *place == at);
    let unnamed = |(at, column): &(usize, &Column)| !table.is_key(&column.name) && !named(*at);
    let mut unnamed = table.columns.iter().enumerate().filter(unnamed);
    table.update_before_insert
        || table.version.is_some()
        || unnamed.any(|(_, column)| column.must_be_named())
}

#[cfg(test)]
#[path = "tests/writes.rs"]
mod tests;
