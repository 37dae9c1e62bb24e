//! What one row looks like to reads while some of its writes are not in the database.
//!
//! ```text
//! visible row = base, then the settled changes, then the changes in flight
//!               │            │                          └ Kafka has not answered; one may fail
//!               │            └ in the log, so they stay; folded into one where that loses nothing
//!               └ a row written whole, or loaded; unknown until needed
//! ```
//!
//! Pure: no clock, no task, no Kafka.

use write_behind_shared::{Change, NextOffset, Offset};

use crate::delta::{Delta, Row, fold_all};
use crate::ledger::{Needs, Ticket};
use crate::queue::Queue;

/// What a write or a settled row costs in memory beyond its key and value: map, queues, tickets.
pub(crate) const OVERHEAD_BYTES: usize = 384;

/// What a read finds here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Visible {
    /// The row.
    Row(Row),
    /// There is no such row.
    Missing,
    /// The row beneath the changes has to be loaded first.
    NeedsBase,
}

/// What a loader found in the database.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The row, if there is one.
    pub(crate) row: Option<Row>,
    /// The partition's next offset in the same snapshot, if the loader knows it.
    pub(crate) next: Option<NextOffset>,
}

/// What became of a load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Loaded {
    /// The row that reads see, `None` if there is none.
    Row(Option<Row>),
    /// Whether the database already holds an increment in flight can only be told once Kafka has
    /// answered the write of this ticket: offer the same row again then.
    WaitFor(Ticket),
}

#[derive(Debug)]
struct InFlight {
    ticket: Ticket,
    delta: Delta,
}

/// A row as far as it is known here.
#[derive(Clone, Debug)]
pub(crate) enum RowState {
    /// The database has to be asked.
    Unknown,
    /// This row, or that there is none.
    Known(Option<Row>),
}

/// A row with writes that are not in the database, or that is being loaded.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each with its sentence")]
pub(crate) struct Entry {
    base: RowState,
    /// The base came from the database as of this offset: earlier changes are in it.
    as_of: Option<NextOffset>,
    settled: Vec<(Change, Option<Offset>)>,
    settled_bytes: usize,
    /// What the latest settled change needs.
    needs: Needs,
    in_flight: Queue<InFlight>,
    in_flight_bytes: usize,
    /// The row after the base, the settled and the first `folded` changes in flight.
    visible: RowState,
    folded: usize,
    /// Something was settled since this entry was made, so an older clean copy is no longer right.
    pub(crate) outdates_clean_copy: bool,
    /// A write may or may not be in the log: reads go on seeing it, but it is never cached.
    doubtful: bool,
    pub(crate) loading: bool,
    /// Whether this entry stands in its lane's queue of what to look at when commits advance.
    pub(crate) queued: bool,
}

impl Entry {
    /// Nothing pending yet, over the clean copy, if there is one.
    pub(crate) fn over(clean: Option<Row>) -> Self {
        Self {
            base: clean.map_or(RowState::Unknown, |row| RowState::Known(Some(row))),
            as_of: None,
            settled: Vec::new(),
            settled_bytes: 0,
            needs: Needs::Nothing,
            in_flight: Queue::new(),
            in_flight_bytes: 0,
            visible: RowState::Unknown,
            folded: 0,
            outdates_clean_copy: false,
            doubtful: false,
            loading: false,
            queued: false,
        }
    }

    /// What the latest settled change needs.
    pub(crate) fn needs(&self) -> Needs {
        self.needs
    }

    /// Whether a write of the row is in flight or settled; otherwise it is only being loaded.
    pub(crate) fn has_writes(&self) -> bool {
        !self.in_flight.is_empty() || self.needs != Needs::Nothing
    }

    /// Whether nothing keeps the entry, as of `committed`.
    pub(crate) fn may_leave(&self, committed: Option<NextOffset>) -> bool {
        self.in_flight.is_empty() && self.needs.are_met_by(committed) && !self.loading
    }

    /// An estimate of the memory it takes under a key of `key_bytes`.
    pub(crate) fn bytes(&self, key_bytes: usize) -> usize {
        let base = match &self.base {
            RowState::Known(Some(row)) => row.len(),
            RowState::Known(None) | RowState::Unknown => 0,
        };
        let settled = if self.needs == Needs::Nothing { 0 } else { OVERHEAD_BYTES + key_bytes };
        let in_flight = self.in_flight.len() * (OVERHEAD_BYTES + key_bytes) + self.in_flight_bytes;
        base + settled + self.settled_bytes + in_flight
    }

