//! A journal's files, as its decisions say: read at the start, then written one step at a time.

use std::io;

use crate::core::bytes::{BootId, JournalId, Position, VERSION};
use crate::core::head::{HEAD_BYTES, Head, NoHead};
use crate::core::recovery::{Cut, Kept, Plan, Recovery, Refused};
use crate::core::salvage::{Salvage, Salvaged};
use crate::core::segment::{SEGMENT_HEADER, SegmentHeader, entries};
use crate::core::tail::{Layout, Step, Tail, Work};
use crate::disk::{Disk, FileName};
use crate::error::OpenError;

/// A journal that was opened, before anything is appended.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) tail: Tail,
    /// What is kept of earlier lives.
    kept: Vec<Kept>,
    pub(crate) released: Position,
    pub(crate) label: Vec<u8>,
    pub(crate) cut: Cut,
    pub(crate) id: JournalId,
    pub(crate) boot: BootId,
}

impl Store {
    /// Opens the journal on a disk; makes one with this identity if none is there.
    pub(crate) fn open(
        disk: &mut impl Disk,
        layout: Layout,
        (new_id, boot): (JournalId, BootId),
    ) -> Result<Self, OpenError> {
        let mut files = disk.list()?;
        files.sort_unstable();
        let segments: Vec<u64> = files.iter().filter_map(segment_number).collect();
        let is_copy = |file: &&FileName| matches!(file, FileName::Copy(_) | FileName::HeadCopy);
        for copy in files.iter().filter(is_copy) {
            disk.remove(*copy)?;
        }
        let mut head = match read_head(disk, &files)? {
            Ok(head) => head,
            Err(NoHead::Version(found)) => {
                return Err(Refused::Version { found, known: VERSION }.into());
            }
            // The head is on the disk before the first segment is made.
            Err(NoHead::Damaged) if segments.is_empty() => {
                Head { id: new_id, first_segment: 1, ..Head::default() }
            }
            Err(NoHead::Damaged) => return Err(Refused::Head.into()),
        };
        let first_segment = head.first_segment;
        let mut recovery = Recovery::new(&head, boot);
        for number in segments.iter().copied().filter(|number| *number >= first_segment) {
            recovery.segment(number, &disk.read(FileName::Segment(number))?)?;
        }
        let mut plan = recovery.finish()?;
        head.generation += 1;
        head.released = plan.released;
        if plan.restarts {
            // With such a head the segments count for nothing, whichever a crash leaves behind.
            head.first_segment = plan.next_segment;
            head.first_position = plan.next;
            head.released = plan.next;
        }
        renew_head(disk, &head, &files)?;
        for number in segments.iter().filter(|number| **number < first_segment) {
            disk.remove(FileName::Segment(*number))?;
        }
        for number in &plan.removed {
            disk.remove(FileName::Segment(*number))?;
            disk.sync_directory()?;
        }
        let synced = mend(disk, &mut plan, layout.syncs)?;
        if synced > head.synced {
            // What was just made certain is not taken for a torn tail the next time.
            head = Head { generation: head.generation + 1, synced, ..head };
            write_head(disk, &head)?;
        }
        Ok(Self {
            tail: Tail::new(layout, head.clone(), &plan, synced),
            kept: plan.kept,
            released: plan.released,
            label: head.label,
            cut: plan.cut,
            id: head.id,
            boot,
        })
    }

    /// Makes another label durable.
    pub(crate) fn write_label(&mut self, disk: &mut impl Disk) -> io::Result<()> {
        self.tail.set_label(self.label.clone());
        let head = self.tail.head();
        write_head(disk, &head)?;
        self.tail.head_written(head, &[]);
        Ok(())
    }

    /// Every entry of earlier lives that was not released, in order.
    pub(crate) fn entries(
        &self,
        disk: &mut impl Disk,
        mut visit: impl FnMut(Position, &[u8]),
    ) -> io::Result<()> {
        for Kept { number, end, .. } in &self.kept {
            if *end <= self.released {
                continue;
            }
            let bytes = disk.read(FileName::Segment(*number))?;
            for (position, entry) in entries(&bytes, &self.id, *number, *end) {
                if position >= self.released {
                    visit(position, entry);
                }
            }
        }
        Ok(())
    }
}

/// Visits every entry that can be read, whatever else is wrong; changes nothing.
pub(crate) fn salvage(
    disk: &mut impl Disk,
    mut visit: impl FnMut(Position, &[u8]),
) -> io::Result<Salvaged> {
    let mut files = disk.list()?;
    files.sort_unstable();
    let mut salvage = Salvage::new(read_head(disk, &files)?.ok());
    for number in files.iter().filter_map(segment_number) {
        salvage.segment(number, &disk.read(FileName::Segment(number))?, &mut visit);
    }
    Ok(salvage.salvaged)
}

fn segment_number(file: &FileName) -> Option<u64> {
    match file {
        FileName::Segment(number) => Some(*number),
        FileName::Head | FileName::HeadCopy | FileName::Copy(_) => None,
    }
}

fn read_head(disk: &mut impl Disk, files: &[FileName]) -> io::Result<Result<Head, NoHead>> {
    if !files.contains(&FileName::Head) {
        return Ok(Err(NoHead::Damaged));
    }
    Ok(Head::read(&disk.read(FileName::Head)?))
}

