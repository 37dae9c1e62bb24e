//! Rows of one table that refer to each other.

use proptest::prelude::*;
use write_behind_shared::Change;
use write_behind_shared::key::KeyKind;

use super::*;
use crate::core::table::{Column, ColumnKind, OwnReference};

/// Rows with a key, a parent, and a name that makes the shape.
fn table() -> Table {
    let integer = |name| Column::plain(name, ColumnKind::Integer(0..=99));
    let columns = vec![integer("id"), integer("parent"), integer("name")];
    let named = |name: &str| vec![name.to_owned()];
    Table {
        own_references: vec![OwnReference { columns: named("parent"), referenced: named("id") }],
        ..Table::plain("t", KeyKind::Integer(0..=99), columns)
    }
}

/// A key, its parent, and the group it is in.
type Entry = (u8, Option<u8>, bool);

fn rows_of(entries: &[Entry]) -> Vec<(Row<'static>, bool)> {
    let row = |(id, parent, named): &Entry| {
        let change = Change::new().set("parent", parent).unwrap();
        let change = if *named { change.set("name", &1).unwrap() } else { change };
        let key = id.to_string();
        let row = Row::judge(&table(), key.as_bytes(), &change);
        (row.unwrap().into_owned(), *named)
    };
    entries.iter().map(row).collect()
}

/// The keys of each group, in order.
fn ordered(entries: &[Entry]) -> Vec<Vec<u8>> {
    let (table, rows) = (table(), rows_of(entries));
    let of = |named: bool| rows.iter().filter(move |(_, of)| *of == named).map(|(row, _)| row);
    let groups = [false, true].map(|named| (named, of(named).collect::<Vec<_>>()));
    let key = |row: &&Row<'_>| row.key[0].parse().unwrap();
    let groups = parents_first(&table, &groups);
    groups.into_iter().map(|(_, rows)| rows.iter().map(key).collect()).collect()
}

#[test]
fn a_parent_comes_before_its_children_and_rows_that_are_alike_stay_together() {
    let cases: [(&[Entry], &[&[u8]]); 5] = [
        (&[(0, Some(1), false), (1, None, true)], &[&[1], &[0]]),
        (&[(0, Some(1), false), (1, None, false), (2, None, true)], &[&[1, 0], &[2]]),
        (&[(0, Some(1), false), (1, Some(2), true), (2, None, false)], &[&[2], &[1], &[0]]),
        (&[(0, Some(7), false), (1, Some(1), true)], &[&[0], &[1]]),
        (&[(0, Some(1), false), (1, Some(0), true), (2, None, false)], &[&[2], &[0], &[1]]),
    ];
    for (entries, expected) in cases {
        assert_eq!(ordered(entries), expected, "{entries:?}");
    }
}

#[test]
fn rows_that_refer_to_each_other_stay_together_as_long_as_there_are_others() {
    let cases: [(&[Entry], &[usize], &[usize]); 5] = [
        (&[(0, None, false), (1, None, false), (2, None, false)], &[0, 1], &[2]),
        (&[(0, Some(2), false), (1, Some(9), false), (2, Some(0), false)], &[0, 2], &[1]),
        (&[(0, Some(2), false), (1, Some(0), false), (2, Some(1), false)], &[0], &[1, 2]),
        (
            &[(0, None, false), (1, Some(2), true), (2, None, false), (3, None, true)],
            &[0, 3],
            &[1, 2],
        ),
        (&[(0, None, false), (1, Some(0), false)], &[0], &[1]),
    ];
    for (entries, first, second) in cases {
        let rows = rows_of(entries);
        let rows: Vec<&Row<'_>> = rows.iter().map(|(row, _)| row).collect();
        let part: Vec<usize> = (0..rows.len()).collect();
        assert_eq!(
            in_two(&table(), &rows, &part),
            (first.to_vec(), second.to_vec()),
            "{entries:?}"
        );
    }
}

proptest! {
    #[test]
    fn every_row_is_there_once_and_after_its_parent_unless_it_is_in_a_cycle(
        parents in prop::collection::vec((prop::option::of(0..12_u8), any::<bool>()), 0..12),
    ) {
        let entries: Vec<Entry> =
            (0..).zip(&parents).map(|(id, (parent, named))| (id, *parent, *named)).collect();
        let order = ordered(&entries).concat();
        let mut once = order.clone();
        once.sort_unstable();
        prop_assert_eq!(once, entries.iter().map(|(id, ..)| *id).collect::<Vec<_>>());
        let parent_of = |id: u8| entries.get(usize::from(id)).and_then(|(_, parent, _)| *parent);
        // A row whose ancestors come to an end is in no cycle.
        let ends = |id: u8| {
            let mut next = Some(id);
            for _ in 0..20 {
                next = next.and_then(parent_of);
            }
            next.is_none()
        };
        for (place, id) in order.iter().enumerate() {
            let parent = parent_of(*id).filter(|parent| parent != id && ends(*id));
            let before = parent.is_none_or(|parent| {
                usize::from(parent) >= entries.len() || order[..place].contains(&parent)
            });
            prop_assert!(before, "{} in {:?}", id, order);
        }
    }
}
