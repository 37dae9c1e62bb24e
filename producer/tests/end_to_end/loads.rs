//! Loads: one per row at a time, many rows in one go, and what is left when one goes wrong.

use std::time::Duration;

use tokio::runtime::Builder as Runtime;
use write_behind_producer::{
    BuildError, LoadError, Loaded, Loader, ReadError, Source, WriteBehind,
};

use crate::by_hand::ByHand;
use crate::embedded::{GROUP, Kafka, Score, TOPIC, score, soon};

type Handle = WriteBehind<i64, Score>;

async fn handle(kafka: &Kafka, loader: &ByHand) -> Handle {
    kafka.builder(&[]).loader(loader.clone()).build().await.unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "what reads give")]
fn row(score: i64) -> Option<Score> {
    Some(crate::embedded::score("stored", score))
}

#[tokio::test]
async fn get_many_asks_once_for_what_it_does_not_know() {
    let (kafka, by_hand) = (Kafka::start(3), ByHand::default());
    let scores = handle(&kafka, &by_hand).await;
    scores.put(&1, &score("pending", 1)).await.unwrap();
    scores.delete(&2).await.unwrap();
    let write = scores.put(&3, &score("clean", 3)).await.unwrap();
    write.replicated().await.unwrap();
    let many = {
        let scores = scores.clone();
        tokio::spawn(async move { scores.get_many(&[6, 1, 5, 2, 3, 4, 5]).await })
    };
    assert_eq!(by_hand.question(0).await, [6, 5, 4], "each once, in their order");
    by_hand.answer(0, &[row(6), row(5), None]).await;
    let found = soon("the rows", many).await.unwrap().unwrap();
    let (pending, clean) = (Some(score("pending", 1)), Some(score("clean", 3)));
    assert_eq!(found, [row(6), pending, row(5), None, clean, None, row(5)]);
    assert_eq!(scores.get(&6).await.unwrap(), row(6));
    assert_eq!(by_hand.asked(), 1, "they are cached now");
    assert!(scores.get_many(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn get_and_get_many_share_the_loads_of_their_rows() {
    let (kafka, by_hand) = (Kafka::start(3), ByHand::default());
    let scores = handle(&kafka, &by_hand).await;
    let get = |key: i64| {
        let scores = scores.clone();
        tokio::spawn(async move { scores.get(&key).await.unwrap() })
    };
    let one = get(1);
    assert_eq!(by_hand.question(0).await, [1]);
    let many = {
        let scores = scores.clone();
        tokio::spawn(async move { scores.get_many(&[1, 2, 3]).await.unwrap() })
    };
    assert_eq!(by_hand.question(1).await, [2, 3]);
    let two = get(2);
    by_hand.answer(1, &[row(2), row(3)]).await;
    assert_eq!(soon("the row of the many", two).await.unwrap(), row(2));
    by_hand.answer(0, &[row(1)]).await;
    assert_eq!(soon("the many", many).await.unwrap(), [row(1), row(2), row(3)]);
    assert_eq!(soon("the one", one).await.unwrap(), row(1));
    assert_eq!(by_hand.asked(), 2);
}

#[tokio::test]
async fn a_load_goes_on_and_is_kept_when_its_only_reader_goes_away() {
    let (kafka, by_hand) = (Kafka::start(1), ByHand::default());
    let scores = handle(&kafka, &by_hand).await;
    let reader = {
        let scores = scores.clone();
        tokio::spawn(async move { scores.get_many(&[1, 2]).await })
    };
    by_hand.question(0).await;
    reader.abort();
    assert!(reader.await.unwrap_err().is_cancelled());
    by_hand.answer(0, &[row(1), row(2)]).await;
    assert_eq!(soon("a reader", scores.get(&2)).await.unwrap(), row(2));
    assert_eq!(by_hand.asked(), 1);
}

#[tokio::test]
async fn a_load_that_fails_is_told_to_all_who_wait_and_leaves_no_trace() {
    let (kafka, by_hand) = (Kafka::start(1), ByHand::default());
    let scores = handle(&kafka, &by_hand).await;
    let many = {
        let scores = scores.clone();
        tokio::spawn(async move { scores.get_many(&[1, 2]).await })
    };
    by_hand.question(0).await;
    let one = {
        let scores = scores.clone();
        tokio::spawn(async move { scores.get(&2).await })
    };
    by_hand.fail(0).await;
    for error in [
        soon("the many", many).await.unwrap().unwrap_err(),
        soon("the one", one).await.unwrap().unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "the row could not be loaded: the database is away");
    }
    // A write finds the partition as if nothing had happened, and so does the next read.
    let write = scores.put(&1, &score("mine", 1)).await.unwrap();
    write.replicated().await.unwrap();
    kafka.commit_all();
    soon("the put", write.persisted()).await.unwrap();
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("mine", 1)));
    let again = {
        let scores = scores.clone();
        tokio::spawn(async move { scores.get(&2).await })
    };
    by_hand.answer(1, &[row(2)]).await;
    assert_eq!(soon("the next read", again).await.unwrap().unwrap(), row(2));
}

