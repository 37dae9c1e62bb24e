//! Batches that fail for a reason that no code tells, and batches that fail for long: what the worker
//! finds out, and when it gives them back.

use write_behind_consumer::apply::Applied;
use write_behind_consumer::store::StoreError;
use write_behind_shared::Partition;

use super::ONE;
use super::bench::{Bench, Fault};

/// SQLite's code for it is that of a missing table, too.
const REFUSE_BAD: &str = "CREATE TRIGGER refuse BEFORE INSERT ON t \
                          BEGIN SELECT json_extract(new.short, '$'); END";
const REFUSE_ALL: &str = "CREATE TRIGGER refuse BEFORE INSERT ON t \
                          BEGIN SELECT json_extract('{', '$' || new.id); END";
const BAD: (&str, &str, &str) = ("7", r#"{"short":"{"}"#, "");
const GOOD: (&str, &str, &str) = ("8", r#"{"short":"{}"}"#, "");

fn held(applied: Applied) -> String {
    let Applied::Held(why) = applied else { panic!("{applied:?}") };
    why
}

#[tokio::test]
async fn a_record_of_which_no_code_tells_is_set_aside_beside_one_that_is_written() {
    let mut bench = Bench::new().await;
    bench.file.sql(REFUSE_BAD).await;
    let stats = bench.write(&[ONE, BAD, ("7", r#"{"n":5}"#, "")]).await;
    assert_eq!((stats.retries, stats.dead_letters), (3, 1), "it is tried some times first");
    assert_eq!(bench.dump().await, ["1 1", "7 5"]);
    assert_eq!(bench.letters().await, ["1 malformed JSON"]);
}

#[tokio::test]
async fn a_table_that_refuses_every_row_gives_the_batch_back_and_sets_nothing_aside() {
    let mut bench = Bench::new().await;
    bench.file.sql(REFUSE_ALL).await;
    let batch = bench.batch(&[ONE, BAD, ("2", "{}", "")]);
    for _ in 0..2 {
        let why = held(bench.apply(&batch).await);
        assert!(why.contains("refuses every row") && why.contains("code 1;"), "{why}");
        assert!(!why.contains("malformed"), "a database's message quotes values: {why}");
    }
    assert_eq!((bench.dump().await, bench.letters().await), (vec![], vec![]));
    bench.file.sql("DROP TRIGGER refuse").await;
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    assert_eq!((bench.dump().await.len(), bench.letters().await.len()), (3, 0));
}

#[tokio::test]
async fn a_lone_record_waits_for_another_to_be_compared_with() {
    let mut bench = Bench::new().await;
    bench.file.sql(REFUSE_BAD).await;
    let alone = bench.batch(&[BAD]);
    held(bench.apply(&alone).await);
    assert_eq!(bench.letters().await, [""; 0]);
    // Read again, it has company.
    bench.log.all.lock().unwrap().clear();
    bench.next = 0;
    let stats = bench.write(&[BAD, GOOD]).await;
    assert_eq!((stats.retries, stats.dead_letters), (0, 1), "it was doubted before");
    assert_eq!(bench.dump().await, ["8 0 {}"]);
}

#[tokio::test]
async fn a_lone_record_is_bad_once_another_batch_of_its_table_is_written() {
    let mut bench = Bench::new().await;
    bench.file.sql(REFUSE_BAD).await;
    begin_another_partition(&bench).await;
    let alone = bench.batch(&[BAD]);
    held(bench.apply(&alone).await);
    let mut other = bench.batch(&[GOOD]);
    other.spans[0].partition = Partition(1);
    other.rows[0].partition = Partition(1);
    let applied = bench.apply(&other).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    let applied = bench.apply(&alone).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    assert_eq!(bench.letters().await, ["0 malformed JSON"]);
}

/// A second partition, which begins at offset 1.
async fn begin_another_partition(bench: &Bench) {
    let sql = "INSERT INTO write_behind_offsets (pipeline, cluster, topic, partition, next_offset, \
               partitions) VALUES ('p', 'c', 't', 1, 1, 2)";
    bench.file.sql(sql).await;
}

#[tokio::test]
async fn a_deletion_that_was_read_again_speaks_against_no_record() {
    let mut bench = Bench::new().await;
    bench.file.sql(REFUSE_BAD).await;
    begin_another_partition(&bench).await;
    let alone = bench.batch(&[BAD]);
    held(bench.apply(&alone).await);
    let mut other = bench.batch(&[GOOD]);
    make_last_a_deletion(&bench, Partition(1));
    other.spans[0].partition = Partition(1);
    other.rows[0].partition = Partition(1);
    other.rows[0].row_by_row = true;
    let applied = bench.apply(&other).await;
    assert!(matches!(&applied, Applied::Written(_, stats) if stats.row_by_row == 1), "{applied:?}");
    held(bench.apply(&alone).await);
    assert_eq!(bench.letters().await, [""; 0]);
}

#[tokio::test]
async fn a_record_refused_in_one_part_stays_doubted_in_the_next() {
    let mut bench = Bench::new().await;
    bench.file.sql(REFUSE_BAD).await;
    *bench.log.part_max.lock().unwrap() = Some(1);
    let mut batch = bench.batch(&[BAD, ("7", "{}", "")]);
    make_last_a_deletion(&bench, Partition(0));
    batch.rows[0].row_by_row = true;
    held(bench.apply(&batch).await);
    assert_eq!(bench.letters().await, [""; 0]);
}

fn make_last_a_deletion(bench: &Bench, partition: Partition) {
    let mut records = bench.log.all.lock().unwrap();
    let last = records.last_mut().unwrap();
    (last.partition, last.value) = (partition, None);
}

#[tokio::test]
async fn a_batch_given_back_for_a_lock_is_taken_apart_once_it_meets_a_bad_record() {
    let mut bench = Bench::new().await;
    bench.file.sql(REFUSE_BAD).await;
    let locked = || StoreError::Conflict("a row is locked by another session".to_owned());
    bench.faults([Fault::FailsLate(locked()), Fault::FailsLate(locked())]);
    let batch = bench.batch(&[BAD, GOOD]);
    held(bench.apply(&batch).await);
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    assert_eq!(bench.letters().await, ["0 malformed JSON"]);
    assert_eq!(bench.dump().await, ["8 0 {}"]);
}

#[tokio::test]
async fn a_batch_that_meets_a_lock_for_long_is_given_back_and_told_as_that() {
    let mut bench = Bench::new().await;
    let locked = || StoreError::Conflict("a row is locked by another session".to_owned());
    bench.faults([Fault::FailsLate(locked()), Fault::FailsLate(locked())]);
    let batch = bench.batch(&[ONE]);
    let why = held(bench.apply(&batch).await);
    assert_eq!(why, "a row is locked by another session");
    bench.faults([Fault::Fails(locked())]);
    held(bench.apply(&batch).await);
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    bench.faults([Fault::Fails(locked())]);
    let stats = bench.write(&[ONE]).await;
    assert_eq!(stats.retries, 1, "what passes soon is waited for");
    assert_eq!(bench.letters().await, [""; 0]);
}

#[tokio::test]
async fn a_batch_that_alone_gets_no_answer_is_given_back_and_an_outage_is_waited_out() {
    let mut bench = Bench::new().await;
    let silent = || Fault::FailsLate(StoreError::Unavailable("no answer".to_owned()));
    // The database does not even take a transaction that changes nothing. The last of an odd number
    // of answers that do not come is to that question.
    bench.faults((0..21).map(|_| silent()));
    bench.write(&[ONE]).await;
    bench.faults([silent(), silent()]);
    let batch = bench.batch(&[ONE]);
    let why = held(bench.apply(&batch).await);
    assert!(why.contains("takes other writes: no answer"), "{why}");
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    assert_eq!((bench.dump().await, bench.letters().await), (vec!["1 2".to_owned()], vec![]));
}
