//! What a store on a server must do: connections, statements and waits end there.

use std::time::Duration;

use write_behind_consumer::store::{StoreError, Timeouts};
use write_behind_shared::Change;

use super::{Bench, Lab};

/// A database on a server.
pub trait ServerLab: Lab {
    /// Makes an INSERT into `t` take a minute.
    const SLOW: &'static str;
    /// What the server says when a lock does not come in time.
    const LOCK_TIMEOUT: &'static str;
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
    let told =
        matches!(&outcome, Err(StoreError::Unavailable(why)) if why.contains(L::LOCK_TIMEOUT));
    assert!(told, "{outcome:?}");
    drop(held);
}
