//! Records of the Java client, key and JSON only: applied like ours, in the partitions of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use integration_tests::stack::{Pipeline, same_rows};
use integration_tests::wait::{PATIENCE, Seen, until};
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
    cache.flush().await?;
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
        cache.flush().await?;
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
