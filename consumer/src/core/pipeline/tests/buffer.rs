//! A buffer compared with the plain fold of its records.

use std::collections::BTreeMap;

use proptest::prelude::*;
use write_behind_shared::Change;

use super::*;
use crate::core::pipeline::bounds::Bounds;
use crate::core::record::RawRecord;

type Record = (u8, Option<&'static str>, Option<&'static str>, Option<WriteId>);

/// Folds a record, or sets it aside.
fn fold(
    buffer: &mut Buffer,
    memory: &mut PartitionMemory,
    offset: i64,
    record: &Record,
) -> Result<Folded, RecordError> {
    let (key, value, add, id) = record;
    let id = id.map(WriteId::encode);
    let mut headers: Vec<(&str, Option<&[u8]>)> = Vec::new();
    headers.extend(add.map(|add| (record::ADD, Some(add.as_bytes()))));
    headers.extend(id.as_ref().map(|id| (record::WRITE_ID, Some(&id[..]))));
    let incoming = Incoming {
        partition: Partition(0),
        offset: Offset(offset),
        timestamp: Some(offset * 1000),
        key: Some(std::slice::from_ref(key)),
        value: value.map(str::as_bytes),
        headers: &headers,
    };
    let folded = buffer.fold(&incoming, memory);
    if let Err(error) = &folded {
        buffer.set_aside(&incoming, error);
    }
    folded
}

fn empty() -> (Buffer, PartitionMemory) {
    (Buffer::new(Partition(0), NextOffset(0), Duration::ZERO), PartitionMemory::default())
}

fn shown(change: &Change) -> String {
    let cells: Vec<_> = change.cells().map(|(name, cell)| format!("{name}:{cell:?}")).collect();
    format!("{} {} {cells:?}", change.resets(), change.writes())
}

