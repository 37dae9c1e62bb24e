//! The loader of a SQLite table.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};
use write_behind_shared::sqlite_type::SqliteType;
use write_behind_shared::table_name::Name;

use crate::error::LoadError;
use crate::load::sqlite_row::object;
use crate::load::sqlite_sql::{DEAD_LETTERS, catalog, select};
use crate::load::table::{
    DeadLetterRow, TableDatabase, TableLoader, failed, loaded, no_connection,
};
use crate::load::table_plan::{KeyTexts, TableCatalog, TablePlan};
use crate::load::{Loaded, LogRange, Source};

/// Reads rows from a table in SQLite, together with what the consumer has noted of their
/// partitions: one statement is one snapshot, so its answers are exact ([`Loaded::at`]).
///
/// `SqliteLoader::table(pool, "scores")` is all it takes; see [`Builder::loader`]. The consumer's
/// bookkeeping tables must be in the same database when the handle is built.
///
/// SQLite's types are advice, so a value comes as it is stored, in the JSON form that the declared
/// type has in records: true or false for `BOOLEAN`, documents for `JSON`, base64 for blobs, text
/// for everything else that is no number. Decimals that are no integers are floats in SQLite.
///
/// [`Builder::loader`]: crate::Builder::loader
pub type SqliteLoader = TableLoader<SqlitePool>;

impl TableDatabase for SqlitePool {
    type Form = SqliteType;

    const LOADER: &'static str = "SqliteLoader";

    async fn catalog(&self, table: &str) -> Result<Option<TableCatalog<SqliteType>>, LoadError> {
        let mut connection = self.acquire().await.map_err(|error| no_connection(&error))?;
        let name = Name::parse(table).map_err(LoadError::new)?;
        if name.schema.as_deref().is_some_and(|schema| schema != "main") {
            let error = format!("SQLite has no schema as in {table}: write the table's name alone");
            return Err(LoadError::new(error));
        }
        catalog(&mut connection, &name.table).await.map_err(LoadError::new)
    }

    fn select(plan: &TablePlan<SqliteType>) -> String {
        select(plan)
    }

    async fn rows(
        &self,
        plan: &TablePlan<SqliteType>,
        keys: KeyTexts,
    ) -> Result<Vec<Loaded>, LoadError> {
        let keys = keys.partitions.iter().enumerate().map(|(at, partition)| {
            let texts = keys.texts.iter().map(|column| json!(column[at]));
            std::iter::once(json!(partition)).chain(texts).collect::<Value>()
        });
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&plan.select)))
            .bind(&plan.source.sink_group)
            .bind(&plan.source.cluster)
            .bind(&plan.source.topic)
            .bind(keys.collect::<Value>().to_string())
            .fetch_all(self)
            .await
            .map_err(failed::<Self>)?;
        let row = |row: &SqliteRow| {
            let next = row.try_get(0).map_err(LoadError::new)?;
            let is_there: bool = row.try_get(1).map_err(LoadError::new)?;
            let object = if is_there { Some(object(row, &plan.columns)?) } else { None };
            loaded(next, object.as_deref())
        };
        rows.iter().map(row).collect()
    }

    async fn dead_letters(
        &self,
        source: &Source,
        ranges: &[LogRange],
    ) -> Result<Vec<DeadLetterRow>, sqlx::Error> {
        let ranges =
            ranges.iter().map(|range| json!([range.partition.0, range.from.0, range.to.0]));
        sqlx::query_as(DEAD_LETTERS)
            .bind(&source.sink_group)
            .bind(&source.cluster)
            .bind(&source.topic)
            .bind(ranges.collect::<Value>().to_string())
            .fetch_all(self)
            .await
    }

    fn has_no_bookkeeping(error: &dyn DatabaseError) -> bool {
        error.message().starts_with("no such table: write_behind_")
    }
}
