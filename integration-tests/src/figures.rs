//! Figures that a run prints though it passes: measured, shown, never asserted.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

/// The pace is kept over steps of this length, so that the timer is not asked for every write.
const STEP: Duration = Duration::from_millis(2);

/// How long each of many calls took.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

/// A pace, counted from its start.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    began: Instant,
    per_second: u64,
}

/// Prints a line past the capture of `cargo test`.
pub fn report(line: &str) {
    // A figure that can't be shown is no reason to fail.
    let _ = writeln!(std::io::stderr().lock(), "figure: {line}");
}

impl Latencies {
    /// None yet.
    pub fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, 600_000_000_000, 3)?))
    }

    /// Counts one call.
    pub fn add(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The median, the 99th percentile and the longest, in microseconds.
    pub fn summary(&self) -> String {
        let micros = |nanos: u64| nanos as f64 / 1_000.0;
        let (p50, p99) = (self.0.value_at_quantile(0.5), self.0.value_at_quantile(0.99));
        let [p50, p99, max] = [p50, p99, self.0.max()].map(micros);
        format!("p50 {p50:.1} us, p99 {p99:.1} us, max {max:.1} us over {} calls", self.0.len())
    }
}

impl Pace {
    /// A pace of this many a second, from now on.
    pub fn of(per_second: u64) -> Self {
        Self { began: Instant::now(), per_second }
    }

    /// Waits when `done` is ahead of the pace.
    pub async fn keep(&self, done: u64) {
        let due = Duration::from_secs_f64(done as f64 / self.per_second as f64);
        let ahead = due.saturating_sub(self.began.elapsed());
        if ahead > STEP {
            tokio::time::sleep(ahead).await;
        }
    }

    /// How long it has been kept.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}
