//! The heart of the consumer: takes records, the group's decisions, the workers' answers and the
//! time; says what to write, to commit, to pause and to let go.
//!
//! It does no I/O and has no clock: every event carries the time since the start, and what is to be
//! done is queued as [`Action`]s. It keeps three promises. A partition's batches leave in log order,
//! one at a time, each starting where the one before ended. Only what a
//! [`Written`](crate::batch::Written) proves, or the database says on being asked, is committed to
//! Kafka. What it holds stays within the memory limit and one record.
//!
//! What it does not know: tables, connections, topics' names, why a write took long.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use write_behind_shared::NextOffset;

use crate::pipeline::action::{
    Action, BatchId, Counts, Doing, Ended, Epoch, Limits, Located, Notice, PartProgress, Place,
    Progress, RouteLimits, RouteProgress,
};
use crate::pipeline::buffer::{Buffer, Folded, Incoming, Memory};
use crate::pipeline::commit::{CommitId, Commits};
use crate::pipeline::held::Held;
use crate::pipeline::stops::Stops;
use crate::pipeline::throttle::Throttle;

pub mod shape;
pub mod buffer;
pub mod action;
pub mod throttle;
pub mod commit;
mod stops;
mod held;
mod settle;

/// All partitions of this consumer.
#[derive(Debug)]
pub struct Pipeline {
    limits: Limits,
    routes: Vec<RouteState>,
    parts: BTreeMap<Place, Part>,
    in_flight: BTreeMap<BatchId, InFlight>,
    /// Of all open buffers.
    open_bytes: usize,
    /// The memory limit was reached, and everything is paused until there is room again.
    out_of_memory: bool,
    /// How many rows a batch should have to take the target time.
    target_rows: usize,
    throttle: Throttle,
    stops: Stops,
    commits: Commits,
    revoke: Option<Revoke>,
    draining: bool,
    drained: bool,
    last_epoch: Epoch,
    last_batch: BatchId,
    counts: Counts,
    actions: VecDeque<Action>,
}

/// One route.
#[derive(Debug)]
struct RouteState {
    limits: RouteLimits,
    records_read: u64,
    records_written: u64,
    rows_written: u64,
}

#[derive(Debug)]
struct Part {
    epoch: Epoch,
    /// Whether its records are taken: its position is known, and it is not being let go.
    reading: bool,
    /// The next offset to read.
    next: NextOffset,
    /// Everything below is known to be in the database.
    written: Option<NextOffset>,
    /// Where its log was last seen to end.
    end: NextOffset,
    buffer: Option<Buffer>,
    in_flight: Option<BatchId>,
    memory: Memory,
    /// What the source was told last.
    fetching: Fetching,
    told_skip: bool,
}

/// What the source does about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fetching {
    NotYet,
    Yes,
    Paused,
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

/// A revoke that waits for its partitions to be written.
#[derive(Debug)]
struct Revoke {
    places: Vec<Place>,
    deadline: Duration,
}

impl Pipeline {
    /// A consumer of these routes, which holds nothing.
    pub fn new(limits: Limits, routes: impl IntoIterator<Item = RouteLimits>) -> Self {
        Self {
            limits,
            routes: routes.into_iter().map(RouteState::new).collect(),
            parts: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            open_bytes: 0,
            out_of_memory: false,
            target_rows: limits.rows_of_a_batch(),
            throttle: Throttle::new(limits.rows_per_second),
            stops: Stops::default(),
            commits: Commits::default(),
            revoke: None,
            draining: false,
            drained: false,
            last_epoch: 0,
            last_batch: 0,
            counts: Counts::default(),
            actions: VecDeque::new(),
        }
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
        self.open_bytes == 0 && self.in_flight.is_empty()
    }

