//! The store's contract on a real MariaDB, what only it can do, and the whole pipeline into it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod altered;
mod inserts;
mod letters;
mod loader;
mod pipeline;
use std::any::Any;
use std::time::Duration;

use integration_tests::mariadb;
use integration_tests::wait::{PATIENCE, Seen, until};
use serde_json::json;
use sqlx::mysql::MySqlConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use write_behind_consumer::core::table::row;
use write_behind_consumer::store::{Database, Store as _, StoreError, Timeouts};
use write_behind_shared::Change;

use crate::contract;
use crate::contract::server::ServerLab;
use crate::contract::{Bench, Lab};

/// A database of its own on the shared server.
struct Mariadb {
    url: String,
}

impl Mariadb {
    async fn connection(&self) -> MySqlConnection {
        let mut connection = MySqlConnection::connect(&self.url).await.unwrap();
        let mode = "SET sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')";
        sqlx::raw_sql(mode).execute(&mut connection).await.unwrap();
        connection
    }
}

/// The contract's SQL in MariaDB's words: a text that is to be a key needs a length, unless it is
/// spelled as TEXT.
fn translated(sql: &str) -> AssertSqlSafe<String> {
    let sql = sql.replace("AS text)", "AS char)").replace(" text", " varchar(255)");
    let sql = sql.replace("WHERE partition", "WHERE \"partition\"");
    AssertSqlSafe(sql.replace(" jsonb", " json").replace(" / ", " DIV "))
}

impl Lab for Mariadb {
    const BYTES: &'static str = "blob";
    const SEES_PROPOSED: &'static str = "CREATE TRIGGER sees BEFORE INSERT ON t FOR EACH ROW BEGIN
         IF new.n < 0 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'negative'; END IF;
         INSERT INTO proposed VALUES (new.id); END";
    const REFUSE_BAD: &'static str = "CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW \
         IF new.doc = 'bad' THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 30001; END IF";
    const REFUSE_ALL: &'static str = "CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW SIGNAL SQLSTATE '45001' \
         SET MYSQL_ERRNO = 30001";
    const FIRST_VERSION: &'static str =
        include_str!("../../../consumer/tests/contract/first_version/mysql.sql");
    const MAINTENANCE: &'static [&'static str] = &[
        "ALTER TABLE t ADD COLUMN more text",
        "ALTER TABLE t ENGINE = InnoDB; OPTIMIZE TABLE t",
        "CREATE TABLE u LIKE t; INSERT INTO u SELECT * FROM t; DROP TABLE t; RENAME TABLE u TO t",
    ];

    async fn new() -> Self {
        let server = mariadb::shared().await.unwrap();
        Self { url: server.new_database().await.unwrap() }
    }

    fn database(&self) -> Database {
        Database::parse(&self.url).unwrap()
    }

    async fn sql(&self, sql: &str) {
        if sql.is_empty() {
            return;
        }
        let mut connection = self.connection().await;
        sqlx::raw_sql(translated(sql)).execute(&mut connection).await.unwrap();
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let mut connection = self.connection().await;
        let rows = sqlx::query(translated(sql)).fetch_all(&mut connection).await.unwrap();
        rows.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect()
    }

    async fn hold(&self, sql: &str) -> Box<dyn Any + Send> {
        let mut connection = self.connection().await;
        let sql = translated(&format!("START TRANSACTION; {sql}"));
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        Box::new(connection)
    }
}

impl ServerLab for Mariadb {
    const SLOW: &'static str =
        "CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW SET @x = sleep(60)";
    const LOCK_TIMEOUT: &'static str = "1205";
    const PARTITIONED: &'static str =
        "ALTER TABLE t PARTITION BY RANGE (id) (PARTITION first_days VALUES LESS THAN (10))";

    const WAITING: &'static str = "SELECT CAST(trx_id AS char) FROM information_schema.innodb_trx AS x \
         JOIN information_schema.processlist AS p ON p.id = x.trx_mysql_thread_id \
         WHERE p.db = database() AND x.trx_state = 'LOCK WAIT'";

    async fn makes_a_trigger(&self) -> bool {
        let trigger = "SET lock_wait_timeout = 1; \
                       CREATE TRIGGER sees BEFORE INSERT ON t FOR EACH ROW SET @x = 1";
        sqlx::raw_sql(trigger).execute(&mut self.connection().await).await.is_ok()
    }

