//! Single promises of the pipeline, each shown by the shortest story.

use super::*;
use crate::core::batch::Written;
use crate::core::pipeline::action::{Closed, WriteCost};
use crate::core::pipeline::bounds::Bounds;

pub(super) const NOW: Duration = Duration::ZERO;

pub(super) fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// All partitions here belong to one route.
fn tp(partition: usize) -> RoutePartition {
    RoutePartition { route: 0, partition: Partition(partition as i32) }
}

pub(super) fn some_limits() -> PipelineLimits {
    PipelineLimits {
        max_rows: 3,
        max_bytes: 1 << 20,
        max_age: at(100),
        target_time: at(1_000),
        memory: 1 << 30,
        workers: 1,
        prepared: 0,
        rows_per_second: None,
        bounds: Bounds { rest: None, ..Bounds::STANDARD },
    }
}

/// A pipeline that reads `partitions` partitions from offset 0, as Kafka knows.
fn reading(limits: PipelineLimits, partitions: usize) -> Pipeline {
    let tps: Vec<RoutePartition> = (0..partitions).map(tp).collect();
    reading_all(Pipeline::new(limits, [ROUTE]), &tps)
}

/// The pipeline, reading these from offset 0, as Kafka knows.
pub(in crate::core) fn reading_all(mut pipeline: Pipeline, tps: &[RoutePartition]) -> Pipeline {
    pipeline.assign(tps);
    let located = |(tp, epoch)| Located {
        tp,
        epoch,
        next: NextOffset(0),
        committed: Some(NextOffset(0)),
        was_adopted: false,
        writers: Vec::new(),
    };
    let [Action::Locate(asked)] = &actions(&mut pipeline)[..] else { panic!("asks") };
    pipeline.located(NOW, asked.iter().copied().map(located).collect());
    assert!(matches!(&actions(&mut pipeline)[..], [Action::Read(read)] if read.len() == tps.len()));
    pipeline
}

pub(super) fn actions(pipeline: &mut Pipeline) -> Vec<Action> {
    std::iter::from_fn(|| pipeline.next_action()).collect()
}

fn record(pipeline: &mut Pipeline, now: Duration, partition: i32, offset: i64) {
    record_of(pipeline, now, tp(partition as usize), offset);
}

/// Every record's timestamp in milliseconds equals its offset.
pub(super) fn record_of(pipeline: &mut Pipeline, now: Duration, tp: RoutePartition, offset: i64) {
    record_of_key(pipeline, now, tp, offset, offset);
}

pub(super) fn record_of_key(
    pipeline: &mut Pipeline,
    now: Duration,
    tp: RoutePartition,
    offset: i64,
    key: i64,
) {
    let key = key.to_string();
    let incoming = Incoming {
        partition: tp.partition,
        offset: Offset(offset),
        timestamp: Some(offset),
        key: Some(key.as_bytes()),
        value: Some(b"{}"),
        headers: &[],
    };
    pipeline.record(now, tp.route, &incoming);
}

pub(super) fn written(pipeline: &mut Pipeline, now: Duration, closed: Closed) {
    let id = closed.id;
    let batch = closed.into_batch(Arc::from("topic"));
    pipeline.finished(
        now,
        id,
        &BatchResult::Written(Written::new(batch.spans), WriteCost::default()),
    );
}

#[test]
fn a_batch_closes_at_its_rows() {
    let mut pipeline = reading(some_limits(), 1);
    record(&mut pipeline, NOW, 0, 0);
    record(&mut pipeline, NOW, 0, 1);
    assert!(actions(&mut pipeline).is_empty());
    record(&mut pipeline, NOW, 0, 2);
    let [Action::Write(closed)] = &actions(&mut pipeline)[..] else { panic!("closes") };
    assert_eq!(
        (closed.buffers[0].start(), closed.buffers[0].next()),
        (NextOffset(0), NextOffset(3))
    );
}

#[test]
fn a_batch_closes_at_its_age() {
    let mut pipeline = reading(some_limits(), 1);
    record(&mut pipeline, at(50), 0, 0);
    pipeline.tick(at(149));
    assert!(actions(&mut pipeline).is_empty());
    pipeline.tick(at(150));
    assert!(
        matches!(&actions(&mut pipeline)[..], [Action::Write(closed)] if closed.age == at(100))
    );
}

