//! The table that the offsets speak of: another one is refused by every command, and what the refusal
//! advises is followed to the end.

use anyhow::{Result, ensure};
use integration_tests::log::Raw;
use integration_tests::stack::Pipeline;
use integration_tests::wait::PATIENCE;

use crate::safety::{
    COLUMNS, REFUSED, applied, handed_over, increments, is_exact, is_not_handed_over, is_refused,
    sql, stops_saying,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_another_pipeline_writes_is_refused() -> Result<()> {
    let first = applied("owner", 1, 5).await?;
    let second = Pipeline::new("thief", 1, COLUMNS).await?;
    let mut settings = second.settings("second");
    settings.routes = vec![(second.name.clone(), format!("public.{}", first.name))];
    is_refused(&settings, &format!("is written by the pipeline {:?}", first.name)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_table_than_the_offsets_speak_of_is_refused_and_filled_once_it_is_handed_over()
-> Result<()> {
    let pipeline = applied("moved", 1, 5).await?;
    let (name, schema) = (&pipeline.name, format!("elsewhere_{}", pipeline.name));
    let create = format!(
        "create table {name}_2 ({COLUMNS}); create schema {schema}; \
                          create table {schema}.{name} ({COLUMNS});"
    );
    sql(&pipeline, create).await?;
    let mut settings = pipeline.settings("changed");
    settings.routes = vec![(name.clone(), format!("public.{name}_2"))];
    is_refused(&settings, "would lack that").await?;
    settings.routes = vec![(name.clone(), name.clone())];
    settings.database = format!("{}?options[search_path]={schema},public", settings.database);
    is_refused(&settings, "write it with its schema").await?;

    sql(&pipeline, format!("drop table {name}; create table {name} ({COLUMNS})")).await?;
    let settings = pipeline.settings("again");
    is_refused(&settings, "is not the table of that name").await?;
    handed_over(&pipeline, &settings, &["begin", "--yes"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_not_replayed_into_another_table() -> Result<()> {
    let pipeline = applied("letters", 1, 5).await?;
    let (name, settings) = (&pipeline.name, pipeline.settings("bad"));
    pipeline.append(&[Raw::put("7", r#"{"n":"many"}"#)]).await?;
    let worker = settings.start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    ensure!(worker.terminate().await?.success(), "it was to end in peace");
    sql(&pipeline, format!("drop table {name}; create table {name} ({COLUMNS})")).await?;
    let (status, said) = settings.command(&["dead-letters", "replay", "--yes"]).await?;
    ensure!(status.code() == REFUSED, "replay ended with {status}:\n{said}");
    ensure!(said.contains("is not the table of that name"), "{said}");
    is_not_handed_over(&settings, &["begin", "--yes"], "1 open dead letters").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_replaced_while_it_is_written_stops_the_worker() -> Result<()> {
    let pipeline = applied("replaced_table", 1, 5).await?;
    let (name, worker) = (&pipeline.name, pipeline.settings("writing").start().await?);
    pipeline.settled(&[&worker]).await?;
    is_not_handed_over(&pipeline.settings("early"), &["begin", "--yes"], "are running").await?;
    let swap = format!(
        "begin; alter table {name} rename to {name}_then; create table {name} ({COLUMNS}); commit"
    );
    sql(&pipeline, swap).await?;
    pipeline.append(&increments(7)).await?;
    stops_saying(&worker, "is not the table of that name").await?;
    assert_eq!(pipeline.number("count(*)").await?, 0, "nothing was written to the other table");
    sql(&pipeline, format!("drop table {name}; alter table {name}_then rename to {name}")).await?;
    let worker = pipeline.settings("back").start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    is_exact(&pipeline).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_handed_over_while_a_group_of_the_new_protocol_has_members() -> Result<()> {
    let pipeline = applied("protocol", 1, 5).await?;
    let settings = pipeline.settings("new").with_new_protocol();
    let worker = settings.start().await?;
    pipeline.append(&increments(2)).await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    pipeline.committed(&[&worker]).await?;
    let go_on = ["go-on", "--yes"];
    is_not_handed_over(&settings, &go_on, "are running").await?;
    is_not_handed_over(&pipeline.settings("classic"), &go_on, "are running").await?;
    ensure!(worker.terminate().await?.success(), "it was to end in peace");
    handed_over(&pipeline, &settings, &go_on).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_pipeline_takes_its_table_over() -> Result<()> {
    let mut pipeline = applied("renamed", 2, 5).await?;
    let before = std::mem::replace(&mut pipeline.group, format!("{}_new", pipeline.name));
    let settings = pipeline.settings("new");
    is_refused(&settings, &format!("hand-over go-on --from-pipeline {before}")).await?;
    handed_over(&pipeline, &settings, &["go-on", "--from-pipeline", &before, "--yes"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_topic_goes_on_with_the_table_once_the_one_before_is_drained() -> Result<()> {
    let (old, mut new) =
        (applied("before", 1, 5).await?, Pipeline::new("after", 1, COLUMNS).await?);
    new.group.clone_from(&old.group);
    let mut settings = new.settings("new");
    settings.routes = vec![(new.name.clone(), format!("public.{}", old.name))];
    is_refused(&settings, &format!("--from-topic {}", old.name)).await?;
    let how = ["begin", "--from-topic", &old.name, "--keep-rows", "--yes"];
    old.append(&increments(1)).await?;
    is_not_handed_over(&settings, &how, "write the rest first").await?;
    let worker = old.settings("rest").start().await?;
    old.drained(&[&worker], PATIENCE).await?;
    ensure!(worker.terminate().await?.success(), "it was to end in peace");
    let (status, said) = settings.command(&[&["hand-over"], &how[..]].concat()).await?;
    ensure!(status.success(), "hand-over ended with {status}:\n{said}");
    new.append(&increments(3)).await?;
    let worker = settings.start().await?;
    new.drained(&[&worker], PATIENCE).await?;
    assert_eq!(old.number("sum(n)").await?, 9, "those of both logs");
    is_refused(&old.settings("late"), "by a route of this pipeline").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_know_the_group_is_refused() -> Result<()> {
    let pipeline = applied("emptied", 1, 5).await?;
    let name = &pipeline.name;
    sql(&pipeline, format!("delete from write_behind_offsets where topic = '{name}'")).await?;
    let settings = pipeline.settings("other");
    is_refused(&settings, "the database knows nothing of this partition").await?;
    handed_over(&pipeline, &settings, &["adopt", "--yes"]).await?;
    is_not_handed_over(&settings, &["adopt", "--yes"], "nothing to adopt").await?;
    is_not_handed_over(&settings, &["begin", "--keep-rows", "--yes"], "count again").await
}
