//! Which routes are stopped because a person must mend something: takes what the workers were refused,
//! says when a route is tried again, by which partition, and what is worth saying.
//!
//! A stopped route holds nothing: its buffers are let go, and none of its partitions is read. After a
//! wait one of them is read again, that whose batch was refused. When a batch of it is written, the
//! route runs again with all its partitions; if it is refused again, the next wait is longer.

use std::time::Duration;

use crate::core::batch::{BatchId, Place};
use crate::core::pipeline::Pipeline;
use crate::core::pipeline::action::{Action, Notice};
use crate::core::pipeline::partition::Part;

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
        let waits = |(place, part): &(&Place, &Part)| place.route == route && !part.reading;
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
#[path = "tests/stop_routes.rs"]
mod tests;