    async fn end_connection(&self) {
        let ours = "SELECT CAST(id AS text) FROM information_schema.processlist \
                    WHERE db = database() AND id <> connection_id()";
        let ours = self.rows(ours).await;
        assert_eq!(ours.len(), 1);
        self.sql(&format!("KILL {}", ours[0][0].as_deref().unwrap())).await;
    }
}

contract!(Mariadb);
contract!(Mariadb:
    server::a_connection_that_was_ended_is_an_outage,
    server::a_slow_statement_and_a_long_lock_end_on_the_server,
    server::nothing_changes_around_a_table_while_a_batch_is_written,
    server::a_row_without_a_partition_is_for_a_person,
    server::the_refused_are_found_among_thousands,
);

async fn bench(columns: &str) -> Bench<Mariadb> {
    Bench::with(Mariadb::new().await, columns).await
}

fn set(value: &serde_json::Value) -> Change {
    Change::of(value).unwrap()
}

#[tokio::test]
async fn values_reach_mariadbs_own_types() {
    let columns = "id int PRIMARY KEY, at timestamp(6) NULL, local datetime(3), t time, y year, \
         m enum('ok', 'it''s', '7'), s set('a', 'b', 'c'), v varchar(5), cents decimal(6, 2), \
         f float, bits bit(4), b bit(1), u tinyint unsigned, fixed binary(3), doc json, \
         l varchar(9) CHARACTER SET latin1, big mediumtext, uid uuid";
    let mut bench = bench(columns).await;
    let full = json!({
        "at": "2013-01-01T10:00:00.25+05:30", "local": "2013-01-31 10:00:00.5",
        "t": "10:00:01", "y": "2013", "m": "it's", "s": "a,c", "v": "\u{1f600}2345",
        "cents": "1.01", "f": 0.5, "bits": 9, "b": true, "u": 255, "fixed": "AP8A",
        "doc": {"a": "\"\\\n\u{1f600}"}, "l": "né", "big": "\t\r\u{1}\u{2028}",
        "uid": "0011aabb-2233-4455-8677-8899aabbccdd"
    });
    bench.write(&[("1", set(&full))]).await;
    let shown = [
        "at",
        "local",
        "t",
        "y",
        "m",
        "s",
        "v",
        "cents",
        "f",
        "bits + 0",
        "b + 0",
        "u",
        "hex(fixed)",
        "doc",
        "l",
        "hex(big)",
        "uid",
    ];
    assert_eq!(
        bench.table(&shown).await,
        ["2013-01-01 04:30:00.250000 2013-01-31 10:00:00.500 10:00:01 2013 it's a,c \
          \u{1f600}2345 1.01 0.5 9 1 255 00FF00 {\"a\":\"\\\"\\\\\\n\u{1f600}\"} né \
          090D01E280A8 0011aabb-2233-4455-8677-8899aabbccdd"]
    );
    // The middle one is taken for the place of a label by MariaDB, were it given it.
    for bad in [json!({"m": "glad"}), json!({"m": "1"}), json!({"s": "a,7"}), json!({"u": 256})] {
        let change = set(&bad);
        assert!(row::Row::judge(&bench.table, b"1", &change).is_err(), "{bad}");
    }
    bench.write(&[("1", set(&json!({"m": "7", "s": ""})))]).await;
    for bad in [
        json!({"v": "123456"}),
        json!({"at": "2013-02-30T10:00:00Z"}),
        json!({"at": "2213-01-01T10:00:00Z"}),
        json!({"local": "2013-02-30 10:00:00"}),
        json!({"local": "0000-00-00 00:00:00"}),
        json!({"t": "noon"}),
        json!({"y": "1066"}),
        json!({"cents": 12345}),
        json!({"cents": "1e400"}),
        json!({"f": 1e300}),
        json!({"fixed": "AAECAw=="}),
        json!({"l": "\u{1f600}"}),
        json!({"uid": "0011"}),
    ] {
        assert!(bench.is_bad("1", set(&bad)).await, "{bad}");
    }
}

