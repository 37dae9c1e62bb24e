//! A parked batch: one of its rows refers to a row that is not in the database yet.

use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::{Batch, RoutePartition};
use crate::core::pipeline::ahead::{Ahead, Survey};
use crate::core::pipeline::bounds::Waits;

/// The state of a parked batch.
#[derive(Debug)]
pub(super) struct ParkedBatch {
    /// The batch; `None` while a worker has it.
    pub(super) batch: Option<Box<Batch>>,
    pub(super) until: Duration,
    /// When it was parked first.
    pub(super) since: Duration,
    waits: Waits,
    wait: Duration,
    /// Failed tries with nothing ahead any more.
    pub(super) tries: u32,
    /// The other partitions that must come first.
    ahead: Vec<Ahead>,
    /// Partitions whose database offset was behind what was written when last checked, and that
    /// offset.
    pub(super) behind: Vec<(RoutePartition, NextOffset)>,
}

impl ParkedBatch {
    /// Whether it waits, so that no worker has it.
    pub(super) fn waits(&self) -> bool {
        self.batch.is_some()
    }

    /// Parks a batch after its first try.
    pub(super) fn new(now: Duration, waits: Waits, ahead: Vec<Ahead>) -> Self {
        let wait = waits.first;
        let (batch, tries, behind) = (None, 0, Vec::new());
        Self { batch, until: now + wait, since: now, waits, wait, tries, ahead, behind }
    }

    /// A later try failed. It counts only if nothing ahead can still arrive.
    pub(super) fn failed(
        &mut self,
        now: Duration,
        survey: &Survey,
        still_comes: impl Fn(&Ahead) -> bool,
    ) {
        for ahead in &mut self.ahead {
            ahead.look(now, survey);
        }
        let comes = self.ahead.iter().any(still_comes);
        // Once nothing comes any more, how long that took says nothing of the row.
        let last = if !comes && self.tries == 0 { Duration::ZERO } else { self.wait };
        self.wait = self.waits.after(last);
        self.until = now + self.wait;
        self.tries += u32::from(!comes);
    }

    /// Waits for what `other` waits for, too, but for nothing of its own partitions. Only tries that
    /// both have behind them count: what the other one lacks may still be ahead of it.
    pub(super) fn join(&mut self, other: &Self, is_own: impl Fn(RoutePartition) -> bool) {
        self.tries = self.tries.min(other.tries);
        self.ahead.extend(&other.ahead);
        self.ahead.retain(|ahead| !is_own(ahead.tp));
    }

    /// Another partition must come first.
    pub(super) fn waits_also_for(&mut self, ahead: Ahead) {
        self.ahead.push(ahead);
    }

    /// Forgets what has arrived. With nothing left ahead, the batch is due at once.
    pub(super) fn comes(&mut self, now: Duration, has_come: impl Fn(&Ahead) -> bool) {
        if !self.ahead.is_empty() {
            self.ahead.retain(|ahead| !has_come(ahead));
            if self.ahead.is_empty() {
                self.until = now;
            }
        }
    }

    /// What must come first.
    pub(super) fn ahead(&self) -> &[Ahead] {
        &self.ahead
    }
}
