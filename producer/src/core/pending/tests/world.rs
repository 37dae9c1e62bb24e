//! Everything around a lane: the service that writes, the client, the broker, the tail, the cache of
//! clean copies. It does to the lane what the rims do, in any order that they can.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};

use write_behind_shared::{Change, NextOffset, Offset, WriteId, record};

use super::super::*;
use super::log::{Log, Name, OWN, Own, Record, key, writer};
use super::ops::{Kind, Op, Plan};
use crate::core::loaded::{Found, Loaded};

#[derive(Debug, Default)]
pub(super) struct Copies(pub(super) RefCell<HashMap<Key, Row>>);

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

/// Why a row's truth cannot be known while it is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// An increment is in the log, but where is not known: a loaded row may hold it or not.
    Loads,
    /// A write may be in the log or not, or is there and will not be in the database.
    All,
}

/// What a loader has read: what it found, the ticket horizon, and what the database had.
pub(super) type Read = (Found, Ticket, i64);

#[derive(Debug)]
pub(super) struct World {
    pub(super) lane: Lane,
    pub(super) copies: Copies,
    pub(super) plan: Plan,
    pub(super) log: Log,
    pub(super) own: BTreeMap<Ticket, Own>,
    /// What each write was given to a client as: it must be the same each time.
    sent_as: HashMap<Ticket, Sent>,
    /// With the client, in order.
    on_their_way: VecDeque<Ticket>,
    unanswered: VecDeque<(Ticket, i64)>,
    /// Given to more than one client.
    sent_again_below: Ticket,
    pub(super) tail: i64,
    /// Below, the tail has not read everything.
    gap: i64,
    /// Up to where dead letters were told, which is what the group is then known to have committed.
    told: i64,
    pub(super) doubts: HashMap<Name, Doubt>,
    /// Rows with a dead letter that was not told, with its offset.
    untold: Vec<(Name, i64)>,
    pub(super) loads: HashMap<Name, Option<Read>>,
    pub(super) may_be_behind: bool,
}

type Sent = (Option<Row>, Option<String>);

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

fn sent(delta: &Delta) -> (Sent, Change) {
    let (value, add) = delta.to_record().unwrap();
    let change = record::decode(value.as_deref(), add.as_deref()).unwrap();
    ((value, add), change)
}

impl World {
    pub(super) fn new(plan: Plan) -> Self {
        let tail = plan.follow.then_some(NextOffset::ZERO);
        Self {
            lane: Lane::new(Rules { exact: true, tail }),
            copies: Copies::default(),
            plan,
            log: Log::new(),
            own: BTreeMap::new(),
            sent_as: HashMap::new(),
            on_their_way: VecDeque::new(),
            unanswered: VecDeque::new(),
            sent_again_below: 0,
            tail: 0,
            gap: 0,
            told: 0,
            doubts: HashMap::new(),
            untold: Vec::new(),
            loads: HashMap::new(),
            may_be_behind: false,
        }
    }

