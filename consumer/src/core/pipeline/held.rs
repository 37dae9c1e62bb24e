//! The held partitions: why each is held, and when it is read again.
//!
//! A held partition has no worker and no memory, so it holds up no other. Its records are read again
//! after a wait, with whatever has arrived behind them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::batch::RoutePartition;
use crate::core::pipeline::bounds::Waits;

/// The held partitions.
#[derive(Debug)]
pub(super) struct HeldPartitions {
    /// Before each is read again. One that is read for the longest and has no record is held no
    /// more.
    waits: Waits,
    held: BTreeMap<RoutePartition, Held>,
}

#[derive(Debug)]
struct Held {
    why: String,
    since: Duration,
    wait: Duration,
    next: Retry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// Its records are read again at this time.
    Waits(Duration),
    /// They are read again since this time.
    Reads(Duration),
}

impl HeldPartitions {
    pub(super) fn new(waits: Waits) -> Self {
        Self { waits, held: BTreeMap::new() }
    }

    /// Holds a partition. Returns whether the reason is new for its route.
    pub(super) fn hold(&mut self, now: Duration, tp: RoutePartition, why: &str) -> bool {
        let is_new = self.of_route(tp.route).all(|held| held.why != why);
        let held = self.held.entry(tp).or_insert_with(|| Held {
            why: String::new(),
            since: now,
            wait: Duration::ZERO,
            next: Retry::Waits(now),
        });
        held.wait = self.waits.after(held.wait);
        held.next = Retry::Waits(now + held.wait);
        why.clone_into(&mut held.why);
        is_new
    }

    /// Partitions whose wait is over.
    pub(super) fn due(&self, now: Duration) -> Vec<RoutePartition> {
        let is_due = |held: &Held| matches!(held.next, Retry::Waits(at) if at <= now);
        self.held.iter().filter(|(_, held)| is_due(held)).map(|(tp, _)| *tp).collect()
    }

    /// A partition is read again.
    pub(super) fn reads(&mut self, now: Duration, tp: RoutePartition) {
        if let Some(held) = self.held.get_mut(&tp) {
            held.next = Retry::Reads(now);
        }
    }

    /// Partitions that were read again for so long that a record must have come.
    pub(super) fn unanswered(&self, now: Duration) -> Vec<RoutePartition> {
        let longest = self.waits.longest;
        let is_over =
            |held: &Held| matches!(held.next, Retry::Reads(since) if since + longest <= now);
        self.held.iter().filter(|(_, held)| is_over(held)).map(|(tp, _)| *tp).collect()
    }

    /// Holds a partition no more. Returns since when its route was held up, if this was the last of
    /// it.
    pub(super) fn remove(&mut self, tp: RoutePartition) -> Option<Duration> {
        let held = self.held.remove(&tp)?;
        self.of_route(tp.route).next().is_none().then_some(held.since)
    }

    /// Each held partition and its reason.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RoutePartition, &str)> {
        self.held.iter().map(|(tp, held)| (*tp, &*held.why))
    }

    fn of_route(&self, route: usize) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(move |(tp, _)| tp.route == route).map(|(_, held)| held)
    }
}
