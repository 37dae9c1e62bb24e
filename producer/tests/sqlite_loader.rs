//! The SQLite loader against a table and the bookkeeping that a consumer keeps.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::str::FromStr as _;

use serde::Serialize;
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use write_behind_producer::{
    DeadLetter, KeyColumn, KeyKind, Loaded, Loader, LogRange, NextOffset, Offset, Partition,
    Source, SqliteLoader, WriteId,
};

/// What `write-behind init` creates; a contract.
const BOOKKEEPING: &str = "
    CREATE TABLE write_behind_offsets (
        pipeline TEXT NOT NULL, cluster TEXT NOT NULL, topic TEXT NOT NULL,
        partition INTEGER NOT NULL, next_offset INTEGER NOT NULL, partitions INTEGER NOT NULL,
        PRIMARY KEY (pipeline, cluster, topic, partition));
    CREATE TABLE write_behind_dead_letters (
        pipeline TEXT NOT NULL, cluster TEXT NOT NULL, topic TEXT NOT NULL,
        partition INTEGER NOT NULL, record_offset INTEGER NOT NULL, record_key BLOB,
        record_value BLOB, headers TEXT NOT NULL DEFAULT '[]', reason TEXT NOT NULL,
        state TEXT NOT NULL DEFAULT 'open',
        PRIMARY KEY (pipeline, cluster, topic, partition, record_offset));";

async fn empty() -> SqlitePool {
    let options = SqliteConnectOptions::from_str("sqlite::memory:").unwrap();
    SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap()
}

async fn database(sql: &'static str) -> SqlitePool {
    let pool = empty().await;
    sqlx::raw_sql(BOOKKEEPING).execute(&pool).await.unwrap();
    sqlx::raw_sql(sql).execute(&pool).await.unwrap();
    pool
}

fn source(partitions: i32) -> Source {
    Source::new("scores", "sink", "cluster", partitions)
}

async fn prepare(loader: &SqliteLoader, partitions: i32) -> Result<(), String> {
    let prepared = Loader::<i64>::prepare(loader, &source(partitions)).await;
    prepared.map_err(|error| error.to_string())
}

fn value(loaded: &Loaded) -> Value {
    loaded.as_json().map_or(Value::Null, |row| serde_json::from_slice(row).unwrap())
}

async fn loader(pool: &SqlitePool) -> SqliteLoader {
    let loader = SqliteLoader::table(pool.clone(), "scores");
    prepare(&loader, 1).await.unwrap();
    loader
}

#[tokio::test]
async fn every_type_comes_as_a_record_has_it() {
    let pool = database(
        "CREATE TABLE scores (id INTEGER PRIMARY KEY, n BIGINT, x REAL, d NUMERIC, b BOOLEAN,
            t TEXT, day DATE, at TIMESTAMP, u UUID, j JSON, bytes BLOB, blank TEXT,
            doubled INTEGER GENERATED ALWAYS AS (n * 2));
         INSERT INTO scores VALUES (1, 9007199254740993, 0.1, '12.50', 1,
            'a\"b', '2013-01-01', '2013-01-01T10:00:00Z', 'c0ffee00-0000-4000-8000-000000000000',
            '{\"k\": [1, null]}', x'00ff', NULL);",
    )
    .await;
    let loader = loader(&pool).await;
    let found = loader.load(&1_i64).await.unwrap();
    let text = std::str::from_utf8(found.as_json().unwrap()).unwrap();
    assert_eq!(
        text,
        r#"{"id":1,"n":9007199254740993,"x":0.1,"d":12.5,"b":true,"#.to_owned()
            + r#""t":"a\"b","day":"2013-01-01","at":"2013-01-01T10:00:00Z","#
            + r#""u":"c0ffee00-0000-4000-8000-000000000000","j":{"k": [1, null]},"#
            + r#""bytes":"AP8=","blank":null}"#
    );
}

