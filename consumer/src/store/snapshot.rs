//! The database as of one moment, while others write: takes rows as the log has them, gives those that
//! differ, and the keys that there are.
//!
//! Values are compared by the database itself, after it has cast what is expected to the column's type:
//! `1.0` is `1.00`, and the members of a `jsonb` have no order.

use sqlx::ColumnIndex;

use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::store::StoreError;
use crate::store::performed::Readable;

/// A row that is not as it is expected to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Its place among the rows that were given.
    pub at: usize,
    /// Whether it is missing.
    pub missing: bool,
    /// The columns that differ, by their place in the shape: what is expected and what is there.
    pub differs: Vec<(usize, Option<String>, Option<String>)>,
}

/// A database that can be looked at as of one moment.
pub trait Snapshot: Send {
    /// Begins the moment: whatever is asked until [`Snapshot::end_snapshot`] is answered as of now. Writers are
    /// not held up.
    fn begin_snapshot(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Which of `rows` are missing or hold something else in the columns of `shape`, by their place in
    /// the table. Each row sets these columns; an empty shape asks only whether the row is there.
    fn compare(
        &mut self,
        table: &Table,
        shape: &[usize],
        rows: &[&Row<'_>],
    ) -> impl Future<Output = Result<Vec<Compared>, StoreError>> + Send;

    /// The next so many keys of the table, after that one, in an order of the database's own.
    fn keys(
        &mut self,
        table: &Table,
        after: Option<&[String]>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Vec<String>>, StoreError>> + Send;

    /// Ends the moment.
    fn end_snapshot(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What a row of an answer says of one that differs: its place, whether it is missing, then for each
/// column of the shape whether it differs, what it is to be and what it is.
pub(super) fn compared<'r, R: sqlx::Row>(
    rows: &'r [R],
    columns: usize,
) -> Result<Vec<Compared>, StoreError>
where
    usize: ColumnIndex<R>,
    bool: Readable<'r, R::Database>,
    i64: Readable<'r, R::Database>,
    Option<String>: Readable<'r, R::Database>,
{
    let compared = |row: &'r R| {
        let at: i64 = row.try_get(0)?;
        let mut differs = Vec::new();
        for place in 0..columns {
            if row.try_get::<bool, _>(2 + 3 * place)? {
                let (expected, there) = (3 + 3 * place, 4 + 3 * place);
                differs.push((place, row.try_get(expected)?, row.try_get(there)?));
            }
        }
        Ok(Compared { at: at as usize, missing: row.try_get(1)?, differs })
    };
    rows.iter().map(compared).collect()
}

/// The keys of such an answer.
pub(super) fn keys_of<'r, R: sqlx::Row>(rows: &'r [R]) -> Result<Vec<Vec<String>>, StoreError>
where
    usize: ColumnIndex<R>,
    String: Readable<'r, R::Database>,
{
    let key = |row: &'r R| (0..row.len()).map(|at| row.try_get(at)).collect();
    Ok(rows.iter().map(key).collect::<Result<_, sqlx::Error>>()?)
}
