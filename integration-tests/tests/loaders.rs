//! The table loaders against a real worker's database: what they read is what records would write,
//! and stands at the offset they say.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration_tests::log::Raw;
use integration_tests::stack::{self, Pipeline};
use integration_tests::wait::PATIENCE;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::task::JoinHandle;
use uuid::Uuid;
use write_behind_producer::{
    Loader, LogRange, NextOffset, Offset, Partition, PostgresLoader, Source, WriteBehind,
};

type Row = serde_json::Map<String, Value>;

/// Columns of every kind, and a value for each as Postgres reads it.
const TYPES: &[(&str, &str, &str)] = &[
    ("i2", "smallint", "-32768"),
    ("i4", "integer", "7"),
    ("i8", "bigint", "9007199254740993"),
    ("o", "oid", "4294967295"),
    ("nu", "numeric", "123456789012345678901234567890.1234567890"),
    ("ns", "numeric(20, 4)", "-0.5"),
    ("f4", "real", "1.1"),
    ("f8", "double precision", "0.30000000000000004"),
    ("b", "boolean", "true"),
    ("t", "text", "a\"b\\c\nd\u{1}é😀"),
    ("vc", "varchar(20)", "NULL"),
    ("ch", "char(5)", "ab"),
    ("u", "uuid", "c0ffee00-0000-4000-8000-000000000000"),
    ("d", "date", "2013-02-01"),
    ("ts", "timestamp", "2013-02-01 10:00:00.123456"),
    ("tz", "timestamptz", "2013-02-01 10:00:00.5+02"),
    ("forever", "timestamp", "infinity"),
    ("ti", "time", "10:00:00.5"),
    ("iv", "interval", "1 year 2 days 03:04:05.6"),
    ("ip", "inet", "10.0.0.1/8"),
    ("r", "int4range", "[1,5)"),
    ("j", "json", "{\"b\": 1,  \"a\": [null, 1.50]}"),
    ("jb", "jsonb", "{\"b\": 1, \"a\": [null, 1.50]}"),
    ("a8", "bigint[]", "{1,NULL,9007199254740993}"),
    ("aa", "integer[]", "{{1,2},{3,4}}"),
    ("at", "text[]", "{\"a,b\",NULL,\"NULL\",\"\\\"\",\"\"}"),
    ("an", "numeric[]", "{1.50,2}"),
    ("ab", "boolean[]", "{t,f}"),
    ("ad", "date[]", "{2013-02-01}"),
    ("az", "timestamptz[]", "{\"2013-02-01 10:00:00+02\"}"),
    ("ay", "bytea[]", "{\"\\\\x00ff\",NULL,\"\\\\x\"}"),
    ("aj", "jsonb[]", "{\"{\\\"a\\\": [1]}\",\"2\"}"),
    ("ai", "interval[]", "{\"1 day\",NULL}"),
    ("empty", "integer[]", "{}"),
    ("nothing", "bytea[]", "\u{0}"),
];

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Counter {
    n: i64,
}

#[derive(Serialize)]
pub(crate) struct CompositeKey {
    tenant: &'static str,
    id: i32,
    day: &'static str,
    active: bool,
    token: Uuid,
}

/// What a key's text would be if it were SQL.
pub(crate) const INJECTED: &str = "a') or 1=1 --";

pub(crate) fn composite(tenant: &'static str, id: i32) -> CompositeKey {
    CompositeKey { tenant, id, day: "2013-02-01", active: true, token: Uuid::from_u128(7) }
}

/// The record's key.
pub(crate) fn text(key: &CompositeKey) -> Result<String> {
    Ok(String::from_utf8(write_behind_shared::key::encode(key)?)?)
}

pub(crate) async fn cluster_id(bootstrap: String) -> Result<String> {
    let asked = tokio::task::spawn_blocking(move || {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", bootstrap).create()?;
        client.client().fetch_cluster_id(Duration::from_secs(20)).context("no cluster id")
    });
    asked.await?
}

async fn prepare(loader: &PostgresLoader, pipeline: &Pipeline) -> Result<()> {
    let cluster = cluster_id(pipeline.kafka.bootstrap()).await?;
    let source = Source::new(&pipeline.name, &pipeline.group, cluster, pipeline.partitions);
    Ok(Loader::<i64>::prepare(loader, &source).await?)
}

