//! The worker: what it isolates, what it waits out, what it tells. Its database is an SQLite file,
//! its log a list, and its connection one that can be told to fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod altered;
mod bench;
#[path = "../contract/records.rs"]
mod records;
mod doubts;
mod parts;
mod stops;
mod unique_keys;

use std::sync::Arc;

use bench::{Bench, Fault, raw};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use write_behind_consumer::apply::Applied;
use write_behind_consumer::core::batch::Stop;
use write_behind_consumer::store::StoreError;
use write_behind_shared::{Change, NextOffset, Offset, Partition};

const ONE: (&str, &str, &str) = ("1", r#"{"n":1}"#, "n");

#[tokio::test]
async fn a_good_batch_is_written_without_reading_the_log_again() {
    let mut bench = Bench::new().await;
    let stats = bench.write(&[ONE, ONE, ("2", r#"{"short":"x"}"#, "")]).await;
    assert_eq!((stats.rows, stats.row_by_row, stats.dead_letters, stats.retries), (2, 0, 0, 0));
    assert_eq!(bench.dump().await, ["1 2", "2 0 x"]);
    assert_eq!(*bench.log.reads.lock().unwrap(), 0);
}

#[tokio::test]
async fn only_the_bad_records_of_a_row_are_set_aside() {
    let refused = ("1", r#"{"short":"long"}"#, "");
    let unfit = ("1", r#"{"n":"x"}"#, "");
    let unknown = ("1", r#"{"nmae":"x"}"#, "");
    for bad in [refused, unfit, unknown] {
        for place in 0..4 {
            let mut bench = Bench::new().await;
            let mut records = vec![ONE, ("2", r#"{"n":5}"#, ""), ONE];
            records.insert(place, bad);
            let stats = bench.write(&records).await;
            assert_eq!(bench.dump().await, ["1 2", "2 5"], "{bad:?} at {place}");
            let letters = bench.letters().await;
            assert_eq!(letters.len(), 1, "{letters:?}");
            assert!(letters[0].starts_with(&format!("{place} ")), "{letters:?}");
            assert_eq!((stats.rows, stats.row_by_row, stats.dead_letters), (1, 2, 1));
        }
    }
}

#[tokio::test]
async fn a_batch_of_bad_records_only_is_set_aside_whole() {
    let mut bench = Bench::new().await;
    let keys = ["1", "2", "07", "9"];
    let records = keys.map(|key| (key, r#"{"short":"long"}"#, ""));
    let stats = bench.write(&records).await;
    assert_eq!((stats.rows, stats.row_by_row, stats.dead_letters), (0, 0, 4));
    let letters = bench.letters().await;
    assert!(letters[2].contains("not the canonical text"), "{letters:?}");
    assert_eq!(bench.dump().await, [""; 0]);
}

#[tokio::test]
async fn what_was_dropped_while_folding_stays_dropped() {
    let mut bench = Bench::new().await;
    let mut batch = bench.batch(&[ONE, ("1", "not json", ""), ("1", r#"{"short":"long"}"#, "")]);
    let again = raw(3, "1", r#"{"n":1}"#, "n");
    bench.log.all.lock().unwrap().push(again);
    batch.spans[0].end = NextOffset(4);
    batch.duplicates.push((Partition(0), Offset(3)));
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    assert_eq!(bench.dump().await, ["1 1"], "a duplicate counts once");
    let letters = bench.letters().await;
    assert_eq!(letters.len(), 2, "each bad record is set aside once: {letters:?}");
    assert!(letters[0].starts_with("1 the value is not a JSON object"), "{letters:?}");
}

#[tokio::test]
async fn records_that_are_set_aside_are_told_with_the_place_of_the_first_and_without_values() {
    let mut bench = Bench::new().await;
    bench.write(&[ONE]).await;
    let told = Arc::clone(&bench.set_aside);
    assert_eq!(*told.lock().unwrap(), [], "a good record is not told of");
    bench
        .write(&[("7", r#"{"short":"sesame"}"#, ""), ("8", "sesame", ""), ("9", r#"{"m":1}"#, "")])
        .await;
    bench.faults([Fault::CommitsUnheard]);
    bench.write(&[("8", r#"{"n":"sesame"}"#, "")]).await;
    let told = told.lock().unwrap();
    let [(3, first), (1, unheard)] = &told[..] else { panic!("{told:?}") };
    assert!(first.starts_with("0:1: the database refuses it (code "), "{first}");
    assert!(unheard.starts_with("0:4: column \"n\": the value is not an integer"), "{unheard}");
    assert!(!format!("{told:?}").contains("sesame"), "{told:?}");
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_counts_once() {
    let mut bench = Bench::new().await;
    bench.faults([Fault::CommitsUnheard]);
    let stats = bench.write(&[ONE]).await;
    assert_eq!(stats.retries, 1);
    bench.write(&[ONE]).await;
    assert_eq!(bench.dump().await, ["1 2"]);
}

#[tokio::test]
async fn a_batch_that_another_has_moved_past_is_fenced() {
    let mut bench = Bench::new().await;
    let batch = bench.batch(&[ONE]);
    bench.file.sql("UPDATE write_behind_offsets SET next_offset = 7").await;
    let applied = bench.apply(&batch).await;
    let found = [Some(NextOffset(7))];
    assert!(matches!(&applied, Applied::Fenced(f) if *f == found), "{applied:?}");
    assert_eq!(bench.dump().await, [""; 0]);
}

#[tokio::test]
async fn an_outage_is_waited_out_on_new_connections_and_sets_nothing_aside() {
    let mut bench = Bench::new().await;
    let down = || Fault::Fails(StoreError::Unavailable("down".to_owned()));
    bench.faults((0..50).map(|_| down()));
    let stats = bench.write(&[ONE]).await;
    assert_eq!(stats.retries, 50);
    assert_eq!(*bench.script.connections.lock().unwrap(), 51);
    assert_eq!((bench.dump().await, bench.letters().await), (vec!["1 1".to_owned()], vec![]));
}

#[tokio::test]
async fn a_saturated_database_gets_smaller_statements() {
    let mut bench = Bench::new().await;
    let saturated = || Fault::Fails(StoreError::Saturated("slow".to_owned()));
    bench.faults([saturated(), saturated()]);
    let batch = bench.batch(&[ONE]);
    let Applied::Written(_, stats) = bench.apply(&batch).await else { panic!("it is written") };
    assert_eq!((stats.retries, stats.saturated), (2, 2), "the next batches are smaller too");
    let manners = bench.script.manners.lock().unwrap().clone();
    let sizes: Vec<_> = manners.iter().map(|options| options.rows_per_statement).collect();
    assert_eq!(sizes, [10_000, 5_000, 2_500]);
}

#[tokio::test]
async fn what_a_person_must_mend_is_given_back_at_once_and_written_when_it_is_mended() {
    let mut bench = Bench::new().await;
    bench.write(&[ONE]).await;
    bench.file.sql("ALTER TABLE t RENAME TO elsewhere").await;
    let batch = bench.batch(&[ONE]);
    for _ in 0..2 {
        let applied = bench.apply(&batch).await;
        let Applied::Stopped(Stop { why, .. }) = applied else { panic!("{applied:?}") };
        assert!(why.contains("no such table") || why.contains("there is no table"), "{why}");
    }
    bench.file.sql("ALTER TABLE elsewhere RENAME TO t").await;
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    assert_eq!(bench.dump().await, ["1 2"]);
}

#[tokio::test]
async fn a_row_whose_reference_is_missing_is_given_back_until_it_is_to_be_refused() {
    let mut bench = Bench::new().await;
    bench
        .file
        .sql(
            "CREATE TABLE parent (id integer PRIMARY KEY); DROP TABLE t; \
             CREATE TABLE t (id integer PRIMARY KEY, n bigint REFERENCES parent)",
        )
        .await;
    let child = |n| ("1", n, "");
    let mut batch = bench.batch(&[child(r#"{"n":7}"#), ("2", r#"{"n":null}"#, "")]);
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::MissingReference(_)), "{applied:?}");
    bench.file.sql("INSERT INTO parent VALUES (7)").await;
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    batch = bench.batch(&[child(r#"{"n":8}"#), ("3", r#"{"n":7}"#, "")]);
    batch.refuse_missing_references = true;
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(..)), "{applied:?}");
    let rows = bench.file.list("SELECT concat_ws(' ', id, n) FROM t ORDER BY id").await;
    assert_eq!(rows, ["1 7", "2", "3 7"]);
    assert_eq!(bench.letters().await.len(), 1);
}

#[tokio::test]
async fn a_flood_of_bad_records_is_not_set_aside() {
    for bad in [("1", r#"{"short":"long"}"#, ""), ("1", r#"{"m":1}"#, ""), ("1", "{", "")] {
        let mut bench = Bench::new().await;
        bench.write(&[ONE, bad]).await;
        assert_eq!(bench.letters().await.len(), 1, "a single one is");
        let batch = bench.batch(&vec![bad; 300]);
        let applied = bench.apply(&batch).await;
        let Applied::Stopped(Stop { why, .. }) = applied else { panic!("{applied:?}") };
        assert!(why.starts_with("partition 0, offset 2: "), "{why}");
        assert!(why.contains("so many records are bad"), "{why}");
        assert_eq!(bench.letters().await.len(), 1, "none of a flood is");
    }
}

#[tokio::test]
async fn a_shutdown_ends_the_waiting() {
    let mut bench = Bench::new().await;
    bench.faults((0..10_000).map(|_| Fault::Fails(StoreError::Unavailable("down".to_owned()))));
    let batch = bench.batch(&[ONE]);
    bench.shutdown.send_replace(true);
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Interrupted), "{applied:?}");
    assert_eq!(bench.script.manners.lock().unwrap().len(), 1, "the first attempt is made");
}

#[tokio::test]
async fn a_row_whose_fold_is_not_known_is_taken_record_by_record() {
    let mut bench = Bench::new().await;
    let mut batch = bench.batch(&[ONE, ("1", r#"{"short":"long"}"#, ""), ONE, ("2", "{}", "")]);
    for row in &mut batch.rows {
        row.row_by_row = *row.key == *b"1";
        row.change = Change::default();
    }
    let applied = bench.apply(&batch).await;
    assert!(matches!(applied, Applied::Written(_, stats) if stats.row_by_row == 2), "{applied:?}");
    assert_eq!(bench.dump().await, ["1 2"]);
    assert_eq!(bench.letters().await.len(), 1);
}

/// Records of few keys, some of them bad in each way there is.
fn a_log() -> impl Strategy<Value = Vec<(String, String, String)>> {
    let value = prop_oneof![
        6 => (-5_i64..5).prop_map(|n| (format!(r#"{{"n":{n}}}"#), "n".to_owned())),
        3 => (-5_i64..5).prop_map(|n| (format!(r#"{{"n":{n}}}"#), String::new())),
        2 => Just((r#"{"short":"ok"}"#.to_owned(), String::new())),
        2 => Just((r#"{"short":"long"}"#.to_owned(), String::new())),
        1 => Just((r#"{"n":true}"#.to_owned(), String::new())),
        1 => Just((r#"{"m":1}"#.to_owned(), String::new())),
        1 => Just(("{".to_owned(), String::new())),
        1 => Just((r#"{"n":"9223372036854775807"}"#.to_owned(), String::new())),
    ];
    let key = prop::sample::select(vec!["1", "2", "3", "01"]).prop_map(str::to_owned);
    let record = (key, value).prop_map(|(key, (value, add))| (key, value, add));
    prop::collection::vec(record, 1..25)
}

/// What a record is once its row is replaced by a later one may go unnoticed, and a sum is judged
/// at the end of its batch. So the law is about records that nothing hides: the table is that of the
/// records one by one, without those that were set aside.
#[tokio::test]
async fn a_batch_is_the_fold_of_its_records_without_those_set_aside() {
    let mut runner = TestRunner::default();
    for _ in 0..40 {
        let log = a_log().new_tree(&mut runner).unwrap().current();
        let records: Vec<_> = log.iter().map(|(k, v, a)| (&**k, &**v, &**a)).collect();
        let mut bench = Bench::new().await;
        let stats = bench.write(&records).await;
        let letters = bench
            .file
            .list("SELECT CAST(record_offset AS text) FROM write_behind_dead_letters")
            .await;
        assert_eq!(stats.dead_letters, letters.len());

        let mut alone = Bench::new().await;
        for (offset, record) in records.iter().enumerate() {
            if letters.contains(&offset.to_string()) {
                continue;
            }
            alone.write(&[*record]).await;
        }
        let unnoticed = alone.letters().await;
        if unnoticed.is_empty() {
            assert_eq!(bench.dump().await, alone.dump().await, "{log:?} with {letters:?} aside");
        }
        for (offset, (key, value, _)) in log.iter().enumerate() {
            let never_good = key == "01" || ["{", r#"{"m":1}"#].contains(&&**value);
            let aside = letters.contains(&offset.to_string());
            assert!(!never_good || aside, "{key} {value} of {log:?} was not set aside");
        }
    }
}
