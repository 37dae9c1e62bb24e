//! What the producer's benches write: rows, and the broker that they are written to.

use anyhow::Result;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use serde::{Deserialize, Serialize};

/// A row.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Player {
    name: String,
    score: u64,
    level: u32,
    updated_at: u64,
}

pub(crate) const TOPIC: &str = "bench_put";
pub(crate) const PARTITIONS: i32 = 8;
/// Rows that are written again and again.
pub(crate) const KEYS: u64 = 10_000;

/// Alike for all loops: nothing waits for room, and records leave as soon as a batch is worth it.
pub(crate) const SETTINGS: [(&str, &str); 3] = [
    ("queue.buffering.max.messages", "2000000"),
    ("queue.buffering.max.kbytes", "2097152"),
    ("linger.ms", "5"),
];

/// The `n`th row that is written.
pub(crate) fn player(n: u64) -> Player {
    Player {
        name: format!("player {}", n % KEYS),
        score: n,
        level: 7,
        updated_at: 1_700_000_000 + n,
    }
}

pub(crate) type Broker = MockCluster<'static, DefaultProducerContext>;

/// A fresh embedded broker, so that no loop inherits another's log.
pub(crate) fn embedded_broker() -> Result<Broker> {
    let broker = MockCluster::new(1)?;
    broker.create_topic(TOPIC, PARTITIONS, 1)?;
    Ok(broker)
}

/// The properties of a client of the broker at `bootstrap`.
pub(crate) fn properties(bootstrap: &str) -> Vec<(String, String)> {
    let all = SETTINGS.into_iter().chain([("bootstrap.servers", bootstrap)]);
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
