//! What can still be read of a journal that is refused: every intact entry, and where some are missing.

use std::ops::Range;

use crate::core::batch::Batch;
use crate::core::bytes::{JournalId, Position};
use crate::core::head::Head;
use crate::core::segment::{ALIGN_MIN, Batches, SegmentHeader};

/// What was found of a journal, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Salvaged {
    /// How many entries were found that had not been released, as far as that is known.
    pub entries: u64,
    /// Positions of entries that are missing between others, in order. What is missing at the end,
    /// or at the beginning where the head is lost, nobody can tell.
    pub missing: Vec<Range<Position>>,
    /// What the owner wrote about the journal, if its head can be read.
    pub label: Vec<u8>,
}

/// The machine: it is shown the segments in order.
#[derive(Debug, Default)]
pub(crate) struct Salvage {
    id: Option<JournalId>,
    released: Position,
    /// The position of the next entry, once that is known.
    next: Option<Position>,
    pub(crate) salvaged: Salvaged,
}

impl Salvage {
    /// Of a journal with this head, if it has one.
    pub(crate) fn new(head: Option<Head>) -> Self {
        let Some(head) = head else { return Self::default() };
        Self {
            id: Some(head.id),
            released: head.released,
            next: Some(head.first_position.max(head.released)),
            salvaged: Salvaged { label: head.label, ..Salvaged::default() },
        }
    }

    /// Visits the intact entries of the next segment.
    pub(crate) fn segment(
        &mut self,
        number: u64,
        bytes: &[u8],
        visit: &mut impl FnMut(Position, &[u8]),
    ) {
        let header = SegmentHeader::read(bytes).ok();
        let Some(id) = self.id.or(header.map(|header| header.id)) else { return };
        self.id = Some(id);
        // Without a header every place is looked at where a batch may begin.
        let align = header.map_or(ALIGN_MIN, |header| header.align as usize);
        let mut batches = Batches { bytes, id: &id, number, align, at: 0 };
        while let Some(batch) = batches.search() {
            self.batch(&batch, visit);
            batches.pass(&batch);
        }
    }

    fn batch(&mut self, batch: &Batch<'_>, visit: &mut impl FnMut(Position, &[u8])) {
        self.released = self.released.max(batch.released);
        let next = self.next.unwrap_or(batch.first).max(self.released);
        if batch.first > next {
            self.salvaged.missing.push(next..batch.first);
        }
        // What was seen before, in a copy of a file that stands elsewhere, is not seen again.
        for (position, entry) in batch.entries().filter(|(position, _)| *position >= next) {
            self.salvaged.entries += 1;
            visit(position, entry);
        }
        self.next = Some(next.max(batch.end()));
    }
}
