//! The report of a running consumer: takes what its threads wrote down, gives the numbers of this
//! moment.

use std::time::Duration;

use crate::core::batch::Place;
use crate::core::pipeline::action::{Doing, PartProgress};
use crate::status::health::{self, Phase};
use crate::status::history::{Point, STEP};
use crate::status::report::{
    Flow, LastError, Memory, Partition, Process, Report, Route, SCHEMA, Source, Trouble,
};
use crate::status::{State, Status, unix_ms};

impl Status {
    /// Where this consumer stands.
    pub fn report(&self) -> Report {
        let state = self.lock();
        let facts = self.facts(&state);
        let phase = match state.phase {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Draining => "draining",
            Phase::Stopped => "stopped",
        };
        let progress = &state.progress;
        let process = Process {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            state: phase.to_owned(),
            not_ready: health::unreadiness(&facts),
            in_group: state.in_group,
            partitions: progress.parts.len(),
            memory: Memory {
                held_bytes: progress.open_bytes + progress.in_flight_bytes,
                limit_bytes: self.memory_limit,
                resident_bytes: resident_bytes(),
            },
        };
        let trouble = |(about, trouble): (_, &super::Trouble)| Trouble {
            about: self.name(about),
            message: trouble.message.clone(),
            since_ms: self.unix_ms_at(trouble.since),
            attempts: trouble.attempts,
        };
        Report {
            schema: SCHEMA,
            source: Source::Process,
            pipeline: self.pipeline.clone(),
            time_ms: unix_ms(),
            process: Some(process),
            troubles: state.troubles.now().map(trouble).collect(),
            routes: (0..self.routes.len()).map(|route| self.route(&state, route)).collect(),
        }
    }

    /// The last minutes.
    pub fn history(&self) -> Vec<Point> {
        self.lock().history.points().copied().collect()
    }

    fn route(&self, state: &State, route: usize) -> Route {
        let known = &self.routes[route];
        let parts = state.progress.parts.iter().filter(|part| part.place.route == route);
        let partitions: Vec<Partition> = parts.map(|part| Self::partition(state, part)).collect();
        let written = &state.written[route];
        let stopped = state.progress.stopped.get(&route);
        let trouble = state.troubles.of_route(route).map(|trouble| &trouble.message);
        let stands = match (stopped, trouble) {
            (Some(_), _) => "stopped",
            (None, Some(_)) => "failing",
            (None, None) => "running",
        };
        let last = state.troubles.last_of_route(route);
        let progress = state.progress.routes.get(route);
        let rows_per_second = Some(written.meter.per_second());
        Route {
            topic: known.topic.to_string(),
            table: known.table.clone(),
            priority: known.priority.to_owned(),
            state: stands.to_owned(),
            doing: progress.map(|progress| doing(progress.doing).to_owned()),
            error: stopped.or(trouble).cloned(),
            last_error: last.map(|last| LastError {
                message: last.message.clone(),
                time_ms: self.unix_ms_at(last.at),
            }),
            records_written: Some(written.records),
            rows_written: Some(written.rows),
            dead_letters: Some(written.dead_letters),
            target_rows: progress.map(|progress| progress.target_rows),
            fold: (written.rows > 0).then(|| written.records as f64 / written.rows as f64),
            flow: Flow {
                rows_per_second,
                ..Flow::over(partitions.iter().map(|partition| &partition.flow))
            },
            partitions,
        }
    }

    fn partition(state: &State, part: &PartProgress) -> Partition {
        let stands = match part {
            _ if state.progress.stopped.contains_key(&part.place.route) => "stopped",
            PartProgress { leaving: true, .. } => "revoking",
            PartProgress { reading: false, .. } => "locating",
            PartProgress { paused: true, .. } => "paused",
            _ => "reading",
        };
        let not_located = state.not_located.get(&part.place).filter(|_| !part.reading);
        let meter = state.read.get(&part.place);
        Partition {
            partition: part.place.partition.0,
            state: stands.to_owned(),
            error: not_located.cloned(),
            log_end: state.ends.get(&part.place).map(|end| end.0),
            read_offset: part.reading.then_some(part.next.0),
            database_offset: part.written.map(|written| written.0),
            committed_offset: part.committed.map(|committed| committed.0),
            flow: Flow {
                lag_records: state.lag_records(part),
                lag_seconds: state.lag_seconds(part, unix_ms()),
                records_per_second: meter.map(super::Meter::per_second),
                rows_per_second: None,
                buffer_rows: Some(part.buffer_rows),
                buffer_bytes: Some(part.buffer_bytes),
            },
        }
    }

    /// A step of the history, when it is time for one.
    pub(super) fn sample(&self, state: &mut State) {
        let now = self.started.elapsed();
        if state.sampled.is_some_and(|sampled| now < sampled + STEP) {
            return;
        }
        state.sampled = Some(now);
        let held = |place: &Place| state.progress.parts.iter().any(|part| part.place == *place);
        state.read.retain(|place, _| held(place));
        for part in state.progress.parts.iter().filter(|part| part.reading) {
            state.read.entry(part.place).or_default().look(now, part.next.0.unsigned_abs());
        }
        for written in &mut state.written {
            written.meter.look(now, written.rows);
        }
        state.records.look(now, state.counts.records);
        let time_ms = unix_ms();
        let transactions = std::mem::take(&mut state.transactions);
        let parts = &state.progress.parts;
        let ages = parts.iter().filter_map(|part| state.lag_seconds(part, time_ms));
        let mean = (transactions.count > 0)
            .then(|| transactions.total.as_secs_f64() / f64::from(transactions.count));
        let point = Point {
            time_ms,
            records_per_second: state.records.per_second_now(),
            rows_per_second: state.written.iter().map(|one| one.meter.per_second_now()).sum(),
            lag_records: parts.iter().map(|part| state.lag_records(part)).sum(),
            lag_seconds: ages.fold(0.0, f64::max),
            transaction_seconds: mean,
            transaction_seconds_max: mean.map(|_| transactions.longest.as_secs_f64()),
        };
        state.history.push(point);
    }

    /// A moment of this process's own time, in milliseconds since 1970.
    fn unix_ms_at(&self, at: Duration) -> u64 {
        let ago = self.started.elapsed().saturating_sub(at);
        unix_ms().saturating_sub(ago.as_millis() as u64)
    }
}

impl State {
    /// Records of a partition that are not in the database.
    pub(super) fn lag_records(&self, part: &PartProgress) -> Option<u64> {
        Some(part.written?.distance_to(*self.ends.get(&part.place)?))
    }

    /// How old the oldest record is that was read and is not in the database.
    pub(super) fn lag_seconds(&self, part: &PartProgress, unix_ms: u64) -> Option<f64> {
        let behind = self.lag_records(part)? > 0;
        let oldest = part.oldest.filter(|_| behind);
        let age = |oldest: i64| (unix_ms as f64 - oldest as f64).max(0.0) / 1_000.0;
        Some(oldest.map_or(0.0, age))
    }
}

fn doing(doing: Doing) -> &'static str {
    match doing {
        Doing::Idle => "idle",
        Doing::Filling => "filling",
        Doing::Waiting => "waiting",
        Doing::Throttled => "throttled",
        Doing::Writing => "writing",
    }
}

/// The memory of this process; where the system has no `/proc`, nobody knows.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
#[path = "tests/collect.rs"]
mod tests;
