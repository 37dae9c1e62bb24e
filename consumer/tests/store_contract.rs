//! The store's contract, for SQLite.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod contract;

use std::any::Any;

use contract::{Bench, Lab, WRITE_OPTIONS, letter, moving, record, scope, span};
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use tempfile::TempDir;
use write_behind_consumer::core::dead_letters::{DeadLetterState, Filter};
use write_behind_consumer::store::replay::{self, Decision, Replayed};
use write_behind_consumer::store::{
    Database, Outcome, Store as _, StoreError, Transaction, WriteOptions, letters,
};
use write_behind_shared::{Change, Offset, Partition};

/// A file in a directory of its own.
struct Sqlite {
    directory: TempDir,
}

impl Sqlite {
    async fn connection(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.directory.path().join("test.db"));
        options.create_if_missing(true).connect().await.unwrap()
    }
}

impl Lab for Sqlite {
    const LOGS: u32 = 100;
    const BYTES: &'static str = "blob";
    const SEES_PROPOSED: &'static str = "CREATE TRIGGER sees BEFORE INSERT ON t BEGIN
         SELECT RAISE(ABORT, 'negative') WHERE new.n < 0; INSERT INTO proposed VALUES (new.id); END";
    const REFUSE_BAD: &'static str = "CREATE TRIGGER refuse BEFORE INSERT ON t \
         BEGIN SELECT json_extract(new.doc, '$'); END";
    const REFUSE_ALL: &'static str = "CREATE TRIGGER refuse BEFORE INSERT ON t \
         BEGIN SELECT json_extract(new.doc || 'bad', '$'); END";
    const FIRST_VERSION: &'static str = include_str!("contract/first_version/sqlite.sql");
    const MAINTENANCE: &'static [&'static str] =
        &["VACUUM", "ALTER TABLE t ADD COLUMN more text", "CREATE INDEX by_n ON t (n)", "ANALYZE"];

    async fn new() -> Self {
        let lab = Self { directory: tempfile::tempdir().unwrap() };
        lab.connection().await;
        lab
    }

    fn database(&self) -> Database {
        let file = self.directory.path().join("test.db");
        Database::parse(&format!("sqlite://{}", file.display())).unwrap()
    }

    async fn sql(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut self.connection().await).await.unwrap();
    }

    async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let sql = sqlx::query(AssertSqlSafe(sql.to_owned()));
        let rows = sql.fetch_all(&mut self.connection().await).await.unwrap();
        rows.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect()
    }

    async fn hold(&self, sql: &str) -> Box<dyn Any + Send> {
        let mut connection = self.connection().await;
        let sql = AssertSqlSafe(format!("BEGIN IMMEDIATE; {sql}"));
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        Box::new(connection)
    }
}

contract!(Sqlite);
contract!(Sqlite: order::batches_end_in_log_order_where_deletes_set_the_default);

