//! Writes that go on though there is no room: rows are dropped from memory, and reads say so.

use std::time::Duration;

use prometheus::Registry;
use write_behind_producer::{
    Known, LoadError, Loaded, Loader, NextOffset, ReadError, WhenFull, WriteBehind,
};
use write_behind_shared::metrics::render;

use crate::embedded::{DEADLINE, Kafka, Score, score, soon, until};

type Handle = WriteBehind<i64, Score>;

const LIMIT: usize = 20_000;
const ROWS: i64 = 2_000;

fn metric(registry: &Registry, name: &str) -> f64 {
    let text = render(registry).unwrap();
    let name = format!("write_behind_producer_{name}{{topic=\"scores\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{name} is there")).parse().unwrap()
}

#[tokio::test]
async fn writes_go_on_without_the_database_and_reads_of_what_was_dropped_say_so() {
    let kafka = Kafka::start(2);
    let registry = Registry::new();
    let scores: Handle = kafka
        .builder(&[])
        .max_pending(LIMIT, WhenFull::ForgetRows)
        .metrics(&registry)
        .build()
        .await
        .unwrap();
    for id in 0..ROWS {
        soon("room", scores.put(&id, &score("x", id))).await.unwrap();
    }
    soon("all to be replicated", scores.replicated_all()).await.unwrap();
    until("the metrics are up to date", || metric(&registry, "in_flight") < 1.0).await;
    assert!(metric(&registry, "pending_bytes") <= LIMIT as f64);
    assert!(metric(&registry, "forgotten_total") > 1_000.0);
    let (mut seen, mut behind) = (0, 0);
    for id in 0..ROWS {
        match scores.get(&id).await {
            Ok(row) => {
                assert_eq!(row, Some(score("x", id)), "never older than what was written");
                seen += 1;
            }
            Err(ReadError::MayBeBehind) => {
                let read = scores.read(&id).await.unwrap();
                assert_eq!(read, Known { row: None, may_be_behind: true });
                behind += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(seen > 0 && behind > 1_000, "{seen} rows seen, {behind} said to be behind");
    assert_eq!(kafka.log().len(), ROWS as usize, "nothing is lost");
    kafka.commit_all();
    soon("all to be persisted", scores.persisted_all()).await.unwrap();
    let read = scores.read(&0).await.unwrap();
    assert_eq!(read, Known { row: None, may_be_behind: false }, "the database is asked again");
    scores.close(DEADLINE).await.unwrap();
}

/// A database that is ahead where the key is even, and empty where it is odd.
struct EvenRowsAreThere;

impl Loader<i64> for EvenRowsAreThere {
    async fn load(&self, id: &i64) -> Result<Loaded, LoadError> {
        let next = if id % 2 == 0 { NextOffset(ROWS) } else { NextOffset(0) };
        Ok(Loaded::row(&score("loaded", *id))?.at(next))
    }
}

#[tokio::test]
async fn a_row_that_was_dropped_is_believed_again_once_the_loader_is_past_its_write() {
    let kafka = Kafka::start(1);
    let scores: Handle = kafka
        .builder(&[])
        .max_pending(LIMIT, WhenFull::ForgetRows)
        .loader(EvenRowsAreThere)
        .build()
        .await
        .unwrap();
    for id in 0..ROWS {
        soon("room", scores.put(&id, &score("x", id))).await.unwrap();
    }
    soon("all to be replicated", scores.replicated_all()).await.unwrap();
    let up_to_date = scores.get(&0).await.unwrap();
    assert_eq!(
        up_to_date,
        Some(score("loaded", 0)),
        "the database has it, though it has not said so"
    );
    assert!(matches!(scores.get(&1).await, Err(ReadError::MayBeBehind)));
    assert_eq!(scores.read(&1).await.unwrap().row, Some(score("loaded", 1)));
    // A new write is seen whatever was forgotten.
    scores.put(&1, &score("new", 1)).await.unwrap();
    assert_eq!(scores.get(&1).await.unwrap(), Some(score("new", 1)));
    scores.add(&3, "score", 1).await.unwrap();
    assert!(matches!(scores.get(&3).await, Err(ReadError::MayBeBehind)), "its base is forgotten");
    scores.close(DEADLINE).await.unwrap();
}

#[tokio::test]
async fn what_kafka_does_not_have_is_never_dropped() {
    let kafka = Kafka::start(1);
    let scores: Handle =
        kafka.builder(&[]).max_pending(2_000, WhenFull::ForgetRows).build().await.unwrap();
    kafka.cluster().broker_down(-1).unwrap();
    let mut accepted = 0;
    let row = score("x", 0);
    while tokio::time::timeout(Duration::from_millis(100), scores.put(&accepted, &row))
        .await
        .is_ok()
    {
        accepted += 1;
        assert!(accepted < 100, "there is no room for so many");
    }
    for id in 0..accepted {
        assert_eq!(scores.get(&id).await.unwrap(), Some(score("x", 0)));
    }
    kafka.cluster().broker_up(-1).unwrap();
    soon("room", scores.put(&accepted, &row)).await.unwrap();
    soon("all to be replicated", scores.replicated_all()).await.unwrap();
    assert_eq!(kafka.log().len(), accepted as usize + 1);
}
