//! The rows of a buffer, by key.
//!
//! A fold over many keys is bound by memory access, not by computing. So a row takes one slot of
//! the table and, while it is only written, one allocation that holds its key and its value side by
//! side.

use ahash::RandomState;
use hashbrown::HashTable;
use write_behind_shared::{Change, record};

use crate::core::pipeline::heap_size;
use crate::core::pipeline::shape::Shape;

/// Spare capacity that a row may keep.
const SPARE_BYTES: usize = 96;

/// Rows by key.
#[derive(Debug, Default)]
pub(super) struct BufferedRows {
    table: HashTable<BufferedRow>,
    hasher: RandomState,
}

/// One row, and what its records change in it.
#[derive(Debug)]
pub(super) struct BufferedRow {
    /// The key, followed by the value if that is kept as it came.
    bytes: Vec<u8>,
    /// The length of the key.
    key: usize,
    content: RowContent,
}

#[derive(Debug)]
enum RowContent {
    /// The row is written with exactly these columns: the last record's value, as it came.
    Value(Shape),
    /// Anything else.
    Change(Box<Change>),
    /// The row's records must be tried one by one, read again from the log.
    RowByRow,
}

impl BufferedRows {
    /// The row of `key`, if present.
    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut BufferedRow> {
        let hash = self.hasher.hash_one(key);
        self.table.find_mut(hash, |row| row.key() == key)
    }

    /// Adds a row with a new key.
    pub(super) fn insert(&mut self, row: BufferedRow) {
        let hash = self.hasher.hash_one(row.key());
        self.table.insert_unique(hash, row, |row| self.hasher.hash_one(row.key()));
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Heap memory of the table, without its rows' allocations.
    pub(super) fn heap_size(&self) -> usize {
        heap_size::of_table::<BufferedRow>(self.table.capacity())
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &BufferedRow> {
        self.table.iter()
    }
}

impl IntoIterator for BufferedRows {
    type Item = BufferedRow;
    type IntoIter = hashbrown::hash_table::IntoIter<BufferedRow>;

    fn into_iter(self) -> Self::IntoIter {
        self.table.into_iter()
    }
}

impl BufferedRow {
    /// A row written with `value`, which has the members of `shape`.
    pub(super) fn written(key: &[u8], shape: Shape, value: &[u8]) -> Self {
        Self { bytes: [key, value].concat(), key: key.len(), content: RowContent::Value(shape) }
    }

    /// A row changed by `change`.
    pub(super) fn changed(key: &[u8], change: Change) -> Self {
        Self { bytes: key.to_vec(), key: key.len(), content: RowContent::Change(Box::new(change)) }
    }

    /// The record key.
    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..self.key]
    }

    /// The shape of its value, if the value is kept as it came.
    pub(super) fn shape(&self) -> Option<Shape> {
        match self.content {
            RowContent::Value(shape) => Some(shape),
            RowContent::Change(_) | RowContent::RowByRow => None,
        }
    }

    /// Whether its records must be tried one by one.
    pub(super) fn is_row_by_row(&self) -> bool {
        matches!(self.content, RowContent::RowByRow)
    }

    /// Heap memory of the row.
    pub(super) fn heap_size(&self) -> usize {
        let content = match &self.content {
            RowContent::Change(change) => {
                heap_size::allocated(size_of::<Change>()) + heap_size::of_change(change)
            }
            RowContent::Value(_) | RowContent::RowByRow => 0,
        };
        heap_size::allocated(self.bytes.capacity()) + content
    }

    /// Replaces the value with one of the same shape.
    pub(super) fn write(&mut self, value: &[u8]) {
        self.bytes.truncate(self.key);
        self.bytes.extend_from_slice(value);
        // A row must not keep the memory of one large value.
        if self.bytes.capacity() / 4 > self.bytes.len().max(SPARE_BYTES) {
            self.bytes.shrink_to_fit();
        }
    }

    /// Applies `fold` to the row's change so far.
    pub(super) fn change<T>(&mut self, fold: impl FnOnce(&mut Change) -> T) -> T {
        // The hot path of increments: no allocation.
        if let RowContent::Change(change) = &mut self.content {
            return fold(change);
        }
        let mut change = Box::new(match self.content {
            RowContent::Value(_) => decoded(&self.bytes[self.key..]),
            RowContent::Change(_) | RowContent::RowByRow => Change::default(),
        });
        let folded = fold(&mut change);
        self.set_content(RowContent::Change(change));
        folded
    }

    /// Marks the row's records to be tried one by one.
    pub(super) fn take_row_by_row(&mut self) {
        self.set_content(RowContent::RowByRow);
    }

    /// The row's change.
    pub(super) fn into_change(self) -> Change {
        match self.content {
            RowContent::Value(_) => decoded(&self.bytes[self.key..]),
            RowContent::Change(change) => *change,
            RowContent::RowByRow => Change::default(),
        }
    }

    /// Keeps the key and replaces everything else with `content`.
    fn set_content(&mut self, content: RowContent) {
        self.bytes.truncate(self.key);
        self.bytes.shrink_to_fit();
        self.content = content;
    }
}

#[expect(clippy::expect_used, reason = "only values that were taken apart are kept")]
fn decoded(value: &[u8]) -> Change {
    record::decode(Some(value), None).expect("the value is well formed")
}
