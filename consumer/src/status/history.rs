//! The history of the last five minutes, a point a second, which a reloaded page draws; and rates from
//! running totals.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How far apart points are.
pub const STEP: Duration = Duration::from_secs(1);
/// How many are kept: five minutes.
const POINTS_MAX: usize = 300;
/// The time over which a rate is the mean.
const WINDOW: Duration = Duration::from_secs(5);

/// A second of a consumer's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When it ended, in milliseconds since 1970.
    pub time_ms: u64,
    /// Records read and folded, per second.
    pub records_per_second: f64,
    /// Rows written, per second.
    pub rows_per_second: f64,
    /// Records in the log that are not in the database; `None`: not known.
    pub lag_records: Option<u64>,
    /// Age of the oldest record that was read and is not in the database.
    pub lag_seconds: f64,
    /// How long a transaction took, on average; `None`: there was none.
    pub transaction_seconds: Option<f64>,
    /// How long the slowest took.
    pub transaction_seconds_max: Option<f64>,
}

/// Points in their order.
#[derive(Clone, Debug, Default)]
pub struct History {
    points: VecDeque<Point>,
}

impl History {
    /// Adds a point; a full history drops its oldest.
    pub fn push(&mut self, point: Point) {
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }

    /// All of them, the oldest first.
    pub fn points(&self) -> impl Iterator<Item = &Point> {
        self.points.iter()
    }
}

/// A running total, looked at every [`STEP`].
#[derive(Clone, Debug, Default)]
pub struct Meter {
    seen: VecDeque<(Duration, u64)>,
}

impl Meter {
    /// Notes the total at `now`. One that is lower than before begins again.
    pub fn observe(&mut self, now: Duration, total: u64) {
        if self.seen.back().is_some_and(|(_, before)| total < *before) {
            self.seen.clear();
        }
        self.seen.push_back((now, total));
        while self.seen.len() > 2 && self.seen[1].0 + WINDOW <= now {
            self.seen.pop_front();
        }
    }

    /// How much it grew per second, over the last five seconds.
    pub fn per_second(&self) -> f64 {
        self.per_second_over(self.seen.len())
    }

    /// How much it grew per second between the last two looks.
    pub fn per_second_now(&self) -> f64 {
        self.per_second_over(2)
    }

    fn per_second_over(&self, looks: usize) -> f64 {
        let first = self.seen.len().saturating_sub(looks);
        match (self.seen.get(first), self.seen.back()) {
            (Some((from, before)), Some((to, total))) if to > from => {
                (total - before) as f64 / to.saturating_sub(*from).as_secs_f64()
            }
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let mut meter = Meter::default();
        assert!(meter.per_second().abs() < f64::EPSILON);
        for second in 0..60_u64 {
            meter.observe(
                STEP * second as u32,
                if second < 50 { second * 10 } else { second * 100 },
            );
        }
        assert!((meter.per_second() - 100.0).abs() < 1e-9, "{}", meter.per_second());
        assert!((meter.per_second_now() - 100.0).abs() < 1e-9);
        meter.observe(STEP * 60, 5_900);
        assert!((meter.per_second() - 80.0).abs() < 1e-9, "{}", meter.per_second());
        assert!(meter.per_second_now().abs() < f64::EPSILON);
    }

    #[test]
    fn a_total_that_begins_again_is_no_negative_rate() {
        let mut meter = Meter::default();
        meter.observe(STEP, 1_000);
        meter.observe(STEP * 2, 10);
        assert!(meter.per_second().abs() < f64::EPSILON);
        meter.observe(STEP * 3, 20);
        assert!((meter.per_second() - 10.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut history = History::default();
        for second in 0..1_000 {
            history.push(Point { time_ms: second * 1_000, ..Point::default() });
        }
        let kept: Vec<u64> = history.points().map(|point| point.time_ms / 1_000).collect();
        assert_eq!(kept, (700..1_000).collect::<Vec<u64>>());
    }
}
