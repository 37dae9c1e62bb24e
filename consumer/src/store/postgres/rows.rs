//! The rows of a Postgres statement: an array for each column.

use crate::core::record::DeadLetter;
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

/// The most letters in a statement, and bytes of their records: a message has a limit of 1 GiB.
const LETTERS_MAX: usize = 500;
const LETTER_BYTES_MAX: usize = 128 << 20;

/// Letters in parts, each small enough for a statement; a letter that is larger stands alone.
pub(super) fn parts<'a, 'l>(
    mut letters: &'a [&'l DeadLetter],
) -> impl Iterator<Item = &'a [&'l DeadLetter]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |letter: &&&DeadLetter| {
            let (record, len) =
                (&letter.record, |bytes: &Option<Box<[u8]>>| bytes.as_ref().map_or(0, |b| b.len()));
            bytes += len(&record.key) + len(&record.value);
            bytes += record.headers.iter().map(|(_, value)| len(value)).sum::<usize>();
            bytes <= LETTER_BYTES_MAX
        };
        let count = letters.iter().take(LETTERS_MAX).take_while(fits).count().max(1);
        let part;
        (part, letters) = letters.split_at_checked(count)?;
        Some(part)
    })
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

#[cfg(test)]
mod tests {
    use write_behind_shared::{Offset, Partition};

    use super::*;
    use crate::core::record::RawRecord;

    #[test]
    fn letters_are_stored_in_parts_that_fit_a_message() {
        let letter = |bytes: usize| {
            let value = Some(vec![b'x'; bytes].into());
            let (partition, offset) = (Partition(0), Offset(0));
            let record = RawRecord { partition, offset, key: None, value, headers: Vec::new() };
            DeadLetter { record, reason: String::new(), sqlstate: None }
        };
        let (small, large) = (letter(10), letter(50 << 20));
        let sizes = |letters: &[&DeadLetter]| parts(letters).map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(&[]), [0; 0]);
        assert_eq!(sizes(&vec![&small; 1_001]), [500, 500, 1]);
        assert_eq!(sizes(&[&small, &large, &large, &large]), [3, 1]);
        let huge = letter(200 << 20);
        assert_eq!(sizes(&[&huge, &huge, &small]), [1, 1, 1], "nothing is left out");
    }
}
