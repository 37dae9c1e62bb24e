//! The rows of a statement for Postgres: takes rows of one shape, gives an array a column.

use crate::core::table::row::Row;
use crate::core::table::{ColumnKind, Table};
use crate::store::StoreError;
use crate::store::sql::places;

/// One column of some rows.
pub(super) enum Array<'a> {
    /// Of an integer column.
    Integers(Vec<Option<i64>>),
    /// Of any other.
    Texts(Vec<Option<&'a str>>),
}

/// The arrays of rows that are all of `shape`: the key's, then the shape's.
///
/// They are filled row by row, since what belongs to one row lies together in memory.
pub(super) fn arrays<'a>(
    table: &Table,
    shape: &[(usize, bool)],
    rows: &'a [&'a Row<'_>],
) -> Result<Vec<Array<'a>>, StoreError> {
    let mut arrays: Vec<Array<'_>> = places(table, shape)
        .map(|(place, _)| match table.columns[place].kind {
            ColumnKind::Integer(_) => Array::Integers(Vec::with_capacity(rows.len())),
            _ => Array::Texts(Vec::with_capacity(rows.len())),
        })
        .collect();
    for row in rows {
        for (array, text) in arrays.iter_mut().zip(row.texts()) {
            array.push(text)?;
        }
    }
    Ok(arrays)
}

impl<'a> Array<'a> {
    /// Texts of integer columns were judged to be integers. A NULL in place of one that is not
    /// would be a lost value.
    fn push(&mut self, text: Option<&'a str>) -> Result<(), StoreError> {
        match self {
            Array::Texts(texts) => texts.push(text),
            Array::Integers(integers) => {
                integers.push(text.map(str::parse).transpose().map_err(|error| {
                    StoreError::Stop(format!("an integer column's text: {error}"))
                })?);
            }
        }
        Ok(())
    }
}