    pub(super) fn step(&mut self, op: Op) {
        match op {
            Op::Write(name, kind, at_once) => self.write(name, &delta_of(kind), at_once),
            Op::Join(name, kind) => self.join(name, &delta_of(kind)),
            Op::HandOver(count) => self.hand_over(count),
            Op::TakeBack(count) => self.take_back(count),
            Op::Append(refused) => self.append(refused),
            Op::Filler => drop(self.log.append(None)),
            Op::Refuse | Op::Lose(_) => self.lose(&op),
            Op::Ack(count) => self.ack(count),
            Op::AckSomewhere => self.ack_somewhere(),
            Op::Tail(_) | Op::TailLost(_) | Op::Foreign(..) if !self.plan.follow => {}
            Op::Tail(count) => {
                let (records, next) = self.log.read(self.tail, count);
                self.lane.tailed(writer(OWN), records, next, &self.copies);
                self.tail = next.0;
            }
            Op::Foreign(number, name, kind, refused) => self.foreign(number, name, kind, refused),
            Op::Repeat(number, count) => self.log.repeat(number, count, self.gap),
            Op::TailLost(count) => self.tail_lost(count),
            Op::Apply(count) => self.log.apply(count),
            Op::Letters => self.letters(),
            Op::Commit => self.lane.committed(NextOffset(self.told), &self.copies),
            Op::Sample => {
                if let Some(mark) = self.lane.wants_sample() {
                    self.lane.sampled(mark, NextOffset(self.log.end()), &self.copies);
                }
            }
            Op::Read(name) => self.read(name),
            Op::Evict(name) => drop(self.copies.0.borrow_mut().remove(&key(name))),
            Op::Forget(bytes, own_too) => self.forget(bytes, own_too),
            Op::LoadBegins(_) | Op::LoadReads(_) | Op::LoadEnds(_) | Op::LoadFails(_) => {
                self.load(&op);
            }
        }
        let (lane, untold) = (&self.lane, &self.untold);
        self.doubts.retain(|name, _| {
            lane.entries.contains_key(&key(*name)) || untold.iter().any(|(other, _)| other == name)
        });
    }

    fn write(&mut self, name: Name, delta: &Delta, at_once: bool) {
        let at_once = at_once && self.lane.ledger().all_are_handed();
        let ticket = self.lane.accept(key(name), delta.clone(), &self.copies);
        let (_, change) = sent(delta);
        self.own.insert(ticket, Own { name, change, at: None, gone: false });
        if at_once {
            self.hand_over(1);
        }
    }

    fn join(&mut self, name: Name, delta: &Delta) {
        let Some(ticket) = self.lane.join(&key(name), delta, 1_000) else {
            return self.write(name, delta, false);
        };
        let own = self.own.get_mut(&ticket).expect("a write that was accepted");
        assert_eq!(own.name, name);
        own.change.fold(sent(delta).1);
    }

    fn hand_over(&mut self, count: usize) {
        for _ in 0..count {
            let Some((ticket, to, delta)) = self.lane.next_to_hand() else { break };
            assert_eq!(*to, key(self.own[&ticket].name));
            assert!(self.on_their_way.back().is_none_or(|last| *last < ticket), "out of order");
            let (sent, _) = sent(delta);
            let first = self.sent_as.entry(ticket).or_insert_with(|| sent.clone());
            assert_eq!(*first, sent, "one ticket, one record: the log may have the first already");
            self.on_their_way.push_back(ticket);
            self.lane.hand(ticket);
        }
    }

    fn take_back(&mut self, appended: usize) {
        for ticket in std::mem::take(&mut self.on_their_way).into_iter().take(appended) {
            self.append_own(ticket, false);
        }
        self.unanswered.clear();
        self.sent_again_below = self.lane.ledger().next();
        self.lane.take_back();
    }

    fn append(&mut self, refused: bool) {
        let Some(ticket) = self.on_their_way.pop_front() else { return };
        let offset = self.append_own(ticket, refused);
        self.unanswered.push_back((ticket, offset));
    }

    fn append_own(&mut self, ticket: Ticket, refused: bool) -> i64 {
        let (value, add) = &self.sent_as[&ticket];
        let change = record::decode(value.as_deref(), add.as_deref()).unwrap();
        let own = self.own.get_mut(&ticket).expect("a write that was accepted");
        let name = own.name;
        let write_id = Some(WriteId { writer: writer(OWN), sequence: ticket });
        // Only an unknown write's content is read from the tail.
        let delta =
            if change.writes() { Delta::Change(Box::new(change.clone())) } else { Delta::Delete };
        let (at, counts) = self.log.append(Some(Record { name, delta, change, write_id, refused }));
        own.at = own.at.or(Some(at));
        if refused && counts {
            self.refused(name, at);
        }
        at
    }

