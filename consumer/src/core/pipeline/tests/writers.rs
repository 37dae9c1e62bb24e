//! Which writers are remembered, however the log is split and wherever the consumer dies.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use uuid::Uuid;
use write_behind_shared::{NextOffset, Partition, record};

use super::*;
use crate::core::pipeline::buffer::{Buffer, Folded};
use crate::core::record::Incoming;

const MOST: usize = 3;

fn id(writer: u8, sequence: u64) -> WriteId {
    WriteId { writer: Uuid::from_u128(writer.into()), sequence }
}

/// What the database holds: each writer's last sequence and the offset of its record.
type Rows = BTreeMap<Uuid, (u64, Offset)>;

fn memory(rows: &Rows) -> PartitionMemory {
    let seen = rows.iter().map(|(writer, (sequence, at))| WriterSeen {
        partition: Partition(0),
        last: WriteId { writer: *writer, sequence: *sequence },
        at: *at,
    });
    PartitionMemory::new(&Bounds { writers: MOST, ..Bounds::STANDARD }, seen)
}

/// Folds a span's records, bad ones included. Returns which were dropped, and what the transaction
/// would store and forget.
fn fold(
    log: &[(u8, u64, bool)],
    span: std::ops::Range<usize>,
    memory: &mut PartitionMemory,
) -> (Vec<usize>, Vec<WriterSeen>, Option<Offset>) {
    let mut buffer = Buffer::new(Partition(0), NextOffset(span.start as i64), Duration::ZERO);
    let mut dropped = Vec::new();
    for at in span {
        let (writer, sequence, is_bad) = log[at];
        let id = id(writer, sequence).encode();
        let headers = [(record::WRITE_ID, Some(&id[..]))];
        let record = Incoming {
            partition: Partition(0),
            offset: Offset(at as i64),
            timestamp: None,
            key: Some(b"1"),
            value: Some(if is_bad { b"bad" } else { b"{}" }),
            headers: &headers,
        };
        match buffer.fold(&record, memory) {
            Ok(Folded::Duplicate) => dropped.push(at),
            Ok(_) => {}
            Err(why) => buffer.set_aside(&record, &why),
        }
    }
    let contents = buffer.into_contents();
    let mut writers = contents.writers;
    writers.sort_by_key(|seen| seen.at);
    (dropped, writers, contents.forgotten)
}

fn commit(rows: &mut Rows, writers: &[WriterSeen], forgotten: Option<Offset>) {
    rows.retain(|_, (_, at)| Some(*at) > forgotten);
    for WriterSeen { last, at, .. } in writers {
        // No sequence goes back, unless the writer was forgotten.
        let before = rows.get(&last.writer).map_or(0, |(sequence, _)| *sequence);
        rows.insert(last.writer, (last.sequence.max(before), *at));
    }
}

/// The rule, applied record by record over the whole log: which records are dropped, and which
/// writers are remembered after each.
fn rule(log: &[(u8, u64, bool)]) -> (Vec<usize>, Vec<Rows>) {
    let (mut rows, mut dropped, mut behind) = (Rows::new(), Vec::new(), Vec::new());
    for (at, (writer, sequence, _)) in log.iter().enumerate() {
        let writer = Uuid::from_u128((*writer).into());
        if rows.get(&writer).is_some_and(|(last, _)| sequence <= last) {
            dropped.push(at);
        } else {
            rows.insert(writer, (*sequence, Offset(at as i64)));
            let mut latest: Vec<Offset> = rows.values().map(|(_, at)| *at).collect();
            latest.sort_unstable_by_key(|at| std::cmp::Reverse(*at));
            latest.truncate(MOST);
            rows.retain(|_, (_, at)| latest.contains(at));
        }
        behind.push(rows.clone());
    }
    (dropped, behind)
}

proptest! {
    #[test]
    fn who_is_remembered_depends_on_the_log_alone(
        log in prop::collection::vec((0..7_u8, 0..4_u64, prop::bool::weighted(0.1)), 1..80),
        batches in prop::collection::vec((1..9_usize, 0..9_usize, any::<bool>()), 1..40),
    ) {
        let (expected, behind) = rule(&log);
        let (mut rows, mut dropped) = (Rows::new(), Vec::new());
        let (mut next, mut live) = (0, memory(&Rows::new()));
        for (size, read_ahead, dies) in batches.iter().cycle() {
            if next == log.len() {
                break;
            }
            let end = (next + size).min(log.len());
            let (found, writers, forgotten) = fold(&log, next..end, &mut live);
            if *dies {
                // The consumer had read on; another one then reads again whatever was not
                // committed.
                fold(&log, end..(end + read_ahead).min(log.len()), &mut live);
                live = memory(&rows);
                let again = fold(&log, next..end, &mut live);
                prop_assert_eq!(&again, &(found, writers, forgotten));
                commit(&mut rows, &again.1, again.2);
                dropped.extend(again.0);
                live = memory(&rows);
            } else {
                commit(&mut rows, &writers, forgotten);
                dropped.extend(found);
            }
            next = end;
            prop_assert_eq!(&rows, &behind[next - 1], "behind {}", next - 1);
        }
        prop_assert_eq!(dropped, expected);
    }
}

#[test]
fn a_writer_that_was_forgotten_is_a_new_one() {
    let log: Vec<_> =
        (0..=MOST as u8).map(|writer| (writer, 0, false)).chain([(0, 0, false)]).collect();
    let (dropped, _, forgotten) = fold(&log, 0..log.len(), &mut memory(&Rows::new()));
    assert_eq!((dropped, forgotten), (Vec::new(), Some(Offset(1))));
}

#[test]
fn nobody_is_forgotten_for_a_record_that_is_not_taken() {
    let log: Vec<_> =
        (0..=MOST as u8).map(|writer| (writer, 0, usize::from(writer) == MOST)).collect();
    let mut memory = memory(&Rows::new());
    let mut buffer = Buffer::new(Partition(0), NextOffset(0), Duration::ZERO);
    for (at, (writer, sequence, is_bad)) in log.iter().enumerate() {
        let id = id(*writer, *sequence).encode();
        let headers = [(record::WRITE_ID, Some(&id[..]))];
        let record = Incoming {
            partition: Partition(0),
            offset: Offset(at as i64),
            timestamp: None,
            key: Some(b"1"),
            value: Some(if *is_bad { b"bad" } else { b"{}" }),
            headers: &headers,
        };
        assert_eq!(buffer.fold(&record, &mut memory).is_err(), *is_bad);
    }
    assert_eq!(buffer.into_contents().forgotten, None);
}
