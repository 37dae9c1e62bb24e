//! The report is what `docs/status.md` says, and adds up.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use super::report::*;
use crate::core::pipeline::action::Doing;
use crate::core::pipeline::schedule::Priority;
use crate::status::health::Phase;

fn partition(partition: i32, lag: u64) -> PartitionReport {
    PartitionReport {
        partition,
        state: PartitionStatus::Reading,
        error: (partition == 1).then(|| "no\u{1b}[2J leader".to_owned()),
        log_end: Some(1_234_567),
        read_offset: Some(5),
        database_offset: Some(5),
        committed_offset: None,
        flow: Flow { lag_records: Some(lag), lag_seconds: Some(0.25), ..Flow::default() },
    }
}

/// A report in which every object is there.
pub(crate) fn report() -> StatusReport {
    let partitions = vec![partition(0, 7), partition(1, 123_456)];
    let message = "no table".to_owned();
    let route = RouteReport {
        topic: "größe".to_owned(),
        table: "public.scores".to_owned(),
        priority: Priority::Normal,
        state: RouteStatus::Failing,
        doing: Some(Doing::Waiting),
        error: Some(message.clone()),
        last_error: Some(LastError { message: message.clone(), time_ms: 1 }),
        records_written: Some(10),
        rows_written: Some(4),
        dead_letters: Some(1),
        open_dead_letters: Some(724),
        target_rows: Some(10_000),
        fold: Some(2.5),
        flow: Flow::over(partitions.iter().map(|partition| &partition.flow)),
        topic_partitions: Some(2),
        partitions,
    };
    let memory = MemoryReport { held_bytes: 1, limit_bytes: 2, resident_bytes: Some(3) };
    StatusReport {
        schema: SCHEMA,
        source: ReportSource::Process,
        pipeline: "scores".to_owned(),
        time_ms: 0,
        process: Some(Process {
            version: "0.1.0".to_owned(),
            commit: "abcdef012345".to_owned(),
            uptime_seconds: 3,
            state: Phase::Running,
            not_ready: vec![message.clone()],
            in_group: true,
            partitions: 2,
            brokers: "kafka:9092".to_owned(),
            database: "postgres://db:5432/game".to_owned(),
            actions: false,
            memory,
        }),
        troubles: vec![OutageReport {
            about: "topic größe".to_owned(),
            message,
            since_ms: 1,
            attempts: 2,
        }],
        routes: vec![route],
    }
}

/// The paths of all fields; a list's elements stand for the list.
fn fields(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(elements) => elements.iter().for_each(|one| fields(one, path, found)),
        Value::Object(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields(value, &path, found);
                found.insert(path);
            }
        }
        _ => {}
    }
}

#[test]
fn the_documented_fields_are_those_of_the_report() {
    let mut served = BTreeSet::new();
    fields(&serde_json::to_value(report()).unwrap(), "", &mut served);
    let page = include_str!("../../../../docs/status.md");
    let (_, section) = page.split_once("## The report").unwrap();
    let (section, _) = section.split_once("\n# ").unwrap();
    let documented: BTreeSet<String> = section
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned()))
        .collect();
    assert_eq!(served, documented);
}

fn spelled<T: Serialize>(page: &str, field: &str, states: &[T]) {
    let line = page.lines().find(|line| line.starts_with(&format!("| `{field}`"))).unwrap();
    for state in states {
        let state = serde_json::to_value(state).unwrap();
        assert!(line.contains(&format!("`{}`", state.as_str().unwrap())), "{field}: {state}");
    }
}

#[test]
fn states_are_spelled_as_documented() {
    let page = include_str!("../../../../docs/status.md");
    let phases = [Phase::Starting, Phase::Running, Phase::Draining, Phase::Stopped];
    spelled(page, "process.state", &phases);
    spelled(page, "routes.priority", &[Priority::High, Priority::Normal, Priority::Low]);
    spelled(
        page,
        "routes.state",
        &[RouteStatus::Running, RouteStatus::Failing, RouteStatus::Stopped, RouteStatus::Unknown],
    );
    let doing = [Doing::Idle, Doing::Filling, Doing::Waiting, Doing::Throttled, Doing::Writing];
    spelled(page, "routes.doing", &doing);
    let of_partition = [
        PartitionStatus::Locating,
        PartitionStatus::Reading,
        PartitionStatus::Paused,
        PartitionStatus::Revoking,
        PartitionStatus::Stopped,
        PartitionStatus::Unknown,
    ];
    spelled(page, "routes.partitions.state", &of_partition);
    assert_eq!(serde_json::from_str::<RouteStatus>("\"new\"").unwrap(), RouteStatus::Unknown);
}

#[test]
fn a_report_is_read_again_as_it_was_and_new_fields_are_ignored() {
    let mut served = serde_json::to_value(report()).unwrap();
    assert_eq!(serde_json::from_value::<StatusReport>(served.clone()).unwrap(), report());
    served["new"] = Value::from(1);
    served["routes"][0]["new"] = Value::from(1);
    assert_eq!(serde_json::from_value::<StatusReport>(served).unwrap(), report());
}

#[test]
fn a_route_lags_as_its_partitions_do_together_and_is_as_old_as_the_oldest() {
    let part = |lag_records, lag_seconds| Flow { lag_records, lag_seconds, ..Flow::default() };
    let parts = [part(Some(2), Some(0.5)), part(None, None), part(Some(3), Some(7.0))];
    let whole = Flow::over(parts.iter());
    assert_eq!((whole.lag_records, whole.lag_seconds), (Some(5), Some(7.0)));
    assert_eq!((whole.buffer_rows, whole.rows_per_second), (None, None));
}
