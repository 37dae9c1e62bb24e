//! What would make the table wrong is brought about for real; then `check` must name it, and `run` must
//! refuse to start, or stop, or mend it where the log still has what is missing.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use integration_tests::log::Raw;
use integration_tests::stack::{Pipeline, same_rows};
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::{Settings, Worker};
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::json;
use sqlx::AssertSqlSafe;

pub(crate) const COLUMNS: &str = "id bigint primary key, n bigint";
pub(crate) const REFUSED: Option<i32> = Some(3);

/// So many increments, each of one of three rows.
pub(crate) fn increments(count: usize) -> Vec<Raw> {
    (0..count).map(|at| Raw::put(&(at % 3).to_string(), r#"{"n":1}"#).adding("n")).collect()
}

/// A pipeline whose table holds so many increments, and no worker.
pub(crate) async fn applied(about: &str, partitions: i32, count: usize) -> Result<Pipeline> {
    let pipeline = Pipeline::new(about, partitions, COLUMNS).await?;
    pipeline.append(&increments(count)).await?;
    let worker = pipeline.settings("first").start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    pipeline.committed(&[&worker]).await?;
    ensure!(worker.terminate().await?.success(), "the first worker was to end in peace");
    Ok(pipeline)
}

/// Every increment of the log is in the table once.
pub(crate) async fn is_exact(pipeline: &Pipeline) -> Result<()> {
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    for placed in pipeline.log.read_all(&pipeline.name, pipeline.partitions).await? {
        let key = String::from_utf8(placed.raw.key.unwrap_or_default())?;
        *expected.entry(key).or_default() += 1;
    }
    let rows = pipeline.rows("id").await?;
    let found = rows.into_iter().map(|(key, row)| (key, row["n"].as_i64().unwrap_or(-1)));
    same_rows(&found.collect(), &expected)
}

/// `check` refuses and `run` does not start, and both say why.
pub(crate) async fn is_refused(settings: &Settings, says: &str) -> Result<()> {
    let (status, said) = settings.command(&["check"]).await?;
    ensure!(status.code() == REFUSED, "check ended with {status}:\n{said}");
    let verdict = said.lines().find(|line| line.starts_with("REFUSED")).context("no verdict")?;
    ensure!(verdict.contains(says), "check is to say {says:?}: {verdict}");
    let worker = settings.start().await?;
    stops_saying(&worker, says).await
}

pub(crate) async fn stops_saying(worker: &Worker, says: &str) -> Result<()> {
    let status = worker.exit().await?;
    ensure!(status.code() == REFUSED, "run ended with {status}:\n{}", worker.log());
    let log = worker.log();
    let error = log.lines().find(|line| line.starts_with("error:")).context("no error")?;
    ensure!(error.contains(says), "run is to say {says:?}: {error}");
    Ok(())
}

/// `hand-over` refuses, and says why.
pub(crate) async fn is_not_handed_over(
    settings: &Settings,
    how: &[&str],
    says: &str,
) -> Result<()> {
    let (status, said) = settings.command(&[&["hand-over"], how].concat()).await?;
    ensure!(status.code() == REFUSED, "hand-over ended with {status}:\n{said}");
    ensure!(said.contains(says), "hand-over is to say {says:?}: {said}");
    Ok(())
}

/// After `hand-over` a worker writes what is in the log, and what comes.
pub(crate) async fn handed_over(
    pipeline: &Pipeline,
    settings: &Settings,
    how: &[&str],
) -> Result<()> {
    let (status, said) = settings.command(&[&["hand-over"], how].concat()).await?;
    ensure!(status.success(), "hand-over ended with {status}:\n{said}");
    let worker = settings.start().await?;
    pipeline.append(&increments(4)).await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    is_exact(pipeline).await?;
    ensure!(worker.terminate().await?.success(), "it was to end in peace");
    Ok(())
}

/// One grade and line of `check`'s JSON.
async fn findings(settings: &Settings) -> Result<Vec<(String, String)>> {
    let (_, said) = settings.command(&["check", "--json"]).await?;
    let line = said.lines().find(|line| line.starts_with('{')).context("no JSON")?;
    let report: serde_json::Value = serde_json::from_str(line)?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().context("no findings")?;
    Ok(findings.iter().map(|one| (text(&one["grade"]), text(&one["found"]))).collect())
}

async fn has(settings: &Settings, grade: &str, says: &str) -> Result<()> {
    let findings = findings(settings).await?;
    let found = findings.iter().any(|(is, found)| is == grade && found.contains(says));
    ensure!(found, "{grade} with {says:?} is not among {findings:#?}");
    Ok(())
}

pub(crate) fn admin(pipeline: &Pipeline) -> Result<AdminClient<DefaultClientContext>> {
    Ok(ClientConfig::new().set("bootstrap.servers", pipeline.kafka.bootstrap()).create()?)
}

async fn delete_topic(pipeline: &Pipeline) -> Result<()> {
    for result in admin(pipeline)?.delete_topics(&[&*pipeline.name], &AdminOptions::new()).await? {
        result.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}

async fn recreate_topic(pipeline: &Pipeline) -> Result<()> {
    delete_topic(pipeline).await?;
    until("the topic to be there anew", PATIENCE, async || {
        let created = pipeline.kafka.create_topic(&pipeline.name, pipeline.partitions).await;
        Ok(created.map_or_else(|error| Seen::NotYet(format!("{error:#}")), Seen::Done))
    })
    .await
}

/// Commits for the group, as an operator's tool does: only a group without members takes it.
async fn move_group(pipeline: &Pipeline, to: i64) -> Result<()> {
    let (bootstrap, group) = (pipeline.kafka.bootstrap(), pipeline.group.clone());
    let topic = pipeline.name.clone();
    tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", group)
            .create()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&topic, 0, Offset::Offset(to))?;
        Ok(consumer.commit(&list, CommitMode::Sync)?)
    })
    .await?
}

