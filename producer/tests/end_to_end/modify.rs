//! Read-modify-write, and rows looked at in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use write_behind_producer::{
    Known, LoadError, ModifyError, ReadError, WhenFull, WriteBehind, WriteError,
};

use crate::embedded::{Kafka, Score, score, soon};

type Handle = WriteBehind<i64, Score>;

async fn stored(id: i64) -> Result<Option<Score>, LoadError> {
    // The answer is under way.
    tokio::task::yield_now().await;
    Ok((id == 1).then(|| score("stored", 100)))
}

fn plus(row: Option<Score>, n: i64) -> Score {
    let Score { name, score } = row.unwrap_or_default();
    Score { name, score: score + n }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn updates_of_many_tasks_over_a_row_that_is_loaded_are_all_counted() {
    let kafka = Kafka::start(1);
    // No row stays cached, so that most updates have to load it.
    let scores: Handle = kafka.builder(&[]).loader(stored).capacity(0).build().await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let scores = scores.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    scores.modify(&1, |row| Some(plus(row, 1))).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        soon("a writer", writer).await.unwrap();
    }
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("stored", 500)));
    scores.replicated_all().await.unwrap();
    assert_eq!(kafka.fold()["1"], Some(serde_json::json!(score("stored", 500))));
}

#[tokio::test]
async fn a_closure_that_panics_has_written_nothing_and_the_handle_goes_on() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).loader(stored).build().await.unwrap();
    for row in [1, 2] {
        let of_it = scores.clone();
        let panicked = tokio::spawn(async move {
            of_it.modify(&row, |_| panic!("the closure panics, as the test wants")).await.map(drop)
        });
        assert!(soon("the task", panicked).await.unwrap_err().is_panic());
    }
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("stored", 100)));
    let modified = soon("a modify", scores.modify(&1, |row| Some(plus(row, 1)))).await.unwrap();
    modified.receipt.unwrap().replicated().await.unwrap();
    assert_eq!(kafka.fold().into_keys().collect::<Vec<_>>(), ["1"]);
}

#[tokio::test]
async fn a_write_that_comes_in_between_is_seen_by_the_closure_when_it_runs_again() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    scores.put(&1, &score("a", 1)).await.unwrap();
    let mut seen = Vec::new();
    let modified = scores.modify(&1, |row| {
        if seen.is_empty() {
            scores.try_put(&1, &score("b", 10)).unwrap();
        }
        seen.extend(row.clone());
        Some(plus(row, 1))
    });
    let modified = modified.await.unwrap();
    assert_eq!(modified.row, Some(score("b", 11)));
    assert_eq!(seen, [score("a", 1), score("b", 10)]);
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("b", 11)));
}

#[tokio::test]
async fn what_the_closure_returns_as_it_was_is_not_written_and_none_deletes() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).loader(stored).build().await.unwrap();
    let same = scores.modify(&1, |row| row).await.unwrap();
    assert_eq!((same.row, same.receipt.is_none()), (Some(score("stored", 100)), true));
    let none = scores.modify(&2, |row| row).await.unwrap();
    assert_eq!((none.row, none.receipt.is_none()), (None, true));
    let deleted = scores.modify(&1, |_| None).await.unwrap();
    deleted.receipt.unwrap().replicated().await.unwrap();
    assert_eq!(scores.get(&1).await.unwrap(), None);
    let log = kafka.log();
    assert_eq!(log.len(), 1, "the delete is all that was written");
    assert_eq!(log[0].value, None);
}

#[tokio::test]
async fn a_row_is_put_only_if_there_is_none_and_made_only_if_it_is_missing() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).loader(stored).build().await.unwrap();
    assert!(scores.put_if_absent(&1, &score("new", 1)).await.unwrap().is_none());
    assert!(scores.put_if_absent(&2, &score("new", 2)).await.unwrap().is_some());
    assert!(scores.put_if_absent(&2, &score("newer", 3)).await.unwrap().is_none());
    let (row, receipt) = scores.get_or_put_with(&2, || score("made", 4)).await.unwrap();
    assert_eq!((row, receipt.is_none()), (score("new", 2), true));
    let (row, receipt) = scores.get_or_put_with(&3, || score("made", 4)).await.unwrap();
    assert_eq!((row, receipt.is_some()), (score("made", 4), true));
    let rows = scores.get_many(&[1, 2, 3]).await.unwrap();
    assert_eq!(rows, [score("stored", 100), score("new", 2), score("made", 4)].map(Some));
}

