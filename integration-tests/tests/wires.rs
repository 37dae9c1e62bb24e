//! The proxies themselves, with plain clients in the worker's place: each point is where it says.

use std::time::Duration;

use anyhow::Result;
use integration_tests::kafka::Kafka;
use integration_tests::log::Raw;
use integration_tests::postgres::Postgres;
use integration_tests::postgres_wire::{Point, PostgresWire};
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::wire::Door;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::task::JoinHandle;

struct Wired {
    pipeline: Pipeline,
    wire: PostgresWire,
}

impl Wired {
    async fn new() -> Result<Self> {
        let pipeline = Pipeline::new("wire", 1, "id int primary key").await?;
        let wire = PostgresWire::in_front_of(pipeline.postgres.port()).await?;
        Ok(Self { pipeline, wire })
    }

    /// Inserts the row 1 in a transaction, through the proxy.
    fn insert(&self) -> JoinHandle<Result<()>> {
        let url = Postgres::url_by_way_of(self.wire.port());
        let text = format!("insert into {} select unnest($1::int[])", self.pipeline.name);
        tokio::spawn(async move {
            let mut connection = PgConnection::connect(&url).await?;
            let mut transaction = connection.begin().await?;
            let ids: &[i32] = &[1];
            sqlx::query(AssertSqlSafe(text)).bind(ids).execute(&mut *transaction).await?;
            Ok(transaction.commit().await?)
        })
    }

    /// How many transactions are open in the database besides the one that asks.
    async fn open_transactions(&self) -> Result<i64> {
        // Other tests of this binary have transactions too; only this table's count.
        let text = "select count(distinct pid) from pg_locks
            where relation = to_regclass($1) and pid <> pg_backend_pid()";
        let counted = sqlx::query_scalar(text).bind(&self.pipeline.name);
        Ok(counted.fetch_one(&self.pipeline.sql).await?)
    }

    async fn no_transaction_is_left(&self) -> Result<()> {
        until("the transaction to be gone", PATIENCE, async || {
            let open = self.open_transactions().await?;
            Ok(Seen::when(open == 0, || format!("{open} are open")))
        })
        .await
    }

    async fn rows(&self) -> Result<i64> {
        self.pipeline.number("count(*)").await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_held_before_begin_has_nothing_in_the_database() -> Result<()> {
    let wired = Wired::new().await?;
    let mut hold = wired.wire.hold(Point::Begin);
    let insert = wired.insert();
    hold.reached(PATIENCE).await?;
    assert_eq!(wired.open_transactions().await?, 0);
    hold.release();
    insert.await??;
    assert_eq!(wired.rows().await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dies_inside_its_transaction_leaves_no_row() -> Result<()> {
    let wired = Wired::new().await?;
    let mut hold = wired.wire.hold(Point::Insert(wired.pipeline.name.clone()));
    let insert = wired.insert();
    hold.reached(PATIENCE).await?;
    insert.abort();
    // The hold is still there: it is the client's end that closes the connection.
    wired.no_transaction_is_left().await?;
    assert_eq!(wired.rows().await?, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_held_has_been_made() -> Result<()> {
    let wired = Wired::new().await?;
    let mut hold = wired.wire.hold(Point::CommitAnswer(wired.pipeline.name.clone()));
    let insert = wired.insert();
    hold.reached(PATIENCE).await?;
    assert_eq!(wired.rows().await?, 1);
    assert!(!insert.is_finished(), "the client has had its answer");
    hold.release();
    insert.await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_was_dropped_holds_nothing() -> Result<()> {
    let wired = Wired::new().await?;
    drop(wired.wire.hold(Point::Begin));
    wired.insert().await??;
    assert_eq!(wired.rows().await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shut_door_refuses_and_a_black_hole_swallows() -> Result<()> {
    let wired = Wired::new().await?;
    wired.wire.set(Door::Refusing);
    assert!(wired.insert().await?.is_err(), "a refused client got through");
    wired.wire.set(Door::BlackHole);
    let swallowed = tokio::time::timeout(Duration::from_millis(500), wired.insert()).await;
    assert!(swallowed.is_err(), "something answered");
    wired.wire.set(Door::Open);
    until("what was swallowed to arrive after all", PATIENCE, async || {
        let rows = wired.rows().await?;
        Ok(Seen::when(rows == 1, || format!("{rows} rows")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_commit_reaches_the_broker_only_when_released() -> Result<()> {
    let pipeline = Pipeline::new("wire", 1, "id int primary key").await?;
    pipeline.append(&[Raw::put("1", "{}"), Raw::put("2", "{}")]).await?;
    let kafka: &Kafka = pipeline.kafka;
    let client = format!("held-{}", pipeline.name);
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap_through_wire())
        .set("client.id", &client)
        .set("group.id", &pipeline.name)
        .create()?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&pipeline.name, 0, Offset::Offset(2))?;

    let mut hold = kafka.wire().hold_commit_of(&client);
    let commit = tokio::task::spawn_blocking(move || consumer.commit(&list, CommitMode::Sync));
    hold.reached(PATIENCE).await?;
    let committed = pipeline.log.committed(&pipeline.name, &pipeline.name, 1).await?;
    assert_eq!(committed[&0], -1, "the commit has passed the hold");
    hold.release();
    commit.await??;
    pipeline.committed(&[]).await
}
