//! Records of refused rows that can't be read again, or not all at once.

use write_behind_consumer::apply::Applied;
use write_behind_consumer::core::batch::Stop;

use super::ONE;
use super::bench::Bench;

#[tokio::test]
async fn records_that_are_gone_from_the_log_stop_the_route_and_are_not_skipped() {
    let mut bench = Bench::new().await;
    let batch = bench.batch(&[ONE, ("2", r#"{"short":"long"}"#, "")]);
    let kept = bench.log.all.lock().unwrap().pop();
    for _ in 0..2 {
        let applied = bench.apply(&batch).await;
        assert!(
            matches!(&applied, Applied::Stopped(Stop { why, .. }) if why.contains("retention.ms")),
            "{applied:?}"
        );
    }
    assert_eq!((bench.dump().await, bench.letters().await), (vec![], vec![]));
    bench.log.all.lock().unwrap().extend(kept);
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    assert_eq!(bench.letters().await.len(), 1);
}

#[tokio::test]
async fn a_refused_row_of_more_records_than_memory_holds_is_applied_in_parts() {
    let mut bench = Bench::new().await;
    *bench.log.part_max.lock().unwrap() = Some(7);
    let mut records = vec![ONE; 1_000];
    records[0] = ("1", r#"{"short":"long"}"#, "");
    records[500] = ("1", r#"{"n":"x"}"#, "");
    records[999] = ("1", r#"{"short":"long"}"#, "");
    records.push(("2", r#"{"n":5}"#, ""));
    let stats = bench.write(&records).await;
    assert_eq!((stats.rows, stats.row_by_row, stats.dead_letters), (1, 997, 3));
    assert_eq!(bench.dump().await, ["1 997", "2 5"]);
    let letters = bench.letters().await;
    let offsets: Vec<_> = letters.iter().map(|letter| letter.split(' ').next().unwrap()).collect();
    assert_eq!(offsets, ["0", "500", "999"]);
}

#[tokio::test]
async fn a_part_that_is_gone_leaves_nothing_written() {
    let mut bench = Bench::new().await;
    *bench.log.part_max.lock().unwrap() = Some(2);
    let long = r#"{"short":"long"}"#;
    let batch = bench.batch(&[ONE, ("1", long, ""), ONE, ("2", long, ""), ("3", long, "")]);
    let kept = bench.log.all.lock().unwrap().pop();
    let applied = bench.apply(&batch).await;
    assert!(matches!(&applied, Applied::Stopped(_)), "{applied:?}");
    assert_eq!((bench.dump().await, bench.letters().await), (vec![], vec![]));
    bench.log.all.lock().unwrap().extend(kept);
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    assert_eq!((bench.dump().await.len(), bench.letters().await.len()), (1, 3));
}
