//! A database as this project believes it to be: committed rows, transactions with row locks and
//! savepoints, and what becomes of a transaction whose client has gone.
//!
//! Statements see what is committed (READ COMMITTED). A row that a transaction writes is locked until
//! it ends; who waits for it goes on with what was committed meanwhile.

pub mod session;
pub mod write;
pub mod bookkeeping;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use uuid::Uuid;
use write_behind_consumer::core::batch::{LastRecord, RoutePartition};
use write_behind_consumer::core::claim::Claim;
use write_behind_shared::NextOffset;

use crate::meaning::ModelRow;

/// How many earlier states the database can go back to.
const EARLIER_MAX: usize = 12;

/// What a transaction locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockKey {
    Offset(RoutePartition),
    Row(usize, i64),
}

pub type SessionId = u64;

/// Everything that is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// The rows of each route's table.
    pub rows: Vec<BTreeMap<i64, ModelRow>>,
    /// Of each partition: everything below is in the database, and how many partitions there were.
    pub offsets: BTreeMap<RoutePartition, (NextOffset, i32)>,
    pub last_records: BTreeMap<RoutePartition, LastRecord>,
    /// The last sequence of each writer, and where it stands.
    pub writers: BTreeMap<(RoutePartition, Uuid), (i64, i64)>,
    /// Why each record was set aside.
    pub letters: BTreeMap<(RoutePartition, i64), String>,
    pub claims: Vec<Claim>,
}

/// What a transaction has written so far.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub rows: BTreeMap<(usize, i64), Option<ModelRow>>,
    pub offsets: BTreeMap<RoutePartition, (NextOffset, i32)>,
    pub last_records: BTreeMap<RoutePartition, LastRecord>,
    pub writers: BTreeMap<(RoutePartition, Uuid), Option<(i64, i64)>>,
    pub letters: BTreeMap<(RoutePartition, i64), String>,
}

/// A transaction.
#[derive(Clone, Debug, Default)]
pub struct OpenTransaction {
    pub changes: Changes,
    savepoint: Option<Changes>,
    /// Whether a statement of it failed, so that it takes no other one.
    has_failed: bool,
}

/// A connection, as the server knows it.
#[derive(Clone, Debug, Default)]
pub struct ServerSession {
    pub process: u64,
    pub open: Option<OpenTransaction>,
    /// Whether its client has asked for COMMIT and has not been served yet.
    pub asks_commit: bool,
    /// Whether its client is gone, so that the server ends it sooner or later.
    pub is_abandoned: bool,
    /// What it waits for.
    pub waits_for: Option<LockKey>,
}

/// The database.
#[derive(Debug, Default)]
pub struct DatabaseModel {
    pub committed: Committed,
    /// Where each partition began to be read.
    pub begun: BTreeMap<RoutePartition, NextOffset>,
    earlier: VecDeque<Committed>,
    pub sessions: BTreeMap<SessionId, ServerSession>,
    locks: BTreeMap<LockKey, SessionId>,
    last_session: SessionId,
    pub has_check: bool,
    pub has_references: bool,
    pub commits: u64,
}

/// Why a statement can't run.
#[derive(Debug, PartialEq, Eq)]
pub enum Hindrance {
    /// Another transaction has the lock.
    Locked(LockKey),
    /// Each waits for the other.
    Deadlock,
}

impl DatabaseModel {
    #[must_use]
    pub fn new(routes: usize, has_check: bool, has_references: bool) -> Self {
        let committed = Committed { rows: vec![BTreeMap::new(); routes], ..Committed::default() };
        Self { committed, has_check, has_references, ..Self::default() }
    }

    pub fn connect(&mut self, process: u64) -> SessionId {
        self.last_session += 1;
        self.sessions
            .insert(self.last_session, ServerSession { process, ..ServerSession::default() });
        self.last_session
    }

