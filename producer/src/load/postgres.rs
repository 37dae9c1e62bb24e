//! The loader of a Postgres table.

use std::sync::Arc;

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, Row as _};
use write_behind_shared::table_name::Name;

use crate::error::LoadError;
use crate::load::postgres_sql::{DEAD_LETTERS, PostgresForm, catalog, select};
use crate::load::table::{
    DeadLetterRow, TableDatabase, TableLoader, failed, loaded, no_connection,
};
use crate::load::table_plan::{KeyTexts, TableCatalog, TablePlan};
use crate::load::{Loaded, LogRange, Source};

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
pub type PostgresLoader = TableLoader<PgPool>;

const UNDEFINED_TABLE: &str = "42P01";

impl TableDatabase for PgPool {
    type Form = PostgresForm;

    const LOADER: &'static str = "PostgresLoader";

    async fn catalog(&self, table: &str) -> Result<Option<TableCatalog<PostgresForm>>, LoadError> {
        let mut connection = self.acquire().await.map_err(|error| no_connection(&error))?;
        let name = Name::parse(table).map_err(LoadError::new)?;
        catalog(&mut connection, &name).await.map_err(LoadError::new)
    }

    fn select(plan: &TablePlan<PostgresForm>) -> String {
        select(plan)
    }

    async fn rows(
        &self,
        plan: &TablePlan<PostgresForm>,
        keys: KeyTexts,
    ) -> Result<Vec<Loaded>, LoadError> {
        let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&plan.select)))
            .bind(&plan.source.sink_group)
            .bind(&plan.source.cluster)
            .bind(&plan.source.topic)
            .bind(keys.partitions);
        for texts in keys.texts {
            query = query.bind(texts);
        }
        let rows = query.fetch_all(self).await.map_err(failed::<Self>)?;
        let row = |row: &PgRow| {
            let next = row.try_get(0).map_err(LoadError::new)?;
            let object: Option<&str> = row.try_get(1).map_err(LoadError::new)?;
            loaded(next, object.map(str::as_bytes))
        };
        rows.iter().map(row).collect()
    }

    async fn dead_letters(
        &self,
        source: &Source,
        ranges: &[LogRange],
    ) -> Result<Vec<DeadLetterRow>, sqlx::Error> {
        sqlx::query_as(DEAD_LETTERS)
            .bind(&source.sink_group)
            .bind(&source.cluster)
            .bind(&source.topic)
            .bind(ranges.iter().map(|range| range.partition.0).collect::<Vec<_>>())
            .bind(ranges.iter().map(|range| range.from.0).collect::<Vec<_>>())
            .bind(ranges.iter().map(|range| range.to.0).collect::<Vec<_>>())
            .fetch_all(self)
            .await
    }

    fn has_no_bookkeeping(error: &dyn DatabaseError) -> bool {
        error.code().as_deref() == Some(UNDEFINED_TABLE)
            && error.message().contains("write_behind_")
    }
}
