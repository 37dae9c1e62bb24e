//! Many writes at once.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use write_behind_producer::{Full, Receipt, Refusal, WhenFull, WriteBehind, WriteError};

use crate::embedded::{Kafka, Score, score, soon};

type Handle = WriteBehind<i64, Score>;

#[tokio::test]
async fn many_rows_are_visible_at_once_and_in_the_log_in_the_order_of_each_row() {
    let kafka = Kafka::start(4);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    let rows: Vec<(i64, Score)> = (0..500).map(|n| (n % 200, score("a", n))).collect();
    let receipts = scores.put_many(rows.iter().map(|(id, row)| (id, row))).await.unwrap();
    assert_eq!(receipts.len(), 500);
    assert_eq!(scores.get(&7).await.unwrap(), Some(score("a", 407)), "the last of its row");
    let sums = BTreeMap::from([(7, 1), (8, 2)]);
    let added = scores.add_many("score", sums.iter().map(|(id, n)| (id, *n))).await.unwrap();
    let fields = HashMap::from([(7, serde_json::json!({"name": "b"}))]);
    scores.update_many(&fields).await.unwrap();
    scores.delete_many(&[9, 10]).await.unwrap();
    soon("all", Receipt::all_replicated(&receipts)).await.unwrap();
    soon("all", Receipt::all_replicated(&added)).await.unwrap();
    soon("all", scores.replicated_all_within(Duration::from_mins(1))).await.unwrap();
    let mut last = HashMap::new();
    for logged in kafka.log() {
        let row = logged.value.and_then(|row| serde_json::from_slice::<Score>(&row).ok());
        let Some(Score { score, .. }) = row else { continue };
        assert!(last.insert(logged.key, score).is_none_or(|before| before < score));
    }
    let rows = kafka.fold();
    assert_eq!(rows["7"], Some(serde_json::json!(score("b", 408))));
    assert_eq!((&rows["9"], &rows["8"]), (&None, &Some(serde_json::json!(score("a", 410)))));
}

#[tokio::test]
async fn a_batch_with_a_bad_row_or_without_room_writes_nothing() {
    let kafka = Kafka::start(2);
    let builder = kafka.builder::<i64, Score>(&[("linger.ms", "100")]);
    let scores = builder.max_pending(2_300, WhenFull::Reject).build().await.unwrap();
    let rows = [(1, score("x", 1)), (2, score("a\0b", 2))];
    let many = scores.put_many(rows.iter().map(|(id, row)| (id, row))).await.unwrap_err();
    assert_eq!((many.error, many.accepted.len()), (WriteError::Refused(Refusal::Nul), 0));
    scores.put(&0, &score("x", 0)).await.unwrap();
    let rows: Vec<(i64, Score)> = (1..=5).map(|n| (n, score("x", n))).collect();
    let many = scores.put_many(rows.iter().map(|(id, row)| (id, row))).await.unwrap_err();
    assert_eq!(many.error, WriteError::Overloaded(Full::PendingBytes));
    let rows: Vec<(i64, Score)> = (1..=7).map(|n| (n, score("x", n))).collect();
    let many = scores.put_many(rows.iter().map(|(id, row)| (id, row))).await.unwrap_err();
    let says = many.to_string();
    assert!(says.contains("of `max_pending`, which is 2300: write it in parts"), "{says}");
    assert_eq!(scores.peek(&1).unwrap(), None, "none of them was written");
    soon("the one", scores.replicated_all()).await.unwrap();
    assert_eq!(kafka.log().len(), 1);
}

#[tokio::test]
async fn a_batch_waits_for_room_for_all_of_it_and_no_longer_than_a_write_may() {
    let kafka = Kafka::start(2);
    let builder = kafka.builder::<i64, Score>(&[("linger.ms", "20")]).max_in_flight(3);
    let scores = builder.write_timeout(Duration::from_mins(1)).build().await.unwrap();
    let rows: Vec<(i64, Score)> = (1..=3).map(|n| (n, score("x", n))).collect();
    for _ in 0..4 {
        let batch = scores.put_many(rows.iter().map(|(id, row)| (id, row)));
        assert_eq!(soon("room for three", batch).await.unwrap().len(), 3);
    }
    soon("all", scores.replicated_all()).await.unwrap();
    assert_eq!(kafka.log().len(), 12);
    let elsewhere = Kafka::start(1);
    let builder = elsewhere.builder::<i64, Score>(&[]).max_pending_rows(1);
    let scores = builder.write_timeout(Duration::from_millis(50)).build().await.unwrap();
    scores.put(&1, &score("x", 1)).await.unwrap();
    let late = soon("an answer", scores.put(&2, &score("x", 2))).await.unwrap_err();
    assert_eq!(late, WriteError::NoRoomInTime);
    let late = soon("an answer", scores.delete_many(&[2])).await.unwrap_err();
    assert_eq!((late.error, late.accepted.len()), (WriteError::NoRoomInTime, 0));
    assert_eq!(scores.peek(&2).unwrap(), None);
}

#[tokio::test]
async fn many_writes_can_be_made_by_a_closure_that_borrows_in_a_task_of_its_own() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    // What matters is that it compiles: the future that is spawned is `Send`.
    let task = tokio::spawn(async move {
        let ids = [1, 2];
        scores.add_many("score", ids.iter().map(|id| (id, 5))).await.unwrap();
        let changes = |id| (id, write_behind_producer::Change::new().add("score", 1));
        scores.change_many(ids.iter().map(changes)).await.unwrap();
        let rows = [(3, score("a", 3))];
        scores.put_many(rows.iter().map(|(id, row)| (id, row))).await.unwrap();
        scores.delete_many(rows.iter().map(|(id, _)| id)).await.unwrap();
        scores.replicated_all().await.unwrap();
    });
    soon("the task", task).await.unwrap();
    assert_eq!(kafka.log().len(), 6);
}
