//! What must be seen at any moment, and what must be left at the end.
//!
//! The truth (`Log::truth`) is the fold of the log below some offset and of our own writes after
//! it.
//!
//! - A row in memory, pending or clean, is the truth as of the tail; without `follow`, where nobody
//!   else writes these rows, that is all that was ever accepted. So it is never older than our own
//!   latest write, and once all is read and answered it is the fold of the log.
//! - A row that is not in memory is right in the database (the truth as of the tail or of what the
//!   database has, whichever is further), or the core says that it may be behind.
//! - A loaded row is the truth as of the tail or of what the loader read, or is flagged.
//! - Only cached rows are right without exception. A pending row is not checked while its truth
//!   cannot be known: a write of it is unknown, or is in the log and will not be in the database.

use serde_json::Value;
use write_behind_shared::NextOffset;

use super::super::*;
use super::log::{Name, key, value};
use super::ops::Op;
use super::world::{Doubt, World};
use crate::core::loaded::Reading;

/// What a load may find, if that can be told.
pub(super) type Expected = Option<[Option<Value>; 2]>;

impl World {
    pub(super) fn truth(&self, name: Name, next: i64) -> Option<Value> {
        self.log.truth(name, next, &self.own)
    }

    pub(super) fn read(&mut self, name: Name) {
        let truth = self.truth(name, self.tail);
        let copy = self.copies.get(&key(name));
        if let Some((row, _)) = &copy
            && !self.pending.has(&key(name))
        {
            assert_eq!(value(Some(row)), truth, "a cached row {name}");
        }
        let is_known = self.doubts.get(&name) != Some(&Doubt::All);
        match self.pending.read(&key(name)) {
            Some(RowState::Known(Some(row))) if is_known => {
                assert_eq!(value(Some(&row)), truth, "a pending row {name}");
            }
            Some(RowState::Known(None)) if is_known => {
                assert_eq!(None, truth, "a pending delete {name}");
            }
            Some(_) => {}
            None if copy.is_some() => {}
            None if self.pending.forgotten_below(&key(name)).is_some() => {
                assert!(self.may_be_behind, "nothing was forgotten");
            }
            None => {
                // Nothing is pending, so the database must have it all: nothing was evicted.
                let truth = self.truth(name, self.tail.max(self.log.next));
                assert_eq!(value(self.log.stored(name).as_deref()), truth, "stored row {name}");
            }
        }
    }

    /// What a loader that read what the database had as of `next` may find.
    pub(super) fn expected_of_load(&self, name: Name, next: i64) -> Expected {
        let is_ahead = self.plan.follow && next > self.tail;
        // A write that the row holds already is done to it once more: nobody knows yet that it
        // does.
        let holds =
            |sequence| self.own_offset(sequence).is_some_and(|at| NextOffset(next).is_past(at));
        let entry = self.pending.entries.get(&key(name));
        let repeats =
            is_ahead && (!self.plan.exact || entry.is_some_and(|e| e.sequences().any(holds)));
        let is_known = !self.doubts.contains_key(&name) && !repeats;
        is_known.then(|| [self.truth(name, self.tail), self.truth(name, self.tail.max(next))])
    }

    pub(super) fn check_load(&self, reading: &Reading, expected: Expected) {
        if reading.may_be_behind {
            assert!(self.may_be_behind, "nothing was forgotten");
        } else if let Some(expected) = expected {
            let row = value(reading.row.as_deref());
            assert!(expected.contains(&row), "loaded {row:?} and not one of {expected:?}");
        }
    }

    /// Memory is short. Rows that are not forgotten look as before.
    pub(super) fn forget(&mut self, bytes: usize, own_too: bool) {
        let look = |world: &mut World| [0, 1, 2].map(|name| world.pending.read(&key(name)));
        let (before, rows, used) =
            (look(self), self.pending.usage()[Full::PendingRows], self.pending.bytes());
        let forgotten = self.pending.forget_some(bytes, own_too, &self.copies);
        self.may_be_behind |= forgotten > 0;
        assert_eq!(rows - self.pending.usage()[Full::PendingRows], forgotten as usize);
        assert!(forgotten == 0 || self.pending.bytes() < used);
        for (name, (before, after)) in before.into_iter().zip(look(self)).enumerate() {
            assert!(after.is_none() || before == after, "row {name} is another: {after:?}");
        }
    }

    pub(super) fn finish_everything(&mut self) {
        self.step(Op::ToldOfGivenUp);
        while self.append_next() {}
        self.ack(usize::MAX);
        self.step(Op::ToldOfGivenUp);
        self.step(Op::HandOver(usize::MAX));
        while self.pending.ledger().in_flight() > 0 && self.append_next() {}
        self.ack(usize::MAX);
        if self.plan.follow {
            self.step(Op::Tail(1_000));
        }
        // All is read and answered: reads are the fold of the log, or have to be loaded.
        (0..3).for_each(|name| self.step(Op::Read(name)));
        self.step(Op::Sample);
        self.step(Op::Apply(usize::MAX));
        self.step(Op::Letters);
        for _ in 0..self.leaving.len() {
            self.step(Op::IsCached);
        }
        while !self.leaving.is_empty() {
            self.step(Op::ReleaseEnds);
        }
        self.step(Op::Commit);
        while self.pending.release_at_once(&self.copies) {}
        for name in 0..3 {
            self.step(Op::LoadFails(name));
            self.step(Op::ModifyEnds(name));
        }
        assert_eq!(self.pending.ledger().persisted(), self.pending.ledger().next());
        assert_eq!(self.pending.usage()[Full::PendingRows], 0, "rows are left");
        assert_eq!(self.pending.bytes(), 0, "bytes are left");
        assert!(self.pending.entries.is_empty() && self.pending.waiters.is_empty());
        for name in 0..3 {
            self.step(Op::Read(name));
            assert_eq!(self.pending.forgotten_below(&key(name)), None, "may still be stale");
        }
    }

    fn append_next(&mut self) -> bool {
        let before = self.log.end();
        self.step(Op::Append(false));
        self.log.end() > before
    }
}
