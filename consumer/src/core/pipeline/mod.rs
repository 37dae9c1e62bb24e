//! The heart of the consumer: takes records, the group's decisions, the workers' answers and the
//! time; says what to write, to commit, to pause and to let go.
//!
//! It does no I/O and has no clock: every event carries the time since the start, and what is to be
//! done is queued as [`Action`]s. It keeps three promises. A partition's batches leave in log order,
//! one at a time, each starting where the one before ended. Only what a
//! [`Written`](crate::core::batch::Written) proves, or the database says on being asked, is committed to
//! Kafka. What it holds stays within the memory limit and one record. Where the database is limited,
//! routes share it by their priorities.
//!
//! What it does not know: tables, connections, topics' names, why a write took long.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::core::batch::{BatchId, Epoch, Place};
use crate::core::pipeline::action::{Action, Counts, Ended, Limits, Located, Notice, RouteLimits};
use crate::core::pipeline::budget::Room;
use crate::core::pipeline::buffer::{Buffer, Folded};
use crate::core::pipeline::commit::{CommitId, Commits};
use crate::core::pipeline::held::Held;
use crate::core::pipeline::memory::Memory;
use crate::core::pipeline::partition::{Fetching, Part};
use crate::core::pipeline::route::Lane;
use crate::core::pipeline::schedule::Schedule;
use crate::core::pipeline::stops::Stops;
use crate::core::pipeline::throttle::Ceiling;
use crate::core::record::{DeadLetter, Incoming, dead_letter};

pub mod shape;
pub(crate) mod revision;
pub mod weight;
mod rows;
mod writers;
pub mod memory;
pub mod buffer;
pub mod action;
pub mod schedule;
pub mod throttle;
pub mod batch_size;
pub mod budget;
pub mod commit;
pub mod watchdog;
mod route;
mod partition;
mod stops;
mod stop_routes;
mod held;
mod hold_batches;
mod settle;
mod progress;

/// All partitions of this consumer.
#[derive(Debug)]
pub struct Pipeline {
    limits: Limits,
    lanes: Vec<Lane>,
    parts: BTreeMap<Place, Part>,
    in_flight: BTreeMap<BatchId, InFlight>,
    /// What all open buffers and batches take.
    room: Room,
    schedule: Schedule,
    ceiling: Ceiling,
    stops: Stops,
    commits: Commits,
    revoke: Option<Revoke>,
    draining: bool,
    drained: bool,
    /// The bad record that it drains for.
    stop: Option<(Place, Box<DeadLetter>)>,
    last_epoch: Epoch,
    last_batch: BatchId,
    counts: Counts,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct InFlight {
    route: usize,
    bytes: usize,
    rows: usize,
    records: u64,
    /// Its partitions, with the time of the oldest record of each.
    places: Vec<(Place, Option<i64>)>,
    /// What it waits for, and the batch itself while no worker has it.
    held: Option<Held>,
}

impl InFlight {
    fn is_held(&self) -> bool {
        self.held.as_ref().is_some_and(Held::waits)
    }
}

/// A revoke that waits for its partitions to be written.
#[derive(Debug)]
struct Revoke {
    places: Vec<Place>,
    deadline: Duration,
}

impl Pipeline {
    /// A consumer of these routes, which holds nothing.
    pub fn new(limits: Limits, routes: impl IntoIterator<Item = RouteLimits>) -> Self {
        let lane = |route| Lane::new(&limits, route);
        let lanes: Vec<Lane> = routes.into_iter().map(lane).collect();
        let priorities = || lanes.iter().map(|lane| lane.limits.priority);
        Self {
            limits,
            parts: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            room: Room::new(limits.memory, priorities()),
            schedule: Schedule::new(priorities()),
            ceiling: Ceiling::new(limits.rows_per_second),
            lanes,
            stops: Stops::default(),
            commits: Commits::default(),
            revoke: None,
            draining: false,
            drained: false,
            stop: None,
            last_epoch: 0,
            last_batch: 0,
            counts: Counts::default(),
            actions: VecDeque::new(),
        }
    }

