//! `get` beside a bare `moka` cache, for rows that are pending and for cached rows.
//!
//! Ours keeps a row as the bytes that were sent and gives it as the type that was asked for. So it
//! stands beside two caches that a service could have instead: one of bytes, which deserialises at
//! every hit as ours does, and one of values, which clones them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ahash::RandomState;
use anyhow::{Context, Result};
use moka::sync::Cache;
use write_behind_producer::{WhenFull, WriteBehind};

use crate::players::{KEYS, Player, TOPIC, embedded_broker, player, properties};
use crate::rounds::{Duel, Lap};

const READS: u64 = 1_000_000;
const GOAL: f64 = 0.7;

/// Runs `rounds` of all loops.
pub(crate) async fn run(rounds: u32) -> Result<()> {
    println!("get: {READS} hits a round, {KEYS} rows, one thread");
    let broker = embedded_broker()?;
    let build = || {
        WriteBehind::<u64, Player>::builder(TOPIC, properties(&broker.bootstrap_servers()))
            .sink_group(TOPIC)
            .capacity(2 * KEYS)
            .max_pending(1 << 30, WhenFull::Wait)
    };
    // Nothing is ever committed, so what is written stays pending.
    let pending = build().build().await?;
    let find = |id: u64| async move { Ok::<_, std::io::Error>(Some(player(id))) };
    let clean = build().loader(find).build().await?;
    let (bytes, values) = (cache::<Arc<[u8]>>(), cache::<Player>());
    for id in 0..KEYS {
        pending.put(&id, &player(id)).await?;
        clean.get(&id).await?.context("the loader finds every row")?;
        bytes.insert(id, serde_json::to_vec(&player(id))?.into());
        values.insert(id, player(id));
    }
    pending.replicated_all().await?;

    let names = [
        "get of a pending row, beside moka and serde_json",
        "get of a pending row, beside moka of values",
        "get of a cached row, beside moka and serde_json",
        "get of a cached row, beside moka of values",
    ];
    let mut duels = names.map(|name| Duel::new(name, GOAL));
    for _ in 0..rounds {
        let raw_bytes = bare(&bytes, |bytes| Ok(serde_json::from_slice(&bytes)?))?;
        let raw_values = bare(&values, Ok)?;
        let (pending, clean) = (ours(&pending).await?, ours(&clean).await?);
        duels[0].round(raw_bytes, pending);
        duels[1].round(raw_values, pending);
        duels[2].round(raw_bytes, clean);
        duels[3].round(raw_values, clean);
    }
    duels.iter().try_for_each(Duel::report)?;
    for handle in [pending, clean] {
        handle.close(Duration::from_secs(1)).await?;
    }
    Ok(())
}

type BareCache<V> = Cache<u64, V, RandomState>;

/// A cache with the hasher that ours has.
fn cache<V: Clone + Send + Sync + 'static>() -> BareCache<V> {
    Cache::builder().max_capacity(2 * KEYS).build_with_hasher(RandomState::new())
}

/// Reads rows in an order that is no order of the memory they are in.
fn ids() -> impl Iterator<Item = u64> {
    (0..READS).map(|n| n.wrapping_mul(7_919) % KEYS)
}

fn bare<V: Clone + Send + Sync + 'static>(
    cache: &BareCache<V>,
    read: impl Fn(V) -> Result<Player>,
) -> Result<Lap> {
    let began = Instant::now();
    for id in ids() {
        let row = cache.get(&id).context("every row is there")?;
        std::hint::black_box(read(row)?);
    }
    Ok(Lap { items: READS, took: began.elapsed() })
}

async fn ours(handle: &WriteBehind<u64, Player>) -> Result<Lap> {
    let began = Instant::now();
    for id in ids() {
        std::hint::black_box(handle.get(&id).await?.context("every row is there")?);
    }
    Ok(Lap { items: READS, took: began.elapsed() })
}
