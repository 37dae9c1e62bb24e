//! What loads do to a row: its changes are folded over what a loader found, which is kept if it may
//! be.

use write_behind_shared::NextOffset;

use super::{Entry, RowState};
use crate::core::delta::{Delta, Row};
use crate::core::ledger::Sequence;
use crate::core::loaded::{LoadContext, Loaded, Reading, Validity};

impl Entry {
    /// A loader found `found`. It was asked after this entry was made.
    pub(crate) fn loaded(
        &mut self,
        found: &Loaded,
        context: LoadContext,
    ) -> Result<Reading, Sequence> {
        // Written whole in the meantime: what the loader read may be older than that.
        if let Some(visible) = self.fold_visible() {
            return Ok(Reading::of(visible.clone()));
        }
        // Answered and here all the same: the tail has yet to say where it is, so a row that may
        // hold it is one that is not kept.
        let open = context.replicated..context.horizon;
        let asked = |(sequence, delta): &(Sequence, Delta)| {
            (open.contains(sequence) && delta.adds()).then_some(*sequence)
        };
        let in_doubt = self.in_flight.iter().rev().find_map(asked);
        let older = |bound: Option<NextOffset>| bound.is_some_and(|bound| found.next < Some(bound));
        let may_be_behind = older(context.forgotten_below);
        let best = |row| Ok(Reading { row, may_be_behind });
        if self.logged.has_unplaced(found.next) || found.next.is_none() && in_doubt.is_some() {
            // Some increments may be in the row already. This is the best answer there is; it is
            // not kept, so that the next read does better.
            return best(self.fold_over(found));
        }
        if let (Some(sequence), Some(next)) = (in_doubt, found.next)
            && next > context.first_unanswered
        {
            // Kafka has not said where this increment is, so the row may hold it or not. Adding it
            // might count it twice, leaving it out might lose it: the read waits for the answer.
            return Err(sequence);
        }
        // The row may hold records that the tail will still bring, or be an invalidated one.
        let untailed = context.tail.is_some_and(|tail| found.next.is_none_or(|next| next > tail));
        if untailed || may_be_behind || context.validity == Validity::Invalidated {
            return best(self.fold_over(found));
        }
        self.logged.forget_below(found.next);
        self.as_of = found.next;
        self.base = RowState::Known(found.row.clone());
        self.logged.compact(context.tail);
        self.forget_visible();
        Ok(Reading::of(self.fold_visible().cloned().flatten()))
    }

    /// A load is over, whatever it found.
    pub(crate) fn load_ends(&mut self) {
        self.loads = self.loads.saturating_sub(1);
        if self.loads == 0 {
            self.maybe_stale_below = None;
        }
    }

    /// The row that a load left here over which nothing was written, while another load goes on.
    #[expect(clippy::option_option, reason = "not known, and known to be missing")]
    pub(crate) fn only_loaded(&self) -> Option<Option<&Row>> {
        match &self.base {
            RowState::Known(row)
                if self.loads > 1 && !self.has_writes() && self.uncertain_below.is_none() =>
            {
                Some(row.as_ref())
            }
            _ => None,
        }
    }

    /// The database may hold another row than the base. A base that nothing pending stands on is
    /// dropped; one that cannot be dropped is not kept either.
    pub(crate) fn invalidate(&mut self) {
        if self.has_writes() {
            self.invalidated = true;
        } else {
            self.base = RowState::Unknown;
            self.as_of = None;
            self.forget_visible();
        }
    }

    fn fold_over(&self, found: &Loaded) -> Option<Row> {
        let row = self.logged.over(found.row.clone(), found.next);
        self.in_flight.over(row, 0)
    }
}
