//! Batches that wait for a row which another process may write, each by the shortest story.

use std::collections::BTreeMap;

use super::*;
use crate::core::pipeline::action::PartitionWaits;
use crate::core::pipeline::ahead::Surveyed;
use crate::core::pipeline::stop_routes::tests::{Scene, at, tp};

/// Partition 7 of the second route, which another process has.
fn elsewhere(end: Option<i64>, written: Option<i64>) -> Survey {
    let standing = Surveyed { end: end.map(NextOffset), written: written.map(NextOffset) };
    Survey(BTreeMap::from([(tp(1, 7), standing)]))
}

/// Fails the batch in flight as often as it is handed out, `tries` times at most. Returns how often
/// that was before it was told to refuse the row.
fn fail(scene: &mut Scene, now: &mut Duration, tries: u32, survey: &Survey) -> Option<u32> {
    for tried in 0..tries {
        let (id, batch) = scene.take();
        if batch.refuse_missing_references {
            return Some(tried);
        }
        scene.pipeline.park(*now, id, batch, survey);
        scene.act(*now);
        while scene.pipeline.at_workers() == 0 {
            *now += at(50);
            scene.tick(*now);
        }
    }
    None
}

#[test]
fn what_another_process_must_write_first_is_waited_for_until_it_has_passed_the_end_first_seen() {
    let (mut scene, mut now) = (Scene::new(), at(20));
    scene.record(at(0), tp(0, 0));
    assert_eq!(fail(&mut scene, &mut now, 1, &elsewhere(Some(1_000), Some(0))), None);
    // It moves, as slowly as it likes; what is written behind the end meanwhile is not waited for.
    for written in 1..100 {
        let survey = elsewhere(Some(1_000 + written), Some(written));
        assert_eq!(fail(&mut scene, &mut now, 1, &survey), None, "at {written}");
    }
    let passed = elsewhere(Some(2_000), Some(1_000));
    let began = now;
    assert!(fail(&mut scene, &mut now, 99, &passed).is_some_and(|tries| tries < 9));
    assert!(now.saturating_sub(began) < at(9_000), "what was ahead has come: soon after");
}

#[test]
fn a_dead_process_is_given_the_time_in_which_another_takes_over() {
    let (mut scene, mut now) = (Scene::new(), at(20));
    scene.record(at(0), tp(0, 0));
    let stalled = elsewhere(Some(9), Some(5));
    while now < at(120_000) {
        assert_eq!(fail(&mut scene, &mut now, 1, &stalled), None, "at {now:?}");
    }
    assert!(fail(&mut scene, &mut now, 99, &stalled).is_some(), "but not for ever");
}

#[test]
fn a_partition_without_a_leader_is_waited_for_as_long_as_that_lasts_and_named() {
    let (mut scene, mut now) = (Scene::new(), at(20));
    scene.record(at(0), tp(0, 0));
    let leaderless = elsewhere(None, Some(5));
    while now < at(600_000) {
        assert_eq!(fail(&mut scene, &mut now, 1, &leaderless), None, "at {now:?}");
    }
    let waiting = scene.pipeline.progress(now).waiting;
    let expected = PartitionWaits::ForRow(vec![(tp(1, 7), false)]);
    assert_eq!(waiting, BTreeMap::from([(tp(0, 0), expected)]));
    assert!(fail(&mut scene, &mut now, 99, &elsewhere(Some(5), Some(5))).is_some());
}

#[test]
fn with_nothing_ahead_anywhere_a_missing_row_costs_two_seconds_and_no_more() {
    let (mut scene, mut now) = (Scene::new(), at(20));
    scene.record(at(0), tp(0, 0));
    assert!(fail(&mut scene, &mut now, 99, &elsewhere(Some(9), Some(9))).is_some());
    assert!((at(1_000)..at(3_000)).contains(&now), "{now:?}");
}

