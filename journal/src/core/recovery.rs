//! What a journal's files hold after any end: what is kept, what is cut, and what is refused.
//!
//! A machine over bytes: it is shown the head and then every segment in order, and says at the end
//! what is to do. What nobody was promised is cut: a batch that was being written, and all that
//! follows it. What was promised is never cut: where a later batch, or the head, proves that the
//! missing entries were on the disk, this is damage, and it is refused.

use thiserror::Error;

use crate::core::batch::Batch;
use crate::core::bytes::{BootId, Position, VERSION};
use crate::core::head::Head;
use crate::core::segment::{ALIGN_MIN, Batches, NoHeader, SegmentHeader, data_start};

/// Why a journal is not opened. Nothing in it was changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// Bytes that were on the disk are not what was written.
    #[error(
        "segment {segment} is damaged at byte {offset}: entries from position {position} on were on the disk and can't be read. \
         Restore the directory from a copy; or salvage what is intact, move it away and begin with an empty one"
    )]
    Damaged {
        /// The segment's number, as in its file's name.
        segment: u64,
        /// The byte at which the damage begins.
        offset: u64,
        /// The first entry that is lost.
        position: Position,
    },
    /// A segment's file is not there.
    #[error(
        "segment {segment} is missing: its entries were not released. Put the file back; or salvage what is \
         intact, move the directory away and begin with an empty one"
    )]
    Missing {
        /// The segment's number, as in its file's name.
        segment: u64,
    },
    /// A segment's file belongs to another journal, or to another place in this one.
    #[error(
        "segment {segment} belongs to another journal, or has another number: put this journal's own file back"
    )]
    Foreign {
        /// The segment's number, as in its file's name.
        segment: u64,
    },
    /// No copy of the head is whole, and there are segments.
    #[error(
        "the file `head` is damaged in both its copies. Restore the directory from a copy; or salvage what is intact, move \
         it away and begin with an empty one"
    )]
    Head,
    /// A newer program wrote this journal.
    #[error(
        "the journal has format {found}, and this program reads up to {known}: start the newer program, or let it release all entries first"
    )]
    Version {
        /// The format's version in the file.
        found: u32,
        /// The newest version that this program reads.
        known: u32,
    },
}

/// What was cut from the end of a journal, because it had not been recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that were written and are not kept.
    pub bytes: u64,
    /// Entries among them that were intact, but behind others that were not.
    pub entries: u64,
}

/// A segment that has a place in the order, and what is whole in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) number: u64,
    /// The position behind its last entry.
    pub(crate) end: Position,
    /// How many bytes of it hold something.
    pub(crate) used: u64,
    /// The file's length.
    pub(crate) length: u64,
}

/// What to do with the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Segments with entries, oldest first.
    pub(crate) kept: Vec<Kept>,
    /// Segments without, the last one first: removed in this order, so that no gap is ever left.
    pub(crate) removed: Vec<u64>,
    /// Entries below are proved to be on the disk.
    pub(crate) synced: Position,
    /// Entries below are released.
    pub(crate) released: Position,
    /// The position of the next entry.
    pub(crate) next: Position,
    /// All entries are released: the journal begins again behind every segment.
    pub(crate) restarts: bool,
    /// The number of the next segment.
    pub(crate) next_segment: u64,
    pub(crate) cut: Cut,
}

/// A place at which the batches don't go on.
#[derive(Clone, Copy, Debug)]
struct Stop {
    segment: u64,
    offset: u64,
}

/// The machine: it is shown the segments in order.
#[derive(Debug)]
pub(crate) struct Recovery<'h> {
    head: &'h Head,
    /// In which boot this happens.
    boot: BootId,
    segments: Vec<Kept>,
    /// The position of the next entry.
    expected: Position,
    /// What is proved to have been on the disk.
    synced: Position,
    released: Position,
    /// A segment that was not made whole: the last one, or it is damage.
    unfinished: Option<Stop>,
    /// Where the batches stopped, if something that was written stands behind.
    torn: Option<Stop>,
    /// Where entries are missing before intact ones.
    hole: Option<Stop>,
    /// Whether one of those was written since the machine was booted: then no crash of it can be
    /// why the others are missing.
    hole_is_damage: bool,
    /// Where the intact entries behind a hole end.
    later_end: Position,
    cut: Cut,
}

impl<'h> Recovery<'h> {
    pub(crate) fn new(head: &'h Head, boot: BootId) -> Self {
        Self {
            head,
            boot,
            segments: Vec::new(),
            expected: head.first_position,
            synced: head.synced,
            released: head.released,
            unfinished: None,
            torn: None,
            hole: None,
            hole_is_damage: false,
            later_end: 0,
            cut: Cut::default(),
        }
    }

    /// The number of the segment that must come next.
    fn next_number(&self) -> u64 {
        self.segments.last().map_or(self.head.first_segment, |last| last.number + 1)
    }

