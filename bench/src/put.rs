//! `put` beside the least a service could do itself: `serde_json` and `BaseProducer::send`.
//!
//! All loops write the same rows to the same broker with the same settings, on one thread and on
//! two; two ratios are taken, that of the calls alone and that of the time until everything is
//! replicated. On few cores the first flatters the raw loops, whose calls only fill a queue that
//! others empty after it has ended; ours shares the cores with the acknowledgements it waits for.
//!
//! The raw loop is there twice: bare, and with the `write-id` header that lets a consumer drop
//! duplicates. rdkafka has no cheaper way to send a header than three allocations in librdkafka, made by
//! the caller and freed by the polling thread: the difference of the two is what that costs.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use tokio::runtime::Handle;
use write_behind_producer::{WhenFull, WriteBehind};
use write_behind_shared::partition::partition_of;
use write_behind_shared::record::WRITE_ID;

use crate::players::{
    Broker, KEYS, PARTITIONS, Player, TOPIC, embedded_broker, player, properties,
};
use crate::rounds::{Duel, Lap};

const WRITES: u64 = 500_000;
const GOAL: f64 = 0.7;

/// Runs `rounds` of all loops, first on one thread and then on two.
pub(crate) async fn run(rounds: u32, kafka: Option<String>) -> Result<()> {
    println!("put: {WRITES} rows a round, {KEYS} keys, {PARTITIONS} partitions");
    let kafka = kafka.as_deref();
    let names = [
        [
            "put, 1 thread, the calls",
            "put, 1 thread, until replicated",
            "put, 1 thread, the calls, raw with a write-id",
            "put, 1 thread, until replicated, raw with a write-id",
        ],
        [
            "put, 2 threads, the calls",
            "put, 2 threads, until replicated",
            "put, 2 threads, the calls, raw with a write-id",
            "put, 2 threads, until replicated, raw with a write-id",
        ],
    ];
    let mut reports = Vec::new();
    for (threads, names) in (1..).zip(names) {
        let rows: Vec<Vec<(u64, Player)>> = (0..threads).map(|at| share(at, threads)).collect();
        let mut duels = names.map(|name| Duel::new(name, GOAL));
        for _ in 0..rounds {
            let bare = raw(kafka, &rows, false).await?;
            let with_id = raw(kafka, &rows, true).await?;
            let ours = ours(kafka, &rows).await?;
            duels[0].round(bare.0, ours.0);
            duels[1].round(bare.1, ours.1);
            duels[2].round(with_id.0, ours.0);
            duels[3].round(with_id.1, ours.1);
        }
        reports.extend(duels);
    }
    reports.iter().try_for_each(Duel::report)
}

/// What the thread at `at` of `threads` writes.
fn share(at: u64, threads: u64) -> Vec<(u64, Player)> {
    (0..WRITES).filter(|n| n % threads == at).map(|n| (n % KEYS, player(n))).collect()
}

/// A fresh embedded broker, or the real one.
fn broker(kafka: Option<&str>) -> Result<(Option<Broker>, String)> {
    if let Some(kafka) = kafka {
        return Ok((None, kafka.to_owned()));
    }
    let broker = embedded_broker()?;
    let bootstrap = broker.bootstrap_servers();
    Ok((Some(broker), bootstrap))
}

/// Runs `write` on as many threads as there are shares, to its end.
fn on_threads<T: Sync>(shares: &[T], write: impl Fn(&T) -> Result<()> + Send + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = shares.iter().map(|share| scope.spawn(|| write(share))).collect();
        threads.into_iter().try_for_each(|thread| match thread.join() {
            Ok(written) => written,
            Err(_) => anyhow::bail!("a writing thread panicked"),
        })
    })
}

async fn raw(
    kafka: Option<&str>,
    shares: &[Vec<(u64, Player)>],
    with_write_id: bool,
) -> Result<(Lap, Lap)> {
    let (_broker, bootstrap) = broker(kafka)?;
    let mut config = ClientConfig::new();
    config.extend(properties(&bootstrap));
    config.set("enable.idempotence", "true");
    let producer: ThreadedProducer<_> = config.create_with_context(DefaultProducerContext)?;
    producer.client().fetch_metadata(Some(TOPIC), Duration::from_secs(10))?;
    let began = Instant::now();
    on_threads(shares, |rows| {
        for (n, (key, row)) in (0_u64..).zip(rows) {
            let key = key.to_string();
            let value = serde_json::to_vec(row)?;
            let partition = partition_of(key.as_bytes(), PARTITIONS).0;
            let mut record = BaseRecord::to(TOPIC).partition(partition).key(&key).payload(&value);
            if with_write_id {
                let mut id = [0; 24];
                id[16..].copy_from_slice(&n.to_be_bytes());
                let header = Header { key: WRITE_ID, value: Some(&id) };
                record = record.headers(OwnedHeaders::new_with_capacity(1).insert(header));
            }
            producer.send(record).map_err(|(error, _)| error)?;
        }
        Ok(())
    })?;
    let calls = Lap { items: WRITES, took: began.elapsed() };
    // `flush` spins beside the polling thread and slows both down.
    while producer.in_flight_count() > 0 {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
    Ok((calls, Lap { items: WRITES, took: began.elapsed() }))
}

async fn ours(kafka: Option<&str>, shares: &[Vec<(u64, Player)>]) -> Result<(Lap, Lap)> {
    let (_broker, bootstrap) = broker(kafka)?;
    let cache: WriteBehind<u64, Player> = WriteBehind::builder(TOPIC, properties(&bootstrap))
        .sink_group(TOPIC)
        .max_pending(2 << 30, WhenFull::Wait)
        .build()
        .await?;
    let runtime = Handle::current();
    let began = Instant::now();
    on_threads(shares, |rows| {
        runtime.block_on(async {
            for (key, row) in rows {
                cache.put(key, row).await.context("a put was not accepted")?;
            }
            Ok(())
        })
    })?;
    let calls = Lap { items: WRITES, took: began.elapsed() };
    cache.replicated_all().await?;
    let whole = Lap { items: WRITES, took: began.elapsed() };
    cache.close(Duration::from_secs(1)).await?;
    Ok((calls, whole))
}