/// A handle of counters that looks often, with this loader.
pub(crate) async fn counters(
    (topic, group, bootstrap): (&str, &str, String),
    loader: impl Loader<i64>,
) -> Result<WriteBehind<i64, Counter>> {
    let properties = [("bootstrap.servers", bootstrap), ("linger.ms", "0".to_owned())];
    let builder = WriteBehind::builder(topic, properties).sink_group(group);
    Ok(builder.poll_interval(Duration::from_millis(5)).loader(loader).build().await?)
}

/// Adds to three counters, the first of which is `first`, and reads each sum back in every way.
pub(crate) async fn count(counters: &WriteBehind<i64, Counter>, first: i64) -> Result<()> {
    const COUNTERS: i64 = 3;
    const ROUNDS: i64 = 400;
    for round in 0..ROUNDS {
        let key = first + round % COUNTERS;
        counters.add(&key, "n", 1).await?;
        let expected = round / COUNTERS + 1;
        let seen = match round % 4 {
            0 => counters.refresh(&key).await?,
            1 => counters.get_many(&[key, 99]).await?.swap_remove(0),
            _ => {
                counters.invalidate(&key)?;
                counters.get(&key).await?
            }
        };
        let seen = seen.map(|counter| counter.n);
        ensure!(seen == Some(expected), "round {round}: {seen:?} of {expected}");
    }
    tokio::time::timeout(PATIENCE, counters.persisted_all()).await??;
    counters.invalidate_all();
    let all = counters.get_many(&[first, first + 1, first + 2]).await?;
    let sum: i64 = all.into_iter().flatten().map(|counter| counter.n).sum();
    assert_eq!(sum, ROUNDS);
    Ok(())
}

/// Loads row 1, whose `n` follows the offset, and row 2, which is not there, while `writer` writes.
pub(crate) async fn load_while(
    writer: JoinHandle<Result<()>>,
    loader: &impl Loader<i64>,
) -> Result<()> {
    let mut looks = 0;
    while !writer.is_finished() || looks == 0 {
        let found = loader.load_many(&[1_i64, 2]).await?;
        let row: Row = serde_json::from_slice(found[0].as_json().context("the row")?)?;
        let next = found[0].next_offset().context("an offset")?;
        assert_eq!(row["n"], json!(next.0));
        assert_eq!((found[1].as_json(), found[1].next_offset()), (None, Some(next)));
        looks += 1;
    }
    writer.await?
}

/// Connections with settings that change how Postgres writes values.
async fn odd_sessions(pipeline: &Pipeline) -> Result<PgPool> {
    let options = (*pipeline.sql.connect_options()).clone();
    let odd = "SET timezone = 'Asia/Kolkata'; SET datestyle = 'SQL, DMY';
        SET intervalstyle = 'iso_8601'; SET bytea_output = 'escape'";
    let pool = PgPoolOptions::new().after_connect(move |connection, _| {
        Box::pin(async move { connection.execute(sqlx::raw_sql(odd)).await.map(drop) })
    });
    Ok(pool.connect_with(options).await?)
}

