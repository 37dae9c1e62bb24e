//! What one row looks like to reads while some of its writes are not in the database.
//!
//! ```text
//! visible row = base, then the settled changes, then the changes in flight
//!               │            │                          └ Kafka has not answered; one may fail
//!               │            └ in the log, so they stay; folded into one where that loses nothing
//!               └ a row written whole, or loaded; unknown until needed
//! ```

mod loads;

use write_behind_shared::{NextOffset, Offset};

use crate::core::delta::{Delta, Row};
use crate::core::in_flight::InFlight;
use crate::core::ledger::{Needs, Ticket};
use crate::core::logged::{Rules, Settled};

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
    settled: Settled,
    /// What the latest settled change needs.
    needs: Needs,
    /// The end of the settled changes whose offset is known.
    reach: NextOffset,
    in_flight: InFlight,
    /// The row after the base, the settled and the first `folded` changes in flight.
    visible: RowState,
    folded: usize,
    /// Something was settled since this entry was made, so an older clean copy is no longer right.
    pub(crate) outdates_clean_copy: bool,
    /// A write may or may not be in the log, or not in the database: reads go on seeing it, but it
    /// is never cached, unless it is written whole at this offset or past it.
    doubt: Option<NextOffset>,
    /// A write of this handle is or was here; otherwise all were read from the log.
    pub(crate) own: bool,
    /// The row was invalidated while something was pending: it is never cached.
    invalidated: bool,
    /// Loads under way.
    pub(crate) loads: u32,
    /// Below which offset a write of the row was forgotten that the database may not have had when
    /// the load began.
    pub(crate) suspect: Option<NextOffset>,
    /// Whether this entry stands in its lane's queue of what to look at when commits advance.
    pub(crate) queued: bool,
}

impl Entry {
    /// Nothing pending yet, over the clean copy, if there is one.
    pub(crate) fn over(clean: Option<Row>) -> Self {
        Self {
            base: clean.map_or(RowState::Unknown, |row| RowState::Known(Some(row))),
            as_of: None,
            settled: Settled::default(),
            needs: Needs::Nothing,
            reach: NextOffset::ZERO,
            in_flight: InFlight::new(),
            visible: RowState::Unknown,
            folded: 0,
            outdates_clean_copy: false,
            doubt: None,
            own: false,
            invalidated: false,
            loads: 0,
            suspect: None,
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

    /// Whether all there is can be read again from the database, sooner or later.
    pub(crate) fn can_be_forgotten(&self, own_too: bool) -> bool {
        let settled = matches!(self.needs, Needs::Commit(_)) && self.in_flight.is_empty();
        settled && self.loads == 0 && (own_too || !self.own)
    }

    /// Whether nothing keeps the entry, as of `committed`.
    pub(crate) fn may_leave(&self, committed: Option<NextOffset>) -> bool {
        self.in_flight.is_empty() && self.needs.are_met_by(committed) && self.loads == 0
    }

    /// An estimate of the memory it takes under a key of `key_bytes`.
    pub(crate) fn bytes(&self, key_bytes: usize) -> usize {
        let base = match &self.base {
            RowState::Known(Some(row)) => row.len(),
            RowState::Known(None) | RowState::Unknown => 0,
        };
        let settled = if self.needs == Needs::Nothing { 0 } else { OVERHEAD_BYTES + key_bytes };
        base + settled + self.settled.bytes() + self.bytes_in_flight(key_bytes)
    }

    /// The part of it that writes take which are not placed in the log.
    pub(crate) fn bytes_in_flight(&self, key_bytes: usize) -> usize {
        self.in_flight.len() * (OVERHEAD_BYTES + key_bytes) + self.in_flight.bytes()
    }

    /// A write was accepted.
    pub(crate) fn accept(&mut self, ticket: Ticket, delta: Delta) {
        self.own = true;
        let whole = match &delta {
            Delta::Put(row) => Some(Some(Row::clone(row))),
            Delta::Delete => Some(None),
            Delta::Change(_) => None,
        };
        self.in_flight.push(ticket, delta);
        if let Some(row) = whole {
            self.visible = RowState::Known(row);
            self.folded = self.in_flight.len();
        }
    }

    /// A write was accepted that can go with the latest one, if that is among those that no Kafka
    /// client was given. Gives the ticket of both.
    pub(crate) fn join(
        &mut self,
        never_handed: Ticket,
        delta: &Delta,
        bytes_max: usize,
    ) -> Option<Ticket> {
        let is_visible = self.folded == self.in_flight.len();
        let ticket = self.in_flight.join(never_handed, delta, bytes_max)?;
        if let (true, RowState::Known(row)) = (is_visible, &mut self.visible) {
            *row = delta.over(row.take());
        }
        Some(ticket)
    }

    /// A write that Kafka has not answered.
    pub(crate) fn in_flight(&self, ticket: Ticket) -> Option<&Delta> {
        self.in_flight.get(ticket)
    }

    /// The writes that Kafka has not answered, or whose place the tail has yet to tell; in order.
    pub(crate) fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.in_flight.iter().map(|(ticket, _)| *ticket)
    }

    /// Kafka has the write, at `offset` if that is known.
    pub(crate) fn acked(&mut self, ticket: Ticket, offset: Option<Offset>, rules: Rules) {
        let Some(delta) = self.take(ticket) else { return };
        match offset {
            Some(offset) => self.need(offset, rules),
            None => self.needs = Needs::Sample,
        }
        self.land(delta, offset, rules);
    }

    /// A record of another writer was read in the log.
    pub(crate) fn tailed(&mut self, offset: Offset, delta: Delta, rules: Rules) {
        self.need(offset, rules);
        self.land(delta, Some(offset), rules);
        self.forget_what_rests_on_the_log();
    }

    /// A change at `offset` is settled.
    fn need(&mut self, offset: Offset, rules: Rules) {
        let next = self.reach.max(offset.next());
        self.needs = match self.needs {
            // With others' records around it, one whose place is not known may lie past this.
            Needs::Sample if rules.tail.is_some() => Needs::Sample,
            Needs::Commit(before) => Needs::Commit(before.max(next)),
            Needs::Sample | Needs::Nothing => Needs::Commit(next),
        };
    }

    /// Puts a change that is in the log where it belongs.
    fn land(&mut self, delta: Delta, offset: Option<Offset>, rules: Rules) {
        self.outdates_clean_copy = true;
        if let Some(offset) = offset {
            let comes_late = self.reach > offset.next();
            self.reach = self.reach.max(offset.next());
            if comes_late {
                self.forget_what_rests_on_the_log();
            }
            if self.as_of.is_some_and(|as_of| as_of.is_past(offset)) {
                // It is in the base already, and so is what is older than it.
                self.settled.forget_unplaced();
                self.forget_what_rests_on_the_log();
                return;
            }
        }
        match delta {
            Delta::Put(row) => self.rebase(Some(row), offset),
            Delta::Delete => self.rebase(None, offset),
            Delta::Change(change) => {
                let apart = rules.exact && matches!(self.base, RowState::Unknown);
                self.settled.insert(*change, offset, apart, rules.tail);
            }
        }
    }

    /// Whether the write is in the log cannot be told. It stays visible, and is not cached.
    pub(crate) fn unknown(&mut self, ticket: Ticket, rules: Rules) {
        self.acked(ticket, None, rules);
        // Of our own alone, a later write is later in the log too.
        self.doubt_below(rules.tail.map_or(NextOffset::ZERO, |_| NextOffset(i64::MAX)));
    }

    /// What is known of the row's writes below `next` may be wrong.
    pub(crate) fn doubt_below(&mut self, next: NextOffset) {
        self.doubt = self.doubt.max(Some(next));
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
            self.needs = Needs::Commit(end.max(self.reach));
        }
    }

