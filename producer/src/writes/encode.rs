//! A write as it will be sent, or why it never can be.
//!
//! Everything that can be refused is refused here, before a permit, a lock or Kafka is touched.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use smallvec::SmallVec;
use write_behind_shared::json::JsonError;
use write_behind_shared::json_write::{self, Noticed};
use write_behind_shared::key::{KeyError, KeyWriter};
use write_behind_shared::record::{self, Encoded};
use write_behind_shared::{Cell, Change, Partition, json, partition};

use crate::core::delta::{Delta, Row};
use crate::core::ledger::Key;
use crate::core::pending;
use crate::core::priority::Priority;
use crate::core::record_headers::RecordHeaders;
use crate::error::Refusal;
use crate::writes::table_check::TableCheck;

/// A key's canonical text. Most fit without an allocation; the row's own is made once it is pending.
pub(crate) type KeyText = SmallVec<[u8; 32]>;

/// A write that has everything but room.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) key: KeyText,
    pub(crate) partition: Partition,
    pub(crate) delta: Delta,
    /// The record's value, if it is a change of some columns.
    pub(crate) changed: Option<Vec<u8>>,
    /// The record's `add` header.
    pub(crate) add: Option<String>,
    /// The service's own headers.
    pub(crate) headers: Option<Arc<RecordHeaders>>,
    pub(crate) priority: Priority,
    pub(crate) cost: usize,
    /// What the row or change may take, in bytes, if it is joined with others.
    pub(crate) joined_bytes_max: usize,
}

impl Prepared {
    /// The record's value; `None` is a tombstone.
    pub(crate) fn value(&self) -> Option<&[u8]> {
        match &self.delta {
            Delta::Put(row) => Some(row),
            Delta::Delete => None,
            Delta::Change(_) | Delta::Versioned(_) => self.changed.as_deref(),
        }
    }
}

/// Encodes keys and writes, and refuses what no record can carry.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    pub(crate) partitions: i32,
    /// `key_columns`, if they were named.
    pub(crate) key_columns: Arc<[Box<str>]>,
    /// The column that holds the rows' versions.
    pub(crate) version: Option<Arc<str>>,
    /// `message.max.bytes`, or what the topic takes: key, value and headers.
    pub(crate) record_bytes: Arc<AtomicUsize>,
    /// `max_pending`.
    pub(crate) pending_bytes: usize,
    /// Where the service's own headers come from.
    pub(crate) headers: Option<HeaderSource>,
    /// The row type doesn't say its columns, so that a row may name one twice.
    pub(crate) may_repeat_columns: bool,
    /// What the table takes, once the loader has said it.
    pub(crate) table: Arc<OnceLock<TableCheck>>,
}

/// A service's code that is asked for the headers of each record.
#[derive(Clone)]
pub(crate) struct HeaderSource(pub(crate) Arc<dyn Fn(&mut RecordHeaders) + Send + Sync>);

impl HeaderSource {
    fn ask(&self) -> Result<Option<Arc<RecordHeaders>>, Refusal> {
        let mut headers = RecordHeaders::default();
        (self.0)(&mut headers);
        match headers.refused() {
            Some(why) => Err(Refusal::Headers(why)),
            None => Ok((!headers.is_empty()).then(|| Arc::new(headers))),
        }
    }
}

impl std::fmt::Debug for HeaderSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HeaderSource")
    }
}

/// The names and the write-id of the headers, and the record's own frame.
const FRAME_BYTES: usize = 128;
/// A thread's buffers that grew beyond this for one large row are given back.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// The buffers that a thread keeps, so that a scalar key and a row are allocated once each.
#[derive(Debug, Default)]
struct Scratch {
    key: KeyWriter,
    row: Vec<u8>,
}

impl Scratch {
    fn with<R>(use_it: impl FnOnce(&mut Self) -> R) -> R {
        thread_local!(static SCRATCH: RefCell<Scratch> = const {
            RefCell::new(Scratch { key: KeyWriter::new(), row: Vec::new() })
        });
        SCRATCH.with(|scratch| {
            // A row's own code may write another row while it is written.
            let Ok(mut scratch) = scratch.try_borrow_mut() else {
                return use_it(&mut Scratch::default());
            };
            scratch.row.clear();
            let result = use_it(&mut scratch);
            if scratch.row.capacity() + scratch.key.capacity() > BUFFER_BYTES_MAX {
                *scratch = Scratch::default();
            }
            result
        })
    }
}

