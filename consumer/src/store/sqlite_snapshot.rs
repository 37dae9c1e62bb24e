//! SQLite as of one moment: a read transaction, which in the write-ahead journal holds up no writer.

use sqlx::{AssertSqlSafe, Row as _};
use write_behind_shared::key::KeyKind;
use write_behind_shared::table_name::quoted;
use write_behind_shared::{Offset, Partition};

use super::classify::{self, Failure};
use super::snapshot::{Compared, Snapshot};
use super::sqlite::{SqliteStore, json_of};
use super::{Scope, StoreError, bookkeeping, sqlite_sql};
use crate::apply::row::Row;
use crate::apply::table::Table;

/// The moment begins with the first read.
const FREEZE: &str = "BEGIN; SELECT count(*) FROM write_behind_offsets";

impl Snapshot for SqliteStore {
    async fn freeze(&mut self) -> Result<(), StoreError> {
        self.run(FREEZE).await.map_err(Failure::of_no_row)
    }

    async fn set_aside_of(
        &mut self,
        scope: &Scope,
    ) -> Result<Vec<(Partition, Offset)>, StoreError> {
        let query = sqlx::query(bookkeeping::SET_ASIDE_OF)
            .bind(&*scope.pipeline)
            .bind(&*scope.cluster)
            .bind(&*scope.topic);
        let rows = self.fetch(query).await.map_err(Failure::of_no_row)?;
        let place = |row: &sqlx::sqlite::SqliteRow| {
            Ok((Partition(row.try_get("partition")?), Offset(row.try_get("record_offset")?)))
        };
        rows.iter().map(place).collect::<Result<_, _>>().map_err(failed)
    }

    async fn compare(
        &mut self,
        table: &Table,
        shape: &[usize],
        rows: &[&Row],
    ) -> Result<Vec<Compared>, StoreError> {
        let sql = sqlite_sql::compare(table, shape);
        let rows = json_of(rows, true).map_err(Failure::of_no_row)?;
        let query = sqlx::query(AssertSqlSafe(sql)).bind(rows);
        let found = self.fetch(query).await.map_err(Failure::of_no_row)?;
        let compared = |row: &sqlx::sqlite::SqliteRow| {
            let at: i64 = row.try_get(0)?;
            let mut differs = Vec::new();
            for place in 0..shape.len() {
                if row.try_get::<bool, _>(2 + 3 * place)? {
                    let (expected, there) = (3 + 3 * place, 4 + 3 * place);
                    differs.push((place, row.try_get(expected)?, row.try_get(there)?));
                }
            }
            Ok(Compared { at: at as usize, missing: row.try_get(1)?, differs })
        };
        found.iter().map(compared).collect::<Result<_, _>>().map_err(failed)
    }

    async fn keys(
        &mut self,
        table: &Table,
        after: Option<&[String]>,
        limit: usize,
    ) -> Result<Vec<Vec<String>>, StoreError> {
        let names: Vec<String> = table.key.iter().map(|key| quoted(&key.name)).collect();
        let texts = table.key.iter().zip(&names).map(|(key, name)| match key.kind {
            KeyKind::Boolean => format!("iif({name}, 'true', 'false')"),
            _ => format!("CAST({name} AS TEXT)"),
        });
        let typed = table.key.iter().enumerate().map(|(at, key)| match key.kind {
            KeyKind::Integer(_) => format!("CAST(${} AS INTEGER)", at + 1),
            KeyKind::Boolean => format!("(${} = 'true')", at + 1),
            KeyKind::Text | KeyKind::Uuid | KeyKind::Date => format!("${}", at + 1),
        });
        let (list, typed) = (names.join(", "), typed.collect::<Vec<_>>().join(", "));
        let after_it = after.map(|_| format!("WHERE ({list}) > ({typed})")).unwrap_or_default();
        let sql = format!(
            "SELECT {} FROM {} {after_it} ORDER BY {list} LIMIT {limit}",
            texts.collect::<Vec<_>>().join(", "),
            table.sql_name,
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for text in after.unwrap_or_default() {
            query = query.bind(text.clone());
        }
        let rows = self.fetch(query).await.map_err(Failure::of_no_row)?;
        let key = |row: &sqlx::sqlite::SqliteRow| {
            (0..row.len()).map(|at| row.try_get(at)).collect::<Result<Vec<String>, _>>()
        };
        rows.iter().map(key).collect::<Result<_, _>>().map_err(failed)
    }

    async fn thaw(&mut self) -> Result<(), StoreError> {
        self.run("ROLLBACK").await.map_err(Failure::of_no_row)
    }
}

fn failed(error: sqlx::Error) -> StoreError {
    classify::failure(error, classify::sqlite).of_no_row()
}