#[tokio::test]
async fn sums_are_exact_or_refused_and_never_clamped() {
    let columns = "id int PRIMARY KEY, tiny tinyint, u int unsigned, b bigint unsigned, \
         x decimal(65, 30), whole decimal(65, 0), f double";
    let mut bench = bench(columns).await;
    let start = json!({
        "tiny": 120, "u": 5, "b": i64::MAX, "x": "0.000000000000000000000000000001",
        "whole": format!("9{:0>64}", 0), "f": 1e308
    });
    bench.write(&[("1", set(&start))]).await;
    let exact = "12345678901234567890123456789012345.123456789012345678901234567890";
    let delta: write_behind_shared::Number = exact.parse().unwrap();
    for _ in 0..2 {
        bench
            .write(&[("1", Change::new().add("u", -2).add("b", i64::MAX).add("x", delta.clone()))])
            .await;
        // Whether the table has another unique key or not, the sum is the same.
        bench.lab.sql("ALTER TABLE t ADD COLUMN IF NOT EXISTS k int UNIQUE").await;
        bench.table = bench.store.describe("t", &[]).await.unwrap();
        if bench.next == 2 {
            let half = Change::new().add("b", -i64::MAX);
            bench.write(&[("1", half)]).await;
        }
    }
    let shown = ["u", "b", "x"];
    let doubled = "24691357802469135780246913578024690.246913578024691357802469135781";
    assert_eq!(bench.table(&shown).await, [format!("1 18446744073709551614 {doubled}")]);
    for bad in [
        Change::new().add("tiny", 8),
        Change::new().add("u", -2),
        Change::new().add("u", i64::from(u32::MAX)),
        Change::new().add("b", 2),
        Change::new().add("whole", "9e64".parse::<write_behind_shared::Number>().unwrap()),
        Change::new().add("f", "1e308".parse::<write_behind_shared::Number>().unwrap()),
    ] {
        let rows = [("1", bad), ("2", Change::new())];
        assert_eq!(bench.refused(&rows).await, [0], "{:?}", rows[0].1);
    }
}

#[tokio::test]
async fn a_key_of_zero_is_zero_although_the_column_counts_by_itself() {
    let mut bench = bench("id int AUTO_INCREMENT PRIMARY KEY, n int").await;
    bench.write(&[("0", Change::new().add("n", 1)), ("7", Change::new())]).await;
    bench.write(&[("0", Change::new().add("n", 1))]).await;
    assert_eq!(bench.table(&["id", "n"]).await, ["0 2", "7 NULL"]);
}

#[tokio::test]
async fn keys_that_differ_in_case_accents_or_trailing_spaces_are_rows_of_their_own() {
    let mut bench = bench("k text PRIMARY KEY, n int").await;
    let keys = ["a", "A", "ä", "a ", "a\u{301}", "\u{1f600}", "a'\\\"", "0", "00"];
    for _ in 0..2 {
        let rows = keys.map(|key| (key, Change::new().add("n", 1)));
        bench.write(&rows).await;
    }
    bench.write(&[("a", Change::delete())]).await;
    assert_eq!(bench.table(&["n"]).await, ["2"; 8]);
}

#[tokio::test]
async fn what_cant_be_rolled_back_or_told_apart_is_refused_with_the_mend() {
    let mut bench = bench("id int PRIMARY KEY").await;
    for (table, columns, why) in [
        ("a", "id varchar(9) COLLATE utf8mb4_general_ci PRIMARY KEY", "utf8mb4_nopad_bin"),
        ("b", "id varchar(9) COLLATE utf8mb4_bin PRIMARY KEY", "takes different texts for equal"),
        ("c", "id char(36) PRIMARY KEY", "char"),
        ("d", "id varbinary(9) PRIMARY KEY", "varbinary"),
        ("e", "id datetime PRIMARY KEY", "datetime"),
        ("f", "id int AS (1) STORED UNIQUE, k int", "no primary key"),
        ("g", "id mediumtext, PRIMARY KEY (id(9))", "beginning only"),
        ("h", "id enum('a') PRIMARY KEY", "enum"),
        ("i", "id int PRIMARY KEY) ENGINE = MyISAM", "ENGINE = InnoDB"),
        ("j", "id int PRIMARY KEY) ENGINE = Aria", "can't roll back"),
    ] {
        // The last two close the parenthesis themselves.
        let end = if columns.contains("ENGINE") { "" } else { ")" };
        bench.lab.sql(&format!("CREATE TABLE {table} ({columns}{end}")).await;
        let described = bench.store.describe(table, &[]).await;
        assert!(
            matches!(&described, Err(StoreError::Stop(said)) if said.contains(why)),
            "{columns}: {described:?}"
        );
    }
    let described = bench.store.describe("f", &["id".to_owned()]).await;
    assert!(
        matches!(&described, Err(StoreError::Stop(said)) if said.contains("generates its value")),
        "{described:?}"
    );
}

