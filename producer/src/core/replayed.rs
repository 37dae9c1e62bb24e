//! A write of an earlier life, as its entry in the journal says it.

use std::sync::Arc;

use write_behind_shared::record::{self, RecordError};
use write_behind_shared::{Partition, WriteId, partition};

use crate::core::delta::{Delta, Row};
use crate::core::journal_entry::{CHANGE, DELETE, HAS_ADD, HAS_VALUE, HIGH, JOINED, PUT, VERSION};
use crate::core::ledger::Key;
use crate::core::priority::Priority;
use crate::core::record_headers::RecordHeaders;

/// A write of an earlier life.
#[derive(Debug)]
pub(crate) struct Replayed {
    pub(crate) partition: Partition,
    pub(crate) id: WriteId,
    /// It goes with an earlier write of its row, which has this id too.
    pub(crate) is_joined: bool,
    pub(crate) priority: Priority,
    pub(crate) key: Key,
    pub(crate) delta: Delta,
    pub(crate) headers: Option<Arc<RecordHeaders>>,
}

/// Why an entry can't be replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// A newer program wrote it.
    #[error("an entry has format {0}, which a newer program wrote: start that one")]
    Version(u8),
    /// It is not what this crate writes.
    #[error("an entry is not one of a write: another program's journal?")]
    Format,
    /// Its record can't be read.
    #[error("an entry has a record that can't be read: {0}")]
    Record(#[from] RecordError),
    /// Its key belongs to another partition, or there is no such partition.
    #[error("an entry of partition {partition} has a key of partition {belongs_to}")]
    Astray {
        /// The one that it names.
        partition: i32,
        /// The one of its key.
        belongs_to: i32,
    },
}

impl Replayed {
    /// Reads an entry of a topic with this many partitions; `version`: the column that holds the rows'
    /// versions.
    pub(crate) fn read(
        entry: &[u8],
        partitions: i32,
        version: Option<&Arc<str>>,
    ) -> Result<Self, Unreadable> {
        let mut parts = Parts(entry);
        let [written_as, flags] = parts.array()?;
        if written_as != VERSION {
            return Err(Unreadable::Version(written_as));
        }
        let of = Partition(i32::from_le_bytes(parts.array()?));
        let id = WriteId::decode(&parts.array::<24>()?).ok_or(Unreadable::Format)?;
        let key = parts.with_length()?;
        let belongs_to = partition::partition_of(key, partitions);
        if of != belongs_to {
            let (partition, belongs_to) = (of.0, belongs_to.0);
            return Err(Unreadable::Astray { partition, belongs_to });
        }
        let value = (flags & HAS_VALUE != 0).then(|| parts.with_length()).transpose()?;
        let add = (flags & HAS_ADD != 0).then(|| parts.text()).transpose()?;
        let delta = match (flags & (PUT | DELETE | CHANGE), value) {
            (PUT, Some(row)) => Delta::Put(Row::from(row)),
            (DELETE, None) => Delta::Delete,
            (CHANGE, Some(_)) => Delta::changes(record::decode(value, add)?, version),
            _ => return Err(Unreadable::Format),
        };
        let mut headers = RecordHeaders::default();
        while !parts.0.is_empty() {
            let name = parts.text()?;
            headers.add(name, parts.with_length()?);
        }
        Ok(Self {
            partition: of,
            id,
            is_joined: flags & JOINED != 0,
            priority: if flags & HIGH == 0 { Priority::Normal } else { Priority::High },
            key: Key::from(key),
            delta,
            headers: (!headers.is_empty()).then(|| Arc::new(headers)),
        })
    }
}

/// What is left of an entry.
struct Parts<'e>(&'e [u8]);

impl<'e> Parts<'e> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Unreadable::Format)?;
        self.0 = rest;
        Ok(*array)
    }

    fn with_length(&mut self) -> Result<&'e [u8], Unreadable> {
        let length = u32::from_le_bytes(self.array()?) as usize;
        let (part, rest) = self.0.split_at_checked(length).ok_or(Unreadable::Format)?;
        self.0 = rest;
        Ok(part)
    }

    fn text(&mut self) -> Result<&'e str, Unreadable> {
        std::str::from_utf8(self.with_length()?).map_err(|_| Unreadable::Format)
    }
}

#[cfg(test)]
#[path = "tests/replayed.rs"]
mod tests;
