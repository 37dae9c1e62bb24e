//! Partitions that are released, and the progress shown meanwhile, each by the shortest story.

use super::cases::{NOW, actions, at, reading_all, record_of, some_limits, written};
use super::*;
use crate::core::pipeline::action::{Closed, Doing};

fn tp(route: usize) -> RoutePartition {
    RoutePartition { route, partition: Partition(route as i32) }
}

/// A pipeline whose routes have one partition each, read from offset 0.
fn reading<const N: usize>(routes: [RouteLimits; N]) -> Pipeline {
    let tps: Vec<RoutePartition> = (0..N).map(tp).collect();
    reading_all(Pipeline::new(some_limits(), routes), &tps)
}

/// Three records arrive and make a batch.
fn closed(pipeline: &mut Pipeline, tp: RoutePartition) -> Closed {
    for offset in 0..3 {
        record_of(pipeline, NOW, tp, offset);
    }
    match pipeline.next_action() {
        Some(Action::Write(closed)) => closed,
        other => panic!("a batch leaves, not {other:?}"),
    }
}

#[test]
fn what_is_let_go_is_written_before_other_routes_whose_turn_it_is() {
    let mut pipeline = reading([RouteLimits { priority: Priority::Low, ..ROUTE }, ROUTE]);
    let first = closed(&mut pipeline, tp(0));
    for offset in 0..3 {
        record_of(&mut pipeline, NOW, tp(1), offset);
    }
    record_of(&mut pipeline, NOW, tp(0), 3);
    pipeline.revoke(NOW, vec![tp(0)], at(1_000));
    written(&mut pipeline, NOW, first);
    let next = actions(&mut pipeline).into_iter().find_map(|action| match action {
        Action::Write(closed) => Some(closed.route),
        _ => None,
    });
    assert_eq!(next, Some(0), "it has a deadline");
}

#[test]
fn a_revoke_does_not_wait_for_commits_that_fail() {
    let mut pipeline = reading([ROUTE]);
    let batch = closed(&mut pipeline, tp(0));
    pipeline.revoke(NOW, vec![tp(0)], at(60_000));
    written(&mut pipeline, NOW, batch);
    let [Action::Pause(_), Action::Commit(id, _)] = actions(&mut pipeline)[..] else {
        panic!("it is committed")
    };
    pipeline.commit_answered(NOW, id, false);
    assert!(matches!(&actions(&mut pipeline)[..], [Action::Release(_)]), "its next owner does it");
}

#[test]
fn a_fenced_batch_of_a_partition_that_is_let_go_is_not_located_again() {
    let mut pipeline = reading([ROUTE]);
    let batch = closed(&mut pipeline, tp(0));
    pipeline.revoke(NOW, vec![tp(0)], at(60_000));
    pipeline.finished(NOW, batch.id, &BatchResult::Fenced);
    let left = actions(&mut pipeline);
    assert!(matches!(&left[..], [Action::Pause(_), Action::Release(_)]), "{left:?}");
}

#[test]
fn nothing_is_begun_while_it_drains() {
    let mut pipeline = Pipeline::new(some_limits(), [ROUTE; 2]);
    pipeline.assign(&[tp(0)]);
    let Some(Action::Locate(asked)) = pipeline.next_action() else { panic!("it asks") };
    pipeline.drain(NOW);
    pipeline.assign(&[tp(1)]);
    let (tp, epoch) = asked[0];
    let (next, committed, writers) = (NextOffset(0), None, Vec::new());
    pipeline
        .located(NOW, vec![Located { tp, epoch, next, committed, was_adopted: false, writers }]);
    let left = actions(&mut pipeline);
    assert!(matches!(&left[..], [Action::Drained]), "{left:?}");
}

#[test]
fn a_writer_s_missing_records_are_told() {
    let mut pipeline = reading([ROUTE]);
    let ids = [0, 1, 4].map(|sequence| WriteId { writer: Uuid::from_u128(1), sequence });
    for (offset, id) in ids.iter().enumerate() {
        let id = id.encode();
        let headers = [(record::WRITE_ID, Some(&id[..]))];
        let incoming = Incoming {
            partition: Partition(0),
            offset: Offset(offset as i64),
            timestamp: None,
            key: Some(b"1"),
            value: Some(b"{}"),
            headers: &headers,
        };
        pipeline.record(NOW, 0, &incoming);
    }
    let told = actions(&mut pipeline).into_iter().find_map(|action| match action {
        Action::Tell(notice) => Some(notice),
        _ => None,
    });
    assert_eq!(told, Some(Notice::RecordsMissing(tp(0), Offset(2), ids[2])));
    assert_eq!(pipeline.counts().gaps, 1);
}

#[test]
fn progress_shows_each_route_and_partition_as_it_is() {
    let mut pipeline = reading([ROUTE; 2]);
    let batch = closed(&mut pipeline, tp(0));
    for offset in 3..6 {
        record_of(&mut pipeline, NOW, tp(0), offset);
    }
    let progress = pipeline.progress(NOW);
    assert_eq!((progress.in_flight_rows, progress.open_rows), (3, 3));
    let paused: Vec<_> = progress.partitions.iter().map(|part| part.paused).collect();
    assert_eq!(paused, [true, false], "its buffer is full");
    assert!(progress.partitions.iter().all(|part| part.committed == Some(NextOffset(0))));
    assert_eq!((progress.routes[0].doing, progress.routes[1].doing), (Doing::Writing, Doing::Idle));
    written(&mut pipeline, NOW, batch);
    let progress = pipeline.progress(NOW);
    assert_eq!(progress.routes[0].records_read, 6);
    assert_eq!(progress.partitions[0].written, Some(NextOffset(3)));
}

#[test]
fn of_ripe_partitions_that_share_no_batch_the_oldest_goes_first() {
    let of_route = |partition| RoutePartition { route: 0, partition: Partition(partition) };
    let pipeline = Pipeline::new(some_limits(), [ROUTE]);
    let mut pipeline = reading_all(pipeline, &[of_route(0), of_route(1)]);
    for (millis, partition) in [(0, 1), (10, 0)] {
        for offset in 0..2 {
            record_of(&mut pipeline, at(millis), of_route(partition), offset);
        }
    }
    pipeline.tick(at(200));
    let Some(Action::Write(first)) = pipeline.next_action() else { panic!("one goes") };
    assert_eq!(first.buffers[0].partition(), Partition(1));
}

#[test]
fn records_that_an_older_version_leaves_out_are_counted() {
    let mut pipeline = Pipeline::new(some_limits(), [ROUTE]).with_versions([Some(Arc::from("v"))]);
    pipeline = reading_all(pipeline, &[tp(0)]);
    for (offset, value) in [r#"{"v":2}"#, r#"{"v":1}"#].into_iter().enumerate() {
        let incoming = Incoming {
            partition: Partition(0),
            offset: Offset(offset as i64),
            timestamp: None,
            key: Some(b"1"),
            value: Some(value.as_bytes()),
            headers: &[],
        };
        pipeline.record(NOW, 0, &incoming);
    }
    assert_eq!((pipeline.counts().records, pipeline.counts().older), (2, 1));
}