pub(crate) async fn sql(pipeline: &Pipeline, text: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(text)).execute(&pipeline.sql).await?;
    Ok(())
}

/// Keeps a copy of the table and of its bookkeeping, as a backup does.
async fn back_up(pipeline: &Pipeline) -> Result<()> {
    let name = &pipeline.name;
    let kept = ["write_behind_offsets", "write_behind_writers", "write_behind_last_records"];
    let copies = kept.map(|table| {
        format!("create table {name}_{table} as select * from {table} where topic = '{name}';")
    });
    sql(pipeline, format!("create table {name}_rows as select * from {name}; {}", copies.concat()))
        .await
}

async fn restore(pipeline: &Pipeline) -> Result<()> {
    let name = &pipeline.name;
    let kept = ["write_behind_offsets", "write_behind_writers", "write_behind_last_records"];
    let copies = kept.map(|table| {
        format!(
            "delete from {table} where topic = '{name}'; \
             insert into {table} select * from {name}_{table};"
        )
    });
    let rows = format!("delete from {name}; insert into {name} select * from {name}_rows;");
    sql(pipeline, format!("begin; {rows} {} commit", copies.concat())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_topic_is_refused_whether_its_log_is_shorter_or_longer() -> Result<()> {
    let pipeline = applied("recreated", 1, 5).await?;
    recreate_topic(&pipeline).await?;
    pipeline.append(&increments(3)).await?;
    is_refused(&pipeline.settings("shorter"), "the log ends at 3").await?;
    pipeline.append(&increments(6)).await?;
    is_refused(&pipeline.settings("longer"), "the record at offset 4 is not the one").await?;
    assert_eq!(pipeline.number("sum(n)").await?, 5, "nothing was applied");
    let settings = pipeline.settings("begun");
    is_not_handed_over(&settings, &["begin", "--yes"], "has rows").await?;
    sql(&pipeline, format!("truncate {}", pipeline.name)).await?;
    handed_over(&pipeline, &settings, &["begin", "--yes"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_while_it_is_read_stops_the_worker() -> Result<()> {
    let pipeline = applied("deleted", 1, 5).await?;
    let worker = pipeline.settings("losing").start().await?;
    pipeline.settled(&[&worker]).await?;
    delete_topic(&pipeline).await?;
    stops_saying(&worker, "does not exist any more").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_recreated_and_filled_while_it_is_read_stops_the_worker() -> Result<()> {
    let pipeline = applied("replaced", 1, 5).await?;
    let worker = pipeline.settings("reading").start().await?;
    pipeline.settled(&[&worker]).await?;
    recreate_topic(&pipeline).await?;
    // Beyond the worker's position at once: its next fetch meets no error.
    pipeline.append(&increments(50)).await?;
    stops_saying(&worker, "topic was recreated").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_what_the_database_lacks_is_refused() -> Result<()> {
    let pipeline = applied("retention", 1, 5).await?;
    pipeline.append(&increments(6)).await?;
    let mut upto = TopicPartitionList::new();
    upto.add_partition_offset(&pipeline.name, 0, Offset::Offset(8))?;
    admin(&pipeline)?.delete_records(&upto, &AdminOptions::new()).await?;
    let settings = pipeline.settings("late");
    is_refused(&settings, "the log begins at 8").await?;
    is_not_handed_over(&settings, &["go-on", "--yes"], "add --accept-loss 3").await?;
    is_not_handed_over(&settings, &["go-on", "--yes", "--accept-loss", "2"], "loss 3").await?;
    let accepted = ["hand-over", "go-on", "--yes", "--accept-loss", "3"];
    let (status, said) = settings.command(&accepted).await?;
    ensure!(status.success(), "hand-over ended with {status}:\n{said}");
    let worker = settings.start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    assert_eq!(pipeline.number("sum(n)").await?, 8, "5, and the 3 that the log still has of 6");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_is_refused() -> Result<()> {
    let pipeline = applied("compacted", 1, 5).await?;
    let name = pipeline.name.clone();
    let alter = AlterConfig::new(ResourceSpecifier::Topic(&name)).set("cleanup.policy", "compact");
    for result in admin(&pipeline)?.alter_configs([&alter], &AdminOptions::new()).await? {
        result.map_err(|(topic, code)| anyhow::anyhow!("{topic:?}: {code}"))?;
    }
    is_refused(&pipeline.settings("again"), "cleanup.policy is compact").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_is_caught_up_from_the_log_whether_or_not_a_worker_runs() -> Result<()>
{
    let pipeline = applied("restored", 2, 5).await?;
    back_up(&pipeline).await?;
    pipeline.append(&increments(20)).await?;
    let worker = pipeline.settings("idle").start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    pipeline.committed(&[&worker]).await?;
    restore(&pipeline).await?;
    // No record comes: the worker finds out by itself.
    pipeline.drained(&[&worker], PATIENCE).await?;
    is_exact(&pipeline).await?;
    let log = worker.log();
    ensure!(log.contains("the database went back, as if restored"), "{log}");
    ensure!(worker.terminate().await?.success(), "it was to end in peace");

    restore(&pipeline).await?;
    let settings = pipeline.settings("later");
    has(&settings, "warning", "the database was restored, or the offset was moved").await?;
    let worker = settings.start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    is_exact(&pipeline).await?;
    let log = worker.log();
    ensure!(log.contains("stands before the group's committed offset"), "{log}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_that_were_moved_or_deleted_in_kafka_change_nothing() -> Result<()> {
    let pipeline = applied("moved", 1, 5).await?;
    pipeline.append(&increments(5)).await?;
    move_group(&pipeline, 9).await?;
    has(&pipeline.settings("check"), "warning", "although the group has committed 9").await?;
    for (to, says) in [
        (Some(9), "stands before the group's committed offset"),
        (Some(1), "committed offset is behind the database"),
        (None, "the group has no committed offset here"),
    ] {
        if let Some(to) = to {
            move_group(&pipeline, to).await?;
        } else {
            let groups = [&*pipeline.group];
            for result in admin(&pipeline)?.delete_groups(&groups, &AdminOptions::new()).await? {
                result.map_err(|(group, code)| anyhow::anyhow!("{group}: {code}"))?;
            }
        }
        let worker = pipeline.settings("again").start().await?;
        pipeline.drained(&[&worker], PATIENCE).await?;
        pipeline.committed(&[&worker]).await?;
        is_exact(&pipeline).await?;
        ensure!(worker.log().contains(says), "{says}:\n{}", worker.log());
        ensure!(worker.terminate().await?.success(), "it was to end in peace");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_more_than_its_text_and_a_missing_right_are_found() -> Result<()> {
    let columns = "id character(9) primary key, n bigint";
    let pipeline = Pipeline::new("padded", 1, columns).await?;
    let settings = pipeline.settings("check");
    has(&settings, "failed", "can't be a key").await?;

    let pipeline = applied("rights", 1, 5).await?;
    let role = format!("only_{}", pipeline.name);
    sql(
        &pipeline,
        format!(
            "create role {role} login password 'hush'; \
             grant select, insert, update on all tables in schema public to {role}; \
             revoke update on {} from {role};",
            pipeline.name
        ),
    )
    .await?;
    let mut settings = pipeline.settings("check");
    settings.database =
        format!("postgres://{role}:hush@127.0.0.1:{}/postgres", pipeline.postgres.port());
    has(
        &settings,
        "failed",
        &format!("GRANT DELETE, UPDATE ON \"public\".\"{}\" TO", pipeline.name),
    )
    .await?;
    let others = "GRANT DELETE ON write_behind_dead_letters, write_behind_tables, \
                  write_behind_writers TO";
    has(&settings, "failed", others).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_changes_nothing() -> Result<()> {
    let pipeline = applied("unchanged", 2, 9).await?;
    pipeline.append(&increments(3)).await?;
    let tables = [
        "write_behind_offsets",
        "write_behind_writers",
        "write_behind_dead_letters",
        "write_behind_last_records",
        "write_behind_tables",
    ];
    let dump = async || {
        let mut all = Vec::new();
        for table in tables {
            let text = format!(
                "select coalesce(jsonb_agg(to_jsonb(t) order by to_jsonb(t)), '[]')::text \
                 from {table} t where topic = '{}'",
                pipeline.name
            );
            let rows: String =
                sqlx::query_scalar(AssertSqlSafe(text)).fetch_one(&pipeline.sql).await?;
            all.push(json!({ table: rows }));
        }
        let committed = pipeline.log.committed(&pipeline.group, &pipeline.name, 2).await?;
        let group = pipeline.log.group(&pipeline.group).await?;
        anyhow::Ok((all, committed, group, pipeline.rows("id").await?))
    };
    let before = dump().await?;
    let (status, said) = pipeline.settings("check").command(&["check"]).await?;
    ensure!(status.success(), "check ended with {status}:\n{said}");
    ensure!(said.contains("records behind"), "{said}");
    assert_eq!(dump().await?, before);
    Ok(())
}
