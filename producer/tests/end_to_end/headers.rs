//! Headers that a service gives its records.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use write_behind_producer::{Refusal, WriteBehind, WriteError};

use crate::embedded::{Kafka, Score, score, soon};

type Handle = WriteBehind<i64, Score>;

#[tokio::test]
async fn each_record_has_the_headers_of_its_write_whether_it_goes_at_once_or_waits() {
    let kafka = Kafka::start(1);
    let count = Arc::new(AtomicUsize::new(0));
    let writes = Arc::clone(&count);
    // The client takes two at once, so that most writes wait for their turn.
    let builder = kafka.builder(&[("queue.buffering.max.messages", "2"), ("linger.ms", "5")]);
    let builder = builder.headers(move |headers| {
        headers.add("traceparent", format!("00-{}-01", writes.fetch_add(1, Ordering::SeqCst)));
    });
    let scores: Handle = builder.build().await.unwrap();
    for n in 0..20 {
        scores.put(&n, &score("a", n)).await.unwrap();
    }
    soon("all to be replicated", scores.replicated_all()).await.unwrap();
    let log = kafka.log();
    assert_eq!(log.len(), 20);
    for (place, logged) in log.iter().enumerate() {
        let parent = format!("00-{place}-01").into_bytes();
        assert_eq!(logged.headers, [("traceparent".to_owned(), parent)], "record {place}");
    }
}

#[tokio::test]
async fn a_header_whose_name_is_reserved_refuses_the_write() {
    let kafka = Kafka::start(1);
    let builder = kafka.builder(&[]).headers(|headers| headers.add("write-id", "mine"));
    let scores: Handle = builder.build().await.unwrap();
    let refused = scores.put(&1, &score("a", 1)).await.unwrap_err();
    assert!(matches!(refused, WriteError::Refused(Refusal::Headers(_))), "{refused}");
    assert_eq!(scores.peek(&1).unwrap(), None);
}