#[tokio::test]
async fn a_reference_that_is_checked_at_commit_refuses_its_row_and_not_the_batch() {
    let lab = Sqlite::new().await;
    lab.sql("CREATE TABLE parents (id integer PRIMARY KEY)").await;
    let columns = "id integer PRIMARY KEY, parent integer \
                   REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED";
    let mut bench = Bench::with(lab, columns).await;
    let parent = |id: i32| Change::of(&json!({ "parent": id })).unwrap();
    let rows = [("1", Change::new()), ("2", parent(7)), ("3", parent(8)), ("4", parent(9))];
    bench.lab.sql("INSERT INTO parents VALUES (8)").await;
    let outcome = bench
        .run(&rows, |transaction| {
            transaction.options =
                WriteOptions { refuse_missing_references: false, ..WRITE_OPTIONS };
        })
        .await;
    assert!(matches!(outcome, Err(StoreError::MissingReference(_))), "{outcome:?}");
    bench.store = bench.another_store().await;
    assert_eq!(bench.refused(&rows).await, [1, 3]);
    assert_eq!(bench.stands_at().await, 0);

    let row_by_row = [(record(1, "2", "7"), bench.row("2", &parent(7)))];
    let (scope, spans) = (scope(), [span(0, 0, 2)]);
    let good = [bench.row("1", &Change::new()), bench.row("3", &parent(8))];
    let transaction = Transaction {
        rows: &good,
        row_by_row: &row_by_row,
        ..moving(&scope, &spans, &bench.table)
    };
    let outcome = bench.store.apply(&transaction).await.unwrap();
    let Outcome::Committed { set_aside, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(set_aside.iter().map(|letter| letter.record.offset.0).collect::<Vec<_>>(), [1]);
    assert_eq!(bench.table(&["id", "parent"]).await, ["1 NULL", "3 8"]);
}

#[tokio::test]
async fn a_letter_whose_reference_is_checked_at_commit_is_refused_again() {
    let lab = Sqlite::new().await;
    lab.sql("CREATE TABLE parents (id integer PRIMARY KEY)").await;
    let columns = "id integer PRIMARY KEY, parent integer \
                   REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED";
    let mut bench = Bench::with(lab, columns).await;
    let (scope, spans, dead_letters) = (scope(), [span(0, 0, 4)], [letter(3)]);
    let transaction =
        Transaction { dead_letters: &dead_letters, ..moving(&scope, &spans, &bench.table) };
    bench.store.apply(&transaction).await.unwrap();
    let all = Filter::default();
    let found = letters::find(&mut bench.store, "p", &all, None, 10).await.unwrap();
    for (parent, refused) in [(7, true), (8, false)] {
        let row = bench.row("1", &Change::of(&json!({ "parent": parent })).unwrap());
        let decide = async |_| Ok::<_, StoreError>(Decision::Write(row));
        let replayed = replay::replay(&mut bench.store, &bench.table, &found[0], decide).await;
        let replayed = replayed.unwrap();
        assert_eq!(matches!(replayed, Replayed::Rejected(_)), refused, "{replayed:?}");
        assert_eq!(bench.table(&["id"]).await.is_empty(), refused);
        bench.lab.sql("INSERT OR IGNORE INTO parents VALUES (8)").await;
    }
}

#[tokio::test]
async fn bookkeeping_with_two_rows_of_a_partition_is_for_a_person_to_mend() {
    let mut bench = Bench::with(Sqlite::new().await, "id integer PRIMARY KEY").await;
    let copy = "CREATE TABLE two AS SELECT * FROM write_behind_offsets; \
                DROP TABLE write_behind_offsets; ALTER TABLE two RENAME TO write_behind_offsets; \
                INSERT INTO write_behind_offsets SELECT * FROM write_behind_offsets";
    bench.lab.sql(copy).await;
    let outcome = bench.run(&[("1", Change::new())], |_| {}).await;
    assert!(
        matches!(&outcome, Err(StoreError::Stop(why)) if why.contains("primary key is missing")),
        "{outcome:?}"
    );
    assert_eq!(bench.table(&["id"]).await, [""; 0]);
}

#[tokio::test]
async fn the_places_of_letters_come_with_what_became_of_each() {
    let mut bench = Bench::with(Sqlite::new().await, "id integer PRIMARY KEY").await;
    let (scope, spans, dead_letters) = (scope(), [span(0, 0, 9)], [letter(3), letter(4)]);
    let transaction =
        Transaction { dead_letters: &dead_letters, ..moving(&scope, &spans, &bench.table) };
    bench.store.apply(&transaction).await.unwrap();
    bench
        .lab
        .sql("UPDATE write_behind_dead_letters SET state = 'replayed' WHERE record_offset = 4")
        .await;
    let mut places = letters::places(&mut bench.store, &scope).await.unwrap();
    places.sort_by_key(|(_, offset, _)| *offset);
    let expected = [(3, DeadLetterState::Open), (4, DeadLetterState::Replayed)];
    assert_eq!(places, expected.map(|(offset, state)| (Partition(0), Offset(offset), state)));
}

#[tokio::test]
async fn a_unique_index_that_upserts_cannot_use_is_refused() {
    let lab = Sqlite::new().await;
    let mut bench = Bench::with(
        lab,
        "id integer PRIMARY KEY, a integer, b text, c text, \
                   d integer AS (a) STORED, e text COLLATE NOCASE, f text COLLATE RTRIM",
    )
    .await;
    bench
        .lab
        .sql(
            "CREATE UNIQUE INDEX part ON t (a) WHERE a > 0; CREATE UNIQUE INDEX low ON t (lower(b));
             CREATE UNIQUE INDEX loose ON t (c COLLATE NOCASE); CREATE UNIQUE INDEX made ON t (d);
             CREATE UNIQUE INDEX exact ON t (e COLLATE BINARY);
             CREATE UNIQUE INDEX spaces ON t (f COLLATE BINARY)",
        )
        .await;
    for (key, why) in [
        ("a", "without a condition"),
        ("b", "no unique key"),
        ("c", "NOCASE"),
        ("d", "generates its value"),
        ("e", "its collation takes different texts for equal, whatever that of its index"),
        ("f", "its collation takes different texts for equal, whatever that of its index"),
    ] {
        let described = bench.store.describe("t", &[key.to_owned()]).await;
        assert!(
            matches!(&described, Err(StoreError::Stop(said)) if said.contains(why)),
            "{key}: {described:?}"
        );
    }
}

#[tokio::test]
async fn tables_that_are_strict_or_without_rowid_take_rows() {
    let mut bench = Bench::with(Sqlite::new().await, "id integer PRIMARY KEY").await;
    bench
        .lab
        .sql(
            "CREATE TABLE strict (k TEXT PRIMARY KEY, i INT, r REAL, t TEXT, b BLOB, a ANY) \
                 STRICT, WITHOUT ROWID",
        )
        .await;
    bench.table = bench.store.describe("strict", &[]).await.unwrap();
    let full = json!({"i": 1, "r": 2, "t": "x", "b": "aGVsbG8=", "a": "007"});
    for _ in 0..2 {
        bench.write(&[("k", Change::of(&full).unwrap())]).await;
    }
    bench.write(&[("k", Change::new().add("i", 2).add("r", 1))]).await;
    let rows = bench
        .lab
        .rows(
            "SELECT k, CAST(i AS TEXT), CAST(r AS TEXT), t, CAST(b AS TEXT), a, \
        typeof(a) FROM strict",
        )
        .await;
    let row = ["k", "3", "3.0", "x", "hello", "007", "text"].map(|text| Some(text.to_owned()));
    assert_eq!(rows, [row]);
}

#[tokio::test]
async fn a_refusal_that_ends_the_whole_transaction_is_for_a_person_to_mend() {
    for (columns, refuse) in [
        ("id integer PRIMARY KEY, doc text NOT NULL ON CONFLICT ROLLBACK", "SELECT 1"),
        (
            "id integer PRIMARY KEY, doc text",
            "CREATE TRIGGER refuse BEFORE INSERT ON t WHEN new.doc IS NULL \
             BEGIN SELECT RAISE(ROLLBACK, 'it has no doc'); END",
        ),
    ] {
        let mut bench = Bench::with(Sqlite::new().await, columns).await;
        bench.lab.sql(refuse).await;
        let doc = |doc: Option<&str>| Change::of(&json!({ "doc": doc })).unwrap();
        let outcome = bench.run(&[("1", doc(Some("x"))), ("2", doc(None))], |_| {}).await;
        assert!(
            matches!(&outcome, Err(StoreError::Stop(why)) if why.contains("an ABORT")),
            "{outcome:?}"
        );
        bench.store = bench.another_store().await;
        assert_eq!((bench.stands_at().await, bench.table(&["id"]).await), (0, vec![]));
    }
}

#[tokio::test]
async fn a_trigger_on_delete_that_may_touch_other_rows_is_known() {
    let mut bench =
        Bench::with(Sqlite::new().await, "id integer PRIMARY KEY, parent integer").await;
    bench.lab.sql("CREATE TABLE t_log (id integer)").await;
    for (on, body, reaches) in [
        ("AFTER DELETE", "DELETE FROM t WHERE parent = old.id", true),
        ("BEFORE DELETE", "UPDATE T SET parent = NULL WHERE parent = old.id", true),
        ("AFTER DELETE", "INSERT INTO t_log VALUES (old.id)", false),
        ("AFTER INSERT", "DELETE FROM t WHERE parent = new.id", false),
    ] {
        bench.lab.sql(&format!("CREATE TRIGGER g {on} ON t BEGIN {body}; END")).await;
        let table = bench.store.describe("t", &[]).await.unwrap();
        assert_eq!(table.deletes_reach_others, reaches, "{on} {body}");
        bench.lab.sql("DROP TRIGGER g").await;
    }
}
