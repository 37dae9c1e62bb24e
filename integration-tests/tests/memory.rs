//! A backlog in a hundred partitions before a database that has stopped: the whole process stays
//! within 1.3 times `memory.buffers`, until the database is back and has all of it.
//!
//! `MEMORY_BACKLOG` is the backlog's size in MiB and `MEMORY_BUFFERS` the limit, for a longer look:
//! `MEMORY_BACKLOG=2048 MEMORY_BUFFERS=256 cargo test -p integration-tests --test memory -- --nocapture`.

use std::sync::Arc;

use anyhow::Result;
use integration_tests::figures::report;
use integration_tests::log::Raw;
use integration_tests::postgres::Postgres;
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};

const PARTITIONS: i32 = 100;
const COLUMNS: &str = "id bigint primary key, body text, n bigint not null default 0";
const BODY_BYTES: usize = 200;
/// What a record takes in the log, roughly.
const RECORD_BYTES: usize = BODY_BYTES + 50;
const RECORDS_AT_ONCE: usize = 50_000;
/// What the process may take beyond the limit.
const RATIO: f64 = 1.3;

fn mebibytes(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn record(id: usize) -> Raw {
    let body = format!("{id:0BODY_BYTES$}");
    Raw::put(&id.to_string(), &format!(r#"{{"body":"{body}","n":{id}}}"#))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_before_a_stopped_database_takes_no_more_memory_than_its_limit() -> Result<()> {
    let backlog = mebibytes("MEMORY_BACKLOG", 180);
    let buffers = mebibytes("MEMORY_BUFFERS", 128);
    let records = (backlog << 20) / RECORD_BYTES;
    let postgres = Arc::new(Postgres::start().await?);
    let pipeline = Pipeline::on(postgres, "memory", PARTITIONS, COLUMNS).await?;
    let mut settings = pipeline.settings("worker");
    settings.buffers = format!("{buffers}MiB").leak();
    let worker = settings.start().await?;
    pipeline.settled(&[&worker]).await?;
    until("all partitions to be read", PATIENCE, async || {
        let read = worker.metric("write_behind_consumer_partitions").await?;
        Ok(Seen::when(read == Some(f64::from(PARTITIONS)), || format!("{read:?} are")))
    })
    .await?;
    let idle = worker.resident()?;
    pipeline.postgres.kill().await?;
    for first in (0..records).step_by(RECORDS_AT_ONCE) {
        let some: Vec<Raw> = (first..(first + RECORDS_AT_ONCE).min(records)).map(record).collect();
        pipeline.append(&some).await?;
    }
    until("all partitions to be paused", PATIENCE, async || {
        worker.still_runs()?;
        let paused = worker.metric("write_behind_consumer_paused_partitions").await?;
        Ok(Seen::when(paused == Some(f64::from(PARTITIONS)), || format!("{paused:?} are")))
    })
    .await?;
    let held = worker.metric("write_behind_consumer_buffered_bytes").await?.unwrap_or_default();
    let full = worker.peak()?;
    pipeline.postgres.restart().await?;
    pipeline.drained(&[&worker], PATIENCE * 10).await?;
    assert_eq!(pipeline.number("count(*)").await?, records as i64);
    assert_eq!(pipeline.number("sum(n)").await?, (records * (records - 1) / 2) as i64);
    let peak = worker.peak()?;
    let ratio = peak as f64 / (buffers << 20) as f64;
    report(&format!(
        "{backlog} MiB in {records} records: {} MiB when idle, {} when full with {:.0} counted, {} \
         at most: {ratio:.2} times {buffers} MiB",
        idle >> 20,
        full >> 20,
        held / 1_048_576.0,
        peak >> 20
    ));
    assert!(ratio <= RATIO, "the process took {ratio:.2} times its limit");
    Ok(())
}