/// Makes a head durable before anything rests on it: as another file, which takes the place of the
/// one that was read.
///
/// After an fsync that failed, or a write that a crash cut off, the kernel may show a head that is
/// not on the disk, and the other slot is the only one that is: neither may be written over. Only
/// where a full disk has no room for a file is that done, once the file was synced.
fn renew_head(disk: &mut impl Disk, head: &Head, files: &[FileName]) -> io::Result<()> {
    let before = Head { generation: head.generation - 1, ..head.clone() };
    let renewed = disk.create(FileName::HeadCopy, HEAD_BYTES as u64).and_then(|()| {
        for slot in [&before, head] {
            disk.write(FileName::HeadCopy, slot.offset(), &slot.encode())?;
        }
        disk.sync(FileName::HeadCopy)?;
        disk.rename(FileName::HeadCopy, FileName::Head)?;
        disk.sync_directory()
    });
    match renewed {
        Err(error) if is_full(&error) && files.contains(&FileName::Head) => {
            disk.sync(FileName::Head)?;
            disk.sync_directory()?;
            write_head(disk, head)
        }
        renewed => renewed,
    }
}

/// Makes a head durable in the slot of the one before the last: the last one is on the disk.
pub(crate) fn write_head(disk: &mut impl Disk, head: &Head) -> io::Result<()> {
    disk.write(FileName::Head, head.offset(), &head.encode())?;
    disk.sync(FileName::Head)
}

/// Puts a copy in the place of each segment that holds bytes that are cut, more room than it needs,
/// or entries that may be in the kernel's memory alone; says what is synced then.
///
/// A copy, and not the file itself: after an fsync that failed, the kernel may show bytes that are
/// not on the disk and call them clean, and no second fsync of them would say so. And a crash in
/// the midst of it leaves the segment as it was. Only where a full disk has no room for a copy is
/// the file itself cut, so that a process can start there.
fn mend(disk: &mut impl Disk, plan: &mut Plan, syncs: bool) -> io::Result<Position> {
    let proved = plan.synced;
    let last = plan.kept.last().map(|kept| kept.number);
    for kept in &mut plan.kept {
        let is_unproved = syncs && kept.end > proved;
        let is_longer = last == Some(kept.number) && kept.length > kept.used;
        if is_unproved || is_longer {
            match copy(disk, kept) {
                Err(error) if is_full(&error) => clear(disk, kept)?,
                copied => copied?,
            }
        }
    }
    Ok(if syncs { plan.next } else { proved })
}

fn copy(disk: &mut impl Disk, kept: &mut Kept) -> io::Result<()> {
    let (copy, segment) = (FileName::Copy(kept.number), FileName::Segment(kept.number));
    let mut bytes = disk.read(segment)?;
    bytes.truncate(kept.used as usize);
    if let Ok(header) = SegmentHeader::read(&bytes) {
        let header = SegmentHeader { length: kept.used as u32, ..header };
        bytes[..SEGMENT_HEADER].copy_from_slice(&header.encode());
    }
    disk.create(copy, kept.used)?;
    disk.write(copy, 0, &bytes)?;
    disk.sync(copy)?;
    disk.rename(copy, segment)?;
    disk.sync_directory()?;
    kept.length = kept.used;
    Ok(())
}

/// Writes zeros over what a segment holds behind its batches.
fn clear(disk: &mut impl Disk, kept: &Kept) -> io::Result<()> {
    let file = FileName::Segment(kept.number);
    let mut rest = disk.read(file)?.split_off(kept.used as usize);
    if let Some(last) = rest.iter().rposition(|byte| *byte != 0) {
        rest[..=last].fill(0);
        disk.write(file, kept.used, &rest[..=last])?;
    }
    disk.sync(file)
}

/// Whether there is no room, though the disk works.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Does what the tail asks for. An error other than `NoRoom` is the end of the journal: what the
/// disk holds is not known then, and nothing is tried again on the same files.
pub(crate) fn perform(
    disk: &mut impl Disk,
    work: &mut Work,
    (id, boot): (JournalId, BootId),
    layout: &Layout,
) -> io::Result<Step> {
    match work {
        Work::Batch { batch, known } => {
            batch.seal(&id, *known, layout.align);
            let file = FileName::Segment(batch.segment);
            disk.write(file, batch.offset, &batch.bytes)?;
            if layout.syncs {
                disk.sync(file)?;
            }
        }
        Work::Create { number } => {
            let (number, align) = (*number, layout.align as u32);
            let length = layout.segment_bytes as u32;
            let header = SegmentHeader { id, number, align, length, boot };
            let file = FileName::Segment(number);
            let made = disk
                .create(file, layout.segment_bytes)
                .and_then(|()| disk.write(file, 0, &header.encode()));
            if let Err(error) = made {
                // Nothing is in it. If it can't be removed now, the next attempt replaces it.
                let _ = disk.remove(file);
                return Ok(Step::NoRoom(error.kind()));
            }
            disk.sync(file)?;
            disk.sync_directory()?;
        }
        Work::Head { head, removed } => {
            // The head first: a segment that is gone while the head still names it is missing.
            write_head(disk, head)?;
            for number in removed {
                disk.remove(FileName::Segment(*number))?;
            }
        }
    }
    Ok(Step::Done)
}
