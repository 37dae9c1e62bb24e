//! Urgent writes against a database that takes a thousand rows a second and is four seconds behind,
//! while as much is written as it takes. Each probe is a pair of writes, the normal one first, and
//! what is claimed is that the urgent ones take far less long; how long is printed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use integration_tests::figures::report;
use integration_tests::stack::Pipeline;
use integration_tests::wait::PATIENCE;
use serde_json::json;
use write_behind_producer::{Priority, Receipt, WriteBehind};

const COLUMNS: &str = "id bigint primary key, n bigint";
const ROWS_PER_SECOND: u32 = 1_000;
/// Written before the first probe.
const BACKLOG: i64 = 4_000;
const PROBES: i64 = 12;
/// Written beside each probe, of which there is one a second: as much as the database takes.
const BESIDE: i64 = 1_000;

type Rows = WriteBehind<i64, serde_json::Value>;

/// When a write was in the database, and how long that took.
async fn persisted(write: Receipt) -> Result<(Instant, Duration)> {
    let start = Instant::now();
    write.persisted_within(PATIENCE).await?;
    let now = Instant::now();
    Ok((now, now - start))
}

/// Percentiles in milliseconds.
fn percentiles(times: &Histogram<u64>) -> String {
    let at = |quantile| times.value_at_quantile(quantile);
    format!("p50 {} ms, p90 {} ms, max {} ms", at(0.5), at(0.9), times.max())
}

#[tokio::test(flavor = "multi_thread")]
async fn urgent_writes_are_in_a_database_that_is_behind_before_normal_ones_written_first()
-> Result<()> {
    let pipeline = Pipeline::new("hurry", 8, COLUMNS).await?;
    let mut settings = pipeline.settings("worker");
    settings.rows_per_second = Some(ROWS_PER_SECOND);
    let worker = settings.start().await?;
    let kafka = [("bootstrap.servers", pipeline.kafka.bootstrap())];
    let rows: Rows = WriteBehind::builder(&pipeline.name, kafka)
        .sink_group(&pipeline.group)
        .poll_interval(Duration::from_millis(20))
        .build()
        .await?;
    let urgent = rows.with_priority(Priority::High);
    let row = |n: i64| json!({ "n": n });
    let mut next = 0..;
    let mut write_some = async |count: i64| -> Result<()> {
        for id in next.by_ref().take(count as usize) {
            rows.put(&id, &row(id)).await?;
        }
        Ok(())
    };
    write_some(BACKLOG).await?;
    let mut probes = Vec::new();
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    for probe in 0..PROBES {
        beat.tick().await;
        write_some(BESIDE).await?;
        let normal = rows.put(&(-1 - 2 * probe), &row(probe)).await?;
        let high = urgent.put(&(-2 - 2 * probe), &row(probe)).await?;
        probes.push((tokio::spawn(persisted(normal)), tokio::spawn(persisted(high))));
    }
    let (mut high_first, mut normals, mut highs) = (0, Histogram::new(3)?, Histogram::new(3)?);
    for (normal, high) in probes {
        let ((normal_at, normal), (high_at, high)) = (normal.await??, high.await??);
        high_first += i64::from(high_at < normal_at);
        normals.record(normal.as_millis() as u64)?;
        highs.record(high.as_millis() as u64)?;
    }
    worker.still_runs()?;
    report(&format!(
        "a database of {ROWS_PER_SECOND} rows/s that is behind; until a write is persisted: urgent \
         {}; normal {}; urgent first in {high_first} of {PROBES}",
        percentiles(&highs),
        percentiles(&normals),
    ));
    // Not each of a pair: both may lie in one partition, and then the order is that of the log. Without
    // priorities the two medians are about the same.
    let (normal, high) = (normals.value_at_quantile(0.5), highs.value_at_quantile(0.5));
    ensure!(high * 3 < normal * 2, "the medians: urgent {high} ms, normal {normal} ms");
    ensure!(high_first * 2 > PROBES, "urgent first in {high_first} of {PROBES}");
    let expected = BACKLOG + PROBES * (BESIDE + 2);
    pipeline.drained(&[&worker], PATIENCE).await?;
    ensure!(pipeline.number("count(*)").await? == expected, "all rows are there");
    ensure!(pipeline.dead_letters().await?.is_empty());
    Ok(())
}
