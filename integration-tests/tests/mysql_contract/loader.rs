//! The table loader against a real worker's database: what it reads is what records would write, and
//! stands at the offset it says.

use anyhow::{Context as _, Result, ensure};
use integration_tests::log::{Log, Raw};
use integration_tests::stack;
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::{Settings, Worker};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use uuid::Uuid;
use write_behind_producer::{Loader, LogRange, MySqlLoader, NextOffset, Offset, Partition, Source};

use super::Mariadb;
use crate::contract::Lab as _;
use crate::loaders::{INJECTED, cluster_id, composite, count, counters, load_while, text};

type Row = serde_json::Map<String, Value>;

/// Columns of every kind, and a value for each as MariaDB reads it.
const TYPES: &[(&str, &str, &str)] = &[
    ("i1", "tinyint", "-128"),
    ("i2", "smallint unsigned", "65535"),
    ("i3", "mediumint", "7"),
    ("i4", "int(7) zerofill", "7"),
    ("i8", "bigint", "-9007199254740993"),
    ("b1", "tinyint(1)", "1"),
    ("b2", "bit(1)", "0"),
    ("b9", "bit(9)", "257"),
    ("nu", "decimal(40, 10)", "'123456789012345678901234567890.1234567890'"),
    ("nz", "decimal(9, 2) zerofill", "1.50"),
    ("f4", "float", "1.1"),
    ("f8", "double", "0.30000000000000004"),
    ("f9", "double", "1e300"),
    ("t", "longtext", "'a\"b\\\\c\\nd\u{1}é😀'"),
    ("vc", "varchar(20)", "NULL"),
    ("ch", "char(5)", "'ab'"),
    ("lt", "varchar(9) character set latin1", "'né'"),
    ("u", "uuid", "'c0ffee00-0000-4000-8000-000000000000'"),
    ("ip", "inet6", "'::1'"),
    ("d", "date", "'2013-02-01'"),
    ("dt", "datetime", "'2013-02-01 10:00:00'"),
    ("d6", "datetime(6)", "'2013-02-01 10:00:00.123456'"),
    ("tz", "timestamp", "'2013-02-01 10:00:00'"),
    ("t3", "timestamp(3)", "'2013-10-27 01:30:00.250'"),
    ("ti", "time(1)", "'-100:00:00.5'"),
    ("y", "year", "2013"),
    ("e", "enum('sad', 'so so')", "'so so'"),
    ("s", "set('a', 'b', 'c')", "'a,c'"),
    ("j", "json", "'{\"b\": 1,  \"a\": [null, 1.50]}'"),
    ("by", "blob", "x'00ff'"),
    ("bb", "binary(3)", "x'00ff00'"),
    ("nothing", "varbinary(9)", "NULL"),
];

/// A topic of one partition, and a worker that writes it into a table of MariaDB.
struct Sink {
    lab: Mariadb,
    topic: String,
    bootstrap: String,
    log: Log,
    worker: Worker,
}

impl Sink {
    async fn new(columns: &str) -> Result<Self> {
        let (lab, kafka) = (Mariadb::new().await, stack::kafka().await?);
        let topic = format!("loaded_{}", &Uuid::new_v4().simple().to_string()[..8]);
        kafka.create_topic(&topic, 1).await?;
        let pool = MySqlPool::connect(&lab.url).await?;
        let table = format!("create table rows_of ({columns})");
        sqlx::raw_sql(AssertSqlSafe(table)).execute(&pool).await.context("the table")?;
        let settings = Settings {
            pipeline: topic.clone(),
            routes: vec![(topic.clone(), "rows_of".to_owned())],
            bootstrap: kafka.bootstrap(),
            database: lab.url.clone(),
            client: topic.clone(),
            max_age: "5ms",
            ..Settings::plain()
        };
        let (bootstrap, log) = (kafka.bootstrap(), Log::new(&kafka.bootstrap())?);
        let sink = Self { lab, topic, bootstrap, log, worker: settings.start().await? };
        sink.write(&[Raw::put("0", "{}")]).await?;
        Ok(sink)
    }