    /// A write was handed to Kafka.
    pub(crate) fn accept(&mut self, ticket: Ticket, delta: Delta) {
        let whole = match &delta {
            Delta::Put(row) => Some(Some(Row::clone(row))),
            Delta::Delete => Some(None),
            Delta::Change(_) => None,
        };
        self.in_flight_bytes += delta.bytes();
        self.in_flight.push(InFlight { ticket, delta });
        if let Some(row) = whole {
            self.visible = RowState::Known(row);
            self.folded = self.in_flight.len();
        }
    }

    /// Kafka has the write, at `offset` if that is known. `exact`: a load may need the offsets of
    /// the changes over an unknown base, so they are kept apart.
    pub(crate) fn acked(&mut self, ticket: Ticket, offset: Option<Offset>, exact: bool) {
        let Some(delta) = self.take(ticket) else { return };
        self.needs = offset.map_or(Needs::Sample, |offset| Needs::Commit(offset.next()));
        self.outdates_clean_copy = true;
        match delta {
            Delta::Put(row) => self.rebase(Some(row)),
            Delta::Delete => self.rebase(None),
            Delta::Change(change) => {
                let in_base = |offset| self.as_of.is_some_and(|as_of| as_of.is_past(offset));
                if offset.is_some_and(in_base) {
                    self.forget_visible();
                } else {
                    self.settle(*change, offset, exact);
                }
            }
        }
    }

    /// Whether the write is in the log cannot be told. It stays visible, and is not cached.
    pub(crate) fn unknown(&mut self, ticket: Ticket, exact: bool) {
        self.acked(ticket, None, exact);
        self.doubtful = true;
    }

    /// The write is not in the log: reads see again what they saw without it.
    pub(crate) fn failed(&mut self, ticket: Ticket) {
        if self.take(ticket).is_some() {
            self.forget_visible();
        }
    }

    /// An unsampled offset was found to lie below `end`.
    pub(crate) fn sampled(&mut self, end: NextOffset) {
        if self.needs == Needs::Sample {
            self.needs = Needs::Commit(end);
        }
    }

    /// Changes over an unknown base that the database has by now need not be kept, unless a load
    /// is under way that may have read the row before them.
    pub(crate) fn prune(&mut self, committed: NextOffset) {
        if !self.loading && matches!(self.base, RowState::Unknown) {
            let past = |(_, offset): &(Change, Option<Offset>)| {
                offset.is_some_and(|at| committed.is_past(at))
            };
            let first = self.settled.iter().rposition(past).map_or(0, |last| last + 1);
            self.settled.drain(..first);
            if first > 0 {
                self.forget_visible();
                self.settled_bytes = self.settled.iter().map(|(change, _)| change.bytes()).sum();
            }
        }
    }

    /// The row that reads see.
    pub(crate) fn read(&mut self) -> Visible {
        match self.fold_visible() {
            Some(Some(row)) => Visible::Row(Row::clone(row)),
            Some(None) => Visible::Missing,
            None => Visible::NeedsBase,
        }
    }

    /// A loader found `found`. It was asked after this entry was made, and every write of a ticket
    /// at or past `horizon` was accepted after it had answered. No write that Kafka has not
    /// answered has an offset below `first_unanswered`.
    pub(crate) fn loaded(
        &mut self,
        found: &Found,
        horizon: Ticket,
        first_unanswered: NextOffset,
    ) -> Loaded {
        // Written whole in the meantime: what the loader read may be older than that.
        if let Some(visible) = self.fold_visible() {
            return Loaded::Row(visible.clone());
        }
        let asked = |change: &&InFlight| change.ticket < horizon && change.delta.adds();
        let in_doubt = self.in_flight.iter().filter(asked).map(|change| change.ticket).next_back();
        let unplaced = |(change, offset): &(Change, Option<Offset>)| {
            change.needs_earlier_value() && (offset.is_none() || found.next.is_none())
        };
        if self.settled.iter().any(unplaced) || found.next.is_none() && in_doubt.is_some() {
            // Some increments may be in the row already. This is the best answer there is; it is
            // not kept, so that the next read does better.
            return Loaded::Row(self.fold_over(found.row.clone()));
        }
        if let (Some(ticket), Some(next)) = (in_doubt, found.next)
            && next > first_unanswered
        {
            return Loaded::WaitFor(ticket);
        }
        if let Some(next) = found.next {
            // The log is in order: what comes before a change that the row has is in it too.
            let has =
                |(_, offset): &(Change, Option<Offset>)| offset.is_some_and(|at| next.is_past(at));
            let first = self.settled.iter().rposition(has).map_or(0, |last| last + 1);
            self.settled.drain(..first);
        }
        self.as_of = found.next;
        self.base = RowState::Known(found.row.clone());
        self.settled_bytes = 0;
        for (change, offset) in std::mem::take(&mut self.settled) {
            self.settle(change, offset, false);
        }
        self.forget_visible();
        Loaded::Row(self.fold_visible().cloned().flatten())
    }

