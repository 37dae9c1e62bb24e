//! Tests of the map of pending rows.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A row that can be told from others.
fn row(mark: u32) -> Entry {
    let mut row = Entry::over(None);
    row.pins = mark;
    row
}

fn key(n: u32) -> Key {
    Key::from(n.to_string().into_bytes())
}

fn all(rows: &Rows) -> BTreeMap<Key, u32> {
    rows.keys().map(|key| (Key::clone(key), rows.get(key).unwrap().pins)).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Write(u32),
    Remove(u32),
    Shrink,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..900_u32).prop_map(Step::Write),
        4 => (0..900_u32).prop_map(Step::Remove),
        1 => Just(Step::Shrink),
    ]
}

proptest! {
    #[test]
    fn rows_are_found_by_their_keys_whatever_came_and_went(
        before in 0..900_u32, steps in prop::collection::vec(step(), 0..400),
    ) {
        let (mut rows, mut expected) = (Rows::default(), BTreeMap::new());
        for n in 0..before {
            rows.insert(key(n), row(n));
            expected.insert(key(n), n);
        }
        for (at, step) in (1_000..).zip(steps) {
            match step {
                Step::Write(n) => {
                    let found = rows.get_or_insert_with(&key(n), || row(at)).1.pins;
                    prop_assert_eq!(found, *expected.entry(key(n)).or_insert(at));
                    rows.get_mut(&key(n)).unwrap().pins += 1;
                    expected.insert(key(n), found + 1);
                }
                Step::Remove(n) => {
                    let removed = rows.remove(&key(n)).map(|(key, row)| (key, row.pins));
                    prop_assert_eq!(removed, expected.remove_entry(&key(n)));
                }
                Step::Shrink => {
                    rows.shrink();
                    prop_assert!(rows.capacity() < expected.len() + CHUNK);
                }
            }
            prop_assert_eq!(rows.len(), expected.len());
        }
        prop_assert_eq!(all(&rows), expected);
    }
}

#[test]
fn places_of_rows_that_left_are_used_before_there_are_more() {
    let mut rows = Rows::default();
    let many = 10 * CHUNK as u32;
    for round in 0..5 {
        (0..many).for_each(|n| rows.insert(key(round * many + n), row(n)));
        (0..many).for_each(|n| drop(rows.remove(&key(round * many + n)).unwrap()));
    }
    assert!(rows.is_empty());
    assert_eq!(rows.capacity(), many as usize);
}

/// The table may grow under the partition's lock, but no rows are copied.
#[test]
fn rows_stay_where_they_are_while_others_come() {
    let mut rows = Rows::default();
    let first = CHUNK as u32;
    (0..2 * first).for_each(|n| rows.insert(key(n), row(n)));
    let place = |rows: &Rows| std::ptr::from_ref(rows.get(&key(first)).unwrap());
    let before = place(&rows);
    (2 * first..100 * first).for_each(|n| rows.insert(key(n), row(n)));
    assert_eq!(place(&rows), before);
}

/// There may be a million of them, and their tables copy none: what it takes is a choice.
#[test]
fn a_pending_row_takes_no_more_than_it_did() {
    assert_eq!(size_of::<Option<(Key, Entry)>>(), 208);
}
