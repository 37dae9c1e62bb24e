//! What is read from the catalogue.

use write_behind_consumer::core::table::ColumnKind;
use write_behind_shared::key::KeyKind;

use super::*;

pub async fn a_table_is_described_with_its_key(lab: impl Lab) {
    let columns = "b text NOT NULL, a bigint NOT NULL, c integer NOT NULL DEFAULT 1, \
                   d bigint GENERATED ALWAYS AS (c * 2) STORED, e boolean, PRIMARY KEY (a, b)";
    let bench = Bench::with(lab, columns).await;
    let table = bench.table;
    let key: Vec<_> = table.key.iter().map(|key| (&*key.name, key.kind.clone())).collect();
    assert_eq!(
        key,
        [("a", KeyKind::Integer(i64::MIN..=i64::MAX)), ("b", KeyKind::Text)],
        "in the key's order"
    );
    let columns: Vec<_> =
        table.columns.iter().map(|column| (&*column.name, column.required)).collect();
    let expected = [("b", true), ("a", true), ("c", false), ("e", false)];
    assert_eq!(columns, expected, "a generated column can't be written");
    assert_eq!(table.columns[3].kind, ColumnKind::Boolean);
}

pub async fn a_column_counts_from_nothing_unless_its_default_is_something(lab: impl Lab) {
    let columns = "id integer PRIMARY KEY, a bigint, b bigint NOT NULL DEFAULT 0, \
                   c numeric(9, 2) DEFAULT 0.00, d bigint DEFAULT NULL, e bigint DEFAULT '0', \
                   f bigint DEFAULT 7, g bigint DEFAULT -1, h bigint DEFAULT (1 + 1)";
    let bench = Bench::with(lab, columns).await;
    let from_something = bench.table.columns.iter().filter(|column| !column.counts_from_nothing);
    let names: Vec<_> = from_something.map(|column| &*column.name).collect();
    assert_eq!(names, ["f", "g", "h"]);
}

pub async fn a_unique_key_may_be_named(lab: impl Lab) {
    let columns = "id integer PRIMARY KEY, a text, b date, n bigint, UNIQUE (a, b)";
    let mut bench = Bench::with(lab, columns).await;
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let table = bench.store.describe("t", &names(&["b", "a"])).await.unwrap();
    let key: Vec<_> = table.key.iter().map(|key| key.kind.clone()).collect();
    assert_eq!(key, [KeyKind::Date, KeyKind::Text]);
    for not_unique in [&["a"][..], &["n"], &["a", "b", "n"], &["nowhere"]] {
        let described = bench.store.describe("t", &names(not_unique)).await;
        assert!(
            matches!(&described, Err(StoreError::Stop(why)) if why.contains("no unique key")),
            "{described:?}"
        );
    }
}

pub async fn rows_go_by_the_key_that_was_named(lab: impl Lab) {
    let columns = "code integer PRIMARY KEY, a integer NOT NULL, b integer NOT NULL, n bigint, \
                   UNIQUE (a, b)";
    let mut bench = Bench::with(lab, columns).await;
    let key = ["a", "b"].map(str::to_owned);
    bench.table = bench.store.describe("t", &key).await.unwrap();
    let (one, other) = (r#"{"a":1,"b":2}"#, r#"{"a":1,"b":3}"#);
    let full = |code: i32, n: i64| Change::new().set("code", &code).unwrap().add("n", n);
    bench.write(&[(one, full(7, 1))]).await;
    bench.write(&[(one, Change::new().add("n", 2)), (other, full(8, 5))]).await;
    // The table's other key is another row's: refused, and neither row is touched.
    assert_eq!(bench.refused(&[(one, full(8, 9))]).await, [0]);
    assert_eq!(bench.refused(&[(r#"{"a":9,"b":9}"#, full(7, 9))]).await, [0]);
    assert_eq!(bench.table(&["code", "a", "b", "n"]).await, ["7 1 2 3", "8 1 3 5"]);
    bench.write(&[(one, Change::delete())]).await;
    assert_eq!(bench.table(&["code"]).await, ["8"]);
}

pub async fn what_has_no_usable_key_is_refused_with_advice(lab: impl Lab) {
    lab.sql("CREATE TABLE keyless (id integer)").await;
    lab.sql("CREATE TABLE floating (id double precision PRIMARY KEY)").await;
    lab.sql("CREATE TABLE exact (id numeric(9, 2) PRIMARY KEY)").await;
    lab.sql("CREATE VIEW seen AS SELECT id FROM keyless").await;
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY").await;
    for (table, advice) in [
        ("keyless", "add one, or name a unique key"),
        ("floating", "takes different texts for equal; name another unique key"),
        ("exact", "takes different texts for equal; name another unique key"),
        ("seen", "can't be upserted into"),
        ("nowhere", "create it, or correct the route's `table`"),
        ("a.b.c", "write `table` or `schema.table`"),
    ] {
        let described = bench.store.describe(table, &[]).await;
        assert!(
            matches!(&described, Err(StoreError::Stop(why)) if why.contains(advice)),
            "{table}: {described:?}"
        );
    }
}
