//! A batch: the entries that one write puts on the disk, under one checksum.
//!
//! A batch is whole or it is nothing. What it says of `synced` is how recovery tells a torn tail
//! from damage: a batch that was written after others were synced proves that those were there.

use crate::core::bytes::{JournalId, Position, aligned, checksum, put, u32_at, u64_at};

/// The bytes in front of a batch's entries.
pub(crate) const HEADER: usize = 48;
/// The bytes in front of an entry.
pub(crate) const ENTRY_HEADER: usize = 4;

const MAGIC: &[u8; 4] = b"wbjb";

/// An intact batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'b> {
    pub(crate) first: Position,
    pub(crate) count: u32,
    /// Entries below were on the disk for certain before this batch was written.
    pub(crate) synced: Position,
    /// Entries below were released before it was written.
    pub(crate) released: Position,
    body: &'b [u8],
}

impl<'b> Batch<'b> {
    /// The batch that begins these bytes, if it is intact.
    pub(crate) fn read(bytes: &'b [u8], id: &JournalId, segment: u64) -> Option<Self> {
        let header = bytes.get(..HEADER).filter(|header| header.starts_with(MAGIC))?;
        // The header has a checksum of its own, so that a length is known before it is trusted.
        let sum = checksum(&[id, &segment.to_le_bytes(), &header[8..]]);
        if u32_at(header, 4)? != sum {
            return None;
        }
        let end = HEADER.checked_add(u32_at(header, 12)? as usize)?;
        let body = bytes.get(HEADER..end)?;
        if u32_at(header, 8)? != checksum(&[body]) {
            return None;
        }
        let (count, first) = (u32_at(header, 16)?, u64_at(header, 24)?);
        let (synced, released) = (u64_at(header, 32)?, u64_at(header, 40)?);
        let batch = Self { first, count, synced, released, body };
        let is_whole = count > 0 && released <= first && batch.end_checked()?.1 == body.len();
        is_whole.then_some(batch)
    }

    /// The position behind its last entry.
    pub(crate) fn end(&self) -> Position {
        self.first + u64::from(self.count)
    }

    /// Where the next batch begins, from the beginning of this one.
    pub(crate) fn next(&self, align: usize) -> usize {
        aligned(HEADER + self.body.len(), align)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (Position, &'b [u8])> + use<'b> {
        let mut rest = self.body;
        (self.first..self.end()).map_while(move |position| {
            let length = u32_at(rest, 0)? as usize;
            let entry = rest.get(ENTRY_HEADER..ENTRY_HEADER.checked_add(length)?)?;
            rest = &rest[ENTRY_HEADER + length..];
            Some((position, entry))
        })
    }

    /// The end, if it is a number, and how many bytes the entries take.
    fn end_checked(&self) -> Option<(Position, usize)> {
        let end = self.first.checked_add(u64::from(self.count))?;
        let mut used = 0_usize;
        for _ in 0..self.count {
            let length = u32_at(self.body, used)? as usize;
            used = used.checked_add(ENTRY_HEADER)?.checked_add(length)?;
        }
        Some((end, used))
    }
}

/// What a batch notes of the entries before it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known {
    /// Entries below are on the disk for certain.
    pub(crate) synced: Position,
    /// Entries below are released.
    pub(crate) released: Position,
}

/// A batch that is being filled, or waits to be written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filling {
    pub(crate) segment: u64,
    /// Where it stands in its segment.
    pub(crate) offset: u64,
    pub(crate) first: Position,
    pub(crate) count: u32,
    /// The header's place, and the entries.
    pub(crate) bytes: Vec<u8>,
}

impl Filling {
    /// An empty batch, in memory that was used before.
    pub(crate) fn new(segment: u64, offset: u64, first: Position, mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        bytes.resize(HEADER, 0);
        Self { segment, offset, first, count: 0, bytes }
    }

    pub(crate) fn push(&mut self, entry: &[u8]) {
        self.bytes.extend_from_slice(&(entry.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(entry);
        self.count += 1;
    }

    /// The position behind its last entry.
    pub(crate) fn end(&self) -> Position {
        self.first + u64::from(self.count)
    }

    /// Writes the header, and fills up to the next batch's place, so that no two batches share a
    /// sector: one that is torn can't take its neighbour with it.
    pub(crate) fn seal(&mut self, id: &JournalId, known: Known, align: usize) {
        let body = self.bytes.len() - HEADER;
        let sum = checksum(&[&self.bytes[HEADER..]]);
        put(&mut self.bytes, 0, MAGIC);
        put(&mut self.bytes, 8, &sum.to_le_bytes());
        put(&mut self.bytes, 12, &(body as u32).to_le_bytes());
        put(&mut self.bytes, 16, &self.count.to_le_bytes());
        put(&mut self.bytes, 20, &[0; 4]);
        put(&mut self.bytes, 24, &self.first.to_le_bytes());
        put(&mut self.bytes, 32, &known.synced.to_le_bytes());
        put(&mut self.bytes, 40, &known.released.to_le_bytes());
        let sum = checksum(&[id, &self.segment.to_le_bytes(), &self.bytes[8..HEADER]]);
        put(&mut self.bytes, 4, &sum.to_le_bytes());
        self.bytes.resize(aligned(self.bytes.len(), align), 0);
    }
}
