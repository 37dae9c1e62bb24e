//! Which routes are stopped because a person must mend something: takes what the workers were refused,
//! says when a route is tried again, by which partition, and what is worth saying.
//!
//! A stopped route holds nothing: its buffers are let go, and none of its partitions is read. After a
//! wait one of them is read again, that whose batch was refused. When a batch of it is written, the
//! route runs again with all its partitions; if it is refused again, the next wait is longer.

use std::time::Duration;

use crate::core::batch::{BatchId, RoutePartition, Stop};
use crate::core::pipeline::Pipeline;
use crate::core::pipeline::action::{Action, Notice};
use crate::core::pipeline::partition::PartitionState;

impl Pipeline {
    /// A batch was not written, and will not be until a person has mended what `stop` says.
    pub fn stopped(&mut self, now: Duration, id: BatchId, stop: &Stop) {
        let Some(flight) = self.in_flight.remove(&id) else { return };
        self.budget.changed(self.routes[flight.route].limits.priority, flight.bytes, 0);
        let (why, mut probe) = (&*stop.why, None);
        for (tp, _) in &flight.tps {
            let Some(partition) = self.partitions.get_mut(tp) else { continue };
            if partition.in_flight == Some(id) {
                partition.in_flight = None;
                // A probe of another partition of the batch would succeed and run the route again, only
                // to stop at the same record.
                if probe.is_none() || stop.partition == Some(tp.partition) {
                    probe = Some(*tp);
                }
            }
        }
        // A batch whose partitions were all let go says nothing that their next owner won't see.
        if let Some(tp) = probe
            && let Some(is_new) = self.stopped.stop(now, tp, why)
        {
            self.let_go_of(tp.route);
            if is_new {
                let notice = Notice::RouteStopped(tp.route, why.to_owned());
                self.actions.push_back(Action::Tell(notice));
            }
        }
        self.advance(now);
    }

    /// Tries stopped routes again.
    pub(super) fn probe_stopped(&mut self, now: Duration) {
        self.stopped.forget_probes(now, |id| self.in_flight.contains_key(&id));
        for route in self.stopped.unanswered(now) {
            self.run_again(now, route);
        }
        if self.draining {
            return;
        }
        for tp in self.stopped.due(now) {
            let stays = |tp: &&RoutePartition| !self.is_revoked(**tp);
            let of_route = self.partitions.keys().filter(|other| other.route == tp.route);
            let owned: Vec<&RoutePartition> = of_route.filter(stays).collect();
            let chosen = owned.iter().find(|owned| ***owned == tp).or(owned.first());
            if let Some(chosen) = chosen.map(|chosen| **chosen) {
                // Before the position is asked for: `locate_again` skips what may not be read.
                self.stopped.probes(now, chosen);
                self.locate_again(&[chosen]);
            }
        }
    }

    /// A batch was written: if it was a probe, its route runs again.
    pub(super) fn probe_written(&mut self, now: Duration, id: BatchId) {
        if let Some(route) = self.stopped.probed_by(id) {
            self.run_again(now, route);
        }
    }

    fn run_again(&mut self, now: Duration, route: usize) {
        let Some(since) = self.stopped.runs(route) else { return };
        let notice = Notice::RouteRuns(route, now.saturating_sub(since));
        self.actions.push_back(Action::Tell(notice));
        let waits = |(tp, partition): &(&RoutePartition, &PartitionState)| {
            tp.route == route && !partition.reading
        };
        let waiting: Vec<RoutePartition> =
            self.partitions.iter().filter(waits).map(|(tp, _)| *tp).collect();
        self.locate_again(&waiting);
    }

    /// Holds nothing of `route` any more but what is on its way already.
    fn let_go_of(&mut self, route: usize) {
        let of_route = self.partitions.keys().filter(|tp| tp.route == route);
        for tp in of_route.copied().collect::<Vec<_>>() {
            self.drop_buffer(tp);
            if let Some(partition) = self.partitions.get_mut(&tp) {
                partition.let_go();
            }
        }
    }
}

#[cfg(test)]
#[path = "tests/stop_routes.rs"]
mod tests;
