//! Loads of one row that overlap: invalidations and refreshes among writes, commits and changes
//! that others make to the database, in any interleaving.

use std::cell::RefCell;

use proptest::prelude::*;
use serde_json::{Value, json};
use write_behind_shared::{Change, NextOffset};

use super::*;
use crate::core::age::{KnownRow, KnownSince};
use crate::core::delta::Row;
use crate::core::loaded::{Loaded, Reading, Validity};

/// The cached row of the one row; that it is missing is remembered.
#[derive(Default)]
#[expect(clippy::option_option, reason = "not known, and known to be missing")]
struct Copy(RefCell<Option<Option<Row>>>);

impl Cache for Copy {
    fn get(&self, _: &[u8]) -> Option<KnownRow> {
        Some((self.0.borrow().clone().flatten()?, KnownSince::default()))
    }

    fn insert(&self, _: Key, row: Row, _: KnownSince) {
        *self.0.borrow_mut() = Some(Some(row));
    }

    fn insert_missing(&self, _: Key, _: KnownSince) {
        *self.0.borrow_mut() = Some(None);
    }

    fn remove(&self, _: &[u8]) {
        *self.0.borrow_mut() = None;
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Put(i64),
    Add(i64),
    Delete,
    Ack,
    Apply,
    Commit,
    /// Another program changes the database, past the log.
    Meddle(i64),
    Invalidate,
    Refresh,
    Evict,
    Load,
    LoadReads(usize),
    LoadEnds(usize),
    LoadFails(usize),
    Read,
}

struct Load {
    found: Option<Loaded>,
    horizon: Sequence,
    current: bool,
    /// The database was meddled with since it was read.
    outdated: bool,
}

struct World {
    pending: Pending,
    copy: Copy,
    log: Vec<Change>,
    acked: usize,
    next: usize,
    database: Change,
    loads: Vec<Load>,
    /// The database was meddled with and the row not invalidated since, so reads may be behind.
    may_be_behind: bool,
    /// It was invalidated since, while something was pending: they may be, until that has left.
    until_it_leaves: bool,
}

fn id() -> Key {
    Key::from(b"7".as_slice())
}

fn set(n: i64) -> Change {
    Change::new().set("n", &n).unwrap()
}

fn value(row: Option<&[u8]>) -> Option<Value> {
    row.map(|row| serde_json::from_slice(row).unwrap())
}

impl World {
    fn new() -> Self {
        Self {
            pending: Pending::new(Rules { exact: true, tail: None }, Bounds::STANDARD),
            copy: Copy::default(),
            log: Vec::new(),
            acked: 0,
            next: 0,
            database: set(100),
            loads: Vec::new(),
            may_be_behind: false,
            until_it_leaves: false,
        }
    }

    /// The database, and what of the log it does not have.
    fn truth(&self) -> Option<Value> {
        let mut row = self.database.clone();
        self.log[self.next..].iter().for_each(|change| row.fold(change.clone()));
        value(row.to_row().unwrap().as_deref())
    }

    fn write(&mut self, delta: Delta, change: Change) {
        self.pending.accept(&id(), delta, &self.copy);
        self.log.push(change);
    }

    fn ack(&mut self) {
        if self.acked < self.log.len() {
            self.pending.acked(self.acked, self.acked as i64, &self.copy);
            self.acked += 1;
        }
    }

    fn begin(&mut self) {
        self.loads.iter_mut().for_each(|load| load.current = false);
        self.pending.load_begins(&id());
        let load = Load { found: None, horizon: 0, current: true, outdated: false };
        self.loads.push(load);
    }

    fn end(&mut self, place: usize) {
        if self.loads.get(place).is_none_or(|load| load.found.is_none()) {
            return;
        }
        let load = self.loads.remove(place);
        let Some(found) = &load.found else { return };
        // Then it is what is written that is read, and not what the load found.
        let is_pending = self.pending.has(&id());
        let row = loop {
            let (key, copy) = (id(), &self.copy);
            let validity = if load.current { Validity::Valid } else { Validity::Invalidated };
            match self.pending.loaded(&key, found, (load.horizon, validity), copy) {
                Ok(Reading { row, may_be_behind }) => {
                    assert!(!may_be_behind, "nothing was forgotten");
                    break row;
                }
                Err(sequence) => {
                    assert!(sequence >= self.acked as u64, "it was answered already");
                    self.ack();
                }
            }
        };
        if load.outdated {
            return;
        }
        if load.current && !is_pending {
            self.may_be_behind = false;
        }
        if !self.may_be_behind {
            assert_eq!(value(row.as_deref()), self.truth(), "a load");
        }
    }

