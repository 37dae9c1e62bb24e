//! Each line of docs/rust-types.md: what a field is in the record, and that it comes back the same,
//! from what is pending and from the row that a consumer has made of the record.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::str::FromStr as _;

use bigdecimal::BigDecimal;
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use rust_decimal::Decimal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_with::serde_as;
use time::OffsetDateTime;
use time::macros::{date, datetime};
use uuid::Uuid;
use write_behind_producer::{WriteBehind, testing};

time::serde::format_description!(iso_date, Date, "[year]-[month]-[day]");

/// Writes the row, and reads it back before and after it is in the database.
async fn round<V>(row: &V, field: &str, in_the_record: &str)
where
    V: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let kafka = testing::Broker::start().unwrap().topic("rows", 1).unwrap();
    let database = kafka.sink("rows", "writer").unwrap();
    let rows = WriteBehind::<i64, V>::builder("rows", kafka.properties())
        .sink_group("writer")
        .loader(database.loader())
        .build()
        .await
        .unwrap();
    rows.put(&1, row).await.unwrap();
    assert_eq!(rows.get(&1).await.unwrap().as_ref(), Some(row), "pending");
    rows.replicated_all().await.unwrap();
    let log = kafka.log("rows").unwrap();
    let value = String::from_utf8(log[0].value.clone().unwrap()).unwrap();
    assert!(value.contains(&format!("\"{field}\":{in_the_record}")), "{value}");
    let page = include_str!("../../docs/rust-types.md");
    assert!(page.contains(&format!("`{in_the_record}`")), "{in_the_record} is no line of the page");
    database.apply_all().unwrap();
    rows.persisted_all().await.unwrap();
    rows.invalidate_all();
    assert_eq!(rows.get(&1).await.unwrap().as_ref(), Some(row), "loaded");
}

/// A row of one field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row<T> {
    field: T,
}

async fn plain<T>(field: T, in_the_record: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    round(&Row { field }, "field", in_the_record).await;
}

#[tokio::test]
async fn plain_types_are_written_as_they_are() {
    plain(true, "true").await;
    plain(-7_i64, "-7").await;
    plain(i128::MAX, "170141183460469231731687303715884105727").await;
    plain(0.1_f64, "0.1").await;
    plain("né".to_owned(), "\"né\"").await;
    plain(None::<i64>, "null").await;
    plain(
        Uuid::from_str("67e55044-10b1-426f-9247-bb680e5fe0c8").unwrap(),
        "\"67e55044-10b1-426f-9247-bb680e5fe0c8\"",
    )
    .await;
    plain(vec!["a".to_owned(), "b".to_owned()], r#"["a","b"]"#).await;
    plain(BTreeMap::from([("x".to_owned(), 1), ("y".to_owned(), 2)]), r#"{"x":1,"y":2}"#).await;
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Times {
    #[serde(with = "time::serde::rfc3339")]
    instant: OffsetDateTime,
    #[serde(with = "iso_date")]
    day: time::Date,
}

#[tokio::test]
async fn times_are_written_as_their_columns_take_them() {
    let at = DateTime::<Utc>::from_str("2013-01-01T10:00:00.5Z").unwrap();
    plain(at, "\"2013-01-01T10:00:00.500Z\"").await;
    plain(NaiveDate::from_str("2013-01-31").unwrap(), "\"2013-01-31\"").await;
    let local = NaiveDateTime::from_str("2013-01-31T10:00:00").unwrap();
    plain(local, "\"2013-01-31T10:00:00\"").await;
    plain(NaiveTime::from_str("10:00:00").unwrap(), "\"10:00:00\"").await;
    let times = || Times { instant: datetime!(2013-01-01 10:00 UTC), day: date!(2013 - 01 - 31) };
    round(&times(), "instant", "\"2013-01-01T10:00:00Z\"").await;
    round(&times(), "day", "\"2013-01-31\"").await;
}

#[serde_as]
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct File {
    #[serde_as(as = "serde_with::base64::Base64")]
    content: Vec<u8>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Presence {
    InGame,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Item {
    Sword { damage: i64 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    directions: Directions,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Directions {
    north: i64,
}

#[tokio::test]
async fn bytes_enums_and_structs_within_are_written_as_their_attributes_say() {
    round(&File { content: vec![0, 255] }, "content", "\"AP8=\"").await;
    plain(Presence::InGame, "\"in_game\"").await;
    plain(Item::Sword { damage: 7 }, r#"{"kind":"Sword","damage":7}"#).await;
    let named = Named { name: "a".to_owned(), directions: Directions { north: 1 } };
    let kafka_value = serde_json::to_string(&named).unwrap();
    assert_eq!(kafka_value, r#"{"name":"a","north":1}"#);
    assert!(include_str!("../../docs/rust-types.md").contains("`\"north\":1`"));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Account {
    #[serde(with = "write_behind_producer::exact")]
    balance: Decimal,
    #[serde(with = "write_behind_producer::exact")]
    rate: BigDecimal,
    #[serde(with = "write_behind_producer::exact::option", default)]
    limit: Option<Decimal>,
}

#[tokio::test]
async fn a_decimal_keeps_its_digits_written_loaded_and_added_to() {
    let account = || Account {
        balance: Decimal::from_str("12345678901234567.89").unwrap(),
        rate: BigDecimal::from_str("0.1000000000000000000001").unwrap(),
        limit: None,
    };
    round(&account(), "balance", "\"12345678901234567.89\"").await;
    round(&account(), "rate", "\"0.1000000000000000000001\"").await;
    round(&account(), "limit", "null").await;

    // As a table loader gives it: as a number.
    let stored = r#"{"balance":12345678901234567.89,"rate":1e-22,"limit":5.00}"#;
    let loader = move |_: i64| async move {
        serde_json::value::RawValue::from_string(stored.to_owned()).map(Some)
    };
    let kafka = testing::Broker::start().unwrap().topic("rows", 1).unwrap();
    let rows = WriteBehind::<i64, Account>::builder("rows", kafka.properties())
        .sink_group("writer")
        .loader(loader)
        .build()
        .await
        .unwrap();
    let digits =
        |account: Account| (account.balance.to_string(), account.limit.unwrap().to_string());
    let found = rows.get(&1).await.unwrap().unwrap();
    assert_eq!(digits(found), ("12345678901234567.89".to_owned(), "5.00".to_owned()));
    let cent: write_behind_producer::Number = "0.01".parse().unwrap();
    rows.add(&1, "balance", cent).await.unwrap();
    let added = rows.get(&1).await.unwrap().unwrap();
    assert_eq!(digits(added).0, "12345678901234567.90");
}