    /// Connections with settings that change how MariaDB writes values.
    async fn odd_sessions(&self) -> Result<MySqlPool> {
        let odd = "SET time_zone = '+05:30', sql_mode = 'ANSI_QUOTES',
            character_set_results = 'utf8mb4'";
        let pool = MySqlPoolOptions::new().after_connect(move |connection, _| {
            Box::pin(async move { sqlx::raw_sql(odd).execute(connection).await.map(drop) })
        });
        Ok(pool.connect(&self.lab.url).await?)
    }

    async fn prepare(&self, loader: &MySqlLoader) -> Result<()> {
        let cluster = cluster_id(self.bootstrap.clone()).await?;
        let source = Source::new(&self.topic, &self.topic, cluster, 1);
        Ok(Loader::<i64>::prepare(loader, &source).await?)
    }

    /// Appends records and waits until they are in the database.
    async fn write(&self, records: &[Raw]) -> Result<()> {
        self.log.append(&self.topic, 1, records).await?;
        self.drained().await
    }

    async fn drained(&self) -> Result<()> {
        let end = self.log.ends(&self.topic, 1).await?.values().sum::<i64>();
        until("all to be in the database", PATIENCE, async || {
            self.worker.still_runs()?;
            let tables = self.lab.rows("SHOW TABLES LIKE 'write_behind_offsets'").await;
            let sum =
                "SELECT CAST(coalesce(sum(next_offset), 0) AS text) FROM write_behind_offsets";
            let now = if tables.is_empty() { 0 } else { number(&self.lab.rows(sum).await) };
            Ok(Seen::when(now == end, || format!("{now} of {end}")))
        })
        .await
    }
}

fn loader(pool: MySqlPool) -> MySqlLoader {
    MySqlLoader::table(pool, "rows_of")
}

fn number(rows: &[Vec<Option<String>>]) -> i64 {
    rows[0][0].as_deref().unwrap().parse().unwrap()
}

