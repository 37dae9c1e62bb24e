//! The demo's own look at the database: makes its table, reads rows for the cache, reads all of them
//! for the check. The pipeline writes the rows; nothing here does.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::{AnyPool, Row};
use write_behind_producer::{LoadError, Loaded, Loader};
use write_behind_shared::{NextOffset, key, partition};

use crate::flights::Aircraft;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS aircraft (
    tailnum text PRIMARY KEY,
    flights bigint NOT NULL,
    miles bigint NOT NULL,
    minutes bigint,
    last_airport text NOT NULL,
    last_departure text NOT NULL)";

const ALL: &str =
    "SELECT flights, miles, minutes, last_airport, last_departure, tailnum FROM aircraft";

/// The row and the offset its partition stands at, in one statement and so in one snapshot: what
/// the database already holds of a counter is not counted again.
const ONE: &str = "SELECT a.flights, a.miles, a.minutes, a.last_airport, a.last_departure,
        (SELECT next_offset FROM write_behind_offsets
         WHERE pipeline = $1 AND cluster = $2 AND topic = $3 AND partition = $4)
    FROM (SELECT 1) AS one LEFT JOIN aircraft AS a ON a.tailnum = $5";

/// A table belongs to the pipeline, cluster and topic that wrote to it first.
const HAND_OVER: &str =
    "DELETE FROM write_behind_tables WHERE pipeline = $1 AND topic = $1 AND cluster <> $2";

/// The table of aircraft.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pool: AnyPool,
}

/// Reads aircraft for the cache.
#[derive(Clone, Debug)]
pub(crate) struct AircraftLoader {
    /// The table.
    pub(crate) table: Table,
    /// The pipeline, whose bookkeeping says how far the database is.
    pub(crate) pipeline: String,
    /// The Kafka cluster's id.
    pub(crate) cluster: String,
    /// The topic.
    pub(crate) topic: String,
    /// How many partitions it has.
    pub(crate) partitions: i32,
}

impl Table {
    /// Connects, and creates the table if it is missing.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let pool = AnyPoolOptions::new().max_connections(2).connect(url).await;
        let pool = pool.context("can't connect to the database")?;
        sqlx::query(CREATE).execute(&pool).await.context("can't create the table `aircraft`")?;
        Ok(Self { pool })
    }

    /// Takes the table from the embedded broker of an earlier run, which is gone with its log. The
    /// pipeline and its topic are `name`.
    pub(crate) async fn hand_over(&self, name: &str, cluster: &str) -> Result<()> {
        let handed = sqlx::query(HAND_OVER).bind(name).bind(cluster).execute(&self.pool).await;
        handed.map(|_| ()).context("can't take the table over from an earlier run")
    }

    /// Every row, by tail number.
    pub(crate) async fn all(&self) -> Result<BTreeMap<String, Aircraft>> {
        let rows = sqlx::query(ALL).fetch_all(&self.pool).await.context("can't read `aircraft`")?;
        rows.iter().map(|row| Ok((row.try_get(5)?, aircraft(row)?))).collect()
    }
}

impl Loader<String> for AircraftLoader {
    async fn load(&self, tailnum: &String) -> Result<Loaded, LoadError> {
        let key = key::encode(tailnum).map_err(LoadError::new)?;
        let row = sqlx::query(ONE)
            .bind(&self.pipeline)
            .bind(&self.cluster)
            .bind(&self.topic)
            .bind(partition::partition_of(&key, self.partitions).0)
            .bind(tailnum)
            .fetch_one(&self.table.pool)
            .await
            .map_err(LoadError::new)?;
        let next: Option<i64> = row.try_get(5).map_err(LoadError::new)?;
        let flights: Option<i64> = row.try_get(0).map_err(LoadError::new)?;
        let loaded = match flights {
            Some(_) => Loaded::row(&aircraft(&row).map_err(LoadError::new)?)?,
            None => Loaded::missing(),
        };
        Ok(loaded.at(NextOffset(next.unwrap_or(0))))
    }
}

fn aircraft(row: &AnyRow) -> Result<Aircraft, sqlx::Error> {
    Ok(Aircraft {
        flights: row.try_get(0)?,
        miles: row.try_get(1)?,
        minutes: row.try_get(2)?,
        last_airport: row.try_get(3)?,
        last_departure: row.try_get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_table_is_taken_from_an_earlier_broker_and_from_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("demo.sqlite").display());
        let table = Table::open(&url).await.unwrap();
        let statement = "CREATE TABLE write_behind_tables (table_name text, pipeline text, cluster text, topic text);
            INSERT INTO write_behind_tables VALUES ('a', 'demo', 'earlier', 'demo'),
                ('b', 'demo', 'now', 'demo'), ('c', 'other', 'earlier', 'demo')";
        sqlx::raw_sql(statement).execute(&table.pool).await.unwrap();
        table.hand_over("demo", "now").await.unwrap();
        let left = sqlx::query("SELECT table_name FROM write_behind_tables ORDER BY table_name");
        let left = left.fetch_all(&table.pool).await.unwrap();
        let left: Vec<String> = left.iter().map(|row| row.get(0)).collect();
        assert_eq!(left, ["b", "c"]);
    }
}
