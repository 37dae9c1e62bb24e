//! Routes that a person must fix, and batches that wait for a row, each by the shortest story.

use std::collections::BTreeMap;
use std::sync::Arc;

use write_behind_shared::{NextOffset, Offset, Partition};

use super::*;
use crate::core::batch::{Batch, Stop, Written};
use crate::core::pipeline::action::{
    BatchResult, Located, PartitionProgress, PipelineLimits, RouteLimits, WriteCost,
};
use crate::core::pipeline::ahead::Survey;
use crate::core::pipeline::bounds::Bounds;
use crate::core::record::Incoming;

#[path = "parked.rs"]
mod parked;

const NOW: Duration = Duration::ZERO;

pub(in crate::core::pipeline) fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(in crate::core::pipeline) fn tp(route: usize, partition: i32) -> RoutePartition {
    RoutePartition { route, partition: Partition(partition) }
}

/// A pipeline with one worker and two routes: the first has partitions 0 and 1, the second 2.
pub(in crate::core::pipeline) struct Scene {
    pub(in crate::core::pipeline) pipeline: Pipeline,
    /// Where the database stands.
    pub(in crate::core::pipeline) next: BTreeMap<RoutePartition, i64>,
    /// Actions not looked at yet.
    pub(in crate::core::pipeline) batches: Vec<(BatchId, Box<Batch>)>,
    pub(in crate::core::pipeline) told: Vec<Notice>,
    pub(in crate::core::pipeline) read: Vec<RoutePartition>,
    paused: Vec<RoutePartition>,
    /// The partition whose record is refused next.
    blamed: Option<Partition>,
}

impl Scene {
    pub(in crate::core::pipeline) fn new() -> Self {
        Self::with(1 << 30, 1)
    }

    pub(in crate::core::pipeline) fn with(memory: usize, workers: usize) -> Self {
        let limits = PipelineLimits {
            max_rows: 100,
            max_bytes: 1 << 20,
            max_age: at(10),
            target_time: at(1_000),
            memory,
            workers,
            prepared: 0,
            rows_per_second: None,
            bounds: Bounds { rest: None, ..Bounds::STANDARD },
        };
        let mut scene = Self {
            pipeline: Pipeline::new(limits, [RouteLimits::default(); 2]),
            next: BTreeMap::new(),
            batches: Vec::new(),
            told: Vec::new(),
            read: Vec::new(),
            paused: Vec::new(),
            blamed: None,
        };
        scene.pipeline.assign(&[tp(0, 0), tp(0, 1), tp(1, 2)]);
        scene.act(NOW);
        scene.read.clear();
        scene
    }

    /// Carries out what the pipeline says, and answers at once where partitions stand.
    pub(in crate::core::pipeline) fn act(&mut self, now: Duration) {
        while let Some(action) = self.pipeline.next_action() {
            match action {
                Action::Locate(asked) => {
                    let located = |(tp, epoch): (RoutePartition, u64)| Located {
                        tp,
                        epoch,
                        next: NextOffset(self.next.get(&tp).copied().unwrap_or(0)),
                        committed: None,
                        was_adopted: false,
                        writers: Vec::new(),
                    };
                    let found = asked.into_iter().map(located).collect();
                    self.pipeline.located(now, found);
                }
                Action::Read(tps) => self.read.extend(tps.iter().map(|(tp, _)| *tp)),
                Action::Write(closed) => {
                    let id = closed.id;
                    self.batches.push((id, Box::new(closed.into_batch(Arc::from("topic")))));
                }
                Action::WriteAgain(id, batch) => self.batches.push((id, batch)),
                Action::Pause(tps) => self.paused.extend(tps),
                Action::Tell(notice) => self.told.push(notice),
                Action::Commit(id, _) => self.pipeline.commit_answered(now, id, true),
                // Nobody answers a look: it is as if the other client could not reach Kafka.
                Action::Resume(_) | Action::Release(_) | Action::LookAtSkip(..) => {}
                Action::GiveUp(..) | Action::Drained => panic!("unasked: {action:?}"),
            }
        }
    }

    pub(in crate::core::pipeline) fn tick(&mut self, now: Duration) {
        self.pipeline.tick(now);
        self.act(now);
    }

    /// The next record of a partition arrives.
    pub(in crate::core::pipeline) fn fold(&mut self, now: Duration, tp: RoutePartition) {
        let offset = self.pipeline.next_of(tp).map_or(0, |next| next.0);
        let key = offset.to_string();
        let incoming = Incoming {
            partition: tp.partition,
            offset: Offset(offset),
            timestamp: None,
            key: Some(key.as_bytes()),
            value: Some(b"{}"),
            headers: &[],
        };
        self.pipeline.record(now, tp.route, &incoming);
    }

