//! How routes share a limited database: a simulated one with a fixed time per row, some routes that
//! always have more to write, and others that write little.

use super::cases::{actions, at, reading_all};
use super::*;
use crate::core::batch::Written;
use crate::core::pipeline::action::{Closed, Doing, WriteCost};
use crate::core::pipeline::bounds::Bounds;

/// A database whose few connections each take a millisecond per row, and routes fed with distinct
/// rows.
struct Shared {
    pipeline: Pipeline,
    now: Duration,
    /// Batches in flight, with the times at which they will be written.
    busy: Vec<(Duration, Closed)>,
    routes: Vec<Fed>,
}

/// A route of two partitions, and what it is fed.
#[derive(Debug)]
struct Fed {
    limits: RouteLimits,
    /// Records that arrive per millisecond, as long as nothing is paused.
    per_milli: f64,
    due: f64,
    next: [i64; 2],
    paused: [bool; 2],
    pauses: usize,
    rows_written: usize,
    /// The longest time between the read of a record and the departure of its batch.
    oldest: Duration,
    largest: usize,
}

fn route(priority: Priority, per_milli: f64) -> Fed {
    let limits = RouteLimits { priority, ..ROUTE };
    Fed {
        limits,
        per_milli,
        due: 0.0,
        next: [0; 2],
        paused: [false; 2],
        pauses: 0,
        rows_written: 0,
        oldest: Duration::ZERO,
        largest: 0,
    }
}

fn shared_limits() -> PipelineLimits {
    PipelineLimits {
        max_rows: 400,
        max_bytes: 1 << 20,
        max_age: at(50),
        target_time: at(200),
        memory: 1 << 30,
        workers: 1,
        prepared: 0,
        rows_per_second: None,
        bounds: Bounds { rest: None, ..Bounds::STANDARD },
    }
}

fn place_of(route: usize, partition: usize) -> RoutePartition {
    RoutePartition { route, partition: Partition(partition as i32) }
}

impl Shared {
    fn new(limits: PipelineLimits, routes: Vec<Fed>) -> Self {
        let tps: Vec<RoutePartition> =
            (0..routes.len()).flat_map(|route| [place_of(route, 0), place_of(route, 1)]).collect();
        let pipeline = Pipeline::new(limits, routes.iter().map(|route| route.limits));
        let pipeline = reading_all(pipeline, &tps);
        Self { pipeline, now: Duration::ZERO, busy: Vec::new(), routes }
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += at(1);
            self.feed();
            let (done, busy) = std::mem::take(&mut self.busy)
                .into_iter()
                .partition(|(until, _): &(Duration, Closed)| *until <= self.now);
            self.busy = busy;
            for (_, closed) in done {
                self.written(closed);
            }
            self.pipeline.tick(self.now);
            self.act();
            self.no_worker_is_idle_while_something_could_go();
        }
    }

    fn feed(&mut self) {
        for route in 0..self.routes.len() {
            let fed = &mut self.routes[route];
            fed.due = (fed.due + fed.per_milli).min(fed.per_milli.max(1.0) * 2.0);
            while self.routes[route].due >= 1.0 {
                let fed = &mut self.routes[route];
                fed.due -= 1.0;
                let partition = usize::from(fed.next[0] > fed.next[1]);
                if fed.paused[partition] {
                    continue;
                }
                let offset = fed.next[partition];
                fed.next[partition] += 1;
                let key = offset.to_string();
                let incoming = Incoming {
                    partition: Partition(partition as i32),
                    offset: Offset(offset),
                    timestamp: None,
                    key: Some(key.as_bytes()),
                    value: Some(b"{}"),
                    headers: &[],
                };
                self.pipeline.record(self.now, route, &incoming);
                self.act();
            }
        }
    }

    fn written(&mut self, closed: Closed) {
        let (id, route) = (closed.id, closed.route);
        let batch = closed.into_batch(Arc::from("topic"));
        self.routes[route].rows_written += batch.rows.len();
        let effort = WriteCost { took: at(batch.rows.len() as u64), saturated: 0 };
        self.pipeline.finished(
            self.now,
            id,
            &BatchResult::Written(Written::new(batch.spans), effort),
        );
        self.act();
    }

    fn act(&mut self) {
        for action in actions(&mut self.pipeline) {
            match action {
                Action::Write(closed) => {
                    let rows: usize = closed.buffers.iter().map(Buffer::rows).sum();
                    let fed = &mut self.routes[closed.route];
                    fed.oldest = fed.oldest.max(closed.age);
                    fed.largest = fed.largest.max(rows);
                    self.busy.push((self.now + at(rows as u64), closed));
                }
                Action::Pause(tps) => self.pause(&tps, true),
                Action::Resume(tps) => self.pause(&tps, false),
                Action::Commit(id, _) => self.pipeline.commit_answered(self.now, id, true),
                _ => {}
            }
        }
    }

    fn pause(&mut self, tps: &[RoutePartition], paused: bool) {
        for tp in tps {
            let fed = &mut self.routes[tp.route];
            fed.paused[tp.partition.0 as usize] = paused;
            fed.pauses += usize::from(paused);
        }
    }

    fn no_worker_is_idle_while_something_could_go(&self) {
        let progress = self.pipeline.progress(self.now);
        let waiting = progress.routes.iter().any(|route| route.doing == Doing::Waiting);
        let is_idle = self.busy.len() < self.pipeline.limits.workers;
        assert!(!(waiting && is_idle), "at {:?}: {:?}", self.now, progress.routes);
    }

    fn rows(&self) -> usize {
        self.routes.iter().map(|route| route.rows_written).sum()
    }
}

