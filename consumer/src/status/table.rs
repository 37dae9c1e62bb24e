//! The status report as aligned lines of text.

use std::fmt;

use serde::Serialize;

use crate::status::report::{PartitionReport, ReportSource, RouteReport, StatusReport};

/// A column: its head, its alignment, and what stands in it.
pub(crate) type TableColumn<T> = (&'static str, Align, fn(&T) -> String);
/// A partition, with its route.
type PartitionRow<'r> = (&'r RouteReport, &'r PartitionReport);

const ROUTE: [TableColumn<RouteReport>; 12] = [
    ("TOPIC", Align::Left, |route| route.topic.clone()),
    ("TABLE", Align::Left, |route| route.table.clone()),
    ("PRIORITY", Align::Left, |route| word(&route.priority)),
    ("STATE", Align::Left, |route| word(&route.state)),
    ("BEHIND", Align::Right, |route| number(route.flow.lag_records)),
    ("OLDEST", Align::Right, |route| time(route.flow.lag_seconds)),
    ("IN/S", Align::Right, |route| rate(route.flow.records_per_second)),
    ("OUT/S", Align::Right, |route| rate(route.flow.rows_per_second)),
    ("FOLD", Align::Right, |route| route.fold.map_or_else(unknown, |fold| format!("{fold:.1}"))),
    ("SET ASIDE", Align::Right, |route| number(route.dead_letters)),
    ("OPEN LETTERS", Align::Right, |route| number(route.open_dead_letters)),
    ("BATCH", Align::Right, |route| number(route.target_rows)),
];

/// The columns of the table of partitions.
const fn partition_columns<'r>() -> [TableColumn<PartitionRow<'r>>; 11] {
    [
        ("TOPIC", Align::Left, |(route, _)| route.topic.clone()),
        ("PARTITION", Align::Right, |(_, one)| one.partition.to_string()),
        ("STATE", Align::Left, |(_, one)| word(&one.state)),
        ("LOG END", Align::Right, |(_, one)| number(one.log_end)),
        ("DATABASE", Align::Right, |(_, one)| number(one.database_offset)),
        ("COMMITTED", Align::Right, |(_, one)| number(one.committed_offset)),
        ("BEHIND", Align::Right, |(_, one)| number(one.flow.lag_records)),
        ("OLDEST", Align::Right, |(_, one)| time(one.flow.lag_seconds)),
        ("IN/S", Align::Right, |(_, one)| rate(one.flow.records_per_second)),
        ("HELD ROWS", Align::Right, |(_, one)| number(one.flow.buffer_rows)),
        ("HELD BYTES", Align::Right, |(_, one)| bytes(one.flow.buffer_bytes)),
    ]
}

#[derive(Clone, Copy)]
pub(crate) enum Align {
    Left,
    Right,
}

/// The report's lines, without control characters. `asked`: who answered, as people call it.
pub fn lines(report: &StatusReport, asked: &str) -> Vec<String> {
    let mut lines = vec![format!("{}, asked {asked}", report.pipeline)];
    if let Some(process) = &report.process {
        let ready = if process.not_ready.is_empty() { "ready" } else { "not ready" };
        let memory = process.memory;
        lines.push(format!(
            "{}, {ready}, version {}, up {}, {}, holds {} of {}, process {}",
            word(&process.state),
            process.version_told(),
            time(Some(process.uptime_seconds as f64)),
            report.partitions_told(process.partitions),
            bytes(Some(memory.held_bytes)),
            bytes(Some(memory.limit_bytes)),
            bytes(memory.resident_bytes.map(|bytes| bytes as usize)),
        ));
        lines.extend(process.not_ready.iter().map(|why| format!("not ready: {why}")));
    }
    if report.source == ReportSource::KafkaAndDatabase {
        // A consumer's own report has said it already, under "not ready".
        let outages = report.troubles.iter();
        lines.extend(outages.map(|outage| format!("{}: {}", outage.about, outage.message)));
    }
    lines.push(String::new());
    lines.extend(table(&ROUTE, report.routes.iter()));
    let errors = report
        .routes
        .iter()
        .filter_map(|route| Some(format!("topic {}: {}", route.topic, route.error.as_ref()?)));
    lines.extend(errors);
    lines.extend(report.routes.iter().filter_map(open_letters));
    lines.push(String::new());
    let partitions: Vec<PartitionRow<'_>> = report
        .routes
        .iter()
        .flat_map(|route| route.partitions.iter().map(move |partition| (route, partition)))
        .collect();
    lines.extend(table(&partition_columns(), partitions.iter()));
    lines.extend(partitions.iter().filter_map(|(route, partition)| {
        let error = partition.error.as_ref()?;
        Some(format!("topic {}, partition {}: {error}", route.topic, partition.partition))
    }));
    lines.iter().map(|line| without_controls(line)).collect()
}

