//! The ceiling of rows per second: a token bucket with debt.
//!
//! A batch is indivisible and may be larger than a second's worth of rows, so it is let through
//! whole and the next one waits until its rows are paid for.

use std::time::Duration;

/// When the next batch may go.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    rows_per_second: Option<u32>,
    free_at: Duration,
}

impl Throttle {
    /// At most so many rows a second; `None`: no ceiling.
    pub fn new(rows_per_second: Option<u32>) -> Self {
        Self { rows_per_second, free_at: Duration::ZERO }
    }

    /// Whether a batch may go.
    pub fn is_free(&self, now: Duration) -> bool {
        now >= self.free_at
    }

    /// A batch of `rows` goes.
    pub fn charge(&mut self, now: Duration, rows: usize) {
        if let Some(rate) = self.rows_per_second {
            let owed = Duration::from_secs_f64(rows as f64 / f64::from(rate.max(1)));
            self.free_at = self.free_at.max(now) + owed;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn over_any_time_no_more_rows_pass_than_the_rate_and_one_batch(
            batches in prop::collection::vec((1_usize..5_000, 0_u64..3_000), 1..50),
        ) {
            let mut throttle = Throttle::new(Some(1_000));
            let (mut now, mut passed, mut largest) = (Duration::ZERO, 0, 0);
            for (rows, wait) in batches {
                now += Duration::from_millis(wait);
                if throttle.is_free(now) {
                    throttle.charge(now, rows);
                    passed += rows;
                    largest = largest.max(rows);
                }
                prop_assert!(passed as f64 <= now.as_secs_f64() * 1_000.0 + largest as f64 + 1.0);
            }
        }
    }

    #[test]
    fn without_a_ceiling_every_batch_passes() {
        let mut throttle = Throttle::new(None);
        throttle.charge(Duration::ZERO, 1_000_000);
        assert!(throttle.is_free(Duration::ZERO));
    }
}
