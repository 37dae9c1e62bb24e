//! Single cases: what is cut, what is refused, and what a disk that fails does.

use std::io;

use crate::core::batch::{Filling, Known};
use crate::core::head::{HEAD_BYTES, Head};
use crate::core::recovery::{Cut, Refused};
use crate::core::segment::{SegmentHeader, data_start};
use crate::core::tail::{NoRoom, Step};
use crate::disk::FileName;
use crate::error::OpenError;
use crate::store::{Store, perform};
use crate::tests::histories::{SEGMENT, layout};
use crate::tests::simulated::{End, Numbers, SimulatedDisk};

const ID: [u8; 16] = [3; 16];
const BOOT: [u8; 16] = [1; 16];
const OTHER_BOOT: [u8; 16] = [2; 16];
const ALIGN: usize = 64;

fn header(number: u64) -> SegmentHeader {
    let (align, length) = (ALIGN as u32, SEGMENT as u32);
    SegmentHeader { id: ID, number, align, length, boot: BOOT }
}

/// A segment of batches: (first position, entries, what it says was synced).
fn segment(number: u64, batches: &[(u64, u32, u64)]) -> Vec<u8> {
    let mut bytes = header(number).encode();
    bytes.resize(data_start(ALIGN), 0);
    for (first, count, synced) in batches {
        let mut batch = Filling::new(number, bytes.len() as u64, *first, Vec::new());
        (0..*count).for_each(|n| batch.push(format!("e{}", first + u64::from(n)).as_bytes()));
        let known = Known { synced: *synced, released: 0 };
        batch.seal(&ID, known, ALIGN);
        bytes.extend(batch.bytes);
    }
    bytes.resize(SEGMENT as usize, 0);
    bytes
}

fn disk_of(head: Head, segments: &[Vec<u8>]) -> SimulatedDisk {
    let mut disk = SimulatedDisk::new(Numbers::new(1));
    let head = Head { generation: 2, id: ID, first_segment: 1, ..head };
    let mut file = head.encode();
    file.resize(HEAD_BYTES, 0);
    disk.put_file(FileName::Head, &file);
    for (number, bytes) in (1..).zip(segments) {
        disk.put_file(FileName::Segment(number), bytes);
    }
    disk
}

/// How many entries are found and what was cut; or why it is refused.
fn judge(disk: &mut SimulatedDisk, boot: [u8; 16]) -> Result<(u64, Cut), Refused> {
    match Store::open(disk, layout(true), (ID, boot)) {
        Ok(store) => Ok((store.tail.next(), store.cut)),
        Err(OpenError::Refused(refused)) => Err(refused),
        Err(error) => panic!("{error}"),
    }
}

/// Changes a byte behind the header.
fn spoil(segment: &mut [u8], at: usize) {
    segment[data_start(ALIGN) + at] ^= 1;
}

#[test]
fn a_batch_that_was_being_written_is_cut_and_its_bytes_are_told() {
    let mut last = segment(2, &[(4, 2, 4), (6, 2, 6)]);
    // Each batch of two has a sector.
    spoil(&mut last, 64);
    let mut disk = disk_of(Head::default(), &[segment(1, &[(0, 4, 0)]), last]);
    let (next, cut) = judge(&mut disk, OTHER_BOOT).expect("it is a torn tail");
    assert_eq!(next, 6);
    assert!(cut.bytes > 0 && cut.entries == 0, "{cut:?}");
    // It is cut once: the next process finds nothing to cut.
    assert_eq!(judge(&mut disk, OTHER_BOOT), Ok((6, Cut::default())));
}

#[test]
fn damage_is_refused_where_a_later_batch_or_the_head_proves_that_it_was_on_the_disk() {
    let spoiled = || {
        let mut bytes = segment(1, &[(0, 2, 0), (2, 2, 2)]);
        spoil(&mut bytes, 0);
        bytes
    };
    let at = |position| Err(Refused::Damaged { segment: 1, offset: 64, position });
    let unproved = Head::default();
    let mut same_segment = disk_of(unproved.clone(), &[spoiled()]);
    assert_eq!(judge(&mut same_segment, OTHER_BOOT), at(0));
    let mut next_segment = disk_of(unproved.clone(), &[spoiled(), segment(2, &[(4, 1, 4)])]);
    assert_eq!(judge(&mut next_segment, OTHER_BOOT), at(0));
    let mut closed = segment(1, &[(0, 2, 0)]);
    spoil(&mut closed, 0);
    let mut by_head = disk_of(Head { synced: 2, ..unproved }, &[closed]);
    assert_eq!(judge(&mut by_head, OTHER_BOOT), at(0));
}

