//! Replays the flights as a service would write them: one change an aircraft and flight, at a pace.
//!
//! `flights`, `miles` and `minutes` are increments; the last airport and the last departure are
//! values. Both travel in one record. Each call's latency is measured from outside, waiting for
//! room included: it is what the service would feel.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use write_behind_producer::WriteBehind;
use write_behind_shared::Change;

use crate::flights::{Aircraft, Flight};
use crate::progress::Progress;

/// What the replay saw.
pub(crate) struct Replayed {
    /// How many writes were accepted.
    pub(crate) writes: u64,
    /// From the first write to the last.
    pub(crate) took: Duration,
    /// The latency of each write, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// How many rows read back at once, every counter included, were not as they should be: 0, or
    /// the promise is broken.
    pub(crate) stale_reads: u64,
}

/// The pace is kept over steps of this length, so that the loop does not ask the timer per write.
const STEP: Duration = Duration::from_millis(2);
/// After this many writes one is read back at once.
const READ_BACK_EVERY: u64 = 1_000;

/// Writes every flight that has an aircraft, `per_second` at most, over a table that holds `rows`.
pub(crate) async fn replay(
    cache: &WriteBehind<String, Aircraft>,
    flights: &[Flight],
    mut rows: BTreeMap<String, Aircraft>,
    per_second: u64,
    progress: &Progress,
) -> Result<Replayed> {
    let mut latency = Histogram::new_with_bounds(1, 600_000_000_000, 3)?;
    let (mut writes, mut stale_reads) = (0_u64, 0_u64);
    let began = Instant::now();
    for flight in flights {
        let Some(tailnum) = flight.aircraft() else { continue };
        let tailnum = tailnum.to_owned();
        let change = change_of(flight)?;
        let before = Instant::now();
        cache.change(&tailnum, change).await.context("a write was not accepted")?;
        latency.saturating_record(u64::try_from(before.elapsed().as_nanos())?);
        writes += 1;
        rows.entry(tailnum.clone()).or_default().fly(flight)?;
        if writes % READ_BACK_EVERY == 0 {
            let row = cache.get(&tailnum).await.context("a write can't be read back")?;
            stale_reads += u64::from(row.as_ref() != rows.get(&tailnum));
            progress.accepted(writes);
        }
        keep_pace(began, writes, per_second).await;
    }
    progress.accepted(writes);
    Ok(Replayed { writes, took: began.elapsed(), latency, stale_reads })
}

fn change_of(flight: &Flight) -> Result<Change> {
    let change = Change::new()
        .add("flights", 1)
        .add("miles", flight.distance)
        .set("last_airport", &flight.dest)?
        .set("last_departure", &flight.time_hour)?;
    Ok(match flight.minutes()? {
        Some(minutes) => change.add("minutes", minutes),
        None => change,
    })
}

/// Waits when the replay is more than a step ahead of its pace.
async fn keep_pace(began: Instant, writes: u64, per_second: u64) {
    let due = Duration::from_secs_f64(writes as f64 / per_second as f64);
    let ahead = due.saturating_sub(began.elapsed());
    if ahead > STEP {
        tokio::time::sleep(ahead).await;
    }
}
