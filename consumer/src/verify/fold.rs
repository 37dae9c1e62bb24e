//! The fold of `verify`: what each row must be, according to the log.
//!
//! It does no I/O, and shares nothing with the consumer's buffer, so that it can find that one's
//! mistakes. Its memory is bounded: it takes the keys of a range of hashes, and halves a range that is
//! too large; the other half is left for another pass.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use ahash::RandomState;
use uuid::Uuid;
use write_behind_shared::key::{self, KeyColumn};
use write_behind_shared::partition::partition_of;
use write_behind_shared::{Change, Headers, Offset, Partition, record};

use crate::core::record::Incoming;
use crate::core::table::Table;
use crate::core::table::version::{RowVersion, VersionColumn};

/// How many of a row's last records are named.
const OFFSETS_NAMED: usize = 3;
/// What a row takes beside its key and its columns.
const ROW_OVERHEAD: usize = 256;

/// The keys whose hash ends in the `bits` bits of `ending`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    ending: u64,
    bits: u32,
}

/// The keys to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Every one.
    All,
    /// These, in the records' spelling.
    Keys(BTreeSet<Box<[u8]>>),
    /// This many, chosen by their hash, so that they are the same ones each time.
    Sample(usize),
}

/// What the log says of one row.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Its records, folded. The change resets the row if all of its records were seen.
    pub change: Change,
    /// Its last records, oldest first.
    pub offsets: VecDeque<Offset>,
    /// Whether it is unknown if some record's version was older than the row's, and so what the row
    /// must be.
    pub is_unclear: bool,
    /// The row's version, where there is one.
    row_version: Option<RowVersion>,
}

/// Records that were set aside.
#[derive(Clone, Debug, Default)]
pub struct SetAside {
    /// Those that were not replayed: they do not count.
    pub skipped: BTreeSet<(Partition, Offset)>,
    /// Those that were: they count at their place in the log.
    pub replayed: BTreeSet<(Partition, Offset)>,
}

/// Rows by partition and record key.
pub type FoldedRows = HashMap<(Partition, Box<[u8]>), Entry, RandomState>;

/// One pass over the log.
#[derive(Debug)]
pub struct VerifyFold {
    key: Vec<KeyColumn>,
    choice: Arc<Choice>,
    version: Option<VersionColumn>,
    set_aside: Arc<SetAside>,
    /// Partitions whose log is there from its beginning.
    whole: BTreeSet<Partition>,
    /// How many partitions the topic has, if a record in another than its key's was set aside.
    placed_in: Option<i32>,
    range: Range,
    memory: usize,
    writers: HashMap<(Partition, Uuid), u64, RandomState>,
    rows: FoldedRows,
    bytes: usize,
    left: Vec<Range>,
}

/// What a pass found, and what it left for others.
#[derive(Debug)]
pub struct FoldedPass {
    /// The rows of its range.
    pub rows: FoldedRows,
    /// Its range.
    pub range: Range,
    /// Ranges that were too much for the memory.
    pub left: Vec<Range>,
}

impl Range {
    /// Every key.
    pub const ALL: Self = Self { ending: 0, bits: 0 };

    /// Whether the row of these key texts is in it.
    #[must_use]
    pub fn holds(self, key: &[String]) -> bool {
        hash(key) & ((1 << self.bits) - 1) == self.ending
    }

    /// Its halves.
    fn halves(self) -> (Self, Self) {
        let bits = self.bits + 1;
        (Self { bits, ..self }, Self { ending: self.ending | 1 << self.bits, bits })
    }
}

/// The hash of a key, stable across runs so that samples are too.
fn hash(key: &[String]) -> u64 {
    RandomState::with_seeds(1, 2, 3, 4).hash_one(key)
}

impl VerifyFold {
    /// A pass over the keys of `range`, which holds about `memory` bytes at most.
    pub fn new(
        table: &Table,
        choice: Arc<Choice>,
        set_aside: Arc<SetAside>,
        whole: BTreeSet<Partition>,
        range: Range,
        memory: usize,
    ) -> Self {
        let (writers, rows) = (HashMap::default(), HashMap::default());
        let (key, left, version) =
            (table.record_key().to_vec(), Vec::new(), VersionColumn::of(table));
        Self {
            key,
            choice,
            version,
            set_aside,
            whole,
            placed_in: None,
            range,
            memory,
            writers,
            rows,
            bytes: 0,
            left,
        }
    }

    /// The same, where a record in another partition than its key's was set aside; the topic has this
    /// many.
    #[must_use]
    pub fn without_misplaced(self, partitions: i32) -> Self {
        Self { placed_in: Some(partitions), ..self }
    }

