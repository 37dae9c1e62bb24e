//! How a handle is built or refused, and what is left of one that was not built.

use std::future::{pending, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use prometheus::Registry;
use write_behind_producer::{
    BuildError, DeliveryError, LoadError, Loaded, Loader, Source, WriteBehind, WriteError,
};

use crate::embedded::{DEADLINE, Kafka, Score, TOPIC, score, soon};

type Handle = WriteBehind<i64, Score>;

/// A loader that is never ready, and knows one row.
struct NeverReady;

impl Loader<i64> for NeverReady {
    fn load(&self, _: &i64) -> impl Future<Output = Result<Loaded, LoadError>> + Send {
        ready(Ok(Loaded::missing()))
    }

    fn prepare(&self, _: &Source) -> impl Future<Output = Result<(), LoadError>> + Send {
        pending()
    }
}

/// Wakes a thread that waits for a future without a runtime.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// What the future gives, waited for on this thread, which has no runtime.
fn without_a_runtime<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, start) = (pin!(future), Instant::now());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "the future never ends");
        thread::park_timeout(DEADLINE);
    }
}

#[tokio::test]
async fn a_loader_that_is_not_ready_in_time_fails_the_build() {
    let kafka = Kafka::start(1);
    let builder = kafka.builder::<i64, Score>(&[]).start_timeout(Duration::from_secs(2));
    let built = soon("the build", builder.loader(NeverReady).build()).await;
    let error = built.map(drop).unwrap_err();
    assert!(matches!(error, BuildError::Loader(_)), "{error}");
}

#[tokio::test]
async fn the_metrics_of_a_handle_can_be_registered_again_once_it_ended_or_was_never_built() {
    let (kafka, registry) = (Kafka::start(1), Registry::new());
    let builder = || kafka.builder::<i64, Score>(&[]).metrics(&registry);
    let followed = builder().follow(true).start_timeout(Duration::from_secs(5));
    kafka.cluster().broker_round_trip_time(-1, Duration::from_millis(100)).unwrap();
    drop(tokio::time::timeout(Duration::from_millis(600), followed.build()).await);
    kafka.cluster().broker_round_trip_time(-1, Duration::ZERO).unwrap();
    let first: Handle = builder().build().await.unwrap();
    let error = builder().build().await.map(drop).unwrap_err();
    assert!(matches!(&error, BuildError::MetricsTaken(topic) if topic == "scores"), "{error}");
    first.close(DEADLINE).await.unwrap();
    drop(first);
    let second: Handle = builder().build().await.unwrap();
    drop(second);
    builder().build().await.unwrap();
}

#[tokio::test]
async fn names_that_kafka_can_not_have_and_times_of_nothing_are_refused_and_say_so() {
    let kafka = Kafka::start(1);
    let named = |topic: &str| {
        WriteBehind::<i64, Score>::builder(topic, kafka.properties()).sink_group("sink")
    };
    for name in ["", ".", "a b", "a\0b", &"x".repeat(250)] {
        let error = named(name).build().await.map(drop).unwrap_err();
        assert!(matches!(&error, BuildError::TopicName(of) if of == name), "{error}");
    }
    for group in ["", " "] {
        let error = named(TOPIC).sink_group(group).build().await.map(drop).unwrap_err();
        assert!(matches!(error, BuildError::NoSinkGroup), "{error}");
    }
    for wrong in [named(TOPIC).sink_group("a\0b"), named(TOPIC).start_timeout(Duration::ZERO)] {
        let error = wrong.build().await.map(drop).unwrap_err();
        assert!(matches!(error, BuildError::Limit(_)) && !error.may_pass(), "{error}");
    }
}

#[tokio::test]
async fn times_without_end_are_refused_or_as_good_as_endless_and_never_a_panic() {
    let kafka = Kafka::start(1);
    let builder = || kafka.builder::<i64, Score>(&[]);
    let error = builder().coalesce(Duration::MAX).build().await.map(drop).unwrap_err();
    assert!(matches!(error, BuildError::Limit(_)), "{error}");
    let endless = builder()
        .time_to_live(Duration::MAX)
        .time_to_idle(Duration::MAX)
        .load_timeout(Duration::MAX)
        .lagging_after(Duration::MAX)
        .start_timeout(Duration::MAX);
    let scores: Handle = endless.build().await.unwrap();
    scores.put(&7, &score("ada", 1)).await.unwrap();
    scores.replicated_all().await.unwrap();
}

#[test]
fn a_handle_is_built_on_a_runtime_and_read_from_any_thread() {
    let kafka = Kafka::start(1);
    let build = || {
        let loader = async |id: i64| Ok::<_, LoadError>(Some(score("loaded", id)));
        kafka.builder::<i64, Score>(&[]).loader(loader).build()
    };
    let error = without_a_runtime(build()).map(drop).unwrap_err();
    assert!(matches!(error, BuildError::NoRuntime), "{error}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let scores: Handle = runtime.block_on(build()).unwrap();
    assert_eq!(without_a_runtime(scores.get(&7)).unwrap(), Some(score("loaded", 7)));
}

#[test]
fn every_wait_ends_in_time_on_a_thread_without_a_runtime_though_that_of_build_is_gone() {
    let kafka = Kafka::start(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let builder = kafka.builder::<i64, Score>(&[]).max_pending_rows(1);
    let builder = builder.write_timeout(Duration::from_millis(50));
    let scores: Handle = runtime.block_on(builder.build()).unwrap();
    drop(runtime);
    without_a_runtime(async {
        let write = scores.put(&1, &score("ada", 1)).await.unwrap();
        write.replicated_within(DEADLINE).await.unwrap();
        let soon = Duration::from_millis(50);
        assert_eq!(write.persisted_within(soon).await, Err(DeliveryError::TimedOut));
        assert_eq!(scores.persisted_all_within(soon).await, Err(DeliveryError::TimedOut));
        assert_eq!(scores.put(&2, &score("bob", 1)).await.err(), Some(WriteError::NoRoomInTime));
        let through = scores.put_and_persist(&1, &score("ada", 2), soon).await;
        assert_eq!(through, Err(DeliveryError::TimedOut.into()));
        kafka.commit_all();
        scores.persisted_all_within(DEADLINE).await.unwrap();
        scores.close(DEADLINE).await.unwrap();
        assert_eq!(kafka.log().len(), 2);
    });
}
