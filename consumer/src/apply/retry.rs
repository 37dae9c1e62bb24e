//! The backoff of a worker: how long to wait, how large a statement may be, and what to log.
//!
//! Pure: no clock, and its randomness comes from a seed. It waits out an outage of any length,
//! because giving up would mean skipping records or no longer reading them; only the single wait is
//! limited.

use std::time::Duration;

use crate::apply::log::RereadError;
use crate::store::StoreError;

/// Why a batch was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// No connection could be made. This affects every route and is waited out, whatever the cause.
    #[error("{0}")]
    Connect(StoreError),
    /// The database refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log failed, where records must be read again.
    #[error(transparent)]
    Log(#[from] RereadError),
}

/// The limits of retries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryLimits {
    /// The first wait; each later one is twice as long.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// The most rows per statement, when all is well.
    pub rows_per_statement: usize,
}

impl RetryLimits {
    /// The default limits.
    pub const STANDARD: Self = Self {
        first_wait: Duration::from_millis(100),
        longest_wait: Duration::from_secs(10),
        rows_per_statement: 10_000,
    };
}

/// What to do before the next attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// How long to wait.
    pub wait: Duration,
    /// What to log; `None`: it was logged already.
    pub say: Option<String>,
}

/// The state of retries so far.
#[derive(Debug)]
pub struct Retry {
    limits: RetryLimits,
    /// Failures in a row.
    failures: u32,
    rows_per_statement: usize,
    chance: u64,
    said: Option<String>,
}

impl Retry {
    /// A state without failures. Different seeds keep workers from retrying all at once.
    pub fn new(limits: RetryLimits, seed: u64) -> Self {
        Self {
            limits,
            failures: 0,
            rows_per_statement: limits.rows_per_statement,
            chance: seed,
            said: None,
        }
    }

    /// Maximum rows per statement after the failures so far.
    pub fn rows_per_statement(&self) -> usize {
        self.rows_per_statement
    }

    /// An attempt failed.
    pub fn failed(&mut self, error: &WriteError) -> Backoff {
        if matches!(error, WriteError::Store(StoreError::Saturated(_))) {
            self.rows_per_statement = (self.rows_per_statement / 2).max(1);
        }
        // What a person must fix won't be fixed within a second.
        let needs_a_person =
            matches!(error, WriteError::Connect(StoreError::Stop(_) | StoreError::Refused(_)));
        let doublings = if needs_a_person { 31 } else { self.failures.min(31) };
        let longest = self.limits.longest_wait;
        let full = self.limits.first_wait.saturating_mul(1 << doublings).min(longest);
        self.failures = self.failures.saturating_add(1);
        let message = error.to_string();
        let say = (self.said.as_ref() != Some(&message)).then(|| message.clone());
        self.said = Some(message);
        Backoff { wait: full.mul_f64(self.between_a_half_and_one()), say }
    }

    /// A batch was written. Returns the number of failures before it, if there were any.
    pub fn succeeded(&mut self) -> Option<u32> {
        let failures = std::mem::take(&mut self.failures);
        self.said = None;
        self.rows_per_statement = (self.rows_per_statement * 2).min(self.limits.rows_per_statement);
        (failures > 0).then_some(failures)
    }

    /// One step of splitmix64.
    fn between_a_half_and_one(&mut self) -> f64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        0.5 + (z >> 11) as f64 / (1_u64 << 54) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry() -> Retry {
        Retry::new(RetryLimits::STANDARD, 7)
    }

    fn down() -> WriteError {
        StoreError::Unavailable("refused".to_owned()).into()
    }

    #[test]
    fn waits_grow_to_the_longest_and_no_further_however_long_it_takes() {
        let mut retry = retry();
        let first = retry.failed(&down()).wait;
        assert!((Duration::from_millis(50)..=Duration::from_millis(100)).contains(&first));
        let waits: Vec<_> = (0..1000).map(|_| retry.failed(&down()).wait).collect();
        assert!(waits.iter().all(|wait| *wait <= RetryLimits::STANDARD.longest_wait));
        assert!(waits[999] >= RetryLimits::STANDARD.longest_wait / 2);
    }

    #[test]
    fn workers_with_different_seeds_wait_differently() {
        let wait = |seed| Retry::new(RetryLimits::STANDARD, seed).failed(&down()).wait;
        assert_ne!(wait(1), wait(2));
    }

    #[test]
    fn one_message_is_said_once() {
        let mut retry = retry();
        assert!(retry.failed(&down()).say.is_some());
        assert_eq!(retry.failed(&down()).say, None);
        let other = StoreError::Stop("no table".to_owned()).into();
        assert_eq!(retry.failed(&other).say.as_deref(), Some("no table"));
        assert_eq!(retry.succeeded(), Some(3));
        assert_eq!(retry.succeeded(), None);
        assert!(retry.failed(&down()).say.is_some(), "a new outage is told again");
        retry.succeeded();
        assert!(retry.failed(&down()).say.is_some(), "also when it is the same as the last");
    }

    #[test]
    fn a_saturated_database_is_asked_for_less_and_then_slowly_for_more() {
        let mut retry = retry();
        let saturated = WriteError::from(StoreError::Saturated("too slow".to_owned()));
        retry.failed(&saturated);
        retry.failed(&saturated);
        assert_eq!(retry.rows_per_statement(), 2_500);
        retry.succeeded();
        assert_eq!(retry.rows_per_statement(), 5_000);
        for _ in 0..100 {
            retry.failed(&saturated);
        }
        assert_eq!(retry.rows_per_statement(), 1);
    }

    #[test]
    fn what_a_person_must_mend_is_not_tried_ten_times_a_second() {
        let wrong_password = WriteError::Connect(StoreError::Stop("wrong password".to_owned()));
        let wait = retry().failed(&wrong_password).wait;
        assert!(wait >= RetryLimits::STANDARD.longest_wait / 2);
    }
}
