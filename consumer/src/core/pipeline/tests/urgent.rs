//! Urgent records: their partition goes ahead of others, with everything before them, and no other
//! starves.

use super::cases::{NOW, at, reading_all, some_limits};
use super::*;
use crate::core::batch::Written;
use crate::core::pipeline::action::{Closed, WriteCost};

/// A partition of the only route.
fn place(partition: i32) -> RoutePartition {
    RoutePartition { route: 0, partition: Partition(partition) }
}

/// One normal route of these partitions, for a database that is never so idle that a small batch
/// goes early.
fn reading(limits: PipelineLimits, partitions: i32) -> Pipeline {
    let limits = PipelineLimits { bounds: Bounds { rest: None, ..Bounds::STANDARD }, ..limits };
    let places: Vec<_> = (0..partitions).map(place).collect();
    reading_all(Pipeline::new(limits, [ROUTE]), &places)
}

fn record(pipeline: &mut Pipeline, now: Duration, partition: i32, offset: i64, is_urgent: bool) {
    let key = offset.to_string();
    let high = [(record::PRIORITY, Some(record::HIGH.as_bytes()))];
    let incoming = Incoming {
        partition: Partition(partition),
        offset: Offset(offset),
        timestamp: None,
        key: Some(key.as_bytes()),
        value: Some(b"{}"),
        headers: if is_urgent { &high } else { &[] },
    };
    pipeline.record(now, 0, &incoming);
}

/// What leaves now.
fn leaving(pipeline: &mut Pipeline, now: Duration) -> Option<Closed> {
    pipeline.tick(now);
    std::iter::from_fn(|| pipeline.next_action()).find_map(|action| match action {
        Action::Write(closed) => Some(closed),
        _ => None,
    })
}

fn written(pipeline: &mut Pipeline, now: Duration, closed: Closed) {
    let (id, batch) = (closed.id, closed.into_batch(Arc::from("topic")));
    let cost = WriteCost { took: at(batch.rows.len() as u64), saturated: 0 };
    pipeline.finished(now, id, &BatchResult::Written(Written::new(batch.spans), cost));
}

fn partitions(closed: &Closed) -> Vec<i32> {
    closed.buffers.iter().map(|buffer| buffer.partition().0).collect()
}

#[test]
fn an_urgent_record_leaves_at_once_with_all_that_is_ahead_of_it_and_nothing_of_others() {
    let mut pipeline = reading(some_limits(), 2);
    record(&mut pipeline, NOW, 0, 0, false);
    record(&mut pipeline, NOW, 1, 0, false);
    assert!(leaving(&mut pipeline, NOW).is_none(), "neither is worth writing");
    record(&mut pipeline, NOW, 1, 1, true);
    let closed = leaving(&mut pipeline, NOW).expect("it does not wait for its age");
    assert_eq!(partitions(&closed), [1]);
    assert_eq!((closed.buffers[0].start().0, closed.buffers[0].next().0), (0, 2));
    written(&mut pipeline, NOW, closed);
    record(&mut pipeline, NOW, 1, 2, false);
    assert!(
        leaving(&mut pipeline, NOW).is_none(),
        "once it is written, its partition is as others"
    );
}

#[test]
fn an_urgent_record_does_not_wait_for_the_debt_of_others_under_a_ceiling() {
    let limits = PipelineLimits { rows_per_second: Some(10), max_rows: 10, ..some_limits() };
    let mut pipeline = reading(limits, 2);
    (0..10).for_each(|offset| record(&mut pipeline, NOW, 0, offset, false));
    let large = leaving(&mut pipeline, NOW).expect("it is full");
    written(&mut pipeline, at(10), large);
    record(&mut pipeline, at(10), 1, 0, false);
    assert!(leaving(&mut pipeline, at(500)).is_none(), "the debt is a second");
    record(&mut pipeline, at(500), 1, 1, true);
    assert!(leaving(&mut pipeline, at(500)).is_some());
}

