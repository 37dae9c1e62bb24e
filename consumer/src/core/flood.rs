//! The limit on bad records that a route may set aside.
//!
//! Pure. A few bad records are set aside. A flood of them points to a mistake in the table or in a
//! writer, and a person must see it before it fills the dead-letter table. While a route is
//! flooded, only a batch within the ratio on its own passes.

use std::collections::VecDeque;
use std::time::Duration;

/// Up to this many bad records in a window are no flood, whatever their share.
pub const FEW: u64 = 100;
/// Number of slices in a window; batches of one slice are remembered together.
const PARTS: u32 = 10;

/// The limits on setting bad records aside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloodLimits {
    /// The largest share of bad records in a window, from 0 to 1, once more than [`FEW`] are bad.
    pub max_ratio: f64,
    /// The most bad records per second, averaged over a window.
    pub max_per_second: u32,
    /// The length of the window.
    pub window: Duration,
}

impl FloodLimits {
    /// The default limits.
    pub const STANDARD: Self =
        Self { max_ratio: 0.5, max_per_second: 100, window: Duration::from_secs(10) };
    /// The first bad record stops the route.
    pub const NONE: Self = Self { max_ratio: 0.0, max_per_second: 0, ..Self::STANDARD };
}

/// What a route has written and set aside within the window.
#[derive(Debug)]
pub struct Flood {
    limits: FloodLimits,
    lately: VecDeque<FloodSlice>,
    flooded: bool,
}

#[derive(Clone, Copy, Debug)]
struct FloodSlice {
    from: Duration,
    until: Duration,
    records: u64,
    letters: u64,
}

impl Flood {
    /// A history of nothing.
    pub fn new(limits: FloodLimits) -> Self {
        Self { limits, lately: VecDeque::new(), flooded: false }
    }

    /// How many of a batch's `records` may be set aside now.
    pub fn allowance(&mut self, now: Duration, records: u64) -> usize {
        while self.lately.front().is_some_and(|first| first.until + self.limits.window <= now) {
            self.lately.pop_front();
        }
        let letters: u64 = self.lately.iter().map(|written| written.letters).sum();
        let all = records + self.lately.iter().map(|written| written.records).sum::<u64>();
        let few = if self.flooded { 0 } else { FEW };
        let by_ratio = ((all as f64 * self.limits.max_ratio) as u64).max(few);
        let by_rate = f64::from(self.limits.max_per_second) * self.limits.window.as_secs_f64();
        let allowance = by_ratio.min(by_rate as u64).saturating_sub(letters);
        usize::try_from(allowance).unwrap_or(usize::MAX)
    }

    /// Counts a written batch of `records` records, of which `letters` were set aside.
    pub fn written(&mut self, now: Duration, records: u64, letters: u64) {
        self.flooded = false;
        let part = self.limits.window / PARTS;
        match self.lately.back_mut() {
            Some(last) if now < last.from + part => {
                last.until = now;
                last.records += records;
                last.letters += letters;
            }
            _ => self.lately.push_back(FloodSlice { from: now, until: now, records, letters }),
        }
    }

    /// Notes that a batch had more bad records than it was allowed.
    pub fn flooded(&mut self) {
        self.flooded = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flood() -> Flood {
        Flood::new(FloodLimits::STANDARD)
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_few_bad_records_are_no_flood_even_if_all_are_bad() {
        assert_eq!(flood().allowance(at(0), 1), FEW as usize);
    }

    #[test]
    fn of_many_records_no_more_than_the_ratio_is_set_aside() {
        assert_eq!(flood().allowance(at(0), 1_000), 500);
        let mut flood = flood();
        flood.written(at(0), 1_000, 100);
        assert_eq!(flood.allowance(at(1), 200), 500, "half of 1,200, and 100 were before");
    }

    #[test]
    fn of_very_many_records_no_more_than_the_rate_is_set_aside() {
        let mut flood = flood();
        assert_eq!(flood.allowance(at(0), 1_000_000), 1_000);
        flood.written(at(0), 1_000_000, 900);
        assert_eq!(flood.allowance(at(9_999), 1_000_000), 100);
        assert_eq!(flood.allowance(at(10_000), 1_000_000), 1_000);
    }

    #[test]
    fn where_none_is_set_aside_no_record_ever_may_be() {
        let mut flood = Flood::new(FloodLimits::NONE);
        assert_eq!(flood.allowance(at(0), 1), 0);
        flood.written(at(0), 1_000_000, 0);
        assert_eq!(flood.allowance(at(1), 1_000_000), 0);
    }

    #[test]
    fn once_flooded_a_batch_must_be_good_enough_by_itself() {
        let mut flood = flood();
        flood.flooded();
        assert_eq!(flood.allowance(at(60_000), 1), 0);
        assert_eq!(flood.allowance(at(60_000), 10), 5);
        flood.written(at(60_000), 10, 0);
        assert_eq!(flood.allowance(at(120_000), 1), FEW as usize);
    }

    proptest! {
        #[test]
        fn over_any_window_no_more_is_set_aside_than_the_limits_say(
            batches in prop::collection::vec((0_u64..3_000, 1_u64..3_000, 0_u64..3_000), 1..60),
        ) {
            let mut flood = flood();
            let window = FloodLimits::STANDARD.window;
            let (mut now, mut history) = (Duration::ZERO, Vec::new());
            for (pause, records, bad) in batches {
                now += at(pause);
                let bad = bad.min(records);
                if bad as usize > flood.allowance(now, records) {
                    flood.flooded();
                    continue;
                }
                flood.written(now, records, bad);
                history.push((now, bad));
                let since = |(when, _): &&(Duration, u64)| now < *when + window;
                let lately: u64 = history.iter().filter(since).map(|(_, bad)| bad).sum();
                prop_assert!(lately <= 1_000, "{lately} within {window:?}");
            }
            prop_assert!(flood.lately.len() <= 2 * PARTS as usize + 2);
        }

        #[test]
        fn good_records_are_never_a_flood(records in prop::collection::vec(0_u64..10_000, 1..50)) {
            let mut flood = flood();
            flood.flooded();
            for (second, records) in records.into_iter().enumerate() {
                let now = Duration::from_secs(second as u64);
                let allowance = flood.allowance(now, records);
                prop_assert!(allowance as u64 * 2 >= records.min(2_000).saturating_sub(1));
                flood.written(now, records, 0);
            }
        }
    }
}
