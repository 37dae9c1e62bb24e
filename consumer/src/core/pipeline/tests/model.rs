//! A model of a log, and of a database that takes fenced transactions.

use std::collections::BTreeMap;

use uuid::Uuid;
use write_behind_shared::{Cell, Change, NextOffset, Offset, Partition, WriteId, record};

use crate::core::batch::{Batch, WriterSeen, Written};
use crate::core::pipeline::action::{BatchResult, WriteCost};

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Set(u8, i64),
    Add(u8, i64),
    Delete(u8),
    Repeat,
    Garbage,
    Marker,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) sequence: u64,
    pub(super) is_urgent: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Table {
    pub(super) next: usize,
    rows: BTreeMap<u8, BTreeMap<String, i64>>,
    pub(super) last_sequence: Option<u64>,
    dead_letters: Vec<i64>,
}

/// Applies a change to a row, as a database would.
fn apply(rows: &mut BTreeMap<u8, BTreeMap<String, i64>>, key: u8, change: &Change) {
    if change.resets() {
        rows.remove(&key);
    }
    if change.writes() {
        let row = rows.entry(key).or_default();
        for (name, cell) in change.cells() {
            let held = row.get(name).copied().unwrap_or(0);
            let value = match cell {
                Cell::Add(delta) => held + delta.total().as_i64().unwrap(),
                set => set.value(name).unwrap().parse().unwrap(),
            };
            row.insert(name.to_owned(), value);
        }
    }
}

impl Table {
    /// The only writer, if it was seen.
    pub(super) fn writers(&self, partition: Partition) -> Vec<WriterSeen> {
        let at = Offset(self.next as i64 - 1);
        let last = |sequence| WriteId { writer: Uuid::from_u128(1), sequence };
        let seen =
            self.last_sequence.map(|sequence| WriterSeen { partition, last: last(sequence), at });
        seen.into_iter().collect()
    }
}

impl Entry {
    pub(super) fn value(&self) -> (Option<u8>, Option<String>, Option<&'static str>) {
        match self.kind {
            Kind::Set(key, n) => (Some(key), Some(format!(r#"{{"a":{n}}}"#)), None),
            Kind::Add(key, n) => (Some(key), Some(format!(r#"{{"a":{n},"b":1}}"#)), Some("a,b")),
            Kind::Delete(key) => (Some(key), None, None),
            Kind::Garbage => (Some(0), Some("{".to_owned()), None),
            Kind::Repeat | Kind::Marker => (None, None, None),
        }
    }
}

/// The fold of a log's first entries, one by one: what the database must hold.
pub(super) fn prefix(log: &[Entry], next: usize) -> Table {
    let mut table = Table { next, ..Table::default() };
    for (offset, entry) in log[..next].iter().enumerate() {
        if matches!(entry.kind, Kind::Marker) || table.last_sequence >= Some(entry.sequence) {
            continue;
        }
        table.last_sequence = Some(entry.sequence);
        let (key, value, add) = entry.value();
        match record::decode(value.as_deref().map(str::as_bytes), add) {
            Ok(change) => apply(&mut table.rows, key.unwrap(), &change),
            Err(_) => table.dead_letters.push(offset as i64),
        }
    }
    table
}

/// The fenced transaction: the whole batch or nothing.
pub(super) fn transact(tables: &mut [Table], batch: &Batch) -> BatchResult {
    let stands = |table: &Table| NextOffset(table.next as i64);
    let of = |partition: Partition| partition.0 as usize;
    if batch.spans.iter().all(|span| stands(&tables[of(span.partition)]) == span.end) {
        return BatchResult::Written(Written::new(batch.spans.clone()), WriteCost::default());
    }
    if batch.spans.iter().any(|span| stands(&tables[of(span.partition)]) != span.start) {
        return BatchResult::Fenced;
    }
    for row in &batch.rows {
        apply(&mut tables[of(row.partition)].rows, row.key[0], &row.change);
    }
    for letter in &batch.dead_letters {
        let table = &mut tables[of(letter.record.partition)];
        table.dead_letters.push(letter.record.offset.0);
    }
    for seen in &batch.writers {
        tables[of(seen.partition)].last_sequence = Some(seen.last.sequence);
    }
    for span in &batch.spans {
        tables[of(span.partition)].next = span.end.0 as usize;
    }
    BatchResult::Written(Written::new(batch.spans.clone()), WriteCost::default())
}
