//! What a store on a server must do: connections, statements and waits end there.

use std::time::Duration;

use serde_json::json;
use write_behind_consumer::store::{
    Outcome, Store as _, StoreError, Timeouts, Transaction, WriteOptions,
};
use write_behind_shared::Change;

use super::{Bench, Lab, WRITE_OPTIONS, moving, scope, span};

/// A database on a server.
pub trait ServerLab: Lab {
    /// Makes an INSERT into `t` take a minute.
    const SLOW: &'static str;
    /// What the server says when a lock does not come in time.
    const LOCK_TIMEOUT: &'static str;
    /// Makes `t` a table of partitions by `id`, up to 10.
    const PARTITIONED: &'static str;
    /// Ends the store's connection, which is the only one, past the store.
    fn end_connection(&self) -> impl Future<Output = ()> + Send;
}

pub async fn a_connection_that_was_ended_is_an_outage(lab: impl ServerLab) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, n bigint").await;
    let one = [("1", Change::new().add("n", 1))];
    bench.write(&one).await;
    bench.lab.end_connection().await;
    let outcome = bench.run(&one, |_| {}).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    bench.store = bench.another_store().await;
    bench.write(&one).await;
    assert_eq!(bench.table(&["n"]).await, ["2"]);
}

pub async fn a_slow_statement_and_a_long_lock_end_on_the_server<L: ServerLab>(lab: L) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, n bigint").await;
    bench.lab.sql(L::SLOW).await;
    let (short, one) = (Duration::from_millis(200), [("1", Change::new().add("n", 1))]);
    let hasty = Timeouts { statement: short, ..Timeouts::STANDARD };
    bench.store = bench.lab.database().connect(&hasty).await.unwrap();
    let outcome = bench.run(&one, |_| {}).await;
    assert!(matches!(outcome, Err(StoreError::Saturated(_))), "{outcome:?}");

    let held = bench.lab.hold("UPDATE write_behind_offsets SET partitions = 3").await;
    let impatient = Timeouts { lock: short, ..Timeouts::STANDARD };
    bench.store = bench.lab.database().connect(&impatient).await.unwrap();
    let outcome = bench.run(&one, |_| {}).await;
    let told = matches!(&outcome, Err(StoreError::Conflict(why))
        if why.starts_with("a row or table is locked by another session: ")
            && why.contains(L::LOCK_TIMEOUT));
    assert!(told, "{outcome:?}");
    drop(held);
}

pub async fn a_row_without_a_partition_is_for_a_person<L: ServerLab>(lab: L) {
    lab.sql("CREATE TABLE t (id integer PRIMARY KEY)").await;
    lab.sql(L::PARTITIONED).await;
    let mut bench = Bench::over(lab).await;
    bench.write(&[("1", Change::new())]).await;
    let outcome = bench.run(&[("2", Change::new()), ("11", Change::new())], |_| {}).await;
    let told =
        matches!(&outcome, Err(StoreError::Stop(why)) if why.contains("create the partition"));
    assert!(told, "as bad data, every row of a day would be set aside: {outcome:?}");
    bench.store = bench.another_store().await;
    assert_eq!(bench.table(&["id"]).await, ["1"]);
}

pub async fn the_refused_are_found_among_thousands(lab: impl ServerLab) {
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, n smallint CHECK (n >= 0)").await;
    let keys: Vec<_> = (10_000..15_000).map(|key: i32| key.to_string()).collect();
    let bad = [0, 1, 2_500, 4_999];
    let n = |at| if bad.contains(&at) { -1 } else { 1 };
    let row =
        |(at, key): (usize, &String)| bench.row(key, &Change::of(&json!({ "n": n(at) })).unwrap());
    let rows: Vec<_> = keys.iter().enumerate().map(row).collect();
    let (scope, spans) = (scope(), [span(0, 0, 1)]);
    let options = WriteOptions { rows_per_statement: 1_000, ..WRITE_OPTIONS };
    let transaction = Transaction { rows: &rows, options, ..moving(&scope, &spans, &bench.table) };
    let outcome = bench.store.apply(&transaction).await;
    assert!(matches!(&outcome, Ok(Outcome::Rejected(places)) if *places == bad), "{outcome:?}");
}
