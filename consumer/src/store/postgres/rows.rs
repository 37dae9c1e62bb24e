//! The rows of a Postgres statement: an array for each column.

use crate::core::table::row::Row;
use crate::core::table::{ColumnKind, Table};
use crate::store::StoreError;
use crate::store::sql::places;

/// One column of the rows.
pub(super) enum Array<'a> {
    /// Of an integer column.
    Integers(Vec<Option<i64>>),
    /// Of any other.
    Texts(Vec<Option<&'a str>>),
}

/// The arrays of rows that are all of `shape`: the key's, then the shape's.
///
/// Filled row by row, since a row's values lie together in memory.
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
    /// Texts of integer columns have been judged to be integers. One that is not must be an error:
    /// a NULL in its place would lose the value.
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
