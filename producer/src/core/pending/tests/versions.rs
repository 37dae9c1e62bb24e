//! Rows with versions against a model: what reads see, and what is cached, is what the consumer
//! makes of the log, in any interleaving of writes, answers, commits and loads.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use write_behind_shared::{Change, NextOffset};

use super::super::*;
use super::world::Copies;
use crate::core::delta::Row;
use crate::core::loaded::{Loaded, Validity};

type JsonRow = Option<Map<String, Value>>;

#[derive(Clone, Copy, Debug)]
enum Op {
    Put(i64, i64),
    Update(i64, i64),
    Add(i64, i64),
    Delete,
    Join(i64, i64),
    Ack,
    Apply,
    Commit,
    LoadBegins,
    LoadReads,
    LoadEnds,
    Evict,
    TimePasses,
    Read,
}

fn key() -> Key {
    Key::from(*b"7")
}

fn delta_of(op: Op) -> Delta {
    let change = match op {
        Op::Put(v, n) | Op::Join(v, n) => json!({"v": v, "n": n, "m": n % 3}),
        Op::Update(v, m) => json!({"v": v, "m": m}),
        Op::Add(v, n) => {
            let change = Change::new().set("v", &v).unwrap().add("n", n);
            return Delta::changes(change, Some(&Arc::from("v")));
        }
        _ => return Delta::Delete,
    };
    Delta::changes(Change::of(&change).unwrap(), Some(&Arc::from("v")))
}

/// As the consumer's database does it.
fn apply(row: JsonRow, op: Op) -> JsonRow {
    let (v, set, add) = match op {
        Op::Put(v, n) | Op::Join(v, n) => (v, vec![("n", n), ("m", n % 3)], 0),
        Op::Update(v, m) => (v, vec![("m", m)], 0),
        Op::Add(v, n) => (v, vec![], n),
        _ => return None,
    };
    let of_row = row.as_ref().and_then(|row| row["v"].as_i64());
    if of_row.is_some_and(|of_row| v < of_row) {
        return row;
    }
    let mut row = row.unwrap_or_default();
    row.insert("v".into(), v.into());
    for (name, value) in set {
        row.insert(name.into(), value.into());
    }
    if matches!(op, Op::Add(..)) {
        let n = row.get("n").and_then(Value::as_i64).unwrap_or(0);
        row.insert("n".into(), (n + add).into());
    }
    Some(row)
}

fn parsed(row: Option<&[u8]>) -> JsonRow {
    row.map(|row| serde_json::from_slice(row).unwrap())
}

/// A load under way: not begun, or before the loader has read the row, or after.
enum Load {
    None,
    Begun,
    HasRead(Loaded, Sequence),
}

struct World {
    pending: Pending,
    copies: Copies,
    log: Vec<Op>,
    acked: usize,
    applied: usize,
    database: JsonRow,
    load: Load,
}

impl World {
    fn new() -> Self {
        Self {
            pending: Pending::new(Rules { exact: true, tail: None }, Bounds::STANDARD),
            copies: Copies::default(),
            log: Vec::new(),
            acked: 0,
            applied: 0,
            database: apply(None, Op::Put(2, 100)),
            load: Load::None,
        }
    }