    /// The same, where some routes' records hold their row's revision in the member named here, one
    /// for each route.
    #[must_use]
    pub fn heeding(mut self, versions: impl IntoIterator<Item = Option<Arc<str>>>) -> Self {
        for (lane, version) in self.lanes.iter_mut().zip(versions) {
            lane.version = version;
        }
        self
    }

    /// What is to be done next.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether anything is to be done.
    pub fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    /// Whether nothing is held, so that no time limit runs.
    pub fn is_idle(&self) -> bool {
        self.room.held() == 0 && self.in_flight.is_empty()
    }

    /// The group gives these partitions.
    pub fn assign(&mut self, places: &[Place]) {
        if self.draining {
            return;
        }
        let mut asked = Vec::with_capacity(places.len());
        for place in places {
            self.last_epoch += 1;
            self.drop_buffer(*place);
            self.parts.insert(*place, Part::new(self.last_epoch));
            if self.stops.may_read(*place) {
                asked.push((*place, self.last_epoch));
            }
        }
        if !asked.is_empty() {
            self.actions.push_back(Action::Locate(asked));
        }
    }

    /// It is known where these partitions stand.
    pub fn located(&mut self, now: Duration, found: Vec<Located>) {
        let mut read = Vec::with_capacity(found.len());
        for located in found {
            let Some(part) = self.parts.get_mut(&located.place) else { continue };
            if part.epoch != located.epoch || part.reading || self.draining {
                continue;
            }
            let (place, next) = (located.place, located.next);
            if let Some(written) = part.written.filter(|written| *written != next) {
                let notice = if next < written {
                    Notice::DatabaseWentBack(place, written, next)
                } else {
                    Notice::DatabaseWentAhead(place, written, next)
                };
                self.actions.push_back(Action::Tell(notice));
            }
            part.reading = true;
            part.fetching = Fetching::Yes;
            part.next = next;
            part.written = Some(next);
            let version = self.lanes.get(place.route).and_then(|lane| lane.version.clone());
            part.memory = Memory::new(located.writers).heeding(version);
            part.stop_at.take_if(|letter| next.is_past(letter.record.offset));
            self.commits.located(place, located.committed, next);
            read.push((place, next));
        }
        if !read.is_empty() {
            self.actions.push_back(Action::Read(read));
        }
        self.settle(now);
    }

    /// A record of the topic of `route` was read.
    pub fn record(&mut self, now: Duration, route: usize, record: &Incoming<'_>) {
        let place = Place { route, partition: record.partition };
        let part = match self.parts.get_mut(&place) {
            Some(part) if part.reading && !part.next.is_past(record.offset) => part,
            _ => {
                self.counts.strays += 1;
                return;
            }
        };
        if part.stop_at.as_ref().is_some_and(|letter| letter.record.offset <= record.offset) {
            part.halt();
            return self.settle(now);
        }
        if record.offset != part.next.offset() {
            self.counts.skips += 1;
            if !std::mem::replace(&mut part.told_skip, true) {
                let notice = Notice::OffsetsSkipped(place, part.next, record.offset);
                self.actions.push_back(Action::Tell(notice));
            }
        }
        let (start, lane, max_bytes) = (part.next, &mut self.lanes[route], self.limits.max_bytes);
        let (opened, buffer) = match &mut part.buffer {
            Some(buffer) => (false, buffer),
            none => (true, none.insert(Buffer::new(record.partition, start, now))),
        };
        let (bytes, fill) = (if opened { 0 } else { buffer.bytes() }, lane.fill(buffer, max_bytes));
        let folded = buffer.fold(record, &mut part.memory);
        let stops = !lane.limits.sets_aside;
        if let Err(error) = &folded
            && !stops
        {
            buffer.set_aside(record, error);
            self.counts.bad += 1;
        }
        let (priority, was_tight) =
            (lane.limits.priority, self.room.is_tight(lane.limits.priority));
        self.room.changed(priority, bytes, buffer.bytes());
        if let (Err(error), true) = (&folded, stops) {
            part.stop_at = Some(Box::new(dead_letter(record, error)));
            part.halt();
            if opened {
                self.drop_buffer(place);
            }
            return self.settle(now);
        }
        part.next = buffer.next();
        lane.records_read += 1;
        self.counts.records += 1;
        self.counts.duplicates += u64::from(folded == Ok(Folded::Duplicate));
        self.counts.older += u64::from(folded == Ok(Folded::Older));
        if let Some(id) = part.memory.take_gap() {
            self.counts.gaps += 1;
            let notice = Notice::RecordsMissing(place, record.offset, id);
            self.actions.push_back(Action::Tell(notice));
        }
        // What changes with each record is left to the next tick, which comes soon.
        if lane.fill(buffer, max_bytes) > fill || self.room.is_tight(priority) && !was_tight {
            self.settle(now);
        }
    }

