//! A route that may set no record aside: it stops at the first bad one, and tells no value of it.

use write_behind_consumer::apply::Applied;
use write_behind_consumer::core::batch::Stop;
use write_behind_consumer::core::flood::FloodLimits;
use write_behind_shared::Partition;

use super::ONE;
use super::bench::Bench;

#[tokio::test]
async fn where_none_is_set_aside_the_first_bad_record_stops_the_route_until_it_fits() {
    let mut bench = Bench::with(FloodLimits::NONE).await;
    let batch = bench.batch(&[ONE, ("2", r#"{"short":"long"}"#, "")]);
    for _ in 0..2 {
        let applied = bench.apply(&batch).await;
        let Applied::Stopped(Stop { why, partition }) = applied else { panic!("{applied:?}") };
        assert_eq!(partition, Some(Partition(0)));
        assert!(
            why.starts_with("partition 0, offset 1: the database refuses it (code 275);"),
            "{why}"
        );
        assert!(why.contains("on_bad_record") && why.contains("dead-letter"), "{why}");
        assert_eq!((bench.dump().await, bench.letters().await), (vec![], vec![]));
    }
    bench
        .file
        .sql("DROP TABLE t; CREATE TABLE t (id integer PRIMARY KEY, n bigint, short text)")
        .await;
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    assert_eq!(bench.dump().await, ["1 1", "2 long"]);
    assert_eq!(bench.letters().await, [""; 0]);
}

#[tokio::test]
async fn what_stops_a_route_is_told_without_the_record_s_values() {
    let bad = [
        ("2", r#"{"n":"sesame"}"#, "", "column \"n\": the value is not an integer"),
        ("2", r#"{"short":7777}"#, "", "column \"short\": the value is not a string"),
        (
            "2",
            r#"{"n":"sesame"}"#,
            "n",
            "column \"n\" is an increment, but its delta is not a number",
        ),
        ("sesame", r#"{"n":1}"#, "", "the key is not the canonical text of"),
        ("2", "sesame 7777", "", "the value is not a JSON object"),
        ("2", r#"{"m":7777}"#, "", "there is no column \"m\""),
    ];
    for (key, value, add, says) in bad {
        let mut bench = Bench::with(FloodLimits::NONE).await;
        let batch = bench.batch(&[ONE, (key, value, add)]);
        let applied = bench.apply(&batch).await;
        let Applied::Stopped(Stop { why, .. }) = applied else { panic!("{applied:?}") };
        assert!(why.starts_with(&format!("partition 0, offset 1: {says}")), "{why}");
        assert!(!why.contains("sesame") && !why.contains("7777"), "{why}");
    }
}
