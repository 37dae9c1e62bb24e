//! `put` beside the least a service could do itself: `serde_json` and `BaseProducer::send`.
//!
//! Both write the same rows to the same broker with the same settings; two ratios are taken, that
//! of the calls alone and that of the time until everything is replicated. On few cores the first
//! flatters the raw loop, whose calls only fill a queue that others empty after it has ended; ours
//! shares the cores with the acknowledgements it waits for.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use serde::{Deserialize, Serialize};
use write_behind_producer::{WhenFull, WriteBehind};
use write_behind_shared::partition::partition_of;

use crate::rounds::{Duel, Lap};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Player {
    name: String,
    score: u64,
    level: u32,
    updated_at: u64,
}

const PARTITIONS: i32 = 8;
const KEYS: u64 = 10_000;
const WRITES: u64 = 500_000;
const TOPIC: &str = "bench_put";
/// Alike for both: nothing waits for room, and records leave as soon as a batch is worth it.
const SETTINGS: [(&str, &str); 4] = [
    ("queue.buffering.max.messages", "1000000"),
    ("queue.buffering.max.kbytes", "1048576"),
    ("linger.ms", "5"),
    ("enable.idempotence", "true"),
];

/// Runs `rounds` of both loops.
pub(crate) async fn run(rounds: u32, kafka: Option<String>) -> Result<()> {
    println!("put: {WRITES} rows a round, {KEYS} keys, {PARTITIONS} partitions");
    let (mut calls, mut whole) =
        (Duel::new("put, the calls", 0.7), Duel::new("put, until replicated", 0.7));
    for _ in 0..rounds {
        let (raw, ours) = (raw(kafka.as_deref()).await?, ours(kafka.as_deref()).await?);
        calls.round(raw.0, ours.0);
        whole.round(raw.1, ours.1);
    }
    calls.report()?;
    whole.report()
}

type Broker = MockCluster<'static, DefaultProducerContext>;

/// A fresh embedded broker, so that no loop inherits the other's log; or the real one.
fn broker(kafka: Option<&str>) -> Result<(Option<Broker>, String)> {
    if let Some(kafka) = kafka {
        return Ok((None, kafka.to_owned()));
    }
    let broker = MockCluster::new(1)?;
    broker.create_topic(TOPIC, PARTITIONS, 1)?;
    let bootstrap = broker.bootstrap_servers();
    Ok((Some(broker), bootstrap))
}

fn score(n: u64) -> Player {
    Player {
        name: format!("player {}", n % KEYS),
        score: n,
        level: 7,
        updated_at: 1_700_000_000 + n,
    }
}

async fn raw(kafka: Option<&str>) -> Result<(Lap, Lap)> {
    let (_broker, bootstrap) = broker(kafka)?;
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    for (name, value) in SETTINGS {
        config.set(name, value);
    }
    let producer: ThreadedProducer<_> =
        config.create_with_context(rdkafka::producer::DefaultProducerContext)?;
    producer.client().fetch_metadata(Some(TOPIC), Duration::from_secs(10))?;
    let rows: Vec<(u64, Player)> = (0..WRITES).map(|n| (n % KEYS, score(n))).collect();
    let began = Instant::now();
    for (key, row) in &rows {
        let key = key.to_string();
        let value = serde_json::to_vec(row)?;
        let partition = partition_of(key.as_bytes(), PARTITIONS).0;
        let record = BaseRecord::to(TOPIC).partition(partition).key(&key).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    let calls = Lap { items: WRITES, took: began.elapsed() };
    // `flush` spins beside the polling thread and slows both down.
    while producer.in_flight_count() > 0 {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    Ok((calls, Lap { items: WRITES, took: began.elapsed() }))
}

async fn ours(kafka: Option<&str>) -> Result<(Lap, Lap)> {
    let (_broker, bootstrap) = broker(kafka)?;
    let ours = SETTINGS.iter().filter(|(name, _)| *name != "enable.idempotence");
    let settings = ours.copied().chain([("bootstrap.servers", bootstrap.as_str())]);
    let cache: WriteBehind<u64, Player> = WriteBehind::builder(TOPIC, settings)
        .sink_group(TOPIC)
        .max_pending(2 << 30, WhenFull::Wait)
        .build()
        .await?;
    let rows: Vec<(u64, Player)> = (0..WRITES).map(|n| (n % KEYS, score(n))).collect();
    let began = Instant::now();
    for (key, row) in &rows {
        cache.put(key, row).await.context("a put was not accepted")?;
    }
    let calls = Lap { items: WRITES, took: began.elapsed() };
    cache.replicated_all().await?;
    let whole = Lap { items: WRITES, took: began.elapsed() };
    cache.close(Duration::from_secs(1)).await?;
    Ok((calls, whole))
}
