//! The statements that write a batch.

use write_behind_shared::Change;
use write_behind_shared::key::KeyKind;

use super::*;
use crate::core::table::{Column, ColumnKind};

fn table() -> Table {
    let integer = |name| Column::plain(name, ColumnKind::Integer(0..=99));
    let columns = vec![integer("id"), integer("a"), integer("b")];
    Table::plain("t", KeyKind::Integer(0..=99), columns)
}

/// Each statement's kind, the columns it writes, and the keys of its rows.
fn planned(table: &Table, changes: &[(&str, Change)], rows_max: usize) -> Vec<String> {
    let judged = changes.iter().map(|(key, change)| Row::judge(table, key.as_bytes(), change));
    let rows: Vec<Row<'_>> = judged.collect::<Result<_, _>>().unwrap();
    let writes = Writes::of(&rows.iter().collect::<Vec<_>>());
    let shown = |statement: WriteStatement<'_>| {
        let keys: Vec<&str> = statement.rows.iter().map(|row| &*row.key[0]).collect();
        format!("{:?} {:?} {}", statement.kind, statement.shape, keys.join(","))
    };
    writes.statements(table, rows_max).map(shown).collect()
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
fn a_statement_has_at_most_so_many_rows_and_at_least_one() {
    let changes = ["1", "2", "3"].map(|key| (key, set("a")));
    let two = ["Upsert [(1, false)] 1,2", "Upsert [(1, false)] 3"];
    assert_eq!(planned(&table(), &changes, 2), two);
    assert_eq!(planned(&table(), &changes, 0).len(), 3);
    assert_eq!(planned(&table(), &[], 2), [""; 0]);
}

#[test]
fn rows_are_updated_before_any_is_inserted_where_an_insert_could_be_refused() {
    let changes = [("1", set("a"))];
    let first = ["UpdateThenInsert [(1, false)] 1"];
    let checked = Table { update_before_insert: true, ..table() };
    assert_eq!(planned(&checked, &changes, 9), first);
    let mut required = table();
    required.columns[2].required = true;
    assert_eq!(planned(&required, &changes, 9), first);
    required.columns[2].required = false;
    required.columns[0].required = true;
    assert_eq!(planned(&required, &changes, 9), ["Upsert [(1, false)] 1"], "a key is always named");
}

#[test]
fn what_a_newer_version_left_out_is_what_a_versioned_tables_statement_did_not_write() {
    let versioned = table().with_version("b").unwrap();
    let change = set("a").set("b", &7).unwrap();
    let rows = [Row::judge(&versioned, b"1", &change).unwrap()];
    let writes = Writes::of(&rows.iter().collect::<Vec<_>>());
    let statement = writes.statements(&versioned, 9).next().unwrap();
    assert_eq!(statement.kind, WriteKind::UpdateThenInsert);
    assert_eq!((statement.left_out(&versioned, 0), statement.left_out(&versioned, 1)), (1, 0));
    assert_eq!(statement.left_out(&table(), 0), 0);
}
