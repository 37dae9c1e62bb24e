//! Batches that go before they are worth writing, because the database has little to do.

use super::cases::{NOW, at, reading_all, record_of, some_limits};
use super::*;
use crate::core::batch::Written;
use crate::core::pipeline::action::{Closed, WriteCost};

/// The place of a route's only partition.
fn place(route: usize) -> RoutePartition {
    RoutePartition { route, partition: Partition(0) }
}

/// This many routes of one partition each, whose batches may go early.
fn reading(limits: PipelineLimits, routes: usize) -> Pipeline {
    let limits = PipelineLimits { bounds: Bounds::STANDARD, ..limits };
    let places: Vec<_> = (0..routes).map(place).collect();
    reading_all(Pipeline::new(limits, vec![ROUTE; routes]), &places)
}

/// What leaves now.
fn leaving(pipeline: &mut Pipeline, now: Duration) -> Option<Closed> {
    pipeline.tick(now);
    std::iter::from_fn(|| pipeline.next_action()).find_map(|action| match action {
        Action::Write(closed) => Some(closed),
        _ => None,
    })
}

/// The batch was written, in this time.
fn written(pipeline: &mut Pipeline, now: Duration, closed: Closed, took: Duration) {
    let (id, batch) = (closed.id, closed.into_batch(Arc::from("topic")));
    let cost = WriteCost { took, saturated: 0 };
    pipeline.finished(now, id, &BatchResult::Written(Written::new(batch.spans), cost));
}

#[test]
fn a_lone_write_goes_at_once() {
    let mut pipeline = reading(some_limits(), 1);
    record_of(&mut pipeline, NOW, place(0), 0);
    assert!(leaving(&mut pipeline, NOW).is_some());
}

#[test]
fn the_database_is_left_alone_four_times_as_long_as_a_batch_took_while_writes_fold() {
    let mut pipeline = reading(some_limits(), 1);
    record_of(&mut pipeline, NOW, place(0), 0);
    let first = leaving(&mut pipeline, NOW).unwrap();
    record_of(&mut pipeline, at(5), place(0), 1);
    assert!(leaving(&mut pipeline, at(9)).is_none(), "one batch of a partition at a time");
    written(&mut pipeline, at(10), first, at(10));
    assert!(leaving(&mut pipeline, at(49)).is_none());
    assert!(leaving(&mut pipeline, at(50)).is_some());
}

#[test]
fn a_slow_database_is_left_alone_until_a_batch_is_ripe_or_of_age() {
    let mut pipeline = reading(some_limits(), 1);
    record_of(&mut pipeline, NOW, place(0), 0);
    let first = leaving(&mut pipeline, NOW).unwrap();
    written(&mut pipeline, at(500), first, at(500));
    record_of(&mut pipeline, at(500), place(0), 1);
    assert!(leaving(&mut pipeline, at(599)).is_none());
    let second = leaving(&mut pipeline, at(600)).expect("its age is 100 ms");
    written(&mut pipeline, at(700), second, at(100));
    (2..5).for_each(|offset| record_of(&mut pipeline, at(700), place(0), offset));
    assert!(leaving(&mut pipeline, at(700)).is_some(), "three rows are a full batch");
}

#[test]
fn routes_that_have_something_to_write_share_what_goes_early() {
    let mut pipeline = reading(PipelineLimits { workers: 2, ..some_limits() }, 2);
    record_of(&mut pipeline, NOW, place(0), 0);
    let first = leaving(&mut pipeline, NOW).unwrap();
    written(&mut pipeline, at(10), first, at(10));
    record_of(&mut pipeline, at(10), place(1), 0);
    let other = leaving(&mut pipeline, at(10)).expect("this route has not written yet");
    record_of(&mut pipeline, at(10), place(0), 1);
    written(&mut pipeline, at(20), other, at(10));
    record_of(&mut pipeline, at(45), place(1), 1);
    let next = leaving(&mut pipeline, at(50)).unwrap();
    assert_eq!(next.route, 0);
    assert!(leaving(&mut pipeline, at(99)).is_none(), "two routes rest twice as long");
    assert_eq!(leaving(&mut pipeline, at(100)).unwrap().route, 1);
}

#[test]
fn under_a_ceiling_no_batch_goes_early() {
    let mut pipeline = reading(PipelineLimits { rows_per_second: Some(10), ..some_limits() }, 1);
    record_of(&mut pipeline, NOW, place(0), 0);
    assert!(leaving(&mut pipeline, at(99)).is_none());
    assert!(leaving(&mut pipeline, at(100)).is_some());
}