#[test]
fn entries_that_were_never_synced_may_be_missing_after_a_crash_of_the_machine_alone() {
    let mut bytes = segment(1, &[(0, 2, 0), (2, 3, 0)]);
    spoil(&mut bytes, 0);
    let disk = disk_of(Head::default(), &[bytes]);
    let (next, cut) = judge(&mut disk.clone(), OTHER_BOOT).expect("the machine has crashed");
    assert_eq!((next, cut.entries), (0, 3), "three intact entries stood behind");
    let refused = judge(&mut disk.clone(), BOOT);
    assert!(matches!(refused, Err(Refused::Damaged { position: 0, .. })), "{refused:?}");
}

#[test]
fn damage_among_released_entries_is_refused_if_one_behind_them_is_needed() {
    let mut bytes = segment(1, &[(0, 2, 0), (2, 2, 2), (4, 2, 4)]);
    spoil(&mut bytes, 0);
    for (released, is_refused) in [(0, true), (3, true), (4, false), (6, false)] {
        let head = Head { released, ..Head::default() };
        let judged = judge(&mut disk_of(head, &[bytes.clone()]), OTHER_BOOT);
        assert_eq!(judged.is_err(), is_refused, "released below {released}: {judged:?}");
    }
}

#[test]
fn a_segment_that_is_missing_foreign_or_newer_is_named() {
    let second = segment(2, &[(2, 2, 2)]);
    let mut disk = disk_of(Head::default(), &[segment(1, &[(0, 2, 0)]), second.clone()]);
    disk.put_file(FileName::Segment(4), &segment(4, &[(6, 1, 6)]));
    assert_eq!(judge(&mut disk, BOOT), Err(Refused::Missing { segment: 3 }));
    disk.lose(FileName::Segment(1));
    assert_eq!(judge(&mut disk, BOOT), Err(Refused::Missing { segment: 1 }));
    disk.put_file(FileName::Segment(1), &second);
    assert_eq!(judge(&mut disk, BOOT), Err(Refused::Foreign { segment: 1 }));
    disk.lose(FileName::Segment(4));
    disk.put_file(FileName::Segment(1), &segment(1, &[(0, 2, 0)]));
    let older = segment(2, &[(0, 2, 0)]);
    disk.put_file(FileName::Segment(2), &older);
    assert_eq!(judge(&mut disk, BOOT), Err(Refused::Foreign { segment: 2 }), "it goes back");
    let mut newer = segment(1, &[(0, 2, 0)]);
    newer[8] = 2;
    let sum = crate::core::bytes::checksum(&[&newer[..12], &newer[16..64]]);
    newer[12..16].copy_from_slice(&sum.to_le_bytes());
    disk.put_file(FileName::Segment(1), &newer);
    assert_eq!(judge(&mut disk, BOOT), Err(Refused::Version { found: 2, known: 1 }));
}

#[test]
fn a_head_that_is_gone_is_refused_once_there_are_segments() {
    let mut disk = disk_of(Head::default(), &[segment(1, &[(0, 2, 0)])]);
    disk.put_file(FileName::Head, &[0; HEAD_BYTES]);
    assert_eq!(judge(&mut disk, BOOT), Err(Refused::Head));
    disk.lose(FileName::Segment(1));
    assert_eq!(judge(&mut disk, BOOT), Ok((0, Cut::default())), "its making was cut off");
}

fn step(store: &mut Store, disk: &mut SimulatedDisk) -> Option<io::Result<Step>> {
    let mut work = store.tail.work()?;
    let layout = store.tail.layout;
    let performed = perform(disk, &mut work, (store.id, store.boot), &layout);
    if let Ok(step) = performed {
        store.tail.done(work, step);
    }
    Some(performed)
}

