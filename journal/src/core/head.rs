//! The head of a journal: where it begins, in two slots of which one is always whole.

use crate::core::bytes::{JournalId, Position, VERSION, checksum, id_at, put, u32_at, u64_at};

/// A slot's size. A write of one never touches a sector of the other.
pub(crate) const SLOT: usize = 4096;
/// The size of the file.
pub(crate) const HEAD_BYTES: usize = 2 * SLOT;
/// The longest label.
pub(crate) const LABEL_MAX: usize = 2048;

const MAGIC: &[u8; 8] = b"wb-jhead";
const FIELDS: usize = 84;

/// What a slot says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Grows by one with each write: of two whole slots the higher one counts.
    pub(crate) generation: u64,
    pub(crate) id: JournalId,
    /// Segments below are gone, or about to be removed.
    pub(crate) first_segment: u64,
    /// The position of the first entry of that segment.
    pub(crate) first_position: Position,
    /// Entries below are released: nobody needs them any more.
    pub(crate) released: Position,
    /// Entries below were on the disk for certain when this was written.
    pub(crate) synced: Position,
    /// What the owner wrote about the journal.
    pub(crate) label: Vec<u8>,
}

/// Why no head can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoHead {
    /// No slot is whole.
    Damaged,
    /// A newer program wrote it.
    Version(u32),
}

impl Head {
    /// Where the slot of this head stands in the file.
    pub(crate) fn offset(&self) -> u64 {
        (self.generation % 2) * SLOT as u64
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; SLOT];
        put(&mut bytes, 0, MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 16, &self.generation.to_le_bytes());
        put(&mut bytes, 24, &self.id);
        put(&mut bytes, 40, &self.first_segment.to_le_bytes());
        put(&mut bytes, 48, &self.first_position.to_le_bytes());
        put(&mut bytes, 56, &self.released.to_le_bytes());
        put(&mut bytes, 64, &self.synced.to_le_bytes());
        put(&mut bytes, 72, &(self.label.len() as u32).to_le_bytes());
        put(&mut bytes, FIELDS, &self.label);
        let sum = checksum(&[&bytes[..12], &bytes[16..]]);
        put(&mut bytes, 12, &sum.to_le_bytes());
        bytes
    }

    /// The newest whole slot of the file.
    pub(crate) fn read(file: &[u8]) -> Result<Self, NoHead> {
        let slots = [file.get(..SLOT), file.get(SLOT..HEAD_BYTES)];
        let mut newest: Option<Self> = None;
        for slot in slots.into_iter().flatten() {
            match Self::read_slot(slot) {
                Ok(head) if newest.as_ref().is_none_or(|n| n.generation < head.generation) => {
                    newest = Some(head);
                }
                Ok(_) | Err(NoHead::Damaged) => {}
                Err(newer) => return Err(newer),
            }
        }
        newest.ok_or(NoHead::Damaged)
    }

    fn read_slot(slot: &[u8]) -> Result<Self, NoHead> {
        Self::fields(slot).ok_or(NoHead::Damaged).and_then(|(version, head)| {
            if version == VERSION { Ok(head) } else { Err(NoHead::Version(version)) }
        })
    }

    fn fields(slot: &[u8]) -> Option<(u32, Self)> {
        let sum = checksum(&[slot.get(..12)?, slot.get(16..SLOT)?]);
        if !slot.starts_with(MAGIC) || u32_at(slot, 12)? != sum {
            return None;
        }
        let label = u32_at(slot, 72)? as usize;
        let head = Self {
            generation: u64_at(slot, 16)?,
            id: id_at(slot, 24)?,
            first_segment: u64_at(slot, 40)?,
            first_position: u64_at(slot, 48)?,
            released: u64_at(slot, 56)?,
            synced: u64_at(slot, 64)?,
            label: slot.get(FIELDS..FIELDS.checked_add(label)?)?.to_vec(),
        };
        Some((u32_at(slot, 8)?, head))
    }
}
