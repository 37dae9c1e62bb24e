//! The status report for people: takes it, gives aligned lines of text.

use crate::status::report::{PartitionReport, ReportSource, RouteReport, StatusReport};

const ROUTE: [(&str, Align); 11] = [
    ("TOPIC", Align::Left),
    ("TABLE", Align::Left),
    ("PRIORITY", Align::Left),
    ("STATE", Align::Left),
    ("BEHIND", Align::Right),
    ("OLDEST", Align::Right),
    ("IN/S", Align::Right),
    ("OUT/S", Align::Right),
    ("FOLD", Align::Right),
    ("SET ASIDE", Align::Right),
    ("BATCH", Align::Right),
];
const PARTITION: [(&str, Align); 11] = [
    ("TOPIC", Align::Left),
    ("PARTITION", Align::Right),
    ("STATE", Align::Left),
    ("LOG END", Align::Right),
    ("DATABASE", Align::Right),
    ("COMMITTED", Align::Right),
    ("BEHIND", Align::Right),
    ("OLDEST", Align::Right),
    ("IN/S", Align::Right),
    ("HELD ROWS", Align::Right),
    ("HELD BYTES", Align::Right),
];

#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
}

/// The report's lines, without control characters. `asked`: who answered.
pub fn lines(report: &StatusReport, asked: &str) -> Vec<String> {
    let mut lines = vec![format!("{}, asked {asked}", report.pipeline)];
    if let Some(process) = &report.process {
        let ready = if process.not_ready.is_empty() { "ready" } else { "not ready" };
        let memory = process.memory;
        lines.push(format!(
            "{}, {ready}, version {}, up {}, {} partitions, holds {} of {}, process {}",
            process.state,
            process.version,
            time(Some(process.uptime_seconds as f64)),
            process.partitions,
            bytes(Some(memory.held_bytes as u64)),
            bytes(Some(memory.limit_bytes as u64)),
            bytes(memory.resident_bytes),
        ));
        lines.extend(process.not_ready.iter().map(|why| format!("not ready: {why}")));
    }
    if report.source == ReportSource::KafkaAndDatabase {
        // A consumer's own report says it under "not ready" already.
        let told = |outage: &crate::status::report::OutageReport| {
            format!("{}: {}", outage.about, outage.message)
        };
        lines.extend(report.troubles.iter().map(told));
    }
    lines.push(String::new());
    lines.extend(table(&ROUTE, report.routes.iter().map(route_cells).collect()));
    let errors = report
        .routes
        .iter()
        .filter_map(|route| Some(format!("topic {}: {}", route.topic, route.error.as_ref()?)));
    lines.extend(errors);
    lines.push(String::new());
    let partitions = report.routes.iter().flat_map(|route| {
        route.partitions.iter().map(|partition| partition_cells(&route.topic, partition))
    });
    lines.extend(table(&PARTITION, partitions.collect()));
    for route in &report.routes {
        let errors = route.partitions.iter().filter_map(|partition| {
            let error = partition.error.as_ref()?;
            Some(format!("topic {}, partition {}: {error}", route.topic, partition.partition))
        });
        lines.extend(errors);
    }
    lines.iter().map(|line| without_controls(line)).collect()
}

fn route_cells(route: &RouteReport) -> [String; 11] {
    let flow = &route.flow;
    [
        route.topic.clone(),
        route.table.clone(),
        route.priority.clone(),
        route.state.clone(),
        number(flow.lag_records),
        time(flow.lag_seconds),
        pace(flow.records_per_second),
        pace(flow.rows_per_second),
        route.fold.map_or_else(unknown, |fold| format!("{fold:.1}")),
        number(route.dead_letters),
        number(route.target_rows.map(|rows| rows as u64)),
    ]
}

