//! What a person must mend: the route that meets it stops with one message and goes on by itself when it
//! is mended, exact to the last record, while the other route of the same worker is not held up.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use integration_tests::counters::{COLUMNS, Counters};
use integration_tests::log::Raw;
use integration_tests::stack::{Pipeline, same_rows};
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::Worker;
use serde_json::json;
use sqlx::AssertSqlSafe;

const STOPPED: &str = "the route has stopped";
const GOES_ON: &str = "the route goes on";

async fn sql(pipeline: &Pipeline, text: &str) -> Result<()> {
    let text = text.replace("TABLE_", &pipeline.name);
    sqlx::raw_sql(AssertSqlSafe(text.clone())).execute(&pipeline.sql).await.context(text)?;
    Ok(())
}

fn lines_of(worker: &Worker, pipeline: &Pipeline, what: &str) -> Vec<String> {
    let log = worker.log();
    let is_one = |line: &&str| line.contains(what) && line.contains(&pipeline.name);
    log.lines().filter(is_one).map(str::to_owned).collect()
}

/// Waits for the `count`th such line of the log, and gives it.
async fn line(worker: &Worker, pipeline: &Pipeline, what: &str, count: usize) -> Result<String> {
    until(&format!("line {count} of {what:?}"), PATIENCE, async || {
        worker.still_runs()?;
        let lines = lines_of(worker, pipeline, what);
        ensure!(lines.len() <= count, "it is said again: {lines:#?}");
        Ok(match &lines[..] {
            [.., last] if lines.len() == count => Seen::Done(last.clone()),
            _ => Seen::NotYet(format!("{lines:?}")),
        })
    })
    .await
}

