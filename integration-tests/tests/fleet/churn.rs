//! Partitions moving between workers while records keep coming, in every way a group has to share
//! them out: the result is exact.

use std::sync::Arc;

use anyhow::Result;
use integration_tests::counters::COLUMNS;
use integration_tests::stack::Pipeline;
use integration_tests::worker::{Settings, Worker};

use super::{Load, end};

/// Workers come and go: one joins, the older leaves, by its own will, by force, or as a zombie.
async fn churn(pipeline: &Pipeline, shape: impl Fn(Settings, usize) -> Settings) -> Result<Worker> {
    let start = async |round: usize| {
        shape(pipeline.settings(&format!("worker{round}")), round).start().await
    };
    let mut older = start(0).await?;
    pipeline.shared_out(&[&older]).await?;
    for round in 1..=3 {
        let newer = start(round).await?;
        pipeline.shared_out(&[&older, &newer]).await?;
        match round {
            1 => {
                // Frozen until its partitions are another's, it wakes with batches in its hands.
                older.freeze()?;
                pipeline.shared_out(&[&newer]).await?;
                older.thaw()?;
                match pipeline.shared_out(&[&older, &newer]).await {
                    // To a group of the new protocol, Kafka's client may say that it leaves and that it
                    // is there at once, which brokers refuse. The client can't go on, so the worker ends and its
                    // supervisor starts another one.
                    Err(_) if older.log().contains("ConsumerGroupHeartbeat fatal error") => {
                        older = start(0).await?;
                        pipeline.shared_out(&[&older, &newer]).await?;
                    }
                    shared_out => shared_out?,
                }
                end(&older).await?;
            }
            2 => end(&older).await?,
            _ => older.kill()?,
        }
        pipeline.shared_out(&[&newer]).await?;
        older = newer;
    }
    Ok(older)
}

async fn moving_partitions(shape: impl Fn(Settings, usize) -> Settings) -> Result<()> {
    let pipeline = Arc::new(Pipeline::new("rebalance", 6, COLUMNS).await?);
    pipeline.slow_down().await?;
    let load = Load::start(&pipeline);
    let last = churn(&pipeline, shape).await;
    load.stop().await?.are_exact(&pipeline, &[&last?]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_handed_over_all_at_once_are_applied_exactly() -> Result<()> {
    let eager = |settings: Settings, _| {
        settings.soon_given_up().kafka("partition.assignment.strategy", "range")
    };
    moving_partitions(eager).await
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_handed_over_one_by_one_are_applied_exactly() -> Result<()> {
    let cooperative = |settings: Settings, _| {
        settings.soon_given_up().kafka("partition.assignment.strategy", "cooperative-sticky")
    };
    moving_partitions(cooperative).await
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_of_members_with_fixed_names_are_applied_exactly() -> Result<()> {
    let fixed = |settings: Settings, round| {
        settings.soon_given_up().kafka("group.instance.id", &format!("place-{}", round % 2))
    };
    moving_partitions(fixed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_the_broker_hands_over_are_applied_exactly() -> Result<()> {
    moving_partitions(|settings, _| settings.with_new_protocol()).await
}