#[tokio::test]
async fn a_loader_that_gives_too_few_answers_is_an_error() {
    let (kafka, by_hand) = (Kafka::start(1), ByHand::default());
    let scores = handle(&kafka, &by_hand).await;
    let many = {
        let scores = scores.clone();
        tokio::spawn(async move { scores.get_many(&[1, 2]).await })
    };
    by_hand.answer(0, &[row(1)]).await;
    let error = soon("the many", many).await.unwrap().unwrap_err().to_string();
    assert_eq!(error, "the row could not be loaded: the loader gave 1 answers to 2 keys");
}

#[tokio::test]
async fn a_loader_that_never_answers_is_given_up() {
    let (kafka, by_hand) = (Kafka::start(1), ByHand::default());
    let builder = kafka.builder(&[]).loader(by_hand.clone());
    let scores: Handle = builder.load_timeout(Duration::from_millis(20)).build().await.unwrap();
    let error = soon("the read", scores.get(&1)).await.unwrap_err().to_string();
    assert_eq!(error, "the row could not be loaded: the loader gave no answer within 20ms");
    assert!(soon("the next read", scores.get(&1)).await.is_err());
    assert_eq!(by_hand.asked(), 2, "the next read asks again");
    let error = kafka.builder::<i64, Score>(&[]).load_timeout(Duration::ZERO).build().await;
    assert!(matches!(error, Err(BuildError::Limit(_))));
}

#[tokio::test]
async fn a_load_that_ends_with_its_runtime_is_begun_again_by_who_waits_for_it() {
    let (kafka, by_hand) = (Kafka::start(1), ByHand::default());
    let scores = handle(&kafka, &by_hand).await;
    let other = Runtime::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let first = {
        let scores = scores.clone();
        other.spawn(async move { scores.get(&1).await })
    };
    by_hand.question(0).await;
    let second = {
        let scores = scores.clone();
        tokio::spawn(async move { scores.get(&1).await })
    };
    // So that it has joined, if it is ever to.
    tokio::task::yield_now().await;
    other.shutdown_background();
    assert!(soon("the reader whose runtime ended", first).await.is_err());
    assert_eq!(by_hand.question(1).await, [1]);
    by_hand.answer(1, &[row(1)]).await;
    assert_eq!(soon("the other", second).await.unwrap().unwrap(), row(1));
    let stats = scores.stats();
    assert_eq!((stats.reads, stats.misses, stats.loads), (2, 2, 2), "a read counts once");
}

#[tokio::test]
async fn a_loader_is_told_once_whose_rows_it_is_to_find() {
    let (kafka, by_hand) = (Kafka::start(3), ByHand::default());
    handle(&kafka, &by_hand).await;
    let sources = by_hand.sources.lock().unwrap().clone();
    let [source] = &sources[..] else { panic!("{sources:?}") };
    assert_eq!((&*source.topic, &*source.sink_group, source.partitions), (TOPIC, GROUP, 3));
    assert!(!source.cluster.is_empty());
}

#[tokio::test]
async fn a_loader_that_is_not_ready_fails_the_build_and_says_why() {
    struct NotReady;
    impl Loader<i64> for NotReady {
        async fn prepare(&self, _: &Source) -> Result<(), LoadError> {
            Err(LoadError::new("there is no table"))
        }
        async fn load(&self, _: &i64) -> Result<Loaded, LoadError> {
            Ok(Loaded::missing())
        }
    }
    let kafka = Kafka::start(1);
    let built: Result<Handle, _> = kafka.builder(&[]).loader(NotReady).build().await;
    let error = built.unwrap_err();
    assert!(matches!(error, BuildError::Loader(_)));
    assert_eq!(error.to_string(), "the loader is not ready: there is no table");
}

#[tokio::test]
async fn without_a_loader_many_rows_are_what_is_pending() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    scores.put(&1, &score("mine", 1)).await.unwrap();
    let found = scores.get_many(&[1, 2]).await.unwrap();
    assert_eq!(found, [Some(score("mine", 1)), None]);
    scores.add(&2, "score", 1).await.unwrap();
    assert!(matches!(scores.get_many(&[1, 2]).await, Err(ReadError::NoLoader)));
    assert!(matches!(scores.refresh(&3).await, Err(ReadError::NoLoader)));
}
