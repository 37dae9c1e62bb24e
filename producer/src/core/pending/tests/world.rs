//! Everything around the pending core: the service that writes, the tail, the cache; the client is
//! in `client`. It does to the core what the rims do, in any order that they can.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};

use write_behind_shared::{Change, NextOffset, Offset, WriteId, record};

use super::super::*;
use super::log::{Log, Name, OWN, Own, Record, key, writer};
use super::ops::{Kind, Op, Plan};
use crate::core::age::{KnownRow, KnownSince};
use crate::core::delta::Row;
use crate::core::loaded::{Loaded, Validity};
use crate::core::pending::release::Leaving;
use crate::core::write_ids::WriteIds;

#[derive(Debug, Default)]
pub(super) struct Copies {
    pub(super) rows: RefCell<HashMap<Key, KnownRow>>,
    /// The time.
    now: Cell<u64>,
}

/// How long a cached row may be served.
const TIME_TO_LIVE: u64 = 3;

impl Copies {
    pub(super) fn time_passes(&self) {
        self.now.set(self.now.get() + 1);
    }
}

impl Cache for Copies {
    fn get(&self, key: &[u8]) -> Option<KnownRow> {
        self.rows.borrow().get(key).filter(|(_, since)| !self.is_too_old(*since)).cloned()
    }

    fn now(&self) -> KnownSince {
        KnownSince::at(self.now.get())
    }

    fn is_too_old(&self, since: KnownSince) -> bool {
        self.now().after(since) >= TIME_TO_LIVE
    }

    fn insert(&self, key: Key, row: Row, since: KnownSince) {
        self.rows.borrow_mut().insert(key, (row, since));
    }

    fn remove(&self, key: &[u8]) {
        self.rows.borrow_mut().remove(key);
    }
}

/// Why a row's truth cannot be known while it is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// An increment is in the log, but where is not known: a loaded row may hold it or not.
    Loads,
    /// A write may be in the log or not, or is there and will not be in the database.
    All,
}

/// What a loader has read: what it found, the horizon of sequences, and what the database had.
pub(super) type Read = (Loaded, Sequence, i64);

#[derive(Debug)]
pub(super) struct World {
    pub(super) pending: Pending,
    pub(super) copies: Copies,
    pub(super) plan: Plan,
    pub(super) log: Log,
    pub(super) own: BTreeMap<Sequence, Own>,
    /// What each write was given to a client as: it must be the same each time.
    pub(super) sent_as: HashMap<Sequence, Sent>,
    /// With the client, in order.
    pub(super) on_their_way: VecDeque<Sequence>,
    pub(super) unanswered: VecDeque<(Sequence, i64)>,
    /// The client gave them up, and nobody was told yet.
    pub(super) given_up: Vec<Sequence>,
    /// Given to more than one client.
    pub(super) sent_again_below: Sequence,
    pub(super) tail: i64,
    /// Below, the tail has not read everything.
    gap: i64,
    /// Up to where dead letters were told, which is what the group is then known to have committed.
    told: i64,
    pub(super) doubts: HashMap<Name, Doubt>,
    /// Rows with a dead letter that was not told, with its offset.
    untold: Vec<(Name, i64)>,
    pub(super) loads: HashMap<Name, Option<Read>>,
    /// Read-modify-writes under way, and the row that each was given, if it was known.
    pub(super) modifies: HashMap<Name, Option<RowState>>,
    /// Rows between the two steps of their release, and whether they are in the cache.
    pub(super) leaving: Vec<(Vec<Leaving>, bool)>,
    pub(super) may_be_behind: bool,
}

pub(super) type Sent = (Option<Row>, Option<String>);

