//! The stopped routes: why each is stopped, when it is probed, and by which partition.
//!
//! A stopped route holds no memory and no worker, so it holds up no other. The partition whose
//! batch was refused probes it; the others are read again once a batch of that one is written.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::batch::{BatchId, RoutePartition};
use crate::core::pipeline::bounds::Waits;

/// The stopped routes. A route not listed runs.
#[derive(Debug)]
pub(super) struct StoppedRoutes {
    /// Between probes. The longest is also that of a probe for a record.
    waits: Waits,
    routes: BTreeMap<usize, StoppedRoute>,
}

#[derive(Debug)]
struct StoppedRoute {
    why: String,
    since: Duration,
    wait: Duration,
    /// The partition whose batch was refused.
    tp: RoutePartition,
    next: Probe,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    /// The next probe starts at this time.
    Waits(Duration),
    /// This partition is read until its first batch leaves or this time passes.
    Reads(RoutePartition, Duration),
    /// This batch decides.
    Writes(RoutePartition, BatchId),
}

impl StoppedRoutes {
    pub(super) fn new(waits: Waits) -> Self {
        Self { waits, routes: BTreeMap::new() }
    }

    /// Whether this partition may be read.
    pub(super) fn may_read(&self, tp: RoutePartition) -> bool {
        self.routes.get(&tp.route).is_none_or(|stopped| match stopped.next {
            Probe::Waits(_) => false,
            Probe::Reads(probed, _) | Probe::Writes(probed, _) => probed == tp,
        })
    }

    /// Each stopped route and its reason.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &str)> {
        self.routes.iter().map(|(route, stopped)| (*route, &*stopped.why))
    }

    /// A batch of `tp` was refused for a reason that a person must fix. Returns whether that reason
    /// is new, or `None` if the route is already waiting.
    pub(super) fn stop(&mut self, now: Duration, tp: RoutePartition, why: &str) -> Option<bool> {
        let Some(stopped) = self.routes.get_mut(&tp.route) else {
            let wait = self.waits.first;
            let next = Probe::Waits(now + wait);
            let stopped = StoppedRoute { why: why.to_owned(), since: now, wait, tp, next };
            self.routes.insert(tp.route, stopped);
            return Some(true);
        };
        // A batch that left before the stop may still be refused. Counting it would double the wait
        // though nothing was probed.
        if matches!(stopped.next, Probe::Waits(_)) {
            return None;
        }
        stopped.wait = self.waits.after(stopped.wait);
        stopped.next = Probe::Waits(now + stopped.wait);
        stopped.tp = tp;
        let is_new = stopped.why != why;
        why.clone_into(&mut stopped.why);
        Some(is_new)
    }

    /// Routes whose wait is over, each as the partition that should probe it.
    pub(super) fn due(&self, now: Duration) -> Vec<RoutePartition> {
        let is_due =
            |stopped: &&StoppedRoute| matches!(stopped.next, Probe::Waits(at) if at <= now);
        self.routes.values().filter(is_due).map(|stopped| stopped.tp).collect()
    }

    /// This partition is read again, to probe its route.
    pub(super) fn probes(&mut self, now: Duration, tp: RoutePartition) {
        if let Some(stopped) = self.routes.get_mut(&tp.route) {
            stopped.next = Probe::Reads(tp, now + self.waits.longest);
        }
    }

    /// Batch `id` has left with these partitions.
    pub(super) fn left(&mut self, id: BatchId, tps: &[RoutePartition]) {
        for tp in tps {
            if let Some(stopped) = self.routes.get_mut(&tp.route)
                && let Probe::Reads(probed, _) = stopped.next
                && probed == *tp
            {
                // Only a batch of the probe decides. One that left before the stop may succeed
                // although the refused record has not been tried again.
                stopped.next = Probe::Writes(probed, id);
            }
        }
    }

    /// Reads on after a probe whose batch ended without being written or refused: it has decided
    /// nothing.
    pub(super) fn forget_probes(&mut self, now: Duration, is_under_way: impl Fn(BatchId) -> bool) {
        for stopped in self.routes.values_mut() {
            if let Probe::Writes(tp, probed) = stopped.next
                && !is_under_way(probed)
            {
                stopped.next = Probe::Reads(tp, now + self.waits.longest);
            }
        }
    }

    /// Partitions that probe their routes and have met no record for too long.
    pub(super) fn unanswered(&self, now: Duration) -> Vec<RoutePartition> {
        let is_over = |stopped: &StoppedRoute| match stopped.next {
            Probe::Reads(tp, at) if at <= now => Some(tp),
            _ => None,
        };
        self.routes.values().filter_map(is_over).collect()
    }

    /// Runs the route again. Returns when it was stopped.
    pub(super) fn runs(&mut self, route: usize) -> Option<Duration> {
        self.routes.remove(&route).map(|stopped| stopped.since)
    }

    /// The route that this batch probes.
    pub(super) fn probed_by(&self, id: BatchId) -> Option<usize> {
        let decides =
            |stopped: &StoppedRoute| matches!(stopped.next, Probe::Writes(_, by) if by == id);
        self.routes.iter().find(|(_, stopped)| decides(stopped)).map(|(route, _)| *route)
    }
}
