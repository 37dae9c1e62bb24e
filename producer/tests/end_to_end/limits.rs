//! What happens when there is no room.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use prometheus::Registry;
use write_behind_producer::{Full, Refusal, WhenFull, WriteBehind, WriteError};
use write_behind_shared::metrics::render;

use crate::embedded::{DEADLINE, Kafka, Score, score, soon, until};

type Handle = WriteBehind<i64, Score>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_tiny_queue_every_row_ends_as_its_reads_say_and_in_the_order_of_its_writer() {
    let kafka = Kafka::start(2);
    let queue = [("queue.buffering.max.messages", "3"), ("linger.ms", "0")];
    let scores: Handle = kafka.builder(&queue).build().await.unwrap();
    let writers: Vec<_> = (0..6)
        .map(|writer: i64| {
            let scores = scores.clone();
            tokio::spawn(async move {
                for n in 0..40 {
                    scores.put(&(n % 3), &score(&format!("w{writer}"), n)).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        soon("a writer", writer).await.unwrap();
    }
    scores.replicated_all().await.unwrap();
    let mut last: HashMap<(String, String), i64> = HashMap::new();
    let log = kafka.log();
    assert_eq!(log.len(), 240);
    for logged in &log {
        let row: Score = serde_json::from_slice(logged.value.as_ref().unwrap()).unwrap();
        let before = last.insert((logged.key.clone(), row.name.clone()), row.score);
        assert!(before.is_none_or(|before| before < row.score), "{row:?} came after {before:?}");
    }
    let rows = kafka.fold();
    for id in 0..3_i64 {
        let seen = scores.get(&id).await.unwrap().map(|row| serde_json::json!(row));
        assert_eq!(seen, rows[&id.to_string()], "what is read of {id} is what the log ends with");
    }
}

#[tokio::test]
async fn writes_beyond_the_queue_of_the_client_wait_for_their_turn_and_their_callers_do_not() {
    let kafka = Kafka::start(1);
    let queue = [("queue.buffering.max.messages", "2"), ("linger.ms", "20")];
    let scores: Handle = kafka.builder(&queue).build().await.unwrap();
    for n in 0..20 {
        scores.try_put(&(n % 2), &score("a", n)).unwrap();
        assert_eq!(scores.get(&(n % 2)).await.unwrap(), Some(score("a", n)));
    }
    soon("all to be replicated", scores.replicated_all()).await.unwrap();
    let sequences: Vec<u64> = kafka.log().iter().map(|logged| logged.write_id.sequence).collect();
    assert_eq!(sequences, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn writes_in_flight_are_limited_and_who_will_not_wait_is_told() {
    let kafka = Kafka::start(1);
    let builder = kafka.builder(&[("linger.ms", "200")]).max_in_flight(2);
    let scores: Handle = builder.build().await.unwrap();
    scores.try_put(&1, &score("a", 1)).unwrap();
    scores.try_put(&2, &score("a", 2)).unwrap();
    let full = scores.try_put(&1, &score("b", 3)).unwrap_err();
    assert_eq!(full, WriteError::Overloaded(Full::InFlight));
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("a", 1)), "nothing changed");
    soon("room", scores.put(&1, &score("b", 3))).await.unwrap();
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("b", 3)));
}

#[tokio::test]
async fn the_memory_of_writes_in_flight_is_limited_apart_from_that_of_what_is_pending() {
    let kafka = Kafka::start(1);
    let builder = kafka.builder(&[("linger.ms", "200")]).max_in_flight_bytes(1_000);
    let scores: Handle = builder.build().await.unwrap();
    scores.try_put(&1, &score("a", 1)).unwrap();
    scores.try_put(&2, &score("a", 2)).unwrap();
    let full = scores.try_put(&3, &score("b", 3)).unwrap_err();
    assert_eq!(full, WriteError::Overloaded(Full::InFlightBytes));
    assert_eq!(scores.get(&3).await.unwrap(), None, "nothing changed");
    for id in 3..10 {
        soon("room", scores.put(&id, &score("b", id))).await.unwrap();
    }
    let larger = scores.put(&1, &score(&"x".repeat(1_000), 1)).await.unwrap_err();
    assert!(matches!(larger, WriteError::Refused(Refusal::TooLarge { limit: 1_000, .. })));
    soon("all to be replicated", scores.replicated_all()).await.unwrap();
    assert_eq!(kafka.log().len(), 9, "what is replicated takes no room of this limit");
}

#[tokio::test]
async fn reject_says_so_when_full_and_takes_writes_again_once_some_are_persisted() {
    let kafka = Kafka::start(1);
    let scores: Handle =
        kafka.builder(&[]).max_pending(2_000, WhenFull::Reject).build().await.unwrap();
    let mut accepted = 0;
    let full = loop {
        match scores.put(&accepted, &score("x", 0)).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full, WriteError::Overloaded(Full::PendingBytes));
    assert!((3..8).contains(&accepted), "{accepted} writes of some 400 bytes went into 2000");
    assert_eq!(scores.get(&accepted).await.unwrap(), None, "the rejected write left nothing");
    for id in 0..accepted {
        assert!(scores.get(&id).await.unwrap().is_some(), "nothing pending is evicted");
    }
    scores.replicated_all().await.unwrap();
    assert!(scores.try_put(&accepted, &score("x", 0)).is_err(), "replicated is not persisted");
    kafka.commit_all();
    soon("all to be persisted", scores.persisted_all()).await.unwrap();
    scores.try_put(&accepted, &score("x", 0)).unwrap();
}

#[tokio::test]
async fn wait_waits_in_line_and_a_waiter_that_goes_away_leaves_no_trace() {
    let kafka = Kafka::start(1);
    let scores: Handle =
        kafka.builder(&[]).max_pending(1_000, WhenFull::Wait).build().await.unwrap();
    scores.put(&1, &score("x", 1)).await.unwrap();
    scores.put(&2, &score("x", 2)).await.unwrap();
    let row = score("ghost", 3);
    let ghost = scores.put(&3, &row);
    assert!(tokio::time::timeout(Duration::from_millis(50), ghost).await.is_err());
    let waiting = {
        let scores = scores.clone();
        tokio::spawn(async move { scores.put(&4, &score("x", 4)).await })
    };
    scores.replicated_all().await.unwrap();
    assert_eq!(scores.get(&3).await.unwrap(), None);
    kafka.commit_all();
    let write = soon("room", waiting).await.unwrap().unwrap();
    soon("the write", write.replicated()).await.unwrap();
    let keys: Vec<String> = kafka.log().into_iter().map(|logged| logged.key).collect();
    assert_eq!(keys, ["1", "2", "4"], "the one that went away was never sent");
}

#[tokio::test]
async fn rows_are_limited_but_a_row_that_is_pending_may_be_written_again() {
    let kafka = Kafka::start(1);
    let builder = kafka.builder(&[]).max_pending_rows(2);
    let scores: Handle = builder.max_pending(1 << 20, WhenFull::Reject).build().await.unwrap();
    scores.put(&1, &score("x", 1)).await.unwrap();
    scores.put(&2, &score("x", 2)).await.unwrap();
    let full = scores.put(&3, &score("x", 3)).await.unwrap_err();
    assert_eq!(full, WriteError::Overloaded(Full::PendingRows));
    scores.put(&2, &score("y", 2)).await.unwrap();
    scores.replicated_all().await.unwrap();
    kafka.commit_all();
    soon("all to be persisted", scores.persisted_all()).await.unwrap();
    scores.put(&3, &score("x", 3)).await.unwrap();
    scores.put(&4, &score("x", 4)).await.unwrap();
    assert!(scores.put(&5, &score("x", 5)).await.is_err());
}

/// A write that waits must not hold what its first attempt took: it needs the same once more.
#[tokio::test]
async fn a_write_that_waits_for_one_limit_holds_nothing_of_another() {
    let kafka = Kafka::start(1);
    let builder = kafka.builder(&[]).max_pending_rows(1).max_in_flight(1);
    let scores: Handle = builder.build().await.unwrap();
    scores.put(&1, &score("x", 1)).await.unwrap();
    scores.replicated_all().await.unwrap();
    let row = score("x", 2);
    let mut second = pin!(scores.put(&2, &row));
    assert!(tokio::time::timeout(Duration::ZERO, &mut second).await.is_err(), "no room yet");
    kafka.commit_all();
    soon("room for the second row", second).await.unwrap();
}

#[tokio::test]
async fn a_row_that_is_too_large_is_refused_and_reads_see_what_they_saw() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    scores.put(&1, &score("small", 1)).await.unwrap();
    let refused = scores.put(&1, &score(&"x".repeat(1_100_000), 2)).await.unwrap_err();
    assert!(matches!(refused, WriteError::Refused(Refusal::TooLarge { limit: 1_000_000, .. })));
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("small", 1)));
    scores.replicated_all().await.unwrap();
    assert_eq!(kafka.log().len(), 1);
}

