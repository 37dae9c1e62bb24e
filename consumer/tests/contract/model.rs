//! The law of the store: folded batches end as the same changes done one by one, those that are
//! refused left out of both.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

use super::*;

const CASES: usize = 30;

/// Changes of few keys and columns, so that they meet. A bad one is bad in the only column that it
/// names: what a later one of its batch replaces is never seen, and must then be of no consequence.
fn a_log(bad: u32) -> impl Strategy<Value = Vec<(String, Change)>> {
    let column = prop::sample::select(vec!["a", "n", "name"]);
    let cell = (column, any::<bool>(), -5_i64..5, prop::bool::weighted(0.2));
    let written = prop::collection::vec(cell, 0..4).prop_map(|cells| {
        cells.into_iter().fold(Change::new(), |change, (column, add, number, null)| match column {
            "name" if null => change.set(column, "").unwrap(),
            "name" => change.set(column, &number.to_string()).unwrap(),
            _ if add => change.add(column, number),
            _ if null && column == "a" => change.set(column, &()).unwrap(),
            _ => change.set(column, &number).unwrap(),
        })
    });
    let refused = Just(Change::new().set("name", "too long").unwrap());
    let change = prop_oneof![5 => written, 1 => Just(Change::delete()), bad => refused];
    prop::collection::vec(((0..4_u8).prop_map(|key| key.to_string()), change), 1..30)
}

/// A column that is incremented has no default but 0 or NULL: what a missing row's column is would
/// otherwise depend on whether the insert and the increment met in one batch.
const COLUMNS: &str = "id integer PRIMARY KEY, a integer, n bigint NOT NULL DEFAULT 0";

pub async fn any_batches_end_as_the_same_changes_one_by_one(lab: impl Lab) {
    the_law_holds(lab, "name text DEFAULT 'd'", 0).await;
}

pub async fn any_batches_with_refused_rows_end_as_the_good_changes_one_by_one(lab: impl Lab) {
    the_law_holds(lab, "name varchar(9) DEFAULT 'd' CHECK (name <> 'too long')", 1).await;
}

async fn the_law_holds(lab: impl Lab, name: &str, bad: u32) {
    let mut bench = Bench::with(lab, &format!("{COLUMNS}, {name}")).await;
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..CASES {
        let log = a_log(bad).new_tree(&mut runner).unwrap().current();
        let sizes = prop::collection::vec(1..12_usize, 1..4);
        let sizes = sizes.new_tree(&mut runner).unwrap().current();
        let per_statement = (1..5_usize).new_tree(&mut runner).unwrap().current();

        bench.lab.sql("DELETE FROM t").await;
        for change in &log {
            write(&mut bench, std::slice::from_ref(change), per_statement).await;
        }
        let one_by_one = bench.table(&["id", "a", "n", "name"]).await;

        bench.lab.sql("DELETE FROM t").await;
        let mut rest = &log[..];
        for size in sizes.iter().cycle() {
            let (batch, after) = rest.split_at((*size).min(rest.len()));
            if batch.is_empty() {
                break;
            }
            rest = after;
            write(&mut bench, batch, per_statement).await;
        }
        let folded = bench.table(&["id", "a", "n", "name"]).await;
        assert_eq!(folded, one_by_one, "batches of {sizes:?} of {log:?}");
    }
}

/// Writes a batch as a worker does: each row folded, and those that are refused change by change.
async fn write<L: Lab>(bench: &mut Bench<L>, batch: &[(String, Change)], per_statement: usize) {
    let mut fallback: BTreeSet<&str> = BTreeSet::new();
    loop {
        let mut folded: BTreeMap<&str, Change> = BTreeMap::new();
        let mut row_by_row = Vec::new();
        for (offset, (key, change)) in (0..).zip(batch) {
            if fallback.contains(&**key) {
                row_by_row.push((record(offset, key, ""), bench.row(key, change)));
            } else {
                folded.entry(key).or_default().fold(change.clone());
            }
        }
        let rows: Vec<_> = folded.iter().map(|(key, change)| bench.row(key, change)).collect();
        let (scope, spans) = (scope(), [span(0, bench.next, bench.next + 1)]);
        let options = WriteOptions { rows_per_statement: per_statement, ..WRITE_OPTIONS };
        let transaction = Transaction {
            rows: &rows,
            row_by_row: &row_by_row,
            options,
            ..moving(&scope, &spans, &bench.table)
        };
        match bench.store.apply(&transaction).await.unwrap() {
            Outcome::Committed { .. } => break,
            Outcome::Rejected(places) => {
                fallback.extend(places.iter().filter_map(|place| folded.keys().nth(*place)));
            }
            other => panic!("{other:?}"),
        }
    }
    bench.next += 1;
}
