//! Records of other clients: of the Java client, applied like ours in the partitions of ours; in
//! transactions; with headers that no Rust client can write; in batches larger than a question asks for.

#[path = "../../consumer/tests/world/raw_record.rs"]
mod raw_record;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use integration_tests::stack::{Pipeline, same_rows};
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::Worker;
use raw_record::RawRecord;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::{Value, json};
use write_behind_producer::{Halt, WriteBehind, WriteError};

const COLUMNS: &str = "id text primary key, name text, n bigint";
const DELETED: usize = 20;

/// Keys of every length and beyond ASCII, as murmur2 treats each remainder of four differently.
fn keys() -> Vec<String> {
    let numbers = (0..200).map(|number: u64| number.pow(3).to_string());
    let long = (1..80).map(|length| "k".repeat(length));
    let beyond = ["größe", "键", "naïve café", "Ω", "🛩", "a b", "{\"a\":1}", "\u{7f}"];
    numbers.chain(long).chain(beyond.map(str::to_owned)).collect()
}

/// Has Kafka's own console producer write one line for each record: key, tab, value.
async fn java_writes(pipeline: &Pipeline, records: &[(&str, &str)]) -> Result<()> {
    java_writes_compressed(pipeline, "none", records).await
}

/// The same, with the batches compressed by `codec`.
async fn java_writes_compressed(
    pipeline: &Pipeline,
    codec: &str,
    records: &[(&str, &str)],
) -> Result<()> {
    let mut lines = String::new();
    for (key, value) in records {
        writeln!(lines, "{key}\t{value}")?;
    }
    let script = format!(
        r#"printf '%s' "$1" | LC_ALL=C.UTF-8 /opt/kafka/bin/kafka-console-producer.sh \
           --bootstrap-server localhost:9093 --topic {} --property parse.key=true \
           --property null.marker=GONE --compression-codec {codec}"#,
        pipeline.name
    );
    pipeline.kafka.shell(&script, &lines).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_the_java_client_is_applied_like_ours_and_shares_its_partition() -> Result<()> {
    let pipeline = Pipeline::new("java", 7, COLUMNS).await?;
    let worker = pipeline.settings("worker").start().await?;
    let keys = keys();
    let values: Vec<(&str, &str)> =
        keys.iter().map(|key| (&**key, r#"{"name":"java","n":1}"#)).collect();
    java_writes(&pipeline, &values).await?;

    let kafka = [("bootstrap.servers", pipeline.kafka.bootstrap())];
    let cache: WriteBehind<String, Value> =
        WriteBehind::builder(&pipeline.name, kafka).sink_group(&pipeline.group).build().await?;
    for key in &keys {
        cache.add(key, "n", 1).await?;
    }
    cache.persisted_all().await?;
    cache.close(Duration::from_secs(10)).await?;
    let deletes: Vec<(&str, &str)> = keys[..DELETED].iter().map(|key| (&**key, "GONE")).collect();
    java_writes(&pipeline, &deletes).await?;

    // Its value, our increment on top, its delete last: their order holds only in one partition.
    pipeline.drained(&[&worker], PATIENCE).await?;
    let row = |key: &String| (key.clone(), json!({ "id": key, "name": "java", "n": 2 }));
    let expected: BTreeMap<String, Value> = keys[DELETED..].iter().map(row).collect();
    same_rows(&pipeline.rows("id").await?, &expected)?;
    assert_eq!(pipeline.dead_letters().await?, []);

    let mut partitions: BTreeMap<String, (usize, BTreeSet<i32>)> = BTreeMap::new();
    for record in pipeline.log.read_all(&pipeline.name, pipeline.partitions).await? {
        let key = String::from_utf8(record.raw.key.context("a record without a key")?)?;
        let of_key = partitions.entry(key).or_default();
        of_key.0 += 1;
        of_key.1.insert(record.partition);
    }
    for (place, key) in keys.iter().enumerate() {
        let (records, partitions) = &partitions[key];
        assert_eq!(*records, if place < DELETED { 3 } else { 2 }, "records of {key:?}");
        assert_eq!(partitions.len(), 1, "{key:?} lies in the partitions {partitions:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_read_and_written_in_every_codec_that_kafka_knows() -> Result<()> {
    let pipeline = Pipeline::new("codecs", 2, COLUMNS).await?;
    let worker = pipeline.settings("worker").start().await?;
    let mut expected = BTreeMap::new();
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let key = format!("java-{codec}");
        // Long enough, and alike enough, that a broker is sent a compressed batch.
        let name = codec.repeat(200);
        let value = json!({ "name": name, "n": 1 }).to_string();
        java_writes_compressed(&pipeline, codec, &[(&key, &value)]).await?;
        expected.insert(key.clone(), json!({ "id": key, "name": name, "n": 1 }));

        let bootstrap = pipeline.kafka.bootstrap();
        let kafka = [("bootstrap.servers", &*bootstrap), ("compression.type", codec)];
        let cache: WriteBehind<String, Value> =
            WriteBehind::builder(&pipeline.name, kafka).sink_group(&pipeline.group).build().await?;
        let key = format!("ours-{codec}");
        cache.put(&key, &json!({ "name": name, "n": 2 })).await?;
        cache.persisted_all().await?;
        cache.close(Duration::from_secs(10)).await?;
        expected.insert(key.clone(), json!({ "id": key, "name": name, "n": 2 }));
    }
    pipeline.drained(&[&worker], PATIENCE).await?;
    same_rows(&pipeline.rows("id").await?, &expected)?;
    assert_eq!(pipeline.dead_letters().await?, []);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_somebody_gives_more_partitions_halts_writes_and_loses_none() -> Result<()> {
    let pipeline = Pipeline::new("grown", 2, COLUMNS).await?;
    let kafka = [("bootstrap.servers", pipeline.kafka.bootstrap())];
    let cache: WriteBehind<String, Value> =
        WriteBehind::builder(&pipeline.name, kafka).sink_group(&pipeline.group).build().await?;
    cache.put(&"a".to_owned(), &json!({ "name": "before" })).await?.replicated().await?;
    let script = format!(
        "/opt/kafka/bin/kafka-topics.sh --bootstrap-server localhost:9093 --alter --topic {} \
         --partitions 3",
        pipeline.name
    );
    pipeline.kafka.shell(&script, "").await?;
    let halt = until("writes are halted", PATIENCE, async || {
        let going_on = || Seen::NotYet("writes go on".to_owned());
        Ok(cache.halted().map_or_else(going_on, Seen::Done))
    });
    assert_eq!(halt.await?, Halt::Repartitioned { was: 2, now: 3 });
    let refused = cache.put(&"a".to_owned(), &json!({ "name": "after" })).await.unwrap_err();
    assert!(matches!(refused, WriteError::Halted(_)), "{refused:?}");
    assert_eq!(cache.get(&"a".to_owned()).await?, Some(json!({ "name": "before" })));
    cache.close(Duration::from_secs(10)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_whose_name_is_no_text_makes_a_bad_record_for_the_worker_and_for_verify()
-> Result<()> {
    let pipeline = Pipeline::new("headers", 1, COLUMNS).await?;
    let worker = pipeline.settings("worker").start().await?;
    for (header, n) in [(&b"fine"[..], 1), (b"\xffx", 2), ("größe".as_bytes(), 3), (b"\xc3", 4)] {
        let value = json!({ "n": n }).to_string();
        let record = RawRecord { key: b"a", value: value.as_bytes(), header };
        record.send(&pipeline.kafka.bootstrap(), &pipeline.name, 0);
    }
    pipeline.drained(&[&worker], PATIENCE).await?;
    let row = json!({ "id": "a", "name": null, "n": 3 });
    same_rows(&pipeline.rows("id").await?, &BTreeMap::from([("a".to_owned(), row)]))?;
    let letters = pipeline.dead_letters().await?;
    let places: Vec<i64> = letters.iter().map(|letter| letter.offset).collect();
    assert_eq!(places, [1, 3], "{letters:?}");
    assert!(letters[0].reason.contains("header"), "{letters:?}");
    for command in [&["verify"][..], &["dead-letters", "replay", "--yes"]] {
        let (ended, said) = worker.command(command).await?;
        assert!(ended.code().is_some_and(|code| code < 2), "{command:?}: {ended} {said}");
    }
    let (verified, said) = worker.command(&["verify"]).await?;
    assert!(verified.success(), "{said}");
    Ok(())
}

/// Waits until the worker says that it is this far behind.
async fn until_behind(worker: &Worker, behind: f64) -> Result<()> {
    until(&format!("a lag of {behind}"), PATIENCE, async || {
        worker.still_runs()?;
        let lag = worker.metric("write_behind_consumer_lag_records").await.ok().flatten();
        Ok(Seen::when(lag == Some(behind), || format!("{lag:?}")))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_an_open_transaction_are_behind_and_its_marker_is_not() -> Result<()> {
    let pipeline = Pipeline::new("transactions", 1, COLUMNS).await?;
    let mut settings = pipeline.settings("worker");
    settings.patience = "12s";
    let worker = settings.start().await?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", pipeline.kafka.bootstrap())
        .set("transactional.id", &pipeline.name)
        .create()?;
    producer.init_transactions(PATIENCE)?;
    for (number, commits) in [(0, true), (1, false), (2, true)] {
        producer.begin_transaction()?;
        for row in ["a", "b", "c"] {
            let key = format!("{row}{number}");
            let record = BaseRecord::to(&pipeline.name).key(&key).payload("{}").partition(0);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(PATIENCE)?;
        until_behind(&worker, 3.0).await?;
        if number == 0 {
            until("the open transaction to be the reason", PATIENCE, async || {
                let answer = worker.answer("/readyz").await?;
                Ok(Seen::when(answer.contains("transaction is open"), || answer.clone()))
            })
            .await?;
        }
        if commits {
            producer.commit_transaction(PATIENCE)?;
        } else {
            producer.abort_transaction(PATIENCE)?;
        }
        until_behind(&worker, 0.0).await?;
    }
    let ready = until("ready", PATIENCE, async || {
        let answer = worker.answer("/readyz").await?;
        Ok(Seen::when(answer.starts_with("HTTP/1.1 200"), || answer.clone()))
    });
    ready.await?;
    let rows: Vec<String> = pipeline.rows("id").await?.into_keys().collect();
    assert_eq!(rows, ["a0", "a2", "b0", "b2", "c0", "c2"]);
    // Another client has looked at what the markers and the aborted records left out: it was nothing.
    let skips = worker.metric("write_behind_consumer_offset_skips_total").await?;
    assert!(skips <= Some(1.0), "from the first transaction to the third at most: {skips:?}");
    assert_eq!(worker.metric("write_behind_consumer_records_lost_total").await?, Some(0.0));
    assert_eq!(worker.metric("write_behind_consumer_read_anew_total").await?, Some(0.0));
    let log = worker.log();
    assert!(!log.contains("no record came"), "{log}");
    Ok(())
}

/// Batches of 200 KB, some for each partition.
fn large_batches(pipeline: &Pipeline, producer: &BaseProducer) -> Result<()> {
    let body = json!({ "name": "x".repeat(20_000) }).to_string();
    for batch in 0..10 {
        for partition in 0..pipeline.partitions {
            for record in 0..10 {
                let key = format!("{partition}-{batch}-{record}");
                let record = BaseRecord::to(&pipeline.name).key(&key).payload(&body);
                let sent = producer.send(record.partition(partition));
                sent.map_err(|(error, _)| error)?;
            }
        }
        producer.flush(PATIENCE)?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_finds_the_last_records_of_all_partitions_under_load() -> Result<()> {
    let pipeline = Pipeline::new("large", 8, COLUMNS).await?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", pipeline.kafka.bootstrap())
        .set("linger.ms", "100")
        .create()?;
    large_batches(&pipeline, &producer)?;
    let worker = pipeline.settings("worker").start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    assert!(worker.terminate().await?.success());
    large_batches(&pipeline, &producer)?;
    let worker = pipeline.settings("worker").start().await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    let log = worker.log();
    assert!(!log.contains("not located yet"), "{log}");
    Ok(())
}
