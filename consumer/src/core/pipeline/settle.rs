//! What the pipeline does after every event: whatever has become possible by it.
//!
//! Batches leave, partitions are paused and resumed, offsets are committed, a revoke is answered, a
//! drain ends. The order matters little, because the next event comes soon and does the rest.

use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::Place;
use crate::core::pipeline::action::{Action, Closed, Notice};
use crate::core::pipeline::buffer::Buffer;
use crate::core::pipeline::partition::{Fetching, Part};
use crate::core::pipeline::route::Fill;
use crate::core::pipeline::{InFlight, Pipeline};
use crate::core::record::DeadLetter;

impl Pipeline {
    /// Does whatever the last event made possible.
    pub(super) fn settle(&mut self, now: Duration) {
        self.stop_at_bad(now);
        self.try_again(now);
        self.dispatch_held(now);
        self.dispatch(now);
        self.pause_and_resume();
        if let Some((id, offsets)) = self.commits.next(now) {
            self.actions.push_back(Action::Commit(id, offsets));
        }
        // A commit that fails while the group rebalances does not hold up the group: the next owner
        // makes it. At the end there may be no next owner, so it is tried until the deadline.
        if self.revoke.as_ref().is_some_and(|revoke| {
            let is_done = |place: &Place| {
                self.is_written(*place)
                    && (self.commits.is_known(*place) || self.commits.is_failing())
            };
            now >= revoke.deadline || revoke.places.iter().all(is_done)
        }) && let Some(revoke) = self.revoke.take()
        {
            self.release(revoke.places);
        }
        let is_done = |place: &Place| self.is_written(*place) && self.commits.is_known(*place);
        let empty = || self.parts.keys().all(is_done);
        if self.draining && !self.drained && self.in_flight.is_empty() && empty() {
            self.drained = true;
            self.actions.push_back(match self.stop.take() {
                Some((place, letter)) => Action::StopAtBad(place, letter),
                None => Action::Drained,
            });
        }
    }

    /// Hands ripe buffers to free workers.
    fn dispatch(&mut self, now: Duration) {
        while self.at_workers() < self.limits.workers {
            let Some(route) = self.whose_turn(now) else { return };
            let places = self.gather(now, route);
            self.close(now, route, &places);
        }
    }

    /// The route whose batch goes next, if one may go.
    fn whose_turn(&self, now: Duration) -> Option<usize> {
        let (mut waiting, mut leaving) = (vec![false; self.lanes.len()], false);
        for (place, part) in &self.parts {
            if self.is_waiting(now, *place, part) {
                // Those being let go have a deadline, so they come before all others.
                if !part.reading && !leaving {
                    leaving = true;
                    waiting.fill(false);
                }
                waiting[place.route] |= !leaving || !part.reading;
            }
        }
        let may_go = |route: &usize| waiting[*route] && self.lanes[*route].throttle.is_free(now);
        let first = self.schedule.first((0..self.lanes.len()).filter(may_go))?;
        // Who is first and may not go yet holds up the others, or they would go before it for ever.
        self.ceiling.is_free(now, self.lanes[first].limits.priority).then_some(first)
    }

    /// Whether a partition has something to write and could write it.
    pub(super) fn is_waiting(&self, now: Duration, place: Place, part: &Part) -> bool {
        let Some(buffer) = part.buffer.as_ref().filter(|_| part.in_flight.is_none()) else {
            return false;
        };
        let lane = &self.lanes[place.route];
        !part.reading
            || lane.fill(buffer, self.limits.max_bytes) >= Fill::Ripe
            || now.saturating_sub(buffer.opened()) >= self.limits.max_age
            || self.room.is_tight(lane.limits.priority)
    }

    /// The partitions of `route` that share its next batch.
    fn gather(&self, now: Duration, route: usize) -> Vec<Place> {
        let mut waiting: Vec<_> = self
            .parts
            .iter()
            .filter(|(place, part)| place.route == route && self.is_waiting(now, **place, part))
            .filter_map(|(place, part)| Some((part.reading, part.buffer.as_ref()?, *place)))
            .collect();
        // Those being let go have a deadline; of the others the oldest goes first.
        waiting.sort_by_key(|(reading, buffer, place)| (*reading, buffer.opened(), *place));
        let (mut rows, mut bytes, mut places) = (0, 0, Vec::new());
        for (_, buffer, place) in waiting {
            let fits = rows + buffer.rows() <= self.lanes[route].size.target()
                && bytes + buffer.bytes() <= self.limits.max_bytes;
            if places.is_empty() || fits {
                rows += buffer.rows();
                bytes += buffer.bytes();
                places.push(place);
            }
        }
        places.sort_unstable();
        places
    }

    /// Closes these partitions' buffers and hands them over as one batch.
    fn close(&mut self, now: Duration, route: usize, places: &[Place]) {
        self.last_batch += 1;
        let id = self.last_batch;
        let mut buffers = Vec::with_capacity(places.len());
        let mut flight =
            InFlight { route, bytes: 0, rows: 0, records: 0, places: Vec::new(), held: None };
        for place in places {
            let Some(part) = self.parts.get_mut(place) else { continue };
            let Some(buffer) = part.buffer.take() else { continue };
            part.in_flight = Some(id);
            flight.bytes += buffer.bytes();
            flight.rows += buffer.rows();
            flight.records += buffer.records();
            flight.places.push((*place, buffer.oldest()));
            buffers.push(buffer);
        }
        let opened = buffers.iter().map(Buffer::opened).min().unwrap_or(now);
        let lane = &mut self.lanes[route];
        lane.went(now, flight.rows);
        self.ceiling.charge(now, lane.limits.priority, flight.rows);
        self.schedule.went(route, flight.rows);
        self.counts.batches += 1;
        self.counts.rows += flight.rows as u64;
        self.in_flight.insert(id, flight);
        self.stops.left(id, places);
        let age = now.saturating_sub(opened);
        self.actions.push_back(Action::Write(Closed { id, route, buffers, age }));
    }

