//! The database really is the bottleneck and the caller does not feel it: 50,000 puts a second for
//! half a minute into a database that takes 1,000 rows a second.
//!
//! The latencies are printed, not asserted: how fast a machine is, is no property of the code.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use integration_tests::figures::{Latencies, Pace, report};
use integration_tests::stack::{Pipeline, same_rows};
use integration_tests::wait::PATIENCE;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use write_behind_producer::WriteBehind;

const COLUMNS: &str = "id bigint primary key, score bigint, name text";
const KEYS: u64 = 10_000;
const PUTS_PER_SECOND: u64 = 50_000;
const SECONDS: u64 = 30;
const ROWS_PER_SECOND: u32 = 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Score {
    score: u64,
    name: String,
}

fn score(put: u64) -> Score {
    Score { score: put, name: format!("player {}", put % 97) }
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_are_accepted_at_fifty_times_the_database_s_pace() -> Result<()> {
    let pipeline = Pipeline::new("bottleneck", 6, COLUMNS).await?;
    let mut settings = pipeline.settings("worker");
    settings.rows_per_second = Some(ROWS_PER_SECOND);
    let worker = settings.start().await?;
    let kafka = [("bootstrap.servers", pipeline.kafka.bootstrap())];
    let cache: WriteBehind<u64, Score> =
        WriteBehind::builder(&pipeline.name, kafka).sink_group(&pipeline.group).build().await?;

    let mut latencies = Latencies::new()?;
    let pace = Pace::of(PUTS_PER_SECOND);
    for put in 0..PUTS_PER_SECOND * SECONDS {
        pace.keep(put).await;
        let score = score(put);
        let before = Instant::now();
        cache.put(&(put % KEYS), &score).await?;
        latencies.add(before.elapsed());
    }
    let accepted = pace.elapsed();
    let written_meanwhile = pipeline.number("count(*)").await?;
    cache.persisted_all().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    let exact_after = pace.elapsed();
    let rate = (PUTS_PER_SECOND * SECONDS) as f64 / accepted.as_secs_f64();
    report(&format!(
        "{rate:.0} puts/s accepted against {ROWS_PER_SECOND} rows/s: {}",
        latencies.summary()
    ));
    report(&format!(
        "the table was exact {:.1?} after the last put",
        exact_after.saturating_sub(accepted)
    ));
    let written = worker.metric("write_behind_consumer_written_rows_total").await?;
    let written = written.context("the worker counts its rows")?;
    report(&format!("{written} rows written for {} puts", PUTS_PER_SECOND * SECONDS));
    // The ceiling lets a batch through whole, and makes the next one wait for it.
    let most = exact_after.as_secs_f64() * f64::from(ROWS_PER_SECOND) + KEYS as f64;
    assert!(written <= most, "{written} rows in {exact_after:?}: the database was no bottleneck");
    assert!(written_meanwhile > 0, "nothing was written while the puts came in");

    let last = |id: u64| {
        let Score { score, name } = score(PUTS_PER_SECOND * SECONDS - KEYS + id);
        (id.to_string(), json!({ "id": id, "score": score, "name": name }))
    };
    let expected: BTreeMap<String, Value> = (0..KEYS).map(last).collect();
    same_rows(&pipeline.rows("id").await?, &expected)?;
    cache.close(Duration::from_secs(10)).await?;
    pipeline.committed(&[&worker]).await
}
