//! The pending core against a model: a log, a database behind it, and every interleaving.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};

use proptest::prelude::*;
use serde_json::{Value, json};
use write_behind_shared::{Change, NextOffset};

use super::*;

#[derive(Default)]
struct Copies(RefCell<HashMap<Key, Row>>);

impl CleanCopies for Copies {
    fn get(&self, key: &Key) -> Option<Row> {
        self.0.borrow().get(key).cloned()
    }

    fn keep(&self, key: Key, row: Row) {
        self.0.borrow_mut().insert(key, row);
    }

    fn forget(&self, key: &Key) {
        self.0.borrow_mut().remove(key);
    }
}

fn key(name: u8) -> Key {
    Key::from([b'a' + name].as_slice())
}

fn row(a: i64, b: i64) -> Row {
    json!({"a": a, "b": b}).to_string().into_bytes().into()
}

fn value(row: Option<&[u8]>) -> Option<Value> {
    row.map(|row| serde_json::from_slice(row).unwrap())
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Put(u8, i64),
    Update(u8, i64),
    Add(u8, i64),
    Delete(u8),
    /// The broker appends the next record, after so many of other writers.
    Append(i64),
    /// The broker refuses the next record.
    Refuse,
    /// The answer to the next record is lost; it was appended, or not.
    Lose(bool),
    /// The answers to this many records arrive.
    Ack(usize),
    /// The answer to one record arrives with an offset that cannot be right.
    AckSomewhere,
    /// The consumer applies this many records.
    Apply(usize),
    /// The consumer commits, and the producer hears of it.
    Commit,
    /// The producer hears of the end of the log.
    Sample,
    Read(u8),
    Evict(u8),
    LoadBegins(u8),
    LoadReads(u8),
    LoadEnds(u8),
    LoadFails(u8),
}

/// A record that is in the log, or on its way there.
#[derive(Clone)]
struct Sent {
    name: u8,
    ticket: Ticket,
    change: Change,
}

/// Everything around a lane, as simple as can be.
struct World {
    lane: Lane,
    copies: Copies,
    exact: bool,
    /// All writes that count, in order.
    accepted: BTreeMap<u8, Vec<(Ticket, Change)>>,
    on_their_way: VecDeque<Sent>,
    unanswered: VecDeque<(Sent, i64)>,
    log: VecDeque<(Option<Sent>, i64)>,
    end: i64,
    database: HashMap<u8, Change>,
    next: i64,
    /// Rows whose truth cannot be known for a while.
    doubtful: HashMap<u8, Option<Ticket>>,
    loads: HashMap<u8, Option<(Found, Ticket)>>,
}

impl World {
    fn new(exact: bool) -> Self {
        let stored = |b| Change::new().set("a", &1).unwrap().set("b", &b).unwrap();
        Self {
            lane: Lane::new(Rules { exact: true, tail: None }),
            copies: Copies::default(),
            exact,
            accepted: BTreeMap::new(),
            on_their_way: VecDeque::new(),
            unanswered: VecDeque::new(),
            log: VecDeque::new(),
            end: 0,
            database: HashMap::from([(0, stored(1)), (1, stored(2))]),
            next: 0,
            doubtful: HashMap::new(),
            loads: HashMap::new(),
        }
    }

    fn stored(&self, name: u8) -> Option<Vec<u8>> {
        self.database.get(&name).and_then(|row| row.to_row().unwrap())
    }

    /// What reads must see: the initial row and all writes that count.
    fn truth(&self, name: u8) -> Option<Value> {
        let initial = World::new(self.exact).database.remove(&name);
        let mut truth = initial.unwrap_or_else(Change::delete);
        for (_, change) in self.accepted.get(&name).into_iter().flatten() {
            truth.fold(change.clone());
        }
        value(truth.to_row().unwrap().as_deref())
    }

    fn write(&mut self, name: u8, delta: Delta, change: Change) {
        let ticket = self.lane.accept(key(name), delta, &self.copies);
        self.lane.hand(ticket);
        self.accepted.entry(name).or_default().push((ticket, change.clone()));
        self.on_their_way.push_back(Sent { name, ticket, change });
    }