    /// Once all that stands before a bad record is written, everything else is, and then it ends.
    fn stop_at_bad(&mut self, now: Duration) {
        if self.draining {
            return;
        }
        let places = self.parts.iter().filter(|(_, part)| part.halted).map(|(place, _)| *place);
        let Some(place) = places.into_iter().find(|place| self.is_written(*place)) else { return };
        let letter = self.parts.get_mut(&place).and_then(|part| part.stop_at.take());
        self.stop = letter.map(|letter| (place, letter));
        self.drain(now);
    }

    /// The database refused these, and nothing of their batch was written: what stands before them
    /// is read again, and written without them.
    pub(super) fn remember_bad(&mut self, route: usize, letters: &[DeadLetter]) {
        for letter in letters {
            let place = Place { route, partition: letter.record.partition };
            if self.is_revoked(place) {
                continue;
            }
            let Some(part) = self.parts.get_mut(&place) else { continue };
            let offset = letter.record.offset;
            if self.draining {
                // Nothing is read again any more; the next start does.
                self.stop.get_or_insert_with(|| (place, Box::new(letter.clone())));
            } else if part.stop_at.as_ref().is_none_or(|first| offset < first.record.offset) {
                part.stop_at = Some(Box::new(letter.clone()));
            }
        }
    }

    /// Forgets what is held of a partition and not on its way.
    pub(super) fn drop_buffer(&mut self, place: Place) -> Option<Buffer> {
        let buffer = self.parts.get_mut(&place)?.buffer.take()?;
        self.room.changed(self.lanes[place.route].limits.priority, buffer.bytes(), 0);
        Some(buffer)
    }

    /// The database was found elsewhere than at these offsets, where it had been left. Those of which
    /// a batch is on its way or has arrived meanwhile are let be: the compare-and-set tells.
    pub fn doubt(&mut self, now: Duration, found: &[(Place, NextOffset)]) {
        let is_idle = |(place, left): &&(Place, NextOffset)| {
            let part = self.parts.get(place);
            part.is_some_and(|part| {
                part.reading && part.in_flight.is_none() && part.written == Some(*left)
            })
        };
        let doubted: Vec<Place> = found.iter().filter(is_idle).map(|(place, _)| *place).collect();
        self.locate_again(&doubted);
        self.settle(now);
    }

    /// The database stands elsewhere: what is held of these is void, and their place is asked for.
    pub(super) fn locate_again(&mut self, places: &[Place]) {
        let mut asked = Vec::with_capacity(places.len());
        for place in places {
            let leaving = self.draining || self.is_revoked(*place);
            self.drop_buffer(*place);
            let Some(part) = self.parts.get_mut(place) else { continue };
            if !leaving && self.stops.may_read(*place) {
                self.last_epoch += 1;
                part.epoch = self.last_epoch;
                part.reading = false;
                part.halted = false;
                asked.push((*place, part.epoch));
            }
        }
        if !asked.is_empty() {
            self.actions.push_back(Action::Locate(asked));
        }
    }

    pub(super) fn is_revoked(&self, place: Place) -> bool {
        self.revoke.as_ref().is_some_and(|revoke| revoke.places.contains(&place))
    }

    /// Whether nothing of a partition is held.
    fn is_written(&self, place: Place) -> bool {
        let part = self.parts.get(&place);
        part.is_none_or(|part| part.buffer.is_none() && part.in_flight.is_none())
    }

    pub(super) fn release(&mut self, places: Vec<Place>) {
        let mut dropped = 0;
        for place in &places {
            self.commits.forget(*place);
            dropped += self.drop_buffer(*place).map_or(0, |buffer| buffer.records());
            self.parts.remove(place);
        }
        self.forget_held();
        if dropped > 0 {
            self.actions.push_back(Action::Tell(Notice::Dropped(dropped)));
        }
        self.actions.push_back(Action::Release(places));
    }

    fn pause_and_resume(&mut self) {
        let (mut pause, mut resume) = (Vec::new(), Vec::new());
        for (place, part) in &mut self.parts {
            let lane = &self.lanes[place.route];
            let buffer = part.buffer.as_ref();
            let is_full =
                buffer.is_some_and(|buffer| lane.fill(buffer, self.limits.max_bytes) == Fill::Full);
            let stop = !part.reading || is_full || self.room.is_tight(lane.limits.priority);
            match part.fetching {
                Fetching::Yes if stop => {
                    part.fetching = Fetching::Paused;
                    pause.push(*place);
                }
                Fetching::Paused if !stop => {
                    part.fetching = Fetching::Yes;
                    resume.push(*place);
                }
                Fetching::NotYet | Fetching::Yes | Fetching::Paused => {}
            }
        }
        if !pause.is_empty() {
            self.actions.push_back(Action::Pause(pause));
        }
        if !resume.is_empty() {
            self.actions.push_back(Action::Resume(resume));
        }
    }
}
