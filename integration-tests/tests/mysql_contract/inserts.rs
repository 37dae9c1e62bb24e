//! What MariaDB can have on a table that sees a row before it is inserted, and what must not come of
//! it where the row exists.

use integration_tests::mariadb;
use serde_json::json;
use write_behind_consumer::store::{Outcome, Store as _, StoreError, Transaction};
use write_behind_shared::Change;

use super::{Mariadb, bench, set};
use crate::contract::{Bench, Lab as _};

fn add(n: i64) -> Change {
    Change::new().add("n", n)
}

#[tokio::test]
async fn a_trigger_that_changes_rows_to_insert_changes_no_row_that_exists() {
    let mut bench = bench("id int PRIMARY KEY, n bigint, made text").await;
    bench
        .lab
        .sql(
            "INSERT INTO t VALUES (1, 10, NULL);
             CREATE TRIGGER f BEFORE INSERT ON t FOR EACH ROW
                 SET new.n = greatest(new.n, 0), new.made = 'by trigger'",
        )
        .await;
    bench.table = bench.store.describe("t", &[]).await.unwrap();
    bench.write(&[("1", add(-3)), ("2", add(-3))]).await;
    bench.write(&[("1", set(&json!({"made": "by record"})))]).await;
    bench.write(&[("1", set(&json!({"n": -4})))]).await;
    assert_eq!(bench.table(&["id", "n", "made"]).await, ["1 -4 by record", "2 0 by trigger"]);
}

