//! How the pipeline stops a route that a person must fix, and probes it until it runs again.
//!
//! A stopped route holds nothing: its buffers are dropped, and none of its partitions is read.
//! After a wait, the partition whose batch was refused is read again. Once a batch of it is
//! written, the route runs again with all its partitions; if it is refused again, the next wait is
//! longer.

use std::time::Duration;

use crate::core::batch::{BatchId, RoutePartition, Stop};
use crate::core::pipeline::Pipeline;
use crate::core::pipeline::action::{Action, Notice};
use crate::core::pipeline::partition::PartitionState;

impl Pipeline {
    /// A batch was refused, and will be until a person fixes what `stop` says.
    pub fn stopped(&mut self, now: Duration, id: BatchId, stop: &Stop) {
        let Some(flight) = self.in_flight.remove(&id) else { return };
        self.budget.changed(self.routes[flight.route].limits.priority, flight.bytes, 0);
        let (why, mut probe) = (&*stop.why, None);
        for (tp, _) in &flight.tps {
            let Some(partition) = self.partitions.get_mut(tp) else { continue };
            if partition.in_flight == Some(id) {
                partition.in_flight = None;
                self.held.remove(*tp);
                // Probe the partition whose record was refused: a probe of another partition of the
                // batch would succeed and run the route again, only for it to stop at the same
                // record.
                if probe.is_none() || stop.partition == Some(tp.partition) {
                    probe = Some(*tp);
                }
            }
        }
        // A batch whose partitions were all released stops nothing: their next owner will find out
        // by itself.
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

    /// Ends probes that met no record, and starts those whose wait is over.
    pub(super) fn probe_stopped(&mut self, now: Duration) {
        self.stopped.forget_probes(now, |id| self.in_flight.contains_key(&id));
        for tp in self.stopped.unanswered(now) {
            self.probe_in_vain(now, tp);
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
                // Before asking for the position: `locate_again` skips a partition that may not be
                // read.
                self.stopped.probes(now, chosen);
                self.locate_again(&[chosen]);
            }
        }
    }

    /// No record of this partition has come for a long time. Where its log has none, the route runs
    /// again. Otherwise Kafka may be silent, which mends nothing: another partition is tried.
    fn probe_in_vain(&mut self, now: Duration, tp: RoutePartition) {
        let is_read = |partition: &PartitionState| {
            partition.reading && partition.end.is_some_and(|end| partition.next >= end)
        };
        let owned = self.partitions.iter().filter(|(other, _)| other.route == tp.route);
        let others = owned.map(|(other, _)| *other);
        let next = others.clone().find(|other| *other > tp).or(others.clone().next());
        match next {
            Some(next) if self.partitions.get(&tp).is_none_or(|it| !is_read(it)) => {
                self.stopped.probes(now, next);
                if next != tp {
                    self.drop_buffer(tp);
                    if let Some(partition) = self.partitions.get_mut(&tp) {
                        partition.let_go();
                    }
                }
                self.locate_again(&[next]);
            }
            _ => self.run_again(now, tp.route),
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

    /// Drops everything of `route` except what is in flight.
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
pub(super) mod tests;