    /// The row to keep as a clean copy once nothing is pending.
    pub(crate) fn into_clean(mut self) -> RowState {
        if !self.doubtful {
            self.fold_visible();
        }
        if self.doubtful { RowState::Unknown } else { self.visible }
    }

    fn take(&mut self, ticket: Ticket) -> Option<Delta> {
        let (place, _) = self.in_flight.find(|change| change.ticket == ticket)?;
        let taken = self.in_flight.remove(place)?;
        if place < self.folded {
            self.folded -= 1;
        } else {
            // Not in the visible row yet, and no longer among what would be folded over it.
            self.forget_visible();
        }
        self.in_flight_bytes -= taken.delta.bytes();
        Some(taken.delta)
    }

    /// The row was written whole: what came before it no longer matters.
    fn rebase(&mut self, row: Option<Row>) {
        self.base = RowState::Known(row);
        self.as_of = None;
        self.settled = Vec::new();
        self.settled_bytes = 0;
        self.doubtful = false;
    }

    fn settle(&mut self, change: Change, offset: Option<Offset>, exact: bool) {
        let apart = exact && matches!(self.base, RowState::Unknown);
        match self.settled.last_mut() {
            Some((earlier, at)) if !apart => {
                self.settled_bytes -= earlier.bytes();
                earlier.fold(change);
                self.settled_bytes += earlier.bytes();
                *at = offset;
            }
            _ => {
                self.settled_bytes += change.bytes();
                self.settled.push((change, offset));
            }
        }
    }

    fn forget_visible(&mut self) {
        self.visible = RowState::Unknown;
        self.folded = 0;
    }

    fn fold_visible(&mut self) -> Option<&Option<Row>> {
        let up_to_date = self.folded == self.in_flight.len();
        if !(up_to_date && matches!(self.visible, RowState::Known(_))) {
            self.visible = RowState::Known(self.fold_from_what_is_known()?);
            self.folded = self.in_flight.len();
        }
        match &self.visible {
            RowState::Known(row) => Some(row),
            RowState::Unknown => None,
        }
    }

    #[expect(clippy::option_option, reason = "not known, and known to be missing")]
    fn fold_from_what_is_known(&self) -> Option<Option<Row>> {
        let (mut row, from) = match (&self.visible, self.last_whole(), &self.base) {
            (RowState::Known(visible), ..) => (visible.clone(), self.folded),
            (_, Some((place, row)), _) => (row, place + 1),
            (_, None, RowState::Known(base)) => {
                let settled = self.settled.iter().map(|(change, _)| change);
                (fold_all(base.clone(), settled), 0)
            }
            (_, None, RowState::Unknown) => return None,
        };
        for change in self.in_flight.iter().skip(from) {
            row = change.delta.over(row);
        }
        Some(row)
    }

    fn last_whole(&self) -> Option<(usize, Option<Row>)> {
        let mut last = self.in_flight.len();
        self.in_flight.iter().rev().find_map(|change| {
            last -= 1;
            change.delta.is_absolute().then(|| (last, change.delta.over(None)))
        })
    }

    fn fold_over(&self, row: Option<Row>) -> Option<Row> {
        let row = fold_all(row, self.settled.iter().map(|(change, _)| change));
        self.in_flight.iter().fold(row, |row, change| change.delta.over(row))
    }
}
