//! Rows from a Postgres table: takes keys, gives each row with the offset that its partition
//! stands at, out of one snapshot.

use std::sync::{Arc, OnceLock};

use serde::Serialize;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, Row as _};
use write_behind_shared::{NextOffset, Offset, Partition};

use crate::error::LoadError;
use crate::load::postgres_sql::{DEAD_LETTERS, plan};
use crate::load::table::{
    NO_BOOKKEEPING, NOT_PREPARED, PREPARED_TWICE, TableOptions, TablePlan, columns_of, write_id,
};
use crate::load::{DeadLetter, Loaded, Loader, LogRange, Source};

/// Reads rows from a table in Postgres, together with what the consumer has noted of their
/// partitions: one statement is one snapshot, so its answers are exact ([`Loaded::at`]).
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use write_behind_producer::{PostgresLoader, WriteBehind};
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Score { points: i64 }
///
/// let pool = sqlx::PgPool::connect("postgres://db/scores").await?;
/// let scores = WriteBehind::<u64, Score>::builder("scores", [("bootstrap.servers", "kafka:9092")])
///     .sink_group("scores")
///     .loader(PostgresLoader::table(pool, "public.scores"))
///     .build()
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// The pool must lead to the primary, not to a replica: a replica that lags would bring back what
/// is already replaced. It needs to read the table and the consumer's bookkeeping tables, which
/// must be in the database when the handle is built.
///
/// Values come as records have them: integers, floats and exact decimals as numbers, `bytea` as
/// base64, instants in RFC 3339 and UTC, json as it is, arrays as arrays, everything else as text.
pub struct PostgresLoader {
    pool: PgPool,
    wanted: TableOptions,
    plan: OnceLock<TablePlan>,
}

impl PostgresLoader {
    /// Reads from `table`, written as `scores`, `public.scores` or `public."odd.name"`.
    pub fn table(pool: PgPool, table: impl Into<String>) -> Self {
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
        plan: &TablePlan,
        keys: &[K],
    ) -> Result<Vec<Loaded>, LoadError> {
        let asked = plan.asked(keys)?;
        let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&plan.select)))
            .bind(&plan.source.sink_group)
            .bind(&plan.source.cluster)
            .bind(&plan.source.topic)
            .bind(asked.partitions);
        for texts in asked.texts {
            query = query.bind(texts);
        }
        let rows = query.fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(loaded).collect()
    }

    async fn letters(
        &self,
        source: &Source,
        ranges: &[LogRange],
    ) -> Result<Vec<DeadLetter>, LoadError> {
        let (partitions, from, to) = columns_of(ranges);
        let rows = sqlx::query(DEAD_LETTERS)
            .bind(&source.sink_group)
            .bind(&source.cluster)
            .bind(&source.topic)
            .bind(partitions)
            .bind(from)
            .bind(to)
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        rows.iter().map(letter).collect::<Result<_, _>>().map_err(LoadError::new)
    }

    fn plan(&self) -> Result<&TablePlan, LoadError> {
        self.plan.get().ok_or_else(|| LoadError::new(NOT_PREPARED))
    }
}

impl<K: Serialize + Send + Sync + 'static> Loader<K> for PostgresLoader {
    async fn prepare(&self, source: &Source) -> Result<(), LoadError> {
        let mut connection = self.pool.acquire().await.map_err(|error| {
            LoadError::new(format!("can't connect to the loader's database: {error}"))
        })?;
        let plan = plan(&mut connection, &self.wanted, source).await?;
        drop(connection);
        // Asked for nothing, they show whether all they need is there and may be read.
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
        self.letters(&self.plan()?.source, ranges).await
    }
}

fn loaded(row: &PgRow) -> Result<Loaded, LoadError> {
    let next: Option<i64> = row.try_get(0).map_err(LoadError::new)?;
    let object: Option<&str> = row.try_get(1).map_err(LoadError::new)?;
    let loaded = match object {
        Some(object) => Loaded::json(object.as_bytes())?,
        None => Loaded::missing(),
    };
    // A partition without a row has had nothing applied.
    Ok(loaded.at(next.map_or(NextOffset::ZERO, NextOffset)))
}

fn letter(row: &PgRow) -> Result<DeadLetter, sqlx::Error> {
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
    let undefined_table = "42P01";
    let database = error.as_database_error();
    let is_missing = database.is_some_and(|error| {
        error.code().as_deref() == Some(undefined_table)
            && error.message().contains("write_behind_")
    });
    if is_missing { LoadError::new(NO_BOOKKEEPING) } else { LoadError::new(error) }
}

impl std::fmt::Debug for PostgresLoader {
    /// Without the pool, whose options hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresLoader").field("table", &self.wanted.table).finish_non_exhaustive()
    }
}