    /// Shows the next segment that is there.
    pub(crate) fn segment(&mut self, number: u64, bytes: &[u8]) -> Result<(), Refused> {
        if number != self.next_number() {
            return Err(Refused::Missing { segment: self.next_number() });
        }
        if let Some(unfinished) = self.unfinished {
            // A segment is whole before the next one is made.
            return Err(self.damaged(unfinished));
        }
        let id = &self.head.id;
        let header = match SegmentHeader::read(bytes) {
            Ok(header) if header.id == *id && header.number == number => header,
            Ok(_) => return Err(Refused::Foreign { segment: number }),
            Err(NoHeader::Version(found)) => {
                return Err(Refused::Version { found, known: VERSION });
            }
            Err(NoHeader::Damaged) => return self.without_header(number, bytes),
        };
        let align = header.align as usize;
        let mut batches = Batches { bytes, id, number, align, at: data_start(align) };
        let start = batches.at;
        while let Some(batch) = batches.peek() {
            if batch.first < self.expected {
                // Positions never go back: this is an older copy of the file.
                return Err(Refused::Foreign { segment: number });
            }
            if self.hole.is_some() || batch.first != self.expected {
                break;
            }
            // What was cut before is nothing that is missing: the order goes on.
            (self.torn, self.cut) = (None, Cut::default());
            self.expected = batch.end();
            self.synced = self.synced.max(batch.synced);
            self.released = self.released.max(batch.released);
            batches.pass(&batch);
        }
        let used = if batches.at > start { batches.at as u64 } else { 0 };
        let length = bytes.len() as u64;
        self.segments.push(Kept { number, end: self.expected, used, length });
        if length < u64::from(header.length) {
            self.shortened(&batches, start)?;
        }
        self.rest(batches, header.boot);
        Ok(())
    }

    /// A segment has its length before it has a batch. With one, its end was lost; without, it may
    /// have been in the making.
    fn shortened(&mut self, batches: &Batches<'_>, start: usize) -> Result<(), Refused> {
        let stop = Stop { segment: batches.number, offset: batches.bytes.len() as u64 };
        if batches.at > start || batches.clone().search().is_some() {
            return Err(self.damaged(stop));
        }
        self.unfinished = Some(stop);
        Ok(())
    }

    fn damaged(&self, stop: Stop) -> Refused {
        let Stop { segment, offset } = stop;
        Refused::Damaged { segment, offset, position: self.expected }
    }

    /// What stands behind the batches that go on: nothing, a torn batch, or intact ones.
    fn rest(&mut self, mut batches: Batches<'_>, boot: BootId) {
        let written = batches.written_after();
        if written == 0 {
            return;
        }
        let stop = Stop { segment: batches.number, offset: batches.at as u64 };
        self.cut.bytes += written as u64;
        self.torn.get_or_insert(stop);
        while let Some(batch) = batches.search() {
            self.later(&batch, stop, boot);
            batches.pass(&batch);
        }
    }

    /// An intact batch behind a place at which entries are missing.
    fn later(&mut self, batch: &Batch<'_>, stop: Stop, boot: BootId) {
        let first = self.torn.unwrap_or(stop);
        self.hole.get_or_insert(first);
        self.synced = self.synced.max(batch.synced);
        self.later_end = self.later_end.max(batch.end());
        self.hole_is_damage |= boot != BootId::default() && boot == self.boot;
        self.cut.entries += u64::from(batch.count);
    }

    /// A segment's header is on the disk before any batch is: with one, this is damage. Without, it
    /// was being made.
    fn without_header(&mut self, number: u64, bytes: &[u8]) -> Result<(), Refused> {
        let id = &self.head.id;
        let mut batches = Batches { bytes, id, number, align: ALIGN_MIN, at: 0 };
        let stop = Stop { segment: number, offset: 0 };
        if batches.search().is_some() {
            return Err(self.damaged(stop));
        }
        self.unfinished = Some(stop);
        let length = bytes.len() as u64;
        self.segments.push(Kept { number, end: self.expected, used: 0, length });
        Ok(())
    }

    /// What is to do, once every segment was shown.
    pub(crate) fn finish(mut self) -> Result<Plan, Refused> {
        let next_segment = self.next_number();
        let at = self.hole.or(self.torn).unwrap_or_else(|| self.end());
        // Released entries may be missing: nobody will ask for them.
        let needed = self.expected.max(self.released);
        if self.synced > needed || self.hole_is_damage && self.later_end > needed {
            return Err(self.damaged(at));
        }
        let mut removed = Vec::new();
        let restarts = self.expected <= self.released;
        while let Some(last) = self.segments.last().filter(|last| restarts || last.used == 0) {
            removed.push(last.number);
            self.segments.pop();
        }
        let next_segment =
            if restarts { next_segment } else { next_segment - removed.len() as u64 };
        Ok(Plan {
            kept: self.segments,
            removed,
            synced: self.synced.min(self.expected),
            released: self.released,
            next: needed,
            restarts,
            next_segment,
            cut: self.cut,
        })
    }

    /// The end of what was shown.
    fn end(&self) -> Stop {
        let last = self.segments.iter().rev().find(|segment| segment.used > 0);
        let none = Stop { segment: self.head.first_segment, offset: 0 };
        last.map_or(none, |last| Stop { segment: last.number, offset: last.used })
    }
}
