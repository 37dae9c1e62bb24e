//! Recovery over bytes that nobody wrote, and over a journal that a disk has spoiled.

use std::env;

use proptest::prelude::*;

use crate::core::bytes::Position;
use crate::core::head::Head;
use crate::core::recovery::Recovery;
use crate::core::salvage::Salvage;
use crate::core::segment::{SegmentHeader, entries};
use crate::disk::FileName;
use crate::error::OpenError;
use crate::store::{Store, perform, salvage, write_head};
use crate::tests::histories::{SEGMENT, layout};
use crate::tests::simulated::{Numbers, SECTOR, SimulatedDisk};

const ID: [u8; 16] = [9; 16];
const BOOT: [u8; 16] = [1; 16];

/// Does all that the journal asks of the disk.
fn settle(store: &mut Store, disk: &mut SimulatedDisk) {
    while let Some(mut work) = store.tail.work() {
        let layout = store.tail.layout;
        let step = perform(disk, &mut work, (store.id, store.boot), &layout).expect("a good disk");
        store.tail.done(work, step);
    }
}

/// A journal with entries that were recorded one batch after the other.
fn written(entries: &[Vec<u8>], released: u64, closes: bool) -> SimulatedDisk {
    let mut disk = SimulatedDisk::new(Numbers::new(1));
    let mut store = Store::open(&mut disk, layout(true), (ID, BOOT)).expect("a new journal");
    settle(&mut store, &mut disk);
    for entry in entries {
        assert!(store.tail.append(entry).is_some_and(|taken| taken.is_ok()), "there is room");
        settle(&mut store, &mut disk);
        store.tail.release(released);
        settle(&mut store, &mut disk);
    }
    if closes {
        write_head(&mut disk, &store.tail.head()).expect("a good disk");
    }
    disk
}

/// Entries with their positions, and the position of the next one.
type Found = (Vec<(Position, Vec<u8>)>, Position);

/// What is found, or why nothing is.
fn found(disk: &mut SimulatedDisk) -> Result<Found, OpenError> {
    let store = Store::open(disk, layout(true), (ID, [2; 16]))?;
    let mut found = Vec::new();
    store.entries(disk, |position, entry| found.push((position, entry.to_vec())))?;
    Ok((found, store.tail.next()))
}

/// One thing that a disk, or a person, does to a file.
#[derive(Clone, Debug)]
enum Spoil {
    Flip {
        at: usize,
        mask: u8,
    },
    Zero {
        sector: usize,
    },
    Shorten {
        to: usize,
    },
    Lose,
    /// Another file's content stands there.
    Swap {
        with: usize,
    },
}

fn spoil(disk: &mut SimulatedDisk, which: usize, how: &Spoil) {
    let mut files: Vec<FileName> = disk.segments().into_iter().map(FileName::Segment).collect();
    files.push(FileName::Head);
    let file = files[which % files.len()];
    let mut bytes = disk.file(file);
    let length = bytes.len();
    match how {
        Spoil::Flip { at, mask } => bytes[at % length] ^= mask,
        Spoil::Zero { sector } => {
            let at = sector * SECTOR % length;
            bytes[at..at + SECTOR].fill(0);
        }
        Spoil::Shorten { to } => bytes.truncate(to % length),
        Spoil::Lose => return disk.lose(file),
        Spoil::Swap { with } => bytes = disk.file(files[with % files.len()]),
    }
    disk.put_file(file, &bytes);
}

fn spoils() -> impl Strategy<Value = Spoil> {
    prop_oneof![
        4 => (any::<usize>(), 1..=u8::MAX).prop_map(|(at, mask)| Spoil::Flip { at, mask }),
        2 => any::<usize>().prop_map(|sector| Spoil::Zero { sector: sector % 1_000 }),
        2 => any::<usize>().prop_map(|to| Spoil::Shorten { to }),
        1 => Just(Spoil::Lose),
        1 => any::<usize>().prop_map(|with| Spoil::Swap { with }),
    ]
}

