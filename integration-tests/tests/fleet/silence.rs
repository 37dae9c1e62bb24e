//! A client that silently stops to fetch: noticed, told once, read again, and given up in the end.

use anyhow::{Result, ensure};
use integration_tests::counters::{COLUMNS, Counters};
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_silently_stands_still_is_read_anew_and_then_given_up() -> Result<()> {
    let pipeline = Pipeline::new("silence", 1, COLUMNS).await?;
    let mut settings = pipeline.settings("silent");
    settings.bootstrap = pipeline.kafka.bootstrap_through_wire();
    settings.patience = "4s";
    let worker = settings.start().await?;
    let mut counters = Counters::new(50);
    counters.append(&pipeline, 500).await?;
    counters.are_exact(&pipeline, &[&worker]).await?;
    // A fetch that is never answered: the client waits for it, and has nothing to complain of.
    let stop_fetching = async || {
        let mut hold = pipeline.kafka.wire().hold_fetch_of(worker.client());
        hold.reached(PATIENCE).await?;
        anyhow::Ok(hold)
    };
    let hold = stop_fetching().await?;
    counters.append(&pipeline, 500).await?;
    until("the partition to be read again", PATIENCE, async || {
        worker.still_runs()?;
        let times = worker.metric("write_behind_consumer_read_anew_total").await?;
        Ok(Seen::when(times == Some(1.0), || format!("{times:?} times")))
    })
    .await?;
    hold.release();
    counters.are_exact(&pipeline, &[&worker]).await?;
    // The next time nothing helps.
    let _hold = stop_fetching().await?;
    counters.append(&pipeline, 500).await?;
    let status = worker.exit().await?;
    ensure!(status.code() == Some(1), "it ended with {status}");
    let log = worker.log();
    let told = log.matches("records in the log do not arrive").count();
    ensure!(told == 2, "told {told} times, not once for each time");
    ensure!(
        log.contains("does not deliver them, even after the partition was read again"),
        "{log}"
    );
    let successor = pipeline.settings("successor").start().await?;
    counters.are_exact(&pipeline, &[&successor]).await
}