fn a_record() -> impl Strategy<Value = Record> {
    let value = prop::sample::select(vec![
        (None, None),
        (Some(r#"{"a":1}"#), None),
        (Some(r#"{"a":2}"#), None),
        (Some(r#"{"a":3,"b":4}"#), None),
        (Some(r#"{"b":4,"a":3}"#), None),
        (Some(r#"{"a":5,"b":6}"#), Some("b")),
        (Some(r#"{"a":5}"#), Some("")),
        (Some("{}"), None),
        (Some(r#"{"a":5"#), None),
        (Some(r#"{"a":"x"}"#), Some("a")),
        (None, Some("a")),
    ]);
    (0_u8..3, value).prop_map(|(key, (value, add))| (key, value, add, None))
}

proptest! {
    #[test]
    fn folding_bytes_is_folding_changes_and_bad_records_change_nothing(
        records in prop::collection::vec(a_record(), 0..30),
    ) {
        let (mut buffer, mut memory) = empty();
        let mut model: BTreeMap<u8, Change> = BTreeMap::new();
        let mut bad = Vec::new();
        for (at, record) in records.iter().enumerate() {
            let folded = fold(&mut buffer, &mut memory, at as i64, record);
            if let Ok(change) = record::decode(record.1.map(str::as_bytes), record.2) {
                prop_assert_eq!(folded, Ok(Folded::Applied));
                model.entry(record.0).or_default().fold(change);
            } else {
                prop_assert!(folded.is_err());
                bad.push(Offset(at as i64));
            }
        }
        prop_assert_eq!(buffer.records(), records.len() as u64);
        let contents = buffer.into_contents();
        let rows: BTreeMap<u8, String> =
            contents.rows.iter().map(|row| (row.key[0], shown(&row.change))).collect();
        let model: BTreeMap<u8, String> =
            model.iter().map(|(key, change)| (*key, shown(change))).collect();
        prop_assert_eq!(rows, model);
        let aside: Vec<_> = contents.dead_letters.iter().map(|letter| letter.record.offset).collect();
        prop_assert_eq!(aside, bad);
    }

    #[test]
    fn the_bytes_are_never_less_than_what_the_rows_hold(
        records in prop::collection::vec(a_record(), 0..30),
    ) {
        let (mut buffer, mut memory) = empty();
        for (at, record) in records.iter().enumerate() {
            let _ = fold(&mut buffer, &mut memory, at as i64, record);
        }
        let held: usize = buffer.rows.iter().map(BufferedRow::heap_size).sum();
        let aside: usize = buffer.dead_letters.iter().map(heap_size::of_dead_letter).sum();
        prop_assert_eq!(buffer.bytes(), held + aside + buffer.rows.heap_size());
    }
}

fn id(sequence: u64) -> WriteId {
    WriteId { writer: Uuid::from_u128(7), sequence }
}

fn seen(last: WriteId, at: i64) -> WriterSeen {
    WriterSeen { partition: Partition(0), last, at: Offset(at) }
}

#[test]
fn a_repeated_row_with_the_same_columns_stays_bytes() {
    let (mut buffer, mut memory) = empty();
    for at in 0..3 {
        fold(&mut buffer, &mut memory, at, &(1, Some(r#"{"a":1}"#), None, None)).unwrap();
    }
    assert!(buffer.rows.iter().next().unwrap().shape().is_some());
    assert_eq!((buffer.start(), buffer.next()), (NextOffset(0), NextOffset(3)));
    assert_eq!(buffer.oldest(), Some(0));
}

#[test]
fn a_large_value_does_not_keep_its_room_when_a_small_one_replaces_it() {
    let (mut buffer, mut memory) = empty();
    let large: &'static str = format!(r#"{{"a":"{}"}}"#, "x".repeat(900_000)).leak();
    fold(&mut buffer, &mut memory, 0, &(1, Some(large), None, None)).unwrap();
    fold(&mut buffer, &mut memory, 1, &(1, Some(r#"{"a":""}"#), None, None)).unwrap();
    assert!(buffer.rows.iter().next().unwrap().shape().is_some());
    assert!(buffer.bytes() < 1_000, "{} bytes are kept", buffer.bytes());
}

#[test]
fn a_sequence_seen_before_is_dropped_and_remembered() {
    let (mut buffer, _) = empty();
    let mut memory = PartitionMemory::new(&Bounds::STANDARD, [seen(id(4), -1)]);
    let one = |sequence| (1, Some(r#"{"n":1}"#), Some("n"), Some(id(sequence)));
    assert_eq!(fold(&mut buffer, &mut memory, 0, &one(4)), Ok(Folded::Duplicate));
    assert_eq!(fold(&mut buffer, &mut memory, 1, &one(5)), Ok(Folded::Applied));
    assert_eq!(fold(&mut buffer, &mut memory, 2, &one(5)), Ok(Folded::Duplicate));
    let contents = buffer.into_contents();
    assert_eq!(contents.duplicates, [(Partition(0), Offset(0)), (Partition(0), Offset(2))]);
    assert_eq!(contents.rows[0].change.to_row().unwrap().unwrap(), br#"{"n":1}"#);
    assert_eq!(contents.writers, [seen(id(5), 1)]);
}

#[test]
fn a_jump_in_the_sequence_is_applied_and_told() {
    let (mut buffer, mut memory) = empty();
    let one = |sequence| (1, Some(r#"{"n":1}"#), Some("n"), Some(id(sequence)));
    let mut gaps = Vec::new();
    for (offset, sequence) in [(0, 0), (1, 2), (2, 3)] {
        assert_eq!(fold(&mut buffer, &mut memory, offset, &one(sequence)), Ok(Folded::Applied));
        gaps.push(memory.take_gap());
    }
    assert_eq!(gaps, [None, Some(id(2)), None]);
    let contents = buffer.into_contents();
    assert_eq!(contents.rows[0].change.to_row().unwrap().unwrap(), br#"{"n":3}"#);
}

#[test]
fn a_writers_first_record_must_be_its_sequence_zero() {
    let (mut buffer, mut memory) = empty();
    let late = (1, Some(r#"{"n":1}"#), None, Some(id(1)));
    fold(&mut buffer, &mut memory, 0, &late).unwrap();
    assert_eq!(memory.take_gap(), Some(id(1)));
}

#[test]
fn a_jump_is_told_of_a_bad_record_too_and_a_bad_record_is_no_jump() {
    let (mut buffer, mut memory) = empty();
    let bad = |sequence| (1, Some("{"), None, Some(id(sequence)));
    let bad_headers = |sequence| (1, Some("{}"), Some("n"), Some(id(sequence)));
    let good = |sequence| (1, Some("{}"), None, Some(id(sequence)));
    assert!(fold(&mut buffer, &mut memory, 0, &bad(1)).is_err());
    assert_eq!(memory.take_gap(), Some(id(1)), "the record with sequence 0 is missing");
    assert!(fold(&mut buffer, &mut memory, 1, &bad_headers(2)).is_err());
    assert_eq!(fold(&mut buffer, &mut memory, 2, &good(3)), Ok(Folded::Applied));
    assert_eq!(memory.take_gap(), None);
    assert_eq!(fold(&mut buffer, &mut memory, 3, &bad(3)), Ok(Folded::Duplicate));
    assert_eq!(buffer.into_contents().writers[0].last, id(3));
}

#[test]
fn a_header_that_stands_twice_does_not_hide_which_write_the_record_is() {
    let (mut buffer, mut memory) = empty();
    let id = id(0).encode();
    let headers = [(record::WRITE_ID, Some(&id[..])), (record::ADD, None), (record::ADD, None)];
    let record = |offset| Incoming {
        partition: Partition(0),
        offset: Offset(offset),
        timestamp: None,
        key: Some(b"1"),
        value: Some(b"{}"),
        headers: &headers,
    };
    assert_eq!(buffer.fold(&record(0), &mut memory), Err(RecordError::AddHeader));
    buffer.set_aside(&record(0), &RecordError::AddHeader);
    assert_eq!(buffer.fold(&record(1), &mut memory), Ok(Folded::Duplicate));
}

#[test]
fn a_bad_record_that_is_not_set_aside_leaves_the_buffer_ending_before_it() {
    let (mut buffer, mut memory) = empty();
    fold(&mut buffer, &mut memory, 0, &(1, Some("{}"), None, Some(id(0)))).unwrap();
    let write_id = id(1).encode();
    let bad = Incoming {
        partition: Partition(0),
        offset: Offset(1),
        timestamp: None,
        key: Some(b"2"),
        value: Some(b"{"),
        headers: &[(record::WRITE_ID, Some(&write_id[..]))],
    };
    assert!(buffer.fold(&bad, &mut memory).is_err());
    assert_eq!((buffer.next(), buffer.records(), buffer.rows()), (NextOffset(1), 1, 1));
    assert_eq!(buffer.into_contents().writers[0].last, id(0), "it is still to be seen");
}

#[test]
fn a_record_without_a_key_is_bad_and_keeps_all_it_came_with() {
    let (mut buffer, mut memory) = empty();
    let headers = [("trace", Some(&b"t"[..])), ("empty", None)];
    let record = Incoming {
        partition: Partition(0),
        offset: Offset(0),
        timestamp: None,
        key: None,
        value: Some(b"{}"),
        headers: &headers,
    };
    assert_eq!(buffer.fold(&record, &mut memory), Err(RecordError::NoKey));
    buffer.set_aside(&record, &RecordError::NoKey);
    let contents = buffer.into_contents();
    let letter = &contents.dead_letters[0];
    assert_eq!(letter.reason, "the record has no key");
    assert_eq!(letter.record, RawRecord::from(&record));
    assert_eq!(letter.record.headers.len(), 2);
}

#[test]
fn the_last_record_is_the_one_before_the_next_offset() {
    let (mut buffer, mut memory) = empty();
    for offset in [4, 7] {
        fold(&mut buffer, &mut memory, offset, &(1, Some("{}"), None, None)).unwrap();
    }
    let (partition, offset) = (Partition(0), Offset(7));
    assert_eq!(buffer.last_record(), Some(LastRecord { partition, offset, timestamp: 7_000 }));
    assert_eq!(buffer.oldest(), Some(4_000));
}

#[test]
fn a_record_that_was_set_aside_counts_as_a_row_of_the_batch() {
    let (mut buffer, mut memory) = empty();
    fold(&mut buffer, &mut memory, 0, &(1, Some("{}"), None, None)).unwrap();
    fold(&mut buffer, &mut memory, 1, &(1, Some("{"), None, None)).unwrap_err();
    assert_eq!(buffer.rows(), 2, "it is a statement to the database too");
}
