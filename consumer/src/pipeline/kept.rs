//! A record that is kept as it stood in the log: takes one that is still the client's, gives one that is
//! ours, or a dead letter.

use write_behind_shared::{RecordError, WriteId, record};

use crate::batch::{DeadLetter, RawRecord};
use crate::pipeline::buffer::Incoming;

/// A record as a dead letter.
pub(super) fn dead_letter(record: &Incoming<'_>, why: &RecordError) -> DeadLetter {
    DeadLetter { record: RawRecord::from(record), reason: why.to_string(), sqlstate: None }
}

/// The identity of a record, though its other headers may be bad.
pub(super) fn write_id(record: &Incoming<'_>) -> Option<WriteId> {
    let named = record.headers.iter().find(|(name, _)| *name == record::WRITE_ID);
    named.and_then(|(_, value)| WriteId::decode((*value)?))
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
