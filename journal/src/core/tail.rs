//! The end of a journal that is being written: where each entry goes, and what the disk must do.
//!
//! An entry has its place in a file from the moment it is taken, and that file is as large as it
//! will ever be: a taken entry never meets a full disk.

use std::collections::VecDeque;
use std::io;

use crate::core::batch::{ENTRY_HEADER, Filling, HEADER, Known};
use crate::core::bytes::{Position, aligned};
use crate::core::head::Head;
use crate::core::recovery::{Kept, Plan};
use crate::core::segment::data_start;

/// How a journal is laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// The size of a segment's file.
    pub(crate) segment_bytes: u64,
    /// Batches begin at multiples of this.
    pub(crate) align: usize,
    /// The size of all segments together.
    pub(crate) bytes_max: u64,
    /// How many bytes may wait in memory to be written.
    pub(crate) buffer_max: usize,
    /// From this size on, a batch is closed.
    pub(crate) batch_bytes: usize,
    /// Whether each batch is synced before its entries are recorded.
    pub(crate) syncs: bool,
}

/// Why an entry is not taken now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoRoom {
    /// The journal has its largest size: older entries must be released first.
    Limit,
    /// The disk gives no more room: it is full, or may not be written to.
    Disk(io::ErrorKind),
    /// The next file is being made, or the disk is slower than the writers.
    Busy,
}

impl NoRoom {
    /// Whether room comes by itself, as soon as the journal's thread has caught up.
    pub fn is_short(self) -> bool {
        matches!(self, Self::Busy)
    }
}

/// What the disk must do next.
#[derive(Debug)]
pub(crate) enum Work {
    /// Write a batch, and sync it if so laid out. It notes what is known.
    Batch { batch: Filling, known: Known },
    /// Make an empty segment.
    Create { number: u64 },
    /// Make the head durable, then remove segments.
    Head { head: Head, removed: Vec<u64> },
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Done,
    /// The disk has no room for another segment now.
    NoRoom(io::ErrorKind),
}

/// What is appended, and how far the disk is.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) layout: Layout,
    /// The head as the disk has it.
    head: Head,
    /// Segments with entries, oldest first.
    segments: VecDeque<Kept>,
    /// The segment that entries go to, and where its next batch begins.
    place: Option<(u64, u64)>,
    /// An empty segment that is ready.
    spare: Option<u64>,
    next_segment: u64,
    /// The disk refused the last segment that was asked for.
    refused: Option<io::ErrorKind>,
    filling: Option<Filling>,
    closed: VecDeque<Filling>,
    /// Bytes that wait in memory.
    buffered: usize,
    unused: Vec<Vec<u8>>,
    is_batch_next: bool,
    /// No more entries will come.
    closes: bool,
    next: Position,
    recorded: Position,
    synced: Position,
    released: Position,
}

/// How many emptied buffers are kept for the next batches.
const UNUSED_MAX: usize = 2;
/// Larger ones are given back.
const UNUSED_BYTES_MAX: usize = 4 << 20;

impl Tail {
    /// The tail of a journal whose files are as the plan says.
    pub(crate) fn new(layout: Layout, head: Head, plan: &Plan, synced: Position) -> Self {
        Self {
            layout,
            segments: plan.kept.iter().copied().collect(),
            place: None,
            spare: None,
            next_segment: plan.next_segment,
            refused: None,
            filling: None,
            closed: VecDeque::new(),
            buffered: 0,
            unused: Vec::new(),
            is_batch_next: true,
            closes: false,
            next: plan.next,
            recorded: plan.next,
            synced,
            released: plan.released,
            head,
        }
    }

    /// Takes an entry, or changes nothing that anybody sees. None: it is larger than any may be.
    pub(crate) fn append(&mut self, entry: &[u8]) -> Option<Result<Position, NoRoom>> {
        if entry.len() > self.entry_bytes_max() {
            return None;
        }
        let needed = ENTRY_HEADER + entry.len();
        if self.buffered > 0 && self.buffered + needed > self.layout.buffer_max {
            return Some(Err(NoRoom::Busy));
        }
        if !self.filling.as_ref().is_some_and(|filling| self.fits(filling, needed)) {
            self.close_batch();
            if let Err(no_room) = self.open_batch(needed) {
                return Some(Err(no_room));
            }
        }
        let position = self.next;
        if let Some(filling) = &mut self.filling {
            filling.push(entry);
        }
        if let Some(last) = self.segments.back_mut() {
            last.end = position + 1;
        }
        self.buffered += needed;
        self.next += 1;
        Some(Ok(position))
    }

    /// The largest entry.
    pub(crate) fn entry_bytes_max(&self) -> usize {
        let room = self.layout.segment_bytes as usize - data_start(self.layout.align);
        room.saturating_sub(HEADER + ENTRY_HEADER)
    }

    fn fits(&self, filling: &Filling, needed: usize) -> bool {
        let end = filling.offset + (filling.bytes.len() + needed) as u64;
        filling.bytes.len() < self.layout.batch_bytes && end <= self.layout.segment_bytes
    }

    /// Closes the batch that is being filled: what comes next is another one.
    fn close_batch(&mut self) {
        if let Some(filling) = self.filling.take() {
            let end = aligned(filling.bytes.len(), self.layout.align) as u64;
            self.place = Some((filling.segment, filling.offset + end));
            self.closed.push_back(filling);
        }
    }

