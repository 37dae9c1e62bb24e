//! The log, its other writers, the consumer and its database, as simple as can be.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::Value;
use uuid::Uuid;
use write_behind_shared::{Change, NextOffset, Offset, WriteId};

use super::super::*;
use crate::core::delta::Row;
use crate::core::pending::dead_letters::DeadLetterNotice;
use crate::core::tail::LogRecord;

/// A row's name; three rows are enough for anything to get in the way of anything.
pub(super) type Name = u8;

pub(super) fn key(name: Name) -> Key {
    Key::from([b'a' + name].as_slice())
}

pub(super) fn value(row: Option<&[u8]>) -> Option<Value> {
    row.map(|row| serde_json::from_slice(row).unwrap())
}

/// This handle, and the others.
pub(super) fn writer(number: u8) -> Uuid {
    Uuid::from_u128(u128::from(number))
}

pub(super) const OWN: u8 = 0;

/// A record in the log.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) name: Name,
    pub(super) delta: Delta,
    pub(super) change: Change,
    pub(super) write_id: Option<WriteId>,
    /// Its database refuses it.
    pub(super) refused: bool,
}

/// A write of this handle, as the model knows it.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) name: Name,
    pub(super) change: Change,
    /// Where its first record is.
    pub(super) at: Option<i64>,
    /// It is not in the log and never will be.
    pub(super) gone: bool,
}

/// Everything behind the pending core.
#[derive(Debug)]
pub(super) struct Log {
    /// `None`: something that is no record of the topic's rows. The flag: whether it counts, that
    /// is, whether its writer's sequence was not seen before.
    records: Vec<(Option<Record>, bool)>,
    last_sequences: HashMap<Uuid, u64>,
    database: HashMap<Name, Change>,
    /// What the database has.
    pub(super) next: i64,
    letters: VecDeque<DeadLetterNotice>,
}

fn initial() -> HashMap<Name, Change> {
    let stored = |b| Change::new().set("a", &1).unwrap().set("b", &b).unwrap();
    HashMap::from([(0, stored(1)), (1, stored(2))])
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            records: Vec::new(),
            last_sequences: HashMap::new(),
            database: initial(),
            next: 0,
            letters: VecDeque::new(),
        }
    }

    pub(super) fn end(&self) -> i64 {
        self.records.len() as i64
    }

    /// Appends a record. Gives its offset, and whether it counts.
    pub(super) fn append(&mut self, record: Option<Record>) -> (i64, bool) {
        let id = record.as_ref().and_then(|record| record.write_id);
        let counts = id.is_none_or(|WriteId { writer, sequence }| {
            let last = self.last_sequences.get(&writer);
            let counts = last.is_none_or(|last| sequence > *last);
            if counts {
                self.last_sequences.insert(writer, sequence);
            }
            counts
        });
        self.records.push((record, counts));
        (self.end() - 1, counts)
    }

    /// Another writer sends its latest `count` records again, from `first` on: what a follower
    /// never read it cannot know again.
    pub(super) fn repeat(&mut self, number: u8, count: usize, first: i64) {
        let of_writer = |r: &&Record| r.write_id.is_some_and(|id| id.writer == writer(number));
        let records = self.records.iter().skip(first as usize).filter_map(|(r, _)| r.as_ref());
        let all: Vec<_> = records.filter(of_writer).cloned().collect();
        for record in &all[all.len().saturating_sub(count)..] {
            self.append(Some(record.clone()));
        }
    }

    /// Whether another writer's record below `next` is repeated past it.
    pub(super) fn repeats_over(&self, next: i64) -> bool {
        let (below, past) = self.records.split_at(next as usize);
        let ids = |records: &[(Option<Record>, bool)]| -> Vec<WriteId> {
            records.iter().filter_map(|(record, _)| record.as_ref()?.write_id).collect()
        };
        let (below, past) = (ids(below), ids(past));
        past.iter().any(|id| id.writer != writer(OWN) && below.contains(id))
    }

    /// The next sequence of another writer. The third was at work before this log begins.
    pub(super) fn next_sequence(&self, number: u8) -> u64 {
        let first = if number == 3 { 5 } else { 0 };
        self.last_sequences.get(&writer(number)).map_or(first, |last| last + 1)
    }

    /// The consumer applies this many records, and drops what it has seen before.
    pub(super) fn apply(&mut self, count: usize) {
        for (record, counts) in self.records.iter().skip(self.next as usize).take(count) {
            let offset = Offset(self.next);
            self.next += 1;
            let Some(record) = record.as_ref().filter(|_| *counts) else { continue };
            if record.refused {
                let own = record.write_id.filter(|id| id.writer == writer(OWN));
                self.letters.push_back(DeadLetterNotice {
                    offset,
                    key: key(record.name),
                    own: own.map(|id| id.sequence),
                    reason: "refused".into(),
                });
            } else {
                let row = self.database.entry(record.name).or_insert_with(Change::delete);
                row.fold(record.change.clone());
            }
        }
    }

    /// The dead letters below `next` that were not given before.
    pub(super) fn letters(&mut self, next: i64) -> Vec<DeadLetterNotice> {
        let below = self.letters.iter().take_while(|letter| letter.offset.0 < next).count();
        self.letters.drain(..below).collect()
    }

    pub(super) fn stored(&self, name: Name) -> Option<Row> {
        self.database.get(&name).and_then(|row| row.to_row().unwrap()).map(Row::from)
    }

    /// What the tail reads from `from` on.
    pub(super) fn read(&self, from: i64, count: usize) -> (Vec<LogRecord>, NextOffset) {
        let read = self.records.iter().zip(0..).skip(from as usize).take(count);
        let records = read.filter_map(|((record, _), offset)| {
            let Record { name, delta, write_id, .. } = record.clone()?;
            Some(LogRecord { offset: Offset(offset), key: key(name), delta, write_id })
        });
        (records.collect(), NextOffset(self.end().min(from + count as i64)))
    }

    /// The truth as of `next`: the fold of all records below it that count and were not refused,
    /// and after them this handle's own writes that are not among those, in the order of their
    /// sequences.
    pub(super) fn truth(
        &self,
        name: Name,
        next: i64,
        own: &BTreeMap<Sequence, Own>,
    ) -> Option<Value> {
        let mut truth = initial().remove(&name).unwrap_or_else(Change::delete);
        for (record, counts) in self.records.iter().take(next as usize) {
            if let Some(record) = record
                && *counts
                && !record.refused
                && record.name == name
            {
                truth.fold(record.change.clone());
            }
        }
        let is_good = |at: i64| self.records[at as usize].0.as_ref().is_some_and(|r| !r.refused);
        let rest = own.values().filter(|own| own.name == name && !own.gone);
        for own in rest.filter(|own| own.at.is_none_or(|at| at >= next && is_good(at))) {
            truth.fold(own.change.clone());
        }
        value(truth.to_row().unwrap().as_deref())
    }
}
