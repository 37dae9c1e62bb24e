//! Every class of the SQLSTATE policy, with codes that the server itself was made to produce.

use std::time::Duration;

use integration_tests::wait::{PATIENCE, Seen, until};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError};
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use write_behind_consumer::store::codes::{self, Class, Told};

use super::Postgres;
use crate::contract::Lab as _;

/// What the statements below speak of.
const SET_UP: &str = "
    CREATE TABLE parent (id integer PRIMARY KEY);
    CREATE TABLE t (id integer PRIMARY KEY, other integer, always bigint GENERATED ALWAYS AS IDENTITY,
        short varchar(3), must integer NOT NULL DEFAULT 0, small integer CHECK (small < 10),
        parent integer REFERENCES parent, alone int4range, long text UNIQUE,
        EXCLUDE USING gist (alone WITH &&));
    INSERT INTO t (id, alone) VALUES (1, '[1,5]');
    CREATE VIEW seen AS SELECT id, other FROM t WHERE other < 5 WITH CHECK OPTION;
    CREATE TABLE ruled (id integer PRIMARY KEY);
    CREATE RULE also AS ON INSERT TO ruled DO ALSO SELECT 1;
    CREATE TABLE days (id integer PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE first_days PARTITION OF days FOR VALUES FROM (0) TO (10);
    CREATE TABLE published (id integer);
    CREATE PUBLICATION published FOR TABLE published;
    CREATE FUNCTION ends_early() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
    CREATE TABLE early (id integer);
    CREATE TRIGGER early BEFORE INSERT ON early FOR EACH ROW EXECUTE FUNCTION ends_early();
    CREATE TABLE own (id integer);
    CREATE POLICY small ON own WITH CHECK (id < 10);
    ALTER TABLE own ENABLE ROW LEVEL SECURITY;
    GRANT INSERT ON own TO pg_monitor;";

/// Statements that fail by themselves, each with its code and what is to be done about it.
const FAILING: &[(&str, Class, &str)] = &[
    ("22001", Class::Data, "INSERT INTO t (id, short) VALUES (2, 'long')"),
    ("22003", Class::Data, "SELECT 32768::smallint"),
    ("22007", Class::Data, "SELECT 'soon'::date"),
    ("22008", Class::Data, "SELECT '2013-02-30'::date"),
    ("22012", Class::Data, "SELECT 1 / 0"),
    ("22021", Class::Data, r"SELECT convert_from('\xff', 'UTF8')"),
    ("22026", Class::Data, "CREATE TEMP TABLE bits (b bit(3)); INSERT INTO bits VALUES (B'10')"),
    ("22P02", Class::Data, "SELECT 'x'::integer"),
    ("22P05", Class::Data, r#"SELECT '"\u0000"'::jsonb"#),
    ("23502", Class::Data, "INSERT INTO t (id, must) VALUES (2, NULL)"),
    ("23505", Class::Data, "INSERT INTO t (id) VALUES (1)"),
    ("23514", Class::Data, "INSERT INTO t (id, small) VALUES (2, 10)"),
    ("23P01", Class::Data, "INSERT INTO t (id, alone) VALUES (2, '[4,9]')"),
    ("44000", Class::Data, "INSERT INTO seen VALUES (2, 7)"),
    (
        "54000",
        Class::Data,
        "INSERT INTO t (id, long) SELECT 2, string_agg(md5(n::text), '') FROM generate_series(1, 999) n",
    ),
    ("54001", Class::Data, "SELECT (repeat('[', 100000) || repeat(']', 100000))::jsonb"),
    (
        "2200H",
        Class::Stop,
        "CREATE SEQUENCE few MAXVALUE 2; SELECT nextval('few') FROM generate_series(1, 3)",
    ),
    ("P0001", Class::Data, "DO $$ BEGIN RAISE EXCEPTION 'no'; END $$"),
    ("23514", Class::Data, "INSERT INTO first_days VALUES (11)"),
    ("23514", Class::Data, "DO $$ BEGIN RAISE check_violation; END $$"),
    // An operator's omissions.
    ("23514", Class::Stop, "INSERT INTO days VALUES (11)"),
    ("55000", Class::Stop, "UPDATE published SET id = 1"),
    ("2F005", Class::Stop, "INSERT INTO early VALUES (1)"),
    // A trigger's own words, with the codes of anything.
    ("P0004", Class::Uncertain, "DO $$ BEGIN ASSERT false; END $$"),
    ("P0002", Class::Uncertain, "DO $$ BEGIN RAISE no_data_found; END $$"),
    ("57014", Class::Uncertain, "DO $$ BEGIN RAISE query_canceled; END $$"),
    ("42501", Class::Uncertain, "DO $$ BEGIN RAISE insufficient_privilege; END $$"),
    ("ZZ123", Class::Uncertain, "DO $$ BEGIN RAISE SQLSTATE 'ZZ123'; END $$"),
    // Values that a type can't parse, or that name what is not there, with the codes of SQL itself.
    ("42601", Class::Uncertain, "SELECT '''unclosed'::tsvector"),
    ("42601", Class::Uncertain, "SELECT '$.'::jsonpath"),
    ("42602", Class::Uncertain, "SELECT '.'::text::regclass"),
    ("42P01", Class::Uncertain, "SELECT 'nowhere'::regclass"),
    ("42704", Class::Uncertain, "SELECT 'nowhere'::regtype"),
    ("42704", Class::Uncertain, "SELECT 'nobody'::regrole"),
    ("42883", Class::Uncertain, "SELECT 'nothing'::regproc"),
    ("42704", Class::Uncertain, "SELECT 'none'::regconfig"),
    ("42501", Class::Uncertain, "SET ROLE pg_monitor; INSERT INTO own VALUES (11)"),
    ("23503", Class::MissingReference, "INSERT INTO t (id, parent) VALUES (2, 7)"),
    (
        "21000",
        Class::Twice,
        "INSERT INTO t (id) VALUES (7), (7) ON CONFLICT (id) DO UPDATE SET other = 1",
    ),
    ("57014", Class::Saturated, "SET statement_timeout = 20; SELECT pg_sleep(60)"),
    (
        "53400",
        Class::Saturated,
        "SET temp_file_limit = 64; SET work_mem = 64; \
         SELECT n FROM generate_series(1, 1000000) n ORDER BY -n",
    ),
    ("25006", Class::Unavailable, "BEGIN READ ONLY; INSERT INTO t (id) VALUES (2)"),
    ("57P01", Class::Unavailable, "SELECT pg_terminate_backend(pg_backend_pid())"),
    ("26000", Class::Unavailable, "EXECUTE nothing"),
    // Of a plan that DDL has made stale, and of what can't be done at all.
    (
        "0A000",
        Class::Unavailable,
        "PREPARE p AS SELECT * FROM parent; ALTER TABLE parent ADD more integer; EXECUTE p",
    ),
    ("0A000", Class::Stop, "INSERT INTO ruled VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 1"),
    ("42P01", Class::Stop, "SELECT 1 FROM nowhere"),
    ("42703", Class::Stop, "SELECT nothing FROM t"),
    ("42501", Class::Stop, "SET ROLE pg_monitor; SELECT id FROM t"),
    ("42P10", Class::Stop, "INSERT INTO t (id) VALUES (2) ON CONFLICT (other) DO NOTHING"),
    ("42804", Class::Stop, "INSERT INTO t (id) VALUES (true)"),
    ("42883", Class::Stop, "SELECT nothing(1)"),
    ("428C9", Class::Stop, "INSERT INTO t (id, always) VALUES (2, 2)"),
    ("3F000", Class::Stop, "CREATE TABLE nowhere.t ()"),
];

/// The code of an error, and what is to be done about it.
fn judged(error: &sqlx::Error) -> (String, Class) {
    let sqlx::Error::Database(error) = error else { panic!("not an answer: {error}") };
    let code = error.code().expect("a code").into_owned();
    let of_postgres = error.downcast_ref::<PgDatabaseError>();
    let told = Told {
        code: &code,
        message: error.message(),
        routine: of_postgres.routine().unwrap_or_default(),
        names_constraint: of_postgres.constraint().is_some(),
    };
    let class = codes::postgres(told);
    (code, class)
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.map(|_| ())
}

async fn fails(connection: &mut PgConnection, sql: &str) -> (String, Class) {
    let error = run(connection, sql).await.expect_err(sql);
    judged(&error)
}

#[tokio::test]
async fn what_a_statement_can_meet_is_decided_as_the_policy_has_it() {
    let lab = Postgres::new().await;
    lab.sql(SET_UP).await;
    for (code, class, sql) in FAILING {
        let mut connection = lab.connection().await;
        assert_eq!(fails(&mut connection, sql).await, ((*code).to_owned(), *class), "{sql}");
    }
}

#[tokio::test]
async fn what_transactions_do_to_each_other_passes() {
    let lab = Postgres::new().await;
    lab.sql("CREATE TABLE t (id integer PRIMARY KEY, n integer); INSERT INTO t VALUES (1), (2)")
        .await;
    let (mut one, mut other) = (lab.connection().await, lab.connection().await);
    let found = |code: &str, class| (code.to_owned(), class);

    run(&mut one, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM t").await.unwrap();
    run(&mut other, "UPDATE t SET n = 1").await.unwrap();
    assert_eq!(fails(&mut one, "UPDATE t SET n = 2").await, found("40001", Class::Conflict));
    // Our own bug, were it ever met: a statement after one that failed.
    assert_eq!(fails(&mut one, "SELECT 1").await, found("25P02", Class::Unavailable));
    run(&mut one, "ROLLBACK").await.unwrap();

    run(&mut other, "BEGIN; UPDATE t SET n = 3 WHERE id = 1").await.unwrap();
    run(&mut one, "SET lock_timeout = 20").await.unwrap();
    assert_eq!(fails(&mut one, "UPDATE t SET n = 4").await, found("55P03", Class::Locked));

    run(&mut one, "SET lock_timeout = 0; BEGIN; UPDATE t SET n = 5 WHERE id = 2").await.unwrap();
    let both = tokio::join!(
        run(&mut one, "UPDATE t SET n = 6 WHERE id = 1"),
        run(&mut other, "UPDATE t SET n = 7 WHERE id = 2; COMMIT"),
    );
    let victim = both.0.err().or(both.1.err()).expect("a deadlock has a victim");
    assert_eq!(judged(&victim), found("40P01", Class::Conflict));
}

#[tokio::test]
async fn a_transaction_that_idles_too_long_is_ended_and_begun_again() {
    let lab = Postgres::new().await;
    let mut idle = lab.connection().await;
    let sql = "SET application_name = 'idle'; SET idle_in_transaction_session_timeout = 20; BEGIN";
    run(&mut idle, sql).await.unwrap();
    until("the server to end it", PATIENCE, async || {
        let query = "SELECT pid::text FROM pg_stat_activity WHERE application_name = 'idle' \
                     AND datname = current_database()";
        let there = lab.rows(query).await;
        Ok(if there.is_empty() { Seen::Done(()) } else { Seen::NotYet("it is there".to_owned()) })
    })
    .await
    .unwrap();
    let ended = fails(&mut idle, "SELECT 1").await;
    assert_eq!(ended, ("25P03".to_owned(), Class::Unavailable));
}

#[tokio::test]
async fn what_a_connection_can_meet_is_decided_as_the_policy_has_it() {
    let lab = Postgres::new().await;
    let name = &lab.name;
    lab.sql(&format!(
        "CREATE ROLE {name} LOGIN PASSWORD 'right'; CREATE ROLE {name}_asleep PASSWORD 'right'; \
         ALTER DATABASE {name} CONNECTION LIMIT 0"
    ))
    .await;
    let options: PgConnectOptions = lab.url.parse().unwrap();
    let limited = options.clone().username(name).password("right");
    for (code, class, options) in [
        ("28P01", Class::Stop, limited.clone().password("wrong")),
        ("28000", Class::Stop, limited.clone().username(&format!("{name}_asleep"))),
        ("3D000", Class::Stop, options.database("nowhere")),
        ("53300", Class::Unavailable, limited),
    ] {
        let connecting = tokio::time::timeout(Duration::from_secs(30), options.connect());
        let error = connecting.await.expect("an answer").expect_err(code);
        assert_eq!(judged(&error), (code.to_owned(), class));
    }
}