    fn open_batch(&mut self, needed: usize) -> Result<(), NoRoom> {
        let needed = (HEADER + needed) as u64;
        let has_room = |(_, at): &(u64, u64)| at + needed <= self.layout.segment_bytes;
        let (segment, offset) = match self.place.filter(has_room) {
            Some(place) => place,
            None => self.enter_spare()?,
        };
        let buffer = self.unused.pop().unwrap_or_default();
        self.filling = Some(Filling::new(segment, offset, self.next, buffer));
        Ok(())
    }

    fn enter_spare(&mut self) -> Result<(u64, u64), NoRoom> {
        let Some(number) = self.spare.take() else { return Err(self.why_no_room()) };
        let (start, length) = (data_start(self.layout.align) as u64, self.layout.segment_bytes);
        self.segments.push_back(Kept { number, end: self.next, used: start, length });
        self.place = Some((number, start));
        Ok((number, start))
    }

    fn why_no_room(&self) -> NoRoom {
        match self.refused {
            Some(kind) => NoRoom::Disk(kind),
            None if self.may_grow() => NoRoom::Busy,
            None => NoRoom::Limit,
        }
    }

    /// Whether another segment stays within the limit.
    fn may_grow(&self) -> bool {
        self.bytes() + self.layout.segment_bytes <= self.layout.bytes_max
    }

    /// Bytes of the disk that the segments have.
    pub(crate) fn bytes(&self) -> u64 {
        let spare = self.spare.map_or(0, |_| self.layout.segment_bytes);
        self.segments.iter().map(|segment| segment.length).sum::<u64>() + spare
    }

    /// What the disk must do next, if anything. One thing at a time: the next one is asked for
    /// once this one is done.
    pub(crate) fn work(&mut self) -> Option<Work> {
        if self.spare.is_none() && self.refused.is_none() && !self.closes && self.may_grow() {
            return Some(Work::Create { number: self.next_segment });
        }
        // In turns: entries that never cease must not keep the disk from being given back.
        self.is_batch_next = !self.is_batch_next;
        if self.is_batch_next {
            self.batch().or_else(|| self.removal())
        } else {
            self.removal().or_else(|| self.batch())
        }
    }

    fn batch(&mut self) -> Option<Work> {
        if self.closed.is_empty() {
            self.close_batch();
        }
        let batch = self.closed.pop_front()?;
        let known = Known { synced: self.synced, released: self.released };
        Some(Work::Batch { batch, known })
    }

    /// The segments of which every entry is released, but for the one that entries go to.
    fn removal(&self) -> Option<Work> {
        let current = self.place.map_or(u64::MAX, |(number, _)| number);
        let is_done = |kept: &&Kept| kept.end <= self.released && kept.number != current;
        let removed: Vec<u64> =
            self.segments.iter().take_while(is_done).map(|kept| kept.number).collect();
        let last = removed.len().checked_sub(1).and_then(|last| self.segments.get(last))?;
        let head = Head { first_segment: last.number + 1, first_position: last.end, ..self.head() };
        Some(Work::Head { head, removed })
    }

    /// The next head, if nothing is removed.
    pub(crate) fn head(&self) -> Head {
        Head {
            generation: self.head.generation + 1,
            released: self.released,
            synced: self.synced,
            ..self.head.clone()
        }
    }

    /// The disk has done it, or had no room for it.
    pub(crate) fn done(&mut self, work: Work, step: Step) {
        match (work, step) {
            (Work::Batch { batch, .. }, _) => self.written(batch),
            (Work::Create { number }, Step::Done) => {
                self.spare = Some(number);
                self.next_segment = number + 1;
            }
            (Work::Create { .. }, Step::NoRoom(kind)) => self.refused = Some(kind),
            (Work::Head { head, removed }, _) => self.head_written(head, &removed),
        }
    }

    /// A batch is written.
    fn written(&mut self, batch: Filling) {
        self.recorded = batch.end();
        if self.layout.syncs {
            self.synced = self.recorded;
        }
        let waiting = self.closed.iter().chain(&self.filling);
        self.buffered = waiting.map(|batch| batch.bytes.len() - HEADER).sum();
        if self.unused.len() < UNUSED_MAX && batch.bytes.capacity() <= UNUSED_BYTES_MAX {
            self.unused.push(batch.bytes);
        }
    }

    /// Asks the disk again, if it refused. Says whether it had.
    pub(crate) fn retry(&mut self) -> bool {
        self.refused.take().is_some()
    }

    /// A head is durable, and segments are gone.
    pub(crate) fn head_written(&mut self, head: Head, removed: &[u64]) {
        self.head = head;
        self.segments.retain(|kept| !removed.contains(&kept.number));
        if !removed.is_empty() {
            // There may be room now.
            self.refused = None;
        }
    }

    /// Entries below are needed no more. What is not recorded is never released.
    pub(crate) fn release(&mut self, below: Position) {
        self.released = self.released.max(below.min(self.recorded));
    }

    /// No more entries will come: no room is made for any.
    pub(crate) fn close(&mut self) {
        self.closes = true;
    }

    /// Gives the journal another label, with its next head.
    pub(crate) fn set_label(&mut self, label: Vec<u8>) {
        self.head.label = label;
    }

    /// Whether a batch waits that takes no more entries.
    pub(crate) fn has_closed_batch(&self) -> bool {
        !self.closed.is_empty()
    }

    pub(crate) fn next(&self) -> Position {
        self.next
    }

    pub(crate) fn recorded(&self) -> Position {
        self.recorded
    }

    pub(crate) fn released(&self) -> Position {
        self.released
    }

    pub(crate) fn refused(&self) -> Option<io::ErrorKind> {
        self.refused
    }
}
