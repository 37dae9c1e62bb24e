//! How long a write takes until Kafka has it, and until it is in the database and its caller knows.
//!
//! A broker and a Postgres in containers, the consumer as a process of its own with its defaults.
//! No raw loop beside it: what is measured is mostly waiting, which a peer would do elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use integration_tests::figures::{Latencies, Pace};
use integration_tests::stack::Pipeline;
use integration_tests::wait::PATIENCE;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use write_behind_producer::WriteBehind;

const COLUMNS: &str = "id bigint primary key, score bigint, name text";
const KEYS: u64 = 10_000;
/// Writes a second, and for how many seconds; the first are lone writes.
const LOADS: [(u64, u64); 3] = [(5, 40), (1_000, 10), (20_000, 10)];
/// How many writes a second are followed to the database at most.
const FOLLOWED: u64 = 100;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Score {
    score: u64,
    name: String,
}

/// How long writes took until Kafka had them, and until the database had.
struct Stages {
    replicated: Latencies,
    persisted: Latencies,
}

/// Measures each load after another.
pub(crate) async fn run() -> Result<()> {
    let pipeline = Pipeline::new("latency", 4, COLUMNS).await?;
    let worker = pipeline.settings("worker").start().await?;
    let kafka = [("bootstrap.servers", pipeline.kafka.bootstrap())];
    let scores = WriteBehind::builder(&pipeline.name, kafka).sink_group(&pipeline.group);
    let scores: Arc<WriteBehind<u64, Score>> = Arc::new(scores.build().await?);
    scores.put(&0, &score(0)).await?.persisted().await?;
    for (per_second, seconds) in LOADS {
        let before = rows(&worker).await?;
        let stages = follow(&scores, per_second, seconds).await?;
        scores.flush().await?;
        let rows = rows(&worker).await? - before;
        println!("{per_second} writes/s, {} rows/s into the database", rows as u64 / seconds);
        println!("  replicated: {}", stages.replicated.summary());
        println!("  persisted:  {}", stages.persisted.summary());
    }
    pipeline.drained(&[&worker], PATIENCE).await?;
    scores.close(Duration::from_secs(10)).await?;
    Ok(())
}

async fn rows(worker: &integration_tests::worker::Worker) -> Result<f64> {
    Ok(worker.metric("write_behind_consumer_written_rows_total").await?.unwrap_or(0.0))
}

/// Writes at this pace, and follows some of the writes to the database.
async fn follow(
    scores: &Arc<WriteBehind<u64, Score>>,
    per_second: u64,
    seconds: u64,
) -> Result<Stages> {
    let pace = Pace::of(per_second);
    let every = (per_second / FOLLOWED).max(1);
    let mut followed = JoinSet::new();
    for n in 0..per_second * seconds {
        pace.keep(n).await;
        let began = Instant::now();
        let write = scores.put(&(n % KEYS), &score(n)).await?;
        if n % every == 0 {
            followed.spawn(async move {
                write.replicated().await?;
                let replicated = began.elapsed();
                write.persisted().await?;
                anyhow::Ok((replicated, began.elapsed()))
            });
        }
    }
    let mut stages = Stages { replicated: Latencies::new()?, persisted: Latencies::new()? };
    while let Some(times) = followed.join_next().await {
        let (replicated, persisted) = times??;
        stages.replicated.add(replicated);
        stages.persisted.add(persisted);
    }
    Ok(stages)
}

fn score(n: u64) -> Score {
    Score { score: n, name: format!("player {}", n % 97) }
}