fn a_priority() -> impl Strategy<Value = Priority> {
    prop::sample::select(vec![Priority::High, Priority::Normal, Priority::Low])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn of_a_saturated_database_every_route_gets_its_share_and_none_starves(
        priorities in prop::collection::vec(a_priority(), 2..4),
    ) {
        let weight = |priority| match priority {
            Priority::High => 16.0,
            Priority::Normal => 4.0,
            Priority::Low => 1.0,
        };
        let routes = priorities.iter().map(|priority| route(*priority, 5.0)).collect();
        let mut shared = Shared::new(shared_limits(), routes);
        shared.run(60_000);
        let all: f64 = priorities.iter().map(|priority| weight(*priority)).sum();
        for (fed, priority) in shared.routes.iter().zip(&priorities) {
            let share = fed.rows_written as f64 / shared.rows() as f64;
            let due = weight(*priority) / all;
            // The last batch of each is the only deviation.
            prop_assert!((share - due).abs() < 0.04, "{:?} has {share}, {due} is due", priority);
        }
        prop_assert!(shared.rows() > 58_000, "the database is never idle: {}", shared.rows());
    }

    #[test]
    fn a_high_route_keeps_its_age_beside_any_backlog_but_for_the_batch_on_its_way(
        others in prop::collection::vec((a_priority(), 1.0..5.0_f64), 1..3),
        per_milli in 0.01..0.2_f64,
    ) {
        let lower = |(priority, per_milli): (Priority, f64)| match priority {
            Priority::High => route(Priority::Normal, per_milli),
            other => route(other, per_milli),
        };
        let mut routes = vec![route(Priority::High, per_milli)];
        routes.extend(others.into_iter().map(lower));
        let mut shared = Shared::new(shared_limits(), routes);
        shared.run(20_000);
        let largest = shared.routes.iter().map(|route| route.largest).max().unwrap();
        let bound = shared_limits().max_age + at(largest as u64) * 2;
        let high = &shared.routes[0];
        prop_assert!(high.oldest <= bound, "{:?} old, {bound:?} at most", high.oldest);
        prop_assert!(shared.routes[1..].iter().all(|route| route.rows_written > 0));
    }

    #[test]
    fn under_a_ceiling_the_rate_is_kept_and_a_high_route_does_not_wait_for_the_debt_of_others(
        low_per_milli in 1.0..5.0_f64,
    ) {
        let limits = PipelineLimits { rows_per_second: Some(400), workers: 2, ..shared_limits() };
        let routes = vec![route(Priority::High, 0.1), route(Priority::Low, low_per_milli)];
        let mut shared = Shared::new(limits, routes);
        shared.run(30_000);
        let rows = shared.rows();
        prop_assert!(rows <= 12_000 + 800, "{rows} rows in 30 s at 400 a second");
        prop_assert!(rows >= 11_000, "the rate is used: {rows}");
        let high = &shared.routes[0];
        prop_assert!(high.oldest <= at(100), "{:?} old", high.oldest);
        prop_assert!(high.rows_written >= 2_900, "all of it: {}", high.rows_written);
    }

    #[test]
    fn a_route_with_a_ceiling_of_its_own_does_not_hold_up_the_others(
        rate in 10_u32..200,
    ) {
        let mut slow = route(Priority::High, 2.0);
        slow.limits.rows_per_second = Some(rate);
        let mut shared = Shared::new(shared_limits(), vec![slow, route(Priority::Low, 0.5)]);
        shared.run(20_000);
        let [slow, free] = &shared.routes[..] else { panic!("two routes") };
        let most = 20 * rate as usize + slow.largest;
        prop_assert!(slow.rows_written <= most, "{} rows, {most} at most", slow.rows_written);
        prop_assert!(free.rows_written >= 9_000, "all of it: {}", free.rows_written);
    }

    #[test]
    fn a_backlog_of_low_rows_takes_no_memory_from_high_ones(per_milli in 1.0..5.0_f64) {
        let limits = PipelineLimits { memory: 100_000, max_rows: 10_000, ..shared_limits() };
        let routes = vec![route(Priority::High, 0.05), route(Priority::Low, per_milli)];
        let mut shared = Shared::new(limits, routes);
        shared.run(10_000);
        prop_assert!(shared.routes[1].pauses > 0 || per_milli < 1.2);
        let high = &shared.routes[0];
        prop_assert_eq!(high.pauses, 0);
        prop_assert!(high.next[0] + high.next[1] >= 495, "all is read: {:?}", high.next);
    }
}
