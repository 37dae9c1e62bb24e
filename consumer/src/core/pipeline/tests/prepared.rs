//! Batches that are closed while all connections are taken, to be prepared meanwhile.

use super::cases::{NOW, at, reading_all, record_of, some_limits, written};
use super::*;
use crate::core::batch::Written;
use crate::core::pipeline::action::{Closed, WriteCost};

/// One connection, and one batch to be prepared; three rows fill a buffer.
fn limits() -> PipelineLimits {
    PipelineLimits { prepared: 1, ..some_limits() }
}

fn place(partition: i32) -> RoutePartition {
    RoutePartition { route: 0, partition: Partition(partition) }
}

/// A pipeline of one route with this many partitions.
fn reading(limits: PipelineLimits, partitions: i32) -> Pipeline {
    let places: Vec<_> = (0..partitions).map(place).collect();
    reading_all(Pipeline::new(limits, [ROUTE]), &places)
}

/// Fills the buffer of a partition, from this offset on.
fn fill(pipeline: &mut Pipeline, partition: i32, from: i64) {
    (from..from + 3).for_each(|offset| record_of(pipeline, NOW, place(partition), offset));
}

/// The batches that leave now.
fn leaving(pipeline: &mut Pipeline, now: Duration) -> Vec<Closed> {
    pipeline.tick(now);
    let closed = |action| match action {
        Action::Write(closed) => Some(closed),
        _ => None,
    };
    std::iter::from_fn(|| pipeline.next_action()).filter_map(closed).collect()
}

fn partitions(closed: &[Closed]) -> Vec<i32> {
    let buffers = closed.iter().flat_map(|closed| &closed.buffers);
    buffers.map(|buffer| buffer.partition().0).collect()
}

#[test]
fn full_buffers_are_closed_ahead_up_to_the_limit() {
    let mut pipeline = reading(limits(), 3);
    (0..3).for_each(|partition| fill(&mut pipeline, partition, 0));
    let left = leaving(&mut pipeline, NOW);
    assert_eq!(partitions(&left), [0, 1], "one is written, one prepared");
    written(&mut pipeline, NOW, left.into_iter().next().unwrap());
    assert_eq!(partitions(&leaving(&mut pipeline, NOW)), [2]);
}

#[test]
fn what_can_go_on_folding_is_not_closed_ahead() {
    // The database is slow: a batch is ripe at one row, and full at eight times as many.
    let bounds = Bounds { rows_min: 1, denser: 3, ..some_limits().bounds };
    let mut pipeline = reading(PipelineLimits { target_time: at(1), bounds, ..limits() }, 2);
    fill(&mut pipeline, 0, 0);
    let slow = WriteCost { took: at(3), saturated: 0 };
    let first = leaving(&mut pipeline, NOW).remove(0);
    let (id, batch) = (first.id, first.into_batch(Arc::from("topic")));
    pipeline.finished(NOW, id, &BatchResult::Written(Written::new(batch.spans), slow));
    fill(&mut pipeline, 0, 3);
    assert_eq!(partitions(&leaving(&mut pipeline, NOW)), [0]);
    record_of(&mut pipeline, NOW, place(1), 0);
    assert!(leaving(&mut pipeline, NOW).is_empty(), "ripe, but not full");
    (1..3).for_each(|offset| record_of(&mut pipeline, NOW, place(1), offset));
    assert_eq!(partitions(&leaving(&mut pipeline, NOW)), [1]);
}

#[test]
fn prepared_batches_take_no_more_memory_than_those_that_are_written_may() {
    let mut pipeline = reading(limits(), 1);
    fill(&mut pipeline, 0, 0);
    let bytes = pipeline.in_flight.values().map(|flight| flight.bytes).sum::<usize>();
    for (max_bytes, expected) in [(2 * bytes - 1, &[0][..]), (2 * bytes, &[0, 1])] {
        let mut pipeline = reading(PipelineLimits { max_bytes, ..limits() }, 2);
        (0..2).for_each(|partition| fill(&mut pipeline, partition, 0));
        assert_eq!(partitions(&leaving(&mut pipeline, NOW)), expected, "two of {bytes} bytes");
    }
}

proptest! {
    #[test]
    fn what_is_not_full_comes_to_its_turn_whatever_backlog_others_have(
        backlog in 1_i32..5, workers in 1_usize..4, prepared in 0_usize..4,
    ) {
        let limits = PipelineLimits { workers, prepared, ..limits() };
        let mut pipeline = reading(limits, backlog + 1);
        record_of(&mut pipeline, NOW, place(backlog), 0);
        let (mut next, mut at_workers, mut left) = (0, VecDeque::new(), false);
        for millis in 0..200 {
            for (partition, offset) in (0..backlog).flat_map(|one| (0..3).map(move |at| (one, at))) {
                record_of(&mut pipeline, at(millis), place(partition), next + offset);
            }
            next += 3;
            at_workers.extend(leaving(&mut pipeline, at(millis)));
            left |= at_workers.iter().any(|closed| partitions(std::slice::from_ref(closed)) == [backlog]);
            prop_assert!(at_workers.len() <= workers + prepared);
            if let Some(first) = at_workers.pop_front() {
                written(&mut pipeline, at(millis), first);
            }
        }
        prop_assert!(left, "of age after 100 ms");
    }
}
