//! What the pipeline does where its client skipped offsets.

use super::cases::{NOW, actions, at, reading_all, record_of, record_of_key, some_limits, written};
use super::*;

const TP: RoutePartition = RoutePartition { route: 0, partition: Partition(0) };

/// A pipeline that was given these records, and the look that it asks for.
fn given(records: &[i64]) -> (Pipeline, LookId, SkipLook) {
    let mut pipeline = reading_all(Pipeline::new(some_limits(), [ROUTE]), &[TP]);
    let look = give(&mut pipeline, records);
    (pipeline, look.0, look.1)
}

fn give(pipeline: &mut Pipeline, records: &[i64]) -> (LookId, SkipLook) {
    for offset in records {
        record_of(pipeline, NOW, TP, *offset);
    }
    pipeline.tick(at(500));
    let asked = follows(pipeline);
    let [Action::LookAtSkip(TP, id, look)] = asked[..] else { panic!("one look: {asked:?}") };
    (id, look)
}

fn facts(low: i64, records: u64, is_compacted: bool) -> SkipFacts {
    SkipFacts { low: NextOffset(low), records, is_compacted }
}

/// The database and Kafka know of no record yet.
fn located(pipeline: &mut Pipeline, (tp, epoch): (RoutePartition, Epoch)) {
    let (next, committed, writers) = (NextOffset(0), Some(NextOffset(0)), Vec::new());
    let located = Located { tp, epoch, next, committed, was_adopted: false, writers };
    pipeline.located(at(500), vec![located]);
}

/// What follows, without pauses and their ends.
fn follows(pipeline: &mut Pipeline) -> Vec<Action> {
    let is_of_fetching = |action: &Action| matches!(action, Action::Pause(_) | Action::Resume(_));
    actions(pipeline).into_iter().filter(|action| !is_of_fetching(action)).collect()
}

#[test]
fn a_full_and_old_buffer_leaves_only_once_nothing_was_passed_over_and_without_a_word() {
    let (mut pipeline, id, look) = given(&[0, 2, 3]);
    assert_eq!(look, SkipLook { start: NextOffset(1), end: NextOffset(3), folded: 1 });
    pipeline.tick(at(10_000));
    assert!(follows(&mut pipeline).is_empty(), "nothing is proved by time");
    pipeline.looked_at_skip(at(500), TP, id, &Ok(facts(0, 1, false)));
    let followed = follows(&mut pipeline);
    let [Action::Write(closed)] = &followed[..] else { panic!("it leaves: {followed:?}") };
    assert_eq!(closed.buffers[0].next(), NextOffset(4));
    assert_eq!((pipeline.counts().skips, pipeline.counts().lost), (1, 0));
}

#[test]
fn what_a_compaction_removed_is_told_and_counted_and_the_rest_is_written() {
    let (mut pipeline, id, _) = given(&[0, 5, 6]);
    pipeline.looked_at_skip(at(500), TP, id, &Ok(facts(0, 1, true)));
    let lost = Notice::RecordsLost(TP, NextOffset(1), NextOffset(6), 4);
    let followed = follows(&mut pipeline);
    let [Action::Tell(told), Action::Write(_)] = &followed[..] else { panic!("{followed:?}") };
    assert_eq!((told, pipeline.counts().lost), (&lost, 4));
}

#[test]
fn a_span_that_nobody_can_read_is_read_again_from_the_database_and_not_at_once_looked_at() {
    for found in [Err("silence".to_owned()), Ok(facts(2, 0, false))] {
        let (mut pipeline, id, _) = given(&[0, 2, 3]);
        pipeline.looked_at_skip(at(500), TP, id, &found);
        let followed = follows(&mut pipeline);
        let [Action::Tell(Notice::SkipUnknown(..)), Action::Locate(asked)] = &followed[..] else {
            panic!("{found:?}: {followed:?}")
        };
        located(&mut pipeline, asked[0]);
        for offset in [0, 2, 3] {
            record_of(&mut pipeline, at(500), TP, offset);
        }
        pipeline.tick(at(1_400));
        assert!(matches!(follows(&mut pipeline)[..], [Action::Read(_)]));
        pipeline.tick(at(1_500));
        assert!(matches!(follows(&mut pipeline)[..], [Action::LookAtSkip(..)]));
    }
}

#[test]
fn a_client_that_passes_over_the_same_record_twice_is_given_up() {
    let (mut pipeline, id, _) = given(&[0, 2, 3]);
    pipeline.looked_at_skip(at(500), TP, id, &Ok(facts(0, 2, false)));
    let followed = follows(&mut pipeline);
    let [Action::Tell(Notice::PassedOver(..)), Action::Locate(asked)] = &followed[..] else {
        panic!("{followed:?}")
    };
    located(&mut pipeline, asked[0]);
    actions(&mut pipeline);
    let (id, _) = give(&mut pipeline, &[0, 2, 3]);
    pipeline.looked_at_skip(at(500), TP, id, &Ok(facts(0, 2, false)));
    assert!(matches!(follows(&mut pipeline)[..], [Action::GiveUp(TP, NextOffset(1))]));
}

#[test]
fn a_buffer_leaves_although_every_record_comes_behind_a_skip() {
    let mut pipeline = reading_all(Pipeline::new(some_limits(), [ROUTE]), &[TP]);
    let (mut now, mut offset, mut open, mut paused, mut pauses) = (0, 0, None, false, 0);
    for _ in 0..400 {
        now += 1;
        // A transaction of one record each time, of three keys that are never full.
        if !paused {
            record_of_key(&mut pipeline, at(now), TP, offset, offset / 2 % 2);
            offset += 2;
        }
        // Another record comes before each answer.
        if let Some((id, look)) = open.take() {
            let SkipLook { folded, .. } = look;
            pipeline.looked_at_skip(at(now), TP, id, &Ok(facts(0, folded, false)));
        }
        pipeline.tick(at(now));
        for action in actions(&mut pipeline) {
            match action {
                Action::LookAtSkip(TP, id, look) => open = Some((id, look)),
                Action::Pause(_) => (paused, pauses) = (true, pauses + 1),
                Action::Resume(_) => paused = false,
                Action::Write(closed) => {
                    assert!(closed.age <= at(100 + 5), "max_age and a look or two");
                    assert_eq!(pauses, 1, "it is paused once a batch at most");
                    return;
                }
                _ => {}
            }
        }
    }
    panic!("nothing was written: {pipeline:?}");
}

#[test]
fn a_partition_with_a_batch_in_flight_is_located_again_only_once_that_is_written() {
    let mut pipeline = reading_all(Pipeline::new(some_limits(), [ROUTE]), &[TP]);
    (0..3).for_each(|offset| record_of(&mut pipeline, NOW, TP, offset));
    let Some(Action::Write(first)) = actions(&mut pipeline).pop() else { panic!("the first") };
    let (id, _) = give(&mut pipeline, &[3, 5]);
    pipeline.looked_at_skip(at(500), TP, id, &Err("silence".to_owned()));
    let followed = follows(&mut pipeline);
    assert!(matches!(followed[..], [Action::Tell(Notice::SkipUnknown(..))]), "{followed:?}");
    written(&mut pipeline, at(600), first);
    let followed = follows(&mut pipeline);
    let asks = |action: &Action| matches!(action, Action::Locate(asked) if asked[0].0 == TP);
    assert!(followed.iter().any(asks), "{followed:?}");
}