    fn append(&mut self, sent: Option<Sent>) -> i64 {
        let offset = self.end;
        self.log.push_back((sent, offset));
        self.end += 1;
        offset
    }

    fn answer(&mut self, count: usize) {
        for _ in 0..count {
            let Some((sent, offset)) = self.unanswered.pop_front() else { break };
            self.lane.acked(sent.ticket as usize, offset, &self.copies);
        }
    }

    fn apply(&mut self, count: usize) {
        for _ in 0..count {
            let Some((sent, offset)) = self.log.pop_front() else { break };
            if let Some(sent) = sent {
                let row = self.database.entry(sent.name).or_insert_with(Change::delete);
                row.fold(sent.change);
            }
            self.next = offset + 1;
        }
    }

    fn step(&mut self, op: Op) {
        let set = |a: i64| Change::new().set("a", &a).unwrap();
        match op {
            Op::Put(name, a) => {
                self.write(name, Delta::Put(row(a, 0)), set(a).set("b", &0).unwrap());
            }
            Op::Update(name, a) => self.write(name, Delta::Change(Box::new(set(a))), set(a)),
            Op::Add(name, delta) => {
                let change = Change::new().add("a", delta);
                self.write(name, Delta::Change(Box::new(change.clone())), change);
            }
            Op::Delete(name) => self.write(name, Delta::Delete, Change::delete()),
            Op::Append(others) => {
                for _ in 0..others {
                    self.append(None);
                }
                if let Some(sent) = self.on_their_way.pop_front() {
                    let offset = self.append(Some(sent.clone()));
                    self.unanswered.push_back((sent, offset));
                }
            }
            Op::Refuse | Op::Lose(_) => self.lose(&op),
            Op::Ack(count) => self.answer(count),
            Op::AckSomewhere => {
                if let Some((sent, _)) = self.unanswered.pop_front() {
                    self.doubtful.entry(sent.name).or_insert(None);
                    self.lane.acked(sent.ticket as usize, -1, &self.copies);
                }
            }
            Op::Apply(count) => self.apply(count),
            Op::Commit => self.lane.committed(NextOffset(self.next), &self.copies),
            Op::Sample => {
                if let Some(mark) = self.lane.wants_sample() {
                    self.lane.sampled(mark, NextOffset(self.end), &self.copies);
                }
            }
            Op::Read(name) => self.read(name),
            Op::Evict(name) => drop(self.copies.0.borrow_mut().remove(&key(name))),
            Op::LoadBegins(_) | Op::LoadReads(_) | Op::LoadEnds(_) | Op::LoadFails(_) => {
                self.load(&op);
            }
        }
        self.settle_doubts();
    }

    fn lose(&mut self, op: &Op) {
        // Answers come in order: those before are answered first.
        self.answer(usize::MAX);
        let Some(sent) = self.on_their_way.pop_front() else { return };
        let (name, ticket) = (sent.name, sent.ticket);
        let loss = if let Op::Lose(appended) = op {
            // What was lost unappended goes on being seen for a while.
            self.doubtful.insert(name, (!appended).then_some(ticket));
            if *appended {
                self.append(Some(sent));
            } else {
                self.accepted.entry(name).or_default().retain(|(t, _)| *t != ticket);
            }
            Loss::Unknown("lost".into())
        } else {
            self.accepted.entry(name).or_default().retain(|(t, _)| *t != ticket);
            Loss::Failed("refused".into())
        };
        self.lane.lost(ticket as usize, loss, &self.copies);
    }

    fn settle_doubts(&mut self) {
        let lane = &self.lane;
        self.doubtful
            .retain(|name, _| lane.has(&key(*name)) || lane.entries.contains_key(&key(*name)));
    }

