//! The table at the end, and the check of every row against the independent fold.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::flights::{Aircraft, LeftOut};
use crate::replay::Replayed;

/// How many rows differ, and what the first of them look like.
pub(crate) struct Difference {
    /// Rows that are missing, extra or different.
    pub(crate) rows: usize,
    /// A few of them, one per line.
    pub(crate) examples: Vec<String>,
}

const EXAMPLES_MAX: usize = 5;

/// Compares every row of the table with the independent fold, both ways.
pub(crate) fn compare(
    expected: &BTreeMap<String, Aircraft>,
    found: &BTreeMap<String, Aircraft>,
) -> Difference {
    let mut difference = Difference { rows: 0, examples: Vec::new() };
    let mut differs = |tailnum: &str, expected: Option<&Aircraft>, found: Option<&Aircraft>| {
        difference.rows += 1;
        if difference.examples.len() < EXAMPLES_MAX {
            difference.examples.push(format!("{tailnum}: expected {expected:?}, found {found:?}"));
        }
    };
    for (tailnum, row) in expected {
        if found.get(tailnum) != Some(row) {
            differs(tailnum, Some(row), found.get(tailnum));
        }
    }
    for (tailnum, row) in found.iter().filter(|(tailnum, _)| !expected.contains_key(*tailnum)) {
        differs(tailnum, None, Some(row));
    }
    difference
}

/// What happened behind the caller's back.
pub(crate) struct Consumed {
    /// Rows written to the database.
    pub(crate) rows: u64,
    /// Transactions they took.
    pub(crate) batches: u64,
    /// Records set aside.
    pub(crate) dead_letters: u64,
    /// From the first write until the last row was in the database.
    pub(crate) until_drained: Duration,
}

/// The table at the end.
pub(crate) fn table(
    replayed: &Replayed,
    consumed: &Consumed,
    left_out: LeftOut,
    rows_in_table: usize,
    difference: &Difference,
) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<36} {value}"); // writing to a string cannot fail
    };
    let per_second = |count: u64, took: Duration| count as f64 / took.as_secs_f64().max(0.001);
    let microseconds =
        |quantile: f64| replayed.latency.value_at_quantile(quantile) as f64 / 1_000.0;
    line("writes accepted", replayed.writes.to_string());
    line("  in", format!("{:.1} s", replayed.took.as_secs_f64()));
    line("  per second", format!("{:.0}", per_second(replayed.writes, replayed.took)));
    line(
        "put latency p50 / p99 / max",
        format!(
            "{:.1} µs / {:.1} µs / {:.1} ms",
            microseconds(0.5),
            microseconds(0.99),
            replayed.latency.max() as f64 / 1e6
        ),
    );
    line("reads of own writes that were stale", replayed.stale_reads.to_string());
    line(
        "records folded into rows",
        format!(
            "{} into {} ({:.1} : 1)",
            replayed.writes,
            consumed.rows,
            replayed.writes as f64 / consumed.rows.max(1) as f64
        ),
    );
    line("transactions", consumed.batches.to_string());
    line(
        "rows per second into the database",
        format!("{:.0}", per_second(consumed.rows, consumed.until_drained)),
    );
    let drain = consumed.until_drained.saturating_sub(replayed.took);
    line("time to drain after the last write", format!("{:.1} s", drain.as_secs_f64()));
    line("dead letters", consumed.dead_letters.to_string());
    line("flights left out, no tail number", left_out.no_tail_number.to_string());
    line("flights without air time", format!("{} (no minutes added)", left_out.no_air_time));
    line(
        "rows checked against the file",
        match difference.rows {
            0 => format!("{rows_in_table}, all equal"),
            differing => format!("{differing} DIFFER"),
        },
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(flights: &[(&str, i64)]) -> BTreeMap<String, Aircraft> {
        let row = |flights: i64| Aircraft { flights, ..Aircraft::default() };
        flights.iter().map(|(tailnum, flights)| ((*tailnum).to_owned(), row(*flights))).collect()
    }

    #[test]
    fn equal_tables_do_not_differ() {
        let table = rows(&[("N1", 1), ("N2", 2)]);
        assert_eq!(compare(&table, &table).rows, 0);
    }

    #[test]
    fn missing_extra_and_different_rows_are_all_found() {
        let expected = rows(&[("different", 1), ("missing", 1), ("same", 1)]);
        let found = rows(&[("different", 2), ("extra", 1), ("same", 1)]);
        let difference = compare(&expected, &found);
        assert_eq!(difference.rows, 3);
        let examples = difference.examples.join("\n");
        for name in ["different", "missing", "extra"] {
            assert!(examples.contains(name), "{name} is named in {examples}");
        }
    }
}
