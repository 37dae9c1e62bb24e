//! The entry of a write in the journal: everything that its record will have, and its `write-id`.
//!
//! `docs/journal.md` shows the bytes. The first one is a version: an entry of another is refused,
//! never guessed at.

use write_behind_shared::{Partition, WriteId};

use crate::core::delta::Delta;
use crate::core::priority::Priority;
use crate::core::record_headers::RecordHeaders;

/// The version of the bytes.
pub(crate) const VERSION: u8 = 1;
/// What kind of write it is: the two lowest bits of the flags.
pub(crate) const PUT: u8 = 0;
pub(crate) const DELETE: u8 = 1;
pub(crate) const CHANGE: u8 = 2;
/// It was joined with an earlier write of its row, whose id it has.
pub(crate) const JOINED: u8 = 1 << 2;
pub(crate) const HIGH: u8 = 1 << 3;
pub(crate) const HAS_VALUE: u8 = 1 << 4;
pub(crate) const HAS_ADD: u8 = 1 << 5;

/// A write as it is recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JournalEntry<'e> {
    pub(crate) partition: Partition,
    pub(crate) id: WriteId,
    pub(crate) is_joined: bool,
    pub(crate) priority: Priority,
    pub(crate) key: &'e [u8],
    pub(crate) delta: &'e Delta,
    /// The record's value and its `add` header.
    pub(crate) value: Option<&'e [u8]>,
    pub(crate) add: Option<&'e str>,
    pub(crate) headers: Option<&'e RecordHeaders>,
}

impl JournalEntry<'_> {
    /// Writes it behind what is in `bytes`.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        let kind = match self.delta {
            Delta::Put(_) => PUT,
            Delta::Delete => DELETE,
            Delta::Change(_) | Delta::Versioned(_) => CHANGE,
        };
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = kind
            | flag(self.is_joined, JOINED)
            | flag(self.priority == Priority::High, HIGH)
            | flag(self.value.is_some(), HAS_VALUE)
            | flag(self.add.is_some(), HAS_ADD);
        bytes.extend([VERSION, flags]);
        bytes.extend(self.partition.0.to_le_bytes());
        bytes.extend(self.id.encode());
        with_length(bytes, self.key);
        if let Some(value) = self.value {
            with_length(bytes, value);
        }
        if let Some(add) = self.add {
            with_length(bytes, add.as_bytes());
        }
        for (name, value) in self.headers.iter().flat_map(|headers| headers.iter()) {
            with_length(bytes, name.as_bytes());
            with_length(bytes, value);
        }
    }
}

/// The length of a part, and the part. A record is far smaller than 4 GiB.
fn with_length(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend((part.len() as u32).to_le_bytes());
    bytes.extend(part);
}
