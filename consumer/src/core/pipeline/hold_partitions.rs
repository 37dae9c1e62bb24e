//! How the pipeline holds the partitions of a batch that can't be written for now, and tries again.
//!
//! A locked row, or a refusal of which nobody knows yet whose fault it is, concerns one batch. Its
//! worker and its memory are free for others meanwhile, and the other partitions of its route go on:
//! what they write shows whether the table is at fault.

use std::time::Duration;

use crate::core::batch::{BatchId, RoutePartition};
use crate::core::pipeline::Pipeline;
use crate::core::pipeline::action::{Action, Notice};

impl Pipeline {
    /// A batch can't be written for now, for this reason.
    pub fn hold(&mut self, now: Duration, id: BatchId, why: &str) {
        let Some(flight) = self.in_flight.remove(&id) else { return };
        self.budget.changed(self.routes[flight.route].limits.priority, flight.bytes, 0);
        let mut is_new = false;
        for (tp, _) in &flight.tps {
            // A partition that was released meanwhile is its next owner's.
            let Some(partition) = self.partitions.get_mut(tp) else { continue };
            if partition.in_flight != Some(id) {
                continue;
            }
            partition.in_flight = None;
            partition.let_go();
            self.drop_buffer(*tp);
            is_new |= self.held.hold(now, *tp, why);
        }
        if is_new {
            self.actions.push_back(Action::Tell(Notice::Held(flight.route, why.to_owned())));
        }
        self.advance(now);
    }

    /// Reads held partitions again whose wait is over.
    pub(super) fn try_held(&mut self, now: Duration) {
        for tp in self.held.unanswered(now) {
            let is_idle = self.partitions.get(&tp).is_some_and(|partition| {
                partition.reading && partition.buffer.is_none() && partition.in_flight.is_none()
            });
            if is_idle {
                self.hold_no_more(now, tp);
            }
        }
        if self.draining {
            return;
        }
        for tp in self.held.due(now) {
            if self.is_revoked(tp) || !self.stopped.may_read(tp) {
                continue;
            }
            self.held.reads(now, tp);
            // When a stopped route runs again, all its partitions are read.
            if self.partitions.get(&tp).is_some_and(|partition| !partition.reading) {
                self.locate_again(&[tp]);
            }
        }
    }

    /// A partition is written again, or waits for something else.
    pub(super) fn hold_no_more(&mut self, now: Duration, tp: RoutePartition) {
        if let Some(since) = self.held.remove(tp) {
            let notice = Notice::HeldNoMore(tp.route, now.saturating_sub(since));
            self.actions.push_back(Action::Tell(notice));
        }
    }
}

#[cfg(test)]
#[path = "tests/hold_partitions.rs"]
mod tests;
