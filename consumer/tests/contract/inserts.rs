//! Rows that exist are updated: nothing on the table judges, changes or notes them as inserts.

use serde_json::json;

use super::rows::set;
use super::*;

const COLUMNS: &str = "id integer PRIMARY KEY, n bigint, b text";

fn add(n: i64) -> Change {
    Change::new().add("n", n)
}

async fn proposed<L: Lab>(bench: &Bench<L>) -> Vec<String> {
    let found = bench.lab.rows("SELECT CAST(id AS text) FROM proposed ORDER BY 1").await;
    found.into_iter().flatten().flatten().collect()
}

/// A table with a trigger that is there before the table is described, or that comes after.
async fn with_trigger<L: Lab>(lab: L, known: bool) -> Bench<L> {
    lab.sql("CREATE TABLE proposed (id integer)").await;
    let mut bench = Bench::with(lab, COLUMNS).await;
    bench.lab.sql(L::SEES_PROPOSED).await;
    if known {
        bench.table = bench.store.describe("t", &[]).await.unwrap();
    }
    bench
}

pub async fn a_row_that_exists_is_not_proposed_to_a_trigger<L: Lab>(lab: L) {
    let mut bench = with_trigger(lab, true).await;
    bench.write(&[("1", set(&json!({"n": 10}))), ("2", set(&json!({"n": 5})))]).await;
    assert_eq!(proposed(&bench).await, ["1", "2"]);
    bench.write(&[("1", add(-3)), ("2", set(&json!({"n": -5}))), ("3", add(1))]).await;
    bench.write(&[("1", set(&json!({"b": "x"}))), ("2", Change::new())]).await;
    assert_eq!(bench.table(&["id", "n", "b"]).await, ["1 7 x", "2 -5 NULL", "3 1 NULL"]);
    assert_eq!(proposed(&bench).await, ["1", "2", "3"]);
    assert_eq!(bench.refused(&[("1", add(-9)), ("4", add(-1))]).await, [1]);
    let mut again = Change::delete();
    again.fold(add(-1));
    assert_eq!(bench.refused(&[("1", again)]).await, [0], "it is inserted");
}

pub async fn a_row_that_exists_is_not_proposed_to_a_check_of_a_column_it_does_not_name(
    lab: impl Lab,
) {
    let columns = "id integer PRIMARY KEY, a integer DEFAULT 0 CHECK (a > 0), b text";
    let mut bench = Bench::with(lab, columns).await;
    bench.write(&[("1", set(&json!({"a": 5})))]).await;
    let part = set(&json!({"b": "x"}));
    bench.write(&[("1", part.clone())]).await;
    assert_eq!(bench.refused(&[("1", part.clone()), ("2", part)]).await, [1]);
    assert_eq!(bench.table(&["id", "a", "b"]).await, ["1 5 x"]);
}

pub async fn a_row_that_exists_is_not_proposed_to_a_generated_column(lab: impl Lab) {
    let columns = "id integer PRIMARY KEY, n bigint, \
                   share bigint GENERATED ALWAYS AS (100 / n) STORED";
    let mut bench = Bench::with(lab, columns).await;
    bench.write(&[("1", set(&json!({"n": 5})))]).await;
    bench.write(&[("1", add(0))]).await;
    assert_eq!(bench.table(&["id", "n", "share"]).await, ["1 5 20"]);
}

pub async fn a_trigger_that_the_catalogue_did_not_tell_of_refuses_no_update<L: Lab>(lab: L) {
    let mut bench = with_trigger(lab, false).await;
    bench.lab.sql("INSERT INTO t (id, n) VALUES (1, 5), (2, 5)").await;
    bench.write(&[("1", set(&json!({"n": -5}))), ("2", add(-6))]).await;
    assert_eq!(bench.table(&["id", "n"]).await, ["1 -5", "2 -1"]);
    assert_eq!(bench.refused(&[("1", add(-1)), ("3", add(-1))]).await, [1]);
}

/// What each table is, and whether its rows are updated before any is inserted.
const TABLES: &[(&str, bool)] = &[
    ("id integer PRIMARY KEY, a integer, b text NOT NULL, c bigint NOT NULL DEFAULT 0", false),
    ("id integer PRIMARY KEY, a integer CHECK (a > 0)", true),
    ("id integer PRIMARY KEY, a integer, b integer GENERATED ALWAYS AS (a) STORED", true),
];

pub async fn where_nothing_sees_a_proposed_row_one_statement_writes_it(lab: impl Lab) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY").await;
    for (at, (columns, updates)) in TABLES.iter().enumerate() {
        bench.lab.sql(&format!("CREATE TABLE t{at} ({columns})")).await;
        let table = bench.store.describe(&format!("t{at}"), &[]).await.unwrap();
        assert_eq!(table.update_before_insert, *updates, "{columns}");
        assert!(table.columns.iter().all(|column| !column.default_acts), "{columns}");
    }
    let columns = "id integer PRIMARY KEY, a integer DEFAULT 7, b text DEFAULT 'x', \
                   c timestamp DEFAULT CURRENT_TIMESTAMP, d integer DEFAULT (abs(-7))";
    bench.lab.sql(&format!("CREATE TABLE acting ({columns})")).await;
    let table = bench.store.describe("acting", &[]).await.unwrap();
    let acting = table.columns.iter().filter(|column| column.default_acts);
    assert_eq!(acting.map(|column| &*column.name).collect::<Vec<_>>(), ["d"]);
}
