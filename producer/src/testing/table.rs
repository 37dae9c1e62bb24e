//! The database of a test: the rows that the records fold to, in log order.
//!
//! It keeps what the consumer's transaction keeps: rows, next offsets, writers and dead letters
//! change together. Pure: no clock, no task, no Kafka.

use std::collections::BTreeMap;

use write_behind_shared::{Change, NextOffset, Partition, SequenceCheck, Sequences, record};

use super::log::Record;
use crate::load::DeadLetter;

/// Rows, and how far each partition's log is in them.
#[derive(Debug)]
pub(super) struct Table {
    rows: BTreeMap<Vec<u8>, Change>,
    next: Vec<NextOffset>,
    /// The writers of each partition.
    sequences: Vec<Sequences>,
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) duplicates: u64,
    pub(super) gaps: u64,
}

impl Table {
    pub(super) fn new(partitions: i32) -> Self {
        let partitions = usize::try_from(partitions).unwrap_or_default();
        Self {
            rows: BTreeMap::new(),
            next: vec![NextOffset::ZERO; partitions],
            sequences: vec![Sequences::default(); partitions],
            dead_letters: Vec::new(),
            duplicates: 0,
            gaps: 0,
        }
    }

    /// Applies the next record of its partition; one that was applied before is passed over.
    pub(super) fn apply(&mut self, record: &Record) {
        let Ok(partition) = usize::try_from(record.partition.0) else { return };
        let Some(next) = self.next.get_mut(partition) else { return };
        if next.is_past(record.offset) {
            return;
        }
        *next = record.offset.next();
        if let Err(reason) = self.fold(partition, record) {
            self.dead_letters.push(DeadLetter {
                partition: record.partition,
                offset: record.offset,
                key: record.key.clone().unwrap_or_default(),
                write_id: record.write_id(),
                reason,
            });
        }
    }

    fn fold(&mut self, partition: usize, record: &Record) -> Result<(), String> {
        let headers = record.headers().map_err(|error| error.to_string())?;
        if let Some(write) = headers.write_id {
            let check = self.sequences[partition].observe(write, record.offset);
            if check == SequenceCheck::Duplicate {
                self.duplicates += 1;
                return Ok(());
            }
            self.gaps += u64::from(check.follows_a_gap());
        }
        let key = record.key.as_ref().ok_or_else(|| record::RecordError::NoKey.to_string())?;
        let mut row = self.rows.get(key).cloned().unwrap_or_else(Change::delete);
        record::fold(&mut row, record.value.as_deref(), headers.add)
            .map_err(|error| error.to_string())?;
        // What a database would refuse: an increment of what is no number.
        match row.to_row().map_err(|error| error.to_string())? {
            Some(_) => self.rows.insert(key.clone(), row),
            None => self.rows.remove(key),
        };
        Ok(())
    }

    /// The row of `key`, as a JSON object.
    pub(super) fn row(&self, key: &[u8]) -> Option<Vec<u8>> {
        // Rows that cannot be written were not kept.
        self.rows.get(key).and_then(|row| row.to_row().ok().flatten())
    }

    /// Every row, by key.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&[u8], Vec<u8>)> {
        self.rows.iter().filter_map(|(key, row)| Some((&**key, row.to_row().ok()??)))
    }

    /// How many records were dealt with, of all partitions.
    pub(super) fn applied(&self) -> u64 {
        self.next.iter().map(|next| NextOffset::ZERO.distance_to(*next)).sum()
    }

    /// How far `partition` is applied.
    pub(super) fn next(&self, partition: Partition) -> NextOffset {
        let next = usize::try_from(partition.0).ok().and_then(|at| self.next.get(at));
        next.copied().unwrap_or(NextOffset::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use write_behind_shared::record::{ADD, WRITE_ID};
    use write_behind_shared::{Offset, WriteId};

    use super::*;

    fn record(offset: i64, value: Option<&str>, add: Option<&str>, sequence: u64) -> Record {
        let write_id = WriteId { writer: Uuid::from_u128(1), sequence }.encode().to_vec();
        let mut headers = vec![(WRITE_ID.to_owned(), Some(write_id))];
        headers.extend(add.map(|add| (ADD.to_owned(), Some(add.as_bytes().to_vec()))));
        Record {
            partition: Partition(0),
            offset: Offset(offset),
            key: Some(b"7".to_vec()),
            value: value.map(|value| value.as_bytes().to_vec()),
            headers,
        }
    }

    fn row(table: &Table) -> Option<String> {
        table.row(b"7").map(|row| String::from_utf8(row).unwrap())
    }

    #[test]
    fn records_fold_into_rows_and_a_tombstone_removes_its_row() {
        let mut table = Table::new(1);
        table.apply(&record(0, Some(r#"{"name":"ada","points":1}"#), None, 0));
        table.apply(&record(1, Some(r#"{"points":10}"#), Some("points"), 1));
        assert_eq!(row(&table).as_deref(), Some(r#"{"name":"ada","points":11}"#));
        table.apply(&record(2, None, None, 2));
        assert_eq!((row(&table), table.rows().count()), (None, 0));
        assert_eq!(table.next(Partition(0)), NextOffset(3));
    }

    #[test]
    fn a_write_that_stands_twice_in_the_log_counts_once() {
        let mut table = Table::new(1);
        table.apply(&record(0, Some(r#"{"points":10}"#), Some("points"), 0));
        table.apply(&record(1, Some(r#"{"points":10}"#), Some("points"), 0));
        assert_eq!(row(&table).as_deref(), Some(r#"{"points":10}"#));
        assert_eq!((table.duplicates, table.gaps), (1, 0));
    }

    #[test]
    fn a_write_that_is_missing_is_counted() {
        let mut table = Table::new(1);
        table.apply(&record(0, Some("{}"), None, 1));
        table.apply(&record(1, Some("{}"), None, 2));
        table.apply(&record(2, Some("{}"), None, 4));
        assert_eq!((table.duplicates, table.gaps), (0, 2));
    }

    #[test]
    fn a_bad_record_stands_aside_and_leaves_its_row() {
        let mut table = Table::new(1);
        table.apply(&record(0, Some(r#"{"name":"ada"}"#), None, 0));
        table.apply(&record(1, Some("null"), None, 1));
        table.apply(&record(2, Some(r#"{"name":1}"#), Some("name"), 2));
        table.apply(&record(3, Some(r#"{"points":1}"#), None, 3));
        assert_eq!(row(&table).as_deref(), Some(r#"{"name":"ada","points":1}"#));
        let offsets: Vec<i64> = table.dead_letters.iter().map(|letter| letter.offset.0).collect();
        assert_eq!(offsets, [1, 2]);
        assert!(table.dead_letters[1].reason.contains("not a number"), "{:?}", table.dead_letters);
    }
}
