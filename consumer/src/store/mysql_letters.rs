//! How MySQL performs the statements on dead letters.

use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::{AssertSqlSafe, MySql, Row as _};

use super::classify::Failure;
use super::mysql::{MysqlStore, failed};
use super::statement::{Dialect, Kind, Statement, Statements, Value};

const DIALECT: Dialect = Dialect {
    numbered: false,
    failed_at: "CAST(floor(unix_timestamp(failed_at)) AS signed)",
    find: "instr",
    headers: "CAST(headers AS char)",
};

impl Statements for MysqlStore {
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
        let values = |row: &MySqlRow| {
            let places = columns.iter().enumerate();
            places.map(|(at, kind)| value(row, at, *kind)).collect::<Result<_, _>>()
        };
        rows.iter().map(values).collect::<Result<_, _>>().map_err(failed)
    }
}

fn bound(statement: Statement) -> sqlx::query::Query<'static, MySql, MySqlArguments> {
    let query = sqlx::query(AssertSqlSafe(statement.text));
    statement.values.into_iter().fold(query, |query, value| match value {
        Value::Integer(integer) => query.bind(integer),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

fn value(row: &MySqlRow, at: usize, kind: Kind) -> Result<Value, sqlx::Error> {
    Ok(match kind {
        Kind::Integer => Value::Integer(row.try_get(at)?),
        Kind::Text => Value::Text(row.try_get(at)?),
        Kind::Bytes => Value::Bytes(row.try_get(at)?),
    })
}