fn partition_cells(topic: &str, partition: &PartitionReport) -> [String; 11] {
    let flow = &partition.flow;
    let offset = |offset: Option<i64>| offset.map_or_else(unknown, |offset| offset.to_string());
    [
        topic.to_owned(),
        partition.partition.to_string(),
        partition.state.clone(),
        offset(partition.log_end),
        offset(partition.database_offset),
        offset(partition.committed_offset),
        number(flow.lag_records),
        time(flow.lag_seconds),
        pace(flow.records_per_second),
        number(flow.buffer_rows.map(|rows| rows as u64)),
        bytes(flow.buffer_bytes.map(|bytes| bytes as u64)),
    ]
}

fn table<const N: usize>(head: &[(&str, Align); N], rows: Vec<[String; N]>) -> Vec<String> {
    let head_cells = head.map(|(name, _)| name.to_owned());
    let rows: Vec<[String; N]> = std::iter::once(head_cells).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).zip(head);
        let cells = cells.map(|((cell, width), (_, align))| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn unknown() -> String {
    "-".to_owned()
}

fn number(number: Option<u64>) -> String {
    number.map_or_else(unknown, |number| number.to_string())
}

fn pace(pace: Option<f64>) -> String {
    pace.map_or_else(unknown, |pace| format!("{pace:.0}"))
}

fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => unknown(),
        Some(seconds) if seconds < 10.0 => format!("{seconds:.1} s"),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.0} s"),
        Some(seconds) if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        Some(seconds) => format!("{:.0} h", seconds / 3_600.0),
    }
}

fn bytes(bytes: Option<u64>) -> String {
    match bytes {
        None => unknown(),
        Some(bytes) if bytes < 1 << 10 => format!("{bytes} B"),
        Some(bytes) if bytes < 1 << 20 => format!("{:.1} KiB", bytes as f64 / f64::from(1 << 10)),
        Some(bytes) if bytes < 1 << 30 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        Some(bytes) => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// An error's text may hold what another program wrote: it is to move no cursor.
fn without_controls(line: &str) -> String {
    line.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::report_tests::report;

    #[test]
    fn columns_are_aligned_and_numbers_end_together() {
        let lines = lines(&report(), "Kafka and the database");
        let column_end = |line: &str, word: &str| {
            line.find(word).map(|at| line[..at + word.len()].chars().count())
        };
        let head = lines.iter().find(|line| line.contains("PARTITION")).unwrap();
        let behind = column_end(head, "BEHIND");
        let rows: Vec<_> = lines.iter().filter(|line| line.contains("1234567")).collect();
        assert_eq!(column_end(rows[0], " 7"), behind, "{lines:#?}");
        assert_eq!(column_end(rows[1], "123456 ").map(|end| end - 1), behind, "{lines:#?}");
    }

    #[test]
    fn a_consumer_that_is_not_ready_says_so_and_why() {
        let mut report = report();
        assert!(lines(&report, "it").iter().any(|line| line.contains(", not ready, version")));
        assert!(lines(&report, "it").iter().any(|line| line == "not ready: no table"));
        report.process.as_mut().unwrap().not_ready.clear();
        assert!(lines(&report, "it").iter().any(|line| line.contains(", ready, version")));
    }

    #[test]
    fn times_and_bytes_are_told_in_units_that_keep_them_short() {
        let times = [0.25, 42.0, 180.0, 7_200.0].map(|seconds| time(Some(seconds)));
        assert_eq!(times, ["0.2 s", "42 s", "3 min", "2 h"]);
        let sizes = [1_023, 1_536, 3 << 20, 5 << 30].map(|size| bytes(Some(size)));
        assert_eq!(sizes, ["1023 B", "1.5 KiB", "3.0 MiB", "5.0 GiB"]);
        assert_eq!((time(None), bytes(None)), (unknown(), unknown()));
    }

    #[test]
    fn errors_are_told_and_move_no_cursor() {
        let text = lines(&report(), "Kafka and the database").join("\n");
        assert!(text.contains("topic größe: no table"), "{text}");
        assert!(text.contains("partition 1: no [2J leader"), "{text}");
    }
}