#[tokio::test]
async fn values_of_every_type_are_read_as_a_record_would_write_them() -> Result<()> {
    let name = format!("mood_{}", Uuid::new_v4().simple());
    let sql = stack::postgres().await?.connect().await?;
    let types = format!(
        "create type {name} as enum ('sad', 'so so'); create domain d_{name} as int check (value > 0)"
    );
    sqlx::raw_sql(AssertSqlSafe(types)).execute(&sql).await?;
    let (mood, domain, moods) = (name.clone(), format!("d_{name}"), format!("{name}[]"));
    let mut types = TYPES.to_vec();
    let bytes = format!("\\x{}", "00ff".repeat(100));
    types.extend([("e", &*mood, "so so"), ("dom", &domain, "3"), ("ae", &moods, "{sad,NULL}")]);
    types.push(("y", "bytea", &bytes));

    let columns = types.iter().map(|(name, sql_type, _)| format!("\"{name}\" {sql_type}"));
    let columns = format!("id bigint primary key, {}", columns.collect::<Vec<_>>().join(", "));
    let pipeline = Pipeline::new("types", 1, &columns).await?;
    let values: Vec<String> =
        (1..=types.len()).map(|at| format!("${at}::text::{}", types[at - 1].1)).collect();
    let insert = format!("insert into {} values (1, {})", pipeline.name, values.join(", "));
    let mut insert = sqlx::query(AssertSqlSafe(insert));
    for (_, _, value) in &types {
        insert = insert.bind(Some(*value).filter(|value| *value != "\u{0}"));
    }
    insert.execute(&pipeline.sql).await?;

    let worker = pipeline.settings("worker").start().await?;
    pipeline.append(&[Raw::put("3", r#"{"i4":1}"#)]).await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    let pool = odd_sessions(&pipeline).await?;
    let loader = PostgresLoader::table(pool, format!("public.{}", pipeline.name));
    let loader = loader.columns(types.iter().map(|(name, ..)| *name));
    prepare(&loader, &pipeline).await?;
    let first = loader.load(&1_i64).await?;
    let value = std::str::from_utf8(first.as_json().context("the row")?)?.to_owned();
    pipeline.append(&[Raw::put("2", &value)]).await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    ensure!(pipeline.dead_letters().await?.is_empty(), "{:?}", pipeline.dead_letters().await?);

    let second = loader.load(&2_i64).await?;
    assert_eq!(std::str::from_utf8(second.as_json().context("the copy")?)?, value);
    for (name, ..) in &types {
        let same = format!(
            "select count(distinct coalesce(\"{name}\"::text, 'NULL')) from {} where id < 3",
            pipeline.name
        );
        let kinds: i64 = sqlx::query_scalar(AssertSqlSafe(same)).fetch_one(&pipeline.sql).await?;
        assert_eq!(kinds, 1, "the column {name} by way of {value}");
    }
    let row: Row = serde_json::from_str(&value)?;
    assert_eq!(row["tz"], json!("2013-02-01T08:00:00.5Z"));
    assert_eq!(row["f8"].to_string(), "0.30000000000000004");
    assert_eq!(row["aa"], json!([[1, 2], [3, 4]]));
    assert_eq!(row["ay"], json!(["AP8=", null, ""]));
    assert_eq!(row["nothing"], Value::Null);
    assert_eq!((&row["i8"], &row["d"]), (&json!(9_007_199_254_740_993_i64), &json!("2013-02-01")));
    ensure!(value.contains("\"nu\":123456789012345678901234567890.1234567890"), "{value}");
    Ok(())
}

/// H34: whatever the worker has applied, and whenever the row is loaded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_are_counted_once_while_a_worker_applies_them() -> Result<()> {
    let pipeline = Pipeline::new("counted", 2, "id bigint primary key, n bigint").await?;
    let mut settings = pipeline.settings("worker");
    settings.max_age = "5ms";
    let worker = settings.start().await?;
    pipeline.append(&[Raw::put("0", r#"{"n":0}"#)]).await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    let loader = PostgresLoader::table(pipeline.sql.clone(), format!("public.{}", pipeline.name));
    let place = (&*pipeline.name, &*pipeline.group, pipeline.kafka.bootstrap());
    count(&counters(place, loader).await?, 0).await
}

/// The row and the offset are of one snapshot, or the two would differ now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_and_its_offset_are_of_one_snapshot() -> Result<()> {
    let pipeline = Pipeline::new("snapshot", 1, "id bigint primary key, n bigint").await?;
    let worker = pipeline.settings("worker").start().await?;
    pipeline.append(&[Raw::put("1", r#"{"n":1}"#)]).await?;
    pipeline.drained(&[&worker], PATIENCE).await?;
    drop(worker);
    let loader = PostgresLoader::table(pipeline.sql.clone(), pipeline.name.clone());
    prepare(&loader, &pipeline).await?;
    let (sql, name, group) = (pipeline.sql.clone(), pipeline.name.clone(), pipeline.group.clone());
    let writer = tokio::spawn(async move {
        let update = format!("update {name} set n = n + 1");
        for _ in 0..500 {
            let mut transaction = sql.begin().await?;
            sqlx::query(
                "update write_behind_offsets set next_offset = next_offset + 1 where pipeline = $1",
            )
            .bind(&group)
            .execute(&mut *transaction)
            .await?;
            sqlx::query(AssertSqlSafe(update.clone())).execute(&mut *transaction).await?;
            transaction.commit().await?;
        }
        anyhow::Ok(())
    });
    load_while(writer, &loader).await
}

#[tokio::test]
async fn a_database_without_bookkeeping_is_refused_with_the_mend() -> Result<()> {
    let pipeline = Pipeline::new("unready", 1, "id bigint primary key, x real unique").await?;
    let name = format!("without_{}", Uuid::new_v4().simple());
    sqlx::raw_sql(AssertSqlSafe(format!("create database {name}"))).execute(&pipeline.sql).await?;
    let options = (*pipeline.sql.connect_options()).clone().database(&name);
    let empty = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
    sqlx::raw_sql("create table t (id bigint primary key, x real unique)").execute(&empty).await?;
    let refused = async |change: fn(PostgresLoader) -> PostgresLoader| -> Result<String> {
        let loader = change(PostgresLoader::table(empty.clone(), "t"));
        Ok(prepare(&loader, &pipeline).await.err().context("it was not refused")?.to_string())
    };
    let error = refused(|l| l).await?;
    ensure!(error.contains("run `write-behind init`"), "{error}");
    for (error, says) in [
        (refused(|l| l.columns(["y"])).await?, r#"has no column "y""#),
        (refused(|l| l.key(["y"])).await?, "no unique key of exactly (y): add one"),
        (refused(|l| l.key(["x"])).await?, r#"the column "x" of t can't be a key"#),
    ] {
        ensure!(error.contains(says), "{error}");
    }
    let loader = PostgresLoader::table(empty.clone(), "\"T\"");
    let error = prepare(&loader, &pipeline).await.err().context("it was not refused")?.to_string();
    ensure!(error.contains("there is no table"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_composite_key_is_bound_and_never_sql() -> Result<()> {
    let columns = "id integer, tenant varchar(40), day date, active boolean, token uuid, n integer,
        primary key (tenant, id, day, active, token)";
    let pipeline = Pipeline::new("composite", 3, columns).await?;
    let worker = pipeline.settings("worker").start().await?;
    for (n, key) in [composite(INJECTED, 7), composite("b", 7)].iter().enumerate() {
        pipeline.append(&[Raw::put(&text(key)?, &json!({ "n": n }).to_string())]).await?;
    }
    pipeline.drained(&[&worker], PATIENCE).await?;
    let loader = PostgresLoader::table(odd_sessions(&pipeline).await?, pipeline.name.clone());
    let loader = loader.columns(["n"]);
    prepare(&loader, &pipeline).await?;
    let keys = [composite("b", 7), composite("b", 8), composite(INJECTED, 7)];
    let found = loader.load_many(&keys).await?;
    let rows: Vec<Option<&[u8]>> = found.iter().map(|found| found.as_json()).collect();
    assert_eq!(rows, [Some(&br#"{"n":1}"#[..]), None, Some(&br#"{"n":0}"#[..])]);
    let error = loader.load(&7_i64).await.unwrap_err().to_string();
    ensure!(error.contains("the key does not fit the table's"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_dead_letter_is_found_by_its_offset_with_the_write_it_was() -> Result<()> {
    let pipeline = Pipeline::new("letters", 1, "id bigint primary key, n integer").await?;
    let worker = pipeline.settings("worker").start().await?;
    let rows = WriteBehind::<i64, Row>::builder(
        &pipeline.name,
        [("bootstrap.servers", pipeline.kafka.bootstrap())],
    )
    .sink_group(&pipeline.group)
    .build()
    .await?;
    for (key, n) in [(1, json!(1)), (2, json!("many")), (3, json!("more")), (4, json!(4))] {
        let row = Row::from_iter([("n".to_owned(), n)]);
        rows.put(&key, &row).await?.replicated().await?;
    }
    pipeline.drained(&[&worker], PATIENCE).await?;
    let loader = PostgresLoader::table(pipeline.sql.clone(), pipeline.name.clone());
    prepare(&loader, &pipeline).await?;
    let range =
        |from, to| LogRange { partition: Partition(0), from: Offset(from), to: NextOffset(to) };
    let all = Loader::<i64>::dead_letters(&loader, &[range(0, 9)]).await?;
    let places: Vec<_> = all.iter().map(|letter| (letter.offset.0, &*letter.key)).collect();
    assert_eq!(places, [(1, &b"2"[..]), (2, b"3")]);
    let ids: Vec<_> = all.iter().filter_map(|letter| letter.write_id).collect();
    assert_eq!(ids.iter().map(|id| id.sequence).collect::<Vec<_>>(), [1, 2]);
    ensure!(all[0].reason.contains(r#"column "n""#), "{}", all[0].reason);
    let two = Loader::<i64>::dead_letters(&loader, &[range(0, 1), range(2, 3)]).await?;
    assert_eq!(two, all[1..]);
    sqlx::query("update write_behind_dead_letters set state = 'replayed' where pipeline = $1")
        .bind(&pipeline.group)
        .execute(&pipeline.sql)
        .await?;
    assert!(Loader::<i64>::dead_letters(&loader, &[range(0, 9)]).await?.is_empty());
    Ok(())
}
