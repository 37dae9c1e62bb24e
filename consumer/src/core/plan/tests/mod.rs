//! The formulas: their limits, and what they say beside what was measured and simulated.

use std::time::Duration;

use proptest::prelude::*;
use write_behind_shared::{NextOffset, Offset, Partition};

use super::*;
use crate::core::pipeline::buffer::Buffer;
use crate::core::pipeline::memory::PartitionMemory;
use crate::core::record::Incoming;

mod simulated;

fn load(writes: f64, rows: f64, keys: f64) -> PlannedLoad {
    PlannedLoad {
        writes_per_second: writes,
        rows_per_second: rows,
        rows_in_window: keys,
        window: 60.0,
        record_bytes: 100.0,
        outage: 3_600.0,
        partitions: None,
    }
}

/// What is planned at the measured costs.
fn planned(load: &PlannedLoad) -> Sizing {
    plan(load, &Costs::MEASURED).unwrap()
}

/// Whether the two differ by `part` of the second at most.
fn is_near(value: f64, expected: f64, part: f64) -> bool {
    (value - expected).abs() <= expected * part
}

proptest! {
    #[test]
    fn the_spread_that_was_seen_touches_as_many_rows_as_were_seen(
        rows in 1.0..1e8_f64, share in 0.0001..0.998_f64,
    ) {
        let writes = rows / share;
        let spread = Spread::of(rows, writes);
        prop_assert!(is_near(spread.distinct(writes), rows, 1e-6), "{spread:?}");
        prop_assert!(is_near(spread.writes_for(rows * 0.9), spread.writes_for(spread.distinct(spread.writes_for(rows * 0.9))), 1e-6));
    }

    #[test]
    fn a_plan_bears_its_load_with_room_to_catch_up_and_more_load_never_needs_less(
        writes in 10.0..1e6_f64, slower in 0.001..2.0_f64, keys in 0.0001..0.9_f64, more in 1.0..5.0_f64,
    ) {
        let keys = writes * 60.0 * keys;
        let smaller = load(writes, writes * slower, keys);
        let larger = PlannedLoad { outage: smaller.outage * more, record_bytes: smaller.record_bytes * more, ..smaller };
        let (small, large) = (planned(&smaller), planned(&larger));
        prop_assert!(small.limits.iter().all(|limit| limit.writes_per_second > writes), "{small:?}");
        prop_assert!(small.limits.is_sorted_by(|a, b| a.writes_per_second <= b.writes_per_second));
        prop_assert!(small.catch_up > 0.0 && small.retention > small.catch_up + smaller.outage);
        prop_assert!(small.fold >= 1.0 - 1e-9 && small.lag > 0.0, "{small:?}");
        prop_assert!(small.partitions >= small.consumers);
        prop_assert!(large.buffers >= small.buffers && large.retention >= small.retention);
        prop_assert!(large.pending_bytes_in_outage >= small.pending_bytes_in_outage);
    }
}

#[test]
fn the_leaderboard_of_the_readme_is_late_by_some_ten_seconds_and_fits_into_the_defaults() {
    let Sizing { fold, lag, partitions, consumers, max_rows, target_time, buffers, .. } =
        planned(&load(50_000.0, 1_000.0, 10_000.0));
    assert!(is_near(fold, 50.0, 0.01), "{fold}");
    assert!((10.0..12.0).contains(&lag), "{lag}");
    assert_eq!((partitions, consumers, max_rows, buffers), (12, 1, 10_000, 256 << 20));
    assert!(is_near(target_time, 1.0, 0.0));
}

#[test]
fn a_database_that_takes_every_write_needs_no_folding_and_is_late_by_a_batch() {
    let Sizing { fold, lag, .. } = planned(&load(500.0, 1_000.0, 30_000.0));
    assert!(is_near(fold, 1.0, 0.01), "{fold}");
    assert!(is_near(lag, defaults::MAX_AGE.as_secs_f64(), 0.0));
}

#[test]
fn rows_that_are_never_written_again_can_t_be_planned_for_on_a_slow_database() {
    let error = plan(&load(50_000.0, 1_000.0, 3_000_000.0), &Costs::MEASURED).unwrap_err();
    assert!(error.to_string().starts_with("nothing folds"), "{error}");
    assert!(plan(&load(500.0, 1_000.0, 30_000.0), &Costs::MEASURED).is_ok());
}

#[test]
fn many_rows_before_a_slow_database_need_larger_buffers_than_the_defaults() {
    let sizing = planned(&load(50_000.0, 1_000.0, 2_000_000.0));
    assert!(sizing.max_rows > 10_000 && sizing.target_time > 1.0, "{sizing:?}");
    assert!(sizing.lag > 60.0);
}

#[test]
fn a_batch_that_must_be_larger_than_the_default_is_not_cut_short_by_memory() {
    // Two partitions hold all rows in use, so that a turn is half of them.
    let large = PlannedLoad { partitions: Some(2), ..load(50_000.0, 1_000.0, 1_000_000.0) };
    let Sizing { max_bytes, buffers, connections, .. } = planned(&large);
    let max_bytes = max_bytes as usize;
    assert!(max_bytes > defaults::MAX_BYTES);
    let memory = MemoryLimits(buffers as usize);
    assert_eq!(memory.of_batch(max_bytes, connections as usize), max_bytes);
}

/// A measured run: writes a second, rows a second, rows in use, all writes; and rows written.
struct Run {
    writes: f64,
    rows: f64,
    keys: f64,
    all: f64,
    written: f64,
}

#[test]
fn two_measured_runs_wrote_as_many_rows_as_the_formulas_say() {
    let runs = [
        // cargo test -p integration-tests --test bottleneck
        Run {
            writes: 50_000.0,
            rows: 1_000.0,
            keys: 10_000.0,
            all: 1_500_000.0,
            written: 41_000.0,
        },
        // ./demo/run
        Run { writes: 50_014.0, rows: 1_000.0, keys: 4_043.0, all: 334_264.0, written: 10_351.0 },
    ];
    for Run { writes, rows, keys, all, written } in runs {
        let window = all / writes;
        let spread = Spread::of(keys, all);
        // Rows are written from the first second to the end of the round after the last write.
        let expected = rows * (window + spread.round(writes, rows));
        assert!(is_near(expected, written, 0.05), "{expected} rows, and {written} were measured");
    }
}

#[test]
fn a_row_in_a_buffer_takes_what_the_costs_say() {
    // Right after the buffer's table has doubled: it takes the most for each of its rows.
    const ROWS: i64 = 14_400;
    let (key, value) = ("player-", format!("{{\"name\":\"{}\"}}", "x".repeat(80)));
    let mut buffer = Buffer::new(Partition(0), NextOffset(0), Duration::ZERO);
    let mut memory = PartitionMemory::new(&Bounds::STANDARD, []);
    let mut written = 0;
    for offset in 0..ROWS {
        let key = format!("{key}{offset}");
        written += key.len() + value.len();
        let incoming = Incoming {
            partition: Partition(0),
            offset: Offset(offset),
            timestamp: None,
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: &[],
        };
        buffer.fold(&incoming, &mut memory).unwrap();
    }
    let beside = (buffer.bytes() - written) as f64 / ROWS as f64;
    assert!(is_near(beside, Costs::MEASURED.buffered_row, 0.1), "{beside} bytes a row");
}
