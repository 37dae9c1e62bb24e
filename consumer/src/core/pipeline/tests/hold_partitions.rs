//! Partitions whose batch can't be written for now, each by the shortest story.

use super::*;
use crate::core::pipeline::stop_routes::tests::{Scene, at, tp};

const LOCKED: &str = "a row is locked";

fn hold(scene: &mut Scene, now: Duration, why: &str) {
    let (id, _) = scene.take();
    scene.pipeline.hold(now, id, why);
    scene.act(now);
}

fn waiting(scene: &Scene) -> Vec<RoutePartition> {
    scene.pipeline.progress(at(0)).waiting.into_keys().collect()
}

#[test]
fn a_held_partition_has_no_worker_and_no_memory_and_all_others_go_on() {
    let mut scene = Scene::new();
    scene.record(at(0), tp(0, 0));
    hold(&mut scene, at(20), LOCKED);
    assert_eq!(scene.told, [Notice::Held(0, LOCKED.to_owned())]);
    assert!(scene.pipeline.is_idle(), "nothing is held of it");
    for other in [tp(0, 1), tp(1, 2)] {
        scene.record(at(30), other);
        scene.write(at(50));
    }
    assert_eq!((scene.told.len(), waiting(&scene)), (1, vec![tp(0, 0)]));
}

#[test]
fn a_held_partition_is_read_again_with_what_has_arrived_and_told_when_it_is_written() {
    let mut scene = Scene::new();
    scene.record(at(0), tp(0, 0));
    hold(&mut scene, at(20), LOCKED);
    scene.tick(at(519));
    assert_eq!(scene.read, []);
    scene.tick(at(520));
    assert_eq!(scene.read, [tp(0, 0)]);
    scene.fold(at(521), tp(0, 0));
    scene.record(at(521), tp(0, 0));
    assert_eq!(waiting(&scene), [tp(0, 0)], "until it is written");
    scene.write(at(620));
    assert_eq!(
        (waiting(&scene), &scene.told[1..]),
        (vec![], &[Notice::HeldNoMore(0, at(600))][..])
    );
}

#[test]
fn each_wait_is_twice_as_long_and_a_reason_is_told_once() {
    let mut scene = Scene::new();
    let (mut now, mut waits) = (at(0), Vec::new());
    scene.record(now, tp(0, 0));
    for _ in 0..7 {
        let began = now;
        hold(&mut scene, now, LOCKED);
        while scene.read.is_empty() {
            now += at(100);
            scene.tick(now);
        }
        waits.push(now.saturating_sub(began).as_millis());
        scene.read.clear();
        scene.record(now, tp(0, 0));
        now += at(10);
    }
    assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    assert_eq!(scene.told.len(), 1);
    hold(&mut scene, now, "another reason");
    assert_eq!(scene.told.len(), 2);
}

#[test]
fn a_held_partition_without_a_record_is_held_no_more() {
    let mut scene = Scene::new();
    scene.record(at(0), tp(0, 0));
    hold(&mut scene, at(20), LOCKED);
    scene.tick(at(520));
    scene.tick(at(519) + at(10_000));
    assert_eq!(waiting(&scene), [tp(0, 0)]);
    scene.tick(at(520) + at(10_000));
    assert_eq!(waiting(&scene), []);
}

#[test]
fn a_held_partition_that_is_taken_away_is_its_next_owners() {
    let mut scene = Scene::new();
    scene.record(at(0), tp(0, 0));
    let (id, _) = scene.take();
    scene.pipeline.hold(at(20), id, LOCKED);
    scene.pipeline.lose(at(30), vec![tp(0, 0)]);
    scene.act(at(30));
    scene.tick(at(600));
    assert_eq!((waiting(&scene), scene.read.as_slice()), (vec![], &[][..]));

    scene.record(at(700), tp(0, 1));
    let (id, _) = scene.take();
    scene.pipeline.lose(at(720), vec![tp(0, 1)]);
    scene.pipeline.hold(at(730), id, LOCKED);
    scene.act(at(730));
    assert_eq!(waiting(&scene), [], "it was taken away while it was tried");
}

#[test]
fn a_drain_does_not_wait_for_a_held_partition() {
    let mut scene = Scene::new();
    scene.record(at(0), tp(0, 0));
    let (id, _) = scene.take();
    scene.pipeline.drain(at(15));
    let mut drained = || {
        let actions: Vec<_> = std::iter::from_fn(|| scene.pipeline.next_action()).collect();
        let drained = actions.iter().any(|action| matches!(action, Action::Drained));
        scene.pipeline.hold(at(20), id, LOCKED);
        drained
    };
    assert_eq!([drained(), drained()], [false, true], "only a worker's batch is waited for");
}
