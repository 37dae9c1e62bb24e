//! How often the group's committed offsets are asked for.
//!
//! Often while they move, so that writers learn soon that their rows are in the database; less and
//! less while they stand still, because each question costs the group's coordinator something.

use std::time::Duration;

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing is pending: nobody was asked.
    Nothing,
    /// An offset is further than it was.
    Moved,
    /// No offset has moved, or nobody answered.
    StandsStill,
}

/// The wait from one question to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    longest: Duration,
    wait: Duration,
}

/// The wait while offsets move. A shorter one would tell few writers sooner: a record takes about
/// as long to the database.
const SHORTEST: Duration = Duration::from_millis(20);

impl Pace {
    /// Asks every `longest` at least.
    pub(crate) fn new(longest: Duration) -> Self {
        Self { longest, wait: longest }
    }

    /// How long to wait now that this came of asking.
    pub(crate) fn after(&mut self, asked: Asked) -> Duration {
        self.wait = match asked {
            Asked::Nothing => self.longest,
            Asked::Moved => SHORTEST.min(self.longest),
            Asked::StandsStill => self.wait.saturating_mul(2).min(self.longest),
        };
        self.wait
    }

    /// How long to wait now that Kafka has the first write after a time with nothing pending.
    pub(crate) fn after_the_first_write(&mut self) -> Duration {
        self.wait = (SHORTEST / 2).min(self.longest);
        self.wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn offsets_are_asked_for_soon_while_they_move_and_ever_later_while_they_stand_still() {
        let mut pace = Pace::new(at(100));
        assert_eq!(pace.after(Asked::Nothing), at(100));
        assert_eq!(pace.after_the_first_write(), at(10));
        let stands_still: Vec<_> = (0..5).map(|_| pace.after(Asked::StandsStill)).collect();
        assert_eq!(stands_still, [at(20), at(40), at(80), at(100), at(100)]);
        assert_eq!(pace.after(Asked::Moved), at(20));
        assert_eq!(pace.after(Asked::Moved), at(20));
    }

    #[test]
    fn no_wait_is_longer_than_the_setting() {
        let mut pace = Pace::new(at(5));
        assert_eq!(pace.after_the_first_write(), at(5));
        assert_eq!(pace.after(Asked::StandsStill), at(5));
        assert_eq!(pace.after(Asked::Moved), at(5));
    }
}
