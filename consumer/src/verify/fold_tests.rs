//! What a pass holds and leaves.

use proptest::prelude::*;
use write_behind_shared::key::KeyKind;

use super::*;

fn table() -> Table {
    let key = KeyColumn { name: "id".to_owned(), kind: KeyKind::Integer(0..=i64::MAX) };
    Table {
        sql_name: "t".to_owned(),
        columns: Vec::new(),
        key: vec![key],
        key_index: None,
        guarded: false,
        renamed: None,
        version: None,
    }
}

fn folded(
    records: &[(u16, Option<&'static str>)],
    choice: Choice,
    range: Range,
    memory: usize,
) -> Folded {
    let skipped = Arc::new(BTreeSet::new());
    let whole = [Partition(0)].into();
    let mut fold = Fold::new(&table(), Arc::new(choice), skipped, whole, range, memory);
    for (offset, (key, value)) in records.iter().enumerate() {
        let key = key.to_string();
        fold.take(&Incoming {
            partition: Partition(0),
            offset: Offset(offset as i64),
            timestamp: None,
            key: Some(key.as_bytes()),
            value: value.map(str::as_bytes),
            headers: &[],
        });
    }
    fold.finish()
}

/// Each row's key, what it holds, and its last offsets.
fn shown(rows: &Rows) -> BTreeSet<(String, Option<String>, Vec<i64>)> {
    let row = |((_, key), entry): (&(Partition, Box<[u8]>), &Entry)| {
        let row = entry.change.to_row().unwrap().map(|row| String::from_utf8(row).unwrap());
        let offsets = entry.offsets.iter().map(|offset| offset.0).collect();
        (String::from_utf8(key.to_vec()).unwrap(), row, offsets)
    };
    rows.iter().map(row).collect()
}

fn values() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![Just(None), Just(Some(r#"{"n":1}"#)), Just(Some(r#"{"m":2}"#)), Just(Some("{}"))]
}

proptest! {
    #[test]
    fn passes_over_a_small_memory_find_together_what_one_over_a_large_one_finds(
        records in prop::collection::vec((0_u16..60, values()), 0..200),
        memory in 300_usize..5_000,
    ) {
        let at_once = shown(&folded(&records, Choice::All, Range::ALL, usize::MAX).rows);
        let mut ranges = vec![Range::ALL];
        let mut in_passes = BTreeSet::new();
        while let Some(range) = ranges.pop() {
            let pass = folded(&records, Choice::All, range, memory);
            for row in shown(&pass.rows) {
                prop_assert!(in_passes.insert(row), "a row is in one pass only");
            }
            ranges.extend(pass.left);
        }
        prop_assert_eq!(in_passes, at_once);
    }
}

#[test]
fn a_sample_is_the_same_rows_each_time_and_as_many_as_asked_for() {
    let records: Vec<_> = (0..5_000).map(|key| (key, Some("{}"))).collect();
    let backwards: Vec<_> = records.iter().rev().copied().collect();
    let keys = |records: &[(u16, Option<&'static str>)]| {
        let folded = folded(records, Choice::Sample(40), Range::ALL, usize::MAX);
        assert!(folded.left.is_empty());
        folded.rows.into_keys().map(|(_, key)| key).collect::<BTreeSet<_>>()
    };
    assert_eq!(keys(&records).len(), 40);
    assert_eq!(keys(&records), keys(&backwards));
}

#[test]
fn a_row_names_its_last_three_records_and_not_those_that_were_set_aside() {
    let skipped = Arc::new([(Partition(0), Offset(3))].into());
    let (choice, whole) = (Arc::new(Choice::All), [Partition(0)].into());
    let mut fold = Fold::new(&table(), choice, skipped, whole, Range::ALL, usize::MAX);
    for offset in 0..5 {
        let bad = offset == 2;
        fold.take(&Incoming {
            partition: Partition(0),
            offset: Offset(offset),
            timestamp: None,
            key: Some(b"7"),
            value: Some(if bad { b"no object" } else { b"{\"n\":1}" }),
            headers: &[("add", Some(b"n"))],
        });
    }
    let rows = shown(&fold.finish().rows);
    let sum = Some(r#"{"n":3}"#.to_owned());
    assert_eq!(rows, [("7".to_owned(), sum, vec![0, 1, 4])].into());
}