#[test]
fn a_batch_closes_at_its_bytes() {
    // An empty table and one row take less; two rows take more.
    let mut pipeline = reading(PipelineLimits { max_bytes: 450, ..some_limits() }, 1);
    record(&mut pipeline, NOW, 0, 0);
    assert!(actions(&mut pipeline).is_empty(), "{:?}", pipeline.progress(NOW));
    record(&mut pipeline, NOW, 0, 1);
    assert!(matches!(&actions(&mut pipeline)[..], [Action::Write(_)]));
}

/// The batch that the pipeline wants written.
fn closed(actions: Vec<Action>) -> Option<Closed> {
    actions.into_iter().find_map(|action| match action {
        Action::Write(closed) => Some(closed),
        _ => None,
    })
}

#[test]
fn a_partition_that_is_being_let_go_comes_first_within_a_batch() {
    let mut pipeline = reading(some_limits(), 2);
    (0..3).for_each(|offset| record(&mut pipeline, NOW, 0, offset));
    let first = closed(actions(&mut pipeline)).unwrap();
    // An older, full one leaves no room in a batch for the one that has a deadline.
    (3..6).for_each(|offset| record(&mut pipeline, at(1), 0, offset));
    record(&mut pipeline, at(2), 1, 0);
    pipeline.revoke(at(3), vec![tp(1)], at(1_000));
    written(&mut pipeline, at(4), first);
    let next = closed(actions(&mut pipeline)).unwrap();
    let partitions: Vec<_> = next.buffers.iter().map(Buffer::partition).collect();
    assert_eq!(partitions, [Partition(1)]);
}

#[test]
fn what_is_on_its_way_counts_as_the_oldest_until_it_is_written() {
    let mut pipeline = reading(some_limits(), 1);
    let oldest = |pipeline: &Pipeline| pipeline.progress(NOW).partitions[0].oldest;
    assert_eq!(oldest(&pipeline), None);
    (0..3).for_each(|offset| record(&mut pipeline, NOW, 0, offset));
    let batch = closed(actions(&mut pipeline)).unwrap();
    record(&mut pipeline, NOW, 0, 3);
    assert_eq!(oldest(&pipeline), Some(0));
    written(&mut pipeline, NOW, batch);
    assert_eq!(oldest(&pipeline), Some(3));
}

#[test]
fn a_partition_that_is_located_again_is_not_one_that_leaves() {
    let mut pipeline = reading(some_limits(), 1);
    let shown = |pipeline: &Pipeline| {
        let part = pipeline.progress(NOW).partitions[0];
        (part.reading, part.leaving)
    };
    assert_eq!(shown(&pipeline), (true, false));
    pipeline.doubt(NOW, &[(tp(0), NextOffset(0))]);
    assert_eq!(shown(&pipeline), (false, false));
    pipeline.revoke(NOW, vec![tp(0)], at(1_000));
    pipeline.assign(&[tp(0)]);
    assert_eq!(shown(&pipeline), (false, false), "it came back");
    pipeline.drain(NOW);
    assert_eq!(shown(&pipeline), (false, true));
}

#[test]
fn ripe_partitions_share_a_batch_up_to_its_rows() {
    let mut pipeline = reading(some_limits(), 3);
    for partition in 0..3 {
        record(&mut pipeline, at(partition as u64), partition, 0);
        record(&mut pipeline, at(partition as u64), partition, 1);
    }
    record(&mut pipeline, at(3), 2, 2);
    let first = actions(&mut pipeline);
    let [Action::Write(closed)] = &first[..] else { panic!("the full one goes first") };
    assert_eq!(closed.buffers.len(), 1);
    pipeline.finished(at(200), closed.id, &BatchResult::Fenced);
    let second = actions(&mut pipeline);
    let closed = second.iter().find_map(|action| match action {
        Action::Write(closed) => Some(closed),
        _ => None,
    });
    let partitions: Vec<_> = closed.unwrap().buffers.iter().map(Buffer::partition).collect();
    assert_eq!(partitions, [Partition(0)], "two more rows would be more than max_rows");
}

#[test]
fn while_a_batch_is_on_its_way_the_next_records_fold_into_one_that_starts_where_it_ends() {
    let mut pipeline = reading(some_limits(), 1);
    for offset in 0..4 {
        record(&mut pipeline, NOW, 0, offset);
    }
    let Some(Action::Write(first)) = actions(&mut pipeline).pop() else { panic!("the first") };
    assert!(actions(&mut pipeline).is_empty());
    written(&mut pipeline, at(500), first);
    let next = actions(&mut pipeline);
    assert!(next.iter().any(|action| matches!(action,
        Action::Write(closed) if closed.buffers[0].start() == NextOffset(3))));
    assert!(next.iter().any(|action| matches!(action,
        Action::Commit(_, offsets) if offsets == &[(tp(0), NextOffset(3))])));
}

