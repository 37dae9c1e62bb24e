//! A table that is altered between its reading and the transaction: nothing is written by the earlier
//! reading, for Postgres itself would say nothing of it.

use write_behind_consumer::store::{Outcome, Store as _, StoreError};

use super::bench;
use crate::contract::Lab as _;
use crate::contract::server::written_by;

#[tokio::test]
async fn nothing_is_written_by_an_earlier_reading_of_a_table_that_was_altered() {
    let columns = "id integer PRIMARY KEY, n numeric, name text, other integer";
    let mut bench = bench(columns).await;
    let function =
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'";
    bench.lab.sql(function).await;
    for alteration in [
        "ALTER TABLE t ALTER n TYPE numeric(9, 1)",
        "ALTER TABLE t ALTER name TYPE varchar(9)",
        "ALTER TABLE t ALTER other SET DEFAULT 7",
        "ALTER TABLE t ALTER other SET DEFAULT 8",
        "ALTER TABLE t ALTER other SET NOT NULL",
        "ALTER TABLE t ALTER other DROP NOT NULL",
        "ALTER TABLE t ADD COLUMN more text",
        "ALTER TABLE t RENAME COLUMN more TO less",
        "ALTER TABLE t DROP COLUMN less",
        "ALTER TABLE t ADD CONSTRAINT small CHECK (n < 1000)",
        "ALTER TABLE t DROP CONSTRAINT small",
        "CREATE UNIQUE INDEX by_name ON t (name)",
        "DROP INDEX by_name",
        "CREATE TRIGGER one BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
        "CREATE TRIGGER two BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
        "ALTER TABLE t DISABLE TRIGGER two",
        "DROP TRIGGER two ON t",
        "CREATE TABLE child (id integer REFERENCES t ON DELETE CASCADE)",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
    ] {
        let before = bench.store.describe("t", &[]).await.unwrap();
        bench.lab.sql(alteration).await;
        let outcome = written_by(&mut bench, &before).await;
        assert!(matches!(outcome, Err(StoreError::Stop(_))), "{alteration}: {outcome:?}");
    }
    let now = bench.store.describe("t", &[]).await.unwrap();
    for maintenance in ["VACUUM t", "ANALYZE t", "VACUUM FREEZE ANALYZE t", "VACUUM pg_attribute"] {
        bench.lab.sql(maintenance).await;
        let outcome = written_by(&mut bench, &now).await;
        assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{maintenance}: {outcome:?}");
    }
}