    /// Time passes.
    pub fn tick(&mut self, now: Duration) {
        self.settle(now);
    }

    /// A batch ended.
    pub fn finished(&mut self, now: Duration, id: BatchId, ended: &Ended) {
        let Some(flight) = self.in_flight.remove(&id) else { return };
        let mut unwritten = Vec::new();
        for (place, _) in &flight.places {
            // A partition that was let go meanwhile is not this batch's any more.
            let Some(part) = self.parts.get_mut(place) else { continue };
            if part.in_flight != Some(id) {
                continue;
            }
            part.in_flight = None;
            match ended {
                Ended::Written(written, _) => {
                    part.written = written.end_of(place.partition).or(part.written);
                    self.commits.written(*place, written);
                }
                Ended::Fenced | Ended::Bad(_) => unwritten.push(*place),
            }
        }
        if matches!(ended, Ended::Written(..)) {
            self.trial_written(now, id);
        }
        let lane = &mut self.lanes[flight.route];
        self.room.changed(lane.limits.priority, flight.bytes, 0);
        match ended {
            Ended::Written(_, effort) => lane.written(flight.records, flight.rows, *effort),
            Ended::Fenced => {
                self.counts.fenced += 1;
                self.locate_again(&unwritten);
            }
            Ended::Bad(letters) => {
                self.remember_bad(flight.route, letters);
                self.locate_again(&unwritten);
            }
        }
        self.settle(now);
    }

    /// Kafka answered the commit `id`.
    pub fn commit_answered(&mut self, now: Duration, id: CommitId, succeeded: bool) {
        self.counts.commit_failures += u64::from(!succeeded);
        self.commits.answered(now, id, succeeded);
        self.settle(now);
    }

    /// The group takes these partitions: what is held of them is written, until the deadline.
    pub fn revoke(&mut self, now: Duration, places: Vec<Place>, deadline: Duration) {
        for place in &places {
            if let Some(part) = self.parts.get_mut(place) {
                part.let_go();
            }
        }
        self.revoke = Some(Revoke { places, deadline });
        self.settle(now);
    }

    /// The group took these partitions already.
    pub fn lose(&mut self, now: Duration, places: Vec<Place>) {
        self.release(places);
        self.settle(now);
    }

    /// Nothing more is read; what is held is written and committed.
    pub fn drain(&mut self, now: Duration) {
        self.draining = true;
        for part in self.parts.values_mut() {
            part.let_go();
        }
        self.settle(now);
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Where this partition stands here: the offset to read it from.
    pub fn next_of(&self, place: Place) -> Option<NextOffset> {
        self.parts.get(&place).filter(|part| part.reading).map(|part| part.next)
    }
}

#[cfg(test)]
mod tests;