    /// The group gives these partitions.
    pub fn assign(&mut self, places: &[Place]) {
        if self.draining {
            return;
        }
        let mut asked = Vec::with_capacity(places.len());
        for place in places {
            self.last_epoch += 1;
            let part = Part::new(self.last_epoch);
            if let Some(buffer) = self.parts.insert(*place, part).and_then(|part| part.buffer) {
                self.open_bytes -= buffer.bytes();
            }
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
            part.memory = Memory::new(located.writers);
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
        if record.offset != part.next.offset() {
            self.counts.skips += 1;
            if !std::mem::replace(&mut part.told_skip, true) {
                let notice = Notice::OffsetsSkipped(place, part.next, record.offset);
                self.actions.push_back(Action::Tell(notice));
            }
        }
        let start = part.next;
        let buffer = part.buffer.get_or_insert_with(|| Buffer::new(record.partition, start, now));
        let bytes = buffer.bytes();
        let folded = buffer.fold(record, &mut part.memory);
        part.next = buffer.next();
        self.open_bytes = self.open_bytes - bytes + buffer.bytes();
        self.counts.records += 1;
        self.routes[route].records_read += 1;
        match folded {
            Folded::Applied => {}
            Folded::Duplicate => self.counts.duplicates += 1,
            Folded::AppliedAfterGap(id) => {
                self.counts.gaps += 1;
                let notice = Notice::RecordsMissing(place, record.offset, id);
                self.actions.push_back(Action::Tell(notice));
            }
            Folded::Bad => {
                self.counts.bad += 1;
                if let (false, Some(letter)) =
                    (self.routes[route].limits.sets_aside, buffer.last_bad())
                {
                    let stop = Action::StopAtBad(place, Box::new(letter.clone()));
                    self.actions.push_back(stop);
                    return;
                }
            }
        }
        let (rows, bytes) = (buffer.rows(), buffer.bytes());
        if rows >= self.target_rows || bytes >= self.limits.max_bytes || self.memory_is_short() {
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
        let mut fenced = Vec::new();
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
                Ended::Fenced => fenced.push(*place),
            }
        }
        self.judge_trial(now, id, matches!(ended, Ended::Written(..)));
        match ended {
            Ended::Written(_, effort) => {
                if let Some(route) = self.routes.get_mut(flight.route) {
                    route.records_written += flight.records;
                    route.rows_written += flight.rows as u64;
                }
                self.adapt(flight.rows, effort.took);
            }
            Ended::Fenced => {
                self.counts.fenced += 1;
                self.locate_again(&fenced);
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

    /// What is held, and where the partitions stand.
    pub fn progress(&self, now: Duration) -> Progress {
        let part = |(place, part): (&Place, &Part)| {
            let flight = part.in_flight.and_then(|id| self.in_flight.get(&id));
            let on_its_way = flight.and_then(|flight| {
                flight.places.iter().find(|(other, _)| other == place).and_then(|found| found.1)
            });
            PartProgress {
                place: *place,
                reading: part.reading,
                paused: part.fetching == Fetching::Paused,
                next: part.next,
                written: part.written,
                oldest: on_its_way.or_else(|| part.buffer.as_ref().and_then(Buffer::oldest)),
            }
        };
        Progress {
            open_rows: self.parts.values().filter_map(|p| Some(p.buffer.as_ref()?.rows())).sum(),
            open_bytes: self.open_bytes,
            in_flight_rows: self.in_flight.values().map(|flight| flight.rows).sum(),
            in_flight_bytes: self.in_flight_bytes(),
            routes: (0..self.routes.len()).map(|route| self.route_progress(now, route)).collect(),
            parts: self.parts.iter().map(part).collect(),
            stopped: self.stops.stopped().map(|(route, why)| (route, why.to_owned())).collect(),
        }
    }

    fn route_progress(&self, now: Duration, route: usize) -> RouteProgress {
        let state = &self.routes[route];
        let parts = || self.parts.iter().filter(|(place, _)| place.route == route);
        let open = || parts().filter_map(|(_, part)| part.buffer.as_ref());
        let is_ripe = |part: &Part| {
            let buffer = part.buffer.as_ref();
            part.in_flight.is_none() && buffer.is_some_and(|buffer| self.is_ripe(buffer, now))
        };
        let on_their_way = self.in_flight.values().filter(|flight| flight.route == route);
        let in_flight_rows = on_their_way.map(|flight| flight.rows).sum();
        let doing = if parts().any(|(_, part)| is_ripe(part)) {
            if self.throttle.is_free(now) { Doing::Waiting } else { Doing::Throttled }
        } else if in_flight_rows > 0 {
            Doing::Writing
        } else if open().next().is_some() {
            Doing::Filling
        } else {
            Doing::Idle
        };
        RouteProgress {
            records_read: state.records_read,
            records_written: state.records_written,
            rows_written: state.rows_written,
            target_rows: self.target_rows,
            open_rows: open().map(Buffer::rows).sum(),
            open_bytes: open().map(Buffer::bytes).sum(),
            in_flight_rows,
            doing,
        }
    }

    /// Where this partition stands here: the offset to read it from.
    pub fn next_of(&self, place: Place) -> Option<NextOffset> {
        self.parts.get(&place).filter(|part| part.reading).map(|part| part.next)
    }
}

impl RouteState {
    fn new(limits: RouteLimits) -> Self {
        Self { limits, records_read: 0, records_written: 0, rows_written: 0 }
    }
}

impl Part {
    fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            reading: false,
            next: NextOffset::ZERO,
            written: None,
            end: NextOffset::ZERO,
            buffer: None,
            in_flight: None,
            memory: Memory::default(),
            fetching: Fetching::NotYet,
            told_skip: false,
        }
    }

    /// Takes no more records, and no answer to where it stands.
    fn let_go(&mut self) {
        self.reading = false;
        self.epoch = 0;
    }
}

#[cfg(test)]
mod tests;
