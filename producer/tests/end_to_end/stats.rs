//! What a handle tells of itself.

use std::time::Duration;

use prometheus::Registry;
use write_behind_producer::{LoadError, WhenFull, WriteBehind};
use write_behind_shared::metrics::render;

use crate::embedded::{Kafka, Score, score, soon, until};

type Handle = WriteBehind<i64, Score>;

#[tokio::test]
async fn stats_tell_at_once_what_the_metrics_show_a_moment_later() {
    let kafka = Kafka::start(2);
    let registry = Registry::new();
    let loader = |id: i64| async move {
        if id < 0 { Err(LoadError::new("no such shard")) } else { Ok(Some(score("stored", 1))) }
    };
    let builder = kafka.builder(&[("linger.ms", "50")]).max_pending(10_000, WhenFull::Reject);
    let builder = builder.max_pending_rows(4).metrics(&registry).loader(loader);
    let scores: Handle = builder.build().await.unwrap();
    for id in 1..=4 {
        scores.put(&id, &score("a", id)).await.unwrap();
    }
    assert!(scores.put(&5, &score("a", 5)).await.is_err());
    assert!(scores.put(&1, &score("a\0", 1)).await.is_err());
    scores.get(&1).await.unwrap();
    scores.get(&7).await.unwrap();
    assert!(scores.get(&-7).await.is_err());
    let stats = scores.stats();
    assert_eq!((stats.writes, stats.overloaded, stats.refused), (4, 1, 1));
    assert_eq!((stats.reads, stats.hits_pending, stats.misses), (3, 1, 2));
    assert_eq!((stats.loads, stats.load_failures), (2, 1));
    assert_eq!((stats.pending_rows, stats.max_pending_rows), (4, Some(4)));
    assert_eq!((stats.max_pending_bytes, stats.max_in_flight), (Some(10_000), None));
    soon("all to be replicated", scores.replicated_all()).await.unwrap();
    assert_eq!(scores.stats().in_flight, 0);
    let shown = |line: &str| {
        let text = render(&registry).unwrap();
        text.lines().any(|shown| shown == format!("write_behind_producer_{line}"))
    };
    let lines = [
        r#"writes_total{topic="scores"} 4"#,
        r#"load_failures_total{topic="scores"} 1"#,
        r#"load_seconds_count{topic="scores"} 2"#,
        r#"max_pending_rows{topic="scores"} 4"#,
        r#"max_in_flight{topic="scores"} inf"#,
        r#"in_flight{topic="scores"} 0"#,
    ];
    for line in lines {
        until(line, || shown(line)).await;
    }
}

#[tokio::test]
async fn of_every_64th_write_the_time_to_kafkas_answer_is_taken() {
    let kafka = Kafka::start(1);
    let registry = Registry::new();
    let scores: Handle = kafka.builder(&[]).metrics(&registry).build().await.unwrap();
    for id in 0..64 {
        scores.put(&id, &score("a", id)).await.unwrap();
    }
    soon("all to be replicated", scores.replicated_all_within(Duration::from_mins(1)))
        .await
        .unwrap();
    until("the time is shown", || {
        let text = render(&registry).unwrap();
        text.contains(r#"replicated_sampled_seconds_count{topic="scores"} 1"#)
    })
    .await;
}
