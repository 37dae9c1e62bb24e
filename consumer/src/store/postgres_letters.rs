//! How Postgres performs the statements on dead letters.

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{AssertSqlSafe, Postgres, Row as _};

use super::classify::Failure;
use super::postgres::{PostgresStore, failed};
use super::statement::{Dialect, Kind, Statement, Statements, Value};

const DIALECT: Dialect = Dialect {
    numbered: true,
    failed_at: "CAST(floor(extract(epoch FROM failed_at)) AS bigint)",
    find: "strpos",
    headers: "headers::text",
};

impl Statements for PostgresStore {
    fn dialect(&self) -> Dialect {
        DIALECT
    }

    async fn perform(&mut self, statement: Statement) -> Result<u64, Failure> {
        let query = bound(statement);
        let done = self.answered(async |connection| query.execute(connection).await).await?;
        Ok(done.rows_affected())
    }

    async fn select(&mut self, statement: Statement) -> Result<Vec<Vec<Value>>, Failure> {
        let columns = statement.columns;
        let query = bound(statement);
        let rows = self.answered(async |connection| query.fetch_all(connection).await).await?;
        let values = |row: &PgRow| {
            let places = columns.iter().enumerate();
            places.map(|(at, kind)| value(row, at, *kind)).collect::<Result<_, _>>()
        };
        rows.iter().map(values).collect::<Result<_, _>>().map_err(failed)
    }
}

fn bound(statement: Statement) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    let query = sqlx::query(AssertSqlSafe(statement.text));
    statement.values.into_iter().fold(query, |query, value| match value {
        Value::Integer(integer) => query.bind(integer),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

fn value(row: &PgRow, at: usize, kind: Kind) -> Result<Value, sqlx::Error> {
    Ok(match kind {
        // Partitions are of a narrower type.
        Kind::Integer => Value::Integer(
            row.try_get::<i64, _>(at).or_else(|_| row.try_get::<i32, _>(at).map(i64::from))?,
        ),
        Kind::Text => Value::Text(row.try_get(at)?),
        Kind::Bytes => Value::Bytes(row.try_get(at)?),
    })
}