    /// The next record of a partition arrives, and its batch closes.
    pub(in crate::core::pipeline) fn record(&mut self, now: Duration, tp: RoutePartition) {
        self.fold(now, tp);
        self.tick(now + at(10));
    }

    pub(in crate::core::pipeline) fn take(&mut self) -> (BatchId, Box<Batch>) {
        assert_eq!(self.batches.len(), 1, "one batch is on its way");
        self.batches.remove(0)
    }

    fn refuse(&mut self, now: Duration, why: &str) {
        let (id, _) = self.take();
        self.pipeline.stopped(now, id, &Stop { why: why.to_owned(), partition: self.blamed });
        self.act(now);
    }

    pub(in crate::core::pipeline) fn write(&mut self, now: Duration) {
        let (id, batch) = self.take();
        for span in &batch.spans {
            self.next.insert(tp(batch.route, span.partition.0), span.end.0);
        }
        let ended = BatchResult::Written(Written::new(batch.spans.clone()), WriteCost::default());
        self.pipeline.finished(now, id, &ended);
        self.act(now);
    }

    /// Tries the batch in flight as often as it is handed out. Returns how often that was, and when
    /// it was told to refuse.
    fn hold_until_refused(&mut self, mut now: Duration) -> (u32, Duration) {
        for tries in 1..100 {
            let (id, batch) = self.take();
            if batch.refuse_missing_references {
                self.batches.push((id, batch));
                return (tries, now);
            }
            self.pipeline.park(now, id, batch, &Survey::default());
            self.act(now);
            while self.batches.is_empty() {
                now += at(10);
                self.tick(now);
            }
        }
        panic!("it is never refused");
    }
}

#[test]
fn a_route_that_is_refused_lets_go_of_what_it_holds_and_the_other_goes_on() {
    let mut scene = Scene::new();
    scene.record(NOW, tp(0, 0));
    scene.record(at(20), tp(0, 1));
    scene.refuse(at(40), "no table");
    assert_eq!(scene.told, [Notice::RouteStopped(0, "no table".to_owned())]);
    assert_eq!(scene.paused, [tp(0, 0), tp(0, 1)]);
    assert_eq!(scene.pipeline.progress(NOW).open_bytes, 0);
    scene.record(at(60), tp(1, 2));
    scene.write(at(80));
    assert_eq!(scene.pipeline.progress(NOW).stopped[&0], "no table");
}

#[test]
fn a_stopped_route_is_tried_by_the_partition_that_was_refused_and_then_read_again_whole() {
    let mut scene = Scene::new();
    scene.record(NOW, tp(0, 1));
    scene.refuse(NOW, "no table");
    scene.tick(at(499));
    assert_eq!(scene.read, []);
    scene.tick(at(500));
    assert_eq!(scene.read, [tp(0, 1)], "one partition is enough to know");
    scene.record(at(500), tp(0, 1));
    scene.told.clear();
    scene.write(at(600));
    assert_eq!(scene.told, [Notice::RouteRuns(0, at(600))]);
    assert!(scene.read.contains(&tp(0, 0)), "{:?}", scene.read);
    assert!(scene.pipeline.progress(NOW).stopped.is_empty());
    assert!(scene.pipeline.progress(NOW).partitions.iter().all(|part| part.reading));
}

#[test]
fn a_stopped_route_is_tried_by_the_partition_that_has_the_bad_record() {
    let mut scene = Scene::new();
    scene.fold(NOW, tp(0, 0));
    scene.record(NOW, tp(0, 1));
    scene.blamed = Some(Partition(1));
    scene.refuse(at(10), "a bad record");
    scene.tick(at(510));
    assert_eq!(scene.read, [tp(0, 1)], "the other one would succeed, and the route stop again");
}

#[test]
fn a_route_that_is_refused_again_waits_longer_up_to_ten_seconds_and_says_each_reason_once() {
    let mut scene = Scene::new();
    scene.record(NOW, tp(0, 0));
    scene.refuse(NOW, "no table");
    let (mut now, mut waits) = (NOW, Vec::new());
    for _ in 0..7 {
        let from = now;
        scene.read.clear();
        while scene.read.is_empty() {
            now += at(100);
            scene.tick(now);
        }
        waits.push(now.saturating_sub(from).as_millis());
        scene.record(now, tp(0, 0));
        scene.refuse(now, "no table");
    }
    assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
    assert_eq!(scene.told.len(), 1);
    scene.tick(now + at(10_000));
    scene.record(now + at(10_000), tp(0, 0));
    scene.refuse(now + at(10_000), "no right");
    assert_eq!(scene.told.last(), Some(&Notice::RouteStopped(0, "no right".to_owned())));
}

