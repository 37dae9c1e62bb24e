//! What the pipeline does after every event: whatever has become possible by it.
//!
//! Batches leave, partitions are paused and resumed, offsets are committed, a revoke is answered, a
//! drain ends. The order matters little, because the next event comes soon and does the rest.

use std::time::Duration;

use super::{Fetching, InFlight, Pipeline};
use crate::pipeline::action::{Action, Closed, Notice, Place};
use crate::pipeline::buffer::Buffer;

impl Pipeline {
    /// Does whatever the last event made possible.
    pub(super) fn settle(&mut self, now: Duration) {
        self.weigh();
        self.try_again(now);
        self.dispatch_held(now);
        self.dispatch(now);
        self.weigh();
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
            self.actions.push_back(Action::Drained);
        }
    }

    pub(super) fn in_flight_bytes(&self) -> usize {
        self.in_flight.values().map(|flight| flight.bytes).sum()
    }

    pub(super) fn memory_is_short(&self) -> bool {
        self.open_bytes + self.in_flight_bytes() >= self.limits.memory
    }

    /// Everything is paused at the limit, and fetched again below three quarters of it.
    fn weigh(&mut self) {
        let held = self.open_bytes + self.in_flight_bytes();
        if held >= self.limits.memory {
            self.out_of_memory = true;
        } else if held <= self.limits.memory / 4 * 3 {
            self.out_of_memory = false;
        }
    }

    /// Hands ripe buffers to free workers.
    fn dispatch(&mut self, now: Duration) {
        while self.at_workers() < self.limits.workers && self.throttle.is_free(now) {
            let mut ripe: Vec<_> = self
                .parts
                .iter()
                .filter(|(_, part)| part.in_flight.is_none())
                .filter_map(|(place, part)| Some((part.reading, part.buffer.as_ref()?, *place)))
                .filter(|(reading, buffer, _)| !reading || self.is_ripe(buffer, now))
                .collect();
            // Those being let go have a deadline; of the others the oldest goes first.
            ripe.sort_by_key(|(reading, buffer, place)| (*reading, buffer.opened(), *place));
            let Some((_, first, Place { route, .. })) = ripe.first() else { return };
            let (mut rows, mut bytes) = (first.rows(), first.bytes());
            let mut places = vec![ripe[0].2];
            for (_, buffer, place) in ripe.iter().filter(|(_, _, p)| p.route == *route).skip(1) {
                if rows + buffer.rows() <= self.target_rows
                    && bytes + buffer.bytes() <= self.limits.max_bytes
                {
                    rows += buffer.rows();
                    bytes += buffer.bytes();
                    places.push(*place);
                }
            }
            places.sort_unstable();
            self.close(now, &places);
        }
    }

    pub(super) fn is_ripe(&self, buffer: &Buffer, now: Duration) -> bool {
        self.out_of_memory
            || buffer.rows() >= self.target_rows
            || buffer.bytes() >= self.limits.max_bytes
            || now.saturating_sub(buffer.opened()) >= self.limits.max_age
    }

    /// Closes these partitions' buffers and hands them over as one batch.
    fn close(&mut self, now: Duration, places: &[Place]) {
        self.last_batch += 1;
        let id = self.last_batch;
        let mut buffers = Vec::with_capacity(places.len());
        let route = places[0].route;
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
        self.open_bytes -= flight.bytes;
        self.throttle.charge(now, flight.rows);
        self.counts.batches += 1;
        self.counts.rows += flight.rows as u64;
        self.in_flight.insert(id, flight);
        self.stops.left(id, places);
        let age = now.saturating_sub(opened);
        self.actions.push_back(Action::Write(Closed { id, route, buffers, age }));
    }

    /// Sizes batches to the target time by how long the last one took.
    pub(super) fn adapt(&mut self, rows: usize, took: Duration) {
        const ROWS_MIN: usize = 100;
        let target = self.limits.target_time;
        if took > target {
            let fitting = rows as f64 * target.as_secs_f64() / took.as_secs_f64();
            self.target_rows = (fitting as usize).max(ROWS_MIN).min(self.limits.rows_of_a_batch());
        } else if took * 2 < target && rows * 2 > self.target_rows {
            self.target_rows = (self.target_rows * 2).min(self.limits.rows_of_a_batch());
        }
    }

    /// The database stands elsewhere: what is held of these is void, and their place is asked for.
    pub(super) fn locate_again(&mut self, places: &[Place]) {
        let mut asked = Vec::with_capacity(places.len());
        for place in places {
            let leaving = self.draining || self.is_revoked(*place);
            let Some(part) = self.parts.get_mut(place) else { continue };
            if let Some(buffer) = part.buffer.take() {
                self.open_bytes -= buffer.bytes();
            }
            if !leaving && self.stops.may_read(*place) {
                self.last_epoch += 1;
                part.epoch = self.last_epoch;
                part.reading = false;
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
            if let Some(buffer) = self.parts.remove(place).and_then(|part| part.buffer) {
                self.open_bytes -= buffer.bytes();
                dropped += buffer.records();
            }
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
            let is_full = part.buffer.as_ref().is_some_and(|buffer| {
                buffer.rows() >= self.limits.max_rows || buffer.bytes() >= self.limits.max_bytes
            });
            let stop = !part.reading || is_full || self.out_of_memory;
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