    fn read(&mut self) {
        let seen = match self.pending.read(&id()) {
            Some(RowState::Known(Some(row))) => Some(row),
            Some(RowState::Known(None)) => None,
            Some(RowState::Unknown) => return,
            None => match &*self.copy.0.borrow() {
                Some(row) => row.clone(),
                None => return,
            },
        };
        if !self.may_be_behind {
            assert_eq!(value(seen.as_deref()), self.truth(), "a read");
        }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Put(n) => {
                let row = Row::from(json!({ "n": n }).to_string().into_bytes());
                self.write(Delta::Put(row), set(n));
            }
            Op::Add(delta) => {
                let change = Change::new().add("n", delta);
                self.write(Delta::Change(Box::new(change.clone())), change);
            }
            Op::Delete => self.write(Delta::Delete, Change::delete()),
            Op::Ack => self.ack(),
            Op::Apply => {
                if let Some(change) = self.log.get(self.next) {
                    self.database.fold(change.clone());
                    self.next += 1;
                }
            }
            Op::Commit => {
                self.pending.committed_at_once(NextOffset(self.next as i64), &self.copy);
            }
            Op::Meddle(n) => {
                self.database = set(n);
                self.loads.iter_mut().for_each(|load| load.outdated |= load.found.is_some());
                self.may_be_behind = true;
                self.until_it_leaves = false;
            }
            Op::Invalidate => {
                self.loads.iter_mut().for_each(|load| load.current = false);
                self.pending.invalidate(&id());
                self.copy.remove(&id());
                self.until_it_leaves = true;
            }
            Op::Refresh => match self.pending.read(&id()) {
                Some(RowState::Known(_)) => {}
                Some(RowState::Unknown) => self.begin(),
                None => {
                    self.pending.invalidate(&id());
                    self.begin();
                }
            },
            Op::Evict => self.copy.remove(&id()),
            Op::Load if self.loads.iter().all(|load| !load.current) => self.begin(),
            Op::LoadReads(place) => {
                let next = Some(NextOffset(self.next as i64));
                let row = self.database.to_row().unwrap().map(Row::from);
                let horizon = self.pending.ledger().next();
                if let Some(load) = self.loads.get_mut(place).filter(|load| load.found.is_none()) {
                    (load.found, load.horizon) = (Some(Loaded { row, next }), horizon);
                }
            }
            Op::LoadEnds(place) => self.end(place),
            Op::LoadFails(place) if place < self.loads.len() => {
                self.loads.remove(place);
                self.pending.load_ends(&id(), &self.copy);
            }
            Op::Read => self.read(),
            Op::Load | Op::LoadFails(_) => {}
        }
        if self.until_it_leaves && !self.pending.has(&id()) {
            (self.may_be_behind, self.until_it_leaves) = (false, false);
        }
    }
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let place = 0..3_usize;
    let op = prop_oneof![
        1 => (0..9_i64).prop_map(Op::Put),
        3 => (1..9_i64).prop_map(Op::Add),
        1 => Just(Op::Delete),
        4 => Just(Op::Ack),
        4 => Just(Op::Apply),
        3 => Just(Op::Commit),
        1 => (0..9_i64).prop_map(|n| Op::Meddle(n * 1000)),
        2 => Just(Op::Invalidate),
        2 => Just(Op::Refresh),
        1 => Just(Op::Evict),
        3 => Just(Op::Load),
        5 => place.clone().prop_map(Op::LoadReads),
        4 => place.clone().prop_map(Op::LoadEnds),
        1 => place.prop_map(Op::LoadFails),
        4 => Just(Op::Read),
    ];
    proptest::collection::vec(op, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn a_row_that_was_invalidated_or_refreshed_is_never_seen_as_it_was_before(ops in ops()) {
        let mut world = World::new();
        for op in ops {
            world.step(op);
        }
        // When all is over nothing is left, and what is cached is what the database has.
        while world.acked < world.log.len() {
            world.step(Op::Ack);
            world.step(Op::Apply);
        }
        while world.next < world.log.len() {
            world.step(Op::Apply);
        }
        world.step(Op::Commit);
        while !world.loads.is_empty() {
            world.step(Op::LoadReads(0));
            world.step(Op::LoadEnds(0));
        }
        world.step(Op::Read);
        prop_assert!(world.pending.entries.is_empty());
        prop_assert_eq!((world.pending.bytes(), world.pending.usage()[Full::PendingRows]), (0, 0));
    }
}

/// Two loads under way: the end of the first must not let go what the second still needs.
#[test]
fn an_increment_that_is_persisted_between_two_loads_is_not_lost() {
    let mut world = World::new();
    world.step(Op::Add(1));
    world.step(Op::Ack);
    world.step(Op::Load);
    world.step(Op::LoadReads(0));
    world.step(Op::Invalidate);
    world.step(Op::Load);
    world.step(Op::LoadReads(1));
    world.step(Op::LoadEnds(0));
    world.step(Op::Apply);
    world.step(Op::Commit);
    // It read 100, and 101 is in the database by now.
    world.step(Op::LoadEnds(0));
    assert_eq!(world.pending.usage()[Full::PendingRows], 0);
}

/// The older load still keeps the row's entry when the refresh ends.
#[test]
fn a_refresh_is_seen_at_once_though_an_older_load_goes_on() {
    let mut world = World::new();
    world.step(Op::Load);
    world.step(Op::LoadReads(0));
    world.step(Op::Meddle(5));
    world.step(Op::Refresh);
    world.step(Op::LoadReads(1));
    world.step(Op::LoadEnds(1));
    assert!(!world.may_be_behind);
    assert!(world.copy.0.borrow().is_some());
    world.step(Op::Read);
    world.step(Op::LoadEnds(0));
    world.step(Op::Read);
}
