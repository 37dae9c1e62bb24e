//! The store's contract, for a real Postgres, and what only Postgres can do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod altered;
mod catalogue;
mod contested;
mod encodings;
mod inserts;
mod postgis;
mod references;
mod sqlstate;

use std::any::Any;

use integration_tests::postgres::Postgres as Server;
use integration_tests::stack;
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use uuid::Uuid;
use write_behind_consumer::store::{Database, Outcome, Store as _, StoreError, Timeouts};
use write_behind_shared::Change;

use crate::contract;
use crate::contract::server::ServerLab;
use crate::contract::{Bench, Lab};

/// A database of its own on the shared server.
struct Postgres {
    url: String,
    name: String,
}

impl Postgres {
    /// A database with more options.
    async fn with(options: &str) -> Self {
        Self::on(&stack::postgres().await.unwrap(), options).await
    }

    /// The same on this server.
    async fn on(server: &Server, options: &str) -> Self {
        let server = Server::url_by_way_of(server.port());
        let name = format!("contract_{}", Uuid::new_v4().simple());
        let create = AssertSqlSafe(format!("CREATE DATABASE {name} {options}"));
        let mut connection = PgConnection::connect(&server).await.unwrap();
        sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
        let (server, _) = server.rsplit_once('/').unwrap();
        Self { url: format!("{server}/{name}"), name }
    }

    async fn connection(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }
}

impl Lab for Postgres {
    const BYTES: &'static str = "bytea";
    const SEES_PROPOSED: &'static str = "CREATE FUNCTION sees() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN IF new.n < 0 THEN RAISE EXCEPTION 'negative'; END IF;
         INSERT INTO proposed VALUES (new.id); RETURN new; END $$;
         CREATE TRIGGER sees BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION sees()";
    const REFUSE_BAD: &'static str = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN ASSERT new.doc <> 'bad'; RETURN new; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse()";
    const REFUSE_ALL: &'static str = "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE no_data_found; END $$; \
         CREATE TRIGGER refuse BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse()";
    const FIRST_VERSION: &'static str =
        include_str!("../../../consumer/tests/contract/first_version/postgres.sql");
    const MAINTENANCE: &'static [&'static str] = &[
        "VACUUM FULL t",
        "ALTER TABLE t ADD COLUMN more text",
        "ALTER TABLE t ALTER n TYPE numeric",
        "CLUSTER t USING t_pkey",
        "REINDEX TABLE t",
        "ALTER TABLE t SET UNLOGGED; ALTER TABLE t SET LOGGED",
    ];

    async fn new() -> Self {
        Self::with("").await
    }

    fn database(&self) -> Database {
        Database::parse(&self.url).unwrap()
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
        let sql = AssertSqlSafe(format!("BEGIN; {sql}"));
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        Box::new(connection)
    }
}

impl ServerLab for Postgres {
    const SLOW: &'static str = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM pg_sleep(60); RETURN new; END $$; \
         CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION slow()";
    const LOCK_TIMEOUT: &'static str = "lock timeout";
    const PARTITIONED: &'static str = "DROP TABLE t; \
         CREATE TABLE t (id integer PRIMARY KEY) PARTITION BY RANGE (id); \
         CREATE TABLE t_first PARTITION OF t FOR VALUES FROM (0) TO (10)";

    const WAITING: &'static str = "SELECT pid::text FROM pg_stat_activity \
         WHERE datname = current_database() AND wait_event_type = 'Lock'";

    async fn makes_a_trigger(&self) -> bool {
        let trigger = "SET lock_timeout = '300ms'; \
             CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql \
                 AS 'BEGIN RETURN new; END'; \
             CREATE TRIGGER sees BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()";
        sqlx::raw_sql(trigger).execute(&mut self.connection().await).await.is_ok()
    }

    async fn end_connection(&self) {
        let end = "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
                   WHERE application_name = 'write-behind' AND datname = current_database()";
        assert_eq!(self.rows(end).await.len(), 1);
    }
}

contract!(Postgres);
contract!(Postgres:
    order::a_new_row_takes_a_unique_value_that_another_of_its_batch_gives_up,
    server::a_connection_that_was_ended_is_an_outage,
    server::a_slow_statement_and_a_long_lock_end_on_the_server,
    order::batches_end_in_log_order_where_deletes_set_the_default,
    server::nothing_changes_around_a_table_while_a_batch_is_written,
    server::a_row_without_a_partition_is_for_a_person,
    server::the_refused_are_found_among_thousands,
    claims::a_table_that_truncate_has_emptied_is_told_once,
    claims::a_claim_that_an_earlier_consumer_noted_is_noted_again_at_the_first_start,
    claims::partitions_may_come_and_go_while_a_table_is_empty,
);

async fn bench(columns: &str) -> Bench<Postgres> {
    Bench::with(Postgres::new().await, columns).await
}

fn set(value: &serde_json::Value) -> Change {
    Change::of(value).unwrap()
}