    fn truth(&self) -> JsonRow {
        self.log[self.applied..].iter().fold(self.database.clone(), |row, op| apply(row, *op))
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Put(..) | Op::Update(..) | Op::Add(..) | Op::Delete => {
                self.pending.accept(&key(), delta_of(op), &self.copies);
                self.log.push(op);
            }
            // In the record of the write before it, or as one of its own: it is the same.
            Op::Join(..) => {
                if self.pending.join(&key(), &delta_of(op), 1_000).is_none() {
                    self.pending.accept(&key(), delta_of(op), &self.copies);
                    self.log.push(op);
                } else if matches!(self.log.last(), Some(last) if replaces(op, *last)) {
                    *self.log.last_mut().unwrap() = op;
                } else {
                    panic!("{op:?} was joined with {:?}", self.log.last());
                }
            }
            Op::Ack if self.acked < self.log.len() => {
                self.pending.mark_sent(self.acked as u64);
                self.pending.acked(self.acked, self.acked as i64, &self.copies);
                self.acked += 1;
            }
            Op::Apply if self.applied < self.acked => {
                self.database = apply(self.database.take(), self.log[self.applied]);
                self.applied += 1;
            }
            Op::Commit => {
                let next = NextOffset(self.applied as i64);
                self.pending.committed_at_once(next, &self.copies);
            }
            Op::Evict => self.copies.remove(&key()),
            Op::TimePasses => self.copies.time_passes(),
            Op::Read => self.read(),
            Op::LoadBegins if matches!(self.load, Load::None) => {
                self.pending.load_begins(&key());
                self.load = Load::Begun;
            }
            Op::LoadReads => {
                let row = self.database.as_ref().map(|row| json!(row).to_string().into_bytes());
                let next = Some(NextOffset(self.applied as i64));
                let found = Loaded { row: row.map(Row::from), next };
                if matches!(self.load, Load::Begun) {
                    self.load = Load::HasRead(found, self.pending.ledger().next());
                }
            }
            Op::LoadEnds => self.load_ends(),
            Op::Ack | Op::Apply | Op::LoadBegins => {}
        }
    }

    fn load_ends(&mut self) {
        let Load::HasRead(found, horizon) = &self.load else { return };
        let valid = (*horizon, Validity::Valid);
        if let Ok(reading) = self.pending.loaded(&key(), found, valid, &self.copies) {
            assert_eq!(parsed(reading.row.as_deref()), self.truth(), "a loaded row");
            self.load = Load::None;
        }
    }

    fn read(&mut self) {
        match (self.pending.read(&key()), self.copies.get(&key())) {
            (Some(RowState::Known(row)), _) => {
                assert_eq!(parsed(row.as_deref()), self.truth(), "a pending row");
            }
            (Some(RowState::Unknown), _) => {}
            (None, Some((row, _))) => {
                assert_eq!(parsed(Some(&row)), self.truth(), "a cached row");
            }
            (None, None) => assert_eq!(self.database, self.truth(), "all is in the database"),
        }
    }
}

/// Whether nothing of the earlier write is left after the later one, whatever the row is.
fn replaces(later: Op, earlier: Op) -> bool {
    match (later, earlier) {
        (Op::Join(later, _), Op::Put(v, _) | Op::Join(v, _) | Op::Update(v, _) | Op::Add(v, _)) => {
            later >= v
        }
        _ => false,
    }
}

fn op() -> impl Strategy<Value = Op> {
    let version = || 0_i64..6;
    let number = || 0_i64..50;
    prop_oneof![
        4 => (version(), number()).prop_map(|(v, n)| Op::Put(v, n)),
        3 => (version(), number()).prop_map(|(v, n)| Op::Update(v, n)),
        3 => (version(), number()).prop_map(|(v, n)| Op::Add(v, n)),
        2 => (version(), number()).prop_map(|(v, n)| Op::Join(v, n)),
        1 => Just(Op::Delete),
        8 => Just(Op::Ack),
        8 => Just(Op::Apply),
        6 => Just(Op::Commit),
        4 => Just(Op::LoadBegins),
        6 => Just(Op::LoadReads),
        6 => Just(Op::LoadEnds),
        1 => Just(Op::Evict),
        2 => Just(Op::TimePasses),
        8 => Just(Op::Read),
    ]
}

proptest! {
    #![proptest_config(super::config())]

    #[test]
    fn an_older_version_is_neither_seen_nor_cached(ops in prop::collection::vec(op(), 1..80)) {
        let mut world = World::new();
        for op in ops {
            world.step(op);
        }
        for _ in 0..world.log.len() {
            world.step(Op::Ack);
            world.step(Op::Apply);
            world.step(Op::Commit);
            world.step(Op::Read);
        }
        world.step(Op::LoadReads);
        world.step(Op::LoadEnds);
        world.step(Op::Read);
        prop_assert!(world.pending.entries.is_empty() && world.pending.bytes() == 0);
    }
}
