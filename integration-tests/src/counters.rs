//! Increments over a few keys, and what they must add up to: one lost or doubled shows at once.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use crate::log::Raw;
use crate::stack::{Pipeline, same_rows};
use crate::wait::PATIENCE;
use crate::worker::Worker;

/// The table that counters live in.
pub const COLUMNS: &str = "id text primary key, n bigint";

/// What was written so far, by key.
#[derive(Clone, Debug)]
pub struct Counters {
    keys: u64,
    written: u64,
    sums: BTreeMap<String, i64>,
}

impl Counters {
    /// Counters of this many keys.
    pub fn new(keys: u64) -> Self {
        Self { keys, written: 0, sums: BTreeMap::new() }
    }

    /// The next increments, round and round the keys, each of another amount.
    pub fn next(&mut self, count: u64) -> Vec<Raw> {
        let mut records = Vec::new();
        for _ in 0..count {
            let key = format!("key-{}", self.written % self.keys);
            let amount = (self.written % 97) as i64 + 1;
            self.written += 1;
            records.push(Raw::put(&key, &format!(r#"{{"n":{amount}}}"#)).adding("n"));
            *self.sums.entry(key).or_default() += amount;
        }
        records
    }

    /// What the counters must be, by key.
    pub fn sums(&self) -> &BTreeMap<String, i64> {
        &self.sums
    }

    /// Appends the next increments.
    pub async fn append(&mut self, pipeline: &Pipeline, count: u64) -> Result<()> {
        let records = self.next(count);
        pipeline.append(&records).await.map(drop)
    }

    /// Waits until the database has all of the log, and compares every counter. Nothing may have
    /// been set aside on the way, and Kafka's offsets must have followed.
    pub async fn are_exact(&self, pipeline: &Pipeline, workers: &[&Worker]) -> Result<()> {
        pipeline.drained(workers, PATIENCE).await?;
        let text = sqlx::AssertSqlSafe(format!("select id, n from {}", pipeline.name));
        // A test may change the columns' types, which a kept plan does not survive.
        let rows = sqlx::query_as(text).persistent(false).fetch_all(&pipeline.sql).await?;
        let rows: Vec<(String, i64)> = rows;
        same_rows(&rows.into_iter().collect(), &self.sums)?;
        let letters = pipeline.dead_letters().await?;
        ensure!(letters.is_empty(), "good records were set aside: {letters:?}");
        pipeline.committed(workers).await
    }
}
