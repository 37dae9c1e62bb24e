//! The pipeline's progress, for metrics and people.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::batch::RoutePartition;
use crate::core::pipeline::Pipeline;
use crate::core::pipeline::action::{
    Doing, PartitionProgress, PartitionWaits, PipelineProgress, RouteProgress,
};
use crate::core::pipeline::ahead::Ahead;
use crate::core::pipeline::buffer::Buffer;
use crate::core::pipeline::partition::{Fetching, PartitionState};

/// How long a batch waits for a row before that is told.
const TOLD_AFTER: Duration = Duration::from_secs(10);

impl Pipeline {
    /// What is held, and where the routes and the partitions stand.
    pub fn progress(&self, now: Duration) -> PipelineProgress {
        let in_flight_bytes = self.in_flight.values().map(|flight| flight.bytes).sum();
        PipelineProgress {
            open_rows: self
                .partitions
                .values()
                .filter_map(|p| Some(p.buffer.as_ref()?.rows()))
                .sum(),
            open_bytes: self.budget.held() - in_flight_bytes,
            in_flight_rows: self.in_flight.values().map(|flight| flight.rows).sum(),
            in_flight_bytes,
            routes: (0..self.routes.len()).map(|route| self.route_progress(now, route)).collect(),
            partitions: self
                .partitions
                .iter()
                .map(|(tp, partition)| self.partition(*tp, partition))
                .collect(),
            waiting: self.waiting(now),
            stopped: self.stopped.iter().map(|(route, why)| (route, why.to_owned())).collect(),
        }
    }

    fn waiting(&self, now: Duration) -> BTreeMap<RoutePartition, PartitionWaits> {
        let held = self.held.iter().map(|(tp, why)| (tp, PartitionWaits::Held(why.to_owned())));
        let parked = self.in_flight.values().filter_map(|flight| {
            let parked = flight.parked.as_ref()?;
            (now.saturating_sub(parked.since) >= TOLD_AFTER).then_some((flight, parked))
        });
        let parked = parked.flat_map(|(flight, parked)| {
            let of = |ahead: &Ahead| (ahead.tp, ahead.end.is_some());
            let ahead: Vec<_> = parked.ahead().iter().map(of).collect();
            flight.tps.iter().map(move |(tp, _)| (*tp, PartitionWaits::ForRow(ahead.clone())))
        });
        held.chain(parked).collect()
    }

    fn partition(&self, tp: RoutePartition, partition: &PartitionState) -> PartitionProgress {
        let flight = partition.in_flight.and_then(|id| self.in_flight.get(&id));
        let on_its_way = flight.and_then(|flight| {
            flight.tps.iter().find(|(other, _)| *other == tp).and_then(|found| found.1)
        });
        PartitionProgress {
            tp,
            reading: partition.reading,
            leaving: !partition.reading && partition.epoch == 0,
            paused: partition.fetching == Fetching::Paused,
            next: partition.next,
            written: partition.written,
            committed: self.commits.known(tp),
            buffer_rows: partition.buffer.as_ref().map_or(0, Buffer::rows),
            buffer_bytes: partition.buffer.as_ref().map_or(0, Buffer::bytes),
            oldest: on_its_way.or_else(|| partition.buffer.as_ref().and_then(Buffer::oldest)),
        }
    }

    fn route_progress(&self, now: Duration, route: usize) -> RouteProgress {
        let route_state = &self.routes[route];
        let partitions = || self.partitions.iter().filter(|(tp, _)| tp.route == route);
        let doing = if partitions().any(|(tp, partition)| self.is_waiting(now, *tp, partition)) {
            let is_free = route_state.throttle.is_free(now)
                && self.ceiling.is_free(now, route_state.limits.priority);
            if is_free { Doing::Waiting } else { Doing::Throttled }
        } else if self.in_flight.values().any(|flight| flight.route == route && flight.rows > 0) {
            Doing::Writing
        } else if partitions().any(|(_, partition)| partition.buffer.is_some()) {
            Doing::Filling
        } else {
            Doing::Idle
        };
        let (records_read, target_rows) = (route_state.records_read, route_state.size.target());
        RouteProgress { records_read, target_rows, doing }
    }
}