    fn load(&mut self, op: &Op) {
        match *op {
            Op::LoadBegins(name) if !self.loads.contains_key(&name) => {
                self.lane.load_begins(&key(name));
                self.loads.insert(name, None);
            }
            Op::LoadReads(name) => {
                let found = Found {
                    row: self.stored(name).map(Row::from),
                    next: self.exact.then_some(NextOffset(self.next)),
                };
                let horizon = self.lane.ledger().next();
                if let Some(load @ None) = self.loads.get_mut(&name) {
                    *load = Some((found, horizon));
                }
            }
            Op::LoadEnds(name) => {
                let Some(Some((found, horizon))) = self.loads.get(&name).cloned() else { return };
                let doubtful = self.doubtful.contains_key(&name);
                match self.lane.loaded(&key(name), &found, horizon, &self.copies) {
                    Loaded::Row(row) => {
                        self.loads.remove(&name);
                        if !doubtful {
                            assert_eq!(value(row.as_deref()), self.truth(name), "a loaded row");
                        }
                    }
                    Loaded::MayBeBehind(_) => panic!("nothing was forgotten"),
                    Loaded::WaitFor(ticket) => {
                        assert!(ticket >= self.lane.ledger().replicated(), "nothing to wait for");
                    }
                }
            }
            Op::LoadFails(name) if self.loads.remove(&name).is_some() => {
                self.lane.load_ends(&key(name), &self.copies);
            }
            _ => {}
        }
    }

    fn read(&mut self, name: u8) {
        let truth = self.truth(name);
        let seen = self.lane.read(&key(name));
        if self.doubtful.contains_key(&name) {
            return;
        }
        match seen {
            Some(Visible::Row(row)) => assert_eq!(value(Some(&row)), truth, "a pending row"),
            Some(Visible::Missing) => assert_eq!(None, truth, "a pending delete"),
            Some(Visible::NeedsBase) => {}
            None => {
                if let Some(row) = self.copies.0.borrow().get(&key(name)) {
                    assert_eq!(value(Some(row)), truth, "a clean copy");
                }
                // Nothing is pending, so the database must have it all: nothing was evicted.
                assert_eq!(value(self.stored(name).as_deref()), truth, "the database");
            }
        }
    }

    fn settle_everything(&mut self) {
        while !self.on_their_way.is_empty() {
            self.step(Op::Append(0));
        }
        self.step(Op::Ack(usize::MAX));
        self.step(Op::Sample);
        self.step(Op::Apply(usize::MAX));
        self.step(Op::Commit);
        for name in 0..3 {
            self.step(Op::LoadFails(name));
        }
        assert_eq!(self.lane.ledger().persisted(), self.lane.ledger().next());
        assert_eq!(self.lane.rows(), 0, "rows are left");
        assert_eq!(self.lane.bytes(), 0, "bytes are left");
        assert!(self.lane.entries.is_empty() && self.lane.due.is_empty());
        for name in 0..3 {
            self.read(name);
        }
    }
}

fn ops(adds: bool) -> impl Strategy<Value = Vec<Op>> {
    let name = 0_u8..3;
    let number = -5_i64..100;
    let add = if adds { Op::Add } else { Op::Update };
    let op = prop_oneof![
        6 => (name.clone(), number.clone()).prop_map(|(k, a)| Op::Put(k, a)),
        4 => (name.clone(), number.clone()).prop_map(|(k, a)| Op::Update(k, a)),
        8 => (name.clone(), number).prop_map(move |(k, a)| add(k, a)),
        3 => name.clone().prop_map(Op::Delete),
        14 => (0_i64..3).prop_map(Op::Append),
        2 => Just(Op::Refuse),
        1 => any::<bool>().prop_map(Op::Lose),
        8 => (1_usize..5).prop_map(Op::Ack),
        1 => Just(Op::AckSomewhere),
        10 => (1_usize..8).prop_map(Op::Apply),
        8 => Just(Op::Commit),
        2 => Just(Op::Sample),
        16 => name.clone().prop_map(Op::Read),
        3 => name.clone().prop_map(Op::Evict),
        10 => name.clone().prop_map(Op::LoadBegins),
        14 => name.clone().prop_map(Op::LoadReads),
        14 => name.clone().prop_map(Op::LoadEnds),
        1 => name.prop_map(Op::LoadFails),
    ];
    prop::collection::vec(op, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn reads_see_the_newest_accepted_writes_and_counters_are_exact(ops in ops(true)) {
        let mut world = World::new(true);
        for op in ops {
            world.step(op);
        }
        world.settle_everything();
    }

    #[test]
    fn a_loader_without_offsets_is_right_where_nothing_is_added(ops in ops(false)) {
        let mut world = World::new(false);
        for op in ops {
            world.step(op);
        }
        world.settle_everything();
    }
}
