//! The size of a route's batches, adjusted to what they cost the database.
//!
//! There are two sizes. At its *target*, which takes the target time, a batch is worth writing.
//! While the database is slow, or a ceiling holds the route back, buffers keep folding beyond it,
//! because every row then stands for more records. At *full*, a few times the target, the partition
//! pauses, so that no transaction takes much longer than it should and a ceiling sees no large
//! bursts.

use std::time::Duration;

use crate::core::pipeline::action::{PipelineLimits, WriteCost};
use crate::core::pipeline::bounds::Bounds;

/// The size of a route's batches.
#[derive(Clone, Copy, Debug)]
pub struct BatchSize {
    target: usize,
    /// How many times the target counts as full.
    denser: usize,
    target_time: Duration,
    /// The upper bound of the target: `batch.max_rows`, or under a ceiling the rows of one target
    /// time.
    target_max: usize,
    max_rows: usize,
    bounds: Bounds,
}

impl BatchSize {
    /// The initial size, when only the database's ceiling is known.
    pub fn new(limits: &PipelineLimits, rows_per_second: Option<u32>) -> Self {
        let PipelineLimits { max_rows, target_time, bounds, .. } = *limits;
        let worth = |rate: u32| (f64::from(rate) * target_time.as_secs_f64()).ceil() as usize;
        let target_max = rows_per_second.map_or(max_rows, |rate| worth(rate).clamp(1, max_rows));
        Self {
            target: target_max,
            denser: bounds.denser,
            target_time,
            target_max,
            max_rows,
            bounds,
        }
    }

    /// Rows at which a batch is worth writing. Partitions share a batch only up to this size.
    pub fn target(&self) -> usize {
        self.target
    }

    /// Rows at which a partition pauses.
    pub fn full(&self) -> usize {
        self.target.saturating_mul(self.denser).min(self.max_rows)
    }

    /// A batch of `rows` was written at this cost.
    pub fn written(&mut self, rows: usize, effort: WriteCost) {
        let is_telling = rows * 2 > self.target;
        if effort.saturated > 0 {
            // It was too much, however fast it went in the end.
            self.shrink(rows.min(self.target) >> effort.saturated.min(16));
            self.denser = 1;
        } else if effort.took > self.target_time {
            let share = self.target_time.as_secs_f64() / effort.took.as_secs_f64();
            let fitting = (rows as f64 * share) as usize;
            // A small batch that took long was slow for another reason than its size.
            self.shrink(if is_telling { fitting } else { fitting.max(self.target / 2) });
        } else {
            if is_telling && effort.took * 2 < self.target_time {
                self.target = self.target.saturating_mul(2).min(self.target_max);
            }
            self.denser = (self.denser * 2).min(self.bounds.denser);
        }
    }

    fn shrink(&mut self, rows: usize) {
        self.target = rows.max(self.bounds.rows_min).min(self.target);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const ROWS_MIN: usize = Bounds::STANDARD.rows_min;

    fn sized(max_rows: usize, target_time: Duration, rows_per_second: Option<u32>) -> BatchSize {
        let limits = PipelineLimits {
            max_rows,
            max_bytes: 0,
            max_age: Duration::ZERO,
            target_time,
            memory: 0,
            workers: 1,
            prepared: 0,
            rows_per_second: None,
            bounds: Bounds::STANDARD,
        };
        BatchSize::new(&limits, rows_per_second)
    }

    fn took(millis: u64) -> WriteCost {
        WriteCost { took: Duration::from_millis(millis), saturated: 0 }
    }

    fn saturated(times: u32) -> WriteCost {
        WriteCost { took: Duration::from_millis(1), saturated: times }
    }

    /// Writes `batches` batches, each filled to `fill` times the target, to a database that takes
    /// `rows_per_second` rows a second.
    fn run(size: &mut BatchSize, rows_per_second: f64, fill: f64, batches: usize) {
        for _ in 0..batches {
            let rows = (size.target() as f64 * fill) as usize;
            let took = Duration::from_secs_f64(rows as f64 / rows_per_second);
            size.written(rows, WriteCost { took, saturated: 0 });
        }
    }

    proptest! {
        #[test]
        fn full_batches_come_to_take_between_half_the_target_time_and_all_of_it(
            rows_per_second in 300.0..100_000.0_f64, before in 1.0..100_000.0_f64,
        ) {
            let mut size = sized(10_000, SECOND, None);
            run(&mut size, before, 1.0, 20);
            run(&mut size, rows_per_second, 1.0, 20);
            let seconds = size.target() as f64 / rows_per_second;
            let is_largest = size.target() == 10_000;
            prop_assert!(seconds <= 1.01, "{seconds} s");
            prop_assert!(seconds >= 0.49 || is_largest, "{seconds} s for {}", size.target());
        }

        #[test]
        fn whatever_batches_cost_the_sizes_stay_within_their_limits(
            max_rows in 1_usize..20_000,
            rate in prop::option::of(1_u32..5_000),
            efforts in prop::collection::vec((0_usize..30_000, 0_u64..100_000, 0_u32..40), 0..60),
        ) {
            let mut size = sized(max_rows, SECOND, rate);
            let worth = rate.map_or(max_rows, |rate| (rate as usize).min(max_rows));
            for (rows, millis, saturated) in efforts {
                size.written(rows, WriteCost { took: Duration::from_millis(millis), saturated });
                let at_least = ROWS_MIN.min(worth);
                prop_assert!((at_least..=worth).contains(&size.target()), "{size:?}");
                prop_assert!((size.target()..=max_rows).contains(&size.full()), "{size:?}");
                prop_assert!(size.full() <= Bounds::STANDARD.denser * size.target(), "{size:?}");
            }
        }
    }

    #[test]
    fn a_slow_database_is_given_smaller_batches_and_a_quick_one_larger_again() {
        let mut size = sized(1_000, SECOND, None);
        size.written(1_000, took(5_000));
        assert_eq!((size.target(), size.full()), (200, 1_000));
        size.written(200, took(1_000_000));
        assert_eq!(size.target(), ROWS_MIN, "no smaller than is worth a transaction");
        assert_eq!(size.full(), 800, "but a buffer that waits folds on");
        size.written(10, took(1));
        assert_eq!(size.target(), ROWS_MIN, "a small batch tells nothing of a large one");
        run(&mut size, 100_000.0, 1.0, 9);
        assert_eq!(size.target(), 1_000);
    }

    #[test]
    fn a_small_batch_that_took_long_halves_the_size_at_most() {
        let mut size = sized(10_000, SECOND, None);
        size.written(5, took(60_000));
        assert_eq!(size.target(), 5_000);
    }

    #[test]
    fn each_time_that_it_was_too_much_halves_the_size_and_lets_nothing_fold_beyond_it() {
        let mut size = sized(10_000, SECOND, None);
        size.written(10_000, saturated(1));
        assert_eq!((size.target(), size.full()), (5_000, 5_000));
        size.written(5_000, saturated(2));
        assert_eq!((size.target(), size.full()), (1_250, 1_250));
        size.written(1_250, took(700));
        assert_eq!((size.target(), size.full()), (1_250, 2_500), "it is tried again, carefully");
        size.written(1_250, took(100));
        assert_eq!((size.target(), size.full()), (2_500, 10_000));
    }

    #[test]
    fn under_a_ceiling_the_target_is_a_target_time_s_worth() {
        assert_eq!(sized(10_000, SECOND, Some(1_000)).target(), 1_000);
        let few = sized(10_000, Duration::from_millis(100), Some(2));
        assert_eq!(few.target(), 1, "one row at least, or nothing would ever be written");
    }
}
