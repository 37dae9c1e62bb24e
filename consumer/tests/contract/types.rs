//! The table of types in the documentation, each line run.
//!
//! A database's table stands under the heading that begins with the scheme of its URL; the statements
//! that make the types it speaks of stand before it. Columns are found by their headings.

use serde_json::value::RawValue;
use write_behind_consumer::store::snapshot::Snapshot as _;
use write_behind_shared::{Cell, Number};

use super::*;

const DOCUMENT: &str = include_str!("../../../docs/types.md");

/// A line of the table: for some types, what is said of all of them.
#[derive(Debug)]
struct Line<'a> {
    types: Vec<&'a str>,
    /// JSON, and the text that is then in the column.
    written: Vec<(&'a str, &'a str)>,
    bad: Vec<&'a str>,
    /// What SQLite's `typeof` may say.
    stored_as: Vec<&'a str>,
    increments: bool,
    /// `None`: the database has no such key.
    key: Option<bool>,
}

/// The texts in backquotes.
fn codes(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Pairs of texts in backquotes: `json → text`, or one for both.
fn pairs(cell: &str) -> Vec<(&str, &str)> {
    let parts: Vec<&str> = cell.split('`').collect();
    let mut pairs = Vec::new();
    let mut at = 1;
    while at < parts.len() {
        let arrow = parts.get(at + 1).is_some_and(|between| between.trim() == "→");
        pairs.push((parts[at], parts[if arrow { at + 2 } else { at }]));
        at += if arrow { 4 } else { 2 };
    }
    pairs
}

fn section(scheme: &str) -> &'static str {
    let mut sections = DOCUMENT.split("\n## ").skip(1);
    let found = sections.find(|section| section.to_lowercase().starts_with(scheme));
    found.unwrap_or_else(|| panic!("docs/types.md has no section that begins with {scheme}"))
}

fn set_up(section: &str) -> String {
    let blocks = section.split("```sql\n").skip(1);
    blocks.filter_map(|block| block.split("```").next()).collect()
}

fn lines(section: &str) -> Vec<Line<'_>> {
    let mut rows = section.lines().filter(|line| line.starts_with('|'));
    let cells = |row| str::trim_matches(row, '|').split('|').map(str::trim).collect::<Vec<&str>>();
    let headings = cells(rows.next().expect("the table's head"));
    let place = |name| headings.iter().position(|heading| *heading == name);
    let place_of = |name| place(name).unwrap_or_else(|| panic!("there is no heading {name:?}"));
    let lines = rows.skip(1).map(cells).map(|row| {
        assert_eq!(row.len(), headings.len(), "{row:?}");
        let cell = |name| row[place_of(name)];
        Line {
            types: codes(cell("Column type")),
            written: pairs(cell("Written → read back")),
            bad: codes(cell("Bad")),
            stored_as: place("Stored as").map_or_else(Vec::new, |at| codes(row[at])),
            increments: !cell("Increment").starts_with("no"),
            key: Some(cell("Key")).filter(|key| *key != "–").map(|key| key == "yes"),
        }
    });
    lines.collect()
}

/// The column that `line`'s `at`th type has in the table.
fn name(line: usize, at: usize) -> String {
    format!("c{line}_{at}")
}

pub(super) fn setting(column: &str, json: &str) -> Change {
    let mut change = Change::new();
    change.write(column, Cell::Set(RawValue::from_string(json.to_owned()).unwrap()));
    change
}

/// The heading of a database's own types: the scheme of its URL.
fn heading_of(lab: &impl Lab) -> String {
    let database = format!("{:?}", lab.database());
    database.split(':').next().unwrap_or_default().to_owned()
}

fn lines_under(heading: &str) -> (String, Vec<Line<'static>>) {
    let section = section(heading);
    let lines = lines(section);
    assert!(lines.len() > 3, "{lines:?}");
    (set_up(section), lines)
}

/// A table with a column of each documented type, and each column's name and type.
pub(super) async fn table_of_every_type<L: Lab>(lab: L) -> (Bench<L>, Vec<(String, String)>) {
    let heading = heading_of(&lab);
    table_of_types(&heading, lab).await
}

async fn table_of_types<L: Lab>(heading: &str, lab: L) -> (Bench<L>, Vec<(String, String)>) {
    let (set_up, lines) = lines_under(heading);
    lab.sql(&set_up).await;
    let columns = lines.iter().enumerate().flat_map(|(place, line)| {
        let types = line.types.iter().enumerate();
        types.map(move |(at, type_)| (name(place, at), (*type_).to_owned()))
    });
    let columns: Vec<(String, String)> = columns.collect();
    let declared = columns.iter().map(|(name, of)| format!("{name} {of}")).collect::<Vec<_>>();
    let declared = format!("id integer PRIMARY KEY, {}", declared.join(", "));
    (Bench::with(lab, &declared).await, columns)
}

