//! The law of the store: folded batches end as the same changes done one by one.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};

use super::*;

const CASES: usize = 40;

/// Changes of few keys and columns, so that they meet.
fn a_log() -> impl Strategy<Value = Vec<(String, Change)>> {
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
    let change = prop_oneof![5 => written, 1 => Just(Change::delete())];
    prop::collection::vec(((0..4_u8).prop_map(|key| key.to_string()), change), 1..30)
}

/// A column that is incremented has no default but 0 or NULL: what a missing row's column is would
/// otherwise depend on whether the insert and the increment met in one batch.
const COLUMNS: &str =
    "id integer PRIMARY KEY, a integer, n bigint NOT NULL DEFAULT 0, name text DEFAULT 'd'";

pub async fn any_batches_end_as_the_same_changes_one_by_one(lab: impl Lab) {
    let mut bench = Bench::with(lab, COLUMNS).await;
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..CASES {
        let log = a_log().new_tree(&mut runner).unwrap().current();
        let sizes = prop::collection::vec(1..12_usize, 1..4);
        let sizes = sizes.new_tree(&mut runner).unwrap().current();
        let per_statement = (1..5_usize).new_tree(&mut runner).unwrap().current();

        bench.lab.sql("DELETE FROM t").await;
        for (key, change) in &log {
            bench.write(&[(key, change.clone())]).await;
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
            let mut folded: BTreeMap<&str, Change> = BTreeMap::new();
            for (key, change) in batch {
                folded.entry(key).or_default().fold(change.clone());
            }
            let rows: Vec<_> = folded.into_iter().collect();
            let outcome = bench
                .run(&rows, |transaction| transaction.manner.rows_per_statement = per_statement)
                .await;
            assert!(matches!(outcome, Ok(Outcome::Committed(_))), "{outcome:?}");
        }
        let folded = bench.table(&["id", "a", "n", "name"]).await;
        assert_eq!(folded, one_by_one, "batches of {sizes:?} of {log:?}");
    }
}
