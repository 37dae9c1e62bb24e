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

use std::collections::VecDeque;
use std::sync::Arc;

use write_behind_shared::record;
use write_behind_shared::{Change, NextOffset, Offset};

use crate::ledger::{Needs, Ticket};

/// A row as a JSON object.
pub(crate) type Row = Arc<[u8]>;

/// What a write or a settled row costs in memory beyond its key and value: map, queues, tickets.
pub(crate) const OVERHEAD_BYTES: usize = 384;

/// One write of a row.
#[derive(Clone, Debug)]
pub(crate) enum Delta {
    /// Every column takes a new value.
    Put(Row),
    /// The row is deleted.
    Delete,
    /// Some columns are set or added to.
    Change(Box<Change>),
}

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

#[derive(Clone, Debug)]
enum Base {
    Unknown,
    Known(Option<Row>),
}

/// A row with writes that are not in the database, or that is being loaded.
#[derive(Debug)]
pub(crate) struct Entry {
    base: Base,
    /// The base came from the database as of this offset: earlier changes are in it.
    as_of: Option<NextOffset>,
    settled: Vec<(Change, Option<Offset>)>,
    settled_bytes: usize,
    /// What the latest settled change needs.
    needs: Needs,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
    /// The row after the base, the settled and the first `folded` changes in flight.
    visible: Option<Option<Row>>,
    folded: usize,
    /// Something was settled since this entry was made, so an older clean copy is no longer right.
    pub(crate) outdates_clean_copy: bool,
    /// A write may or may not be in the log: reads go on seeing it, but it is never cached.
    doubtful: bool,
    pub(crate) loading: bool,
    /// Whether this entry stands in its lane's queue of what to look at when commits advance.
    pub(crate) queued: bool,
}

impl Delta {
    fn adds(&self) -> bool {
        matches!(self, Delta::Change(change) if change.needs_earlier_value())
    }

    fn is_absolute(&self) -> bool {
        !matches!(self, Delta::Change(_))
    }

    /// An estimate of the memory it takes, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Delta::Put(row) => row.len(),
            Delta::Delete => 0,
            Delta::Change(change) => change.bytes(),
        }
    }
}

impl Entry {
    /// Nothing pending yet, over the clean copy, if there is one.
    pub(crate) fn over(clean: Option<Row>) -> Self {
        Self {
            base: clean.map_or(Base::Unknown, |row| Base::Known(Some(row))),
            as_of: None,
            settled: Vec::new(),
            settled_bytes: 0,
            needs: Needs::Nothing,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            visible: None,
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
            Base::Known(Some(row)) => row.len(),
            Base::Known(None) | Base::Unknown => 0,
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
        self.in_flight.push_back(InFlight { ticket, delta });
        if whole.is_some() {
            self.visible = whole;
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
        if !self.loading && matches!(self.base, Base::Unknown) {
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
        self.base = Base::Known(found.row.clone());
        self.settled_bytes = 0;
        for (change, offset) in std::mem::take(&mut self.settled) {
            self.settle(change, offset, false);
        }
        self.forget_visible();
        Loaded::Row(self.fold_visible().cloned().flatten())
    }

    /// The row to keep as a clean copy once nothing is pending; `None`: it is not known for sure.
    pub(crate) fn into_clean(mut self) -> Option<Option<Row>> {
        if self.doubtful { None } else { self.fold_visible().cloned() }
    }

    fn take(&mut self, ticket: Ticket) -> Option<Delta> {
        let place = self.in_flight.iter().position(|change| change.ticket == ticket)?;
        let taken = self.in_flight.remove(place)?;
        if place < self.folded {
            self.folded -= 1;
        } else {
            // Not in the visible row yet, and no longer among what would be folded over it.
            self.forget_visible();
        }
        self.in_flight_bytes -= taken.delta.bytes();
        if self.in_flight.is_empty() {
            // A settled row may stay for hours; its queue need not.
            self.in_flight = VecDeque::new();
        }
        Some(taken.delta)
    }

    /// The row was written whole: what came before it no longer matters.
    fn rebase(&mut self, row: Option<Row>) {
        self.base = Base::Known(row);
        self.as_of = None;
        self.settled = Vec::new();
        self.settled_bytes = 0;
        self.doubtful = false;
    }

    fn settle(&mut self, change: Change, offset: Option<Offset>, exact: bool) {
        let apart = exact && matches!(self.base, Base::Unknown);
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
        self.visible = None;
        self.folded = 0;
    }

    fn fold_visible(&mut self) -> Option<&Option<Row>> {
        if self.visible.is_some() && self.folded == self.in_flight.len() {
            return self.visible.as_ref();
        }
        let (mut row, from) = match (&self.visible, self.last_whole(), &self.base) {
            (Some(visible), ..) => (visible.clone(), self.folded),
            (None, Some((place, row)), _) => (row, place + 1),
            (None, None, Base::Known(base)) => {
                let settled = self.settled.iter().map(|(change, _)| change);
                (fold_all(base.clone(), settled), 0)
            }
            (None, None, Base::Unknown) => return None,
        };
        for change in self.in_flight.iter().skip(from) {
            row = fold_delta(row, &change.delta);
        }
        self.folded = self.in_flight.len();
        self.visible = Some(row);
        self.visible.as_ref()
    }

    fn last_whole(&self) -> Option<(usize, Option<Row>)> {
        let place = self.in_flight.iter().rposition(|change| change.delta.is_absolute())?;
        match &self.in_flight[place].delta {
            Delta::Put(row) => Some((place, Some(Row::clone(row)))),
            Delta::Delete | Delta::Change(_) => Some((place, None)),
        }
    }

    fn fold_over(&self, row: Option<Row>) -> Option<Row> {
        let row = fold_all(row, self.settled.iter().map(|(change, _)| change));
        self.in_flight.iter().fold(row, |row, change| fold_delta(row, &change.delta))
    }
}

fn fold_delta(row: Option<Row>, delta: &Delta) -> Option<Row> {
    match delta {
        Delta::Put(row) => Some(Row::clone(row)),
        Delta::Delete => None,
        Delta::Change(change) => fold_all(row, std::iter::once(&**change)),
    }
}

/// The row after `changes`. A change that does not fit (something added to what is no number) is
/// left out, as the consumer will leave it out: it becomes a dead letter.
fn fold_all<'c>(row: Option<Row>, changes: impl Iterator<Item = &'c Change>) -> Option<Row> {
    changes.fold(row, |row, change| {
        let earlier = match &row {
            Some(row) => record::decode(Some(row), None),
            None => Ok(Change::delete()),
        };
        let Ok(mut folded) = earlier else { return row };
        folded.fold(change.clone());
        match folded.to_row() {
            Ok(after) => after.map(Row::from),
            Err(_) => row,
        }
    })
}
