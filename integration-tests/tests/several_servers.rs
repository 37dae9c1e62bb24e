//! A database URL that names several servers, of which one is down, one is a standby, and one takes writes.

use std::sync::Arc;

use anyhow::{Result, ensure};
use integration_tests::containers::free_port;
use integration_tests::postgres::Postgres;
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};

use crate::safety::{COLUMNS, increments, is_exact};

#[tokio::test(flavor = "multi_thread")]
async fn of_several_servers_the_one_that_takes_writes_is_written_to_also_after_it_was_away()
-> Result<()> {
    let (primary, standby) = tokio::try_join!(Postgres::start(), Postgres::start())?;
    standby.become_standby().await?;
    let primary = Arc::new(primary);
    let pipeline = Pipeline::on(Arc::clone(&primary), "several", 2, COLUMNS).await?;
    let mut settings = pipeline.settings("worker");
    let ports = [free_port()?, standby.port(), primary.port()];
    settings.database = Postgres::url_of_several(&ports);
    let (status, said) = settings.command(&["check"]).await?;
    ensure!(status.success(), "{said}");
    let worker = settings.start().await?;
    pipeline.append(&increments(20)).await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    primary.kill().await?;
    pipeline.append(&increments(20)).await?;
    until("each server to be told with what is wrong with it", PATIENCE, async || {
        worker.still_runs()?;
        let told = worker.answer("/readyz").await?;
        let named = ports.iter().all(|port| told.contains(&port.to_string()));
        let why = told.contains("connection refused") && told.contains("takes writes");
        Ok(Seen::when(named && why, || told.clone()))
    })
    .await?;
    primary.restart().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    is_exact(&pipeline).await?;
    ensure!(pipeline.dead_letters().await?.is_empty(), "good records were set aside");
    Ok(())
}