pub async fn every_line_of_the_documented_types_is_so(lab: impl Lab) {
    let heading = heading_of(&lab);
    every_line_under(&heading, lab).await;
}

/// Those of the section whose heading begins so.
pub async fn every_line_under(heading: &str, lab: impl Lab) {
    let (_, lines) = lines_under(heading);
    let (mut bench, _) = table_of_types(heading, lab).await;
    for (place, line) in lines.iter().enumerate() {
        for (at, type_) in line.types.iter().enumerate() {
            let column = name(place, at);
            values_are_as_told(&mut bench, line, &column, type_).await;
            increments_are_as_told(&mut bench, line, &column, type_).await;
            keys_are_as_told(&mut bench, line, &format!("k{place}_{at}"), type_).await;
        }
    }
}

async fn values_are_as_told<L: Lab>(bench: &mut Bench<L>, line: &Line<'_>, column: &str, of: &str) {
    let takes_null = !line.bad.contains(&"null");
    let null = takes_null.then_some(("null", "NULL"));
    for (json, text) in line.written.iter().copied().chain(null) {
        let change = setting(column, json);
        let row = Row::judge(&bench.table, b"1", &change);
        assert!(row.is_ok(), "{of} takes {json}: {row:?}");
        bench.write(&[("1", setting(column, json))]).await;
        assert_eq!(bench.table(&[column]).await, [text], "{json} in a column that is {of}");
        let shape = [bench.table.column(column).unwrap()];
        let differs = bench.store.compare(&bench.table, &shape, &[&row.unwrap()]).await.unwrap();
        assert_eq!(differs, [], "{of} holds {json} as it was written");
        if json != "null" && !line.stored_as.is_empty() {
            let stored = bench.lab.rows(&format!("SELECT typeof({column}) FROM t")).await;
            let stored = stored[0][0].as_deref().unwrap();
            assert!(line.stored_as.contains(&stored), "{of} stores {json} as {stored}");
        }
    }
    for json in &line.bad {
        assert!(bench.is_bad("1", setting(column, json)).await, "{of} does not take {json}");
    }
}

async fn increments_are_as_told<L: Lab>(
    bench: &mut Bench<L>,
    line: &Line<'_>,
    column: &str,
    of: &str,
) {
    let add = |delta: i32| Change::new().add(column, delta);
    let one = add(1);
    let judged = Row::judge(&bench.table, b"1", &one);
    assert_eq!(judged.is_ok(), line.increments, "{of}: {judged:?}");
    if line.increments {
        bench.write(&[("1", setting(column, "null"))]).await;
        bench.write(&[("1", add(1))]).await;
        bench.write(&[("1", add(2))]).await;
        let sum = bench.table(&[column]).await;
        // `3`, `3.0`, `3.00` and `00003` are one number.
        let sum: Result<Number, _> = sum[0].trim_start_matches('0').parse();
        assert_eq!(sum, Ok(Number::from(3)), "{of}");
    }
}

async fn keys_are_as_told<L: Lab>(bench: &mut Bench<L>, line: &Line<'_>, table: &str, of: &str) {
    let Some(is_key) = line.key else { return };
    bench.lab.sql(&format!("CREATE TABLE {table} (k {of} PRIMARY KEY, n integer)")).await;
    let described = bench.store.describe(table, &[]).await;
    if !is_key {
        let refused = matches!(&described, Err(StoreError::Stop(why)) if why.contains("be a key"));
        assert!(refused, "{of}: {described:?}");
        return;
    }
    let usual = std::mem::replace(&mut bench.table, described.unwrap());
    let (json, _) = line.written[0];
    let key = json.trim_matches('"');
    for _ in 0..2 {
        bench.write(&[(key, Change::new().add("n", 1))]).await;
    }
    let count = bench.lab.rows(&format!("SELECT CAST(n AS text) FROM {table}")).await;
    assert_eq!(count, [[Some("2".to_owned())]], "{key} is one row of a key that is {of}");
    bench.write(&[(key, Change::delete())]).await;
    assert_eq!(bench.lab.rows(&format!("SELECT 'there' FROM {table}")).await.len(), 0, "{of}");
    bench.table = usual;
}
