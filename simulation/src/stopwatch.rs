//! How much time of a core this thread has taken: what a machine does beside it must not count.

use std::fs;
use std::time::{Duration, Instant};

/// Measures from when it is made.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    begun: Instant,
    /// What the thread had taken by then, where the system tells it.
    taken: Option<Duration>,
}

/// What the thread has taken of a core so far. Linux tells it.
fn taken() -> Option<Duration> {
    let told = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    told.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

impl Stopwatch {
    #[must_use]
    pub fn start() -> Self {
        Self { begun: Instant::now(), taken: taken() }
    }

    /// The time of a core since then; elsewhere than on Linux the time that has passed.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let of_core = self.taken.zip(taken()).map(|(before, now)| now.saturating_sub(before));
        of_core.unwrap_or_else(|| self.begun.elapsed())
    }
}
