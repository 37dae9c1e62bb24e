//! What a pending write takes: allocations of a `put`, and memory until it is answered and after.
//!
//! `cargo run --release -p bench --bin memory`. A program of its own, because its allocator counts
//! and would slow the other benches down. It sees Rust's allocations; librdkafka's are what the
//! process grew by beyond them.

#[path = "../players.rs"]
mod players;

use std::alloc::System;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use write_behind_producer::{WhenFull, WriteBehind};

use players::{KEYS, Player, TOPIC, embedded_broker, player, properties};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Measures what pending writes take.
#[derive(Debug, Parser)]
#[command(name = "memory", version)]
struct Arguments {
    /// How many rows are pending at once.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=2_000_000))]
    rows: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { rows } = Arguments::parse();
    let broker = embedded_broker()?;
    let scores: WriteBehind<u64, Player> =
        WriteBehind::builder(TOPIC, properties(&broker.bootstrap_servers()))
            .sink_group(TOPIC)
            .max_pending(3 << 30, WhenFull::Reject)
            .build()
            .await?;

    // Rows that are there already, each with one write in flight at most.
    let warm: Vec<Player> = (0..KEYS).map(player).collect();
    for round in 0..2 {
        let region = Region::new(ALLOCATOR);
        for (id, row) in (0..).zip(&warm) {
            scores.try_put(&id, row)?;
        }
        scores.replicated_all().await?;
        if round == 1 {
            report_calls("a row that is pending already", &region.change(), KEYS);
        }
    }

    // No broker answers: everything that is written stays in both queues.
    broker.broker_down(-1)?;
    let written: Vec<Player> = (0..rows).map(player).collect();
    let (before, region) = (resident_bytes()?, Region::new(ALLOCATOR));
    for (id, row) in (KEYS..).zip(&written) {
        scores.try_put(&id, row)?;
    }
    let change = region.change();
    report_calls("a new row", &change, rows);
    let (resident, ours) = (resident_bytes()? - before, live(&change));
    let value = serde_json::to_vec(&written[0])?.len();
    println!("memory: {rows} rows pending and unanswered, of about {value} bytes each");
    println!("  the process grew by      {:7.1} bytes a row", per(resident, rows));
    println!("  of which the handle's    {:7.1}", per(ours, rows));
    println!("  and librdkafka's         {:7.1}", per(resident - ours, rows));

    broker.broker_up(-1)?;
    scores.replicated_all().await?;
    let ours = live(&region.change());
    println!("  once Kafka has them, the handle's {:.1}: nothing is committed", per(ours, rows));
    scores.close(Duration::from_secs(1)).await?;
    Ok(())
}

fn report_calls(what: &str, change: &Stats, puts: u64) {
    println!(
        "put of {what}: {:.2} allocations, {:.2} reallocations, {:.0} bytes asked for",
        per(change.allocations as i64, puts),
        per(change.reallocations as i64, puts),
        per(change.bytes_allocated as i64, puts),
    );
}

/// What Rust's allocator gave and did not get back.
fn live(change: &Stats) -> i64 {
    change.bytes_allocated as i64 - change.bytes_deallocated as i64
}

fn per(amount: i64, rows: u64) -> f64 {
    amount as f64 / rows as f64
}

/// The memory of this process that is in RAM; Linux says so in a file.
fn resident_bytes() -> Result<i64> {
    let status = fs::read_to_string("/proc/self/status").context("this bench needs Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kilobytes: i64 = kilobytes.context("there is no VmRSS")?.trim().parse()?;
    Ok(kilobytes * 1024)
}