/// How to look at a route's open letters, if there are any.
fn open_letters(route: &RouteReport) -> Option<String> {
    let (topic, letters) = (&route.topic, route.open_dead_letters.filter(|letters| *letters > 0)?);
    let are = if letters == 1 { "dead letter is" } else { "dead letters are" };
    Some(format!(
        "topic {topic}: {letters} {are} open; write-behind dead-letters list --topic {topic}"
    ))
}

pub(crate) fn table<'t, T: 't, const N: usize>(
    columns: &[TableColumn<T>; N],
    rows: impl Iterator<Item = &'t T>,
) -> Vec<String> {
    let head = columns.each_ref().map(|(name, ..)| (*name).to_owned());
    let cells = rows.map(|row| columns.each_ref().map(|(_, _, cell)| cell(row)));
    let rows: Vec<[String; N]> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; N] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).zip(columns);
        let cells = cells.map(|((cell, width), (_, align, _))| match align {
            Align::Left => format!("{cell:<width$}"),
            Align::Right => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// A state, as JSON spells it.
pub(crate) fn word(state: &impl Serialize) -> String {
    struct Word<'s, T>(&'s T);
    impl<T: Serialize> fmt::Display for Word<'_, T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.serialize(f)
        }
    }
    Word(state).to_string()
}

pub(crate) fn unknown() -> String {
    "-".to_owned()
}

pub(crate) fn number(number: Option<impl ToString>) -> String {
    number.map_or_else(unknown, |number| number.to_string())
}

pub(crate) fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(unknown, |rate| format!("{rate:.0}"))
}

pub(crate) fn time(seconds: Option<f64>) -> String {
    match seconds {
        None => unknown(),
        Some(seconds) if seconds < 10.0 => format!("{seconds:.1} s"),
        Some(seconds) if seconds < 120.0 => format!("{seconds:.0} s"),
        Some(seconds) if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        Some(seconds) => format!("{:.0} h", seconds / 3_600.0),
    }
}

fn bytes(bytes: Option<usize>) -> String {
    match bytes {
        None => unknown(),
        Some(bytes) if bytes < 1 << 10 => format!("{bytes} B"),
        Some(bytes) if bytes < 1 << 20 => format!("{:.1} KiB", bytes as f64 / f64::from(1 << 10)),
        Some(bytes) if bytes < 1 << 30 => format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)),
        Some(bytes) => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// An error may quote another program, and must not move the terminal's cursor.
pub(crate) fn without_controls(line: &str) -> String {
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
        let told = "version 0.1.0 (abcdef012345), up";
        assert!(lines(&report, "it").iter().any(|line| line.contains(told)));
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
    fn a_process_of_a_fleet_says_how_many_of_the_partitions_it_has() {
        let mut report = report();
        let told = |report: &StatusReport, told: &str| {
            assert!(lines(report, "it").iter().any(|line| line.contains(told)), "{told}");
        };
        told(&report, ", 2 partitions, holds");
        report.routes[0].topic_partitions = Some(4);
        told(&report, ", 2 of 4 partitions, holds");
        report.routes[0].topic_partitions = None;
        told(&report, ", 2 partitions, holds");
    }

    #[test]
    fn open_letters_are_told_with_the_command_that_shows_them() {
        let mut report = report();
        let told = |report: &StatusReport| {
            let lines = lines(report, "it").into_iter();
            lines.filter(|line| line.contains("dead-letters list")).collect::<Vec<_>>()
        };
        let command = "open; write-behind dead-letters list --topic größe";
        assert_eq!(told(&report), [format!("topic größe: 724 dead letters are {command}")]);
        for none in [Some(0), None] {
            report.routes[0].open_dead_letters = none;
            assert_eq!(told(&report), [""; 0]);
        }
    }

    #[test]
    fn errors_are_told_and_move_no_cursor() {
        let text = lines(&report(), "Kafka and the database").join("\n");
        assert!(text.contains("topic größe: no table"), "{text}");
        assert!(text.contains("partition 1: no [2J leader"), "{text}");
    }
}
