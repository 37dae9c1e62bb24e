//! The report of a running consumer, made from what its threads have recorded.

use std::time::Duration;

use crate::core::batch::RoutePartition;
use crate::core::pipeline::action::{Doing, PartitionProgress, PartitionWaits};
use crate::status::health;
use crate::status::history::{Point, STEP};
use crate::status::outage::Subject;
use crate::status::report::{
    Flow, LastError, MemoryReport, OutageReport, PartitionReport, PartitionStatus, Process,
    ReportSource, RouteReport, RouteStatus, SCHEMA, StatusReport,
};
use crate::status::{Status, StatusState, unix_ms};
use crate::version;

impl Status {
    /// The report of this moment.
    pub fn report(&self) -> StatusReport {
        let state = self.lock();
        let facts = self.facts(&state);
        let progress = &state.progress;
        let process = Process {
            version: version::VERSION.to_owned(),
            commit: version::COMMIT.to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            state: state.phase,
            not_ready: health::unreadiness(&facts),
            in_group: state.in_group,
            partitions: progress.partitions.len(),
            brokers: self.brokers.clone(),
            database: self.database.clone(),
            actions: self.actions,
            memory: MemoryReport {
                held_bytes: progress.open_bytes + progress.in_flight_bytes,
                limit_bytes: self.memory_limit,
                resident_bytes: resident_bytes(),
            },
        };
        let outage = |(subject, outage): (_, &super::Outage)| OutageReport {
            about: self.name(subject),
            message: outage.message.clone(),
            since_ms: self.unix_ms_at(outage.since),
            attempts: outage.attempts,
        };
        StatusReport {
            schema: SCHEMA,
            source: ReportSource::Process,
            pipeline: self.pipeline.clone(),
            time_ms: unix_ms(),
            process: Some(process),
            troubles: state.outages.now().map(outage).collect(),
            routes: (0..self.routes.len()).map(|route| self.route(&state, route)).collect(),
        }
    }

    /// The last five minutes, second by second.
    pub fn history(&self) -> Vec<Point> {
        self.lock().history.seconds().copied().collect()
    }

    /// The last hour, a point for twelve seconds.
    pub fn history_of_the_hour(&self) -> Vec<Point> {
        self.lock().history.hour().copied().collect()
    }

    fn route(&self, state: &StatusState, route: usize) -> RouteReport {
        let partitions =
            state.progress.partitions.iter().filter(|partition| partition.tp.route == route);
        let partitions = partitions.map(|partition| self.partition(state, partition)).collect();
        let known = RouteReport::of(&self.routes[route], partitions);
        let written = &state.written[route];
        let stopped = state.progress.stopped.get(&route);
        // Whatever is held can't be written either, though another route's attempt met it.
        let database = || state.outages.now().find(|(subject, _)| *subject == Subject::Database);
        let waits = state.progress.routes.get(route).is_some_and(|one| one.doing != Doing::Idle);
        let outage = state.outages.of_route(route);
        let outage = outage.or_else(|| database().filter(|_| waits).map(|(_, outage)| outage));
        let outage = outage.map(|outage| &outage.message);
        let waiting = state.progress.waiting.iter().find(|(tp, _)| tp.route == route);
        let waiting = waiting.map(|(_, why)| self.waits(why));
        let outage = outage.or(waiting.as_ref());
        let status = match (stopped, outage) {
            (Some(_), _) => RouteStatus::Stopped,
            (None, Some(_)) => RouteStatus::Failing,
            (None, None) => RouteStatus::Running,
        };
        let last = state.outages.last_of_route(route);
        let progress = state.progress.routes.get(route);
        RouteReport {
            state: status,
            doing: progress.map(|progress| progress.doing),
            error: stopped.or(outage).cloned(),
            last_error: last.map(|last| LastError {
                message: last.message.clone(),
                time_ms: self.unix_ms_at(last.at),
            }),
            records_written: Some(written.records),
            rows_written: Some(written.rows),
            dead_letters: Some(written.dead_letters),
            open_dead_letters: state.open_letters[route],
            topic_partitions: state.topic_partitions.get(route).copied(),
            target_rows: progress.map(|progress| progress.target_rows),
            fold: (written.rows > 0).then(|| written.records as f64 / written.rows as f64),
            flow: Flow { rows_per_second: Some(written.meter.per_second()), ..known.flow },
            ..known
        }
    }

