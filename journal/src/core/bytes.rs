//! Numbers in bytes, checksums, and the names that every part of a journal shares.

use crc32fast::Hasher;

/// The place of an entry among all entries of a journal: 0 for the first, one more for each next.
pub type Position = u64;

/// The version of the format that this code writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

/// What tells one journal from every other. It is part of each checksum, so that bytes of another
/// journal are never taken for this one's.
pub(crate) type JournalId = [u8; 16];

/// What tells one boot of a machine from every other; zeros where that is not known.
pub(crate) type BootId = [u8; 16];

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    Some(u32::from_le_bytes(bytes.get(at..end)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let end = at.checked_add(8)?;
    Some(u64::from_le_bytes(bytes.get(at..end)?.try_into().ok()?))
}

pub(crate) fn id_at(bytes: &[u8], at: usize) -> Option<[u8; 16]> {
    let end = at.checked_add(16)?;
    bytes.get(at..end)?.try_into().ok()
}

pub(crate) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// The checksum (CRC-32, as in zip) of these parts, one after the other.
pub(crate) fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// The next multiple of `align`, which is a power of two.
pub(crate) fn aligned(at: usize, align: usize) -> usize {
    at.saturating_add(align - 1) & !(align - 1)
}
