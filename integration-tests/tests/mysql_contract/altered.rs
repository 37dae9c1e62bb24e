//! A table that is altered between its reading and the transaction, within the second that MySQL notes:
//! nothing is written by the earlier reading.

use write_behind_consumer::store::{Outcome, Store as _, StoreError};

use super::bench;
use crate::contract::Lab as _;
use crate::contract::server::written_by;

#[tokio::test]
async fn nothing_is_written_by_an_earlier_reading_of_a_table_that_was_altered() {
    let columns = "id integer PRIMARY KEY, n decimal(9, 3), name varchar(9), other integer";
    let mut bench = bench(columns).await;
    for alteration in [
        "ALTER TABLE t MODIFY n decimal(9, 1)",
        "ALTER TABLE t ALTER other SET DEFAULT 7",
        "ALTER TABLE t ALTER other SET DEFAULT 8",
        "ALTER TABLE t MODIFY other integer NOT NULL",
        "ALTER TABLE t ADD COLUMN more varchar(9)",
        "ALTER TABLE t DROP COLUMN more",
        "ALTER TABLE t ADD CONSTRAINT small CHECK (n < 1000)",
        "CREATE UNIQUE INDEX by_name ON t (name)",
        "CREATE TRIGGER one BEFORE INSERT ON t FOR EACH ROW SET @x = 1",
        "CREATE TRIGGER two BEFORE UPDATE ON t FOR EACH ROW SET @x = 1",
        "CREATE OR REPLACE TRIGGER two BEFORE INSERT ON t FOR EACH ROW SET @x = 1",
        "DROP TRIGGER two",
        "CREATE TABLE child (id integer, FOREIGN KEY (id) REFERENCES t (id) ON DELETE CASCADE); \
         ALTER TABLE t COMMENT 'twice within a second'",
        "ALTER TABLE t COMMENT 'thrice within a second'",
    ] {
        let before = bench.store.describe("t", &[]).await.unwrap();
        bench.lab.sql(alteration).await;
        let outcome = written_by(&mut bench, &before).await;
        assert!(matches!(outcome, Err(StoreError::Stop(_))), "{alteration}: {outcome:?}");
    }
    let now = bench.store.describe("t", &[]).await.unwrap();
    bench.lab.sql("ANALYZE TABLE t").await;
    let outcome = written_by(&mut bench, &now).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
}