    /// Folds the next record of its partition.
    pub fn take(&mut self, record: &Incoming<'_>) {
        // What cannot be decoded was set aside, whether or not its letter is still there.
        let Ok(headers) = Headers::read(record.headers.iter().copied()) else { return };
        // The rule that `Sequences` keeps for all others stands here again on purpose: a judge that
        // shared it would share its mistakes.
        if let Some(id) = headers.write_id {
            let last = self.writers.entry((record.partition, id.writer));
            let mut seen = true;
            let last = last.or_insert_with(|| {
                seen = false;
                id.sequence
            });
            if seen && id.sequence <= *last {
                return;
            }
            *last = id.sequence;
        }
        let at = (record.partition, record.offset);
        if self.set_aside.skipped.contains(&at) {
            return;
        }
        let Some(key) = record.key else { return };
        let is_misplaced = |of| partition_of(key, of) != record.partition;
        if self.placed_in.is_some_and(is_misplaced) && !self.set_aside.replayed.contains(&at) {
            return;
        }
        let Ok(texts) = key::decode(key, &self.key) else { return };
        if !self.range.holds(&texts) || matches!(&*self.choice, Choice::Keys(k) if !k.contains(key))
        {
            return;
        }
        let add = headers.add.filter(|names| !names.is_empty());
        let place = (record.partition, key.into());
        let known = self.rows.contains_key(&place);
        let entry = self.rows.entry(place).or_default();
        let before = if known { entry.change.bytes() } else { 0 };
        if !known && self.whole.contains(&record.partition) {
            entry.change = Change::delete();
        }
        let applied = match &self.version {
            None => record::fold(&mut entry.change, record.value, add).is_ok(),
            Some(version) => {
                // The log does not say when it was replayed, and so what came before it.
                entry.is_unclear |= self.set_aside.replayed.contains(&at);
                record::decode(record.value, add).is_ok_and(|later| entry.heed(version, later))
            }
        };
        if applied {
            entry.offsets.push_back(record.offset);
            if entry.offsets.len() > OFFSETS_NAMED {
                entry.offsets.pop_front();
            }
        }
        let overhead = if known { 0 } else { ROW_OVERHEAD + key.len() };
        self.bytes = (self.bytes + overhead + entry.change.bytes()).saturating_sub(before);
        self.make_room();
    }

    /// The rows of the range that was left, and the ranges that were not.
    pub fn finish(mut self) -> FoldedPass {
        // A row that has only bad records does not exist.
        self.rows.retain(|_, entry| !entry.offsets.is_empty());
        if let Choice::Sample(size) = *self.choice {
            let hash_of = |key: &[u8]| key::decode(key, &self.key).map_or(0, |key| hash(&key));
            let mut hashes: Vec<u64> = self.rows.keys().map(|(_, key)| hash_of(key)).collect();
            hashes.sort_unstable();
            if let Some(first_left_out) = hashes.get(size) {
                self.rows.retain(|(_, key), _| hash_of(key) < *first_left_out);
            }
        }
        FoldedPass { rows: self.rows, range: self.range, left: self.left }
    }

    fn make_room(&mut self) {
        if let Choice::Sample(size) = *self.choice
            && self.rows.len() > size.saturating_mul(2).max(1_000)
        {
            self.halve();
            // What falls out of a sample is not looked at later.
            self.left.clear();
        }
        while self.bytes > self.memory && self.rows.len() > 1 {
            self.halve();
        }
    }

    fn halve(&mut self) {
        let (kept, left) = self.range.halves();
        self.range = kept;
        self.left.push(left);
        let columns = &self.key;
        self.rows.retain(|(_, key), _| key::decode(key, columns).is_ok_and(|key| kept.holds(&key)));
        let bytes = |((_, key), entry): (&(Partition, Box<[u8]>), &Entry)| {
            ROW_OVERHEAD + key.len() + entry.change.bytes()
        };
        self.bytes = self.rows.iter().map(bytes).sum();
    }
}

impl Entry {
    /// Does `later`, unless its version is older than the row's; says whether it did.
    fn heed(&mut self, version: &VersionColumn, later: Change) -> bool {
        if later.resets() {
            *self = Self {
                change: later,
                offsets: std::mem::take(&mut self.offsets),
                ..Self::default()
            };
            return true;
        }
        // Without a version it was set aside, whether or not its letter is still there.
        let Some(row_version) = version.version_of(&later) else { return false };
        let is_older = match &self.row_version {
            Some(row) => row_version.is_older_than(row),
            // What the row was before the log's beginning is not known.
            None => self.change.resets().then_some(false),
        };
        self.is_unclear |= is_older.is_none();
        if is_older == Some(true) {
            return false;
        }
        self.change.fold(later);
        self.row_version = Some(row_version);
        true
    }
}

#[cfg(test)]
#[path = "tests/fold.rs"]
mod tests;
