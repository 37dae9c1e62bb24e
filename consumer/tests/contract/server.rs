//! What a store on a server must do: connections, statements and waits end there.

use std::time::Duration;

use serde_json::json;
use write_behind_consumer::core::batch::LastRecord;
use write_behind_consumer::core::table::Table;
use write_behind_consumer::store::{
    Outcome, Store as _, StoreError, Timeouts, Transaction, WriteOptions,
};
use write_behind_shared::{Change, Offset, Partition};

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
    /// Finds a row as soon as a session in this database waits for a lock.
    const WAITING: &'static str;
    /// Tries to make a trigger on `t`, without patience; whether it could.
    fn makes_a_trigger(&self) -> impl Future<Output = bool> + Send;
}

/// What a transaction comes to that writes a row by this reading of the table.
pub async fn written_by(bench: &mut Bench<impl Lab>, table: &Table) -> Result<Outcome, StoreError> {
    bench.table = table.clone();
    let rows = [bench.row("1", &Change::of(&json!({ "n": 2, "other": 3 })).unwrap())];
    let (scope, spans) = (scope(), [span(0, bench.next, bench.next + 1)]);
    let transaction = Transaction { rows: &rows, ..moving(&scope, &spans, table) };
    let outcome = bench.store.apply(&transaction).await;
    bench.next += i64::from(matches!(outcome, Ok(Outcome::Committed { .. })));
    outcome
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

pub async fn nothing_changes_around_a_table_while_a_batch_is_written<L: ServerLab>(lab: L) {
    const LAST: &[LastRecord] =
        &[LastRecord { partition: Partition(0), offset: Offset(0), timestamp: 0 }];
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY, n bigint").await;
    let add = Change::new().add("n", 1);
    let one = [("1", add.clone())];
    assert!(bench.run(&one, |transaction| transaction.last_records = LAST).await.is_ok());
    // However long the look at what waits takes on a busy machine, the batch waits longer.
    let patience = Duration::from_mins(2);
    let patient =
        Timeouts { statement: patience, lock: patience, answer: patience, ..Timeouts::STANDARD };
    bench.store = bench.lab.database().connect(&patient).await.unwrap();
    // It waits behind the comparison of the table, and before its rows.
    let held = bench.lab.hold("UPDATE write_behind_last_records SET record_offset = 7").await;
    let rows = [bench.row("1", &add)];
    let (scope, spans) = (scope(), [span(0, bench.next, bench.next + 1)]);
    let transaction =
        Transaction { rows: &rows, last_records: LAST, ..moving(&scope, &spans, &bench.table) };
    let meanwhile = async {
        while bench.lab.rows(L::WAITING).await.is_empty() {
            // InnoDB goes on to show what it showed the last time, unless that was 0.1 s ago.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let made = bench.lab.makes_a_trigger().await;
        drop(held);
        made
    };
    let (outcome, made) = tokio::join!(bench.store.apply(&transaction), meanwhile);
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    assert!(!made, "a trigger would see rows that were judged without it");
    assert_eq!(bench.table(&["n"]).await, ["2"]);
    assert!(bench.lab.makes_a_trigger().await, "afterwards it can be made");
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
