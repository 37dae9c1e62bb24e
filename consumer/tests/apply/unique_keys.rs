//! Values of unique keys that two rows want: what is not in the way stays folded.

use super::bench::Bench;

/// How many rows are written over and over, and how often.
const HOT: usize = 10;
const TIMES: usize = 500;

/// A table with a unique key that counts how often a row of it is written.
const COUNTED: &str = "DROP TABLE t; \
     CREATE TABLE t (id integer PRIMARY KEY, n bigint DEFAULT 0, name text UNIQUE); \
     CREATE TABLE written (id integer); \
     CREATE TRIGGER one AFTER INSERT ON t BEGIN INSERT INTO written VALUES (new.id); END; \
     CREATE TRIGGER two AFTER UPDATE ON t BEGIN INSERT INTO written VALUES (new.id); END; \
     INSERT INTO t VALUES (50, 0, 'taken')";

#[tokio::test]
async fn a_taken_value_does_not_cost_a_statement_for_each_record_of_rows_that_do_not_want_it() {
    let mut bench = Bench::new().await;
    bench.file.sql(COUNTED).await;
    let keys: Vec<String> = (1..=HOT).map(|key| key.to_string()).collect();
    let named: Vec<String> =
        keys.iter().map(|key| format!(r#"{{"n":1,"name":"{key}"}}"#)).collect();
    let hot = keys.iter().zip(&named).map(|(key, value)| (&**key, &**value, "n"));
    let mut records: Vec<_> = std::iter::repeat_n(hot, TIMES).flatten().collect();
    // One value that a row outside the batch has, and one that another row of the batch wants, too.
    records[HOT * TIMES / 3] = ("98", r#"{"name":"taken"}"#, "");
    records.insert(HOT * TIMES / 2, ("96", r#"{"name":"wanted"}"#, ""));
    records.push(("95", r#"{"name":"wanted"}"#, ""));
    let stats = bench.write(&records).await;
    assert_eq!(stats.dead_letters, 2);
    let letters = bench
        .file
        .list("SELECT CAST(record_key AS text) FROM write_behind_dead_letters ORDER BY 1")
        .await;
    assert_eq!(letters, ["95", "98"], "the first that wants a value has it");
    let sum = bench.file.list("SELECT CAST(sum(n) AS text) FROM t").await;
    assert_eq!(sum, [(HOT * TIMES - 1).to_string()]);
    let written = bench.file.list("SELECT CAST(count(*) AS text) FROM written").await;
    let written: usize = written[0].parse().unwrap();
    assert!(written < HOT * TIMES / 10, "{written} writes of {} records", records.len());
}