#[tokio::test]
async fn values_reach_postgres_own_types() {
    let lab = Postgres::new().await;
    lab.sql("CREATE TYPE mood AS ENUM ('ok', 'sad'); CREATE DOMAIN even AS integer CHECK (value % 2 = 0)")
        .await;
    let columns = "id integer PRIMARY KEY, at timestamptz, m mood, e even, texts text[], \
                   grid integer[], v varchar(5), span interval, cents numeric(6, 2), c char(3)";
    let mut bench = Bench::with(lab, columns).await;
    let full = json!({
        "at": "2013-01-01T10:00:00+05:30", "m": "sad", "e": 4, "texts": ["a,b", null, "\"{"],
        "grid": [[1, 2], [3, 4]], "v": "12345", "span": "1 day", "cents": "1.01", "c": "x"
    });
    bench.write(&[("1", set(&full))]).await;
    // The delta alone is odd, or negative: only the sum is checked.
    let deltas = Change::new().add("e", 1).add("cents", -1);
    bench.write(&[("1", deltas.clone().add("e", 1))]).await;
    let shown = ["at AT TIME ZONE 'UTC'", "m", "e", "texts", "grid", "v", "span", "cents", "c"];
    assert_eq!(
        bench.table(&shown).await,
        ["2013-01-01 04:30:00 sad 6 {\"a,b\",NULL,\"\\\"{\"} {{1,2},{3,4}} 12345 1 day 0.01 x"]
    );
    for bad in [
        json!({"v": "123456"}),
        json!({"m": "glad"}),
        json!({"grid": [[1], [2, 3]]}),
        json!({"at": "2013-02-30T10:00:00Z"}),
        json!({"cents": 12345}),
        json!({"c": "long"}),
    ] {
        assert!(bench.is_bad("1", set(&bad)).await, "{bad}");
    }
    assert_eq!(bench.refused(&[("1", deltas), ("2", Change::new())]).await, [0], "7 is odd");
}

