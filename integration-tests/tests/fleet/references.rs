//! Rows that refer to each other, in partitions of two workers: each waits for the row that the other
//! brings, however late it comes.

use anyhow::{Context, Result, ensure};
use integration_tests::log::Raw;
use integration_tests::postgres::Postgres;
use integration_tests::postgres_wire::PostgresWire;
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::wire::Door;
use integration_tests::worker::Worker;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use write_behind_shared::partition::partition_of;

use super::end;

const COLUMNS: &str = "id text primary key, parent_id text";

/// A table whose rows refer to each other, and two workers with a partition each; one's way to the
/// database can be shut.
async fn scene(about: &str) -> Result<(Pipeline, PostgresWire, Worker, Worker)> {
    let pipeline = Pipeline::new(about, 2, COLUMNS).await?;
    let name = &pipeline.name;
    let refer = format!("alter table {name} add foreign key (parent_id) references {name}");
    sqlx::raw_sql(AssertSqlSafe(refer)).execute(&pipeline.sql).await?;
    let wire = PostgresWire::in_front_of(pipeline.postgres.port()).await?;
    let mut settings = pipeline.settings("parents").soon_given_up();
    settings.database = Postgres::url_by_way_of(wire.port());
    let parents = settings.start().await?;
    let children = pipeline.settings("children").soon_given_up().start().await?;
    pipeline.shared_out(&[&parents, &children]).await?;
    Ok((pipeline, wire, parents, children))
}

/// A key of the partition that `worker` has.
async fn key_of(worker: &Worker, about: &str) -> Result<String> {
    let report: Value = serde_json::from_str(&worker.get("/status").await?)?;
    let partition = &report["routes"][0]["partitions"][0]["partition"];
    let keys = (0..1_000).map(|number| format!("{about}-{number}"));
    let mut of_it = keys.filter(|key| *partition == partition_of(key.as_bytes(), 2).0);
    of_it.next().with_context(|| format!("no key of partition {partition}"))
}

/// A parent whose worker can't write, and then its child, which the other worker waits with.
async fn waits_for_its_parent(
    pipeline: &Pipeline,
    parents: &Worker,
    children: &Worker,
) -> Result<[String; 2]> {
    let (parent, child) = (key_of(parents, "p").await?, key_of(children, "c").await?);
    pipeline.append(&[Raw::put(&parent, "{}")]).await?;
    let value = format!(r#"{{"parent_id":"{parent}"}}"#);
    pipeline.append(&[Raw::put(&child, &value)]).await?;
    until("the child to wait", PATIENCE, async || {
        children.still_runs()?;
        let told = children.answer("/status").await.unwrap_or_else(|error| error.to_string());
        Ok(Seen::when(told.contains("may still bring it"), || told.clone()))
    })
    .await?;
    Ok([parent, child])
}

async fn both_are_there(pipeline: &Pipeline, rows: [String; 2]) -> Result<()> {
    let mut there: Vec<String> = pipeline.rows("id").await?.into_keys().collect();
    let mut rows = rows.to_vec();
    there.sort();
    rows.sort();
    ensure!(there == rows, "{there:?} are not {rows:?}");
    ensure!(pipeline.dead_letters().await?.is_empty(), "a good record was set aside");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_waits_for_a_parent_that_another_worker_writes_late() -> Result<()> {
    let (pipeline, wire, parents, children) = scene("late_parent").await?;
    wire.set(Door::Refusing);
    let rows = waits_for_its_parent(&pipeline, &parents, &children).await?;
    wire.set(Door::Open);
    pipeline.drained(&[&parents, &children], PATIENCE).await?;
    both_are_there(&pipeline, rows).await?;
    end(&parents).await?;
    end(&children).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_waits_for_the_parent_of_a_worker_that_is_killed() -> Result<()> {
    let (pipeline, wire, parents, children) = scene("killed_parent").await?;
    wire.set(Door::Refusing);
    let rows = waits_for_its_parent(&pipeline, &parents, &children).await?;
    parents.kill()?;
    pipeline.drained(&[&children], PATIENCE).await?;
    both_are_there(&pipeline, rows).await?;
    end(&children).await
}