/// 600 cases, or as many as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if env::var_os("PROPTEST_CASES").is_some() { default.cases } else { 600 };
    ProptestConfig { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_spoiled_file_is_refused_or_costs_nothing_that_was_recorded(
        entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 1..14),
        released in 0_u64..14,
        closes in any::<bool>(),
        which in any::<usize>(),
        how in spoils(),
    ) {
        let released = released.min(entries.len() as u64);
        let mut disk = written(&entries, released, closes);
        spoil(&mut disk, which, &how);
        let before = disk.segments();
        match found(&mut disk) {
            Err(OpenError::Refused(_)) => prop_assert_eq!(before, disk.segments(), "nothing is changed"),
            Err(error) => prop_assert!(false, "{}", error),
            Ok((found, next)) => {
                // Of a journal that was not closed, the last batch may be one that was being written.
                let whole = entries.len() - usize::from(!closes);
                prop_assert!(next >= whole as u64, "found up to {} of {}", next, entries.len());
                let first = found.first().map_or(next, |(position, _)| *position);
                prop_assert!(first <= released, "released below {}, found from {}", released, first);
                for ((position, entry), expected) in found.iter().zip(first..) {
                    prop_assert_eq!(*position, expected);
                    prop_assert_eq!(entry, &entries[*position as usize]);
                }
            }
        }
    }

    #[test]
    fn what_a_spoiled_file_does_not_hold_is_all_that_is_not_salvaged(
        entries in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..150), 1..14),
        released in 0_u64..14,
        which in any::<usize>(),
        how in spoils(),
    ) {
        let released = released.min(entries.len() as u64);
        let mut disk = written(&entries, released, true);
        let whole = disk.clone();
        spoil(&mut disk, which, &how);
        let mut found = Vec::new();
        let visit = |position, entry: &[u8]| found.push((position, entry.to_vec()));
        let salvaged = salvage(&mut disk, visit).expect("a disk that works");
        prop_assert_eq!(salvaged.entries, found.len() as u64);
        for (position, entry) in &found {
            prop_assert_eq!(entry, &entries[*position as usize]);
        }
        prop_assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, each once");
        // Here each entry is a batch. What is lost of a file is lost; of the others, nothing is.
        let of_file = |number| {
            let mut salvage = Salvage::new(None);
            salvage.segment(number, &whole.file(FileName::Segment(number)), &mut |_, _| {});
            salvage.salvaged.entries
        };
        let largest = whole.segments().into_iter().map(of_file).max().unwrap_or_default();
        let lost_at_most = match how {
            Spoil::Flip { .. } => 1,
            Spoil::Zero { .. } | Spoil::Shorten { .. } | Spoil::Lose | Spoil::Swap { .. } => largest,
        };
        let needed = entries.len() as u64 - released;
        prop_assert!(found.len() as u64 + lost_at_most >= needed, "{} of {}", found.len(), needed);
        let last = found.last().map_or(0, |(position, _)| position + 1);
        let missing: u64 = salvaged.missing.iter().map(|range| range.end - range.start).sum();
        let told = found.iter().filter(|(position, _)| *position >= released).count() as u64 + missing;
        if !matches!(how, Spoil::Swap { .. }) {
            prop_assert!(told >= last.saturating_sub(released), "what is missing in between is told");
        }
    }

    #[test]
    fn arbitrary_bytes_are_judged_and_never_trusted(
        head in prop::collection::vec(any::<u8>(), 0..200),
        segments in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..4),
        starts_well in any::<bool>(),
        first_position in any::<u64>(),
        released in any::<u64>(),
    ) {
        prop_assert!(Head::read(&head).is_err());
        let head = Head { id: ID, first_segment: 1, first_position, released, ..Head::default() };
        let mut recovery = Recovery::new(&head, BOOT);
        let mut shown = Vec::new();
        for (number, mut bytes) in (1..).zip(segments) {
            if starts_well {
                let header = SegmentHeader { id: ID, number, align: 8, length: 64, boot: BOOT };
                bytes.splice(0..0, header.encode());
            }
            if recovery.segment(number, &bytes).is_err() {
                return Ok(());
            }
            shown.push((number, bytes));
        }
        if let Ok(plan) = recovery.finish() {
            prop_assert!(plan.kept.is_empty(), "no entry is made of chance: {:?}", plan);
        }
        for (number, bytes) in shown {
            prop_assert_eq!(entries(&bytes, &ID, number, u64::MAX).count(), 0);
        }
    }
}

#[test]
fn every_byte_that_a_journal_has_written_is_under_a_checksum() {
    let entries: Vec<Vec<u8>> = (0..6).map(|n| vec![n; 120]).collect();
    let good = written(&entries, 0, true);
    for number in good.segments() {
        let bytes = good.file(FileName::Segment(number));
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        for at in (0..used).step_by(3) {
            let mut disk = good.clone();
            let mut spoiled = bytes.clone();
            spoiled[at] ^= 0x40;
            disk.put_file(FileName::Segment(number), &spoiled);
            match found(&mut disk) {
                Err(OpenError::Refused(_)) => {}
                Err(error) => panic!("{error}"),
                // Between a batch and the next sector stand zeros that mean nothing.
                Ok((found, _)) => {
                    let found: Vec<Vec<u8>> = found.into_iter().map(|(_, entry)| entry).collect();
                    assert_eq!(found, entries, "byte {at} of segment {number}");
                }
            }
        }
    }
    assert!(good.segments().len() as u64 * SEGMENT > 720, "the entries fill more than one segment");
}
