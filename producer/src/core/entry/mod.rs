//! One pending row: what reads see while some of its writes are not in the database.
//!
//! ```text
//! visible row = base, then the logged changes, then the changes in flight
//!               │            │                          └ Kafka has not answered; one may fail
//!               │            └ in the log, so they stay; folded into one where that loses nothing
//!               └ a row written whole, or loaded; unknown until needed
//! ```

mod age;
mod loads;
mod joining;

use write_behind_shared::{NextOffset, Offset};

use crate::core::age::{KnownRow, KnownSince};
use crate::core::cache::Cache;
use crate::core::delta::{Alteration, Delta, Row};
use crate::core::in_flight::InFlight;
use crate::core::leaves::Leaves;
use crate::core::ledger::Sequence;
use crate::core::logged::{LoggedChanges, Rules};
use crate::core::maybe_next::MaybeNext;
use crate::core::unanswered::PersistedWhen;
use crate::core::usage::Usage;

/// What a write or a logged row costs in memory beyond its key and value: map, queues, sequences.
pub(crate) const OVERHEAD_BYTES: usize = 384;

/// A row as far as it is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    as_of: MaybeNext,
    /// When the base became known. `None` if it is unknown, or was not read since it became known.
    since: Option<KnownSince>,
    /// Past zero: the base is too old. Changes from this offset on are kept apart, so that it can be
    /// given up.
    old_below: NextOffset,
    logged: LoggedChanges,
    /// When the latest logged change is persisted.
    persisted_when: PersistedWhen,
    /// The end of the logged changes whose offset is known.
    known_end: NextOffset,
    in_flight: InFlight,
    /// The row after the base, the logged and the first `folded` changes in flight.
    visible: RowState,
    folded: usize,
    /// Something was logged since this entry was made, so an older cached row is no longer right.
    pub(crate) outdates_cache: bool,
    /// A write may or may not be in the log, or not in the database: reads go on seeing it, but it
    /// is never cached, unless it is written whole at this offset or past it.
    uncertain_below: MaybeNext,
    /// A write of this handle is or was here; otherwise all were read from the log.
    pub(crate) own: bool,
    /// The row was invalidated while something was pending: it is never cached.
    invalidated: bool,
    /// Loads under way.
    pub(crate) loads: u32,
    /// Below which offset a write of the row was forgotten that the database may not have had when
    /// the load began.
    pub(crate) maybe_stale_below: MaybeNext,
    /// How many have pinned the row.
    pub(crate) pins: u32,
    /// Whether this entry is among those that wait for a commit.
    pub(crate) is_waiting: bool,
    /// Whether its row is being put into the cache.
    pub(crate) leaves: Leaves,
}

impl Entry {
    /// Nothing pending yet, over the cached row, if there is one.
    pub(crate) fn over(cached: Option<KnownRow>) -> Self {
        let since = cached.as_ref().map(|(_, since)| *since);
        Self {
            base: cached.map_or(RowState::Unknown, |(row, _)| RowState::Known(Some(row))),
            as_of: MaybeNext::NONE,
            since,
            old_below: NextOffset::ZERO,
            logged: LoggedChanges::default(),
            persisted_when: PersistedWhen::AtOnce,
            known_end: NextOffset::ZERO,
            in_flight: InFlight::new(),
            visible: RowState::Unknown,
            folded: 0,
            outdates_cache: false,
            uncertain_below: MaybeNext::NONE,
            own: false,
            invalidated: false,
            loads: 0,
            maybe_stale_below: MaybeNext::NONE,
            pins: 0,
            is_waiting: false,
            leaves: Leaves::No,
        }
    }

    /// Nothing pending yet, over what the cache knows of the row.
    pub(crate) fn known(cached: Option<(Option<Row>, KnownSince)>) -> Self {
        let since = cached.as_ref().map(|(_, since)| *since);
        let base = cached.map_or(RowState::Unknown, |(row, _)| RowState::Known(row));
        Self { base, since, ..Self::over(None) }
    }

    /// When the latest logged change is persisted.
    pub(crate) fn persisted_when(&self) -> PersistedWhen {
        self.persisted_when
    }

    /// Whether a write of the row is in flight or logged; otherwise it is only being loaded.
    pub(crate) fn has_writes(&self) -> bool {
        !self.in_flight.is_empty() || self.persisted_when != PersistedWhen::AtOnce
    }

    /// Whether all there is can be read again from the database, sooner or later.
    pub(crate) fn can_be_forgotten(&self, own_too: bool) -> bool {
        let logged =
            matches!(self.persisted_when, PersistedWhen::Committed(_)) && self.in_flight.is_empty();
        logged && self.is_free() && (own_too || !self.own) && self.leaves == Leaves::No
    }

