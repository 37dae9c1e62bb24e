//! The history that a reloaded page draws: the last five minutes, a point a second, and the last hour, a
//! point for twelve seconds; and rates from running totals.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How far apart points are.
pub const STEP: Duration = Duration::from_secs(1);
/// How many are kept of either: five minutes, and an hour.
const POINTS_MAX: usize = 300;
/// How many seconds are one point of the hour.
pub const SECONDS_OF_HOUR: usize = 12;
/// The time over which a rate is the mean.
const WINDOW: Duration = Duration::from_secs(5);

/// A second of a consumer's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// When it ended, in milliseconds since 1970.
    pub time_ms: u64,
    /// Records read, per second; none of those that are read again.
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
    seconds: VecDeque<Point>,
    hour: VecDeque<Point>,
    /// What the hour's next point is made of.
    newest: Vec<Point>,
}

impl History {
    /// Adds a second's point; a full history drops its oldest.
    pub fn push(&mut self, point: Point) {
        push(&mut self.seconds, point);
        self.newest.push(point);
        if self.newest.len() == SECONDS_OF_HOUR {
            push(&mut self.hour, Point::over(&self.newest));
            self.newest.clear();
        }
    }

    /// The last five minutes, the oldest second first.
    pub fn seconds(&self) -> impl Iterator<Item = &Point> {
        self.seconds.iter()
    }

    /// The last hour, the oldest first.
    pub fn hour(&self) -> impl Iterator<Item = &Point> {
        self.hour.iter()
    }
}

fn push(points: &mut VecDeque<Point>, point: Point) {
    if points.len() == POINTS_MAX {
        points.pop_front();
    }
    points.push_back(point);
}

impl Point {
    /// Several points as one: rates and times on average, but the worst lag and the slowest
    /// transaction, or an hour would hide what somebody was woken by.
    fn over(points: &[Self]) -> Self {
        let mean = |of: fn(&Self) -> Option<f64>| {
            let (count, sum) = points
                .iter()
                .filter_map(of)
                .fold((0_u32, 0.0), |(count, sum), one| (count + 1, sum + one));
            (count > 0).then(|| sum / f64::from(count))
        };
        let worst = |of: fn(&Self) -> Option<f64>| points.iter().filter_map(of).reduce(f64::max);
        Self {
            time_ms: points.last().map_or(0, |last| last.time_ms),
            records_per_second: mean(|point| Some(point.records_per_second)).unwrap_or(0.0),
            rows_per_second: mean(|point| Some(point.rows_per_second)).unwrap_or(0.0),
            lag_records: points.iter().filter_map(|point| point.lag_records).max(),
            lag_seconds: worst(|point| Some(point.lag_seconds)).unwrap_or(0.0),
            transaction_seconds: mean(|point| point.transaction_seconds),
            transaction_seconds_max: worst(|point| point.transaction_seconds_max),
        }
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

    /// Notes the next offset of a partition at `now`. What is read a second time is nothing new.
    pub fn observe_offset(&mut self, now: Duration, next: u64) {
        let highest = self.seen.back().map_or(0, |(_, highest)| *highest);
        self.observe(now, next.max(highest));
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
    fn what_is_read_a_second_time_is_nothing_new() {
        let mut meter = Meter::default();
        // A stopped route reads the same hundred again and again, and then what is behind them.
        for (second, next) in [(0, 900), (1, 1_000), (2, 900), (3, 1_000), (4, 900), (5, 1_000)] {
            meter.observe_offset(STEP * second, next);
            let expected = if second == 1 { 100.0 } else { 0.0 };
            assert!((meter.per_second_now() - expected).abs() < 1e-9, "second {second}");
        }
        meter.observe_offset(STEP * 6, 1_050);
        assert!((meter.per_second_now() - 50.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut history = History::default();
        for second in 0..1_000 {
            history.push(Point { time_ms: second * 1_000, ..Point::default() });
        }
        let kept: Vec<u64> = history.seconds().map(|point| point.time_ms / 1_000).collect();
        assert_eq!(kept, (700..1_000).collect::<Vec<u64>>());
        for second in 1_000..5_000 {
            history.push(Point { time_ms: second * 1_000, ..Point::default() });
        }
        let hour: Vec<u64> = history.hour().map(|point| point.time_ms / 1_000).collect();
        assert_eq!(hour.len(), 300);
        assert!(hour.windows(2).all(|pair| pair[1] - pair[0] == 12), "{hour:?}");
        assert!(hour[299] >= 4_988 && hour[0] + 12 * 299 == hour[299], "{hour:?}");
    }

    #[test]
    fn a_point_of_the_hour_keeps_the_worst_lag_and_the_slowest_transaction() {
        let mut history = History::default();
        for second in 0..12_u32 {
            history.push(Point {
                time_ms: u64::from(second) * 1_000,
                records_per_second: f64::from(second),
                lag_records: (second != 5).then_some(u64::from(second % 7)),
                lag_seconds: if second == 3 { 9.0 } else { 1.0 },
                transaction_seconds: (second % 2 == 0).then_some(0.5),
                transaction_seconds_max: (second == 2).then_some(4.0),
                ..Point::default()
            });
        }
        let expected = Point {
            time_ms: 11_000,
            records_per_second: 5.5,
            rows_per_second: 0.0,
            lag_records: Some(6),
            lag_seconds: 9.0,
            transaction_seconds: Some(0.5),
            transaction_seconds_max: Some(4.0),
        };
        assert_eq!(history.hour().collect::<Vec<_>>(), [&expected]);
    }
}