/// What is done to a table, how it is mended, and what must be said of it.
const TROUBLES: [(&str, &str, &str); 4] = [
    (
        "alter table TABLE_ rename to TABLE__",
        "alter table TABLE__ rename to TABLE_",
        "there is no table",
    ),
    (
        "alter table TABLE_ rename column n to m",
        "alter table TABLE_ rename column m to n",
        "column \"n\" is gone",
    ),
    (
        "revoke update on TABLE_ from writer_of_TABLE_",
        "grant update on TABLE_ to writer_of_TABLE_",
        "permission denied",
    ),
    (
        "alter table TABLE_ add must text not null default ''; \
         alter table TABLE_ alter must drop default",
        "alter table TABLE_ alter must set default ''",
        "column \"must\" has become NOT NULL",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_route_whose_table_is_in_trouble_stops_alone_and_goes_on_when_it_is_mended() -> Result<()>
{
    let hurt = Pipeline::new("hurt", 2, COLUMNS).await?;
    let mut well = Pipeline::new("well", 2, COLUMNS).await?;
    well.group.clone_from(&hurt.group);
    let role = "create role writer_of_TABLE_ login password 'secret'; \
        grant create, usage on schema public to writer_of_TABLE_; \
        grant select, insert, update, delete on all tables in schema public to writer_of_TABLE_";
    // Whoever creates the bookkeeping tables, they are there to be granted.
    let (status, said) = hurt.settings("init").command(&["init"]).await?;
    ensure!(status.success(), "init: {said}");
    sql(&hurt, role).await?;
    let mut settings = hurt.settings("worker");
    settings.routes.extend(well.settings("worker").routes);
    // One connection: a worker that waits for one route would hold up the other.
    settings.connections = 1;
    let login = format!("://writer_of_{}:secret@", hurt.name);
    let (before, host) = settings.database.split_once('@').context("a URL with a user")?;
    let scheme = before.split_once("://").context("a URL")?.0;
    settings.database = format!("{scheme}{login}{host}");
    let worker = settings.start().await?;
    let (mut ours, mut others) = (Counters::new(10_000), Counters::new(50));
    for (count, (harm, mend, says)) in TROUBLES.into_iter().enumerate() {
        let count = count + 1;
        ours.append(&hurt, 200).await?;
        ours.are_exact(&hurt, &[&worker]).await?;
        sql(&hurt, harm).await?;
        ours.append(&hurt, 200).await?;
        let told = line(&worker, &hurt, STOPPED, count).await?;
        ensure!(told.contains(says), "{says:?} is to be said: {told}");
        ensure!(told.contains(&format!("public.{}", hurt.name)), "the table is named: {told}");
        others.append(&well, 200).await?;
        others.are_exact(&well, &[&worker]).await?;
        let failing = worker.metric("write_behind_consumer_route_failing").await?;
        ensure!(failing == Some(1.0), "one of two routes is in trouble: {failing:?}");
        sql(&hurt, mend).await?;
        ours.are_exact(&hurt, &[&worker]).await?;
        line(&worker, &hurt, GOES_ON, count).await?;
    }
    ensure!(lines_of(&worker, &well, STOPPED).is_empty(), "the other route never stopped");
    // A plan that the server has prepared is of no use after this, and nobody need mend it.
    sql(&hurt, "alter table TABLE_ alter id type varchar(60)").await?;
    ours.append(&hurt, 200).await?;
    ours.are_exact(&hurt, &[&worker]).await?;
    ensure!(lines_of(&worker, &hurt, STOPPED).len() == TROUBLES.len(), "it is waited out");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_a_table_leaves_its_route_waiting_and_the_others_go_on() -> Result<()> {
    let hurt = Pipeline::new("late", 2, COLUMNS).await?;
    let mut well = Pipeline::new("early", 2, COLUMNS).await?;
    well.group.clone_from(&hurt.group);
    sql(&hurt, "alter table TABLE_ rename to TABLE__").await?;
    // Alone it is a start that fails.
    let (status, said) = hurt.settings("alone").command(&["run"]).await?;
    ensure!(status.code() == Some(1) && said.contains("there is no table"), "{status}: {said}");

    let mut settings = hurt.settings("worker");
    settings.routes.extend(well.settings("worker").routes);
    let worker = settings.start().await?;
    let (mut ours, mut others) = (Counters::new(50), Counters::new(50));
    ours.append(&hurt, 200).await?;
    others.append(&well, 200).await?;
    others.are_exact(&well, &[&worker]).await?;
    let told = line(&worker, &hurt, "not located yet", 1).await?;
    ensure!(told.contains("there is no table") && told.contains("the others go on"), "{told}");

    sql(&hurt, "alter table TABLE__ rename to TABLE_").await?;
    ours.are_exact(&hurt, &[&worker]).await?;
    // It is this route's own from then on.
    let mut other = hurt.settings("other");
    other.pipeline.push_str("-other");
    let (status, said) = other.command(&["run"]).await?;
    ensure!(status.code() == Some(3) && said.contains("is written by the pipeline"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_records_stops_its_route_and_sets_nothing_aside() -> Result<()> {
    let columns = "id bigint primary key, n bigint constraint small check (n < 1000)";
    let pipeline = Pipeline::new("flood", 1, columns).await?;
    let record = |id: i64| Raw::put(&id.to_string(), &json!({ "n": id }).to_string());
    let records: Vec<Raw> = (500..1_500).map(record).collect();
    pipeline.append(&records[..100]).await?;
    let worker = pipeline.settings("worker").start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    pipeline.append(&records[400..]).await?;
    let told = line(&worker, &pipeline, STOPPED, 1).await?;
    ensure!(told.contains("so many records are bad"), "{told}");
    ensure!(told.contains("bad_records.max_ratio"), "it says how to go on: {told}");
    let letters = pipeline.dead_letters().await?;
    ensure!(letters.is_empty(), "{} were set aside", letters.len());
    sql(&pipeline, "alter table TABLE_ drop constraint small").await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    let letters = pipeline.dead_letters().await?;
    ensure!(letters.is_empty(), "{} were set aside", letters.len());
    ensure!(pipeline.number("count(*)").await? == 700, "every row is there");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn children_wait_for_parents_of_another_topic_and_an_orphan_is_set_aside_in_the_end()
-> Result<()> {
    let parents = Pipeline::new("parents", 2, "id bigint primary key").await?;
    let columns =
        format!("id bigint primary key, parent bigint not null references {}", parents.name);
    let mut children = Pipeline::new("children", 2, &columns).await?;
    children.group.clone_from(&parents.group);
    let child =
        |id: i64, parent: i64| Raw::put(&id.to_string(), &json!({ "parent": parent }).to_string());
    // The children have their turn long before all parents are written, however busy the machine.
    parents.slow_down().await?;
    let mut settings = children.settings("worker");
    settings.routes.extend(parents.settings("worker").routes);
    settings.connections = 1;
    settings.max_rows = 100;
    let of = |ids: std::ops::Range<i64>| ids.map(|id| child(id, id)).collect::<Vec<_>>();
    let ids = |ids: std::ops::Range<i64>| {
        ids.map(|id| Raw::put(&id.to_string(), "{}")).collect::<Vec<_>>()
    };
    // The parents are in the log, and many batches are ahead of those that the children need.
    parents.append(&ids(600..10_000)).await?;
    parents.append(&ids(0..500)).await?;
    children.append(&of(0..500)).await?;
    let worker = settings.start().await?;
    let is_held = "waiting for another row";
    until("the children to be held", PATIENCE, async || {
        worker.still_runs()?;
        Ok(Seen::when(!lines_of(&worker, &children, is_held).is_empty(), || "not yet".to_owned()))
    })
    .await?;
    children.drained(&[&worker], PATIENCE).await?;
    let letters = children.dead_letters().await?;
    ensure!(letters.is_empty(), "{letters:?}");
    ensure!(children.number("count(*)").await? == 500, "every child is there");

    parents.append(&ids(500..600)).await?;
    let orphan = children.append(&[child(100_000, 100_000)]).await?;
    children.append(&of(400..600)).await?;
    parents.drained(&[&worker], PATIENCE).await?;
    children.drained(&[&worker], Duration::from_mins(2)).await?;
    let letters = children.dead_letters().await?;
    let found: Vec<_> =
        letters.iter().map(|one| (one.partition, one.offset, one.sqlstate.as_deref())).collect();
    ensure!(found == [(orphan[0].0, orphan[0].1, Some("23503"))], "{letters:?}");
    let rows = children.rows("id").await?;
    let expected = (0..600).map(|id| (id.to_string(), json!({ "id": id, "parent": id }))).collect();
    same_rows(&rows, &expected)
}
