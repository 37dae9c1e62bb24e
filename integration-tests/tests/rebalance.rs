//! Partitions moving between workers while records keep coming: the result is exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use integration_tests::counters::{COLUMNS, Counters};
use integration_tests::stack::Pipeline;
use integration_tests::worker::Worker;

const ROUNDS: usize = 4;

/// Appends increments without a pause until told to stop, and returns what they add up to.
async fn load(pipeline: &Pipeline, stop: &AtomicBool) -> Result<Counters> {
    let mut counters = Counters::new(1_000);
    while !stop.load(Ordering::Relaxed) {
        counters.append(pipeline, 100).await?;
    }
    Ok(counters)
}

/// Told to end, a worker does so in good order.
async fn end(worker: &Worker) -> Result<()> {
    let status = worker.terminate().await?;
    ensure!(status.success(), "told to end, worker {} says {status}", worker.client());
    Ok(())
}

/// Workers come and go: one joins, the older leaves, by its own will, by force, or as a zombie.
async fn churn(pipeline: &Pipeline, assignor: &str) -> Result<Worker> {
    let start = async |round: usize| {
        let settings = pipeline.settings(&format!("worker{round}")).soon_given_up();
        settings.kafka("partition.assignment.strategy", assignor).start().await
    };
    let mut older = start(0).await?;
    pipeline.settled(&[&older]).await?;
    for round in 1..=ROUNDS {
        let newer = start(round).await?;
        pipeline.settled(&[&older, &newer]).await?;
        match round % 3 {
            0 => older.kill()?,
            1 => end(&older).await?,
            _ => {
                // Frozen until its partitions are another's, it wakes with batches in its hands.
                older.freeze()?;
                pipeline.settled(&[&newer]).await?;
                older.thaw()?;
                pipeline.settled(&[&older, &newer]).await?;
                end(&older).await?;
            }
        }
        pipeline.settled(&[&newer]).await?;
        older = newer;
    }
    Ok(older)
}

/// Makes each insert wait in its transaction, so that whoever leaves does so inside of one.
async fn slow_down(pipeline: &Pipeline) -> Result<()> {
    let text = format!(
        "create function slow_{0}() returns trigger language plpgsql as
            $$ begin perform pg_sleep(0.1); return null; end $$;
        create trigger slow before insert on {0} for each statement execute function slow_{0}()",
        pipeline.name
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(text)).execute(&pipeline.sql).await?;
    Ok(())
}

async fn moving_partitions(assignor: &str) -> Result<()> {
    let pipeline = Arc::new(Pipeline::new("rebalance", 6, COLUMNS).await?);
    slow_down(&pipeline).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let loading = tokio::spawn({
        let (pipeline, stop) = (Arc::clone(&pipeline), Arc::clone(&stop));
        async move { load(&pipeline, &stop).await }
    });
    let last = churn(&pipeline, assignor).await;
    stop.store(true, Ordering::Relaxed);
    let counters = loading.await??;
    counters.are_exact(&pipeline, &[&last?]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_handed_over_all_at_once_are_applied_exactly() -> Result<()> {
    moving_partitions("range").await
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_handed_over_one_by_one_are_applied_exactly() -> Result<()> {
    moving_partitions("cooperative-sticky").await
}