impl Encoder {
    /// Whose records may be this long, and nothing else is set.
    #[cfg(test)]
    pub(crate) fn plain(partitions: i32, record_bytes: usize, pending_bytes: usize) -> Self {
        Self {
            partitions,
            key_columns: Arc::default(),
            version: None,
            record_bytes: Arc::new(AtomicUsize::new(record_bytes)),
            pending_bytes,
            headers: None,
            may_repeat_columns: false,
            table: Arc::default(),
        }
    }

    /// The canonical text of a key.
    pub(crate) fn key<K: Serialize + ?Sized>(&self, key: &K) -> Result<Key, KeyError> {
        Scratch::with(|scratch| scratch.key.write(key, &self.key_columns).map(Key::from))
    }

    /// What comes of the canonical text of a key. No code of a service may run in `use_it`.
    pub(crate) fn with_key<K: Serialize + ?Sized, R>(
        &self,
        key: &K,
        use_it: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, KeyError> {
        Scratch::with(|scratch| scratch.key.write(key, &self.key_columns).map(use_it))
    }

    /// A write of every column.
    pub(crate) fn put<K, V>(&self, key: &K, row: &V) -> Result<Prepared, Refusal>
    where
        K: Serialize + ?Sized,
        V: Serialize + ?Sized,
    {
        Scratch::with(|scratch| {
            scratch.key.write(key, &self.key_columns)?;
            let document = &mut scratch.row;
            let noticed = json_write::write(row, document);
            check(document, noticed.map_err(|error| Refusal::NotJson(error.to_string()))?)?;
            repeats_key(&scratch.key, document)?;
            if self.may_repeat_columns {
                names_each_once(document)?;
            }
            if let Some(table) = self.table.get() {
                table.row(document)?;
            }
            if self.version.is_some() {
                // Whether it is left out depends on the row beneath it, as for any other change.
                let change = record::decode(Some(document), None);
                let change = change.map_err(|error| Refusal::NotJson(error.to_string()))?;
                let encoded = change.encode().map_err(|_| Refusal::NotOneRecord)?;
                return self.prepare_change(scratch.key.text(), change, encoded);
            }
            self.prepare(scratch.key.text(), Delta::Put(Row::from(&**document)), None, None)
        })
    }

    /// A write of the columns that `fields` has.
    pub(crate) fn update<K, F>(&self, key: &K, fields: &F) -> Result<Prepared, Refusal>
    where
        K: Serialize + ?Sized,
        F: Serialize + ?Sized,
    {
        self.change(key, Change::of(fields)?)
    }

    /// A delete.
    pub(crate) fn delete<K: Serialize + ?Sized>(&self, key: &K) -> Result<Prepared, Refusal> {
        Scratch::with(|scratch| {
            let key = scratch.key.write(key, &self.key_columns)?;
            self.prepare(key, Delta::Delete, None, None)
        })
    }

    /// A change of some columns.
    pub(crate) fn change<K>(&self, key: &K, change: Change) -> Result<Prepared, Refusal>
    where
        K: Serialize + ?Sized,
    {
        let encoded = change.encode().map_err(|_| Refusal::NotOneRecord)?;
        let Some(value) = &encoded.value else { return self.delete(key) };
        check(value, Noticed::in_text(value))?;
        if let Some(table) = self.table.get() {
            table.change(&change)?;
        }
        for (name, cell) in change.cells() {
            if matches!(cell, Cell::Add(_)) && (name.contains(',') || name.is_empty()) {
                return Err(Refusal::ColumnName(name.to_owned()));
            }
        }
        Scratch::with(|scratch| {
            scratch.key.write(key, &self.key_columns)?;
            for (name, cell) in change.cells() {
                repeats_key_column(&scratch.key, name, cell)?;
            }
            self.prepare_change(scratch.key.text(), change, encoded)
        })
    }

    fn prepare_change(
        &self,
        key: &[u8],
        change: Change,
        Encoded { value, add }: Encoded,
    ) -> Result<Prepared, Refusal> {
        let delta = Delta::changes(change, self.version.as_ref());
        if let (Delta::Versioned(versioned), Some(column)) = (&delta, &self.version)
            && versioned.version().is_none()
        {
            return Err(Refusal::NoVersion(column.to_string()));
        }
        self.prepare(key, delta, value, add)
    }

    fn prepare(
        &self,
        key: &[u8],
        delta: Delta,
        changed: Option<Vec<u8>>,
        add: Option<String>,
    ) -> Result<Prepared, Refusal> {
        if let Some(table) = self.table.get() {
            table.key(key)?;
        }
        let headers = self.headers.as_ref().map(HeaderSource::ask).transpose()?.flatten();
        let cost = pending::cost(key, &delta);
        let partition = partition::partition_of(key, self.partitions);
        let record_bytes = self.record_bytes.load(Ordering::Relaxed);
        let joined_bytes_max = record_bytes.saturating_sub(FRAME_BYTES + key.len());
        let (key, priority) = (KeyText::from_slice(key), Priority::Normal);
        let write = Prepared {
            key,
            partition,
            delta,
            changed,
            add,
            headers,
            priority,
            cost,
            joined_bytes_max,
        };
        let bytes = FRAME_BYTES
            + write.key.len()
            + write.value().map_or(0, <[u8]>::len)
            + write.add.as_ref().map_or(0, String::len)
            + write.headers.as_ref().map_or(0, |headers| headers.bytes());
        if bytes > record_bytes {
            return Err(Refusal::TooLarge { bytes, limit: record_bytes });
        }
        if cost > self.pending_bytes {
            return Err(Refusal::TooLarge { bytes: cost, limit: self.pending_bytes });
        }
        Ok(write)
    }
}

/// Refuses what no consumer can apply. `document` was written by serde, so it is well-formed.
fn check(document: &[u8], noticed: Noticed) -> Result<(), Refusal> {
    if document.first() != Some(&b'{') {
        return Err(Refusal::NotAnObject);
    }
    match noticed {
        Noticed { too_deep: true, .. } => Err(Refusal::TooDeep),
        Noticed { nul: true, .. } => Err(Refusal::Nul),
        Noticed { not_finite: true, .. } => Err(Refusal::NotFinite),
        _ => Ok(()),
    }
}

/// Refuses a row that names a column twice, as one with flattened parts can.
fn names_each_once(document: &[u8]) -> Result<(), Refusal> {
    match json::members(document) {
        Err(error @ JsonError::NamedTwice(_)) => Err(Refusal::NotJson(error.to_string())),
        // What is no object was refused before.
        _ => Ok(()),
    }
}

/// Refuses a row that says something else of a key column than its key does: it would become a
/// dead letter. A key whose columns have no names is not looked for.
fn repeats_key(key: &KeyWriter, document: &[u8]) -> Result<(), Refusal> {
    if !key.names_columns() {
        return Ok(());
    }
    let document = std::str::from_utf8(document).unwrap_or_default();
    if !key.may_repeat(document) {
        return Ok(());
    }
    let mut other = None;
    let disagrees = |name: &str, says: &str| {
        let disagrees = key.disagrees(name, says);
        if disagrees {
            other = Some(Refusal::KeyColumn { column: name.to_owned(), says: says.to_owned() });
        }
        disagrees
    };
    // What is no object was refused before.
    let _ = json::any_member(document, disagrees);
    other.map_or(Ok(()), Err)
}

fn repeats_key_column(key: &KeyWriter, name: &str, cell: &Cell) -> Result<(), Refusal> {
    let says = match cell {
        Cell::Set(value) if !key.disagrees(name, value.get()) => return Ok(()),
        _ if !key.has(name) => return Ok(()),
        Cell::Set(value) => value.get().to_owned(),
        Cell::Add(delta) | Cell::SetThenAdd(_, delta) => format!("that {delta} is added"),
    };
    Err(Refusal::KeyColumn { column: name.to_owned(), says })
}

#[cfg(test)]
#[path = "tests/encode.rs"]
mod tests;
