//! The record on the wire: any Kafka client can write one, so this is a contract.
//!
//! ```text
//! key      the row, canonical text                              see [`crate::key`]
//! value    a JSON object of columns; none (a tombstone): delete the row
//! headers  add       = names of columns in the value that are increments, comma-separated
//!          write-id  = 16 bytes writer, 8 bytes sequence (big-endian)
//!          priority  = high: its partition is written ahead of others until this record is
//! ```
//!
//! Other headers are ignored. Its tests hold golden bytes: if one of them fails, records in
//! somebody's topic can no longer be read.

use std::borrow::Cow;
use std::io::Write as _;

use serde_json::value::RawValue;
use uuid::Uuid;

use crate::change::{Cell, Change, push_name};
use crate::json::{self, JsonError};
use crate::number::Number;
use crate::offset::Partition;

/// The header that names the increments.
pub const ADD: &str = "add";
/// The header that identifies a write.
pub const WRITE_ID: &str = "write-id";

/// The header that asks for a record to be written ahead of other partitions' records.
pub const PRIORITY: &str = "priority";
/// The only value of [`PRIORITY`] that means something.
pub const HIGH: &str = "high";

/// How many digits a delta may have before the point, and how many after it: as many as a column of
/// Postgres may declare. Without a limit, the sum of `1e131000` and 1 would take 131,001 bytes.
pub const DELTA_DIGITS_MAX: i64 = 1_000;
/// In the place of a header's name that is not UTF-8. A header may not have this name itself.
pub const UNREADABLE: &str = "\u{fffd}";

/// How many headers a record may have, counting those that are ignored.
pub const HEADERS_MAX: usize = 256;
/// How many bytes the names and values of its headers may have in all.
pub const HEADER_BYTES_MAX: usize = 64 << 10;

/// Identifies the write that a record carries: the consumer drops a producer's duplicates by it and
/// notices gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId {
    /// The handle that wrote it; each life of a producer has its own.
    pub writer: Uuid,
    /// From 0, without gaps, for each writer and partition.
    pub sequence: u64,
}

/// The headers that are not ignored, borrowed from the record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    /// The names in `add`, still separated by commas.
    pub add: Option<&'a str>,
    /// The write's identity.
    pub write_id: Option<WriteId>,
    /// Whether `priority` is `high`.
    pub is_high: bool,
}

/// A change as a record's value and `add` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The value; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The `add` header, if the change has increments.
    pub add: Option<String>,
}

/// The change both resets and writes its row, or both sets a column and adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a change that does two things to one row or column does not fit one record")]
pub struct NotOneRecord;

/// Why a record is bad: it can never be applied, whatever the database holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// There is no key, so there is no row.
    #[error("the record has no key")]
    NoKey,
    /// The key belongs to another partition, and the route sets such records aside.
    #[error(
        "the key belongs to partition {0}: its producer needs the partitioner murmur2_random, as \
         docs/wire.md says"
    )]
    WrongPartition(Partition),
    /// The value is not an object of columns.
    #[error(transparent)]
    Value(#[from] JsonError),
    /// More headers than [`HEADERS_MAX`], or more bytes in them than [`HEADER_BYTES_MAX`].
    #[error("the record has more than {HEADERS_MAX} headers, or {HEADER_BYTES_MAX} bytes in them")]
    TooManyHeaders,
    /// A header's name is not UTF-8.
    #[error("the name of a header is not UTF-8")]
    HeaderName,
    /// There are two `add` headers, or one without a value, or one that is not UTF-8.
    #[error("the header `add` must stand once and be text")]
    AddHeader,
    /// There are two `write-id` headers, or one that does not have 24 bytes.
    #[error("the header `write-id` must stand once and have 24 bytes")]
    WriteIdHeader,
    /// `add` names a column that the value does not have.
    #[error("the header `add` names {0:?}, which is not in the value")]
    AddNotInValue(String),
    /// `add` names a column twice.
    #[error("the header `add` names {0:?} twice")]
    AddTwice(String),
    /// A delta is not a number, or one of too many digits.
    #[error(
        "column {0:?} is an increment, but {1} is not a number of at most {DELTA_DIGITS_MAX} digits"
    )]
    AddNotNumeric(String, String),
    /// Increments without a value.
    #[error("a tombstone has no columns to add to")]
    AddToTombstone,
}

impl<'a> Headers<'a> {
    /// Picks the headers that are not ignored out of all headers of a record.
    ///
    /// # Errors
    /// [`RecordError`]: the record is bad.
    pub fn read(
        headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    ) -> Result<Self, RecordError> {
        let mut found = Headers::default();
        let (mut count, mut bytes) = (0, 0);
        for (name, value) in headers {
            count += 1;
            bytes += name.len() + value.map_or(0, <[u8]>::len);
            if count > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
                return Err(RecordError::TooManyHeaders);
            }
            match name {
                ADD => {
                    let names = value.and_then(|bytes| std::str::from_utf8(bytes).ok());
                    let names = names.ok_or(RecordError::AddHeader)?;
                    if found.add.replace(names).is_some() {
                        return Err(RecordError::AddHeader);
                    }
                }
                WRITE_ID => {
                    let write_id = value.and_then(WriteId::decode);
                    let write_id = write_id.ok_or(RecordError::WriteIdHeader)?;
                    if found.write_id.replace(write_id).is_some() {
                        return Err(RecordError::WriteIdHeader);
                    }
                }
                // Any other value is a header of somebody's own.
                PRIORITY => found.is_high |= value == Some(HIGH.as_bytes()),
                UNREADABLE => return Err(RecordError::HeaderName),
                _ => {}
            }
        }
        Ok(found)
    }
}

