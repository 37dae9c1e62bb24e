//! Loads of one row: its changes are folded over the row that a loader found, and the row is kept
//! where that is exact.

use write_behind_shared::NextOffset;

use super::{Entry, RowState};
use crate::core::age::KnownSince;
use crate::core::delta::{Delta, Row};
use crate::core::ledger::Sequence;
use crate::core::loaded::{LoadContext, Loaded, Reading, Validity};
use crate::core::maybe_next::MaybeNext;

impl Entry {
    /// A loader found `found`. It was asked after this entry was made.
    pub(crate) fn loaded(
        &mut self,
        found: &Loaded,
        context: LoadContext,
    ) -> Result<Reading, Sequence> {
        // Written whole while the loader read: its row may be older than that write, and as a base
        // it would undo it (INV-4).
        if let Some(visible) = self.fold_visible() {
            return Ok(Reading::of(visible.clone()));
        }
        // Only writes from before the horizon: the loader had answered when the later ones were
        // accepted, so its row cannot hold them. A write below `replicated` that is still in flight
        // waits for the tail to say where it is; a row that may hold it is not kept (`untailed`).
        let open = context.replicated..context.horizon;
        let asked = |(sequence, delta): &(Sequence, Delta)| {
            (open.contains(sequence) && delta.adds()).then_some(*sequence)
        };
        let in_doubt = self.in_flight.iter().rev().find_map(asked);
        let older = |bound: Option<NextOffset>| bound.is_some_and(|bound| found.next < Some(bound));
        let may_be_behind = older(context.forgotten_below);
        let best = |row| Ok(Reading { row, may_be_behind });
        if self.logged.has_unplaced(found.next) || found.next.is_none() && in_doubt.is_some() {
            // Some increments may be in the row already. Kept as a base, the row would count them
            // twice in every read from here on; returned once, the next load corrects it.
            return best(self.fold_over(found));
        }
        if let (Some(sequence), Some(next)) = (in_doubt, found.next)
            && next > context.first_unanswered
        {
            // The record may have been appended, applied and read by the loader before Kafka's
            // answer came here. Adding the increment might count it twice, leaving it out might
            // lose it: the read waits for the answer, which says where the record is.
            return Err(sequence);
        }
        // Past the tail, the row may hold records that the tail will still bring, and they would be
        // folded over it a second time. An invalidated row may be the one that was replaced.
        let untailed = context.tail.is_some_and(|tail| found.next.is_none_or(|next| next > tail));
        if untailed || may_be_behind || context.validity == Validity::Invalidated {
            return best(self.fold_over(found));
        }
        self.logged.forget_below(found.next);
        self.as_of = found.next.into();
        self.base = RowState::Known(found.row.clone());
        (self.since, self.old_below) = (Some(context.now), NextOffset::ZERO);
        self.logged.compact(context.tail);
        self.forget_visible();
        Ok(Reading::of(self.fold_visible().cloned().flatten()))
    }

    /// A load is over, whatever it found.
    pub(crate) fn load_ends(&mut self) {
        self.loads = self.loads.saturating_sub(1);
        if self.loads == 0 {
            self.maybe_stale_below = MaybeNext::NONE;
        }
    }

    /// The row that a load left here over which nothing was written, while another load goes on or
    /// it is pinned.
    pub(crate) fn only_loaded(&self) -> Option<(Option<&Row>, KnownSince)> {
        match &self.base {
            RowState::Known(row)
                if self.loads + self.pins > 1
                    && !self.has_writes()
                    && self.uncertain_below.is_none() =>
            {
                Some((row.as_ref(), self.since.unwrap_or_default()))
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
            self.forget_base();
            self.forget_visible();
        }
    }

    fn fold_over(&self, found: &Loaded) -> Option<Row> {
        let row = self.logged.over(found.row.clone(), found.next);
        self.in_flight.over(row, 0)
    }
}
