//! A write as it will be sent: takes a key and a row or change, gives bytes, or says why never.
//!
//! Everything that can be refused is refused here, before a permit, a lock or Kafka is touched.

use std::cell::RefCell;

use serde::Serialize;
use write_behind_shared::{Change, Partition, finite, json, key, partition};

use crate::delta::{Delta, Row};
use crate::error::Refusal;
use crate::ledger::Key;
use crate::pending;

/// A write that has everything but room.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) key: Key,
    pub(crate) partition: Partition,
    pub(crate) delta: Delta,
    /// The record's value; `None` is a tombstone.
    pub(crate) value: Option<Row>,
    /// The record's `add` header.
    pub(crate) add: Option<String>,
    pub(crate) cost: usize,
    /// What the row or change may take if it is written together with others.
    pub(crate) room: usize,
}

/// What a record may be at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) partitions: i32,
    /// `message.max.bytes`: key, value and headers.
    pub(crate) record_bytes: usize,
    /// `max_pending`.
    pub(crate) pending_bytes: usize,
}

/// The names and the write-id of the headers, and the record's own frame.
const FRAME_BYTES: usize = 128;
/// A thread's buffer that grew beyond this for one large row is given back.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// The canonical text of a key.
pub(crate) fn key<K: Serialize + ?Sized>(key: &K) -> Result<Key, key::KeyError> {
    key::encode(key).map(Key::from)
}

impl Limits {
    /// A write of every column.
    pub(crate) fn put<K, V>(&self, key: &K, row: &V) -> Result<Prepared, Refusal>
    where
        K: Serialize + ?Sized,
        V: Serialize + ?Sized,
    {
        // The row is written into a buffer that the thread keeps, so that its one allocation is of
        // the right size.
        thread_local!(static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        let mut buffer = BUFFER.take();
        buffer.clear();
        let written = serde_json::to_writer(&mut buffer, row);
        let row = written.map_err(|error| Refusal::NotJson(error.to_string())).and_then(|()| {
            check(&buffer)?;
            if finite::lost_in(row, &buffer) {
                return Err(Refusal::NotFinite);
            }
            Ok(Row::from(&*buffer))
        });
        if buffer.capacity() <= BUFFER_BYTES_MAX {
            BUFFER.set(buffer);
        }
        let row = row?;
        self.prepare(self::key(key)?, Delta::Put(Row::clone(&row)), Some(row), None)
    }

    /// A delete.
    pub(crate) fn delete<K: Serialize + ?Sized>(&self, key: &K) -> Result<Prepared, Refusal> {
        self.prepare(self::key(key)?, Delta::Delete, None, None)
    }

    /// A change of some columns.
    pub(crate) fn change<K>(&self, key: &K, change: Change) -> Result<Prepared, Refusal>
    where
        K: Serialize + ?Sized,
    {
        if change.resets() && !change.writes() {
            return self.delete(key);
        }
        let encoded = change.encode().map_err(|_| Refusal::NotOneRecord)?;
        let Some(value) = encoded.value.map(Row::from) else { return self.delete(key) };
        check(&value)?;
        if let Some((name, _)) = change.cells().find(|(name, cell)| {
            matches!(cell, write_behind_shared::Cell::Add(_))
                && (name.contains(',') || name.is_empty())
        }) {
            return Err(Refusal::ColumnName(name.to_owned()));
        }
        self.prepare(self::key(key)?, Delta::Change(Box::new(change)), Some(value), encoded.add)
    }

    fn prepare(
        &self,
        key: Key,
        delta: Delta,
        value: Option<Row>,
        add: Option<String>,
    ) -> Result<Prepared, Refusal> {
        let bytes = FRAME_BYTES
            + key.len()
            + value.as_ref().map_or(0, |value| value.len())
            + add.as_ref().map_or(0, String::len);
        if bytes > self.record_bytes {
            return Err(Refusal::TooLarge { bytes, limit: self.record_bytes });
        }
        let cost = pending::cost(&key, &delta);
        if cost > self.pending_bytes {
            return Err(Refusal::TooLarge { bytes: cost, limit: self.pending_bytes });
        }
        let partition = partition::partition_of(&key, self.partitions);
        let room = self.record_bytes.saturating_sub(FRAME_BYTES + key.len());
        Ok(Prepared { key, partition, delta, value, add, cost, room })
    }
}

/// Refuses what no consumer can apply. `document` was written by serde, so it is well-formed.
fn check(document: &[u8]) -> Result<(), Refusal> {
    if document.first() != Some(&b'{') {
        return Err(Refusal::NotAnObject);
    }
    if json::depth_exceeds(document, json::DEPTH_MAX) {
        return Err(Refusal::TooDeep);
    }
    // Few rows hold a backslash, and looking for one byte is quick.
    let spells_nul = || std::str::from_utf8(document).is_ok_and(json::spells_nul);
    if document.contains(&b'\\') && spells_nul() {
        return Err(Refusal::Nul);
    }
    Ok(())
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