/// A database that takes a row per millisecond, behind eight partitions that always have more. Each
/// millisecond every partition gets a row; those of `urgent` are urgent, every so many of them.
struct Behind {
    pipeline: Pipeline,
    now: Duration,
    busy: Option<(Duration, Closed)>,
    next: [i64; 8],
    paused: [bool; 8],
    /// When each record that is not in the database was sent.
    sent: [BTreeMap<i64, (Duration, bool)>; 8],
    waited: Vec<(usize, bool, Duration)>,
    rows: [usize; 8],
}

impl Behind {
    fn new() -> Self {
        let limits = PipelineLimits {
            max_rows: 400,
            max_bytes: 1 << 20,
            max_age: at(50),
            target_time: at(200),
            memory: 1 << 30,
            workers: 1,
            ..some_limits()
        };
        Self {
            pipeline: reading(limits, 8),
            now: NOW,
            busy: None,
            next: [0; 8],
            paused: [false; 8],
            sent: Default::default(),
            waited: Vec::new(),
            rows: [0; 8],
        }
    }

    fn run(&mut self, millis: u64, is_urgent: impl Fn(usize, u64) -> bool) {
        for milli in 0..millis {
            self.now += at(1);
            if self.busy.as_ref().is_some_and(|(until, _)| *until <= self.now)
                && let Some((_, closed)) = self.busy.take()
            {
                self.written(closed);
            }
            for partition in 0..8 {
                if !self.paused[partition] {
                    let (offset, urgent) = (self.next[partition], is_urgent(partition, milli));
                    self.next[partition] += 1;
                    self.sent[partition].insert(offset, (self.now, urgent));
                    record(&mut self.pipeline, self.now, partition as i32, offset, urgent);
                    self.act();
                }
            }
            self.pipeline.tick(self.now);
            self.act();
        }
    }

    fn written(&mut self, closed: Closed) {
        for buffer in &closed.buffers {
            let partition = buffer.partition().0 as usize;
            self.rows[partition] += buffer.rows();
            let later = self.sent[partition].split_off(&buffer.next().0);
            for (at, urgent) in std::mem::replace(&mut self.sent[partition], later).into_values() {
                self.waited.push((partition, urgent, self.now.saturating_sub(at)));
            }
        }
        written(&mut self.pipeline, self.now, closed);
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.pipeline.next_action() {
            let mut pause = |tps: &[RoutePartition], paused: bool| {
                for tp in tps {
                    self.paused[tp.partition.0 as usize] = paused;
                }
            };
            match action {
                Action::Write(closed) => {
                    let rows: usize = closed.buffers.iter().map(Buffer::rows).sum();
                    self.busy = Some((self.now + at(rows as u64), closed));
                }
                Action::Pause(tps) => pause(&tps, true),
                Action::Resume(tps) => pause(&tps, false),
                Action::Commit(id, _) => self.pipeline.commit_answered(self.now, id, true),
                _ => {}
            }
        }
    }

    fn longest(&self, of_urgent: bool) -> Duration {
        let waits = self.waited.iter().filter(|(_, urgent, _)| *urgent == of_urgent);
        waits.map(|(.., waited)| *waited).max().unwrap_or_default()
    }
}

#[test]
fn a_rare_urgent_record_of_a_database_that_is_behind_waits_for_its_own_partition_and_one_batch() {
    let mut behind = Behind::new();
    behind.run(30_000, |partition, milli| milli % 16_000 == partition as u64 * 2_000);
    // The batch on its way, and its own partition's buffer: no more than 400 rows each.
    let (urgent, normal) = (behind.longest(true), behind.longest(false));
    assert!(urgent <= at(2 * 400 + 1), "{urgent:?}");
    assert!(normal > urgent * 2, "{normal:?} beside {urgent:?}");
}

#[test]
fn whatever_is_urgent_the_other_partitions_keep_a_fifth_of_the_database_and_none_starves() {
    let mut behind = Behind::new();
    behind.run(60_000, |partition, _| partition == 0);
    let all: usize = behind.rows.iter().sum();
    let others = all - behind.rows[0];
    assert!(others * 5 > all - 5 * 400, "{:?}", behind.rows);
    assert!(behind.rows.iter().all(|rows| *rows >= 1_000), "{:?}", behind.rows);
}