    fn refused(&mut self, name: Name, at: i64) {
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

    pub(super) fn ack(&mut self, count: usize) {
        for _ in 0..count {
            let Some((ticket, offset)) = self.unanswered.pop_front() else { break };
            if ticket < self.sent_again_below {
                self.ack_without_offset(ticket);
            }
            self.lane.acked(ticket as usize, offset, &self.copies);
        }
    }

    fn ack_somewhere(&mut self) {
        if let Some((ticket, _)) = self.unanswered.pop_front() {
            self.ack_without_offset(ticket);
            self.lane.acked(ticket as usize, -1, &self.copies);
        }
    }

    /// Where it is, the tail will say, if the log is followed.
    fn ack_without_offset(&mut self, ticket: Ticket) {
        if !self.plan.follow {
            self.doubt(self.own[&ticket].name, Doubt::Loads);
        }
    }

    fn doubt(&mut self, name: Name, doubt: Doubt) {
        let worst = self.doubts.entry(name).or_insert(doubt);
        *worst = (*worst).max(doubt);
    }

    fn lose(&mut self, op: &Op) {
        // Answers come in order: those before are answered first.
        self.ack(usize::MAX);
        let Some(ticket) = self.on_their_way.pop_front() else { return };
        let name = self.own[&ticket].name;
        let loss = match op {
            Op::Lose(appended) => {
                if *appended {
                    self.append_own(ticket, false);
                }
                Loss::Unknown("lost".into())
            }
            _ => Loss::Failed("refused".into()),
        };
        let refused = matches!(loss, Loss::Failed(_)) && ticket >= self.sent_again_below;
        let is_open = self.lane.ledger().unanswered(ticket).is_some();
        let own = self.own.get_mut(&ticket).expect("a write that was accepted");
        own.gone = own.at.is_none();
        if is_open && !refused {
            // What was lost unappended goes on being seen for a while.
            self.doubt(name, Doubt::All);
        }
        self.lane.lost(ticket as usize, loss, &self.copies);
    }

    fn tail_lost(&mut self, count: usize) {
        let next = (self.tail + count as i64).min(self.log.end());
        if next > self.tail && !self.log.repeats_over(next) {
            (self.tail, self.gap) = (next, next);
            self.may_be_behind = true;
            (0..3).for_each(|name| self.doubt(name, Doubt::All));
            self.lane.tail_lost(NextOffset(next), &self.copies);
            self.copies.0.borrow_mut().clear();
        }
    }

    fn letters(&mut self) {
        let next = self.log.next;
        self.told = next;
        for refused in self.log.letters(next) {
            self.lane.dead_letter(&refused, NextOffset(next), &self.copies);
        }
        self.untold.retain(|(_, at)| *at >= next);
    }

    fn load(&mut self, op: &Op) {
        match *op {
            Op::LoadBegins(name) if !self.loads.contains_key(&name) => {
                self.lane.load_begins(&key(name));
                self.loads.insert(name, None);
            }
            Op::LoadReads(name) => {
                let found = Found {
                    row: self.log.stored(name),
                    next: self.plan.exact.then_some(NextOffset(self.log.next)),
                };
                let horizon = self.lane.ledger().next();
                if let Some(load @ None) = self.loads.get_mut(&name) {
                    *load = Some((found, horizon, self.log.next));
                }
            }
            Op::LoadEnds(name) => {
                let Some(Some(read)) = self.loads.get(&name).cloned() else { return };
                let expected = self.expected_of_load(name, read.2);
                match self.lane.loaded(&key(name), &read.0, read.1, &self.copies) {
                    Loaded::WaitFor(ticket) => {
                        assert!(ticket >= self.lane.ledger().replicated(), "nothing to wait for");
                        return;
                    }
                    outcome => self.check_load(outcome, expected),
                }
                self.loads.remove(&name);
            }
            Op::LoadFails(name) if self.loads.remove(&name).is_some() => {
                self.lane.load_ends(&key(name), &self.copies);
            }
            _ => {}
        }
    }

    pub(super) fn own_offset(&self, ticket: Ticket) -> Option<Offset> {
        self.own.get(&ticket)?.at.map(Offset)
    }
}
