//! Routes of one worker under a ceiling of the whole database: one of high priority keeps up with what
//! it is given, and one of low priority with a backlog waits, and goes on. Time is counted in rows that
//! were written, so that the machine's speed does not matter.

use anyhow::{Result, ensure};
use integration_tests::log::Raw;
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::{Settings, Worker};

const COLUMNS: &str = "id bigint primary key, n bigint";
const ROWS_PER_SECOND: i64 = 400;
/// Of the rows written in a round, so many are what the high route is given.
const GIVEN: i64 = 300;
const ROUNDS: i64 = 12;
const BACKLOG: i64 = ROUNDS * ROWS_PER_SECOND;

/// So many rows, each of its own.
async fn append(pipeline: &Pipeline, ids: std::ops::Range<i64>) -> Result<()> {
    let record = |id: i64| Raw::put(&id.to_string(), r#"{"n":1}"#);
    pipeline.append(&ids.map(record).collect::<Vec<_>>()).await?;
    Ok(())
}

fn settings(urgent: &Pipeline, patient: &Pipeline, priorities: [&str; 2]) -> Settings {
    let mut settings = urgent.settings("worker");
    settings.routes.push((patient.name.clone(), format!("public.{}", patient.name)));
    settings.rows_per_second = Some(ROWS_PER_SECOND as u32);
    settings.max_rows = 50;
    settings.connections = 1;
    settings
        .with("WRITE_BEHIND_ROUTE_0_PRIORITY", priorities[0])
        .with("WRITE_BEHIND_ROUTE_1_PRIORITY", priorities[1])
}

/// Gives the one route three quarters of what the database may take, round by round, beside the other
/// route's backlog. How many rows of the first wait at the end, and how many of the other are written.
async fn given_beside_a_backlog(priorities: [&str; 2]) -> Result<(i64, i64)> {
    let urgent = Pipeline::new("urgent", 2, COLUMNS).await?;
    let mut patient = Pipeline::new("patient", 2, COLUMNS).await?;
    patient.group.clone_from(&urgent.group);
    append(&patient, 0..BACKLOG).await?;
    let worker = settings(&urgent, &patient, priorities).start().await?;
    let written = async || Ok::<_, anyhow::Error>(number(&urgent).await? + number(&patient).await?);
    until("the backlog to be begun", PATIENCE, async || {
        worker.still_runs()?;
        let written = written().await?;
        Ok(Seen::when(written > 0, || format!("{written} rows")))
    })
    .await?;
    let begun = written().await?;
    for round in 0..ROUNDS {
        append(&urgent, round * GIVEN..(round + 1) * GIVEN).await?;
        let all = begun + (round + 1) * ROWS_PER_SECOND;
        reached(&worker, all, &written).await?;
    }
    Ok((ROUNDS * GIVEN - number(&urgent).await?, number(&patient).await?))
}

async fn reached(worker: &Worker, all: i64, written: &impl AsyncFn() -> Result<i64>) -> Result<()> {
    until(&format!("{all} rows to be written"), PATIENCE, async || {
        worker.still_runs()?;
        let now = written().await?;
        Ok(Seen::when(now >= all, || format!("{now} rows")))
    })
    .await
}

async fn number(pipeline: &Pipeline) -> Result<i64> {
    pipeline.number("count(*)").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_high_route_keeps_up_while_a_low_ones_backlog_waits_and_goes_on() -> Result<()> {
    let (waiting, of_backlog) = given_beside_a_backlog(["high", "low"]).await?;
    // All that it was given but what came with the last rounds.
    ensure!(waiting <= 2 * GIVEN, "{waiting} rows of high priority wait");
    ensure!(of_backlog >= ROUNDS * 20, "only {of_backlog} rows of low priority are written");
    ensure!(of_backlog < BACKLOG, "the backlog was to last");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_of_the_same_priority_as_a_backlog_does_not_keep_up_with_so_much() -> Result<()> {
    let (waiting, _) = given_beside_a_backlog(["normal", "normal"]).await?;
    ensure!(waiting > 2 * GIVEN, "only {waiting} rows wait: what is given is no trial");
    Ok(())
}