#[test]
fn a_trial_that_meets_no_record_does_not_keep_the_route_stopped() {
    let mut scene = Scene::new();
    scene.record(NOW, tp(0, 0));
    scene.refuse(NOW, "no table");
    scene.tick(at(500));
    scene.pipeline.ends([(tp(0, 0), NextOffset(0))]);
    scene.tick(at(500) + at(10_000));
    assert!(scene.pipeline.progress(NOW).stopped.is_empty());
}

#[test]
fn a_trial_that_kafka_does_not_answer_is_no_success_and_another_partition_is_tried() {
    let mut scene = Scene::new();
    scene.record(NOW, tp(0, 0));
    scene.refuse(NOW, "no table");
    scene.pipeline.ends([(tp(0, 0), NextOffset(1))]);
    scene.tick(at(500));
    for turn in 1..7 {
        scene.read.clear();
        scene.tick(at(500) + at(10_000) * turn);
        assert_eq!(scene.read, [tp(0, (turn % 2) as i32)]);
        let reads = |part: &&PartitionProgress| part.tp.route == 0 && part.reading;
        let partitions = scene.pipeline.progress(NOW).partitions;
        assert_eq!(partitions.iter().filter(reads).count(), 1, "one at a time");
        assert!(scene.pipeline.progress(NOW).stopped.contains_key(&0));
    }
    assert_eq!(scene.told.len(), 1, "{:?}", scene.told);
    let now = at(600) + at(10_000) * 6;
    scene.record(now, tp(0, 0));
    scene.write(now);
    assert!(scene.pipeline.progress(NOW).stopped.is_empty());
}

#[test]
fn a_route_whose_refused_partition_is_taken_away_is_tried_by_another() {
    let mut scene = Scene::new();
    scene.record(NOW, tp(0, 0));
    scene.refuse(NOW, "no table");
    scene.pipeline.lose(at(1), vec![tp(0, 0)]);
    scene.tick(at(500));
    assert_eq!(scene.read, [tp(0, 1)]);
}

#[test]
fn a_stopped_route_does_not_hold_up_a_drain() {
    let mut scene = Scene::new();
    scene.record(NOW, tp(0, 0));
    scene.refuse(NOW, "no table");
    scene.pipeline.drain(at(1));
    let actions: Vec<_> = std::iter::from_fn(|| scene.pipeline.next_action()).collect();
    assert!(actions.iter().any(|action| matches!(action, Action::Drained)), "{actions:?}");
}

#[test]
fn a_trial_whose_batch_waits_for_a_row_ends_with_its_partition() {
    for held_first in [true, false] {
        let mut scene = Scene::new();
        scene.record(NOW, tp(0, 0));
        scene.refuse(at(20), "no table");
        scene.tick(at(520));
        scene.record(at(520), tp(0, 0));
        let (id, batch) = scene.take();
        if held_first {
            scene.pipeline.park(at(540), id, batch, &Survey::default());
            scene.pipeline.lose(at(540), vec![tp(0, 0)]);
        } else {
            scene.pipeline.lose(at(540), vec![tp(0, 0)]);
            scene.pipeline.park(at(540), id, batch, &Survey::default());
        }
        scene.act(at(540));
        assert!(scene.pipeline.is_idle(), "nothing of it is held any more");
        scene.read.clear();
        scene.tick(at(540) + at(10_000));
        assert_eq!(scene.read, [tp(0, 1)], "the route's other partition is tried");
        assert!(scene.pipeline.progress(NOW).stopped.contains_key(&0), "nothing was written");
    }
}

#[test]
fn a_partition_that_comes_during_a_trial_waits_for_its_end() {
    let mut scene = Scene::new();
    scene.record(NOW, tp(0, 0));
    scene.refuse(at(20), "no table");
    scene.tick(at(520));
    scene.read.clear();
    scene.pipeline.assign(&[tp(0, 3)]);
    scene.act(at(520));
    assert_eq!(scene.read, []);
    scene.record(at(520), tp(0, 0));
    scene.write(at(540));
    assert_eq!(scene.read, [tp(0, 1), tp(0, 3)]);
}
