//! `put` with a journal beside `put` without: the call, how long until a write is recorded, and how
//! fast the next process has again, and sends, what Kafka did not get.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration_tests::figures::{Latencies, Pace};
use tokio::task::JoinSet;
use write_behind_producer::{Builder, Crash, Journal, WhenFull, WriteBehind};

use crate::players::{KEYS, Player, TOPIC, embedded_broker, player, properties};

const PER_SECOND: u64 = 50_000;
const PACED: u64 = 5 * PER_SECOND;
/// One write of this many is waited for.
const SAMPLE: u64 = 500;
const REPLAYED: u64 = 300_000;
const BROKER: i32 = 1;

/// Runs `rounds` of writes without a journal, and with either kind in `directory`; then a replay.
pub(crate) async fn run(rounds: u32, directory: &Path) -> Result<()> {
    println!("journal: put at {PER_SECOND}/s, {PACED} rows a round, {KEYS} keys");
    for round in 1..=rounds {
        for survives in [None, Some(Crash::Process), Some(Crash::Host)] {
            let kind = survives.map_or("none".to_owned(), |crash| format!("{crash:?}"));
            let told = paced(directory, survives).await?;
            println!("  round {round}, {kind}: {told}");
        }
    }
    replay(directory).await
}

fn builder(bootstrap: &str) -> Builder<u64, Player> {
    let builder = WriteBehind::builder(TOPIC, properties(bootstrap)).sink_group(TOPIC);
    builder.max_pending(2 << 30, WhenFull::Wait)
}

fn journal(directory: &Path) -> Journal {
    Journal::at(directory).max_bytes(1 << 30)
}

/// Writes at a steady pace, and says how long the calls took and until writes were recorded.
async fn paced(directory: &Path, survives: Option<Crash>) -> Result<String> {
    let broker = embedded_broker()?;
    let directory = tempfile::tempdir_in(directory)?;
    let mut builder = builder(&broker.bootstrap_servers());
    if let Some(crash) = survives {
        builder = builder.journal(journal(directory.path()).survives(crash));
    }
    let rows: WriteBehind<u64, Player> = builder.build().await?;
    let (mut calls, mut recorded) = (Latencies::new()?, Latencies::new()?);
    let (mut waits, pace) = (JoinSet::new(), Pace::of(PER_SECOND));
    for n in 0..PACED {
        pace.keep(n).await;
        let row = player(n);
        let before = Instant::now();
        let receipt = rows.put(&(n % KEYS), &row).await.context("a put was not accepted")?;
        calls.add(before.elapsed());
        if survives.is_some() && n % SAMPLE == 0 {
            waits.spawn(async move { receipt.recorded().await.map(|()| before.elapsed()) });
        }
    }
    let took = pace.elapsed();
    while let Some(waited) = waits.join_next().await {
        recorded.add(waited??);
    }
    rows.replicated_all().await?;
    rows.close(Duration::from_secs(10)).await?;
    let per_second = PACED as f64 / took.as_secs_f64();
    let mut told = format!("{per_second:.0}/s; a call: {}", calls.summary());
    if survives.is_some() {
        told = format!("{told}; recorded after: {}", recorded.summary());
    }
    Ok(told)
}

/// What is recorded while Kafka is away is pending again in the next process, which sends it.
async fn replay(directory: &Path) -> Result<()> {
    let broker = embedded_broker()?;
    let directory = tempfile::tempdir_in(directory)?;
    let builder = builder(&broker.bootstrap_servers()).journal(journal(directory.path()));
    let first: WriteBehind<u64, Player> = builder.clone().build().await?;
    broker.broker_down(BROKER)?;
    for n in 0..REPLAYED {
        first.put(&n, &player(n)).await?;
    }
    first.recorded_all().await?;
    // Kafka is away, so that it closes without an answer.
    let undelivered = first.close(Duration::from_millis(1)).await.err();
    broker.broker_up(BROKER)?;
    let left = undelivered.map_or(0, |undelivered| undelivered.journaled as u64);
    let start = Instant::now();
    let second: WriteBehind<u64, Player> = builder.build().await?;
    let built = start.elapsed();
    let replayed = second.stats().replayed;
    ensure!((left, replayed) == (REPLAYED, REPLAYED), "{left} were left, {replayed} replayed");
    second.replicated_all().await?;
    let sent = start.elapsed();
    second.close(Duration::from_secs(10)).await?;
    let rate = |time: Duration| left as f64 / time.as_secs_f64();
    println!(
        "replay: {left} writes pending again at {:.0}/s, in Kafka at {:.0}/s, the start included",
        rate(built),
        rate(sent)
    );
    Ok(())
}
