//! A segment: a file of batches, and what can be read of it.

use crate::core::batch::Batch;
use crate::core::bytes::{
    BootId, JournalId, Position, VERSION, aligned, checksum, id_at, put, u32_at, u64_at,
};

/// The bytes of a segment's header.
pub(crate) const SEGMENT_HEADER: usize = 64;
/// Batches of any segment begin at a multiple of this, or of a larger power of two.
pub(crate) const ALIGN_MIN: usize = 8;
/// The largest alignment.
pub(crate) const ALIGN_MAX: usize = 1 << 16;

const MAGIC: &[u8; 8] = b"wb-jsegm";

/// What stands at the beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) id: JournalId,
    pub(crate) number: u64,
    /// Batches begin at multiples of this.
    pub(crate) align: u32,
    /// The file's length: one that is shorter has lost its end.
    pub(crate) length: u32,
    /// In which boot it was made.
    pub(crate) boot: BootId,
}

/// Why a header can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHeader {
    Damaged,
    Version(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; SEGMENT_HEADER];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 16, &self.id);
        put(&mut bytes, 32, &self.number.to_le_bytes());
        put(&mut bytes, 40, &self.align.to_le_bytes());
        put(&mut bytes, 44, &self.length.to_le_bytes());
        put(&mut bytes, 48, &self.boot);
        let sum = checksum(&[&bytes[..12], &bytes[16..]]);
        put(&mut bytes, 12, &sum.to_le_bytes());
        bytes
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, NoHeader> {
        let (version, header) = Self::fields(bytes).ok_or(NoHeader::Damaged)?;
        if version != VERSION {
            return Err(NoHeader::Version(version));
        }
        let align = header.align as usize;
        let is_known = align.is_power_of_two() && (ALIGN_MIN..=ALIGN_MAX).contains(&align);
        if is_known { Ok(header) } else { Err(NoHeader::Damaged) }
    }

    fn fields(bytes: &[u8]) -> Option<(u32, Self)> {
        let bytes = bytes.get(..SEGMENT_HEADER)?;
        let sum = checksum(&[&bytes[..12], &bytes[16..]]);
        if !bytes.starts_with(MAGIC) || u32_at(bytes, 12)? != sum {
            return None;
        }
        let header = Self {
            id: id_at(bytes, 16)?,
            number: u64_at(bytes, 32)?,
            align: u32_at(bytes, 40)?,
            length: u32_at(bytes, 44)?,
            boot: id_at(bytes, 48)?,
        };
        Some((u32_at(bytes, 8)?, header))
    }
}

/// Where a segment's first batch begins.
pub(crate) fn data_start(align: usize) -> usize {
    aligned(SEGMENT_HEADER, align)
}

/// The batches of a segment that follow each other without a gap, from a place on.
#[derive(Clone, Debug)]
pub(crate) struct Batches<'s> {
    pub(crate) bytes: &'s [u8],
    pub(crate) id: &'s JournalId,
    pub(crate) number: u64,
    pub(crate) align: usize,
    /// Where the next one would begin.
    pub(crate) at: usize,
}

impl<'s> Batches<'s> {
    /// The intact batch at this place, without going on to the next.
    pub(crate) fn peek(&self) -> Option<Batch<'s>> {
        Batch::read(self.bytes.get(self.at..)?, self.id, self.number)
    }

    /// Goes on behind a batch that stands here.
    pub(crate) fn pass(&mut self, batch: &Batch<'_>) {
        self.at = self.at.saturating_add(batch.next(self.align));
    }

    /// The first intact batch at or after this place.
    pub(crate) fn search(&mut self) -> Option<Batch<'s>> {
        while self.at < self.bytes.len() {
            if let Some(batch) = self.peek() {
                return Some(batch);
            }
            self.at = self.at.saturating_add(self.align);
        }
        None
    }

    /// How many bytes from here on are not zeros, up to the last one that is not.
    pub(crate) fn written_after(&self) -> usize {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
    }
}

/// The entries of a segment that begin at `first`, up to a position: what recovery has found whole.
pub(crate) fn entries<'s>(
    bytes: &'s [u8],
    id: &'s JournalId,
    number: u64,
    below: Position,
) -> impl Iterator<Item = (Position, &'s [u8])> {
    let align = SegmentHeader::read(bytes).map_or(ALIGN_MIN, |header| header.align as usize);
    let mut batches = Batches { bytes, id, number, align, at: data_start(align) };
    let whole = std::iter::from_fn(move || {
        let batch = batches.peek().filter(|batch| batch.end() <= below)?;
        batches.pass(&batch);
        Some(batch)
    });
    whole.flat_map(|batch| batch.entries())
}
