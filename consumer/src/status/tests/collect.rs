//! The report of a running consumer says what its threads have recorded.

use std::collections::BTreeMap;

use prometheus::Registry;
use write_behind_shared::{NextOffset, Partition};

use super::*;
use crate::apply::Stats;
use crate::apply::retry::WriteError as Failed;
use crate::config::environment::Variables;
use crate::config::{Config, LEAST};
use crate::core::dead_letters::{DeadLetterState, Tally};
use crate::core::pipeline::action::{Counts, PipelineProgress, RouteProgress};
use crate::status::metrics::Metrics;
use crate::store::StoreError;
use crate::version;

const TP: RoutePartition = RoutePartition { route: 0, partition: Partition(3) };

fn status() -> Status {
    let config = Config::read(LEAST, &Variables::new()).unwrap();
    Status::new(Metrics::new(&Registry::new(), "scores").unwrap(), &config)
}

/// A partition that is read and written up to offset 5.
fn part() -> PartitionProgress {
    PartitionProgress {
        tp: TP,
        reading: true,
        leaving: false,
        paused: false,
        next: NextOffset(5),
        written: Some(NextOffset(5)),
        committed: Some(NextOffset(4)),
        buffer_rows: 0,
        buffer_bytes: 0,
        oldest: None,
    }
}

fn progress(part: PartitionProgress) -> PipelineProgress {
    PipelineProgress {
        routes: vec![RouteProgress::default()],
        partitions: vec![part],
        ..PipelineProgress::default()
    }
}

/// The status when this was published, and the log ends at 12.
fn published(progress: PipelineProgress) -> Status {
    let status = status();
    status.joined();
    status.logs_end(&BTreeMap::from([(TP, NextOffset(12))]));
    status.publish(Duration::ZERO, Counts::default(), || progress);
    status
}