    /// Whether nothing keeps the entry, as of `committed`.
    pub(crate) fn may_leave(&self, committed: Option<NextOffset>) -> bool {
        self.in_flight.is_empty() && self.persisted_when.is_met_by(committed) && self.is_free()
    }

    /// The committed offset that releases the row, if it waits for one from now on.
    pub(crate) fn begins_to_wait(&mut self, passed: Option<NextOffset>) -> Option<NextOffset> {
        let PersistedWhen::Committed(next) = self.persisted_when else { return None };
        let begins = !self.is_waiting && !self.persisted_when.is_met_by(passed);
        self.is_waiting |= begins;
        begins.then_some(next)
    }

    /// Whether nobody loads the row or has pinned it.
    fn is_free(&self) -> bool {
        self.loads == 0 && self.pins == 0
    }

    /// What it takes of the limits under a key of `key_bytes`; its writes in flight are counted by
    /// the ledger.
    pub(crate) fn usage(&self, key_bytes: usize) -> Usage {
        let base = match &self.base {
            RowState::Known(Some(row)) => row.len(),
            RowState::Known(None) | RowState::Unknown => 0,
        };
        let is_logged = self.persisted_when != PersistedWhen::AtOnce;
        let logged = if is_logged { OVERHEAD_BYTES + key_bytes } else { 0 };
        let in_flight =
            self.in_flight.len() * (OVERHEAD_BYTES + key_bytes) + self.in_flight.bytes();
        let bytes = base + logged + self.logged.bytes() + in_flight;
        Usage([bytes, usize::from(self.has_writes()), 0, in_flight])
    }

    /// A write was accepted.
    pub(crate) fn accept(&mut self, sequence: Sequence, delta: Delta) {
        self.own = true;
        let whole = match &delta {
            Delta::Put(row) => Some(Some(Row::clone(row))),
            Delta::Delete => Some(None),
            Delta::Change(_) | Delta::Versioned(_) => None,
        };
        self.in_flight.push(sequence, delta);
        if let Some(row) = whole {
            self.visible = RowState::Known(row);
            self.folded = self.in_flight.len();
        }
    }

    /// A write that Kafka has not answered.
    pub(crate) fn in_flight(&self, sequence: Sequence) -> Option<&Delta> {
        self.in_flight.get(sequence)
    }

    /// The writes that Kafka has not answered, or whose place the tail has yet to tell; in order.
    pub(crate) fn sequences(&self) -> impl DoubleEndedIterator<Item = Sequence> {
        self.in_flight.iter().map(|(sequence, _)| *sequence)
    }

    /// Kafka has the write, at `offset` if that is known.
    pub(crate) fn acked(&mut self, sequence: Sequence, offset: Option<Offset>, rules: Rules) {
        let Some(delta) = self.take(sequence) else { return };
        match offset {
            Some(offset) => self.wait_for(offset, rules),
            None => self.persisted_when = PersistedWhen::EndCommitted,
        }
        self.land(delta, offset, rules);
    }

    /// A record of another writer was read in the log.
    pub(crate) fn foreign_record(&mut self, offset: Offset, delta: Delta, rules: Rules) {
        self.wait_for(offset, rules);
        self.land(delta, Some(offset), rules);
        self.forget_what_rests_on_the_log();
    }

    /// The row waits for the commit of a change at `offset`.
    fn wait_for(&mut self, offset: Offset, rules: Rules) {
        let next = self.known_end.max(offset.next());
        self.persisted_when = match self.persisted_when {
            // With others' records around it, one whose place is not known may lie past this.
            PersistedWhen::EndCommitted if rules.tail.is_some() => PersistedWhen::EndCommitted,
            PersistedWhen::Committed(before) => PersistedWhen::Committed(before.max(next)),
            PersistedWhen::EndCommitted | PersistedWhen::AtOnce => PersistedWhen::Committed(next),
        };
    }

    /// Puts a change that is in the log where it belongs.
    fn land(&mut self, delta: Delta, offset: Option<Offset>, rules: Rules) {
        self.outdates_cache = true;
        if let Some(offset) = offset {
            let comes_late = self.known_end > offset.next();
            self.known_end = self.known_end.max(offset.next());
            if comes_late {
                self.forget_what_rests_on_the_log();
            }
            if self.as_of.get().is_some_and(|as_of| as_of.is_past(offset)) {
                // It is in the base already, and so is what is older than it.
                self.logged.forget_unplaced();
                self.forget_what_rests_on_the_log();
                return;
            }
        }
        match delta {
            Delta::Put(row) => self.rebase(Some(row), offset),
            Delta::Delete => self.rebase(None, offset),
            Delta::Change(change) => self.log(Alteration::Plain(*change), offset, rules),
            Delta::Versioned(versioned) => {
                // Only the database can tell which of two such versions is newer.
                self.invalidated |= versioned.number().is_none();
                self.log(Alteration::Versioned(versioned), offset, rules);
            }
        }
    }

