//! A buffer against the plain fold of its records.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Record = (u8, Option<&'static str>, Option<&'static str>, Option<WriteId>);

fn fold(buffer: &mut Buffer, memory: &mut Memory, offset: i64, record: &Record) -> Folded {
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
    buffer.fold(&incoming, memory)
}

fn empty() -> (Buffer, Memory) {
    (Buffer::new(Partition(0), NextOffset(0), Duration::ZERO), Memory::default())
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
                prop_assert_eq!(folded, Folded::Applied);
                model.entry(record.0).or_default().fold(change);
            } else {
                prop_assert_eq!(folded, Folded::Bad);
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
            fold(&mut buffer, &mut memory, at as i64, record);
        }
        let held: usize = buffer.rows.iter().map(|(key, row)| key.len() + row.bytes()).sum();
        let aside: usize = buffer.dead_letters.iter().map(|letter| letter.record.bytes()).sum();
        prop_assert_eq!(
            buffer.bytes(),
            held + aside
                + ROW_OVERHEAD * buffer.rows.len()
                + DEAD_LETTER_OVERHEAD * buffer.dead_letters.len()
        );
    }
}

fn id(sequence: u64) -> WriteId {
    WriteId { writer: Uuid::from_u128(7), sequence }
}

#[test]
fn a_repeated_row_with_the_same_columns_stays_bytes() {
    let (mut buffer, mut memory) = empty();
    for at in 0..3 {
        fold(&mut buffer, &mut memory, at, &(1, Some(r#"{"a":1}"#), None, None));
    }
    assert!(matches!(buffer.rows.values().next(), Some(Row::Values(..))));
    assert_eq!((buffer.start(), buffer.next()), (NextOffset(0), NextOffset(3)));
    assert_eq!(buffer.oldest(), Some(0));
}

#[test]
fn a_large_value_does_not_keep_its_room_when_a_small_one_replaces_it() {
    let (mut buffer, mut memory) = empty();
    let large: &'static str = format!(r#"{{"a":"{}"}}"#, "x".repeat(900_000)).leak();
    fold(&mut buffer, &mut memory, 0, &(1, Some(large), None, None));
    fold(&mut buffer, &mut memory, 1, &(1, Some(r#"{"a":""}"#), None, None));
    let Some(Row::Values(_, bytes)) = buffer.rows.values().next() else { panic!("it is bytes") };
    assert!(bytes.capacity() <= buffer.bytes(), "{} bytes are kept", bytes.capacity());
}

#[test]
fn a_sequence_seen_before_is_dropped_and_remembered() {
    let (mut buffer, _) = empty();
    let mut memory = Memory::new([id(4)]);
    let one = |sequence| (1, Some(r#"{"n":1}"#), Some("n"), Some(id(sequence)));
    assert_eq!(fold(&mut buffer, &mut memory, 0, &one(4)), Folded::Duplicate);
    assert_eq!(fold(&mut buffer, &mut memory, 1, &one(5)), Folded::Applied);
    assert_eq!(fold(&mut buffer, &mut memory, 2, &one(5)), Folded::Duplicate);
    let contents = buffer.into_contents();
    assert_eq!(contents.duplicates, [(Partition(0), Offset(0)), (Partition(0), Offset(2))]);
    assert_eq!(contents.rows[0].change.to_row().unwrap().unwrap(), br#"{"n":1}"#);
    assert_eq!(contents.writers, [WriterSeen { partition: Partition(0), last: id(5) }]);
}

#[test]
fn a_jump_in_the_sequence_is_applied_and_told() {
    let (mut buffer, mut memory) = empty();
    let one = |sequence| (1, Some(r#"{"n":1}"#), Some("n"), Some(id(sequence)));
    assert_eq!(fold(&mut buffer, &mut memory, 0, &one(0)), Folded::Applied);
    let gap = Folded::AppliedAfterGap(id(2));
    assert_eq!(fold(&mut buffer, &mut memory, 1, &one(2)), gap);
    assert_eq!(fold(&mut buffer, &mut memory, 2, &one(3)), Folded::Applied);
    let contents = buffer.into_contents();
    assert_eq!(contents.rows[0].change.to_row().unwrap().unwrap(), br#"{"n":3}"#);
}

#[test]
fn a_writers_first_record_must_be_its_sequence_zero() {
    let (mut buffer, mut memory) = empty();
    let late = (1, Some(r#"{"n":1}"#), None, Some(id(1)));
    let gap = Folded::AppliedAfterGap(id(1));
    assert_eq!(fold(&mut buffer, &mut memory, 0, &late), gap);
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
    assert_eq!(buffer.fold(&record, &mut memory), Folded::Bad);
    let contents = buffer.into_contents();
    let letter = &contents.dead_letters[0];
    assert_eq!(letter.reason, "the record has no key");
    assert_eq!(letter.record, RawRecord::from(&record));
    assert_eq!(letter.record.headers.len(), 2);
}
