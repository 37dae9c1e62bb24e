//! The laws of the fold, held against a plain map.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A row as a plain map, changed in the obvious way: the model of the fold.
type Row = Option<BTreeMap<String, serde_json::Value>>;

fn apply(row: Row, change: &Change) -> Row {
    let row = if change.resets() { None } else { row };
    if !change.writes() {
        return row;
    }
    let mut row = row.unwrap_or_default();
    for (name, cell) in change.cells() {
        let held = row.get(name).and_then(serde_json::Value::as_i64).unwrap_or(0);
        let value = match cell {
            Cell::Set(value) => serde_json::from_str(value.get()).unwrap(),
            Cell::Add(delta) => (held + delta.total().as_i64().unwrap()).into(),
            Cell::SetThenAdd(..) => serde_json::from_str(&cell.value(name).unwrap()).unwrap(),
        };
        row.insert(name.to_owned(), value);
    }
    Some(row)
}

/// Changes of a few columns, so that they overlap.
fn a_change() -> impl Strategy<Value = Change> {
    let column = prop::sample::select(vec!["a", "b", "c"]);
    let cell = (column, any::<bool>(), -5_i64..5, prop::bool::weighted(0.1));
    let written = prop::collection::vec(cell, 0..4).prop_map(|cells| {
        cells.into_iter().fold(Change::new(), |change, (column, add, number, null)| match add {
            true => change.add(column, number),
            false if null => change.set(column, &()).unwrap(),
            false => change.set(column, &number).unwrap(),
        })
    });
    prop_oneof![5 => written, 1 => Just(Change::delete()), 1 => Just(Change::default())]
}

fn folded(changes: &[Change]) -> Change {
    changes.iter().fold(Change::default(), |mut earlier, later| {
        earlier.fold(later.clone());
        earlier
    })
}

fn document(change: &Change) -> (bool, bool, Vec<(String, String)>) {
    let cells = change.cells().map(|(name, cell)| (name.to_owned(), format!("{cell:?}")));
    (change.resets(), change.writes(), cells.collect())
}

proptest! {
    #[test]
    fn folding_then_applying_is_applying_one_by_one(
        changes in prop::collection::vec(a_change(), 0..12),
        start in prop::option::of(-5_i64..5),
    ) {
        let row: Row = start.map(|a| BTreeMap::from([("a".to_owned(), a.into())]));
        let one_by_one = changes.iter().fold(row.clone(), apply);
        prop_assert_eq!(apply(row, &folded(&changes)), one_by_one);
    }

    #[test]
    fn any_grouping_folds_to_the_same(
        changes in prop::collection::vec(a_change(), 0..12),
        cut in 0_usize..12,
    ) {
        let cut = cut.min(changes.len());
        let mut in_two = folded(&changes[..cut]);
        in_two.fold(folded(&changes[cut..]));
        prop_assert_eq!(document(&in_two), document(&folded(&changes)));
    }
}

#[test]
fn an_increment_after_a_set_adds_to_the_set_value() {
    let change = Change::new().set("n", &10).unwrap().add("n", 5).add("n", -1);
    assert_eq!(change.to_row().unwrap().unwrap(), br#"{"n":14}"#);
}

#[test]
fn a_set_after_an_increment_replaces_it() {
    let change = Change::new().add("n", 5).set("n", "x").unwrap();
    assert_eq!(change.to_row().unwrap().unwrap(), br#"{"n":"x"}"#);
}

#[test]
fn anything_after_a_delete_starts_from_an_empty_row() {
    let mut change = Change::new().set("a", &1).unwrap().add("n", 7);
    change.fold(Change::delete());
    change.fold(Change::new().add("n", 1));
    assert!(change.resets() && change.writes());
    assert!(!change.needs_earlier_value());
    assert_eq!(change.to_row().unwrap().unwrap(), br#"{"n":1}"#);
}

#[test]
fn a_null_starts_from_nothing_and_exact_decimals_may_be_strings() {
    let change = Change::new()
        .set("a", &())
        .unwrap()
        .add("a", 3)
        .set("b", "0.10")
        .unwrap()
        .add("b", "0.2".parse::<Number>().unwrap());
    assert_eq!(change.to_row().unwrap().unwrap(), br#"{"a":3,"b":0.30}"#);
}

#[test]
fn adding_to_what_is_no_number_is_told_with_the_column_and_its_value() {
    let change = Change::new().set("a", "ten").unwrap().add("a", 1);
    let error = change.to_row().unwrap_err();
    assert_eq!(error, NotNumeric { column: "a".to_owned(), value: "\"ten\"".to_owned() });
}

#[test]
fn names_that_need_escapes_survive() {
    let change = Change::new().set("a\"b\n", &1).unwrap();
    let row = change.to_row().unwrap().unwrap();
    let back: BTreeMap<String, i64> = serde_json::from_slice(&row).unwrap();
    assert_eq!(back, BTreeMap::from([("a\"b\n".to_owned(), 1)]));
}

#[test]
fn the_digits_of_what_is_added_count_as_memory() {
    let digits = "7".repeat(1_000);
    let large: Number = digits.parse().unwrap();
    let small = Change::new().add("n", 1);
    let added = Change::new().add("n", large.clone());
    assert!(added.bytes() > small.bytes() + 300, "{} bytes", added.bytes());
    let mut both = Change::new().set("n", &1).unwrap();
    both.fold(added);
    assert!(both.bytes() > small.bytes() + 300, "{} bytes", both.bytes());
}
