//! A record: as the client lends it, as a copy of its bytes, and as a dead letter.

use write_behind_shared::{Offset, Partition, RecordError, WriteId, record};

/// A record as read, borrowed from the client.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
    /// The timestamp in milliseconds since 1970, if the log has one.
    pub timestamp: Option<i64>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
}

/// A record as it stands in the log: kept as a dead letter, or read again to be applied alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// The partition.
    pub partition: Partition,
    /// The offset.
    pub offset: Offset,
    /// The key, if there is one.
    pub key: Option<Box<[u8]>>,
    /// The value; `None` is a tombstone.
    pub value: Option<Box<[u8]>>,
    /// The headers, in order.
    pub headers: Vec<(String, Option<Box<[u8]>>)>,
}

/// A record that can't be applied, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The record.
    pub record: RawRecord,
    /// The reason, in one sentence.
    pub reason: String,
    /// The database's error code, if the database refused the record.
    pub sqlstate: Option<String>,
}

impl From<&Incoming<'_>> for RawRecord {
    fn from(record: &Incoming<'_>) -> Self {
        let header = |(name, value): &(&str, Option<&[u8]>)| {
            ((*name).to_owned(), value.map(Box::<[u8]>::from))
        };
        Self {
            partition: record.partition,
            offset: record.offset,
            key: record.key.map(Into::into),
            value: record.value.map(Into::into),
            headers: record.headers.iter().map(header).collect(),
        }
    }
}

/// Makes a dead letter of a record.
pub(crate) fn dead_letter(record: &Incoming<'_>, why: &RecordError) -> DeadLetter {
    DeadLetter { record: RawRecord::from(record), reason: why.to_string(), sqlstate: None }
}

/// The write id of a record, even if its other headers are bad.
pub(crate) fn write_id(record: &Incoming<'_>) -> Option<WriteId> {
    let named = record.headers.iter().find(|(name, _)| *name == record::WRITE_ID);
    named.and_then(|(_, value)| WriteId::decode((*value)?))
}
