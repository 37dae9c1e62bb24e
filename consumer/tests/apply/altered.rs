//! A table that is altered while a worker writes to it: no good record is set aside, and no bad one is
//! written.

use std::time::Duration;

use write_behind_consumer::apply::Applied;
use write_behind_consumer::clock::Clock as _;
use write_behind_consumer::core::batch::Stop;
use write_behind_consumer::store::StoreError;

use super::ONE;
use super::bench::{Bench, Fault};

#[tokio::test]
async fn a_column_added_meanwhile_is_known_before_a_record_counts_as_bad() {
    let mut bench = Bench::new().await;
    bench.write(&[ONE]).await;
    bench.file.sql("ALTER TABLE t ADD COLUMN extra text").await;
    bench.write(&[("1", r#"{"extra":"new"}"#, "")]).await;
    assert_eq!(bench.letters().await, [""; 0]);
    assert_eq!(bench.file.list("SELECT extra FROM t").await, ["new"]);
}

#[tokio::test]
async fn a_column_added_without_a_sign_is_known_before_a_record_that_is_taken_alone_counts_as_bad()
{
    let mut bench = Bench::new().await;
    *bench.script.gives_no_sign.lock().unwrap() = true;
    bench.write(&[ONE]).await;
    bench.file.sql("ALTER TABLE t ADD COLUMN extra text").await;
    let mut batch = bench.batch(&[("1", r#"{"extra":"new"}"#, "")]);
    batch.rows[0].row_by_row = true;
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    assert_eq!(bench.letters().await, [""; 0]);
    assert_eq!(bench.file.list("SELECT extra FROM t").await, ["new"]);
}

#[tokio::test]
async fn what_changes_around_a_table_without_a_sign_is_known_soon() {
    let mut bench = Bench::new().await;
    *bench.script.gives_no_sign.lock().unwrap() = true;
    // Nothing sees a proposed row, so each is proposed.
    bench.file.sql("DROP TABLE t; CREATE TABLE t (id integer PRIMARY KEY, n bigint)").await;
    bench.write(&[ONE]).await;
    bench
        .file
        .sql(
            "CREATE TABLE proposed (id integer); CREATE TRIGGER sees BEFORE INSERT ON t \
             BEGIN INSERT INTO proposed VALUES (new.id); END",
        )
        .await;
    bench.script.clock.sleep(Duration::from_secs(5)).await;
    bench.write(&[ONE]).await;
    assert_eq!(bench.file.list("SELECT CAST(n AS text) FROM t").await, ["2"]);
    let proposed = bench.file.list("SELECT CAST(id AS text) FROM proposed").await;
    assert_eq!(proposed, [""; 0], "a row that exists is updated");
}

#[tokio::test]
async fn a_table_that_changed_is_read_again_before_a_refused_row_counts_as_bad() {
    let mut bench = Bench::new().await;
    bench.file.sql("DROP TABLE t; CREATE TABLE t (id integer PRIMARY KEY, n bigint)").await;
    bench.write(&[ONE]).await;
    bench
        .file
        .sql(
            "DROP TABLE t; CREATE TABLE t (id integer PRIMARY KEY, n bigint, name text NOT NULL); \
             INSERT INTO t VALUES (1, 1, 'x')",
        )
        .await;
    bench.write(&[ONE]).await;
    assert_eq!(bench.letters().await, [""; 0]);
    assert_eq!(bench.file.list("SELECT CAST(n AS text) FROM t").await, ["2"]);
}

#[tokio::test]
async fn a_table_that_changed_its_key_is_read_again_before_the_route_counts_as_stuck() {
    let mut bench = Bench::new().await;
    bench.write(&[ONE]).await;
    bench.file.sql("DROP TABLE t; CREATE TABLE t (key integer PRIMARY KEY, n bigint)").await;
    bench.write(&[ONE]).await;
    assert_eq!(bench.file.list("SELECT CAST(key AS text) FROM t").await, ["1"]);
}

#[tokio::test]
async fn a_table_that_changed_in_an_outage_is_read_again() {
    let mut bench = Bench::new().await;
    bench.write(&[ONE]).await;
    let batch = bench.batch(&[("1", r#"{"extra":"new"}"#, "")]);
    bench.faults([Fault::Fails(StoreError::Unavailable("down".to_owned()))]);
    bench.file.sql("ALTER TABLE t ADD COLUMN extra text").await;
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    assert_eq!(bench.letters().await, [""; 0]);
}

#[tokio::test]
async fn a_column_that_is_dropped_stops_the_route_instead_of_setting_its_records_aside() {
    let mut bench = Bench::new().await;
    bench.write(&[ONE]).await;
    bench.file.sql("DROP TABLE t; CREATE TABLE t (id integer PRIMARY KEY, n bigint)").await;
    let batch = bench.batch(&[("1", r#"{"short":"x"}"#, ""), ("2", r#"{"n":5}"#, "")]);
    let applied = bench.apply(&batch).await;
    assert!(
        matches!(&applied, Applied::Stopped(Stop { why, .. }) if why.contains("\"short\" is gone"))
    );
    bench.file.sql("ALTER TABLE t ADD COLUMN short text").await;
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    assert_eq!(
        (bench.dump().await, bench.letters().await),
        (vec!["1 x".into(), "2 5".into()], vec![])
    );
}

#[tokio::test]
async fn a_column_that_becomes_required_stops_the_route_when_a_record_lacks_it() {
    let mut bench = Bench::new().await;
    bench.write(&[ONE]).await;
    let required = "CREATE TABLE t (id integer PRIMARY KEY, n bigint, name text NOT NULL";
    bench.file.sql(&format!("DROP TABLE t; {required})")).await;
    let batch = bench.batch(&[("2", r#"{"n":5}"#, "")]);
    let applied = bench.apply(&batch).await;
    assert!(
        matches!(&applied, Applied::Stopped(Stop { why, .. }) if why.contains("\"name\" has become NOT NULL"))
    );
    bench.file.sql(&format!("DROP TABLE t; {required} DEFAULT '')")).await;
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    assert_eq!(bench.letters().await, [""; 0]);
}

#[tokio::test]
async fn a_column_that_becomes_required_stops_the_route_also_beside_a_value_that_is_taken() {
    let mut bench = Bench::new().await;
    bench.file.sql("DROP TABLE t; CREATE TABLE t (id integer PRIMARY KEY, n bigint UNIQUE)").await;
    bench.write(&[ONE]).await;
    bench
        .file
        .sql(
            "DROP TABLE t; \
             CREATE TABLE t (id integer PRIMARY KEY, n bigint UNIQUE, name text NOT NULL); \
             INSERT INTO t VALUES (1, 1, 'x')",
        )
        .await;
    let lacks = [("3", r#"{"n":3}"#, ""), ("9", r#"{"n":9}"#, "")];
    let batch = bench.batch(&[lacks[0], ("5", r#"{"n":1,"name":"y"}"#, ""), lacks[1]]);
    let applied = bench.apply(&batch).await;
    assert!(
        matches!(&applied, Applied::Stopped(Stop { why, .. }) if why.contains("\"name\" has become NOT NULL")),
        "{applied:?}"
    );
    assert_eq!(bench.letters().await, [""; 0]);
    assert_eq!(bench.file.list("SELECT CAST(id AS text) FROM t").await, ["1"]);
}
