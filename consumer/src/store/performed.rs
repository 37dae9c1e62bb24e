//! A statement on the bookkeeping tables as a driver's query, and a driver's rows as values.

use sqlx::query::Query;
use sqlx::{
    AssertSqlSafe, ColumnIndex, Database, Decode, Encode, IntoArguments, Row, SqlSafeStr, Type,
};

use crate::core::bookkeeping_key::BookkeepingKey;
use crate::store::statement::{Statement, Value, ValueKind};

/// A value that every database's driver can read.
pub(crate) trait Readable<'r, D: Database>: Decode<'r, D> + Type<D> {}
impl<'r, D: Database, T: Decode<'r, D> + Type<D>> Readable<'r, D> for T {}

/// The statement as a driver's query.
pub(super) fn bound<D: Database>(statement: Statement) -> Query<'static, D, D::Arguments>
where
    D::Arguments: IntoArguments<D>,
    for<'q> i64: Encode<'q, D> + Type<D>,
    for<'q> Option<String>: Encode<'q, D> + Type<D>,
    for<'q> Option<Vec<u8>>: Encode<'q, D> + Type<D>,
{
    let query = sqlx::query(AssertSqlSafe(statement.text));
    statement.values.into_iter().fold(query, |query, value| match value {
        Value::Integer(integer) => query.bind(integer),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

/// A query on the bookkeeping tables. Its first three parameters are the pipeline, cluster and
/// topic.
pub(super) fn scoped<D: Database>(
    sql: impl SqlSafeStr,
    scope: &BookkeepingKey,
) -> Query<'static, D, D::Arguments>
where
    D::Arguments: IntoArguments<D>,
    for<'q> &'q str: Encode<'q, D> + Type<D>,
{
    sqlx::query(sql).bind(&*scope.pipeline).bind(&*scope.cluster).bind(&*scope.topic)
}

/// A driver's rows as values of these kinds.
pub(super) fn values_of<'r, R: Row>(
    rows: &'r [R],
    columns: &[ValueKind],
) -> Result<Vec<Vec<Value>>, sqlx::Error>
where
    usize: ColumnIndex<R>,
    i32: Readable<'r, R::Database>,
    i64: Readable<'r, R::Database>,
    Option<String>: Readable<'r, R::Database>,
    Option<Vec<u8>>: Readable<'r, R::Database>,
{
    let value = |row: &'r R, at: usize, kind: ValueKind| {
        Ok(match kind {
            // Partitions are of a narrower type.
            ValueKind::Integer => Value::Integer(
                row.try_get::<i64, _>(at).or_else(|_| row.try_get::<i32, _>(at).map(i64::from))?,
            ),
            ValueKind::Text => Value::Text(row.try_get(at)?),
            ValueKind::Bytes => Value::Bytes(row.try_get(at)?),
        })
    };
    let values = |row| columns.iter().enumerate().map(|(at, kind)| value(row, at, *kind)).collect();
    rows.iter().map(values).collect()
}