    /// The change at `offset` is a dead letter, and all below `passed` is in the database and was
    /// read here.
    pub(crate) fn dead_letter(&mut self, offset: Offset, passed: NextOffset) {
        self.doubt_below(offset.next());
        // A load under way may have read the row before the changes that are good.
        if self.needs.are_met_by(Some(passed)) && self.loads == 0 {
            // The database has the rest, so it is asked instead.
            self.base = RowState::Unknown;
            self.as_of = None;
            self.settled.clear();
            self.forget_visible();
        }
    }

    /// Changes over an unknown base that the database has by now need not be kept, unless a load
    /// is under way that may have read the row before them.
    pub(crate) fn prune(&mut self, committed: NextOffset) {
        if self.loads == 0
            && matches!(self.base, RowState::Unknown)
            && self.settled.forget_below(Some(committed))
        {
            self.forget_visible();
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

    /// The row to keep as a clean copy once nothing is pending.
    pub(crate) fn into_clean(mut self) -> RowState {
        if self.doubt.is_some() || self.invalidated {
            return RowState::Unknown;
        }
        self.fold_visible();
        self.visible
    }

    fn take(&mut self, ticket: Ticket) -> Option<Delta> {
        let (place, taken) = self.in_flight.take(ticket)?;
        if place < self.folded {
            self.folded -= 1;
        } else {
            // Not in the visible row yet, and no longer among what would be folded over it.
            self.forget_visible();
        }
        Some(taken)
    }

    /// The row was written whole: what came before it no longer matters. What came after it stays:
    /// the log may have been read further than Kafka has answered.
    fn rebase(&mut self, row: Option<Row>, offset: Option<Offset>) {
        self.base = RowState::Known(row);
        self.as_of = offset.map(Offset::next);
        self.settled.keep_past(offset);
        let ends = |below: &NextOffset| offset.is_none_or(|offset| below.is_past(offset));
        self.doubt = self.doubt.filter(|below| *below > NextOffset::ZERO && ends(below));
    }

    /// The visible row is to be folded anew, unless a write in flight replaces it whole anyway.
    fn forget_what_rests_on_the_log(&mut self) {
        if self.in_flight.last_whole().is_none() {
            self.forget_visible();
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
        let (row, from) = match (&self.visible, self.in_flight.last_whole(), &self.base) {
            (RowState::Known(visible), ..) => (visible.clone(), self.folded),
            (_, Some((after, row)), _) => (row, after),
            (_, None, RowState::Known(base)) => (self.settled.over(base.clone(), None), 0),
            (_, None, RowState::Unknown) => return None,
        };
        Some(self.in_flight.over(row, from))
    }
}
