//! A batch that waits because a row of its refers to one that is not in the database yet: when it is
//! tried again, and how often it was in vain.

use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::{Batch, RoutePartition};

/// How often a batch is tried, once nothing is ahead of it, before a row counts as refused.
pub(super) const TRIES: u32 = 7;
/// The first wait; each next one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What a batch waits for.
#[derive(Debug)]
pub(super) struct ParkedBatch {
    /// The batch; `None`: a worker has it.
    pub(super) batch: Option<Box<Batch>>,
    pub(super) until: Duration,
    wait: Duration,
    /// Tries in which nothing was ahead any more.
    pub(super) tries: u32,
    /// Where the other partitions had to come first.
    ahead: Vec<(RoutePartition, NextOffset)>,
}

impl ParkedBatch {
    /// Whether it waits, and no worker has it.
    pub(super) fn waits(&self) -> bool {
        self.batch.is_some()
    }

    /// The first try failed.
    pub(super) fn new(now: Duration, ahead: Vec<(RoutePartition, NextOffset)>) -> Self {
        let (until, wait) = (now + FIRST_WAIT, FIRST_WAIT);
        Self { batch: None, until, wait, tries: 0, ahead }
    }

    /// A later one failed. It counts when nothing more comes of what is ahead.
    pub(super) fn failed(&mut self, now: Duration, still_comes: impl Fn(&RoutePartition) -> bool) {
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        self.until = now + self.wait;
        if !self.ahead.iter().any(|(tp, _)| still_comes(tp)) {
            self.tries += 1;
        }
    }

    /// Forgets what has come; when that is all, there is nothing to wait for.
    pub(super) fn comes(
        &mut self,
        now: Duration,
        has_come: impl Fn(&(RoutePartition, NextOffset)) -> bool,
    ) {
        if !self.ahead.is_empty() {
            self.ahead.retain(|ahead| !has_come(ahead));
            if self.ahead.is_empty() {
                self.until = now;
            }
        }
    }
}