    fn log(&mut self, change: Alteration, offset: Option<Offset>, rules: Rules) {
        let may_be_split =
            matches!(self.base, RowState::Unknown) || self.old_below > NextOffset::ZERO;
        self.logged.insert(change, offset, rules.exact && may_be_split, rules.tail);
    }

    /// Whether the write is in the log cannot be told. It stays visible, and is not cached.
    pub(crate) fn unknown(&mut self, sequence: Sequence, rules: Rules) {
        // What lands after it need not be later in the log: it may be another's write, or an earlier
        // one of our own that Kafka has not answered. Otherwise a later write ends the doubt.
        let is_first = self.in_flight.iter().all(|(other, _)| *other >= sequence);
        let ends = rules.tail.is_none() && is_first;
        self.acked(sequence, None, rules);
        self.mark_uncertain_below(if ends { NextOffset::ZERO } else { NextOffset(i64::MAX) });
    }

    /// What is known of the row's writes below `next` may be wrong.
    pub(crate) fn mark_uncertain_below(&mut self, next: NextOffset) {
        self.uncertain_below = self.uncertain_below.max(next.into());
    }

    /// The write is not in the log: reads see again what they saw without it.
    pub(crate) fn failed(&mut self, sequence: Sequence) {
        if self.take(sequence).is_some() {
            self.forget_visible();
        }
    }

    /// An unsampled offset was found to lie below `end`.
    pub(crate) fn sampled(&mut self, end: NextOffset) {
        if self.persisted_when == PersistedWhen::EndCommitted {
            self.persisted_when = PersistedWhen::Committed(end.max(self.known_end));
        }
    }

    /// The change at `offset` is a dead letter, and all below `passed` is in the database and was
    /// read here.
    pub(crate) fn dead_letter(&mut self, offset: Offset, passed: NextOffset) {
        self.mark_uncertain_below(offset.next());
        // A load under way may have read the row before the changes that are good.
        if self.persisted_when.is_met_by(Some(passed)) && self.loads == 0 {
            // The database has the rest, so it is asked instead.
            self.forget_base();
            self.logged.clear();
            self.forget_visible();
        }
    }

    /// Changes over an unknown base that the database has by now need not be kept, unless a load
    /// is under way that may have read the row before them.
    pub(crate) fn prune(&mut self, committed: NextOffset) {
        if self.loads == 0
            && matches!(self.base, RowState::Unknown)
            && self.logged.forget_below(Some(committed))
        {
            self.forget_visible();
        }
    }

    /// The row that reads see; unknown: the row beneath the changes has to be loaded first.
    pub(crate) fn read(&mut self) -> RowState {
        match self.fold_visible() {
            Some(row) => RowState::Known(row.clone()),
            None => RowState::Unknown,
        }
    }

    /// The row to cache once nothing is pending, and since when what is beneath it is known.
    pub(crate) fn cached(&mut self, cache: &impl Cache) -> (RowState, KnownSince) {
        let since = self.since.unwrap_or_else(|| cache.now());
        if !self.uncertain_below.is_none() || self.invalidated || cache.is_too_old(since) {
            return (RowState::Unknown, since);
        }
        (self.read(), since)
    }

    fn take(&mut self, sequence: Sequence) -> Option<Delta> {
        let (place, taken) = self.in_flight.take(sequence)?;
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
        self.as_of = offset.map(Offset::next).into();
        (self.since, self.old_below) = (None, NextOffset::ZERO);
        self.logged.keep_past(offset);
        let ends = |below: &NextOffset| offset.is_none_or(|offset| below.is_past(offset));
        let goes_on = |below: &NextOffset| *below > NextOffset::ZERO && ends(below);
        self.uncertain_below = self.uncertain_below.get().filter(goes_on).into();
    }

    /// The visible row must be folded again, unless a write in flight replaces it whole anyway.
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
        // The last whole write is looked for only if the row is not known without it: that walks
        // over all increments in flight, under the partition's lock.
        let (row, from) = if let RowState::Known(visible) = &self.visible {
            (visible.clone(), self.folded)
        } else if let Some((after, row)) = self.in_flight.last_whole() {
            (row, after)
        } else if let RowState::Known(base) = &self.base {
            (self.logged.over(base.clone(), None), 0)
        } else {
            return None;
        };
        Some(self.in_flight.over(row, from))
    }
}
