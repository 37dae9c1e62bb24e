//! Logs that change under the offsets without a record that is lost: partitions are added, or retention
//! removes what is no record.

use anyhow::{Context as _, Result, ensure};
use integration_tests::log::{Log, Raw};
use integration_tests::stack::Pipeline;
use integration_tests::wait::{PATIENCE, Seen, until};
use rdkafka::admin::{AdminOptions, NewPartitions};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::safety::{
    COLUMNS, admin, applied, handed_over, increments, is_not_handed_over, is_refused, stops_saying,
};

async fn add_partitions(pipeline: &Pipeline, count: usize) -> Result<()> {
    let more = NewPartitions::new(&pipeline.name, count);
    for result in admin(pipeline)?.create_partitions([&more], &AdminOptions::new()).await? {
        result.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn added_partitions_stop_a_worker_and_are_refused_at_the_next_start() -> Result<()> {
    let mut pipeline = applied("grown", 2, 5).await?;
    let worker = pipeline.settings("reading").start().await?;
    pipeline.settled(&[&worker]).await?;
    add_partitions(&pipeline, 3).await?;
    stops_saying(&worker, "the topic had 2 partitions and has 3").await?;
    is_refused(&pipeline.settings("again"), "the topic had 2 partitions and has 3").await?;
    let settings = pipeline.settings("more");
    let of_many_rows: Vec<Raw> =
        (0..20).map(|at| Raw::put(&at.to_string(), r#"{"n":1}"#).adding("n")).collect();
    // A producer that does not know of the third partition yet.
    pipeline.append(&of_many_rows).await?;
    let (status, said) = settings.command(&["hand-over", "go-on", "--dry-run"]).await?;
    ensure!(status.success() && said.contains("partition 2: begins at offset 0"), "{said}");
    pipeline.partitions = 3;
    pipeline.log = Log::new(&pipeline.kafka.bootstrap())?;
    pipeline.append(&of_many_rows).await?;
    is_not_handed_over(&settings, &["go-on", "--yes"], "wait in two partitions").await?;
    let (_, said) = settings.command(&["hand-over", "go-on", "--yes"]).await?;
    let place =
        said.split("--accept-disorder ").nth(1).and_then(|said| said.split_whitespace().next());
    let place = place.with_context(|| format!("no place is named: {said}"))?;
    let (partition, offset) = place.split_once(':').context("a partition and an offset")?;
    let earlier = format!("{partition}:{}", offset.parse::<i64>()? - 1);
    let accepts = |place| ["go-on", "--yes", "--accept-disorder", place];
    is_not_handed_over(&settings, &accepts(&earlier), "wait in two partitions").await?;
    handed_over(&pipeline, &settings, &accepts(place)).await
}

/// Commits a transaction of one record, and aborts one: offsets 0 to 3, of which only the first has a
/// record that is ever read.
fn transactions(pipeline: &Pipeline) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", pipeline.kafka.bootstrap())
        .set("transactional.id", &pipeline.name)
        .create()?;
    producer.init_transactions(PATIENCE)?;
    for commits in [true, false] {
        producer.begin_transaction()?;
        let record = BaseRecord::to(&pipeline.name).key("0").payload(r#"{"n":1}"#).partition(0);
        producer.send(record).map_err(|(error, _)| error)?;
        producer.flush(PATIENCE)?;
        if commits {
            producer.commit_transaction(PATIENCE)?;
        } else {
            producer.abort_transaction(PATIENCE)?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_removes_that_was_no_record_is_no_loss() -> Result<()> {
    let pipeline = Pipeline::new("markers", 1, COLUMNS).await?;
    let worker = pipeline.settings("first").start().await?;
    transactions(&pipeline)?;
    until("the offset to be past the markers", PATIENCE, async || {
        let applied = pipeline.applied().await?;
        Ok(Seen::when(applied.get(&0) == Some(&4), || format!("{applied:?}")))
    })
    .await?;
    pipeline.committed(&[&worker]).await?;
    ensure!(worker.terminate().await?.success(), "it was to end in peace");
    let mut upto = TopicPartitionList::new();
    upto.add_partition_offset(&pipeline.name, 0, Offset::Offset(4))?;
    admin(&pipeline)?.delete_records(&upto, &AdminOptions::new()).await?;
    let settings = pipeline.settings("later");
    let worker = settings.start().await?;
    pipeline.append(&increments(1)).await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    assert_eq!(pipeline.number("n").await?, 2, "1 was set, and 1 added");
    ensure!(worker.terminate().await?.success(), "it was to end in peace");
    let (status, said) = settings.command(&["verify"]).await?;
    ensure!(status.success(), "{said}");
    Ok(())
}