#[tokio::test]
async fn a_row_that_cannot_be_known_is_not_modified() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    let error = scores.modify(&1, |row| Some(plus(row, 1))).await.unwrap_err();
    assert!(matches!(error, ModifyError::Read(ReadError::NoLoader)), "{error:?}");
    let failing = |_: i64| async { Err::<Option<Score>, _>("no such shard") };
    let elsewhere = Kafka::start(1);
    let scores: Handle = elsewhere.builder(&[]).loader(failing).build().await.unwrap();
    let error = scores.put_if_absent(&1, &score("new", 1)).await.unwrap_err();
    assert!(matches!(error, ModifyError::Read(ReadError::Load(_))), "{error:?}");
    assert_eq!(scores.peek(&1).unwrap(), None, "nothing was written");
}

#[tokio::test]
async fn an_increment_that_the_loader_does_not_place_is_waited_for_and_counted_once() {
    let kafka = Kafka::start(1);
    let applied = Arc::new(AtomicUsize::new(0));
    let in_database = Arc::clone(&applied);
    let loader = move |_: i64| {
        let n = in_database.load(Ordering::SeqCst) as i64;
        async move { Ok::<_, LoadError>(Some(score("stored", 100 + n))) }
    };
    let scores: Handle = kafka.builder(&[]).loader(loader).build().await.unwrap();
    let added = scores.add(&1, "score", 1).await.unwrap();
    added.replicated().await.unwrap();
    let modify = {
        let scores = scores.clone();
        tokio::spawn(async move { scores.modify(&1, |row| Some(plus(row, 10))).await })
    };
    tokio::task::yield_now().await;
    applied.store(1, Ordering::SeqCst);
    kafka.commit_all();
    let modified = soon("the row", modify).await.unwrap().unwrap();
    assert_eq!(modified.row, Some(score("stored", 111)));
}

#[tokio::test]
async fn a_modify_waits_for_room_and_holds_none_meanwhile() {
    let kafka = Kafka::start(1);
    let builder = kafka.builder(&[("linger.ms", "100")]).max_in_flight(1);
    let scores: Handle = builder.loader(stored).build().await.unwrap();
    scores.put(&2, &score("x", 1)).await.unwrap();
    for n in 1..=3 {
        let modified = soon("room", scores.modify(&1, |row| Some(plus(row, 1)))).await.unwrap();
        assert_eq!(modified.row, Some(score("stored", 100 + n)));
    }
    let elsewhere = Kafka::start(1);
    let builder = elsewhere.builder(&[("linger.ms", "100")]).max_pending(1_000, WhenFull::Reject);
    let scores: Handle = builder.loader(stored).build().await.unwrap();
    scores.put(&2, &score("x", 1)).await.unwrap();
    scores.put(&3, &score("x", 1)).await.unwrap();
    let error = scores.modify(&1, |row| Some(plus(row, 1))).await.unwrap_err();
    assert!(matches!(error, ModifyError::Write(WriteError::Overloaded(_))), "{error:?}");
}

#[tokio::test]
async fn what_is_in_memory_is_looked_at_without_a_load() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).loader(stored).build().await.unwrap();
    assert_eq!(scores.peek(&1).unwrap(), None, "not loaded yet");
    assert!(scores.contains(&1).await.unwrap());
    assert!(!scores.contains(&2).await.unwrap());
    let known = |row| Some(Known { row, may_be_behind: false });
    assert_eq!(scores.peek(&1).unwrap(), known(Some(score("stored", 100))));
    scores.delete(&1).await.unwrap();
    assert_eq!(scores.peek(&1).unwrap(), known(None), "there is none");
    scores.add(&3, "score", 1).await.unwrap();
    assert_eq!(scores.peek(&3).unwrap(), None, "what lies beneath the increment is not known");
}

#[tokio::test]
async fn a_key_may_be_borrowed_in_every_call() {
    let kafka = Kafka::start(1);
    let loader = |_: String| async { Ok::<_, LoadError>(Some(score("stored", 100))) };
    let builder = WriteBehind::<String, Score>::builder("scores", kafka.properties());
    let scores = builder.sink_group("sink").loader(loader).build().await.unwrap();
    scores.put("ada", &score("ada", 1)).await.unwrap();
    scores.add("ada", "score", 1).await.unwrap();
    scores.update(&"ada".to_owned(), &serde_json::json!({"name": "Ada"})).await.unwrap();
    assert_eq!(scores.get("ada").await.unwrap(), Some(score("Ada", 2)));
    let rows = scores.get_many(["ada", "bob"]).await.unwrap();
    assert_eq!(rows, [score("Ada", 2), score("stored", 100)].map(Some));
    scores.modify("bob", |row| Some(plus(row, 1))).await.unwrap();
    assert_eq!(scores.refresh("bob").await.unwrap(), Some(score("stored", 101)));
    scores.delete("ada").await.unwrap();
    assert_eq!(scores.read("ada").await.unwrap().row, None);
}