    fn partition(&self, state: &StatusState, partition: &PartitionProgress) -> PartitionReport {
        let status = match partition {
            _ if state.progress.stopped.contains_key(&partition.tp.route) => {
                PartitionStatus::Stopped
            }
            _ if state.progress.waiting.contains_key(&partition.tp) => PartitionStatus::Waiting,
            PartitionProgress { leaving: true, .. } => PartitionStatus::Revoking,
            PartitionProgress { reading: false, .. } => PartitionStatus::Locating,
            PartitionProgress { paused: true, .. } => PartitionStatus::Paused,
            _ => PartitionStatus::Reading,
        };
        let not_located = state.not_located.get(&partition.tp).filter(|_| !partition.reading);
        PartitionReport {
            partition: partition.tp.partition.0,
            state: status,
            error: not_located.cloned().or_else(|| {
                state.progress.waiting.get(&partition.tp).map(|waits| self.waits(waits))
            }),
            log_end: state.logs.end(partition).map(|end| end.0),
            read_offset: partition.reading.then_some(partition.next.0),
            database_offset: partition.written.map(|written| written.0),
            committed_offset: partition.committed.map(|committed| committed.0),
            flow: Flow {
                lag_records: state.logs.lag(partition),
                lag_seconds: state.lag_seconds(partition, unix_ms()),
                records_per_second: state.read.get(&partition.tp).map(super::Meter::per_second),
                rows_per_second: None,
                buffer_rows: Some(partition.buffer_rows),
                buffer_bytes: Some(partition.buffer_bytes),
            },
        }
    }

    /// What a partition waits for, in a person's words.
    fn waits(&self, waits: &PartitionWaits) -> String {
        let ahead = match waits {
            PartitionWaits::Held(why) => return why.clone(),
            PartitionWaits::ForRow(ahead) => ahead,
        };
        let waiting = "a row refers to one that is missing";
        let unknown = ahead.iter().find(|(_, is_known)| !is_known);
        let Some((tp, is_known)) = unknown.or(ahead.first()) else { return waiting.to_owned() };
        let (count, topic, partition) = (ahead.len(), &self.routes[tp.route].topic, tp.partition);
        let partitions = if count == 1 { "partition" } else { "partitions" };
        let but = if *is_known { "" } else { ", whose leader does not answer" };
        format!(
            "{waiting}, and {count} {partitions} may still bring it: {topic}, partition \
             {partition}{but}"
        )
    }

    /// What partitions wait for, each in a sentence.
    pub(super) fn waiting(&self, state: &StatusState) -> Vec<String> {
        let told = |(tp, why): (&RoutePartition, &PartitionWaits)| {
            let why = self.waits(why);
            format!("{}, partition {}: {why}", self.name(Subject::Route(tp.route)), tp.partition)
        };
        state.progress.waiting.iter().map(told).collect()
    }

    /// Adds a point to the history when it is time for one.
    pub(super) fn sample(&self, state: &mut StatusState) {
        let now = self.started.elapsed();
        if state.sampled.is_some_and(|sampled| now < sampled + STEP) {
            return;
        }
        state.sampled = Some(now);
        self.metrics.ready(health::unreadiness(&self.facts(state)).is_empty());
        let held = |tp: &RoutePartition| {
            state.progress.partitions.iter().any(|partition| partition.tp == *tp)
        };
        state.read.retain(|tp, _| held(tp));
        for partition in &state.progress.partitions {
            if partition.reading {
                let meter = state.read.entry(partition.tp).or_default();
                meter.observe_offset(now, partition.next.0.unsigned_abs());
            } else if let Some(meter) = state.read.get_mut(&partition.tp) {
                // Nothing comes, and that is a rate, too.
                meter.observe_offset(now, 0);
            }
        }
        for written in &mut state.written {
            written.meter.observe(now, written.rows);
        }
        let time_ms = unix_ms();
        let transactions = std::mem::take(&mut state.transactions);
        let partitions = &state.progress.partitions;
        let ages = partitions.iter().filter_map(|partition| state.lag_seconds(partition, time_ms));
        let mean = (transactions.count > 0)
            .then(|| transactions.total.as_secs_f64() / f64::from(transactions.count));
        let point = Point {
            time_ms,
            records_per_second: state.read.values().map(super::Meter::per_second_now).sum(),
            rows_per_second: state.written.iter().map(|one| one.meter.per_second_now()).sum(),
            lag_records: partitions.iter().map(|partition| state.logs.lag(partition)).sum(),
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

impl StatusState {
    /// Notes the oldest records that are not written. What was read and dropped again, as a stopped
    /// route drops it, is still missing in the database.
    pub(super) fn remember_oldest(&mut self, partitions: &[PartitionProgress]) {
        let before = std::mem::take(&mut self.oldest);
        for partition in partitions {
            let known = before.get(&partition.tp);
            let known = known.filter(|(written, _)| *written == partition.written);
            let oldest = known.map(|(_, oldest)| *oldest).into_iter().chain(partition.oldest).min();
            if let Some(oldest) = oldest {
                self.oldest.insert(partition.tp, (partition.written, oldest));
            }
        }
    }

    /// How old the oldest record is that was read and is not in the database.
    pub(super) fn lag_seconds(&self, partition: &PartitionProgress, unix_ms: u64) -> Option<f64> {
        let behind = self.logs.lag(partition)? > 0;
        let oldest = self.oldest.get(&partition.tp).map(|(_, oldest)| *oldest).filter(|_| behind);
        let age = |oldest: i64| (unix_ms as f64 - oldest as f64).max(0.0) / 1_000.0;
        Some(oldest.map_or(0.0, age))
    }
}

/// The resident memory of this process; unknown where the system has no `/proc`.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
#[path = "tests/collect.rs"]
mod tests;
