//! The formulas beside the pipeline itself, before a database of a given pace, in virtual time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use write_behind_shared::{Offset, Partition};

use super::*;
use crate::core::batch::{RoutePartition, Written};
use crate::core::pipeline::Pipeline;
use crate::core::pipeline::action::{
    Action, BatchResult, Closed, PipelineLimits, RouteLimits, WriteCost,
};
use crate::core::pipeline::tests::cases::reading_all;
use crate::core::record::Incoming;

const TICK: f64 = 0.01;
/// The batch size begins at `max_rows` and halves until a batch takes the target time. It has by now.
const SETTLED: f64 = 60.0;

/// A log, the pipeline, and connections that each take their share of the database's pace.
struct Simulated {
    now: f64,
    pipeline: Pipeline,
    logs: Vec<Log>,
    /// What the database writes, and when it is done.
    writing: Vec<(f64, f64, Closed)>,
    row_seconds: f64,
    seen: Seen,
}

/// A partition: the keys that wait, each with the time of its write.
#[derive(Default)]
struct Log {
    waiting: VecDeque<(f64, u64)>,
    next: i64,
    is_paused: bool,
}

#[derive(Debug, Default)]
struct Seen {
    rows: f64,
    records: f64,
    lag: f64,
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn place(partition: usize) -> RoutePartition {
    RoutePartition { route: 0, partition: Partition(partition as i32) }
}

impl Simulated {
    fn new(load: &PlannedLoad, sizing: &Sizing) -> Self {
        let workers = sizing.connections.min(sizing.partitions);
        let limits = PipelineLimits {
            max_rows: sizing.max_rows as usize,
            max_bytes: sizing.max_bytes as usize,
            max_age: defaults::MAX_AGE,
            target_time: seconds(sizing.target_time),
            memory: sizing.buffers as usize,
            workers: workers as usize,
            prepared: 0,
            rows_per_second: None,
            bounds: Bounds::STANDARD,
        };
        let places: Vec<_> = (0..sizing.partitions as usize).map(place).collect();
        let pipeline = Pipeline::new(limits, [RouteLimits::default()]);
        Self {
            now: 0.0,
            pipeline: reading_all(pipeline, &places),
            logs: places.iter().map(|_| Log::default()).collect(),
            writing: Vec::new(),
            row_seconds: f64::from(workers) / load.rows_per_second,
            seen: Seen::default(),
        }
    }

    /// A write of this row comes into the log.
    fn write(&mut self, row: u64) {
        let partition = (row % self.logs.len() as u64) as usize;
        self.logs[partition].waiting.push_back((self.now, row));
    }

    /// All that happens by the next tick.
    fn tick(&mut self) {
        self.now += TICK;
        while let Some(done) = self.writing.iter().position(|(done, ..)| *done <= self.now) {
            let (_, took, closed) = self.writing.swap_remove(done);
            self.written(took, closed);
        }
        for partition in 0..self.logs.len() {
            self.read(partition);
        }
        self.pipeline.tick(seconds(self.now));
        self.act();
    }

    fn read(&mut self, partition: usize) {
        while !self.logs[partition].is_paused
            && let Some((came, row)) = self.logs[partition].waiting.pop_front()
        {
            let offset = self.logs[partition].next;
            self.logs[partition].next += 1;
            let key = row.to_string();
            let incoming = Incoming {
                partition: Partition(partition as i32),
                offset: Offset(offset),
                timestamp: Some((came * 1_000.0) as i64),
                key: Some(key.as_bytes()),
                value: Some(b"{\"score\":1}"),
                headers: &[],
            };
            self.pipeline.record(seconds(self.now), 0, &incoming);
            self.act();
        }
    }

    fn written(&mut self, took: f64, closed: Closed) {
        self.seen.rows += closed.buffers.iter().map(|buffer| buffer.rows() as f64).sum::<f64>();
        self.seen.records +=
            closed.buffers.iter().map(|buffer| buffer.records() as f64).sum::<f64>();
        let oldest = closed.buffers.iter().filter_map(Buffer::oldest).min().unwrap();
        self.seen.lag = self.seen.lag.max(self.now - oldest as f64 / 1_000.0);
        let (id, batch) = (closed.id, closed.into_batch(Arc::from("topic")));
        let cost = WriteCost { took: seconds(took), saturated: 0 };
        let result = BatchResult::Written(Written::new(batch.spans), cost);
        self.pipeline.finished(seconds(self.now), id, &result);
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.pipeline.next_action() {
            match action {
                Action::Write(closed) => {
                    let rows: usize = closed.buffers.iter().map(Buffer::rows).sum();
                    let took = rows as f64 * self.row_seconds;
                    self.writing.push((self.now + took, took, closed));
                }
                Action::Pause(places) => self.pause(&places, true),
                Action::Resume(places) => self.pause(&places, false),
                Action::Commit(id, _) => {
                    self.pipeline.commit_answered(seconds(self.now), id, true);
                }
                _ => {}
            }
        }
    }

    fn pause(&mut self, places: &[RoutePartition], is_paused: bool) {
        for place in places {
            self.logs[place.partition.0 as usize].is_paused = is_paused;
        }
    }
}

/// Runs the load, and counts what is seen once its batches have found their size.
fn run(load: &PlannedLoad, sizing: &Sizing, rows_in_use: u64, seed: u64) -> Seen {
    let mut simulated = Simulated::new(load, sizing);
    let mut random = seed | 1;
    let mut due = 0.0;
    while simulated.now < SETTLED + sizing.lag * 4.0 {
        if simulated.now < SETTLED + sizing.lag {
            simulated.seen = Seen::default();
        }
        due += load.writes_per_second * TICK;
        while due >= 1.0 {
            due -= 1.0;
            // xorshift: the same on every machine.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            simulated.write(random % rows_in_use);
        }
        simulated.tick();
    }
    simulated.seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn the_pipeline_folds_as_much_and_is_as_late_as_the_formulas_say(
        rows_per_second in 300.0..1_000.0_f64,
        times in 1.5..10.0_f64,
        rows_in_use in 1_000_u64..4_000,
        partitions in prop::sample::select(vec![2_u32, 6, 24]),
        seed in any::<u64>(),
    ) {
        let writes_per_second = rows_per_second * times;
        let (window, in_use) = (60.0, rows_in_use as f64);
        let rows_in_window = -in_use * (-writes_per_second * window / in_use).exp_m1();
        let load = PlannedLoad {
            rows_in_window,
            record_bytes: 20.0,
            partitions: Some(partitions),
            ..load(writes_per_second, rows_per_second, rows_in_window)
        };
        let sizing = planned(&load);
        let seen = run(&load, &sizing, rows_in_use, seed);
        let fold = seen.records / seen.rows;
        prop_assert!(is_near(fold, sizing.fold, 0.05), "{fold} of {sizing:?}");
        // The latest of some thousand batches: with many partitions one may miss its turn.
        prop_assert!(is_near(seen.lag, sizing.lag, 0.75), "{} of {sizing:?}", seen.lag);
    }
}
