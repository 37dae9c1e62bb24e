//! What a pass holds and leaves.

use proptest::prelude::*;
use write_behind_shared::key::KeyKind;

use super::*;
use crate::core::table::{Column, ColumnKind};

fn table() -> Table {
    Table::plain("t", KeyKind::Integer(0..=i64::MAX), Vec::new())
}

fn folded(
    records: &[(u16, Option<&'static str>)],
    choice: Choice,
    range: Range,
    memory: usize,
) -> FoldedPass {
    let set_aside = Arc::new(SetAside::default());
    let whole = [Partition(0)].into();
    let mut fold = VerifyFold::new(&table(), Arc::new(choice), set_aside, whole, range, memory);
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
fn shown(rows: &FoldedRows) -> BTreeSet<(String, Option<String>, Vec<i64>)> {
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
    let skipped = [(Partition(0), Offset(3))].into();
    let set_aside = Arc::new(SetAside { skipped, ..SetAside::default() });
    let (choice, whole) = (Arc::new(Choice::All), [Partition(0)].into());
    let mut fold = VerifyFold::new(&table(), choice, set_aside, whole, Range::ALL, usize::MAX);
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

/// The table of a route whose version column is `v`.
fn with_version() -> Table {
    let integer = || ColumnKind::Integer(0..=i64::MAX);
    let columns = vec![
        Column::plain("id", integer()),
        Column::plain("v", ColumnKind::Numeric(Some(2))),
        Column::plain("a", integer()),
        Column::plain("n", integer()),
    ];
    Table { columns, ..table() }.with_version("v").unwrap()
}

/// One row's fold over these values, and whether it is unclear; those that add do so to `n`.
fn heeded(
    values: &[Option<&str>],
    whole: bool,
    set_aside: SetAside,
) -> (Option<String>, Vec<i64>, bool) {
    let (choice, partition) = (Arc::new(Choice::All), Partition(0));
    let whole = whole.then_some(partition).into_iter().collect();
    let set_aside = Arc::new(set_aside);
    let mut fold =
        VerifyFold::new(&with_version(), choice, set_aside, whole, Range::ALL, usize::MAX);
    for (offset, value) in (0..).zip(values) {
        let adds = value.is_some_and(|value| value.contains("\"n\""));
        let headers: &[(&str, Option<&[u8]>)] = &[("add", Some(b"n"))];
        fold.take(&Incoming {
            partition,
            offset: Offset(offset),
            timestamp: None,
            key: Some(b"7"),
            value: value.map(str::as_bytes),
            headers: if adds { headers } else { &[] },
        });
    }
    let rows = fold.finish().rows;
    let is_unclear = rows.values().any(|entry| entry.is_unclear);
    let (_, row, offsets) = shown(&rows).into_iter().next().unwrap_or_default();
    (row, offsets, is_unclear)
}

/// A record of a row: `None` is a tombstone, else its version, what it sets and what it adds.
type Write = Option<(u8, Option<u8>, Option<u8>)>;

proptest! {
    #[test]
    fn a_version_is_left_out_exactly_when_it_is_older_than_the_last_one_that_was_not(
        writes in prop::collection::vec(
            prop::option::weighted(
                0.9,
                (0..5_u8, prop::option::of(0..9_u8), prop::option::of(1..9_u8)),
            ),
            1..12,
        ),
    ) {
        let mut row: Option<(u8, Option<u8>, Option<u64>)> = None;
        let mut applied: Vec<i64> = Vec::new();
        for (offset, write) in (0..).zip(&writes) {
            match (*write, &mut row) {
                (None, row) => *row = None,
                (Some((version, ..)), Some((newest, ..))) if version < *newest => continue,
                (Some((version, set, add)), row) => {
                    let (_, a, n) = row.unwrap_or_default();
                    let sum = add.map(|add| n.unwrap_or(0) + u64::from(add)).or(n);
                    *row = Some((version, set.or(a), sum));
                }
            }
            applied.push(offset);
        }
        let value = |write: &Write| write.map(|(version, set, add)| {
            let set = set.map_or(String::new(), |a| format!(r#","a":{a}"#));
            let add = add.map_or(String::new(), |n| format!(r#","n":{n}"#));
            // The same number in more than one spelling.
            let point = if version % 2 == 0 { ".0" } else { "" };
            format!(r#"{{"v":{version}{point}{set}{add}}}"#)
        });
        let values: Vec<_> = writes.iter().map(value).collect();
        let values: Vec<_> = values.iter().map(Option::as_deref).collect();
        let (found, offsets, is_unclear) = heeded(&values, true, SetAside::default());
        let expected = row.map(|(version, a, n)| {
            let point = if version % 2 == 0 { ".0" } else { "" };
            let a = a.map_or(String::new(), |a| format!(r#""a":{a},"#));
            let n = n.map_or(String::new(), |n| format!(r#""n":{n},"#));
            format!(r#"{{{a}{n}"v":{version}{point}}}"#)
        });
        prop_assert_eq!(found, expected);
        let last = applied.len().saturating_sub(OFFSETS_NAMED);
        prop_assert_eq!(offsets, &applied[last..]);
        prop_assert!(!is_unclear);
    }
}

#[test]
fn a_value_without_a_version_was_set_aside_whether_or_not_its_letter_is_there() {
    let values = [Some(r#"{"v":3,"a":1}"#), Some(r#"{"a":2}"#), Some(r#"{"v":null,"a":2}"#)];
    let (row, offsets, is_unclear) = heeded(&values, true, SetAside::default());
    assert_eq!((row.as_deref(), offsets), (Some(r#"{"a":1,"v":3}"#), vec![0]));
    assert!(!is_unclear);
}

#[test]
fn what_was_applied_is_unclear_behind_a_lost_beginning_or_a_replayed_letter_until_a_delete() {
    let write = Some(r#"{"v":3,"a":1}"#);
    let replayed = [(Partition(0), Offset(1))].into();
    let replayed = || SetAside { replayed: BTreeSet::clone(&replayed), ..SetAside::default() };
    for (values, whole, set_aside, unclear) in [
        (&[write, write][..], true, SetAside::default(), false),
        (&[write][..], false, SetAside::default(), true),
        (&[write, None, write][..], false, SetAside::default(), false),
        (&[write, write][..], true, replayed(), true),
        (&[write, write, None][..], true, replayed(), false),
    ] {
        assert_eq!(heeded(values, whole, set_aside).2, unclear, "{values:?}");
    }
}

/// A record's value and headers.
type Given<'a> = (&'a str, &'a [(&'a str, &'a [u8])]);

/// Folds one record after the other, of a partition whose log begins where it
/// is `whole`.
fn fold_of(whole: bool, records: &[Given<'_>]) -> FoldedPass {
    let whole = whole.then_some(Partition(0)).into_iter().collect();
    let skipped = [(Partition(0), Offset(1))].into();
    let set_aside = Arc::new(SetAside { skipped, ..SetAside::default() });
    let choice = Arc::new(Choice::All);
    let mut fold = VerifyFold::new(&table(), choice, set_aside, whole, Range::ALL, 1 << 20);
    for (offset, (value, headers)) in records.iter().enumerate() {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, Some(*value))).collect();
        fold.take(&Incoming {
            partition: Partition(0),
            offset: Offset(offset as i64 * 2),
            timestamp: None,
            key: Some(b"7"),
            value: Some(value.as_bytes()),
            headers: &headers,
        });
    }
    fold.finish()
}

#[test]
fn a_producers_duplicate_is_folded_once() {
    let id = |sequence| write_behind_shared::WriteId { writer: Uuid::from_u128(1), sequence };
    let (first, second) = (id(0).encode(), id(1).encode());
    let add: (&str, &[u8]) = (record::ADD, b"n");
    let [first, second] = [&first, &second].map(|id| [(record::WRITE_ID, &id[..]), add]);
    let one = r#"{"n":1}"#;
    let folded = fold_of(true, &[(one, &first), (one, &second), (one, &first), (one, &second)]);
    let row = folded.rows.values().next().unwrap();
    assert_eq!(row.change.to_row().unwrap().unwrap(), br#"{"n":2}"#);
}

#[test]
fn what_a_row_was_before_the_beginning_of_the_log_is_unknown_and_nothing_where_it_is_whole() {
    for whole in [true, false] {
        let folded = fold_of(whole, &[(r#"{"n":1}"#, &[])]);
        assert_eq!(folded.rows.values().next().unwrap().change.resets(), whole);
    }
}

#[test]
fn a_row_has_its_last_offsets_and_one_of_bad_records_only_is_none() {
    let folded = fold_of(true, &[("{}", &[][..]); 5]);
    assert_eq!(folded.rows.values().next().unwrap().offsets, [4, 6, 8].map(Offset));
    assert!(fold_of(true, &[("{", &[])]).rows.is_empty());
}

#[test]
fn what_takes_more_than_the_memory_is_left_for_another_pass() {
    let records: Vec<_> = (0..100).map(|key| (key, Some("{}"))).collect();
    assert!(folded(&records, Choice::All, Range::ALL, usize::MAX).left.is_empty());
    let few = folded(&records, Choice::All, Range::ALL, 10 * ROW_OVERHEAD);
    assert!(few.rows.len() <= 10 && !few.left.is_empty(), "{} rows", few.rows.len());
}

#[test]
fn only_the_chosen_keys_are_folded() {
    let keys = Choice::Keys([Box::from(&b"2"[..])].into());
    let folded = folded(&[(1, Some("{}")), (2, Some("{}"))], keys, Range::ALL, usize::MAX);
    assert_eq!(shown(&folded.rows).len(), 1);
    assert!(folded.rows.keys().all(|(_, key)| **key == *b"2"));
}
