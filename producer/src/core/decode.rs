//! A record of the log as a write of its row, or why nothing here may read it.
//!
//! The consumer makes dead letters of records that can't be read, and knows the table: what it
//! refuses beyond that is not known here.

use std::sync::Arc;

use write_behind_shared::{Headers, Partition, RecordError, WriteId, json, partition, record};

use crate::core::columns::Columns;
use crate::core::delta::{Delta, Row};
use crate::core::ledger::Key;

/// A record that was read.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) key: Key,
    pub(crate) delta: Delta,
    pub(crate) write_id: Option<WriteId>,
}

/// Why a record is not followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unread {
    /// It will be a dead letter.
    #[error(transparent)]
    Bad(#[from] RecordError),
    /// Its key is no text, or one that no column can hold.
    #[error("the key is not UTF-8 or holds a NUL character")]
    Key,
    /// Its writer has another partitioner, so it has no order with the row's other records.
    #[error("the record's key belongs to partition {0}")]
    Astray(Partition),
}

/// What records of a topic are read as.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    pub(crate) columns: Columns,
    /// The column that holds the rows' versions.
    pub(crate) version: Option<Arc<str>>,
    pub(crate) partitions: i32,
}

impl Decoder {
    /// Reads the record of `partition` with this key, value and headers.
    pub(crate) fn decode<'r>(
        &self,
        partition: Partition,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'r str, Option<&'r [u8]>)>,
    ) -> Result<Decoded, Unread> {
        let key = key.ok_or(RecordError::NoKey)?;
        if key.contains(&0) || std::str::from_utf8(key).is_err() {
            return Err(Unread::Key);
        }
        let belongs_to = partition::partition_of(key, self.partitions);
        if belongs_to != partition {
            return Err(Unread::Astray(belongs_to));
        }
        let Headers { add, write_id, .. } = Headers::read(headers)?;
        let delta = self.delta(value, add)?;
        Ok(Decoded { key: Key::from(key), delta, write_id })
    }

    fn delta(&self, value: Option<&[u8]>, add: Option<&str>) -> Result<Delta, RecordError> {
        let adds = add.is_some_and(|names| !names.is_empty());
        if let Some(row) = value
            && !adds
            && self.version.is_none()
            && self.columns.are_all_in(&json::members(row)?)
        {
            return Ok(Delta::Put(Row::from(row)));
        }
        let change = record::decode(value, add)?;
        let deletes = change.resets() && !change.writes();
        Ok(if deletes { Delta::Delete } else { Delta::changes(change, self.version.as_ref()) })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use uuid::Uuid;

    use super::*;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its fields' names matter")]
    struct Score {
        name: String,
        points: i64,
    }

    fn decode(value: Option<&str>, headers: &[(&str, &[u8])]) -> Result<Decoded, Unread> {
        let decoder = Decoder { columns: Columns::of::<Score>(), version: None, partitions: 1 };
        let headers = headers.iter().map(|(name, value)| (*name, Some(*value)));
        decoder.decode(Partition(0), Some(b"7"), value.map(str::as_bytes), headers)
    }

    fn delta(value: Option<&str>, headers: &[(&str, &[u8])]) -> Delta {
        decode(value, headers).unwrap().delta
    }

    #[test]
    fn a_record_with_every_column_is_a_put_and_one_with_some_a_change() {
        let whole = r#"{"points": 1, "name":"x"}"#;
        assert!(matches!(delta(Some(whole), &[]), Delta::Put(row) if &*row == whole.as_bytes()));
        assert!(matches!(delta(Some(whole), &[("add", b"")]), Delta::Put(_)));
        assert!(matches!(delta(Some(r#"{"points":1}"#), &[]), Delta::Change(_)));
        assert!(matches!(delta(Some(whole), &[("add", b"points")]), Delta::Change(_)));
        assert!(matches!(delta(None, &[]), Delta::Delete));
    }

    #[test]
    fn the_write_id_comes_along() {
        let write_id = WriteId { writer: Uuid::from_u128(1), sequence: 5 };
        let decoded = decode(None, &[("write-id", &write_id.encode()), ("more", b"x")]).unwrap();
        assert_eq!((&*decoded.key, decoded.write_id), (&b"7"[..], Some(write_id)));
    }

    #[test]
    fn what_the_consumer_cannot_read_is_not_read_here_either() {
        let is_bad = |value, headers: &[(&str, &[u8])]| {
            matches!(decode(value, headers), Err(Unread::Bad(_)))
        };
        assert!(is_bad(Some("null"), &[]));
        assert!(is_bad(Some(r#"{"points":1,"points":2,"name":"x"}"#), &[]));
        assert!(is_bad(None, &[("add", b"points")]));
        assert!(is_bad(Some(r#"{"points":"many","name":""}"#), &[("add", b"points")]));
        assert!(is_bad(Some("{}"), &[("write-id", b"short")]));
    }

    #[test]
    fn a_key_that_no_row_has_is_not_read() {
        let decoder = Decoder { columns: Columns::of::<Score>(), version: None, partitions: 1 };
        let decode = |key| {
            decoder.decode(Partition(0), key, None, std::iter::empty()).map(|_| ()).unwrap_err()
        };
        assert_eq!(decode(None), Unread::Bad(RecordError::NoKey));
        assert_eq!(decode(Some(b"a\0")), Unread::Key);
        assert_eq!(decode(Some(b"\xff")), Unread::Key);
    }

    #[test]
    fn a_record_in_another_partition_than_its_keys_is_not_read() {
        let decoder = Decoder { columns: Columns::of::<Score>(), version: None, partitions: 12 };
        let right = partition::partition_of(b"7", 12);
        let wrong = Partition((right.0 + 1) % 12);
        let decode =
            |partition| decoder.decode(partition, Some(b"7"), None, std::iter::empty()).map(|_| ());
        assert_eq!(decode(right), Ok(()));
        assert_eq!(decode(wrong), Err(Unread::Astray(right)));
    }
}