#[test]
fn a_full_buffer_that_no_worker_takes_pauses_its_partition_alone() {
    let mut pipeline = reading(some_limits(), 2);
    for offset in 0..6 {
        record(&mut pipeline, NOW, 0, offset);
    }
    let done = actions(&mut pipeline);
    let [Action::Write(_), Action::Pause(paused)] = &done[..] else { panic!("{done:?}") };
    assert_eq!(paused, &[tp(0)]);
    let Some(Action::Write(first)) = done.into_iter().next() else { panic!("the first") };
    written(&mut pipeline, NOW, first);
    let done = actions(&mut pipeline);
    assert!(done.iter().any(|action| matches!(action, Action::Resume(r) if r == &[tp(0)])));
}

#[test]
fn partitions_that_do_not_meet_are_written_in_parallel() {
    let mut pipeline = reading(PipelineLimits { workers: 2, ..some_limits() }, 3);
    for partition in 0..3 {
        for offset in 0..3 {
            record(&mut pipeline, NOW, partition, offset);
        }
    }
    let done = actions(&mut pipeline);
    let of = |action: &Action| match action {
        Action::Write(closed) => closed.buffers.iter().map(Buffer::partition).collect::<Vec<_>>(),
        _ => Vec::new(),
    };
    let written: Vec<_> = done.iter().map(of).filter(|one| !one.is_empty()).collect();
    assert_eq!(written, [[Partition(0)], [Partition(1)]], "the third waits for a worker");
}

#[test]
fn a_slow_database_is_given_denser_batches_up_to_a_few_times_the_target() {
    let limits = PipelineLimits { max_rows: 10_000, rows_per_second: Some(10), ..some_limits() };
    let mut pipeline = reading(limits, 1);
    assert_eq!(pipeline.progress(NOW).routes[0].target_rows, 10);
    let mut offset = 0;
    let paused_after = loop {
        record(&mut pipeline, NOW, 0, offset);
        pipeline.tick(NOW);
        offset += 1;
        if actions(&mut pipeline).iter().any(|action| matches!(action, Action::Pause(_))) {
            break offset;
        }
    };
    assert_eq!(paused_after, 10 + 80, "one batch on its way, and eight times the target");
}

#[test]
fn a_ceiling_of_rows_makes_the_next_batch_wait_until_the_last_is_paid_for() {
    let limits = PipelineLimits { rows_per_second: Some(10), ..some_limits() };
    let mut pipeline = reading(limits, 1);
    for offset in 0..3 {
        record(&mut pipeline, NOW, 0, offset);
    }
    let Some(Action::Write(first)) = actions(&mut pipeline).pop() else { panic!("the first") };
    written(&mut pipeline, NOW, first);
    record(&mut pipeline, NOW, 0, 3);
    pipeline.tick(at(299));
    assert!(!actions(&mut pipeline).iter().any(|action| matches!(action, Action::Write(_))));
    pipeline.tick(at(300));
    assert!(actions(&mut pipeline).iter().any(|action| matches!(action, Action::Write(_))));
}

#[test]
fn a_revoke_is_answered_when_its_partitions_are_written_and_committed() {
    let mut pipeline = reading(some_limits(), 2);
    record(&mut pipeline, NOW, 0, 0);
    pipeline.revoke(NOW, vec![tp(0)], at(1_000));
    record(&mut pipeline, NOW, 0, 1);
    let mut done = actions(&mut pipeline);
    let Some(Action::Write(closed)) =
        done.drain(..).find(|action| matches!(action, Action::Write(_)))
    else {
        panic!("written before its age")
    };
    assert_eq!(closed.buffers[0].next(), NextOffset(1), "nothing is read any more");
    written(&mut pipeline, NOW, closed);
    assert!(matches!(&actions(&mut pipeline)[..], [Action::Commit(..)]));
    pipeline.commit_answered(NOW, 1, true);
    let done = actions(&mut pipeline);
    assert!(matches!(&done[..], [Action::Release(tps)] if tps == &[tp(0)]), "{done:?}");
}