#[tokio::test]
async fn values_of_every_type_are_read_as_a_record_would_write_them() -> Result<()> {
    let columns = TYPES.iter().map(|(name, sql_type, _)| format!("`{name}` {sql_type} null"));
    let columns = columns.collect::<Vec<_>>().join(", ");
    let sink = Sink::new(&format!("id bigint primary key, {columns}")).await?;
    let pool = MySqlPool::connect(&sink.lab.url).await?;
    let values = TYPES.iter().map(|(_, _, value)| *value).collect::<Vec<_>>().join(", ");
    let insert = format!("insert into rows_of values (1, {values})");
    sqlx::raw_sql(AssertSqlSafe(insert)).execute(&pool).await.context("the values")?;

    let loader = loader(sink.odd_sessions().await?);
    let loader = loader.columns(TYPES.iter().map(|(name, ..)| *name));
    sink.prepare(&loader).await?;
    let first = loader.load(&1_i64).await?;
    let value = std::str::from_utf8(first.as_json().context("the row")?)?.to_owned();
    sink.write(&[Raw::put("2", &value)]).await?;
    let letters = sink.lab.rows("SELECT reason FROM write_behind_dead_letters").await;
    ensure!(letters.is_empty(), "{letters:?} of {value}");

    let second = loader.load(&2_i64).await?;
    assert_eq!(std::str::from_utf8(second.as_json().context("the copy")?)?, value);
    for (name, ..) in TYPES {
        let same = format!(
            "SELECT CAST(count(DISTINCT coalesce(hex(`{name}`), 'NULL')) AS text) FROM rows_of \
             WHERE id IN (1, 2)"
        );
        assert_eq!(number(&sink.lab.rows(&same).await), 1, "the column {name} by way of {value}");
    }
    let row: Row = serde_json::from_str(&value)?;
    // The values were written in a session in UTC.
    assert_eq!((&row["tz"], &row["i4"]), (&json!("2013-02-01T10:00:00Z"), &json!(7)));
    assert_eq!(row["t3"], json!("2013-10-27T01:30:00.250Z"));
    assert_eq!((&row["f4"], &row["f8"]), (&json!(1.1), &json!(0.300_000_000_000_000_04)));
    assert_eq!((&row["b1"], &row["b2"], &row["b9"]), (&json!(true), &json!(false), &json!(257)));
    assert_eq!((&row["by"], &row["nothing"]), (&json!("AP8="), &Value::Null));
    assert_eq!(row["j"], json!({"b": 1, "a": [null, 1.50]}));
    ensure!(value.contains("\"nu\":123456789012345678901234567890.1234567890"), "{value}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn increments_are_counted_once_while_a_worker_applies_them() -> Result<()> {
    let sink = Sink::new("id bigint primary key, n bigint").await?;
    let place = (&*sink.topic, &*sink.topic, sink.bootstrap.clone());
    let loader = loader(MySqlPool::connect(&sink.lab.url).await?);
    count(&counters(place, loader).await?, 1).await
}

/// The row and the offset are of one snapshot, or the two would differ now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_and_its_offset_are_of_one_snapshot() -> Result<()> {
    let sink = Sink::new("id bigint primary key, n bigint").await?;
    sink.write(&[Raw::put("1", r#"{"n":2}"#)]).await?;
    sink.worker.kill()?;
    let pool = MySqlPool::connect(&sink.lab.url).await?;
    let loader = loader(pool.clone());
    sink.prepare(&loader).await?;
    let writer = tokio::spawn(async move {
        for _ in 0..500 {
            let mut transaction = pool.begin().await?;
            let offset = "update write_behind_offsets set next_offset = next_offset + 1";
            sqlx::query(offset).execute(&mut *transaction).await?;
            let row = "update rows_of set n = n + 1 where id = 1";
            sqlx::query(row).execute(&mut *transaction).await?;
            transaction.commit().await?;
        }
        anyhow::Ok(())
    });
    load_while(writer, &loader).await
}

#[tokio::test]
async fn a_composite_key_is_bound_and_never_sql_and_dead_letters_are_found() -> Result<()> {
    let columns = "id integer, tenant varchar(40) collate utf8mb4_nopad_bin, day date,
        active tinyint(1), token uuid, n integer, primary key (tenant, id, day, active, token)";
    let sink = Sink::new(columns).await?;
    let keys = [composite(INJECTED, 7), composite("b", 7), composite("b", 9)];
    for (key, n) in keys.iter().zip(["0", "1", "\"many\""]) {
        sink.write(&[Raw::put(&text(key)?, &format!(r#"{{"n":{n}}}"#))]).await?;
    }
    let loader = loader(sink.odd_sessions().await?).columns(["n"]);
    sink.prepare(&loader).await?;
    let keys = [composite("b", 7), composite("b", 8), composite(INJECTED, 7)];
    let found = loader.load_many(&keys).await?;
    let rows: Vec<Option<&[u8]>> = found.iter().map(|found| found.as_json()).collect();
    assert_eq!(rows, [Some(&br#"{"n":1}"#[..]), None, Some(&br#"{"n":0}"#[..])]);
    let range =
        |from, to| LogRange { partition: Partition(0), from: Offset(from), to: NextOffset(to) };
    let all = Loader::<i64>::dead_letters(&loader, &[range(1, 9)]).await?;
    let [letter] = &all[..] else { panic!("one more letter: {all:?}") };
    assert_eq!((letter.offset.0, &letter.key), (3, &text(&composite("b", 9))?.into_bytes()));
    ensure!(letter.reason.contains(r#"column "n""#), "{}", letter.reason);
    assert!(Loader::<i64>::dead_letters(&loader, &[range(1, 3)]).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_table_without_snapshots_and_a_database_without_bookkeeping_are_refused() -> Result<()> {
    let lab = Mariadb::new().await;
    let pool = MySqlPool::connect(&lab.url).await?;
    let tables = "create table t (id bigint primary key) engine = InnoDB;
        create table m (id bigint primary key) engine = MyISAM";
    sqlx::raw_sql(tables).execute(&pool).await?;
    let source = Source::new("t", "g", "c", 1);
    for (table, says) in [
        ("t", "run `write-behind init`"),
        ("m", "which has no snapshots"),
        ("T", "there is no table"),
    ] {
        let loader = MySqlLoader::table(pool.clone(), table);
        let refused = Loader::<i64>::prepare(&loader, &source).await.unwrap_err().to_string();
        ensure!(refused.contains(says), "{table}: {refused}");
    }
    Ok(())
}
