//! The statements that write a batch.

use write_behind_shared::Change;
use write_behind_shared::key::KeyKind;

use super::*;
use crate::core::table::{Column, ColumnKind, OwnReference};

fn table() -> Table {
    let integer = |name| Column::plain(name, ColumnKind::Integer(0..=99));
    let columns = vec![integer("id"), integer("a"), integer("b")];
    Table::plain("t", KeyKind::Integer(0..=99), columns)
}

/// Each statement's kind, the columns it writes, and the keys of its rows.
fn planned(table: &Table, changes: &[(&str, Change)], rows_max: usize) -> Vec<String> {
    let judged = changes.iter().map(|(key, change)| Row::judge(table, key.as_bytes(), change));
    let rows: Vec<Row<'_>> = judged.collect::<Result<_, _>>().unwrap();
    let writes = Writes::of(table, &rows.iter().collect::<Vec<_>>());
    let shown = |statement: WriteStatement<'_>| {
        let keys: Vec<&str> = statement.rows.iter().map(|row| &*row.key[0]).collect();
        format!("{:?} {:?} {}", statement.kind, statement.shape, keys.join(","))
    };
    writes.statements(table, rows_max, false).map(shown).collect()
}

fn set(name: &str) -> Change {
    Change::new().set(name, &1).unwrap()
}

#[test]
fn deletes_come_first_then_each_set_of_columns_with_its_rows_in_the_order_of_their_keys() {
    let reborn = Change::delete().set("a", &1).unwrap();
    let changes = [
        ("1", set("b")),
        ("2", Change::delete()),
        ("3", set("a")),
        ("4", set("b")),
        ("5", reborn),
        ("6", Change::new().add("a", 1)),
    ];
    let expected = [
        "Delete [] 2,5",
        "Upsert [(1, false)] 3,5",
        "Upsert [(1, true)] 6",
        "Upsert [(2, false)] 1,4",
    ];
    assert_eq!(planned(&table(), &changes, 100), expected);
}

#[test]
fn a_row_that_two_partitions_have_is_in_no_statement_twice() {
    let changes = [("1", set("a")), ("2", set("a")), ("2", set("a")), ("2", set("b"))];
    let expected = ["Upsert [(1, false)] 1,2", "Upsert [(1, false)] 2", "Upsert [(2, false)] 2"];
    assert_eq!(planned(&table(), &changes, 9), expected);
    let deleted = [("1", Change::delete()), ("1", set("a")), ("1", Change::delete())];
    let expected = ["Delete [] 1,1", "Upsert [(1, false)] 1"];
    assert_eq!(planned(&table(), &deleted, 9), expected);
}

#[test]
fn a_statement_has_at_most_so_many_rows_and_at_least_one() {
    let changes = ["1", "2", "3"].map(|key| (key, set("a")));
    let two = ["Upsert [(1, false)] 1,2", "Upsert [(1, false)] 3"];
    assert_eq!(planned(&table(), &changes, 2), two);
    assert_eq!(planned(&table(), &changes, 0).len(), 3);
    assert_eq!(planned(&table(), &[], 2), [""; 0]);
}

#[test]
fn rows_are_updated_before_any_is_inserted_where_something_sees_a_proposed_row() {
    fn table_with(change: fn(&mut Table)) -> Table {
        let mut table = table();
        change(&mut table);
        table
    }
    let (named, unnamed) = (["Upsert [(1, false)] 1"], ["UpdateThenInsert [(1, false)] 1"]);
    for (why, with, expected) in [
        ("nothing sees it", table_with(|_| {}), named),
        ("the table does", table_with(|table| table.update_before_insert = true), unnamed),
        ("a required column", table_with(|table| table.columns[2].required = true), unnamed),
        ("a default that acts", table_with(|table| table.columns[2].default_acts = true), unnamed),
        ("a column that it names", table_with(|table| table.columns[1].required = true), named),
        ("a default not used", table_with(|table| table.columns[1].default_acts = true), named),
        ("a required key", table_with(|table| table.columns[0].required = true), named),
        ("a key that counts", table_with(|table| table.columns[0].default_acts = true), named),
    ] {
        assert_eq!(planned(&with, &[("1", set("a"))], 9), expected, "{why}");
    }
}

#[test]
fn what_was_refused_once_is_tried_without_proposing_rows_that_exist() {
    let (table, change) = (table(), set("a"));
    let rows = [Row::judge(&table, b"1", &change).unwrap()];
    let writes = Writes::of(&table, &rows.iter().collect::<Vec<_>>());
    let kinds = |updates_all| writes.statements(&table, 9, updates_all).next().unwrap().kind;
    assert_eq!((kinds(false), kinds(true)), (WriteKind::Upsert, WriteKind::UpdateThenInsert));
}

#[test]
fn what_a_newer_version_left_out_is_what_a_versioned_tables_statement_did_not_write() {
    let versioned = table().with_version("b").unwrap();
    let change = set("a").set("b", &7).unwrap();
    let rows = [Row::judge(&versioned, b"1", &change).unwrap()];
    let writes = Writes::of(&versioned, &rows.iter().collect::<Vec<_>>());
    let statement = writes.statements(&versioned, 9, false).next().unwrap();
    assert_eq!(statement.kind, WriteKind::UpdateThenInsert);
    assert_eq!((statement.left_out(&versioned, 0), statement.left_out(&versioned, 1)), (1, 0));
    assert_eq!(statement.left_out(&table(), 0), 0);
}

#[test]
fn rows_of_a_table_that_refers_to_itself_are_written_parents_first() {
    let named = |name: &str| vec![name.to_owned()];
    let own = OwnReference { columns: named("a"), referenced: named("id") };
    let table = Table { own_references: vec![own], ..table() };
    let child = |of: u8| Change::new().set("a", &of).unwrap();
    let changes = [("0", child(2)), ("1", set("b")), ("2", set("b"))];
    let expected = ["Upsert [(2, false)] 1,2", "Upsert [(1, false)] 0"];
    assert_eq!(planned(&table, &changes, 9), expected);
    let changes = [("0", child(2)), ("1", child(0)), ("2", child(9))];
    assert_eq!(planned(&table, &changes, 9), ["Upsert [(1, false)] 2,0,1"]);
}

/// Keys, each with whether its record is a delete.
type Records = &'static [(&'static str, bool)];

#[test]
fn a_run_of_records_ends_at_a_row_that_it_has_and_between_deletes_and_writes() {
    let table = table();
    let cases: [(Records, &[&[usize]]); 5] = [
        (&[], &[]),
        (&[("1", false), ("2", false), ("3", false)], &[&[0, 1, 2]]),
        (&[("1", false), ("2", false), ("1", false), ("2", false)], &[&[0, 1], &[2, 3]]),
        (&[("1", false), ("2", true), ("3", true), ("1", false)], &[&[0], &[1, 2], &[3]]),
        (&[("1", true), ("1", true), ("1", false)], &[&[0], &[1], &[2]]),
    ];
    for (records, expected) in cases {
        let rows: Vec<Row<'_>> = records
            .iter()
            .map(|(key, delete)| {
                let change = if *delete { Change::delete() } else { set("a") };
                Row::judge(&table, key.as_bytes(), &change).unwrap().into_owned()
            })
            .collect();
        assert_eq!(runs(&rows.iter().collect::<Vec<_>>()), expected, "{records:?}");
    }
}