#[tokio::test]
async fn a_row_comes_with_the_offset_of_its_own_partition() {
    let pool = database(
        "CREATE TABLE scores (id INTEGER PRIMARY KEY, n INTEGER);
         INSERT INTO scores VALUES (1, 10), (2, 20);
         INSERT INTO write_behind_offsets VALUES
            ('other', 'cluster', 'scores', 0, 99, 3), ('sink', 'other', 'scores', 0, 98, 3),
            ('sink', 'cluster', 'other', 0, 97, 3);",
    )
    .await;
    let partition =
        |key: i64| write_behind_shared::partition::partition_of(key.to_string().as_bytes(), 3).0;
    assert_ne!(partition(1), partition(2), "the test needs two partitions");
    sqlx::query("INSERT INTO write_behind_offsets VALUES ('sink', 'cluster', 'scores', $1, 7, 3)")
        .bind(partition(1))
        .execute(&pool)
        .await
        .unwrap();
    let loader = SqliteLoader::table(pool, "scores");
    prepare(&loader, 3).await.unwrap();
    let found = loader.load_many(&[2_i64, 1, 3, 1]).await.unwrap();
    let rows: Vec<Value> = found.iter().map(value).collect();
    assert_eq!(
        rows,
        [
            json!({"id": 2, "n": 20}),
            json!({"id": 1, "n": 10}),
            Value::Null,
            json!({"id": 1, "n": 10})
        ]
    );
    let nexts: Vec<_> = found.iter().map(|found| found.next_offset().unwrap().0).collect();
    let of_missing = if partition(3) == partition(1) { 7 } else { 0 };
    assert_eq!(nexts, [0, 7, of_missing, 7], "a partition without a row has had nothing applied");
    assert!(Loader::<i64>::load_many(&loader, &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn keys_of_every_type_find_their_rows_and_are_never_sql() {
    #[derive(Serialize)]
    struct Key {
        tenant: String,
        day: &'static str,
        active: bool,
        id: i64,
        token: uuid::Uuid,
    }
    let pool = database(
        "CREATE TABLE scores (id INTEGER, tenant TEXT, active BOOLEAN, day DATE, token UUID,
            n INTEGER, PRIMARY KEY (tenant, id, active, day, token)) WITHOUT ROWID;
         INSERT INTO scores VALUES (7, 'a'') OR 1=1 --', 1, '2013-01-01',
            '00000000-0000-0000-0000-000000000007', 1),
            (7, 'b', 1, '2013-01-01', '00000000-0000-0000-0000-000000000007', 2);",
    )
    .await;
    let loader = SqliteLoader::table(pool, "scores").columns(["n"]);
    prepare(&loader, 1).await.unwrap();
    let key = |tenant: &str, active| Key {
        tenant: tenant.to_owned(),
        day: "2013-01-01",
        active,
        id: 7,
        token: uuid::Uuid::from_u128(7),
    };
    let found = loader.load(&key("a') OR 1=1 --", true)).await.unwrap();
    assert_eq!(value(&found), json!({"n": 1}));
    assert_eq!(value(&loader.load(&key("b", true)).await.unwrap()), json!({"n": 2}));
    assert_eq!(value(&loader.load(&key("b", false)).await.unwrap()), Value::Null);
    let error = loader.load(&7_i64).await.unwrap_err().to_string();
    assert!(error.contains("the key does not fit the table's"), "{error}");
}

#[tokio::test]
async fn a_unique_key_can_be_named_instead_of_the_primary_one() {
    let pool = database(
        "CREATE TABLE scores (id INTEGER PRIMARY KEY, \"odd \"\"name\" TEXT UNIQUE, n INTEGER);
         INSERT INTO scores VALUES (1, 'ada', 10);",
    )
    .await;
    let loader = SqliteLoader::table(pool, "scores").key(["odd \"name"]).columns(["n"]);
    prepare(&loader, 1).await.unwrap();
    assert_eq!(value(&loader.load(&"ada").await.unwrap()), json!({"n": 10}));
}

#[tokio::test]
async fn what_the_loader_cannot_work_with_is_refused_with_the_mend() {
    async fn refused(sql: &'static str, change: impl Fn(SqliteLoader) -> SqliteLoader) -> String {
        let loader = change(SqliteLoader::table(database(sql).await, "scores"));
        prepare(&loader, 1).await.unwrap_err()
    }
    let table = "CREATE TABLE scores (id INTEGER PRIMARY KEY, x REAL UNIQUE)";
    for (error, says) in [
        (refused("", |l| l).await, "there is no table scores: create it"),
        (refused("CREATE TABLE scores (id INTEGER)", |l| l).await, "has no primary key: add one"),
        (refused(table, |l| l.columns(["y"])).await, r#"has no column "y""#),
        (refused(table, |l| l.key(["y"])).await, "no unique key of exactly (y): add one"),
        (refused(table, |l| l.key(["x"])).await, r#"the column "x" of scores can't be a key"#),
    ] {
        assert!(error.contains(says), "{error}");
    }
    let without = empty().await;
    sqlx::raw_sql(table).execute(&without).await.unwrap();
    let error = prepare(&SqliteLoader::table(without, "scores"), 1).await.unwrap_err();
    assert!(error.contains("run `write-behind init`"), "{error}");
    let unprepared = SqliteLoader::table(empty().await, "scores");
    let error = unprepared.load(&1_i64).await.unwrap_err().to_string();
    assert!(error.contains("was not prepared"), "{error}");
}

#[tokio::test]
async fn open_dead_letters_of_this_topic_are_found_in_their_ranges() {
    let pool = database("CREATE TABLE scores (id INTEGER PRIMARY KEY)").await;
    let write_id = WriteId { writer: uuid::Uuid::from_u128(7), sequence: 3 };
    let header = json!([{"name": "write-id", "base64": base64_of(&write_id.encode())}]);
    for (pipeline, partition, offset, state) in [
        ("sink", 0, 4, "open"),
        ("sink", 0, 5, "open"),
        ("sink", 0, 6, "replayed"),
        ("sink", 0, 7, "open"),
        ("sink", 1, 5, "open"),
        ("sink", 2, 5, "open"),
        ("other", 0, 5, "open"),
    ] {
        sqlx::query(
            "INSERT INTO write_behind_dead_letters
                (pipeline, cluster, topic, partition, record_offset, record_key, headers, reason, state)
             VALUES ($1, 'cluster', 'scores', $2, $3, x'37', $4, 'why', $5)",
        )
        .bind(pipeline)
        .bind(partition)
        .bind(offset)
        .bind(header.to_string())
        .bind(state)
        .execute(&pool)
        .await
        .unwrap();
    }
    let loader = loader(&pool).await;
    assert!(Loader::<i64>::knows_dead_letters(&loader));
    let range = |partition, from, to| LogRange {
        partition: Partition(partition),
        from: Offset(from),
        to: NextOffset(to),
    };
    let found = Loader::<i64>::dead_letters(&loader, &[range(1, 0, 9), range(0, 5, 7)]).await;
    let letter = |partition, offset| DeadLetter {
        partition: Partition(partition),
        offset: Offset(offset),
        key: b"7".to_vec(),
        write_id: Some(write_id),
        reason: "why".to_owned(),
    };
    assert_eq!(found.unwrap(), [letter(0, 5), letter(1, 5)]);
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test]
async fn the_table_says_which_columns_a_record_may_name_and_what_its_keys_are() {
    let pool = database(
        "CREATE TABLE scores (id INTEGER PRIMARY KEY, name TEXT, twice INTEGER AS (id * 2))",
    )
    .await;
    let loader = SqliteLoader::table(pool, "scores").columns(["name"]);
    assert_eq!(
        Loader::<i64>::table(&loader),
        None,
        "it is not known before the loader is prepared"
    );
    prepare(&loader, 1).await.unwrap();
    let shape = Loader::<i64>::table(&loader).unwrap();
    assert_eq!(shape.columns, ["id", "name"].map(Box::from), "generated ones are not among them");
    let key = KeyColumn { name: "id".to_owned(), kind: KeyKind::Integer(i64::MIN..=i64::MAX) };
    assert_eq!(shape.key, [key]);
}
