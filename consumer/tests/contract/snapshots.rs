//! The database as of one moment: rows that are as they are to be, and rows that are not.

use write_behind_consumer::store::snapshot::{Compared, Snapshot as _};
use write_behind_shared::record;

use super::*;

const COLUMNS: &str = "id integer PRIMARY KEY, n bigint, name text, price numeric(9, 2)";

fn setting(value: &str) -> Change {
    record::decode(Some(value.as_bytes()), None).unwrap()
}

/// Three rows, `a`, `b` and one of NULLs.
async fn bench<L: Lab>(lab: L) -> Bench<L> {
    let mut bench = Bench::with(lab, COLUMNS).await;
    bench
        .write(&[
            ("1", setting(r#"{"n":1,"name":"a ","price":1.5}"#)),
            ("2", setting(r#"{"n":2,"name":"b","price":2}"#)),
            ("3", setting(r#"{"n":null,"name":null,"price":null}"#)),
        ])
        .await;
    bench
}

async fn compared<L: Lab>(bench: &mut Bench<L>, rows: &[(&str, &str)]) -> Vec<Compared> {
    let rows: Vec<Row<'_>> =
        rows.iter().map(|(key, value)| bench.row(key, &setting(value))).collect();
    let shape: Vec<usize> = rows[0].write.iter().flatten().map(|(place, _)| *place).collect();
    let rows: Vec<&Row<'_>> = rows.iter().collect();
    bench.store.compare(&bench.table, &shape, &rows).await.unwrap()
}

pub async fn rows_that_differ_are_found_with_what_differs(lab: impl Lab) {
    let mut bench = bench(lab).await;
    let rows = [
        ("1", r#"{"n":1,"name":"a ","price":"1.50"}"#),
        ("2", r#"{"n":"2","name":"b","price":2.00}"#),
        ("3", r#"{"n":null,"name":null,"price":null}"#),
    ];
    assert_eq!(compared(&mut bench, &rows).await, []);
    let rows = [
        ("0", r#"{"n":1,"name":"a","price":1}"#),
        ("1", r#"{"n":1,"name":"A ","price":1.5}"#),
        ("2", r#"{"n":null,"name":"b","price":2}"#),
        ("3", r#"{"n":null,"name":"","price":0}"#),
        ("4", r#"{"n":null,"name":null,"price":null}"#),
    ];
    let found = compared(&mut bench, &rows).await;
    let places: Vec<_> = found.iter().map(|one| (one.at, one.missing)).collect();
    assert_eq!(places, [(0, true), (1, false), (2, false), (3, false), (4, true)]);
    let name = bench.row("1", &setting(r#"{"n":1,"name":"a","price":1}"#)).write.unwrap();
    let columns: Vec<&str> = name.iter().map(|(at, _)| &*bench.table.columns[*at].name).collect();
    let named: Vec<_> = found[1..4]
        .iter()
        .flat_map(|one| &one.differs)
        .map(|(place, expected, there)| (columns[*place], expected.as_deref(), there.as_deref()))
        .collect();
    assert_eq!(named[0], ("name", Some("A "), Some("a ")), "texts are compared by their letters");
    assert_eq!(named[1], ("n", None, Some("2")));
    assert_eq!((named[2], named[3].0), (("name", Some(""), None), "price"));
    // An empty shape asks only whether the rows are there.
    let keys = ["1", "9"].map(|key| bench.row(key, &Change::delete()));
    let there = bench.store.compare(&bench.table, &[], &[&keys[0], &keys[1]]).await.unwrap();
    assert_eq!(there, [Compared { at: 1, missing: true, differs: Vec::new() }]);
}

pub async fn a_frozen_moment_stays_as_it_was_and_holds_nobody_up(lab: impl Lab) {
    let mut bench = bench(lab).await;
    let mut looking = bench.another_store().await;
    looking.begin_snapshot().await.unwrap();
    bench.write(&[("1", Change::delete()), ("4", setting("{}"))]).await;
    let all = |keys: [&str; 3]| keys.map(|key| vec![key.to_owned()]).to_vec();
    let keys = looking.keys(&bench.table, None, 9).await.unwrap();
    assert_eq!(keys, all(["1", "2", "3"]));
    let known = looking.known(&scope()).await.unwrap();
    assert_eq!(known[0].next, NextOffset(1), "the offsets are of the same moment");
    looking.end_snapshot().await.unwrap();
    assert_eq!(looking.keys(&bench.table, None, 9).await.unwrap(), all(["2", "3", "4"]));
}

pub async fn keys_are_read_a_page_at_a_time_and_none_is_left_out(lab: impl Lab) {
    let columns = "a integer, b date, c text, d boolean, PRIMARY KEY (a, c, b, d)";
    let mut bench = Bench::with(lab, columns).await;
    let key = |a: i32, b: &str, c: &str, d: bool| {
        format!(r#"{{"a":{a},"b":"2013-01-{b}","c":"{c}","d":{d}}}"#)
    };
    let mut keys = Vec::new();
    for a in [-1, 9, 10] {
        for (b, c, d) in [
            ("01", "x", true),
            ("01", "x", false),
            ("02", "x", true),
            ("01", "X", true),
            ("01", "x ", true),
            ("01", "", true),
        ] {
            keys.push(key(a, b, c, d));
        }
    }
    let rows: Vec<_> = keys.iter().map(|key| (&**key, Change::new())).collect();
    bench.write(&rows).await;
    let key_of = |key: &String| {
        bench.row(key, &Change::new()).key.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let expected: std::collections::BTreeSet<_> = keys.iter().map(key_of).collect();
    for limit in [1, 4, 100] {
        let mut found: Vec<Vec<String>> = Vec::new();
        loop {
            let page = bench.store.keys(&bench.table, found.last().map(Vec::as_slice), limit).await;
            let page = page.unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found.len(), keys.len(), "pages of {limit}");
        assert_eq!(found.into_iter().collect::<std::collections::BTreeSet<_>>(), expected);
    }
}