impl WriteId {
    /// As the 24 bytes of the header.
    #[must_use]
    pub fn encode(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(self.writer.as_bytes());
        bytes[16..].copy_from_slice(&self.sequence.to_be_bytes());
        bytes
    }

    /// From the 24 bytes of the header; `None` for any other number of bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (writer, sequence) = bytes.split_first_chunk::<16>()?;
        let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
        Some(Self { writer: Uuid::from_bytes(*writer), sequence })
    }
}

/// Decodes a record's value and its `add` header into a change.
///
/// Column types are not known here: a delta must be a number, but it may not fit its column.
///
/// # Errors
/// [`RecordError`]: the record is bad and stays bad.
pub fn decode(value: Option<&[u8]>, add: Option<&str>) -> Result<Change, RecordError> {
    let mut change = Change::default();
    fold(&mut change, value, add)?;
    Ok(change)
}

/// Folds a record into `change`, without a change of its own in between.
///
/// # Errors
/// [`RecordError`]: the record is bad, and `change` is as it was.
pub fn fold(
    change: &mut Change,
    value: Option<&[u8]>,
    add: Option<&str>,
) -> Result<(), RecordError> {
    let add = add.filter(|names| !names.is_empty());
    let Some(value) = value else {
        if add.is_some() {
            return Err(RecordError::AddToTombstone);
        }
        *change = Change::delete();
        return Ok(());
    };
    let members = json::members(value)?;
    let mut deltas: Vec<&str> = add.map_or(Vec::new(), |names| names.split(',').collect());
    deltas.sort_unstable();
    if let Some(twice) = deltas.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(RecordError::AddTwice(twice[0].to_owned()));
    }
    if let Some(missing) = deltas.iter().find(|name| !members.iter().any(|(n, _)| n == *name)) {
        return Err(RecordError::AddNotInValue((*missing).to_owned()));
    }
    let cell = |(name, value): &(Cow<'_, str>, &RawValue)| {
        let is_delta = deltas.binary_search(&&**name).is_ok();
        if is_delta { delta(name, value) } else { Ok(Cell::Set((*value).to_owned())) }
    };
    // All cells are read before the first is written: a bad record changes nothing.
    let cells = members.iter().map(cell).collect::<Result<Vec<Cell>, RecordError>>()?;
    change.fold(Change::new());
    for ((name, _), cell) in members.iter().zip(cells) {
        change.write(name, cell);
    }
    Ok(())
}

/// A delta: a JSON number, or a string that is one (many clients send exact decimals so).
fn delta(name: &str, value: &RawValue) -> Result<Cell, RecordError> {
    let text = value.get();
    let has_too_many_digits = |delta: &Number| match delta {
        Number::Integer(_) => false,
        Number::Decimal(_) => {
            delta.whole_digits() > DELTA_DIGITS_MAX || delta.scale() > DELTA_DIGITS_MAX
        }
    };
    match json::unquoted(text).parse::<Number>() {
        Ok(delta) if !has_too_many_digits(&delta) => Ok(Cell::add(delta)),
        _ => Err(RecordError::AddNotNumeric(name.to_owned(), json::excerpt(text))),
    }
}

impl Change {
    /// Encodes this change as a record's value and `add` header.
    ///
    /// # Errors
    /// [`NotOneRecord`]: it both resets and writes the row, or both sets a column and adds to it.
    pub fn encode(&self) -> Result<Encoded, NotOneRecord> {
        if self.resets() {
            return if self.writes() {
                Err(NotOneRecord)
            } else {
                Ok(Encoded { value: None, add: None })
            };
        }
        let mut value = Vec::with_capacity(64);
        let mut add = String::new();
        value.push(b'{');
        for (place, (name, cell)) in self.cells().enumerate() {
            if place > 0 {
                value.push(b',');
            }
            push_name(&mut value, name);
            match cell {
                Cell::Set(set) => value.extend_from_slice(set.get().as_bytes()),
                Cell::Add(delta) => {
                    // Writing to memory cannot fail.
                    let _ = write!(value, "{delta}");
                    if !add.is_empty() {
                        add.push(',');
                    }
                    add.push_str(name);
                }
                Cell::SetThenAdd(..) => return Err(NotOneRecord),
            }
        }
        value.push(b'}');
        Ok(Encoded { value: Some(value), add: (!add.is_empty()).then_some(add) })
    }
}

#[cfg(test)]
#[path = "tests/record.rs"]
mod tests;
