//! Rows from a SQLite table: takes keys, gives each row with the offset that its partition stands
//! at, out of one snapshot.

use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde_json::json;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::error::LoadError;
use crate::load::sqlite_row::{SqliteColumn, object};
use crate::load::sqlite_sql::{DEAD_LETTERS, plan};
use crate::load::table::{
    NO_BOOKKEEPING, NOT_PREPARED, PREPARED_TWICE, TableOptions, TablePlan, write_id,
};
use crate::load::{DeadLetter, Loaded, Loader, LogRange, Source};

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
pub struct SqliteLoader {
    pool: SqlitePool,
    wanted: TableOptions,
    plan: OnceLock<(TablePlan, Vec<SqliteColumn>)>,
}

impl SqliteLoader {
    /// Reads from `table`.
    pub fn table(pool: SqlitePool, table: impl Into<String>) -> Self {
        Self { pool, wanted: TableOptions::table(table.into()), plan: OnceLock::new() }
    }

    /// Reads these columns; unless set, all but those that the database generates.
    #[must_use]
    pub fn columns(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.wanted.columns = names.into_iter().map(Into::into).collect();
        self
    }

    /// Finds rows by these columns, which must be a unique key; the primary key unless set. They
    /// must be the consumer's `key`.
    #[must_use]
    pub fn key(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.wanted.key = names.into_iter().map(Into::into).collect();
        self
    }

    async fn rows<K: Serialize>(
        &self,
        (plan, columns): &(TablePlan, Vec<SqliteColumn>),
        keys: &[K],
    ) -> Result<Vec<Loaded>, LoadError> {
        let asked = plan.asked(keys)?;
        let keys = asked.partitions.iter().enumerate().map(|(at, partition)| {
            let texts = asked.texts.iter().map(|column| json!(column[at]));
            std::iter::once(json!(partition)).chain(texts).collect::<serde_json::Value>()
        });
        let keys = keys.collect::<serde_json::Value>().to_string();
        let rows = sqlx::query(AssertSqlSafe(Arc::clone(&plan.select)))
            .bind(&plan.source.sink_group)
            .bind(&plan.source.cluster)
            .bind(&plan.source.topic)
            .bind(keys)
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter().map(|row| loaded(row, columns)).collect()
    }

    async fn letters(
        &self,
        source: &Source,
        ranges: &[LogRange],
    ) -> Result<Vec<DeadLetter>, LoadError> {
        let ranges =
            ranges.iter().map(|range| json!([range.partition.0, range.from.0, range.to.0]));
        let rows = sqlx::query(DEAD_LETTERS)
            .bind(&source.sink_group)
            .bind(&source.cluster)
            .bind(&source.topic)
            .bind(ranges.collect::<serde_json::Value>().to_string())
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter().map(letter).collect::<Result<_, _>>().map_err(LoadError::new)
    }

    fn plan(&self) -> Result<&(TablePlan, Vec<SqliteColumn>), LoadError> {
        self.plan.get().ok_or_else(|| LoadError::new(NOT_PREPARED))
    }
}

impl<K: Serialize + Send + Sync + 'static> Loader<K> for SqliteLoader {
    async fn prepare(&self, source: &Source) -> Result<(), LoadError> {
        let mut connection = self.pool.acquire().await.map_err(|error| {
            LoadError::new(format!("can't connect to the loader's database: {error}"))
        })?;
        let plan = plan(&mut connection, &self.wanted, source).await?;
        drop(connection);
        // Asked for nothing, they show whether all they need is there.
        self.rows::<K>(&plan, &[]).await?;
        self.letters(source, &[]).await?;
        self.plan.set(plan).map_err(|_| LoadError::new(PREPARED_TWICE))
    }

    async fn load(&self, key: &K) -> Result<Loaded, LoadError> {
        let mut found = self.rows(self.plan()?, std::slice::from_ref(key)).await?;
        found.pop().ok_or_else(|| LoadError::new("the database gave no answer to a key"))
    }

    async fn load_many(&self, keys: &[K]) -> Result<Vec<Loaded>, LoadError> {
        self.rows(self.plan()?, keys).await
    }

    fn knows_dead_letters(&self) -> bool {
        true
    }

    async fn dead_letters(&self, ranges: &[LogRange]) -> Result<Vec<DeadLetter>, LoadError> {
        self.letters(&self.plan()?.0.source, ranges).await
    }
}

fn loaded(row: &SqliteRow, columns: &[SqliteColumn]) -> Result<Loaded, LoadError> {
    let next: Option<i64> = row.try_get(0).map_err(LoadError::new)?;
    let is_there: bool = row.try_get(1).map_err(LoadError::new)?;
    let loaded = if is_there { Loaded::json(&object(row, columns)?)? } else { Loaded::missing() };
    // A partition without a row has had nothing applied.
    Ok(loaded.at(next.map_or(NextOffset::ZERO, NextOffset)))
}

fn letter(row: &SqliteRow) -> Result<DeadLetter, sqlx::Error> {
    Ok(DeadLetter {
        partition: Partition(row.try_get(0)?),
        offset: Offset(row.try_get(1)?),
        key: row.try_get::<Option<Vec<u8>>, _>(2)?.unwrap_or_default(),
        write_id: write_id(row.try_get(3)?),
        reason: row.try_get(4)?,
    })
}

/// A statement failed; with the mend, if it is the bookkeeping that is missing.
fn failed(error: sqlx::Error) -> LoadError {
    let is_missing = error
        .as_database_error()
        .is_some_and(|error| error.message().starts_with("no such table: write_behind_"));
    if is_missing { LoadError::new(NO_BOOKKEEPING) } else { LoadError::new(error) }
}

impl std::fmt::Debug for SqliteLoader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteLoader").field("table", &self.wanted.table).finish_non_exhaustive()
    }
}
