//! A parked batch: one of its rows refers to a row that is not in the database yet.

use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::{Batch, RoutePartition};
use crate::core::pipeline::bounds::Waits;

/// The state of a parked batch.
#[derive(Debug)]
pub(super) struct ParkedBatch {
    /// The batch; `None` while a worker has it.
    pub(super) batch: Option<Box<Batch>>,
    pub(super) until: Duration,
    waits: Waits,
    wait: Duration,
    /// Failed tries with nothing ahead any more.
    pub(super) tries: u32,
    /// The other partitions, each with the offset that the database must reach first.
    ahead: Vec<(RoutePartition, NextOffset)>,
}

impl ParkedBatch {
    /// Whether it waits, so that no worker has it.
    pub(super) fn waits(&self) -> bool {
        self.batch.is_some()
    }

    /// Parks a batch after its first try.
    pub(super) fn new(
        now: Duration,
        waits: Waits,
        ahead: Vec<(RoutePartition, NextOffset)>,
    ) -> Self {
        let wait = waits.first;
        Self { batch: None, until: now + wait, waits, wait, tries: 0, ahead }
    }

    /// A later try failed. It counts only if nothing ahead can still arrive.
    pub(super) fn failed(&mut self, now: Duration, still_comes: impl Fn(&RoutePartition) -> bool) {
        self.wait = self.waits.after(self.wait);
        self.until = now + self.wait;
        if !self.ahead.iter().any(|(tp, _)| still_comes(tp)) {
            self.tries += 1;
        }
    }

    /// Forgets what has arrived. With nothing left ahead, the batch is due at once.
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