#[tokio::test]
async fn an_update_takes_no_number_of_a_column_that_counts_or_of_a_sequence() {
    let mut bench = bench("id int PRIMARY KEY").await;
    bench
        .lab
        .sql(
            "CREATE SEQUENCE s MAXVALUE 3;
             CREATE TABLE counted (id int AUTO_INCREMENT, name text PRIMARY KEY, n int, KEY (id));
             CREATE TABLE numbered (name text PRIMARY KEY, n int, id int DEFAULT nextval(s))",
        )
        .await;
    for table in ["counted", "numbered"] {
        bench.table = bench.store.describe(table, &[]).await.unwrap();
        for _ in 0..3 {
            bench.write(&[("x", set(&json!({"n": 1}))), ("y", add(1))]).await;
        }
        bench.write(&[("z", set(&json!({"n": 1})))]).await;
        let query = format!("SELECT CAST(id AS text) FROM {table} ORDER BY name");
        let found = bench.lab.rows(&query).await;
        assert_eq!(found, ["1", "2", "3"].map(|id| [Some(id.to_owned())]), "{table}");
    }
    let outcome = bench.run(&[("x", add(1)), ("a", set(&json!({"n": 1})))], |_| {}).await;
    assert!(
        matches!(&outcome, Err(StoreError::Stop(why)) if why.contains("ALTER SEQUENCE")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn what_sees_a_proposed_row_is_known_and_what_does_not_leaves_the_fast_path() {
    let mut bench = bench("id int PRIMARY KEY").await;
    let on = |when: &str| format!("CREATE TRIGGER f {when} ON x FOR EACH ROW SET @seen = 1");
    for (columns, then, updates) in [
        ("a int, b text DEFAULT 'it''s', c datetime DEFAULT now()", String::new(), false),
        ("a int UNIQUE", String::new(), true),
        ("a int, b int AS (a + 1) VIRTUAL", String::new(), true),
        ("a int", on("BEFORE INSERT"), true),
        ("a int", on("AFTER INSERT"), false),
        ("a int", on("BEFORE UPDATE"), false),
    ] {
        bench.lab.sql("DROP TABLE IF EXISTS x").await;
        bench.lab.sql(&format!("CREATE TABLE x (id int PRIMARY KEY, {columns})")).await;
        bench.lab.sql(&then).await;
        let table = bench.store.describe("x", &[]).await.unwrap();
        assert_eq!(table.update_before_insert, updates, "{columns}; {then}");
        assert!(table.columns.iter().all(|column| !column.default_acts), "{columns}");
    }
    let columns = "id int PRIMARY KEY, a int AUTO_INCREMENT, b varchar(36) DEFAULT uuid(), \
                   c double DEFAULT rand(), d timestamp(6) DEFAULT CURRENT_TIMESTAMP(6), KEY (a)";
    bench.lab.sql(&format!("CREATE TABLE acting ({columns})")).await;
    let table = bench.store.describe("acting", &[]).await.unwrap();
    let acting = table.columns.iter().filter(|column| column.default_acts);
    assert_eq!(acting.map(|column| &*column.name).collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_value_that_is_there_twice_is_refused_and_never_changes_the_other_row() {
    let columns = "id int PRIMARY KEY, mail varchar(20) UNIQUE, n bigint";
    let mut bench = bench(columns).await;
    bench
        .write(&[("1", set(&json!({"mail": "a", "n": 1}))), ("2", set(&json!({"mail": "b"})))])
        .await;
    let rows = [
        ("1", Change::new().add("n", 1)),
        ("2", set(&json!({"mail": "a"}))),
        ("3", set(&json!({"mail": "a", "n": 9}))),
        ("4", set(&json!({"mail": "d", "n": 4}))),
    ];
    assert_eq!(bench.refused(&rows).await, [1, 2]);
    assert_eq!(bench.table(&["id", "mail", "n"]).await, ["1 a 1", "2 b NULL"]);
    // The route's key may be the other one, beside a primary key that counts by itself.
    bench
        .lab
        .sql("CREATE TABLE byname (id int AUTO_INCREMENT PRIMARY KEY, name text UNIQUE, n int)")
        .await;
    bench.table = bench.store.describe("byname", &["name".to_owned()]).await.unwrap();
    for _ in 0..3 {
        bench.write(&[("x", Change::new().add("n", 1)), ("y", Change::new().add("n", 2))]).await;
    }
    let rows = bench
        .lab
        .rows("SELECT CAST(id AS text), name, CAST(n AS text) FROM byname ORDER BY 1")
        .await;
    let expected = [["1", "x", "3"], ["2", "y", "6"]];
    assert_eq!(rows, expected.map(|row| row.map(|text| Some(text.to_owned()))));
}

#[tokio::test]
async fn rows_are_found_and_instants_kept_whatever_the_servers_defaults_are() {
    let server = mariadb::Mariadb::start().await.unwrap();
    let lab = Mariadb { url: server.new_database().await.unwrap() };
    let columns = "id int PRIMARY KEY, n int CHECK (n < 9), at timestamp NULL";
    let mut bench = Bench::with(lab, columns).await;
    let rows = ["1", "2", "3"].map(|key| (key, Change::new().add("n", 1)));
    bench.write(&rows).await;
    let defaults = "SET GLOBAL sql_select_limit = 1; SET GLOBAL max_join_size = 1; \
                    SET GLOBAL time_zone = '+05:30'";
    bench.lab.sql(defaults).await;
    bench.store = bench.another_store().await;
    // Taken apart, each row would be found.
    let whole = |transaction: &mut Transaction<'_>| transaction.options.in_log_order = false;
    let outcome = bench.run(&rows, whole).await;
    assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}");
    bench.write(&[("1", set(&json!({"at": "2013-01-01T10:00:00Z"})))]).await;
    let restored = "SET GLOBAL sql_select_limit = DEFAULT; SET GLOBAL max_join_size = DEFAULT";
    bench.lab.sql(restored).await;
    assert_eq!(bench.table(&["n"]).await, ["2"; 3]);
    let seconds = "SELECT CAST(unix_timestamp(at) AS char) FROM t WHERE id = 1";
    assert_eq!(bench.lab.rows(seconds).await, [[Some("1357034400".to_owned())]]);
}