    /// The client is gone. The server notices later, if there is something to undo.
    pub fn abandon(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            (session.is_abandoned, session.waits_for) = (true, None);
            if session.open.is_none() {
                self.sessions.remove(&id);
            }
        }
    }

    /// The server ends an abandoned session.
    pub fn end(&mut self, id: SessionId) {
        self.sessions.remove(&id);
        self.unlock(id);
    }

    /// Every connection ends, and what was not committed is gone.
    pub fn end_all(&mut self) {
        self.sessions.clear();
        self.locks.clear();
    }

    fn unlock(&mut self, id: SessionId) {
        self.locks.retain(|_, holder| *holder != id);
    }

    /// Locks for a session, unless another one has it.
    pub fn lock(&mut self, id: SessionId, key: LockKey) -> Result<(), Hindrance> {
        let holder = *self.locks.entry(key).or_insert(id);
        if holder == id {
            self.stop_waiting(id);
            return Ok(());
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.waits_for = Some(key);
        }
        let (mut at, mut seen) = (holder, BTreeSet::new());
        while seen.insert(at) {
            let waits_for = self.sessions.get(&at).and_then(|session| session.waits_for);
            match waits_for.and_then(|key| self.locks.get(&key)) {
                Some(next) if *next == id => {
                    self.stop_waiting(id);
                    return Err(Hindrance::Deadlock);
                }
                Some(next) => at = *next,
                None => break,
            }
        }
        Err(Hindrance::Locked(key))
    }

    pub fn stop_waiting(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.waits_for = None;
        }
    }

    /// Whether a session could have the lock now.
    #[must_use]
    pub fn is_free(&self, id: SessionId, key: LockKey) -> bool {
        self.locks.get(&key).is_none_or(|holder| *holder == id)
    }

    pub fn begin(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.open = Some(OpenTransaction::default());
        }
    }

    #[must_use]
    pub fn open(&mut self, id: SessionId) -> Option<&mut OpenTransaction> {
        self.sessions.get_mut(&id)?.open.as_mut()
    }

    pub fn roll_back(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.open = None;
        }
        self.unlock(id);
    }

    /// Commits what a session has open; returns the partitions that it has moved. A transaction in
    /// which a statement failed is rolled back, and the server says that this was a success.
    pub fn commit(&mut self, id: SessionId) -> Vec<RoutePartition> {
        let open = self.sessions.get_mut(&id).and_then(|session| session.open.take());
        self.unlock(id);
        let Some(open) = open.filter(|open| !open.has_failed) else { return Vec::new() };
        self.remember();
        let Changes { rows, offsets, last_records, writers, letters } = open.changes;
        for ((route, key), row) in rows {
            match row {
                Some(row) => drop(self.committed.rows[route].insert(key, row)),
                None => drop(self.committed.rows[route].remove(&key)),
            }
        }
        let moved = offsets.keys().copied().collect();
        self.committed.offsets.extend(offsets);
        self.committed.last_records.extend(last_records);
        for (writer, seen) in writers {
            match seen {
                Some(seen) => drop(self.committed.writers.insert(writer, seen)),
                None => drop(self.committed.writers.remove(&writer)),
            }
        }
        for (place, why) in letters {
            self.committed.letters.entry(place).or_insert(why);
        }
        self.commits += 1;
        moved
    }

    /// Keeps the state as one to go back to.
    pub fn remember(&mut self) {
        if self.earlier.len() == EARLIER_MAX {
            self.earlier.pop_front();
        }
        self.earlier.push_back(self.committed.clone());
    }

    /// How many earlier states there are.
    #[must_use]
    pub fn earlier(&self) -> usize {
        self.earlier.len()
    }

    /// Goes back by this many states. What was noted at the start stays: a database from before that
    /// is another one to the consumer, which refuses it.
    pub fn restore(&mut self, back: usize) {
        let (claims, offsets) = (self.committed.claims.clone(), self.committed.offsets.clone());
        for _ in 0..back {
            if let Some(earlier) = self.earlier.pop_back() {
                self.committed = earlier;
            }
        }
        self.committed.claims = claims;
        for (tp, (_, partitions)) in offsets {
            let begun = self.begun.get(&tp).copied().unwrap_or_default();
            self.committed.offsets.entry(tp).or_insert((begun, partitions));
        }
        self.end_all();
    }

    /// Where the database stands.
    #[must_use]
    pub fn next(&self, tp: RoutePartition) -> Option<NextOffset> {
        self.committed.offsets.get(&tp).map(|(next, _)| *next)
    }

    /// A row, as a session sees it.
    #[must_use]
    pub fn row(&self, id: SessionId, route: usize, key: i64) -> Option<ModelRow> {
        let open = self.sessions.get(&id).and_then(|session| session.open.as_ref());
        let own = open.and_then(|open| open.changes.rows.get(&(route, key)));
        own.cloned().unwrap_or_else(|| self.committed.rows[route].get(&key).cloned())
    }
}

impl OpenTransaction {
    pub fn set_savepoint(&mut self) {
        self.savepoint = Some(self.changes.clone());
    }

    pub fn release(&mut self) {
        self.savepoint = None;
    }

    pub fn roll_back_to_savepoint(&mut self) {
        if let Some(before) = self.savepoint.take() {
            (self.changes, self.has_failed) = (before, false);
        }
    }

    pub fn fail(&mut self) {
        self.has_failed = true;
    }

    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }
}
