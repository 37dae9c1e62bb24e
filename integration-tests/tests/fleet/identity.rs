//! Two workers that claim to be the same member: one of them ends and says why, the other goes on.

use anyhow::{Context, Result, ensure};
use integration_tests::counters::{COLUMNS, Counters};
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::{Settings, Worker};

/// Waits until one of them has ended by itself, and gives that one and the other.
async fn one_ends(one: Worker, two: Worker) -> Result<(Worker, Worker)> {
    let first = until("one of the two to end", PATIENCE, async || {
        Ok(match (one.still_runs(), two.still_runs()) {
            (Err(_), _) => Seen::Done(true),
            (_, Err(_)) => Seen::Done(false),
            _ => Seen::NotYet("both run".to_owned()),
        })
    });
    Ok(if first.await? { (one, two) } else { (two, one) })
}

async fn claimed_twice(shape: impl Fn(Settings) -> Settings) -> Result<(Worker, Worker)> {
    let pipeline = Pipeline::new("identity", 2, COLUMNS).await?;
    let start = async |client: &str| {
        let settings = shape(pipeline.settings(client));
        settings.kafka("group.instance.id", "the-only-one").start().await
    };
    let mut counters = Counters::new(50);
    counters.append(&pipeline, 500).await?;
    let older = start("older").await?;
    counters.are_exact(&pipeline, &[&older]).await?;
    let (ended, goes_on) = one_ends(older, start("newer").await?).await?;
    let status = ended.exit().await?;
    ensure!(status.code() == Some(1), "it ended with {status}");
    let log = ended.log();
    let told = log.lines().last().context("it said nothing")?;
    ensure!(told.contains("`group.instance.id`"), "it says: {told}");
    counters.append(&pipeline, 500).await?;
    counters.are_exact(&pipeline, &[&goes_on]).await?;
    Ok((ended, goes_on))
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_with_one_name_the_older_ends_and_says_why() -> Result<()> {
    let (ended, _) = claimed_twice(Settings::soon_given_up).await?;
    ensure!(ended.client().starts_with("older"), "{} ended", ended.client());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_with_one_name_the_newer_ends_where_the_broker_assigns() -> Result<()> {
    let (ended, _) = claimed_twice(Settings::with_new_protocol).await?;
    ensure!(ended.client().starts_with("newer"), "{} ended", ended.client());
    Ok(())
}
