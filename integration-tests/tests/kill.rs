//! A worker killed with SIGKILL at every step of its transaction: no increment is lost or doubled.
//!
//! The proxies stop the worker at the step, so that the kill comes exactly there.

use anyhow::Result;
use integration_tests::counters::{COLUMNS, Counters};
use integration_tests::postgres::Postgres;
use integration_tests::postgres_wire::{Point, PostgresWire};
use integration_tests::stack::Pipeline;
use integration_tests::wait::PATIENCE;

/// The step at which the worker dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is about to begin.
    BeforeBegin,
    /// It has moved the offset and is about to write the rows.
    Inside,
    /// It has sent COMMIT, the database has committed, and it has not been told.
    CommitUnanswered,
    /// It knows, and has not told Kafka.
    BeforeKafkaCommit,
}

/// What comes after the kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// More records.
    Traffic,
    /// Nothing: the offsets must catch up all the same.
    Silence,
}

async fn killed(step: Step, then: Then) -> Result<()> {
    let pipeline = Pipeline::new("kill", 2, COLUMNS).await?;
    let wire = PostgresWire::in_front_of(pipeline.postgres.port()).await?;
    let mut settings = pipeline.settings("killed").soon_given_up();
    settings.database = Postgres::url_by_way_of(wire.port());
    settings.bootstrap = pipeline.kafka.bootstrap_through_wire();
    settings.connections = 1;
    let mut counters = Counters::new(50);

    let worker = settings.start().await?;
    counters.append(&pipeline, 500).await?;
    counters.are_exact(&pipeline, &[&worker]).await?;
    let before = pipeline.applied().await?;

    let table = pipeline.name.clone();
    let mut hold = match step {
        Step::BeforeBegin => wire.hold(Point::Begin),
        Step::Inside => wire.hold(Point::Insert(table)),
        Step::CommitUnanswered => wire.hold(Point::CommitAnswer(table)),
        Step::BeforeKafkaCommit => pipeline.kafka.wire().hold_commit_of(worker.client()),
    };
    counters.append(&pipeline, 500).await?;
    hold.reached(PATIENCE).await?;
    worker.kill()?;

    let committed = matches!(step, Step::CommitUnanswered | Step::BeforeKafkaCommit);
    assert_eq!(pipeline.applied().await? != before, committed, "the kill came at another step");
    let mut settings = pipeline.settings("successor").soon_given_up();
    settings.connections = 1;
    let successor = settings.start().await?;
    if then == Then::Traffic {
        counters.append(&pipeline, 500).await?;
    }
    counters.are_exact(&pipeline, &[&successor]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_begin_nothing_is_lost() -> Result<()> {
    killed(Step::BeforeBegin, Then::Traffic).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_begin_on_an_idle_topic_nothing_is_lost() -> Result<()> {
    killed(Step::BeforeBegin, Then::Silence).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_inside_the_transaction_nothing_is_lost_or_doubled() -> Result<()> {
    killed(Step::Inside, Then::Traffic).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_inside_the_transaction_on_an_idle_topic_nothing_is_lost() -> Result<()> {
    killed(Step::Inside, Then::Silence).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_with_commit_unanswered_nothing_is_doubled() -> Result<()> {
    killed(Step::CommitUnanswered, Then::Traffic).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_with_commit_unanswered_on_an_idle_topic_the_offsets_catch_up() -> Result<()> {
    killed(Step::CommitUnanswered, Then::Silence).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_kafka_commit_nothing_is_doubled() -> Result<()> {
    killed(Step::BeforeKafkaCommit, Then::Traffic).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_kafka_commit_on_an_idle_topic_the_offsets_catch_up() -> Result<()> {
    killed(Step::BeforeKafkaCommit, Then::Silence).await
}
