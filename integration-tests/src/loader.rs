//! A loader as a service would write it: the row, and what the database holds of its partition, in
//! one snapshot.

use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, Row};
use write_behind_producer::{LoadError, Loaded, Loader, NextOffset};
use write_behind_shared::partition::partition_of;

/// Reads the rows of one pipeline's table.
#[derive(Clone, Debug)]
pub struct SnapshotLoader {
    /// The database.
    pub sql: PgPool,
    /// The pipeline, its topic and its table.
    pub name: String,
    /// Partitions of the topic.
    pub partitions: i32,
}

impl Loader<String> for SnapshotLoader {
    async fn load(&self, key: &String) -> Result<Loaded, LoadError> {
        let text = format!(
            r#"select (select (to_jsonb(t) - 'id')::text from {} t where id = $1),
                (select next_offset from write_behind_offsets
                    where pipeline = $2 and topic = $2 and "partition" = $3)"#,
            self.name
        );
        let partition = partition_of(key.as_bytes(), self.partitions);
        let found = sqlx::query(AssertSqlSafe(text))
            .bind(key)
            .bind(&self.name)
            .bind(partition.0)
            .fetch_one(&self.sql)
            .await
            .map_err(LoadError::new)?;
        let row: Option<String> = found.try_get(0).map_err(LoadError::new)?;
        let next: Option<i64> = found.try_get(1).map_err(LoadError::new)?;
        let loaded = row.map_or_else(|| Ok(Loaded::missing()), |row| Loaded::json(row.as_bytes()));
        // A partition that the consumer has not begun with has nothing in the database.
        Ok(loaded?.at(next.map_or(NextOffset::ZERO, NextOffset)))
    }
}
