//! Ceilings of rows per second.
//!
//! A batch is indivisible, so it passes whole and makes a debt; the next batch waits until that
//! debt is paid. Unused time earns no credit, so there is never a burst.

use std::time::Duration;

use crate::core::pipeline::schedule::Priority;

/// A token bucket that holds nothing but debt.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    rows_per_second: Option<u32>,
    free_at: Duration,
}

impl Throttle {
    /// A ceiling of `rows_per_second`; `None`: no ceiling.
    pub fn new(rows_per_second: Option<u32>) -> Self {
        Self { rows_per_second, free_at: Duration::ZERO }
    }

    /// Whether a batch may go.
    pub fn is_free(&self, now: Duration) -> bool {
        now >= self.free_at
    }

    /// A batch of `rows` leaves.
    pub fn charge(&mut self, now: Duration, rows: usize) {
        if let Some(rate) = self.rows_per_second {
            let owed = Duration::from_secs_f64(rows as f64 / f64::from(rate.max(1)));
            self.free_at = self.free_at.max(now) + owed;
        }
    }
}

/// The database's ceiling for routes of different priorities.
///
/// A large batch of a low route makes a debt of seconds. A high route waits only for the debt of
/// high routes, or it could not keep its records' age low; what it writes adds to the debt that the
/// others wait for. So over any time, no more rows pass than the rate allows, plus one batch of a
/// high route and one of another.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    all: Throttle,
    high: Throttle,
}

impl Ceiling {
    /// A ceiling of `rows_per_second`; `None`: no ceiling.
    pub fn new(rows_per_second: Option<u32>) -> Self {
        Self { all: Throttle::new(rows_per_second), high: Throttle::new(rows_per_second) }
    }

    /// Whether a batch may go.
    pub fn is_free(&self, now: Duration, priority: Priority) -> bool {
        self.all.is_free(now) || priority == Priority::High && self.high.is_free(now)
    }

    /// A batch of `rows` leaves.
    pub fn charge(&mut self, now: Duration, priority: Priority, rows: usize) {
        self.all.charge(now, rows);
        if priority == Priority::High {
            self.high.charge(now, rows);
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
            let mut passed = vec![(Duration::ZERO, 0)];
            let mut now = Duration::ZERO;
            for (rows, wait) in batches {
                now += Duration::from_millis(wait);
                if throttle.is_free(now) {
                    throttle.charge(now, rows);
                    passed.push((now, rows));
                }
            }
            no_burst(&passed, 1)?;
        }

        #[test]
        fn with_high_routes_no_more_rows_pass_than_the_rate_and_one_batch_of_either(
            batches in prop::collection::vec(
                (1_usize..5_000, 0_u64..3_000, any::<bool>()), 1..50),
        ) {
            let mut ceiling = Ceiling::new(Some(1_000));
            let (mut now, mut passed) = (Duration::ZERO, Vec::new());
            for (rows, wait, is_high) in batches {
                now += Duration::from_millis(wait);
                let priority = if is_high { Priority::High } else { Priority::Low };
                if ceiling.is_free(now, priority) {
                    ceiling.charge(now, priority, rows);
                    passed.push((now, rows));
                }
            }
            no_burst(&passed, 2)?;
        }

        #[test]
        fn a_high_route_within_the_rate_never_waits_for_the_debt_of_others(
            others in 1_usize..50_000, rows in 1_usize..100,
        ) {
            let mut ceiling = Ceiling::new(Some(1_000));
            ceiling.charge(Duration::ZERO, Priority::Normal, others);
            for tick in 1..100_u32 {
                let now = Duration::from_millis(100) * tick;
                prop_assert!(ceiling.is_free(now, Priority::High), "at {:?}", now);
                ceiling.charge(now, Priority::High, rows);
            }
        }
    }

    /// Over every stretch of time, at most the rate's rows and `batches` whole batches pass.
    fn no_burst(passed: &[(Duration, usize)], batches: usize) -> Result<(), TestCaseError> {
        let largest = passed.iter().map(|(_, rows)| *rows).max().unwrap_or(0);
        for (first, (since, _)) in passed.iter().enumerate() {
            let mut rows = 0;
            for (until, more) in &passed[first..] {
                rows += more;
                let seconds = until.saturating_sub(*since).as_secs_f64();
                let most = seconds * 1_000.0 + (batches * largest) as f64 + 1.0;
                prop_assert!(rows as f64 <= most, "{rows} rows within {seconds} s");
            }
        }
        Ok(())
    }

    #[test]
    fn without_a_ceiling_every_batch_passes() {
        let mut throttle = Throttle::new(None);
        throttle.charge(Duration::ZERO, 1_000_000);
        assert!(throttle.is_free(Duration::ZERO));
    }
}