#[test]
fn a_revoke_is_answered_at_its_deadline_whatever_is_left() {
    let mut pipeline = reading(some_limits(), 1);
    record(&mut pipeline, NOW, 0, 0);
    pipeline.revoke(NOW, vec![tp(0)], at(1_000));
    actions(&mut pipeline);
    pipeline.tick(at(999));
    assert!(actions(&mut pipeline).is_empty());
    pipeline.tick(at(1_000));
    assert!(matches!(&actions(&mut pipeline)[..], [Action::Release(_)]));
}

#[test]
fn a_drain_ends_when_everything_is_written_and_kafka_knows_it() {
    let mut pipeline = reading(some_limits(), 1);
    record(&mut pipeline, NOW, 0, 0);
    pipeline.drain(NOW);
    let Some(Action::Write(closed)) =
        actions(&mut pipeline).into_iter().find(|action| matches!(action, Action::Write(_)))
    else {
        panic!("written before its age")
    };
    written(&mut pipeline, NOW, closed);
    assert!(matches!(&actions(&mut pipeline)[..], [Action::Commit(..)]));
    pipeline.commit_answered(NOW, 1, false);
    assert!(actions(&mut pipeline).is_empty(), "a failed commit is tried again");
    pipeline.tick(at(1_000));
    assert!(matches!(&actions(&mut pipeline)[..], [Action::Commit(..)]));
    pipeline.commit_answered(at(1_000), 2, true);
    assert!(matches!(&actions(&mut pipeline)[..], [Action::Drained]));
}

#[test]
fn an_answer_to_an_earlier_question_is_not_taken_for_the_present_one() {
    let mut pipeline = Pipeline::new(some_limits(), [ROUTE]);
    pipeline.assign(&[tp(0)]);
    let Some(Action::Locate(old)) = pipeline.next_action() else { panic!("asks") };
    pipeline.lose(NOW, vec![tp(0)]);
    pipeline.assign(&[tp(0)]);
    let (tp, epoch) = old[0];
    let (next, committed) = (NextOffset(7), None);
    pipeline.located(
        NOW,
        vec![Located { tp, epoch, next, committed, was_adopted: false, writers: Vec::new() }],
    );
    assert!(!actions(&mut pipeline).iter().any(|action| matches!(action, Action::Read(_))));
}

#[test]
fn a_partition_whose_database_went_back_while_it_was_idle_is_read_again_from_there() {
    let mut pipeline = reading(some_limits(), 2);
    (0..3).for_each(|offset| record(&mut pipeline, NOW, 0, offset));
    let Some(Action::Write(first)) = actions(&mut pipeline).pop() else { panic!("the first") };
    written(&mut pipeline, NOW, first);
    pipeline.commit_answered(NOW, 1, true);
    actions(&mut pipeline);

    pipeline.doubt(NOW, &[(tp(0), NextOffset(3)), (tp(1), NextOffset(7))]);
    let asked = actions(&mut pipeline);
    let [Action::Locate(asked), ..] = &asked[..] else { panic!("asks: {asked:?}") };
    let [(doubted, epoch)] = asked[..] else { panic!("only what was left there: {asked:?}") };
    assert_eq!(doubted, tp(0));
    let (next, committed) = (NextOffset(1), Some(NextOffset(3)));
    let found =
        Located { tp: doubted, epoch, next, committed, was_adopted: false, writers: Vec::new() };
    pipeline.located(NOW, vec![found]);
    let actions = actions(&mut pipeline);
    let goes_back = Notice::DatabaseWentBack(tp(0), NextOffset(3), NextOffset(1));
    assert!(actions.iter().any(|action| matches!(action, Action::Tell(n) if *n == goes_back)));
    let reads_again = |action: &Action| matches!(action, Action::Read(r) if *r == [(tp(0), next)]);
    assert!(actions.iter().any(reads_again), "{actions:?}");
}

#[test]
fn a_doubt_while_a_batch_is_on_its_way_is_left_to_the_compare_and_set() {
    let mut pipeline = reading(some_limits(), 1);
    (0..3).for_each(|offset| record(&mut pipeline, NOW, 0, offset));
    let Some(Action::Write(_)) = actions(&mut pipeline).pop() else { panic!("the first") };
    pipeline.doubt(NOW, &[(tp(0), NextOffset(0))]);
    assert!(actions(&mut pipeline).is_empty());
}
