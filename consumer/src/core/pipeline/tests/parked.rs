//! Batches that wait for a row that another batch has, or that never comes.

use super::*;
use crate::core::pipeline::ahead::Surveyed;

#[test]
fn a_batch_that_waits_for_a_row_leaves_its_worker_to_the_batch_that_has_it() {
    let mut scene = Scene::new();
    scene.record(NOW, tp(0, 0));
    scene.record(NOW, tp(1, 2));
    let (child, batch) = scene.take();
    scene.pipeline.park(at(20), child, batch, &Survey::default());
    scene.act(at(20));
    assert_eq!(scene.batches[0].1.route, 1, "the one worker takes what is ahead");
    scene.write(at(30));
    assert_eq!(scene.take().0, child, "what was ahead is written, so it is tried at once");
}

#[test]
fn what_is_ahead_in_the_log_of_another_partition_is_waited_for_without_counting_tries() {
    let mut scene = Scene::new();
    scene.pipeline.ends([(tp(1, 2), NextOffset(1_000))]);
    scene.record(NOW, tp(0, 0));
    let mut now = NOW;
    for _ in 0..60 {
        let (child, batch) = scene.take();
        assert!(!batch.refuse_missing_references, "after {now:?}");
        scene.record(now, tp(1, 2));
        now += at(10);
        scene.pipeline.park(now, child, batch, &Survey::default());
        scene.act(now);
        scene.write(now);
        while scene.batches.is_empty() {
            now += at(100);
            scene.tick(now);
        }
    }
}

#[test]
fn a_row_that_never_comes_is_refused_after_a_few_tries() {
    let mut scene = Scene::new();
    scene.record(NOW, tp(0, 0));
    let (tries, after) = scene.hold_until_refused(NOW);
    assert_eq!(tries, 6, "the first try, four that count, and the one that refuses");
    assert!((at(1_000)..at(3_000)).contains(&after), "{after:?}");
}

#[test]
fn a_log_that_ends_without_a_record_is_not_waited_for_without_end() {
    let mut scene = Scene::new();
    scene.pipeline.ends([(tp(1, 2), NextOffset(1))]);
    scene.record(NOW, tp(0, 0));
    let (_, after) = scene.hold_until_refused(NOW);
    assert!((at(120_000)..at(130_000)).contains(&after), "{after:?}");
}

#[test]
fn what_there_is_no_memory_to_read_is_not_waited_for() {
    let mut scene = Scene::with(1, 1);
    scene.pipeline.ends([(tp(1, 2), NextOffset(1_000))]);
    scene.record(NOW, tp(0, 0));
    assert!(scene.paused.contains(&tp(1, 2)), "the batch takes all the memory");
    assert_eq!(scene.hold_until_refused(NOW).0, 6);
}

#[test]
fn two_batches_that_wait_do_not_wait_for_each_other() {
    let mut scene = Scene::new();
    scene.record(NOW, tp(0, 0));
    scene.record(NOW, tp(1, 2));
    for _ in 0..2 {
        let (id, batch) = scene.take();
        scene.pipeline.park(at(20), id, batch, &Survey::default());
        scene.act(at(20));
    }
    let (mut refused, mut now) = (0, at(20));
    while refused < 2 {
        now += at(100);
        assert!(now < at(120_000), "they wait for each other");
        scene.tick(now);
        if let Some((id, batch)) = scene.batches.pop() {
            if batch.refuse_missing_references {
                scene.batches.push((id, batch));
                scene.write(now);
                refused += 1;
            } else {
                scene.pipeline.park(now, id, batch, &Survey::default());
                scene.act(now);
            }
        }
    }
}

#[test]
fn two_batches_of_a_route_that_wait_for_each_other_are_written_as_one() {
    let mut scene = Scene::new();
    let mut now = at(20);
    for partition in [0, 1] {
        scene.record(NOW, tp(0, partition));
        let (id, batch) = scene.take();
        assert_eq!(batch.spans.len(), 1);
        scene.pipeline.park(now, id, batch, &Survey::default());
        scene.act(now);
    }
    loop {
        now += at(100);
        assert!(now < at(60_000), "each waits for what the other one has");
        scene.tick(now);
        let Some((id, batch)) = scene.batches.pop() else { continue };
        assert!(!batch.refuse_missing_references, "a good row would be set aside");
        if batch.spans.len() == 2 {
            let of: Vec<_> = batch.spans.iter().map(|span| span.partition.0).collect();
            assert_eq!((of, batch.rows.len(), batch.records), (vec![0, 1], 2, 2));
            scene.batches.push((id, batch));
            break;
        }
        scene.pipeline.park(now, id, batch, &Survey::default());
        scene.act(now);
    }
    scene.write(now);
    assert!(scene.pipeline.is_idle(), "nothing is held any more");
    scene.record(now, tp(0, 0));
    scene.record(now, tp(0, 1));
    assert!(!scene.batches.is_empty(), "both go on");
}

#[test]
fn a_batch_is_refused_no_row_for_the_tries_of_another_that_it_joins() {
    for tries in 1..=5 {
        let (mut scene, mut now) = (Scene::new(), at(20));
        let next = |scene: &mut Scene, now: &mut Duration| {
            while scene.batches.is_empty() {
                *now += at(10);
                scene.tick(*now);
            }
            scene.take()
        };
        scene.record(NOW, tp(0, 0));
        for _ in 0..tries {
            let (id, batch) = next(&mut scene, &mut now);
            assert!(!batch.refuse_missing_references);
            scene.pipeline.park(now, id, batch, &Survey::default());
            scene.act(now);
        }
        // The row that it lacks is still ahead, at another process.
        let standing = Surveyed { end: Some(NextOffset(99)), written: Some(NextOffset(5)) };
        let survey = Survey(BTreeMap::from([(tp(1, 7), standing)]));
        scene.record(now, tp(0, 1));
        let (id, batch) = next(&mut scene, &mut now);
        assert_eq!(batch.spans[0].partition.0, 1, "the worker is free for it");
        scene.pipeline.park(now, id, batch, &survey);
        scene.act(now);
        let began = now;
        while now < began + at(30_000) {
            let (id, batch) = next(&mut scene, &mut now);
            let is_in = batch.spans.iter().any(|span| span.partition.0 == 1);
            assert!(!is_in || !batch.refuse_missing_references, "after {tries} tries of the other");
            if batch.refuse_missing_references {
                scene.batches.push((id, batch));
                scene.write(now);
            } else {
                scene.pipeline.park(now, id, batch, &survey);
                scene.act(now);
            }
        }
    }
}

#[test]
fn a_batch_that_waits_is_forgotten_with_its_partitions() {
    let mut scene = Scene::new();
    scene.record(NOW, tp(0, 0));
    let (id, batch) = scene.take();
    scene.pipeline.park(at(20), id, batch, &Survey::default());
    scene.pipeline.lose(at(30), vec![tp(0, 0)]);
    assert_eq!(scene.pipeline.progress(NOW).in_flight_bytes, 0);
    assert!(scene.pipeline.is_idle(), "nothing of it is counted any more");
}
