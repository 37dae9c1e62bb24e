//! Several handles on one Kafka client, events, and writes through to the database.

use std::time::Duration;

use prometheus::Registry;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use write_behind_producer::{
    DeadLetter, DeliveryError, Event, LoadError, Loaded, Loader, LogRange, NextOffset, Offset,
    Partition, PersistError, WhenFull, WriteBehind, WriteError, WriteId,
};
use write_behind_shared::metrics::render;

use crate::embedded::{DEADLINE, GROUP, Kafka, Score, score, soon, until};

type Handle = WriteBehind<i64, Score>;

#[tokio::test]
async fn handles_that_share_a_client_do_not_mix_up_their_answers() {
    let kafka = Kafka::start(3);
    kafka.cluster().create_topic("other", 3, 1).unwrap();
    let client = write_behind_producer::Kafka::new(kafka.properties()).unwrap();
    let registry = Registry::new();
    let build = |topic: &str| client.builder(topic).sink_group(GROUP).metrics(&registry).build();
    let (scores, others): (Handle, Handle) =
        (build("scores").await.unwrap(), build("other").await.unwrap());
    for id in 0..50 {
        scores.put(&id, &score("score", id)).await.unwrap();
        others.put(&id, &score("other", id)).await.unwrap();
    }
    soon("one", scores.replicated_all()).await.unwrap();
    // One is closed; the other goes on.
    scores.close(DEADLINE).await.unwrap();
    let write = others.put(&50, &score("other", 50)).await.unwrap();
    soon("the other", write.replicated()).await.unwrap();
    soon("the other", others.replicated_all()).await.unwrap();
    assert_eq!(kafka.log().len(), 50);
    for (topic, count) in [("scores", 50), ("other", 51)] {
        let line = format!("write_behind_producer_writes_total{{topic=\"{topic}\"}} {count}");
        until(&line, || render(&registry).unwrap().contains(&line)).await;
    }
    drop(client);
    others.close(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_write_that_fails_is_an_event_for_those_who_listen() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka.builder(&[]).build().await.unwrap();
    scores.put(&1, &score("good", 1)).await.unwrap().replicated().await.unwrap();
    let mut events = scores.events();
    let refuse = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE];
    kafka.cluster().request_errors(RDKafkaApiKey::Produce, &refuse);
    scores.put(&7, &score("bad", 2)).await.unwrap();
    let event = soon("the event", events.next()).await;
    let Some(Event::WriteLost { key, error: DeliveryError::Failed(_) }) = event else {
        panic!("{event:?}")
    };
    assert_eq!(key, "7");
    drop(scores);
    assert_eq!(soon("the end of the events", events.next()).await, None);
}

#[tokio::test]
async fn lagging_behind_is_an_event_and_so_is_its_end() {
    let kafka = Kafka::start(1);
    let builder = kafka.builder(&[]).lagging_after(Duration::from_millis(200));
    let scores: Handle = builder.build().await.unwrap();
    let mut events = scores.events();
    scores.put(&1, &score("x", 1)).await.unwrap();
    let event = soon("the event", events.next()).await;
    assert!(matches!(event, Some(Event::Lagging { .. })), "{event:?}");
    kafka.commit_all();
    assert_eq!(soon("the end of it", events.next()).await, Some(Event::CaughtUp));
}

#[tokio::test]
async fn a_write_through_ends_when_the_database_has_it_or_says_why_not() {
    let kafka = Kafka::start(1);
    let scores: Handle =
        kafka.builder(&[]).max_pending(1_000, WhenFull::Wait).build().await.unwrap();
    let brief = Duration::from_millis(50);
    let late = scores.put_and_persist(&1, &score("x", 1), brief).await.unwrap_err();
    assert_eq!(late, PersistError::Delivery(DeliveryError::TimedOut));
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("x", 1)), "it goes on nevertheless");
    scores.put(&2, &score("x", 2)).await.unwrap();
    let full = scores.put_and_persist(&3, &score("x", 3), brief).await.unwrap_err();
    assert_eq!(full, PersistError::Write(WriteError::NoRoomInTime));
    assert_eq!(scores.get(&3).await.unwrap(), None, "nothing changed");
    scores.replicated_all().await.unwrap();
    kafka.commit_all();
    soon("all to be persisted", scores.persisted_all()).await.unwrap();
    let row = score("x", 4);
    let through = scores.put_and_persist(&4, &row, DEADLINE);
    let commits = async {
        scores.replicated_all().await.unwrap();
        while scores.replicated_all().await.is_ok() && kafka.log().len() < 3 {}
        kafka.commit_all();
    };
    let (through, ()) = tokio::join!(through, commits);
    through.unwrap();
}

/// A loader that knows of one dead letter: the write of sequence 1.
struct Refused {
    writer: std::sync::Arc<std::sync::OnceLock<uuid::Uuid>>,
}

impl Loader<i64> for Refused {
    async fn load(&self, _: &i64) -> Result<Loaded, LoadError> {
        Ok(Loaded::row(&score("stored", 0))?.at(NextOffset(3)))
    }

    fn knows_dead_letters(&self) -> bool {
        true
    }

    async fn dead_letters(&self, ranges: &[LogRange]) -> Result<Vec<DeadLetter>, LoadError> {
        let offset = Offset(1);
        let asked = |range: &LogRange| range.from <= offset && range.to.is_past(offset);
        let write_id = self.writer.get().map(|writer| WriteId { writer: *writer, sequence: 1 });
        let letter = DeadLetter {
            partition: Partition(0),
            offset,
            key: b"2".to_vec(),
            write_id,
            reason: "value too long".to_owned(),
        };
        Ok(ranges.iter().filter(|range| asked(range)).map(|_| letter.clone()).collect())
    }
}

#[tokio::test]
async fn a_write_that_became_a_dead_letter_is_told_and_no_longer_read() {
    let kafka = Kafka::start(1);
    let writer = std::sync::Arc::default();
    let loader = Refused { writer: std::sync::Arc::clone(&writer) };
    let scores: Handle = kafka.builder(&[]).loader(loader).build().await.unwrap();
    let mut events = scores.events();
    let good = scores.put(&1, &score("good", 1)).await.unwrap();
    let bad = scores.put(&2, &score("much too long", 2)).await.unwrap();
    let last = scores.put(&3, &score("good", 3)).await.unwrap();
    scores.replicated_all().await.unwrap();
    writer.set(kafka.log()[0].write_id.writer).unwrap();
    kafka.commit_all();
    soon("the last write", last.persisted()).await.unwrap();
    good.persisted().await.unwrap();
    let reason = "value too long";
    assert_eq!(bad.persisted().await, Err(DeliveryError::DeadLetter(reason.into())));
    assert_eq!(
        soon("the event", events.next()).await,
        Some(Event::DeadLetter { key: "2".into(), partition: 0, offset: 1, reason: reason.into() })
    );
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("good", 1)));
    assert_eq!(scores.get(&2).await.unwrap(), Some(score("stored", 0)), "what the database holds");
    scores.close(DEADLINE).await.unwrap();
}
