//! Rows with versions: an older one never overwrites a newer one, however the log is cut.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use write_behind_consumer::core::pipeline::buffer::{Buffer, Folded};
use write_behind_consumer::core::pipeline::memory::PartitionMemory;
use write_behind_consumer::core::record::Incoming;
use write_behind_shared::record;

use super::*;

const CASES: usize = 30;
const COLUMNS: &str = "id integer PRIMARY KEY, v bigint, a bigint, n bigint NOT NULL DEFAULT 0";

/// A record; `None` is a tombstone, else its version, what it sets and what it adds.
type Entry = (u8, Option<(i64, Option<i64>, Option<i64>)>);
/// A row: its version, and its two columns.
type Held = (i64, Option<i64>, i64);

/// The rule, one record after the other. Says whether it is left out.
fn apply(rows: &mut BTreeMap<u8, Held>, (key, write): &Entry) -> bool {
    let Some((version, set, add)) = *write else {
        rows.remove(key);
        return false;
    };
    let row = rows.entry(*key).or_insert((version, None, 0));
    if row.0 > version {
        return true;
    }
    *row = (version, set.or(row.1), row.2 + add.unwrap_or(0));
    false
}

fn value((_, write): &Entry) -> (Option<String>, Option<&'static str>) {
    let Some((version, set, add)) = write else { return (None, None) };
    let set = set.map_or(String::new(), |a| format!(r#","a":{a}"#));
    let added = add.map_or(String::new(), |n| format!(r#","n":{n}"#));
    (Some(format!(r#"{{"v":{version}{set}{added}}}"#)), add.map(|_| "n"))
}

async fn bench<L: Lab>(lab: L) -> Bench<L> {
    let mut bench = Bench::with(lab, COLUMNS).await;
    bench.table = bench.table.with_version("v").unwrap();
    bench
}

/// Folds a batch as the pipeline does and writes it as a worker does; says how many were left out.
async fn write<L: Lab>(bench: &mut Bench<L>, batch: &[Entry]) -> u64 {
    let mut memory = PartitionMemory::default().with_version(Some(Arc::from("v")));
    let mut buffer = Buffer::new(Partition(0), NextOffset(0), Duration::ZERO);
    let mut older = 0;
    for (offset, entry) in (0..).zip(batch) {
        let (key, (value, add)) = (entry.0.to_string(), value(entry));
        let headers: &[(&str, Option<&[u8]>)] = &[("add", add.map(str::as_bytes))];
        let record = Incoming {
            partition: Partition(0),
            offset: Offset(offset),
            timestamp: None,
            key: Some(key.as_bytes()),
            value: value.as_deref().map(str::as_bytes),
            headers: if add.is_some() { headers } else { &[] },
        };
        older += u64::from(buffer.fold(&record, &mut memory) == Ok(Folded::Older));
    }
    let (mut rows, mut row_by_row) = (Vec::new(), Vec::new());
    for row in buffer.into_contents().rows {
        let key = std::str::from_utf8(&row.key).unwrap();
        if !row.row_by_row {
            rows.push(bench.row(key, &row.change));
            continue;
        }
        for (offset, entry) in (0..).zip(batch).filter(|(_, entry)| entry.0.to_string() == key) {
            let (value, add) = value(entry);
            let change = record::decode(value.as_deref().map(str::as_bytes), add).unwrap();
            row_by_row.push((super::record(offset, key, ""), bench.row(key, &change)));
        }
    }
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    let (scope, spans) = (scope(), [span(0, bench.next, bench.next + 1)]);
    let transaction = Transaction {
        rows: &rows,
        row_by_row: &row_by_row,
        ..moving(&scope, &spans, &bench.table)
    };
    let outcome = bench.store.apply(&transaction).await;
    let Ok(Outcome::Committed { set_aside, older: left_out, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(set_aside, []);
    bench.next += 1;
    older + left_out
}

pub async fn an_older_version_is_left_out_however_the_log_is_cut(lab: impl Lab) {
    let mut bench = bench(lab).await;
    let write_of = (0..6_i64, prop::option::of(-5..5_i64), prop::option::of(-5..5_i64));
    let entry = (0..3_u8, prop::option::weighted(0.9, write_of));
    let logs = (prop::collection::vec(entry, 1..30), prop::collection::vec(1..12_usize, 1..4));
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..CASES {
        let (log, sizes) = logs.new_tree(&mut runner).unwrap().current();
        bench.lab.sql("DELETE FROM t").await;
        let mut rows = BTreeMap::new();
        for entry in &log {
            apply(&mut rows, entry);
        }
        let mut rest = &log[..];
        for size in sizes.iter().cycle() {
            let (batch, after) = rest.split_at((*size).min(rest.len()));
            if batch.is_empty() {
                break;
            }
            rest = after;
            write(&mut bench, batch).await;
        }
        let shown = |value: Option<i64>| value.map_or("NULL".to_owned(), |value| value.to_string());
        let expected: Vec<_> =
            rows.iter().map(|(key, (v, a, n))| format!("{key} {v} {} {n}", shown(*a))).collect();
        let found = bench.table(&["id", "v", "a", "n"]).await;
        assert_eq!(found, expected, "batches of {sizes:?} of {log:?}");
    }
}

pub async fn what_is_left_out_for_a_newer_version_is_counted(lab: impl Lab) {
    let mut bench = bench(lab).await;
    let set = |key: u8, v: i64, a: i64| (key, Some((v, Some(a), None)));
    assert_eq!(write(&mut bench, &[set(1, 5, 1), set(2, 5, 1)]).await, 0);
    assert_eq!(write(&mut bench, &[set(1, 4, 2), set(2, 5, 2), set(3, 1, 2)]).await, 1);
    // One is left out as it meets the other, and the other by the table.
    assert_eq!(write(&mut bench, &[set(1, 4, 3), set(1, 3, 3), set(2, 6, 3)]).await, 2);
    let expected = ["1 5 1", "2 6 3", "3 1 2"];
    assert_eq!(bench.table(&["id", "v", "a"]).await, expected);
    bench.lab.sql("UPDATE t SET v = NULL WHERE id = 1").await;
    assert_eq!(write(&mut bench, &[set(1, 1, 4), (2, None)]).await, 0);
    assert_eq!(write(&mut bench, &[set(2, 1, 5)]).await, 0);
    let expected = ["1 1 4", "2 1 5", "3 1 2"];
    assert_eq!(bench.table(&["id", "v", "a"]).await, expected);
}

pub async fn versions_are_numbers_of_a_column_outside_of_the_key(lab: impl Lab) {
    let columns = "id integer PRIMARY KEY, v bigint, x numeric(6, 2), name text";
    let mut bench = Bench::with(lab, columns).await;
    for (column, fits) in [("v", true), ("x", true), ("id", false), ("name", false), ("y", false)] {
        assert_eq!(bench.table.clone().with_version(column).is_ok(), fits, "{column}");
    }
    bench.table = bench.table.clone().with_version("x").unwrap();
    for bad in [r#"{"v":1}"#, r#"{"x":null}"#, "{}"] {
        let change = record::decode(Some(bad.as_bytes()), None).unwrap();
        assert!(Row::judge(&bench.table, b"1", &change).is_err(), "{bad}");
    }
    let set = |x: &str, v: i64| {
        record::decode(Some(format!(r#"{{"x":{x},"v":{v}}}"#).as_bytes()), None).unwrap()
    };
    for (x, v) in [("9.5", 1), ("10", 2), ("\"9.75\"", 3), ("10.00", 4)] {
        bench.write(&[("1", set(x, v))]).await;
    }
    assert_eq!(bench.table(&["v"]).await, ["4"], "numbers are not compared as texts");
}
