//! Which routes are stopped because a person must mend something: takes what the workers were refused,
//! says when a route is tried again, by which partition, and what is worth saying.
//!
//! A stopped route holds nothing: its buffers are let go, and none of its partitions is read. After a
//! wait one of them is read again, that whose batch was refused. When a batch of it is written, the
//! route runs again with all its partitions; if it is refused again, the next wait is longer.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Pipeline;
use crate::pipeline::action::{Action, BatchId, Notice, Place};

/// The first wait; each next one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait. A trial that meets no record for so long is taken for a success.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

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
    fn refused(&mut self, now: Duration, place: Place, why: &str) -> Option<bool> {
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
    fn due(&self, now: Duration) -> Vec<Place> {
        let is_due = |stopped: &&Stopped| matches!(stopped.next, Next::Waits(at) if at <= now);
        self.0.values().filter(is_due).map(|stopped| stopped.place).collect()
    }

    /// This partition is read again, to see whether its route can be written.
    fn tries(&mut self, now: Duration, place: Place) {
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
    fn forget_trials(&mut self, now: Duration, is_under_way: impl Fn(BatchId) -> bool) {
        for stopped in self.0.values_mut() {
            if let Next::Writes(place, tried) = stopped.next
                && !is_under_way(tried)
            {
                stopped.next = Next::Reads(place, now + LONGEST_WAIT);
            }
        }
    }

    /// Routes whose trial has met nothing for too long to wait for it.
    fn unanswered(&self, now: Duration) -> Vec<usize> {
        let is_over = |stopped: &Stopped| matches!(stopped.next, Next::Reads(_, at) if at <= now);
        self.0.iter().filter(|(_, stopped)| is_over(stopped)).map(|(route, _)| *route).collect()
    }

    /// Runs the route again; since when it was stopped.
    fn runs(&mut self, route: usize) -> Option<Duration> {
        self.0.remove(&route).map(|stopped| stopped.since)
    }

    /// The route whose trial this batch is.
    fn tried_by(&self, id: BatchId) -> Option<usize> {
        let decides = |stopped: &Stopped| matches!(stopped.next, Next::Writes(_, by) if by == id);
        self.0.iter().find(|(_, stopped)| decides(stopped)).map(|(route, _)| *route)
    }
}

impl Pipeline {
    /// A batch was not written, and will not be until a person has mended what `why` says.
    pub fn refused(&mut self, now: Duration, id: BatchId, why: &str) {
        let Some(flight) = self.in_flight.remove(&id) else { return };
        self.room.changed(self.lanes[flight.route].limits.priority, flight.bytes, 0);
        let mut first = None;
        for (place, _) in &flight.places {
            let Some(part) = self.parts.get_mut(place) else { continue };
            if part.in_flight == Some(id) {
                part.in_flight = None;
                first = first.or(Some(*place));
            }
        }
        // A batch whose partitions were all let go says nothing that their next owner won't see.
        if let Some(place) = first
            && let Some(is_new) = self.stops.refused(now, place, why)
        {
            self.let_go_of(place.route);
            if is_new {
                let notice = Notice::RouteStopped(place.route, why.to_owned());
                self.actions.push_back(Action::Tell(notice));
            }
        }
        self.settle(now);
    }

    /// Tries stopped routes again.
    pub(super) fn try_again(&mut self, now: Duration) {
        self.stops.forget_trials(now, |id| self.in_flight.contains_key(&id));
        for route in self.stops.unanswered(now) {
            self.run_again(now, route);
        }
        if self.draining {
            return;
        }
        for place in self.stops.due(now) {
            let stays = |place: &&Place| !self.is_revoked(**place);
            let of_route = self.parts.keys().filter(|other| other.route == place.route);
            let held: Vec<&Place> = of_route.filter(stays).collect();
            let chosen = held.iter().find(|held| ***held == place).or(held.first());
            if let Some(chosen) = chosen.map(|chosen| **chosen) {
                self.stops.tries(now, chosen);
                self.locate_again(&[chosen]);
            }
        }
    }

    /// A batch was written: if it was a trial, its route runs again.
    pub(super) fn trial_written(&mut self, now: Duration, id: BatchId) {
        if let Some(route) = self.stops.tried_by(id) {
            self.run_again(now, route);
        }
    }

    fn run_again(&mut self, now: Duration, route: usize) {
        let Some(since) = self.stops.runs(route) else { return };
        let notice = Notice::RouteRuns(route, now.saturating_sub(since));
        self.actions.push_back(Action::Tell(notice));
        let waits = |(place, part): &(&Place, &super::Part)| place.route == route && !part.reading;
        let waiting: Vec<Place> =
            self.parts.iter().filter(waits).map(|(place, _)| *place).collect();
        self.locate_again(&waiting);
    }

    /// Holds nothing of `route` any more but what is on its way already.
    fn let_go_of(&mut self, route: usize) {
        let of_route = self.parts.keys().filter(|place| place.route == route);
        for place in of_route.copied().collect::<Vec<_>>() {
            self.drop_buffer(place);
            if let Some(part) = self.parts.get_mut(&place) {
                part.let_go();
                part.halted = false;
            }
        }
    }
}

#[cfg(test)]
#[path = "stops_tests.rs"]
mod tests;
