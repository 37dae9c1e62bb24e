//! Has a second client check skipped offsets, and acts on its answer.
//!
//! A buffer waits for the answer, and reading goes on meanwhile. Whatever is not proof that no
//! record was passed over drops the buffer, and the partition is located and read again: the checks
//! of an assignment then refuse a log that has lost what was not written yet.

use std::time::Duration;

use crate::core::batch::RoutePartition;
use crate::core::pipeline::Pipeline;
use crate::core::pipeline::action::{Action, Notice};
use crate::core::pipeline::skips::{LookId, SkipFacts, SkipVerdict};

impl Pipeline {
    /// Asks for the looks that are due.
    pub(super) fn look_at_skips(&mut self, now: Duration) {
        for (tp, partition) in &mut self.partitions {
            if let Some(look) = partition.skips.next_look(now, self.last_look + 1) {
                self.last_look += 1;
                self.actions.push_back(Action::LookAtSkip(*tp, self.last_look, look));
            }
        }
    }

    /// The answer to [`Action::LookAtSkip`]: what was found, or why nothing is known.
    pub fn looked_at_skip(
        &mut self,
        now: Duration,
        tp: RoutePartition,
        id: LookId,
        found: &Result<SkipFacts, String>,
    ) {
        if self.looked_at_end(now, tp, id, found) {
            return;
        }
        let Some(partition) = self.partitions.get_mut(&tp) else { return };
        // Its buffer may have been dropped since, and the partition assigned again.
        let Some(look) = partition.skips.answered(id) else { return };
        let verdict = found.as_ref().map(|facts| look.judge(facts));
        let notice = match verdict {
            Ok(SkipVerdict::Nothing) => {
                partition.skips.proved(&look);
                return self.advance(now);
            }
            Ok(SkipVerdict::Compacted(records)) => {
                partition.skips.proved(&look);
                self.counts.lost += records;
                let notice = Notice::RecordsLost(tp, look.start, look.end, records);
                self.actions.push_back(Action::Tell(notice));
                return self.advance(now);
            }
            Ok(SkipVerdict::PassedOver) if partition.skips.passed_over(&look) => {
                return self.actions.push_back(Action::GiveUp(tp, look.start));
            }
            Ok(SkipVerdict::PassedOver) => Notice::PassedOver(tp, look.start, look.end),
            Ok(SkipVerdict::Removed) => {
                partition.skips.look_later(now);
                Notice::SkipUnknown(tp, look.start, "the log begins behind them now".to_owned())
            }
            Err(why) => {
                partition.skips.look_later(now);
                Notice::SkipUnknown(tp, look.start, why.clone())
            }
        };
        self.actions.push_back(Action::Tell(notice));
        // While a batch is in flight, the database may answer with what it had before: that looks
        // like a restored database.
        if partition.in_flight.is_some() {
            (partition.locates_again, partition.reading) = (true, false);
            self.drop_buffer(tp);
        } else {
            self.locate_again(&[tp]);
        }
        self.advance(now);
    }
}
