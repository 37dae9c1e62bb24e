//! Rows of one table that refer to each other: a batch ends as its records one by one, whatever a
//! delete does to other rows. A worker writes them, since it decides what is taken in log order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use tokio::sync::watch;
use write_behind_consumer::apply::history::RouteHistory;
use write_behind_consumer::apply::retry::RetryLimits;
use write_behind_consumer::apply::{Applied, Event, Stats, Target, Worker};
use write_behind_consumer::clock::MonotonicClock;
use write_behind_consumer::core::batch::{Batch, FoldedRow};
use write_behind_consumer::core::flood::FloodLimits;
use write_behind_shared::record;

use super::records::Records;
use super::*;

/// A table `t` whose rows refer to each other, and a worker that writes to it.
struct Tree<L> {
    bench: Bench<L>,
    log: Arc<Records>,
    worker: Worker<(Database, Timeouts), Records>,
}

impl<L: Lab> Tree<L> {
    /// `then` is what the column `parent` says after its reference.
    async fn new(lab: L, then: &str) -> Self {
        let columns = format!(
            "id integer PRIMARY KEY, parent integer REFERENCES t (id) {then}, name integer"
        );
        Self::of(Bench::with(lab, &columns).await)
    }

    fn of(bench: Bench<L>) -> Self {
        let target = Target {
            scope: scope(),
            partitions: 2,
            table: "t".to_owned(),
            key: Vec::new(),
            columns: None,
            rename: Vec::new(),
            version: None,
            history: Arc::new(RouteHistory::new(FloodLimits::STANDARD)),
        };
        let log = Arc::new(Records::default());
        let worker = Worker::new(
            (bench.lab.database(), Timeouts::STANDARD),
            Arc::clone(&log),
            Arc::from([target]),
            (RetryLimits { longest_wait: Duration::from_millis(5), ..RetryLimits::STANDARD }, 1),
            Arc::new(|_: Event<'_>| {}),
            MonotonicClock::start(),
        );
        Self { bench, log, worker }
    }

    async fn apply(&mut self, records: &[(&str, &str)], refuse: bool) -> Applied {
        let start = self.bench.next;
        let mut folded: BTreeMap<&str, Change> = BTreeMap::new();
        for (key, value) in records {
            let value = (!value.is_empty()).then_some(value.as_bytes());
            folded.entry(key).or_default().fold(record::decode(value, None).unwrap());
            self.log.all.lock().unwrap().push(RawRecord {
                partition: Partition(0),
                offset: Offset(self.bench.next),
                key: Some(key.as_bytes().into()),
                value: value.map(Into::into),
                headers: Vec::new(),
            });
            self.bench.next += 1;
        }
        let row = |(key, change): (&str, Change)| FoldedRow {
            partition: Partition(0),
            key: key.as_bytes().into(),
            change,
            row_by_row: false,
        };
        let batch = Batch {
            route: 0,
            topic: "t".into(),
            spans: vec![span(0, start, self.bench.next)],
            rows: folded.into_iter().map(row).collect(),
            records: records.len() as u64,
            refuse_missing_references: refuse,
            ..Batch::default()
        };
        let (_keep, mut shutdown) = watch::channel(false);
        self.worker.apply(&batch, &mut shutdown).await
    }

    /// Writes records as one batch that must be written at once, without a row of it missing.
    async fn write(&mut self, records: &[(&str, &str)]) -> Stats {
        match self.apply(records, false).await {
            Applied::Written(_, stats) if stats.dead_letters == 0 => stats,
            other => panic!("{other:?} of {records:?}"),
        }
    }

    async fn rows(&self) -> Vec<String> {
        self.bench.table(&["id", "parent", "name"]).await
    }
}

pub async fn a_child_and_its_parent_are_written_by_one_batch_whatever_columns_they_have(
    lab: impl Lab,
) {
    let mut tree = Tree::new(lab, "").await;
    let stats = tree.write(&[("1", r#"{"name":7}"#), ("0", r#"{"parent":1}"#)]).await;
    assert_eq!((stats.rows, stats.row_by_row), (2, 0), "the log is not read again");
    assert_eq!(tree.rows().await, ["0 1 NULL", "1 NULL 7"]);
}

pub async fn a_row_that_exists_is_moved_to_a_new_parent_of_the_same_batch(lab: impl Lab) {
    // With a constraint, rows that exist are updated and the others inserted.
    let columns = "id integer PRIMARY KEY, parent integer REFERENCES t (id), \
                   name integer CHECK (name > 0)";
    let mut tree = Tree::of(Bench::with(lab, columns).await);
    tree.write(&[("1", r#"{"parent":null}"#)]).await;
    let stats = tree.write(&[("3", r#"{"parent":null}"#), ("1", r#"{"parent":3}"#)]).await;
    assert_eq!((stats.rows, stats.row_by_row), (2, 0), "the log is not read again");
    assert_eq!(tree.rows().await, ["1 3 NULL", "3 NULL NULL"]);
}

pub async fn children_and_then_their_parents_are_deleted_by_one_batch(lab: impl Lab) {
    let mut tree = Tree::new(lab, "").await;
    let keys = ["1", "2", "3", "4", "5"];
    let chain = [("1", "{}"), ("2", r#"{"parent":1}"#), ("3", r#"{"parent":2}"#)];
    tree.write(&chain).await;
    tree.write(&[("4", r#"{"parent":3}"#), ("5", r#"{"parent":4}"#)]).await;
    let mut deletes = keys.map(|key| (key, ""));
    deletes.reverse();
    tree.write(&deletes).await;
    assert_eq!(tree.rows().await, [""; 0]);
}

pub async fn a_delete_that_reaches_no_other_row_leaves_a_batch_in_one_piece(lab: impl Lab) {
    let mut tree = Tree::new(lab, "").await;
    tree.write(&[("9", "{}")]).await;
    let stats = tree.write(&[("2", r#"{"parent":1}"#), ("9", ""), ("1", "{}")]).await;
    assert_eq!((stats.rows, stats.row_by_row), (3, 0), "the log is not read again");
    assert_eq!(tree.rows().await, ["1 NULL NULL", "2 1 NULL"]);
}

pub async fn records_that_are_taken_apart_keep_the_order_of_the_log(lab: impl Lab) {
    let columns = "id integer PRIMARY KEY, \
                   parent integer REFERENCES t (id) ON DELETE CASCADE, name integer UNIQUE";
    let mut tree = Tree::of(Bench::with(lab, columns).await);
    tree.write(&[("1", r#"{"name":7}"#), ("9", "{}")]).await;
    let children = [("2", r#"{"parent":1}"#), ("3", r#"{"parent":1}"#)];
    let mut records = vec![("9", ""), ("5", r#"{"name":1}"#), ("1", r#"{"name":8}"#)];
    records.extend(children);
    // Only behind the record that gives the name up.
    records.push(("4", r#"{"name":7}"#));
    tree.write(&records).await;
    let rows = ["1 NULL 8", "2 1 NULL", "3 1 NULL", "4 NULL 7", "5 NULL 1"];
    assert_eq!(tree.rows().await, rows);
}

/// Where rows are updated before any is inserted.
pub async fn a_new_row_takes_a_unique_value_that_another_of_its_batch_gives_up(lab: impl Lab) {
    let columns = "id integer PRIMARY KEY, parent integer CHECK (parent > 0), name integer UNIQUE";
    let mut tree = Tree::of(Bench::with(lab, columns).await);
    tree.write(&[("5", r#"{"name":7}"#)]).await;
    let stats = tree.write(&[("5", r#"{"name":8}"#), ("4", r#"{"name":7}"#)]).await;
    assert_eq!((stats.rows, stats.row_by_row), (2, 0), "the log is not read again");
    assert_eq!(tree.rows().await, ["4 NULL 7", "5 NULL 8"]);
}

pub async fn rows_that_refer_to_each_other_in_a_cycle_are_written_as_the_log_made_it(
    lab: impl Lab,
) {
    let mut tree = Tree::new(lab, "").await;
    let cycle = [("1", r#"{"name":1}"#), ("2", r#"{"parent":1}"#), ("1", r#"{"parent":2}"#)];
    tree.write(&cycle).await;
    assert_eq!(tree.rows().await, ["1 2 1", "2 1 NULL"]);
    let applied = tree.apply(&[("4", r#"{"parent":9}"#), ("5", r#"{"name":5}"#)], false).await;
    assert!(matches!(applied, Applied::MissingReference(_)), "{applied:?}");
}

/// A row of the model: its parent and its name.
type Node = (Option<u8>, Option<u8>);

/// One record that was valid where it stands: a key, and a value or a delete.
type Entry = (u8, Option<(Option<Option<u8>>, Option<u8>)>);

/// What a delete does to the rows that refer to the deleted one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum OnDelete {
    Cascades,
    SetsNull,
    SetsDefault,
    Refuses,
}

/// Applies `entry`; says whether it was valid.
fn apply(rows: &mut BTreeMap<u8, Node>, (id, value): Entry, on_delete: OnDelete) -> bool {
    let Some((parent, name)) = value else {
        // InnoDB takes a row that refers to itself for its own child.
        let is_parent = rows.values().any(|row| row.0 == Some(id));
        if on_delete == OnDelete::Refuses && is_parent
            || on_delete == OnDelete::SetsDefault && id == 0
        {
            return false;
        }
        rows.remove(&id);
        let children: Vec<u8> =
            rows.iter().filter(|(_, row)| row.0 == Some(id)).map(|(child, _)| *child).collect();
        for child in children {
            match on_delete {
                OnDelete::Cascades => {
                    apply(rows, (child, None), on_delete);
                }
                OnDelete::SetsDefault => rows.get_mut(&child).unwrap().0 = Some(0),
                OnDelete::SetsNull | OnDelete::Refuses => rows.get_mut(&child).unwrap().0 = None,
            }
        }
        return true;
    };
    if let Some(Some(parent)) = parent
        && parent != id
        && !rows.contains_key(&parent)
    {
        return false;
    }
    let default = (on_delete == OnDelete::SetsDefault).then_some(0);
    let row = rows.entry(id).or_insert((default, None));
    row.0 = parent.unwrap_or(row.0);
    row.1 = name.or(row.1);
    true
}

fn text((id, value): Entry) -> (String, String) {
    let value = value.map_or(String::new(), |(parent, name)| {
        let parent = parent.map(|parent| match parent {
            Some(parent) => format!("\"parent\":{parent}"),
            None => "\"parent\":null".to_owned(),
        });
        let name = name.map(|name| format!("\"name\":{name}"));
        format!("{{{}}}", parent.into_iter().chain(name).collect::<Vec<_>>().join(","))
    });
    (id.to_string(), value)
}

const CASES: usize = 12;

async fn batches_end_in_log_order<L: Lab>(lab: L, then: &str, on_delete: OnDelete) {
    let mut tree = Tree::new(lab, then).await;
    let value = (prop::option::of(prop::option::of(0..6_u8)), prop::option::of(0..9_u8));
    let entry = (0..6_u8, prop::option::weighted(0.75, value));
    let logs = (prop::collection::vec(entry, 1..60), prop::collection::vec(1..14_usize, 1..4));
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..CASES {
        let (mut log, sizes) = logs.new_tree(&mut runner).unwrap().current();
        tree.bench.lab.sql("UPDATE t SET parent = NULL; DELETE FROM t").await;
        let mut rows = BTreeMap::new();
        if on_delete == OnDelete::SetsDefault {
            tree.bench.lab.sql("INSERT INTO t (id) VALUES (0)").await;
            rows.insert(0, (Some(0), None));
        }
        let mut model = rows.clone();
        log.retain(|entry| apply(&mut model, *entry, on_delete));
        let (mut rest, mut done) = (&log[..], Vec::new());
        for size in sizes.iter().cycle() {
            let (batch, after) = rest.split_at((*size).min(rest.len()));
            if batch.is_empty() {
                break;
            }
            rest = after;
            for entry in batch {
                assert!(apply(&mut rows, *entry, on_delete));
            }
            let texts: Vec<_> = batch.iter().copied().map(text).collect();
            let records: Vec<_> = texts.iter().map(|(key, value)| (&**key, &**value)).collect();
            done.push(batch);
            tree.write(&records).await;
            let shown = |value: Option<u8>| value.map_or("NULL".into(), |value| value.to_string());
            let expected: Vec<String> = rows
                .iter()
                .map(|(id, (parent, name))| format!("{id} {} {}", shown(*parent), shown(*name)))
                .collect();
            assert_eq!(tree.rows().await, expected, "{on_delete:?} after {done:?}");
        }
    }
}

pub async fn batches_end_in_log_order_where_deletes_cascade(lab: impl Lab) {
    batches_end_in_log_order(lab, "ON DELETE CASCADE", OnDelete::Cascades).await;
}

pub async fn batches_end_in_log_order_where_deletes_set_null(lab: impl Lab) {
    batches_end_in_log_order(lab, "ON DELETE SET NULL", OnDelete::SetsNull).await;
}

pub async fn batches_end_in_log_order_where_deletes_set_the_default(lab: impl Lab) {
    batches_end_in_log_order(lab, "ON DELETE SET DEFAULT DEFAULT 0", OnDelete::SetsDefault).await;
}

pub async fn batches_end_in_log_order_where_parents_cannot_be_deleted(lab: impl Lab) {
    batches_end_in_log_order(lab, "", OnDelete::Refuses).await;
}

pub async fn batches_end_in_log_order_where_deletes_are_restricted(lab: impl Lab) {
    batches_end_in_log_order(lab, "ON DELETE RESTRICT", OnDelete::Refuses).await;
}

/// Tables that refer to themselves through others, and whether a delete comes back to them.
pub async fn what_a_delete_reaches_is_read_from_the_catalogue(lab: impl Lab) {
    lab.sql("CREATE TABLE u (id integer PRIMARY KEY, t integer)").await;
    let columns = "id integer PRIMARY KEY, u integer REFERENCES u (id) ON DELETE CASCADE, \
                   a integer, b integer, UNIQUE (a, b)";
    let mut bench = Bench::with(lab, columns).await;
    assert!(bench.table.own_references.is_empty() && !bench.table.deletes_reach_others);
    bench
        .lab
        .sql(
            "CREATE TABLE plain (id integer PRIMARY KEY, t integer REFERENCES t (id) ON DELETE CASCADE);
             CREATE TABLE own (id integer PRIMARY KEY, a integer, b integer, c integer, d integer,
                 UNIQUE (a, b), FOREIGN KEY (c, d) REFERENCES own (a, b),
                 FOREIGN KEY (c) REFERENCES own (id) ON DELETE CASCADE)",
        )
        .await;
    for (table, own, reaches) in [("t", 0, false), ("plain", 0, false), ("own", 2, true)] {
        let table = bench.store.describe(table, &[]).await.unwrap();
        let found = (table.own_references.len(), table.deletes_reach_others);
        assert_eq!(found, (own, reaches), "{}", table.sql_name);
    }
    let own = bench.store.describe("own", &[]).await.unwrap();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let found: Vec<_> = own
        .own_references
        .iter()
        .map(|own| (own.columns.clone(), own.referenced.clone()))
        .collect();
    for expected in [(names(&["c", "d"]), names(&["a", "b"])), (names(&["c"]), names(&["id"]))] {
        assert!(found.contains(&expected), "{found:?}");
    }
}
