//! Moves the offset past the end of a log whose last offsets have no record: transaction markers,
//! or aborted records.
//!
//! Only a record makes a batch, so an offset would stay before them. Retention removes them as it removes
//! records, and from an offset that the log no longer has nobody can tell whether records are lost. So a
//! partition that stands still before its end is looked at by another client, as skipped offsets are; if
//! it finds no record there, a batch without rows takes the offset to the end.

use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::RoutePartition;
use crate::core::pipeline::Pipeline;
use crate::core::pipeline::action::Action;
use crate::core::pipeline::buffer::Buffer;
use crate::core::pipeline::partition::{Fetching, PartitionState};
use crate::core::pipeline::skips::{LookId, SkipFacts, SkipVerdict};

/// Where a partition stands, and its end, if nothing of it is on its way and the end is farther.
fn stands(partition: &PartitionState) -> Option<(NextOffset, NextOffset)> {
    let is_idle = partition.reading
        && partition.fetching == Fetching::Yes
        && partition.buffer.is_none()
        && partition.in_flight.is_none()
        && !partition.locates_again
        && partition.skips.are_proved();
    let end = partition.end.filter(|end| is_idle && *end > partition.next)?;
    Some((partition.next, end))
}

impl Pipeline {
    /// Asks for the looks that are due.
    pub(super) fn look_at_ends(&mut self, now: Duration) {
        let patience = self.limits.bounds.stands_still;
        for (tp, partition) in &mut self.partitions {
            let stands = stands(partition);
            let look = partition.still.next_look(now, patience, stands, self.last_look + 1);
            if let Some(look) = look {
                self.last_look += 1;
                self.actions.push_back(Action::LookAtSkip(*tp, self.last_look, look));
            }
        }
    }

    /// The answer to a look at an end. Whatever is no proof that there is no record changes nothing: a
    /// record that is there will come. Returns whether it was such a look's.
    pub(super) fn looked_at_end(
        &mut self,
        now: Duration,
        tp: RoutePartition,
        id: LookId,
        found: &Result<SkipFacts, String>,
    ) -> bool {
        let Some(partition) = self.partitions.get_mut(&tp) else { return false };
        let Some(look) = partition.still.answered(id) else { return false };
        let is_empty = found.as_ref().is_ok_and(|facts| look.judge(facts) == SkipVerdict::Nothing);
        // A record may have come meanwhile, or the partition may have been located again.
        if is_empty && stands(partition).is_some_and(|(next, _)| next == look.start) {
            let buffer = Buffer::without_records(tp.partition, look.start, look.end, now);
            partition.next = look.end;
            let priority = self.routes[tp.route].limits.priority;
            self.budget.changed(priority, 0, buffer.bytes());
            partition.buffer = Some(buffer);
            self.advance(now);
        }
        true
    }
}
