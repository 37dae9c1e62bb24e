//! Batches that wait for a row while memory is short, each by the shortest story.

use write_behind_shared::NextOffset;

use super::*;
use crate::core::pipeline::action::Notice;
use crate::core::pipeline::ahead::Surveyed;
use crate::core::pipeline::schedule::Priority;
use crate::core::pipeline::stop_routes::tests::{Scene, at, tp};

const CHILD: RoutePartition = tp(0, 0);
const PARENT: RoutePartition = tp(1, 2);

/// The batch on its way refers to a missing row.
fn park(scene: &mut Scene, now: Duration, survey: &Survey) {
    let (id, batch) = scene.take();
    assert!(!batch.refuse_missing_references, "at {now:?}");
    scene.pipeline.park(now, id, batch, survey);
    scene.act(now);
}

/// Ticks until there is a batch on its way, or the time is over.
fn wait(scene: &mut Scene, now: &mut Duration, until: Duration) {
    while scene.batches.is_empty() && *now < until {
        *now += at(100);
        scene.tick(*now);
    }
}

/// A child that takes all the memory, given back, with `records` of its parent's partition unread.
fn given_back(records: i64) -> Scene {
    let mut scene = Scene::with(1, 1);
    scene.pipeline.ends([(PARENT, NextOffset(records))]);
    scene.record(at(0), CHILD);
    park(&mut scene, at(20), &Survey::default());
    scene
}

#[test]
fn a_batch_that_waits_for_what_there_is_no_memory_to_read_is_given_back_and_that_is_told() {
    let scene = given_back(1);
    assert!(scene.pipeline.is_idle(), "nothing of it is held");
    assert_eq!(scene.told, [Notice::Held(0, WHY.to_owned())]);
    assert_eq!(scene.pipeline.next_of(PARENT), Some(NextOffset(0)), "what is ahead is read");
}

#[test]
fn what_was_given_back_is_read_again_once_what_is_ahead_is_written_and_not_before() {
    let mut scene = given_back(2);
    let mut now = at(20);
    for _ in 0..2 {
        let until = now + at(60_000);
        wait(&mut scene, &mut now, until);
        assert_eq!(scene.read, [], "at {now:?}");
        scene.record(now, PARENT);
        scene.write(now);
    }
    scene.tick(now);
    assert_eq!(scene.read, [CHILD]);
    scene.record(now, CHILD);
    assert!(!scene.batches[0].1.refuse_missing_references);
    scene.write(now);
    assert!(scene.pipeline.is_idle());
    assert!(matches!(scene.told[..], [Notice::Held(..), Notice::HeldNoMore(..)]));
}

#[test]
fn a_row_that_never_comes_is_refused_though_memory_is_short_and_its_parents_log_grows() {
    let mut scene = given_back(1);
    let mut now = at(1_000);
    scene.record(now, PARENT);
    scene.write(now);
    scene.tick(now);
    scene.record(now, CHILD);
    // What comes behind the end that was seen first is not waited for.
    scene.pipeline.ends([(PARENT, NextOffset(1_000))]);
    for _ in 0..5 {
        park(&mut scene, now, &Survey::default());
        let until = now + at(60_000);
        wait(&mut scene, &mut now, until);
    }
    assert!(scene.take().1.refuse_missing_references);
}

#[test]
fn records_behind_those_that_were_given_back_are_not_read_with_them() {
    let mut scene = Scene::with(2_000, 1);
    scene.record(at(0), CHILD);
    while !scene.pipeline.budget.is_over_limit(Priority::Normal) {
        scene.fold(at(10), PARENT);
    }
    park(&mut scene, at(20), &Survey::default());
    scene.write(at(30));
    scene.tick(at(530));
    assert_eq!(scene.read, [CHILD]);
    scene.fold(at(530), CHILD);
    scene.act(at(530));
    assert_eq!(scene.batches[0].1.records, 1, "it is closed as soon as it has what it had");
}

#[test]
fn what_another_process_must_write_first_is_looked_at_again_and_again() {
    let elsewhere = |written: i64| {
        let standing = Surveyed { end: Some(NextOffset(9)), written: Some(NextOffset(written)) };
        Survey([(tp(1, 7), standing)].into())
    };
    let mut scene = Scene::with(1, 1);
    scene.record(at(0), CHILD);
    let mut now = at(20);
    for written in 0..9 {
        park(&mut scene, now, &elsewhere(written));
        assert!(scene.pipeline.is_idle(), "a process that waits with its memory holds up others");
        while scene.read.is_empty() {
            now += at(100);
            scene.tick(now);
        }
        scene.read.clear();
        scene.record(now, CHILD);
    }
    for _ in 0..5 {
        park(&mut scene, now, &elsewhere(9));
        let until = now + at(60_000);
        wait(&mut scene, &mut now, until);
    }
    assert!(scene.take().1.refuse_missing_references, "it has come");
}