#[test]
fn a_parents_batch_at_a_worker_is_waited_for_though_memory_is_short() {
    let mut scene = Scene::with(1, 2);
    scene.fold(at(0), tp(1, 2));
    scene.record(at(0), tp(0, 0));
    assert_eq!(scene.pipeline.at_workers(), 2);
    let place = scene.batches.iter().position(|(_, batch)| batch.route == 0).unwrap();
    let (child, batch) = scene.batches.remove(place);
    let mut now = at(20);
    scene.pipeline.park(now, child, batch, &Survey::default());
    scene.act(now);
    for _ in 0..20 {
        while scene.batches.len() < 2 {
            now += at(100);
            scene.tick(now);
        }
        let (child, batch) = scene.batches.pop().unwrap();
        assert!(!batch.refuse_missing_references, "at {now:?}");
        scene.pipeline.park(now, child, batch, &Survey::default());
        scene.act(now);
    }
}

#[test]
fn a_parked_batch_that_itself_waits_for_another_process_is_waited_for() {
    let mut scene = Scene::new();
    let mut now = at(20);
    scene.record(at(0), tp(0, 0));
    scene.record(at(0), tp(1, 2));
    for survey in [Survey::default(), elsewhere(Some(99), Some(5))] {
        let (id, batch) = scene.take();
        scene.pipeline.park(now, id, batch, &survey);
        scene.act(now);
    }
    // The row that the first one lacks may stand behind the second one.
    let mut until_refused = |written: fn(Duration) -> i64, until: Duration| {
        while now < until {
            now += at(100);
            scene.tick(now);
            let survey = elsewhere(Some(99), Some(written(now)));
            if let Some((id, batch)) = scene.batches.pop() {
                if batch.refuse_missing_references {
                    return Some((batch.route, now));
                }
                scene.pipeline.park(now, id, batch, &survey);
                scene.act(now);
            }
        }
        None
    };
    assert_eq!(until_refused(|now| 5 + now.as_secs() as i64 / 10, at(600_000)), None);
    let refused = until_refused(|_| 99, at(620_000)).expect("it has come");
    assert_eq!(refused.0, 0, "the first one alone");
}

#[test]
fn what_is_ahead_is_remembered_while_memory_is_short() {
    let (mut scene, mut now) = (Scene::with(1, 1), at(20));
    scene.pipeline.ends([(tp(1, 2), NextOffset(1_000))]);
    scene.record(at(0), tp(0, 0));
    assert_eq!(fail(&mut scene, &mut now, 1, &Survey::default()), None);
    let waits_for: Vec<_> =
        scene.pipeline.in_flight.values().filter_map(|flight| flight.parked.as_ref()).collect();
    assert_eq!(waits_for[0].ahead().len(), 1, "memory may be free at the next try");
}

#[test]
fn what_a_restored_database_has_lost_is_waited_for_though_it_was_written() {
    let (mut scene, mut now) = (Scene::with(1 << 30, 2), at(100));
    scene.record(at(0), tp(1, 2));
    scene.write(at(20));
    let at_end = |written: i64| {
        let (end, written) = (Some(NextOffset(1)), Some(NextOffset(written)));
        Survey(BTreeMap::from([(tp(1, 2), Surveyed { end, written })]))
    };
    scene.record(now, tp(0, 0));
    scene.next.insert(tp(1, 2), 0);
    scene.read.clear();
    assert_eq!(fail(&mut scene, &mut now, 1, &at_end(0)), None);
    assert_eq!(scene.read, [], "one look may be an old one");
    assert_eq!(fail(&mut scene, &mut now, 1, &at_end(0)), None);
    assert_eq!(scene.read, [tp(1, 2)]);
    let back = Notice::DatabaseWentBack(tp(1, 2), NextOffset(1), NextOffset(0));
    assert_eq!(scene.told, [back]);
    while now < at(60_000) {
        assert_eq!(fail(&mut scene, &mut now, 1, &at_end(0)), None, "at {now:?}");
    }
    let (child, batch) = scene.take();
    scene.record(now, tp(1, 2));
    assert!(!batch.refuse_missing_references);
    scene.write(now);
    scene.pipeline.park(now, child, batch, &at_end(1));
    scene.act(now);
    now += at(5_000);
    scene.tick(now);
    assert!(fail(&mut scene, &mut now, 99, &at_end(1)).is_some(), "it has come");
}