#[tokio::test]
async fn a_key_whose_equality_is_not_that_of_its_text_is_refused() {
    let mut bench = bench("id integer PRIMARY KEY").await;
    bench
        .lab
        .sql(
            "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', \
             deterministic = false)",
        )
        .await;
    for (table, columns, why) in [
        ("a", "id char(3) PRIMARY KEY", "bpchar"),
        ("b", "id text COLLATE loose PRIMARY KEY", "collation"),
        ("c", "id timestamptz PRIMARY KEY", "timestamptz"),
        ("d", "id jsonb PRIMARY KEY", "jsonb"),
        ("e", "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "generates"),
        ("f", "id bigint UNIQUE DEFERRABLE", "no primary key"),
        ("g", "id real PRIMARY KEY", "float4"),
    ] {
        bench.lab.sql(&format!("CREATE TABLE {table} ({columns})")).await;
        let described = bench.store.describe(table, &[]).await;
        assert!(
            matches!(&described, Err(StoreError::Stop(said)) if said.contains(why)),
            "{columns}: {described:?}"
        );
    }
    bench.lab.sql("CREATE UNIQUE INDEX ON f (id) WHERE id > 0").await;
    let described = bench.store.describe("f", &["id".to_owned()]).await;
    assert!(matches!(described, Err(StoreError::Stop(_))), "{described:?}");
    // The index tells these apart, and a DELETE, which compares by the column's collation, does not.
    bench
        .lab
        .sql("CREATE TABLE h (id text COLLATE loose); CREATE UNIQUE INDEX ON h (id COLLATE \"C\")")
        .await;
    let described = bench.store.describe("h", &["id".to_owned()]).await;
    assert!(
        matches!(&described, Err(StoreError::Stop(said)) if said.contains("collation")),
        "{described:?}"
    );
}

#[tokio::test]
async fn values_mean_the_same_whatever_the_databases_defaults_are() {
    let lab = Postgres::new().await;
    lab.sql(&format!(
        "ALTER DATABASE {name} SET intervalstyle = 'sql_standard'; \
         ALTER DATABASE {name} SET datestyle = 'SQL, DMY'; \
         ALTER DATABASE {name} SET timezone = 'Asia/Kolkata'; \
         ALTER DATABASE {name} SET array_nulls = off; \
         ALTER DATABASE {name} SET xmloption = document",
        name = lab.name
    ))
    .await;
    let columns = "id integer PRIMARY KEY, span interval, pairs pair[], doc xml, day daterange, \
                   made timestamp DEFAULT CAST(timestamptz '2013-01-01T10:00:00Z' AS timestamp)";
    lab.sql("CREATE TYPE pair AS (a text, texts text[])").await;
    let mut bench = Bench::with(lab, columns).await;
    let full = json!({
        "span": "-1 2:00:00", "pairs": ["(x,{NULL})"], "doc": "no element",
        "day": "[2013-02-01,2013-03-01)"
    });
    bench.write(&[("1", set(&full))]).await;
    let found = "SELECT extract(epoch FROM span)::text, ((pairs[1]).texts[1] IS NULL)::text, \
                 doc::text, to_char(lower(day), 'YYYY-MM-DD'), to_char(made, 'HH24:MI') FROM t";
    let expected = ["-79200.000000", "true", "no element", "2013-02-01", "10:00"];
    assert_eq!(bench.lab.rows(found).await, [expected.map(|text| Some(text.to_owned()))]);
}

#[tokio::test]
async fn a_session_in_which_no_trigger_runs_is_refused() {
    let lab = Postgres::new().await;
    let replica = format!("ALTER DATABASE {} SET session_replication_role = replica", lab.name);
    lab.sql(&replica).await;
    let connected = lab.database().connect(&Timeouts::STANDARD).await;
    let says = "RESET session_replication_role";
    assert!(
        matches!(&connected, Err(StoreError::Stop(why)) if why.contains(says)),
        "{connected:?}"
    );
}

#[tokio::test]
async fn a_table_is_found_by_schema_or_by_search_path() {
    let lab = Postgres::new().await;
    lab.sql("CREATE SCHEMA \"Odd\"; CREATE TABLE \"Odd\".t (k text PRIMARY KEY)").await;
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY").await;
    let name = |table: write_behind_consumer::core::table::Table| table.sql_name;
    assert_eq!(bench.store.describe("t", &[]).await.map(name).unwrap(), "\"public\".\"t\"");
    assert_eq!(bench.store.describe("Odd.t", &[]).await.map(name).unwrap(), "\"Odd\".\"t\"");
    bench.lab.sql(&format!("ALTER DATABASE {} SET search_path = \"Odd\"", bench.lab.name)).await;
    let mut store = bench.another_store().await;
    assert_eq!(store.describe("t", &[]).await.map(name).unwrap(), "\"Odd\".\"t\"");
}

#[tokio::test]
async fn a_partitioned_table_takes_rows() {
    let lab = Postgres::new().await;
    lab.sql(
        "CREATE TABLE parts (id bigint, region text, n bigint, PRIMARY KEY (id, region)) \
         PARTITION BY LIST (region); CREATE TABLE eu PARTITION OF parts FOR VALUES IN ('eu')",
    )
    .await;
    let mut bench = Bench::with(lab, "id integer PRIMARY KEY").await;
    bench.table = bench.store.describe("parts", &[]).await.unwrap();
    let (there, nowhere) = (r#"{"id":1,"region":"eu"}"#, r#"{"id":1,"region":"xx"}"#);
    for _ in 0..2 {
        bench.write(&[(there, Change::new().add("n", 2))]).await;
    }
    let outcome = bench.run(&[(there, Change::new()), (nowhere, Change::new())], |_| {}).await;
    assert!(
        matches!(&outcome, Err(StoreError::Stop(why)) if why.contains("create the partition")),
        "{outcome:?}"
    );
    let n = bench.lab.rows("SELECT n::text FROM parts").await;
    assert_eq!(n, [[Some("4".to_owned())]]);
}

#[tokio::test]
async fn a_deferred_constraint_refuses_its_row_and_not_the_commit() {
    let columns = "id integer PRIMARY KEY, u integer UNIQUE DEFERRABLE INITIALLY DEFERRED";
    let mut bench = bench(columns).await;
    bench.write(&[("1", set(&json!({"u": 1})))]).await;
    let rows = [("2", set(&json!({"u": 1}))), ("3", set(&json!({"u": 3})))];
    assert_eq!(bench.refused(&rows).await, [0]);
}

#[tokio::test]
async fn a_server_that_takes_no_writes_is_waited_for() {
    let lab = Postgres::new().await;
    lab.sql(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", lab.name)).await;
    let connected = lab.database().connect(&Timeouts::STANDARD).await;
    assert!(
        matches!(&connected, Err(StoreError::Unavailable(why)) if why.contains("read-only")),
        "{connected:?}"
    );
}

#[tokio::test]
async fn a_table_altered_under_a_prepared_statement_is_written_to() {
    let mut bench = bench("id integer PRIMARY KEY, n integer, name text NOT NULL").await;
    let full = [("1", set(&json!({"n": 1, "name": "x"})))];
    let part = [("1", Change::new().add("n", 1))];
    bench.write(&full).await;
    bench.write(&part).await;
    for change in ["n TYPE bigint", "id TYPE bigint", "name TYPE varchar(9)"] {
        bench.lab.sql(&format!("ALTER TABLE t ALTER COLUMN {change}")).await;
        match bench.run(&part, |_| {}).await {
            Ok(Outcome::Committed { .. }) => {}
            Err(StoreError::Unavailable(_)) => {
                bench.store = bench.another_store().await;
                bench.write(&part).await;
            }
            other => panic!("after {change}: {other:?}"),
        }
    }
    assert_eq!(bench.table(&["n"]).await, ["5"]);
}