#[tokio::test]
async fn a_table_of_another_database_is_named_with_it() {
    let other = bench("id int PRIMARY KEY, n int").await;
    let mut bench = bench("id int PRIMARY KEY").await;
    let (_, name) = other.lab.url.rsplit_once('/').unwrap();
    bench.table = bench.store.describe(&format!("{name}.t"), &[]).await.unwrap();
    bench.write(&[("1", Change::new().add("n", 1))]).await;
    assert_eq!(other.table(&["id", "n"]).await, ["1 1"]);
}

#[tokio::test]
async fn the_transaction_of_a_consumer_that_hangs_is_ended_by_the_server() {
    let mut bench = bench("id int PRIMARY KEY, n bigint").await;
    let one = [("1", Change::new().add("n", 1))];
    bench.write(&one).await;
    let held = bench.lab.hold("UPDATE t SET n = n").await;
    let hasty = Timeouts { idle_in_transaction: Duration::from_secs(1), ..Timeouts::STANDARD };
    let successor = bench.another_store().await;
    bench.store = bench.lab.database().connect(&hasty).await.unwrap();
    // A statement that takes so long; who asks for lock waits too often is shown old ones.
    let waits = "SELECT CAST(id AS text) FROM information_schema.processlist \
         WHERE db = database() AND command = 'Execute' AND id <> connection_id() AND time_ms > 500";
    let lab = Mariadb { url: bench.lab.url.clone() };
    tokio::select! {
        biased;
        outcome = bench.run(&one, |_| {}) => panic!("it waits for the row: {outcome:?}"),
        seen = until("the row to be waited for", PATIENCE, async || {
            let waiting = lab.rows(waits).await;
            Ok(Seen::when(waiting.len() == 1, || format!("{waiting:?}")))
        }) => seen.unwrap(),
    }
    // Its offset is moved, its row is locked, and nobody will ever go on with it.
    let hanging = std::mem::replace(&mut bench.store, successor);
    drop(held);
    bench.write(&one).await;
    assert_eq!(bench.table(&["n"]).await, ["2"]);
    drop(hanging);
}

#[tokio::test]
async fn rows_that_are_more_than_a_message_holds_are_written_in_several() {
    let mut bench = bench("id int PRIMARY KEY, doc longtext").await;
    let text = "x".repeat(3 << 20);
    let keys: Vec<_> = (1..=6).map(|key: u32| key.to_string()).collect();
    let rows: Vec<_> = keys.iter().map(|key| (&**key, set(&json!({ "doc": text })))).collect();
    bench.write(&rows).await;
    assert_eq!(bench.table(&["length(doc)"]).await, vec![text.len().to_string(); 6]);
    let outcome = bench.run(&[("1", set(&json!({ "doc": text.repeat(6) })))], |_| {}).await;
    assert!(
        matches!(&outcome, Err(StoreError::Stop(why)) if why.contains("max_allowed_packet")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_table_altered_under_a_prepared_statement_is_written_to() {
    let mut bench = bench("id int PRIMARY KEY, n int, name text NOT NULL").await;
    let full = [("1", set(&json!({"n": 1, "name": "x"})))];
    let part = [("1", Change::new().add("n", 1))];
    bench.write(&full).await;
    bench.write(&part).await;
    for change in ["n bigint", "id bigint", "name varchar(9) NOT NULL"] {
        bench.lab.sql(&format!("ALTER TABLE t MODIFY COLUMN {change}")).await;
        bench.write(&part).await;
    }
    assert_eq!(bench.table(&["n"]).await, ["5"]);
}

#[tokio::test]
async fn a_text_whose_spaces_would_be_cut_off_is_bad_in_every_character_set() {
    let sets = ["utf8mb4", "latin1", "latin2", "sjis", "gbk", "ujis", "ucs2", "utf16", "utf32"];
    let columns: Vec<String> =
        sets.iter().map(|set| format!("{set} tinytext CHARACTER SET {set}")).collect();
    let mut bench = bench(&format!("id integer PRIMARY KEY, {}", columns.join(", "))).await;
    for set in sets {
        for (letter, spaces) in [("a", 300), ("a", 5), ("\u{d7}", 254), ("\u{d7}", 20)] {
            let text = format!("{letter}{}", " ".repeat(spaces));
            if bench.is_bad("1", self::set(&json!({ (set): text }))).await {
                assert!(spaces > 20, "{text:?} fits into {set}");
                continue;
            }
            assert_eq!(bench.table(&[set]).await, [text], "{set}");
        }
    }
}