#[test]
fn counters_are_there_before_anything_is_counted_and_readiness_is_a_number() {
    let config = Config::read(LEAST, &Variables::new()).unwrap();
    let registry = Registry::new();
    let status = Status::new(Metrics::new(&registry, "scores").unwrap(), &config);
    let shows = |metric: &str, labels: &str, number: u64| {
        let text = write_behind_shared::metrics::render(&registry).unwrap();
        let line = format!("write_behind_consumer_{metric}{{{labels}}} {number}");
        assert!(text.lines().any(|one| one == line), "{line}\n{text}");
    };
    let (commit, version) = (version::COMMIT, version::VERSION);
    shows("build_info", &format!(r#"commit="{commit}",pipeline="scores",version="{version}""#), 1);
    for about in ["kafka", "database", "route"] {
        shows("failures_total", &format!(r#"about="{about}",pipeline="scores""#), 0);
    }
    for counter in ["records", "written_records", "written_rows", "dead_letters"] {
        shows(&format!("route_{counter}_total"), r#"pipeline="scores",topic="scores""#, 0);
    }
    shows("route_failing", r#"pipeline="scores",topic="scores""#, 0);
    shows("ready", r#"pipeline="scores""#, 0);
    status.joined();
    status.publish(Duration::ZERO, Counts::default(), || progress(part()));
    status.note_readiness();
    shows("ready", r#"pipeline="scores""#, 1);
    status.left();
    status.note_readiness();
    shows("ready", r#"pipeline="scores""#, 0);
}

#[test]
fn a_partition_lags_by_the_records_that_the_database_lacks_since_the_oldest_of_them() {
    let ten_seconds_ago = unix_ms() as i64 - 10_000;
    let behind = PartitionProgress { oldest: Some(ten_seconds_ago), ..part() };
    let report = published(progress(behind)).report();
    let told = &report.routes[0].partitions[0];
    assert_eq!((told.partition, told.log_end, told.database_offset), (3, Some(12), Some(5)));
    assert_eq!((told.read_offset, told.committed_offset), (Some(5), Some(4)));
    assert_eq!(told.flow.lag_records, Some(7));
    let seconds = told.flow.lag_seconds.unwrap();
    assert!((10.0..60.0).contains(&seconds), "{seconds}");
    assert_eq!(report.routes[0].flow.lag_records, Some(7));

    let (next, all) = (NextOffset(12), Some(NextOffset(12)));
    let whole = PartitionProgress { next, written: all, oldest: Some(ten_seconds_ago), ..part() };
    let report = published(progress(whole)).report();
    let flow = report.routes[0].partitions[0].flow;
    assert_eq!((flow.lag_records, flow.lag_seconds), (Some(0), Some(0.0)));
}

#[test]
fn what_a_stopped_route_drops_is_as_old_as_before_until_the_database_has_it() {
    let ten_seconds_ago = unix_ms() as i64 - 10_000;
    let status = published(progress(PartitionProgress { oldest: Some(ten_seconds_ago), ..part() }));
    let age = |second: u64, part: PartitionProgress| {
        status.publish(Duration::from_secs(second), Counts::default(), || progress(part));
        status.report().routes[0].flow.lag_seconds.unwrap()
    };
    assert!(age(1, part()) >= 10.0, "dropped, and the database stands where it stood");
    let again = PartitionProgress { oldest: Some(ten_seconds_ago + 9_000), ..part() };
    assert!(age(2, again) >= 10.0, "read again from further on");
    let written = PartitionProgress { written: Some(NextOffset(6)), ..part() };
    assert!(age(3, written) < 1.0, "the database has it");
}

#[test]
fn a_partition_is_shown_as_what_is_being_done_with_it() {
    for (part, state) in [
        (part(), PartitionStatus::Reading),
        (PartitionProgress { paused: true, ..part() }, PartitionStatus::Paused),
        (PartitionProgress { reading: false, ..part() }, PartitionStatus::Locating),
        (PartitionProgress { reading: false, leaving: true, ..part() }, PartitionStatus::Revoking),
    ] {
        assert_eq!(published(progress(part)).report().routes[0].partitions[0].state, state);
    }
}

#[test]
fn a_route_that_is_stopped_or_fails_is_shown_so_and_the_consumer_is_not_ready() {
    let status = published(progress(part()));
    assert_eq!(status.report().routes[0].state, RouteStatus::Running);
    assert_eq!(status.unreadiness(), None);
    let away = Failed::Store(StoreError::Unavailable("refused".to_owned()));
    status.write_failed(1, 0, &away);
    let route = status.report().routes.remove(0);
    assert_eq!((route.state, route.error.is_some()), (RouteStatus::Failing, true));
    assert!(route.last_error.is_some());
    assert!(status.unreadiness().unwrap().contains("refused"));

    let stopped = BTreeMap::from([(0, "no table".to_owned())]);
    let status = published(PipelineProgress { stopped, ..progress(part()) });
    let route = status.report().routes.remove(0);
    assert_eq!((route.state, route.error.as_deref()), (RouteStatus::Stopped, Some("no table")));
    assert_eq!(route.partitions[0].state, PartitionStatus::Stopped);
    assert_eq!(status.unreadiness().as_deref(), Some("topic scores: no table"));
}

#[test]
fn the_memory_held_is_that_of_buffers_and_of_batches_on_their_way() {
    let held = PipelineProgress { open_bytes: 100, in_flight_bytes: 11, ..progress(part()) };
    let memory = published(held).report().process.unwrap().memory;
    assert_eq!((memory.held_bytes, memory.limit_bytes), (111, 256 << 20));
}

#[test]
fn a_fold_is_the_records_that_a_row_stands_for() {
    let status = published(progress(part()));
    assert_eq!(status.report().routes[0].fold, None);
    let stats = Stats { rows: 3, row_by_row: 1, dead_letters: 2, ..Stats::default() };
    status.batch_written(0, 10, &stats, Duration::from_millis(5));
    let route = status.report().routes.remove(0);
    assert_eq!((route.records_written, route.rows_written), (Some(10), Some(4)));
    assert_eq!((route.dead_letters, route.fold), (Some(2), Some(2.5)));
}

#[test]
fn the_open_letters_are_those_of_the_database_and_not_of_this_process() {
    let status = published(progress(part()));
    assert_eq!(status.report().routes[0].open_dead_letters, None, "not counted yet");
    let tally = |topic: &str, state, letters| Tally { topic: topic.to_owned(), state, letters };
    status.stored_letters(&[
        tally("scores", DeadLetterState::Open, 724),
        tally("scores", DeadLetterState::Replayed, 9),
        tally("other", DeadLetterState::Open, 5),
    ]);
    let route = status.report().routes.remove(0);
    assert_eq!((route.open_dead_letters, route.dead_letters), (Some(724), Some(0)));
    status.stored_letters(&[]);
    assert_eq!(status.report().routes[0].open_dead_letters, Some(0));
}

#[test]
fn a_point_of_the_history_is_taken_once_a_second() {
    let status = published(progress(part()));
    for tick in 1..20 {
        let now = Duration::from_secs(tick);
        status.publish(now, Counts::default(), || progress(part()));
    }
    let points = status.history();
    assert_eq!(points.len(), 1, "all of this took less");
    assert_eq!(points[0].lag_records, Some(7));
}
