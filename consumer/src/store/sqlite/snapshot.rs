//! SQLite's snapshot: a read transaction, which in the write-ahead journal holds up no writer.

use sqlx::AssertSqlSafe;
use write_behind_shared::key::{KeyColumn, KeyKind};
use write_behind_shared::table_name::quoted;

use crate::core::table::Table;
use crate::core::table::row::Row;
use crate::store::StoreError;
use crate::store::classify::Failure;
use crate::store::snapshot::{Compared, Snapshot, compared, keys_of};
use crate::store::sql::next_keys;
use crate::store::sqlite::{SqliteStore, json_of, sql};

/// The first read takes the snapshot.
const FREEZE: &str = "BEGIN; SELECT count(*) FROM write_behind_offsets";

impl Snapshot for SqliteStore {
    async fn begin_snapshot(&mut self) -> Result<(), StoreError> {
        self.run(FREEZE).await.map_err(Failure::of_no_row)
    }

    async fn compare(
        &mut self,
        table: &Table,
        shape: &[usize],
        rows: &[&Row<'_>],
    ) -> Result<Vec<Compared>, StoreError> {
        let sql = sql::compare(table, shape);
        let rows = json_of(rows, true)?;
        let query = sqlx::query(AssertSqlSafe(sql)).bind(rows);
        let found = self.fetch(query).await.map_err(Failure::of_no_row)?;
        compared(&found, shape.len())
    }

    async fn keys(
        &mut self,
        table: &Table,
        after: Option<&[String]>,
        limit: usize,
    ) -> Result<Vec<Vec<String>>, StoreError> {
        let names: Vec<String> = table.key.iter().map(|key| quoted(&key.name)).collect();
        let typed = table.key.iter().enumerate().map(|(at, key)| match key.kind {
            KeyKind::Integer(_) => format!("CAST(${} AS INTEGER)", at + 1),
            KeyKind::Boolean => format!("(${} = 'true')", at + 1),
            KeyKind::Text | KeyKind::Uuid | KeyKind::Date => format!("${}", at + 1),
        });
        let behind = format!("({}) > ({})", names.join(", "), typed.collect::<Vec<_>>().join(", "));
        let text = |key: &KeyColumn, name: &str| match key.kind {
            KeyKind::Boolean => format!("iif({name}, 'true', 'false')"),
            _ => format!("CAST({name} AS TEXT)"),
        };
        let sql = next_keys(table, text, after.map(|_| behind), limit);
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for text in after.unwrap_or_default() {
            query = query.bind(text.clone());
        }
        let rows = self.fetch(query).await.map_err(Failure::of_no_row)?;
        keys_of(&rows)
    }

    async fn end_snapshot(&mut self) -> Result<(), StoreError> {
        self.run("ROLLBACK").await.map_err(Failure::of_no_row)
    }
}
