//! Each line of docs/rust-types.md against the real databases: a row is written by the producer,
//! applied by a worker, and read back from the table by the loader of its database.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::str::FromStr as _;

use anyhow::{Context as _, Result, bail, ensure};
use bigdecimal::BigDecimal;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use integration_tests::postgres::Postgres;
use integration_tests::wait::{PATIENCE, Seen, until};
use integration_tests::worker::Settings;
use integration_tests::{mariadb, stack};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_with::serde_as;
use sqlx::AssertSqlSafe;
use sqlx::mysql::MySqlPool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use time::OffsetDateTime;
use time::macros::{date, datetime};
use uuid::Uuid;
use write_behind_producer::{
    BuildError, Loader, MySqlLoader, PostgresLoader, SqliteLoader, WriteBehind,
};

time::serde::format_description!(iso_date, Date, "[year]-[month]-[day]");

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Presence {
    InGame,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Item {
    Sword { damage: i64 },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    x: i64,
    y: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Directions {
    north: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Points(i64);

/// A field for each line of the page.
#[serde_as]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    flag: bool,
    small: i64,
    /// SQLite has no column for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    huge: Option<i128>,
    ratio: f64,
    name: String,
    nothing: Option<i64>,
    #[serde(with = "write_behind_producer::exact")]
    balance: Decimal,
    #[serde(with = "write_behind_producer::exact")]
    rate: BigDecimal,
    #[serde(with = "write_behind_producer::exact::option", default)]
    most: Option<Decimal>,
    token: Uuid,
    at: DateTime<Utc>,
    day: NaiveDate,
    local: NaiveDateTime,
    clock: NaiveTime,
    #[serde(with = "time::serde::rfc3339")]
    instant: OffsetDateTime,
    #[serde(with = "iso_date")]
    date: time::Date,
    #[serde_as(as = "serde_with::base64::Base64")]
    content: Vec<u8>,
    presence: Presence,
    item: Item,
    place: Place,
    words: Vec<String>,
    #[serde(flatten)]
    directions: Directions,
    points: Points,
}

fn everything(huge: Option<i128>) -> Everything {
    Everything {
        flag: true,
        small: -7,
        huge,
        ratio: 0.1,
        name: "né".to_owned(),
        nothing: None,
        balance: Decimal::from_str("12345678901234567.89").unwrap(),
        rate: BigDecimal::from_str("0.1000000000000000000001").unwrap(),
        most: None,
        token: Uuid::from_str("67e55044-10b1-426f-9247-bb680e5fe0c8").unwrap(),
        at: DateTime::<Utc>::from_str("2013-01-01T10:00:00.5Z").unwrap(),
        day: NaiveDate::from_str("2013-01-31").unwrap(),
        local: NaiveDateTime::from_str("2013-01-31T10:00:00").unwrap(),
        clock: NaiveTime::from_str("10:00:00").unwrap(),
        instant: datetime!(2013-01-01 10:00 UTC),
        date: date!(2013 - 01 - 31),
        content: vec![0, 255],
        presence: Presence::InGame,
        item: Item::Sword { damage: 7 },
        place: Place { x: 1, y: 2 },
        words: vec!["a".to_owned(), "b".to_owned()],
        directions: Directions { north: 1 },
        points: Points(-7),
    }
}

/// The columns of a table, each with its type in Postgres, MariaDB and SQLite. None: there is none.
const COLUMNS: &[(&str, [Option<&str>; 3])] = &[
    ("id", [Some("bigint primary key"), Some("bigint primary key"), Some("INTEGER PRIMARY KEY")]),
    ("flag", [Some("boolean"), Some("tinyint(1)"), Some("BOOLEAN")]),
    ("small", [Some("bigint"), Some("bigint"), Some("INTEGER")]),
    ("huge", [Some("numeric(39)"), Some("decimal(39)"), None]),
    ("ratio", [Some("double precision"), Some("double"), Some("REAL")]),
    ("name", [Some("text"), Some("varchar(50)"), Some("TEXT")]),
    ("nothing", [Some("bigint"), Some("bigint"), Some("INTEGER")]),
    ("balance", [Some("numeric(30, 4)"), Some("decimal(30, 4)"), Some("TEXT")]),
    ("rate", [Some("numeric"), Some("decimal(40, 30)"), Some("TEXT")]),
    ("most", [Some("numeric(9, 2)"), Some("decimal(9, 2)"), Some("TEXT")]),
    ("token", [Some("uuid"), Some("char(36)"), Some("TEXT")]),
    ("at", [Some("timestamptz"), Some("timestamp(3) null"), Some("TEXT")]),
    ("day", [Some("date"), Some("date"), Some("DATE")]),
    ("local", [Some("timestamp"), Some("datetime"), Some("TEXT")]),
    ("clock", [Some("time"), Some("time"), Some("TEXT")]),
    ("instant", [Some("timestamptz"), Some("timestamp null"), Some("TEXT")]),
    ("date", [Some("date"), Some("date"), Some("DATE")]),
    ("content", [Some("bytea"), Some("blob"), Some("BLOB")]),
    ("presence", [Some("text"), Some("enum('in_game')"), Some("TEXT")]),
    ("item", [Some("jsonb"), Some("json"), Some("JSON")]),
    ("place", [Some("jsonb"), Some("json"), Some("JSON")]),
    ("words", [Some("text[]"), Some("json"), Some("JSON")]),
    ("north", [Some("bigint"), Some("bigint"), Some("INTEGER")]),
    ("points", [Some("bigint"), Some("bigint"), Some("INTEGER")]),
];

fn table(name: &str, database: usize, quote: char) -> AssertSqlSafe<String> {
    let column = |(name, types): &(&str, [Option<&str>; 3])| {
        types[database].map(|sql_type| format!("{quote}{name}{quote} {sql_type}"))
    };
    let columns: Vec<String> = COLUMNS.iter().filter_map(column).collect();
    AssertSqlSafe(format!("create table {name} ({})", columns.join(", ")))
}

fn new_name() -> String {
    format!("types_{}", &Uuid::new_v4().simple().to_string()[..8])
}

/// Writes the row, and reads it from the table.
async fn round(
    topic: &str,
    table: &str,
    database: String,
    loader: impl Loader<i64>,
    row: &Everything,
) -> Result<()> {
    let kafka = stack::kafka().await?;
    kafka.create_topic(topic, 1).await?;
    let settings = Settings {
        pipeline: topic.to_owned(),
        routes: vec![(topic.to_owned(), table.to_owned())],
        bootstrap: kafka.bootstrap(),
        database,
        client: topic.to_owned(),
        ..Settings::plain()
    };
    let worker = settings.start().await?;
    let builder =
        WriteBehind::<i64, Everything>::builder(topic, [("bootstrap.servers", kafka.bootstrap())])
            .sink_group(topic)
            .loader(loader);
    let rows = until("the bookkeeping to be there", PATIENCE, async || {
        worker.still_runs()?;
        match builder.clone().check_columns(row.huge.is_some()).build().await {
            Ok(rows) => Ok(Seen::Done(rows)),
            Err(BuildError::Loader(error)) => Ok(Seen::NotYet(error.to_string())),
            Err(error) => bail!(error),
        }
    })
    .await?;
    let write = rows.put(&7, row).await?;
    assert_eq!(rows.get(&7).await?.as_ref(), Some(row), "pending");
    write.persisted_within(PATIENCE).await.context("the row is refused")?;
    rows.invalidate_all();
    assert_eq!(rows.refresh(&7).await?.as_ref(), Some(row), "loaded");
    Ok(())
}

/// The texts in the page's column "In the record".
fn lines_of_the_page() -> Vec<&'static str> {
    let page = include_str!("../../docs/rust-types.md");
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Field"));
    rows.filter_map(|line| line.split('|').nth(3)?.split('`').nth(1)).collect()
}

#[test]
fn each_line_of_the_page_is_a_field_of_the_row() -> Result<()> {
    let record = serde_json::to_string(&everything(Some(i128::MAX)))?;
    let lines = lines_of_the_page();
    ensure!(lines.len() > 20, "{lines:?}");
    for line in lines {
        ensure!(record.contains(line), "{line} of {record}");
    }
    Ok(())
}

#[tokio::test]
async fn every_type_goes_to_postgres_and_comes_back() -> Result<()> {
    let (name, postgres) = (new_name(), stack::postgres().await?);
    let pool = postgres.connect().await?;
    sqlx::raw_sql(table(&name, 0, '"')).execute(&pool).await?;
    let loader = PostgresLoader::table(pool, name.clone());
    let url = Postgres::url_by_way_of(postgres.port());
    round(&name, &format!("public.{name}"), url, loader, &everything(Some(i128::MAX))).await
}

#[tokio::test]
async fn every_type_goes_to_mariadb_and_comes_back() -> Result<()> {
    let (name, url) = (new_name(), mariadb::shared().await?.new_database().await?);
    let pool = MySqlPool::connect(&url).await?;
    sqlx::raw_sql(table("everything", 1, '`')).execute(&pool).await?;
    let loader = MySqlLoader::table(pool, "everything");
    round(&name, "everything", url, loader, &everything(Some(i128::MAX))).await
}

#[tokio::test]
async fn every_type_that_sqlite_has_goes_there_and_comes_back() -> Result<()> {
    let (name, folder) = (new_name(), tempfile::tempdir()?);
    let file = folder.path().join("rows.db");
    let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::raw_sql(table("everything", 2, '"')).execute(&pool).await?;
    let loader = SqliteLoader::table(pool, "everything");
    let url = format!("sqlite://{}", file.display());
    round(&name, "everything", url, loader, &everything(None)).await
}