#[tokio::test]
async fn the_metrics_tell_what_is_pending_and_for_how_long() {
    let kafka = Kafka::start(1);
    let registry = Registry::new();
    let scores: Handle = kafka.builder(&[]).metrics(&registry).build().await.unwrap();
    for id in 0..10 {
        scores.put(&id, &score("x", id)).await.unwrap();
    }
    scores.get(&3).await.unwrap();
    scores.replicated_all().await.unwrap();
    let metric = |name: &str| {
        let text = render(&registry).unwrap();
        let name = format!("write_behind_producer_{name}{{topic=\"scores\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.unwrap_or_else(|| panic!("{name} is there")).parse::<f64>().unwrap()
    };
    let is = |name: &str, expected: f64| (metric(name) - expected).abs() < f64::EPSILON;
    until("the writes are counted", || is("writes_total", 10.0) && is("in_flight", 0.0)).await;
    assert!(is("pending_rows", 10.0) && is("hits_pending_total", 1.0) && is("reads_total", 1.0));
    assert!(metric("pending_bytes") > 3_000.0);
    until("the oldest write is a while old", || metric("persisted_lag_seconds") > 0.2).await;
    kafka.commit_all();
    soon("all to be persisted", scores.persisted_all()).await.unwrap();
    until("nothing is pending", || {
        is("pending_rows", 0.0) && is("pending_bytes", 0.0) && is("persisted_lag_seconds", 0.0)
    })
    .await;
    scores.close(DEADLINE).await.unwrap();
}
