//! The stopped routes: when each is tried again, by which partition, and whether its reason is new.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::batch::{BatchId, Place};

/// The first wait; each next one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait. A trial that meets no record for so long is taken for a success.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The routes that are stopped. A route not named here runs.
#[derive(Debug, Default)]
pub(super) struct Stops(BTreeMap<usize, Stopped>);

#[derive(Debug)]
struct Stopped {
    why: String,
    since: Duration,
    wait: Duration,
    /// The partition whose batch was refused.
    place: Place,
    next: Next,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// To be tried again from then on.
    Waits(Duration),
    /// This partition is read, until its first batch ends or this time has come.
    Reads(Place, Duration),
    /// This batch decides.
    Writes(Place, BatchId),
}

impl Stops {
    /// Whether this partition may be read.
    pub(super) fn may_read(&self, place: Place) -> bool {
        self.0.get(&place.route).is_none_or(|stopped| match stopped.next {
            Next::Waits(_) => false,
            Next::Reads(tried, _) | Next::Writes(tried, _) => tried == place,
        })
    }

    /// Each stopped route, and why.
    pub(super) fn stopped(&self) -> impl Iterator<Item = (usize, &str)> {
        self.0.iter().map(|(route, stopped)| (*route, &*stopped.why))
    }

    /// A batch of `place` was refused for a reason that a person must mend. `None`: the route is
    /// waiting already. Else whether the reason is to be told.
    pub(super) fn refused(&mut self, now: Duration, place: Place, why: &str) -> Option<bool> {
        let Some(stopped) = self.0.get_mut(&place.route) else {
            let (wait, next) = (FIRST_WAIT, Next::Waits(now + FIRST_WAIT));
            let stopped = Stopped { why: why.to_owned(), since: now, wait, place, next };
            self.0.insert(place.route, stopped);
            return Some(true);
        };
        if matches!(stopped.next, Next::Waits(_)) {
            return None;
        }
        stopped.wait = (stopped.wait * 2).min(LONGEST_WAIT);
        stopped.next = Next::Waits(now + stopped.wait);
        stopped.place = place;
        let is_new = stopped.why != why;
        why.clone_into(&mut stopped.why);
        Some(is_new)
    }

    /// Routes to be tried again, and by which partition if there is a choice.
    pub(super) fn due(&self, now: Duration) -> Vec<Place> {
        let is_due = |stopped: &&Stopped| matches!(stopped.next, Next::Waits(at) if at <= now);
        self.0.values().filter(is_due).map(|stopped| stopped.place).collect()
    }

    /// This partition is read again, to see whether its route can be written.
    pub(super) fn tries(&mut self, now: Duration, place: Place) {
        if let Some(stopped) = self.0.get_mut(&place.route) {
            stopped.next = Next::Reads(place, now + LONGEST_WAIT);
        }
    }

    /// This batch has left, with these partitions.
    pub(super) fn left(&mut self, id: BatchId, places: &[Place]) {
        for place in places {
            if let Some(stopped) = self.0.get_mut(&place.route)
                && let Next::Reads(tried, _) = stopped.next
                && tried == *place
            {
                stopped.next = Next::Writes(tried, id);
            }
        }
    }

    /// A trial whose batch is under way no more, and was neither written nor refused, has decided
    /// nothing: it is read on.
    pub(super) fn forget_trials(&mut self, now: Duration, is_under_way: impl Fn(BatchId) -> bool) {
        for stopped in self.0.values_mut() {
            if let Next::Writes(place, tried) = stopped.next
                && !is_under_way(tried)
            {
                stopped.next = Next::Reads(place, now + LONGEST_WAIT);
            }
        }
    }

    /// Routes whose trial has met nothing for too long to wait for it.
    pub(super) fn unanswered(&self, now: Duration) -> Vec<usize> {
        let is_over = |stopped: &Stopped| matches!(stopped.next, Next::Reads(_, at) if at <= now);
        self.0.iter().filter(|(_, stopped)| is_over(stopped)).map(|(route, _)| *route).collect()
    }

    /// Runs the route again; since when it was stopped.
    pub(super) fn runs(&mut self, route: usize) -> Option<Duration> {
        self.0.remove(&route).map(|stopped| stopped.since)
    }

    /// The route whose trial this batch is.
    pub(super) fn tried_by(&self, id: BatchId) -> Option<usize> {
        let decides = |stopped: &Stopped| matches!(stopped.next, Next::Writes(_, by) if by == id);
        self.0.iter().find(|(_, stopped)| decides(stopped)).map(|(route, _)| *route)
    }
}