#[test]
fn a_taken_entry_never_meets_a_full_disk_and_the_next_is_told_of_it() {
    let mut disk = SimulatedDisk::new(Numbers::new(1));
    let mut store = Store::open(&mut disk, layout(true), (ID, BOOT)).expect("a new journal");
    step(&mut store, &mut disk);
    disk.capacity = disk.used();
    let mut taken = 0;
    let why = loop {
        match store.tail.append(&[1; 100]).expect("it is small enough") {
            Ok(_) => taken += 1,
            Err(NoRoom::Busy) => {
                step(&mut store, &mut disk);
            }
            Err(why) => break why,
        }
    };
    assert_eq!(why, NoRoom::Disk(io::ErrorKind::StorageFull));
    while step(&mut store, &mut disk).is_some() {}
    assert!(taken > 3);
    assert_eq!(store.tail.recorded(), taken, "what was taken is recorded");
    disk.capacity = u64::MAX;
    assert!(store.tail.retry());
    while step(&mut store, &mut disk).is_some() {}
    assert!(store.tail.append(&[1; 100]).is_some_and(|taken| taken.is_ok()), "there is room again");
}

#[test]
fn what_a_failed_sync_has_not_recorded_is_made_certain_by_the_next_process_or_not_promised() {
    for seed in 0..200 {
        let mut disk = SimulatedDisk::new(Numbers::new(seed));
        let mut store = Store::open(&mut disk, layout(true), (ID, BOOT)).expect("a new journal");
        step(&mut store, &mut disk);
        let taken = store.tail.append(b"an entry");
        assert_eq!(taken, Some(Ok(0)));
        // The write succeeds, its sync fails.
        disk.fails_one_in = 2;
        let failed = step(&mut store, &mut disk).expect("there is a batch");
        if failed.is_ok() {
            continue;
        }
        assert_eq!(store.tail.recorded(), 0);
        // The process ends, and the next one reads what the kernel shows.
        disk.restart(End::Process);
        let (next, _) = judge(&mut disk, BOOT).expect("nothing is damaged");
        disk.restart(End::Host);
        let (after_power_cut, _) = judge(&mut disk, OTHER_BOOT).expect("nothing is damaged");
        assert_eq!(next, after_power_cut, "seed {seed}: what was found once is found again");
    }
}

#[test]
fn a_segment_that_has_lost_its_end_is_refused_and_one_that_was_being_made_is_not() {
    let good = segment(1, &[(0, 2, 0)]);
    let refused_at = |offset| Err(Refused::Damaged { segment: 1, offset, position: 2 });
    let mut shorter = disk_of(Head::default(), &[good[..500].to_vec()]);
    assert_eq!(judge(&mut shorter, OTHER_BOOT), refused_at(500));
    // Its batch is lost too. Alone, it might have been in the making; not before another one.
    let nothing = good[..40].to_vec();
    let mut alone = disk_of(Head::default(), std::slice::from_ref(&nothing));
    assert_eq!(judge(&mut alone, OTHER_BOOT), Ok((0, Cut::default())));
    let mut before_another = disk_of(Head::default(), &[nothing, segment(2, &[])]);
    let judged = judge(&mut before_another, OTHER_BOOT);
    assert_eq!(judged, Err(Refused::Damaged { segment: 1, offset: 0, position: 0 }));
}

#[test]
fn what_was_released_before_a_batch_was_written_does_not_come_back() {
    let mut disk = SimulatedDisk::new(Numbers::new(1));
    let mut store = Store::open(&mut disk, layout(true), (ID, BOOT)).expect("a new journal");
    for n in 0..4 {
        step(&mut store, &mut disk);
        assert_eq!(store.tail.append(b"an entry"), Some(Ok(n)));
        while step(&mut store, &mut disk).is_some() {}
        // Each is released as soon as the next one is taken.
        store.tail.release(n);
    }
    disk.restart(End::Host);
    let store = Store::open(&mut disk, layout(true), (ID, OTHER_BOOT)).expect("nothing is damaged");
    let mut found = Vec::new();
    store.entries(&mut disk, |position, _| found.push(position)).expect("a good disk");
    assert_eq!(found, [2, 3], "the last batch was written when two were released");
}
