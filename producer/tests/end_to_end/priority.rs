//! Urgent writes: neither a window nor `linger.ms` holds them up, and the order stays.

use std::time::Duration;

use write_behind_producer::{Priority, WriteBehind};

use crate::embedded::{DEADLINE, Kafka, Logged, Score, score, soon};

type Handle = WriteBehind<i64, Score>;

/// What each record is of, and whether it says that it is urgent.
fn said(log: &[Logged]) -> Vec<(&str, bool)> {
    let is_high = |logged: &Logged| logged.headers == [("priority".to_owned(), b"high".to_vec())];
    log.iter().map(|logged| (&*logged.key, is_high(logged))).collect()
}

#[tokio::test]
async fn an_urgent_write_does_not_wait_for_linger_and_takes_along_what_is_ahead_of_it() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[("linger.ms", "600000")]).build().await.unwrap();
    for key in 1..=3 {
        scores.put(&key, &score("later", key)).await.unwrap();
    }
    assert_eq!(kafka.log().len(), 0, "they linger");
    let urgent = scores.with_priority(Priority::High).put(&4, &score("now", 4)).await.unwrap();
    soon("the urgent write", urgent.replicated()).await.unwrap();
    assert_eq!(said(&kafka.log()), [("1", false), ("2", false), ("3", false), ("4", true)]);
}

#[tokio::test]
async fn an_urgent_write_with_nothing_ahead_of_it_does_not_linger_either() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[("linger.ms", "600000")]).build().await.unwrap();
    let urgent = scores.with_priority(Priority::High).put(&1, &score("now", 1)).await.unwrap();
    soon("the urgent write", urgent.replicated()).await.unwrap();
}

#[tokio::test]
async fn an_urgent_write_ends_the_window_of_what_is_ahead_of_it_and_not_of_what_follows() {
    let kafka = Kafka::start(1);
    let scores: Handle =
        kafka.builder(&[]).coalesce(Duration::from_hours(1)).build().await.unwrap();
    let urgent = scores.with_priority(Priority::High);
    scores.put(&1, &score("a", 1)).await.unwrap();
    scores.put(&2, &score("b", 2)).await.unwrap();
    let write = urgent.put(&3, &score("c", 3)).await.unwrap();
    soon("the urgent write", write.replicated()).await.unwrap();
    scores.put(&4, &score("d", 4)).await.unwrap();
    assert_eq!(said(&kafka.log()), [("1", false), ("2", false), ("3", true)]);
    scores.close(DEADLINE).await.unwrap();
    assert_eq!(said(&kafka.log())[3..], [("4", false)]);
}

#[tokio::test]
async fn an_urgent_write_that_goes_with_an_earlier_one_of_its_row_makes_that_urgent() {
    let kafka = Kafka::start(1);
    let scores: Handle =
        kafka.builder(&[]).coalesce(Duration::from_hours(1)).build().await.unwrap();
    let first = scores.put(&1, &score("a", 1)).await.unwrap();
    scores.put(&2, &score("b", 2)).await.unwrap();
    scores.with_priority(Priority::High).add(&1, "score", 5).await.unwrap();
    soon("both writes", first.replicated()).await.unwrap();
    assert_eq!(said(&kafka.log()), [("1", true)]);
    assert_eq!(kafka.fold()["1"], Some(serde_json::json!(score("a", 6))));
}

#[tokio::test]
async fn every_call_that_writes_has_the_priority_of_its_clone() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    let urgent = scores.with_priority(Priority::High);
    urgent.put(&1, &score("a", 1)).await.unwrap();
    urgent.try_put(&1, &score("a", 1)).unwrap();
    urgent.update(&1, &serde_json::json!({"name": "b"})).await.unwrap();
    urgent.try_update(&1, &serde_json::json!({"name": "b"})).unwrap();
    urgent.add(&1, "score", 1).await.unwrap();
    urgent.try_add(&1, "score", 1).unwrap();
    urgent.modify(&1, |row| row.map(|row| score("c", row.score))).await.unwrap();
    urgent.put_many([(&1, &score("d", 2))]).await.unwrap();
    urgent.add_many("score", [(&1, 1)]).await.unwrap();
    urgent.delete(&1).await.unwrap();
    urgent.try_delete(&1).unwrap();
    urgent.put_if_absent(&1, &score("e", 1)).await.unwrap();
    let all_urgent = 12;
    scores.put(&1, &score("f", 1)).await.unwrap();
    soon("all writes", scores.replicated_all()).await.unwrap();
    let log = kafka.log();
    let is_high: Vec<bool> = said(&log).into_iter().map(|(_, is_high)| is_high).collect();
    assert_eq!(is_high, [vec![true; all_urgent], vec![false]].concat());
}
