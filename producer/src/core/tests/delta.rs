//! Two writes joined into one are what they were apart: to reads here, and to readers of the log.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// A record is as large as it likes.
const ANY: usize = usize::MAX;

fn value(row: Option<&[u8]>) -> Option<Value> {
    row.map(|row| serde_json::from_slice(row).unwrap())
}

fn json() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-9_i64..100).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => Just(Value::from("text")),
        1 => Just(Value::from("2.50")),
    ]
}

/// A row has all columns: that is what a put says.
fn whole() -> impl Strategy<Value = Row> {
    (json(), json(), json()).prop_map(|(a, b, c)| {
        serde_json::json!({"a": a, "b": b, "c": c}).to_string().into_bytes().into()
    })
}

fn change() -> impl Strategy<Value = Delta> {
    let cell = prop_oneof![json().prop_map(Some), Just(None),];
    let column = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::vec((column, cell, -9_i64..10), 0..4).prop_map(|cells| {
        let mut change = Change::new();
        for (place, (name, cell, delta)) in cells.iter().enumerate() {
            let is_new = cells[..place].iter().all(|(other, ..)| other != name);
            change = match cell {
                Some(value) if is_new => change.set(name, value).unwrap(),
                None if is_new => change.add(name, *delta),
                _ => change,
            };
        }
        Delta::Change(Box::new(change))
    })
}

fn delta() -> impl Strategy<Value = Delta> {
    prop_oneof![2 => whole().prop_map(Delta::Put), 1 => Just(Delta::Delete), 4 => change()]
}

/// What a record of `delta` says to who reads it.
fn read_from_the_log(delta: &Delta) -> Change {
    let (value, add) = delta.to_record().expect("one record");
    record::decode(value.as_deref(), add.as_deref()).expect("a good record")
}

/// Whether all fit: what is added to a text is a dead letter, and is left out by itself.
fn fit(base: Option<&Row>, deltas: &[&Delta]) -> bool {
    let mut change =
        base.map_or_else(Change::delete, |row| record::decode(Some(row), None).unwrap());
    deltas.iter().all(|delta| {
        change.fold(read_from_the_log(delta));
        change.to_row().is_ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_joined_write_does_to_any_row_what_both_do(
        base in prop::option::of(whole()),
        first in delta(),
        second in delta(),
    ) {
        prop_assume!(fit(base.as_ref(), &[&first, &second]));
        if let Some(joined) = first.joined_with(&second, ANY) {
            let apart = second.over(first.over(base.clone()));
            prop_assert_eq!(value(joined.over(base).as_deref()), value(apart.as_deref()));
        }
    }

    #[test]
    fn the_record_of_a_joined_write_says_what_both_records_say(
        base in prop::option::of(whole()),
        first in delta(),
        second in delta(),
    ) {
        prop_assume!(fit(base.as_ref(), &[&first, &second]));
        if let Some(joined) = first.joined_with(&second, ANY) {
            let start = base.map_or_else(Change::delete, |row| record::decode(Some(&row), None).unwrap());
            let mut once = start.clone();
            once.fold(read_from_the_log(&joined));
            let mut twice = start;
            twice.fold(read_from_the_log(&first));
            twice.fold(read_from_the_log(&second));
            let (once, twice) = (once.to_row().unwrap(), twice.to_row().unwrap());
            prop_assert_eq!(value(once.as_deref()), value(twice.as_deref()));
        }
    }

    #[test]
    fn a_joined_write_keeps_within_its_bound(first in delta(), second in delta()) {
        if let Some(joined) = first.joined_with(&second, 200) {
            prop_assert!(joined.bytes() <= 200);
        }
    }
}

#[test]
fn what_was_deleted_is_not_joined_with_what_is_written_after() {
    let update = Delta::Change(Box::new(Change::new().add("n", 1)));
    assert!(Delta::Delete.joined_with(&update, ANY).is_none());
    assert!(update.joined_with(&Delta::Delete, ANY).is_some());
}