fn row(a: i64, b: i64) -> Row {
    format!(r#"{{"a":{a},"b":{b}}}"#).into_bytes().into()
}

fn delta_of(kind: Kind) -> Delta {
    let change = match kind {
        Kind::Put(a) => return Delta::Put(row(a, a % 3)),
        Kind::Delete => return Delta::Delete,
        Kind::Update(a) => Change::new().set("a", &a).unwrap(),
        Kind::Add(a) => Change::new().add("a", a),
    };
    Delta::Change(Box::new(change))
}

pub(super) fn sent(delta: &Delta) -> (Sent, Change) {
    let (value, add) = delta.to_record().unwrap();
    let change = record::decode(value.as_deref(), add.as_deref()).unwrap();
    ((value, add), change)
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let tail = plan.follow.then_some(NextOffset::ZERO);
        Self {
            pending: Pending::new(
                Rules { exact: true, tail },
                Bounds { rows_at_once: 1, ..Bounds::STANDARD },
            ),
            copies: Copies::default(),
            plan,
            log: Log::new(),
            own: BTreeMap::new(),
            sent_as: HashMap::new(),
            on_their_way: VecDeque::new(),
            unanswered: VecDeque::new(),
            given_up: Vec::new(),
            sent_again_below: 0,
            tail: 0,
            gap: 0,
            told: 0,
            doubts: HashMap::new(),
            untold: Vec::new(),
            loads: HashMap::new(),
            modifies: HashMap::new(),
            leaving: Vec::new(),
            may_be_behind: false,
        }
    }

    pub(super) fn step(&mut self, op: Op) {
        // A client says what it gave up before it says anything of what it took afterwards.
        if !matches!(op, Op::Write(..) | Op::Join(..) | Op::HandOver(_) | Op::Append(_)) {
            self.give_back_given_up();
        }
        match op {
            Op::Write(name, kind, at_once) => self.write(name, &delta_of(kind), at_once),
            Op::Join(name, kind) => self.join(name, &delta_of(kind)),
            Op::HandOver(count) => self.hand_over(count),
            Op::TakeBack(count) => self.replace_client(count),
            Op::RefuseBatch(count, bad) => self.refuse_batch(count, bad),
            Op::GiveUp => self.given_up.extend(self.on_their_way.drain(..)),
            Op::ToldOfGivenUp => self.told_of_given_up(),
            Op::Append(refused) => self.append(refused),
            Op::Filler => drop(self.log.append(None)),
            Op::Refuse | Op::Lose(_) => self.lose(&op),
            Op::Ack(count) => self.ack(count),
            Op::AckSomewhere => self.ack_somewhere(),
            Op::Tail(_) | Op::TailLost(_) | Op::Foreign(..) if !self.plan.follow => {}
            Op::Tail(count) => {
                let (records, next) = self.log.read(self.tail, count);
                self.pending.log_read(&WriteIds::new(writer(OWN)), records, next, &self.copies);
                self.pending.release_at_once(&self.copies);
                self.tail = next.0;
            }
            Op::Foreign(number, name, kind, refused) => self.foreign(number, name, kind, refused),
            Op::Repeat(number, count) => self.log.repeat(number, count, self.gap),
            Op::TailLost(count) => self.log_lost(count),
            Op::Apply(count) => self.log.apply(count),
            Op::Letters => self.letters(),
            // One row leaves; the others stay pending until the next commit is heard of.
            Op::Commit => {
                self.pending.committed_at_once(NextOffset(self.told), &self.copies);
            }
            Op::CommitHeard => self.pending.committed(NextOffset(self.told)),
            Op::ReleaseBegins | Op::IsCached | Op::ReleaseEnds => self.release(&op),
            Op::Sample => {
                if let Some(mark) = self.pending.wants_sample() {
                    self.pending.sampled(mark, NextOffset(self.log.end()), &self.copies);
                }
            }
            Op::Read(name) => self.read(name),
            Op::Evict(name) => drop(self.copies.rows.borrow_mut().remove(&key(name))),
            Op::TimePasses => self.copies.time_passes(),
            Op::Forget(bytes, own_too) => self.forget(bytes, own_too),
            Op::LoadBegins(_) | Op::LoadReads(_) | Op::LoadEnds(_) | Op::LoadFails(_) => {
                self.load(&op);
            }
            Op::ModifyReads(name) => self.modify_reads(name),
            Op::ModifyReadsAgain(name) => self.modify_reads_again(name),
            Op::ModifyWrites(name, a) => self.modify_writes(name, &delta_of(Kind::Put(a))),
            Op::ModifyEnds(name) => self.modify_ends(name),
        }
        self.note_lost();
        let (pending, untold) = (&self.pending, &self.untold);
        self.doubts.retain(|name, _| {
            pending.entries.contains_key(&key(*name))
                || untold.iter().any(|(other, _)| other == name)
        });
    }

    pub(super) fn write(&mut self, name: Name, delta: &Delta, at_once: bool) {
        let at_once = at_once && self.pending.ledger().all_are_sent();
        let sequence = self.pending.accept(&key(name), delta.clone(), &self.copies);
        let (_, change) = sent(delta);
        self.own.insert(sequence, Own { name, change, at: None, gone: false });
        if at_once {
            self.hand_over(1);
        }
    }

    fn join(&mut self, name: Name, delta: &Delta) {
        let Some(sequence) = self.pending.join(&key(name), delta, 1_000) else {
            return self.write(name, delta, false);
        };
        let own = self.own.get_mut(&sequence).expect("a write that was accepted");
        assert_eq!(own.name, name);
        own.change.fold(sent(delta).1);
    }

    fn release(&mut self, op: &Op) {
        match op {
            Op::ReleaseBegins => {
                let (leaving, _) = self.pending.begin_release(&self.copies);
                self.leaving.push((leaving, false));
            }
            Op::IsCached => {
                if let Some((rows, cached @ false)) = self.leaving.iter_mut().find(|(_, c)| !c) {
                    for row in &*rows {
                        row.put_into(&self.copies);
                    }
                    *cached = true;
                }
            }
            Op::ReleaseEnds => {
                if let Some(place) = self.leaving.iter().position(|(_, cached)| *cached) {
                    let (rows, _) = self.leaving.remove(place);
                    self.pending.finish_release(rows, &self.copies);
                }
            }
            _ => {}
        }
    }

    pub(super) fn refused(&mut self, name: Name, at: i64) {
        self.untold.push((name, at));
        self.doubt(name, Doubt::All);
    }

    fn foreign(&mut self, number: u8, name: Name, kind: Kind, refused: bool) {
        let sequence = self.log.next_sequence(number);
        let write_id = (number > 0).then_some(WriteId { writer: writer(number), sequence });
        let delta = delta_of(kind);
        let (_, change) = sent(&delta);
        let (at, _) = self.log.append(Some(Record { name, delta, change, write_id, refused }));
        if refused {
            self.refused(name, at);
        }
    }

    pub(super) fn doubt(&mut self, name: Name, doubt: Doubt) {
        let worst = self.doubts.entry(name).or_insert(doubt);
        *worst = (*worst).max(doubt);
    }

    fn log_lost(&mut self, count: usize) {
        let next = (self.tail + count as i64).min(self.log.end());
        if next > self.tail && !self.log.repeats_over(next) {
            (self.tail, self.gap) = (next, next);
            self.may_be_behind = true;
            (0..3).for_each(|name| self.doubt(name, Doubt::All));
            self.pending.log_lost(NextOffset(next));
            self.pending.release_at_once(&self.copies);
            self.copies.rows.borrow_mut().clear();
        }
    }

    fn letters(&mut self) {
        let next = self.log.next;
        self.told = next;
        for refused in self.log.letters(next) {
            self.pending.dead_letter(&refused, NextOffset(next), &self.copies);
        }
        self.untold.retain(|(_, at)| *at >= next);
    }

    fn load(&mut self, op: &Op) {
        match *op {
            Op::LoadBegins(name) if !self.loads.contains_key(&name) => {
                self.pending.load_begins(&key(name));
                self.loads.insert(name, None);
            }
            Op::LoadReads(name) => {
                let found = Loaded {
                    row: self.log.stored(name),
                    next: self.plan.exact.then_some(NextOffset(self.log.next)),
                };
                let horizon = self.pending.ledger().next();
                if let Some(load @ None) = self.loads.get_mut(&name) {
                    *load = Some((found, horizon, self.log.next));
                }
            }
            Op::LoadEnds(name) => {
                let Some(Some(read)) = self.loads.get(&name).cloned() else { return };
                let expected = self.expected_of_load(name, read.2);
                let valid = (read.1, Validity::Valid);
                match self.pending.loaded(&key(name), &read.0, valid, &self.copies) {
                    Err(sequence) => {
                        assert!(
                            sequence >= self.pending.ledger().replicated(),
                            "nothing to wait for"
                        );
                        return;
                    }
                    Ok(reading) => self.check_load(&reading, expected),
                }
                self.loads.remove(&name);
            }
            Op::LoadFails(name) if self.loads.remove(&name).is_some() => {
                self.pending.load_ends(&key(name), &self.copies);
            }
            _ => {}
        }
    }

    pub(super) fn own_offset(&self, sequence: Sequence) -> Option<Offset> {
        self.own.get(&sequence)?.at.map(Offset)
    }
}
