//! What later records did to the rows of dead letters: for each letter, the fold of its row's
//! records behind it.
//!
//! Pure. It reads a partition's log from the first letter on. Only applied records count: no
//! duplicates, and no record that was set aside, unless it was replayed since. Of other rows it
//! keeps only their writers' last sequences, to recognise duplicates, so memory is bounded by the
//! letters' rows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use write_behind_shared::{Change, Headers, NextOffset, Offset, SequenceCheck, Sequences, record};

use crate::core::dead_letters::{DeadLetterState, OfRow, StoredDeadLetter};
use crate::core::record::{Incoming, RawRecord};
use crate::core::table::version::{RowVersion, VersionColumn};

/// What later records did, up to some offset.
#[derive(Debug)]
pub struct LaterChanges {
    next: NextOffset,
    sequences: Sequences,
    rows: HashMap<Box<[u8]>, RowBehind>,
    /// The version column, if the route has one.
    version: Option<VersionColumn>,
    /// Hashes of the letters' records, to notice other records in their places.
    prints: HashMap<Offset, u64>,
    /// Offsets at which the log holds another record than the letter.
    replaced: HashSet<Offset>,
    bytes: usize,
}

/// One row with letters.
#[derive(Debug, Default)]
struct RowBehind {
    /// Which of its records were set aside.
    letters: OfRow,
    /// For each letter, the fold of what was applied behind it.
    folds: BTreeMap<Offset, AppliedBehind>,
}

/// What was applied behind a letter.
#[derive(Debug, Default)]
struct AppliedBehind {
    change: Change,
    /// The row's version, as far as the letter and the changes behind it tell.
    row_version: Option<RowVersion>,
}

impl AppliedBehind {
    fn take(&mut self, value: Option<&[u8]>, add: Option<&str>, version: Option<&VersionColumn>) {
        // A record that can't be decoded was never applied, so it leaves the fold unchanged.
        let Some(version) = version else {
            let _ = record::fold(&mut self.change, value, add);
            return;
        };
        let Ok(later) = record::decode(value, add) else { return };
        let row_version = version.version_of(&later);
        if !later.resets() {
            let Some(given) = &row_version else { return };
            let row = self.row_version.as_ref();
            if row.is_some_and(|row| given.is_older_than(row) == Some(true)) {
                return;
            }
        }
        self.change.fold(later);
        self.row_version = row_version;
    }
}

/// The change that a record holds, or why it can't be applied.
pub fn change_of(record: &RawRecord) -> Result<Change, String> {
    let headers = record.headers.iter().map(|(name, value)| (&**name, value.as_deref()));
    let headers = Headers::read(headers).map_err(|error| error.to_string())?;
    if record.key.is_none() {
        return Err(record::RecordError::NoKey.to_string());
    }
    record::decode(record.value.as_deref(), headers.add).map_err(|error| error.to_string())
}

impl LaterChanges {
    /// Starts with letters of one partition, before any of its log is read.
    pub fn of<'a>(letters: impl IntoIterator<Item = &'a StoredDeadLetter>) -> Self {
        Self::with_version(letters, None)
    }

    /// The same, on a route with a `version`: changes behind a letter that are older than it are
    /// left out.
    pub fn with_version<'a>(
        letters: impl IntoIterator<Item = &'a StoredDeadLetter>,
        version: Option<VersionColumn>,
    ) -> Self {
        let mut later = Self {
            version,
            next: NextOffset(i64::MAX),
            sequences: Sequences::default(),
            rows: HashMap::new(),
            prints: HashMap::new(),
            replaced: HashSet::new(),
            bytes: 0,
        };
        for letter in letters {
            let record = &letter.dead_letter.record;
            let Some(key) = &record.key else { continue };
            later.next = later.next.min(NextOffset(record.offset.0));
            later.prints.insert(record.offset, print(Some(key), record.value.as_deref()));
            let change = later.version.as_ref().zip(change_of(record).ok());
            let row_version = change.and_then(|(version, change)| version.version_of(&change));
            let fold = AppliedBehind { row_version, ..AppliedBehind::default() };
            later.bytes += fold.change.bytes();
            later.rows.entry(key.clone()).or_default().folds.insert(record.offset, fold);
        }
        later
    }

    /// The offset up to which the log was read.
    pub fn next(&self) -> NextOffset {
        self.next
    }

    /// Starts at `start`: the log's earlier records are gone.
    pub fn skip_to(&mut self, start: NextOffset) {
        self.next = self.next.max(start);
    }

    /// The approximate memory in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Learns which records of the letter's row behind it were set aside. Returns whether the fold
    /// so far is still right: it is not if a record it skipped was replayed since.
    #[must_use]
    pub fn learn(&mut self, letter: &StoredDeadLetter, behind: OfRow) -> bool {
        let key = letter.dead_letter.record.key.as_deref().unwrap_or_default();
        let Some(row) = self.rows.get_mut(key) else { return true };
        let (after, next) = (letter.offset(), self.next);
        let counts = |(offset, state): &(&Offset, &DeadLetterState)| {
            **state == DeadLetterState::Replayed && **offset > after && next.is_past(**offset)
        };
        let stands = row.letters.iter().filter(counts).eq(behind.iter().filter(counts));
        row.letters.retain(|offset, _| *offset <= after);
        row.letters.extend(behind);
        stands
    }

    /// Takes the next record of the log.
    pub fn take(&mut self, record: &Incoming<'_>) {
        if self.next.is_past(record.offset) {
            return;
        }
        self.next = record.offset.next();
        let expected = self.prints.get(&record.offset);
        if expected.is_some_and(|expected| *expected != print(record.key, record.value)) {
            self.replaced.insert(record.offset);
        }
        let row = record.key.and_then(|key| self.rows.get_mut(key));
        let Ok(headers) = Headers::read(record.headers.iter().copied()) else { return };
        let check = headers.write_id.map(|id| self.sequences.observe(id, record.offset));
        let is_duplicate = check == Some(SequenceCheck::Duplicate);
        let Some(row) = row else { return };
        let set_aside =
            row.letters.get(&record.offset).is_some_and(|s| *s != DeadLetterState::Replayed);
        if is_duplicate || set_aside {
            return;
        }
        for (_, fold) in row.folds.range_mut(..record.offset) {
            self.bytes -= fold.change.bytes();
            fold.take(record.value, headers.add, self.version.as_ref());
            self.bytes += fold.change.bytes();
        }
    }

    /// Everything up to `next` was taken; the last offsets may hold no record.
    pub fn reached(&mut self, next: NextOffset) {
        self.next = self.next.max(next);
    }

    /// The fold of what was applied to the letter's row behind it.
    pub fn behind(&self, letter: &StoredDeadLetter) -> Change {
        let row = letter.dead_letter.record.key.as_deref().and_then(|key| self.rows.get(key));
        let fold = row.and_then(|row| row.folds.get(&letter.offset()));
        fold.map(|fold| fold.change.clone()).unwrap_or_default()
    }

    /// Whether the log holds another record at the letter's offset: then the letter came from
    /// another log.
    pub fn is_another_log(&self, letter: &StoredDeadLetter) -> bool {
        self.replaced.contains(&letter.offset())
    }
}

fn print(key: Option<&[u8]>, value: Option<&[u8]>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, value).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "tests/later_changes.rs"]
mod tests;
