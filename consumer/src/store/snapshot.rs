//! Snapshot of the target table while others write: which expected rows differ from it, and which
//! keys it has.
//!
//! The database itself compares the values, after it has cast the expected one to the column's
//! type: `1.0` equals `1.00`, and the members of a `jsonb` have no order.

use sqlx::ColumnIndex;

use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::store::StoreError;
use crate::store::performed::Readable;

/// A row that differs from the expected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Its place among the rows that were given.
    pub at: usize,
    /// Whether it is missing.
    pub missing: bool,
    /// The columns that differ, by their place in the shape: what is expected and what is there.
    pub differs: Vec<(usize, Option<String>, Option<String>)>,
}

/// A session that can read a snapshot.
pub trait Snapshot: Send {
    /// Begins a snapshot: until [`Snapshot::end_snapshot`] every answer is as of now. Writers do
    /// not wait for it.
    fn begin_snapshot(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Those of `rows` that are missing, or differ in the columns of `shape` (places in the table).
    /// Each row sets these columns; an empty shape asks only whether the row exists.
    fn compare(
        &mut self,
        table: &Table,
        shape: &[usize],
        rows: &[&Row<'_>],
    ) -> impl Future<Output = Result<Vec<Compared>, StoreError>> + Send;

    /// The next `limit` keys of the table after `after`, in the database's order.
    fn keys(
        &mut self,
        table: &Table,
        after: Option<&[String]>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Vec<String>>, StoreError>> + Send;

    /// Ends the snapshot.
    fn end_snapshot(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The rows that differ, from an answer's: the row's place, whether it is missing, then for each
/// column of the shape whether it differs, its expected value and its value.
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
